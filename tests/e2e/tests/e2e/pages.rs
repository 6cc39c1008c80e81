//! The pages for people in Chromium: coming in for the first time, every page by keyboard, judged by axe, on a narrow screen, in
//! the dark, in both languages.

use crate::chromium::{ALONE, Chromium};
use e2e::Morning;
use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::{Client, Locator};
use langlauf::demo::Walk;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const PASSWORD: &str = "ein langes Passwort";
/// All pages of somebody who has come in.
const PAGES: [&str; 11] = [
    "/",
    "/setup",
    "/calendar",
    "/lifetime",
    "/updates",
    "/runbooks",
    "/network",
    "/logs",
    "/backup",
    "/users",
    "/account",
];

struct Person<'a> {
    browser: Client,
    morning: &'a Morning,
    axe: String,
}

impl Person<'_> {
    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.morning.world.addresses.pages)
    }

    async fn open(&self, path: &str) {
        self.browser.goto(&self.url(path)).await.unwrap();
    }

    async fn find(&self, css: &str) -> Element {
        let waiting = self.browser.wait().at_most(LIMIT);
        let found = waiting.for_element(Locator::Css(css)).await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("{css}: {error}\n{}", self.browser.source().await.unwrap()),
        }
    }

    async fn text(&self) -> String {
        self.find("main").await.text().await.unwrap()
    }

    async fn sees(&self, text: &str) {
        let mut shown = String::new();
        let seen = async || {
            shown = self.text().await;
            shown.contains(text)
        };
        let Morning { world, clock, .. } = self.morning;
        let outcome = world.wait_for(text, LIMIT, &**clock, seen).await;
        outcome.unwrap_or_else(|error| panic!("{error}, but: {shown}"));
    }

    /// Keys to whatever has the focus: no mouse anywhere.
    async fn keys(&self, text: &str) {
        let focused = self.browser.active_element().await.unwrap();
        focused.send_keys(text).await.unwrap();
    }

    /// Tabs to the next thing that fits, at most a hundred times.
    async fn tab_to(&self, css: &str) {
        for _ in 0..100 {
            self.keys(&char::from(Key::Tab).to_string()).await;
            let script = "return document.activeElement.matches(arguments[0])";
            let there = self.browser.execute(script, vec![css.into()]).await.unwrap();
            if there == serde_json::Value::Bool(true) {
                return;
            }
        }
        panic!(
            "no keyboard leads to {css}\n{}",
            self.browser.source().await.unwrap()
        );
    }

    async fn type_into(&self, css: &str, text: &str) {
        self.tab_to(css).await;
        self.keys(text).await;
    }

    async fn press(&self, css: &str) {
        self.tab_to(css).await;
        self.keys(&char::from(Key::Enter).to_string()).await;
    }

    /// What axe has against this page.
    async fn judge(&self, what: &str) {
        self.browser.execute(&self.axe, Vec::new()).await.unwrap();
        let script = "const done = arguments[arguments.length - 1];
            axe.run().then(result => done(result.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).join(' | '))))";
        let found = self.browser.execute_async(script, Vec::new()).await.unwrap();
        assert_eq!(found, serde_json::json!([]), "{what}");
        // nothing sticks out to the side
        let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        let wider = self.browser.execute(script, Vec::new()).await.unwrap();
        assert_eq!(wider, serde_json::json!(0), "{what} is wider than the window");
    }

    fn digits(&self, secret: &str) -> String {
        const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let bits: Vec<u8> = secret
            .chars()
            .flat_map(|letter| {
                let value = LETTERS.find(letter).unwrap() as u8;
                (0..5).rev().map(move |bit| value >> bit & 1)
            })
            .collect();
        let bytes: Vec<u8> = bits
            .chunks_exact(8)
            .map(|eight| eight.iter().fold(0, |value, bit| value << 1 | bit))
            .collect();
        let step = self.morning.clock.now().as_second() / 30;
        format!("{:06}", crypto::one_time_digits(&bytes, step.try_into().unwrap()))
    }

    /// The first time: with the code that was printed, then a password and a second factor, before anything else is shown.
    async fn come_in(&self, code: &str) -> String {
        self.open("/").await;
        self.judge("login").await;
        self.find("input[name=user]").await;
        self.keys("admin").await;
        self.type_into("input[name=password]", code).await;
        self.press("main button").await;
        self.sees("Bevor es weitergeht").await;
        self.judge("account").await;
        self.open("/users").await;
        self.sees("Bevor es weitergeht").await;
        for (field, text) in [("old", code), ("new", PASSWORD), ("again", PASSWORD)] {
            self.type_into(&format!("input[name={field}]"), text).await;
        }
        self.press("form[action='/account/password'] button").await;
        self.sees("1. Passwort ✓").await;
        self.press("form[action='/account/second'] button").await;
        let secret = self.find("#secret").await.text().await.unwrap();
        self.judge("second factor").await;
        self.type_into("input[name=code]", &self.digits(&secret)).await;
        self.press("form[action='/account/second/confirm'] button").await;
        self.sees("2. Zweiter Faktor ✓").await;
        secret
    }

    /// Out, and in again with both factors; the code of the first time is worth nothing any more.
    async fn out_and_in(&self, code: &str, secret: &str) {
        self.press("form[action='/logout'] button").await;
        for (password, digits, says) in [
            (code, String::new(), "stimmt nicht"),
            (PASSWORD, String::new(), "Code der Authentifizierungs-App fehlt"),
            (PASSWORD, "000000".into(), "Code der Authentifizierungs-App fehlt"),
        ] {
            self.find("input[name=user]").await;
            self.keys("admin").await;
            self.type_into("input[name=password]", password).await;
            self.type_into("input[name=code]", &digits).await;
            self.press("main button").await;
            self.sees(says).await;
        }
        // the digits of before do not count twice: wait for the next
        let used = self.digits(secret);
        let next = async || self.digits(secret) != used;
        let Morning { world, clock, .. } = self.morning;
        world
            .wait_for("next digits", Duration::from_secs(40), &**clock, next)
            .await
            .unwrap();
        self.keys("admin").await;
        self.type_into("input[name=password]", PASSWORD).await;
        self.type_into("input[name=code]", &self.digits(secret)).await;
        self.press("main button").await;
        self.sees("Funktioniert alles?").await;
    }

    async fn every_page(&self, language: &str, picture: Option<&Path>) {
        for page in PAGES {
            self.open(page).await;
            if page == "/network" {
                self.find(".chain").await;
            }
            self.judge(&format!("{page} {language}")).await;
            if let Some(folder) = picture {
                let name = if page == "/" {
                    "home"
                } else {
                    page.trim_start_matches('/')
                };
                let png = self.browser.screenshot().await.unwrap();
                std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
            }
        }
    }

    /// A practice system's place is made with the keyboard alone, to the certificate it is given.
    async fn set_up(&self) {
        self.open("/setup").await;
        self.sees("KT1").await;
        self.type_into("form[action='/setup/client'] input[name=id]", "Zweites PVS")
            .await;
        self.press("form[action='/setup/client'] button").await;
        self.sees("Zweites PVS").await;
        self.type_into("form[action='/setup/workplace'] input[name=id]", "Labor")
            .await;
        self.type_into("form[action='/setup/workplace'] select", "KT1")
            .await;
        self.press("form[action='/setup/workplace'] button").await;
        self.sees("Labor").await;
        self.tab_to("form[action='/setup/assign'] select[name=client]")
            .await;
        self.keys("Zweites").await;
        self.tab_to("form[action='/setup/assign'] select[name=workplace]")
            .await;
        self.keys("Labor").await;
        self.press("form[action='/setup/assign'] button").await;
        self.sees("Zweites PVS → Labor").await;
        // its certificate, as a file for programs that want a password and as one for those that do not
        for (password, wanted) in [
            ("ein Passwort", "application/x-pkcs12"),
            ("", "application/x-pem-file"),
        ] {
            let script = "const [password, done] = arguments;
                const body = new URLSearchParams({ id: 'Zweites PVS', password });
                fetch('/setup/certificate', { method: 'POST', body })
                    .then(async answer => done([answer.headers.get('content-type'), (await answer.blob()).size]))
                    .catch(error => done([String(error), 0]));";
            let got = self
                .browser
                .execute_async(script, vec![password.into()])
                .await
                .unwrap();
            assert!(got[0] == wanted && got[1].as_u64() > Some(500), "{got}");
        }
        let model = self.morning.world.konnektor().unwrap().inner().model();
        let access = &model.mandants[0].access;
        assert_eq!(access.len(), 2, "{access:?}");
    }

    /// A check list is begun and walked with the keyboard alone: confirmed, looked at, left out.
    async fn walk(&self) {
        self.open("/runbooks").await;
        let fields = "section[aria-labelledby=b-recovery] form ";
        let smcb = langlauf::world::SMC_B;
        self.type_into(&format!("{fields}input[name=smcb]"), smcb).await;
        self.press(&format!("{fields}button")).await;
        self.sees("Bündel packen").await;
        self.judge("run").await;
        let confirm = "form[action$='/walk'] input[name=confirmed]";
        self.tab_to(confirm).await;
        self.keys(" ").await;
        self.press("form[action$='/walk'] button").await;
        self.sees("erledigt").await;
        self.type_into("form[action$='/skip'] input[name=note]", "Uhr war gestellt")
            .await;
        self.press("form[action$='/skip'] button").await;
        self.sees("ausgelassen").await;
        // the device looks: the card is in
        self.press("form[action$='/walk'] button").await;
        self.sees("SMC-B stecken erledigt").await;
        self.judge("run on the way").await;
        if let Some(folder) = std::env::var_os("LANGLAUF_PICTURES") {
            let png = self.browser.screenshot().await.unwrap();
            std::fs::write(Path::new(&folder).join("run.png"), png).unwrap();
        }
        self.browser.set_window_size(360, 740).await.unwrap();
        self.judge("run 360").await;
        self.browser.set_window_size(1100, 900).await.unwrap();
        self.find("a[href$='/record']").await;
    }

    /// Somebody is invited who only looks; what he may not do is not there, and not possible either.
    async fn invite(&self) -> String {
        self.open("/users").await;
        self.type_into("form.row[action='/users/invite'] input[name=name]", "leser")
            .await;
        self.type_into("form.row[action='/users/invite'] select", "Leser")
            .await;
        self.press("section form[action='/users/invite'] button").await;
        self.sees("nur jetzt zu sehen").await;
        self.find("code.answer").await.text().await.unwrap()
    }

    async fn work(&self, dark: bool) {
        let inner = self.morning.world.konnektor().unwrap().inner();
        let code = konnektor::users::invite_first(inner.store()).unwrap();
        let secret = self.come_in(&code).await;
        if dark {
            return self.every_page("dark", None).await;
        }
        self.out_and_in(&code, &secret).await;
        self.set_up().await;
        let pictures = std::env::var_os("LANGLAUF_PICTURES").map(PathBuf::from);
        self.browser.set_window_size(1100, 900).await.unwrap();
        self.walk().await;
        self.every_page("de", pictures.as_deref()).await;
        self.browser.set_window_size(360, 740).await.unwrap();
        self.every_page("de 360", None).await;
        // the answer leads back here: whoever goes on before it has come is led back, too
        self.press("form[action='/language'] button").await;
        self.sees("My access").await;
        self.open("/").await;
        self.sees("Does everything work?").await;
        self.every_page("en 360", None).await;
        self.press("form[action='/language'] button").await;
        self.sees("Mein Zugang").await;
        self.weighs_little().await;
        let invited = self.invite().await;
        assert_eq!(invited.len(), 19);
    }

    /// What the first page brings along, with everything it loads, bytes on the wire.
    async fn weighs_little(&self) {
        self.open("/").await;
        self.sees("Funktioniert alles?").await;
        let script = "const all = [...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')];
            return all.reduce((sum, one) => sum + one.decodedBodySize, 0)";
        let bytes = self
            .browser
            .execute(script, Vec::new())
            .await
            .unwrap()
            .as_f64()
            .unwrap();
        println!("first page: {bytes} bytes with everything");
        assert!(bytes > 10_000.0 && bytes < 150_000.0, "{bytes}");
    }
}

/// axe-core, as the Python package brings it.
fn axe() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let library = root.join(".venv/lib");
    let versions = std::fs::read_dir(library)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let found = versions
        .map(|version| version.join("site-packages/axe_core_python/axe.min.js"))
        .find(|path| path.exists());
    std::fs::read_to_string(found.expect("axe-core: run `make test`")).unwrap()
}

async fn look(dark: bool) {
    let _one = ALONE.lock().await;
    let arguments: &[&str] = if dark {
        &["--blink-settings=preferredColorScheme=0"]
    } else {
        &[]
    };
    let morning = Morning::before().await.unwrap();
    Walk::new(&morning.world, &*morning.clock, true, &|_| ())
        .run()
        .await
        .unwrap();
    let profile = morning.folder.path().join("browser");
    let chromium = Chromium::start(&profile, arguments).await;
    let person = Person {
        browser: chromium.browser.clone(),
        morning: &morning,
        axe: axe(),
    };
    chromium.use_it(person.work(dark)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_light() {
    look(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_dark() {
    look(true).await;
}
