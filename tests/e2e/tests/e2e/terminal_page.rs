//! The page of the virtual terminal in Chromium: what a person sees and clicks.

use crate::chromium::Chromium;
use e2e::Morning;
use fantoccini::elements::Element;
use fantoccini::{Client, Locator};
use langlauf::practice::Operation;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A person in front of the page.
struct Person<'a> {
    browser: Client,
    morning: &'a Morning,
}

impl Person<'_> {
    async fn find(&self, xpath: &str) -> Element {
        let waiting = self.browser.wait().at_most(LIMIT);
        waiting.for_element(Locator::XPath(xpath)).await.unwrap()
    }

    async fn press(&self, label: &str) {
        self.find(&format!("//button[.='{label}']"))
            .await
            .click()
            .await
            .unwrap();
    }

    async fn put(&self, card: &str, slot: u8) {
        let place = self
            .find(&format!("//select[@aria-label='Karte für Slot {slot}']"))
            .await;
        place.select_by_label(card).await.unwrap();
    }

    async fn sees(&self, id: &str, text: &str) -> String {
        let mut shown = String::new();
        let seen = async || {
            let element = self.browser.find(Locator::Id(id)).await.unwrap();
            shown = element.text().await.unwrap();
            shown.contains(text)
        };
        let Morning { world, clock, .. } = self.morning;
        let outcome = world.wait_for(text, LIMIT, &**clock, seen).await;
        outcome.unwrap_or_else(|error| panic!("{error}, but: {shown}"));
        shown
    }

    async fn work(&self) {
        let (world, clock) = (&self.morning.world, &self.morning.clock);
        self.browser
            .goto(&format!("http://{}/", world.addresses.page))
            .await
            .unwrap();
        self.sees("status", "kein Konnektor").await;

        // pairing: somebody stands there and agrees
        let id = "KT1".parse().unwrap();
        let inner = world.konnektor().unwrap().inner();
        let (paired, ()) = tokio::join!(inner.pair(&id, None), async {
            self.sees("display", "PAIREN OK?").await;
            self.press("OK").await;
        });
        paired.unwrap();
        self.sees("status", "Konnektor verbunden · Pairings: 1").await;

        self.put("SMC-B Praxis", 3).await;
        let count = async || world.practice.cards("SMC-B").await.map(|cards| cards.len());
        let there = async || count().await.is_ok_and(|count| count == 1);
        world.wait_for("SMC-B", LIMIT, &**clock, there).await.unwrap();
        let handle = world.practice.cards("SMC-B").await.unwrap().pop().unwrap();
        let verify = || {
            world.practice.call(Operation::Pin {
                operation: "VerifyPin",
                handle: &handle,
                pin: "PIN.SMC",
            })
        };
        let (answer, ()) = tokio::join!(verify(), async {
            self.sees("display", "PIN").await;
            self.press("Abbruch").await;
        });
        assert_eq!(answer.unwrap().fault(), Some(4049));
        // a wrong key, taken back; the digits are never shown
        let (answer, ()) = tokio::join!(verify(), async {
            self.sees("display", "PIN").await;
            self.press("9").await;
            self.sees("display", "*").await;
            self.press("C").await;
            for digit in ["1", "2", "3", "4", "5", "6"] {
                self.press(digit).await;
            }
            let shown = self.sees("display", "******").await;
            assert_eq!(shown.lines().last(), Some("******"), "{shown}");
            self.press("OK").await;
        });
        let answer = answer.unwrap();
        assert_eq!(answer.text("PinResult").as_deref(), Some("OK"), "{}", answer.body);

        self.press("Netzwerkkabel ziehen").await;
        self.sees("status", "kein Konnektor").await;
        self.press("Netzwerkkabel stecken").await;
        self.sees("status", "Konnektor verbunden").await;
        world
            .wait_for("SMC-B again", LIMIT, &**clock, there)
            .await
            .unwrap();
        self.press("ziehen").await;
        let gone = async || count().await.is_ok_and(|count| count == 0);
        world.wait_for("pulled", LIMIT, &**clock, gone).await.unwrap();

        // nobody answers any more: what was shown last is not shown as if it were true
        let dead = "window.fetch = () => Promise.reject(new TypeError('gone'))";
        self.browser.execute(dead, Vec::new()).await.unwrap();
        self.sees("status", "antwortet nicht mehr").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_pairs_inserts_and_types() {
    let morning = Morning::before().await.unwrap();
    let chromium = Chromium::start(&morning.folder.path().join("browser"), &[]).await;
    let browser = chromium.browser.clone();
    let person = Person {
        browser: browser.clone(),
        morning: &morning,
    };
    chromium.use_it(person.work()).await;
}
