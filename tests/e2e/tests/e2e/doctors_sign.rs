//! Qualified signatures: one PIN for one document, one for a batch, one for a day.

use base::{Clock, VirtualClock};
use card::cos::{NoMemory, VirtualCard};
use e2e::Morning;
use e2e::documents::{Item, Office, outcomes};
use langlauf::demo::Walk;
use langlauf::world::World;
use signature::cades;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use terminal::simulator::{Fault, SlotCard, VirtualTerminal};
use testti::cards::{self, Holder};

const LIMIT: Duration = Duration::from_secs(60);
const DOCTOR: &str = "8a4b1c7e-0f6d-4c1e-9a53-5d2f1b7c9e10";

fn items(count: usize) -> Vec<Item> {
    (0..count)
        .map(|number| {
            Item::text(
                &format!("R{number:03}"),
                &format!("Rezept {number}: Langlauf, täglich"),
            )
        })
        .collect()
}

fn check(item: &Item, cms: &[u8]) {
    let findings = cades::verify(cms, None, &[]).unwrap();
    assert_eq!(findings.signatures[0].outcome, Ok(()));
    assert!(cms.windows(item.bytes.len()).any(|window| window == item.bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pin_for_one_document_and_one_for_a_batch() {
    let morning = Morning::after_the_walk().await.unwrap();
    let pad = &morning.world.terminal;
    let office = Office {
        practice: &morning.world.practice,
        user: Some(DOCTOR),
    };
    let hba = e2e::card(office.practice, "HBA").await.unwrap();
    // one document: the job number stands at the terminal
    let job = office.job().await.unwrap();
    let one = items(1);
    let (answer, prompt) = tokio::join!(office.sign(&hba, &job, &one), async {
        let prompt = pad.wait_for_prompt().await;
        e2e::type_at(pad, &["123456"]).await;
        prompt
    });
    let answer = answer.unwrap();
    assert_eq!(answer.fault(), None, "{}", answer.body);
    assert!(prompt.contains(&job), "{prompt}");
    check(&one[0], outcomes(&answer).unwrap()[0].signed.as_ref().unwrap());
    // the same job number again
    assert_eq!(office.sign(&hba, &job, &one).await.unwrap().fault(), Some(4252));
    // a wrong PIN, and the key to cancel
    for (entry, code) in [("999999", 4276), ("cancel", 4049)] {
        let job = office.job().await.unwrap();
        let entries = [entry];
        let (answer, ()) = tokio::join!(office.sign(&hba, &job, &one), e2e::type_at(pad, &entries));
        assert_eq!(answer.unwrap().fault(), Some(code));
    }
    // a whole batch
    let batch = items(250);
    let job = office.job().await.unwrap();
    let (answer, ()) = tokio::join!(office.sign(&hba, &job, &batch), e2e::type_at(pad, &["123456"]));
    let answer = answer.unwrap();
    assert_eq!(answer.fault(), None, "{}", answer.body);
    let all = outcomes(&answer).unwrap();
    assert_eq!(all.len(), 250);
    for (item, outcome) in batch.iter().zip(&all) {
        assert_eq!(item.id, outcome.id);
        assert!(outcome.codes.is_empty());
        check(item, outcome.signed.as_ref().unwrap());
    }
    let job = office.job().await.unwrap();
    assert_eq!(
        office.sign(&hba, &job, &items(251)).await.unwrap().fault(),
        Some(4000)
    );
}

/// A card that somebody pulls when it is to make its nth signature.
struct Pulled {
    card: VirtualCard,
    left: usize,
    gone: bool,
    terminal: VirtualTerminal,
}

impl SlotCard for Pulled {
    fn reset(&mut self) -> Option<Vec<u8>> {
        if std::mem::take(&mut self.gone) {
            self.left = usize::MAX;
        }
        SlotCard::reset(&mut self.card)
    }

    fn process(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        if self.gone {
            return None;
        }
        if let [_, 0x2A, 0x9E, 0x9A, ..] = apdu {
            if self.left == 0 {
                self.gone = true;
                let terminal = self.terminal.clone();
                // whoever pulls waits until the card is let go
                std::thread::spawn(move || terminal.remove(2));
                return None;
            }
            self.left -= 1;
        }
        SlotCard::process(&mut self.card, apdu)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hba_pulled_in_a_batch_leaves_what_was_signed() {
    let morning = Morning::after_the_walk().await.unwrap();
    let world = &morning.world;
    let pad = &world.terminal;
    pad.remove(2).unwrap();
    let holder = Holder {
        name: "Dr. Paul Pulk TEST-ONLY".into(),
        telematik_id: "1-1PULK0001".into(),
    };
    let number = "80276009990000000777".parse().unwrap();
    let system = cards::hba(&world.pki, &number, &holder, &cards::Options::default()).unwrap();
    world.ledger.register_card(&system);
    let card = Pulled {
        card: VirtualCard::new(system, Box::new(NoMemory)).unwrap(),
        left: 136,
        gone: false,
        terminal: pad.clone(),
    };
    pad.put(2, "HBA Pulk", Arc::new(Mutex::new(card))).unwrap();
    let practice = &world.practice;
    let one = async || practice.cards("HBA").await.is_ok_and(|cards| cards.len() == 1);
    world.wait_for("HBA", LIMIT, &*morning.clock, one).await.unwrap();
    let office = Office {
        practice,
        user: Some(DOCTOR),
    };
    let batch = items(250);
    let hba = e2e::card(practice, "HBA").await.unwrap();
    let job = office.job().await.unwrap();
    let (answer, ()) = tokio::join!(office.sign(&hba, &job, &batch), e2e::type_at(pad, &["123456"]));
    let answer = answer.unwrap();
    assert_eq!(answer.fault(), None, "{}", answer.body);
    let all = outcomes(&answer).unwrap();
    assert_eq!(all.len(), 250);
    for (position, (item, outcome)) in batch.iter().zip(&all).enumerate() {
        match &outcome.signed {
            Some(cms) => check(item, cms),
            None => assert!(outcome.codes.contains(&4008), "{:?}", outcome.codes),
        }
        assert_eq!(outcome.signed.is_some(), position < 136, "{position}");
    }
    // it is put back, no PIN try is lost, and the next batch works
    let gone = async || practice.cards("HBA").await.is_ok_and(|cards| cards.is_empty());
    world
        .wait_for("pulled", LIMIT, &*morning.clock, gone)
        .await
        .unwrap();
    pad.insert(2, "HBA Pulk").unwrap();
    world.wait_for("HBA", LIMIT, &*morning.clock, one).await.unwrap();
    let hba = e2e::card(practice, "HBA").await.unwrap();
    let status = office.pin_status(&hba, "PIN.QES").await.unwrap();
    assert_eq!(status.text("LeftTries").unwrap(), "3");
    let job = office.job().await.unwrap();
    let (answer, ()) = tokio::join!(office.sign(&hba, &job, &batch), e2e::type_at(pad, &["123456"]));
    let answer = answer.unwrap();
    assert!(
        outcomes(&answer)
            .unwrap()
            .iter()
            .all(|outcome| outcome.signed.is_some())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_can_be_stopped() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (practice, pad) = (&morning.world.practice, &morning.world.terminal);
    let office = Office {
        practice,
        user: Some(DOCTOR),
    };
    let hba = e2e::card(practice, "HBA").await.unwrap();
    assert_eq!(office.stop("XYZ-000").await.unwrap().fault(), Some(4243));
    let job = office.job().await.unwrap();
    let batch = items(250);
    let commands = pad.card_commands();
    let (answer, stopped) = tokio::join!(office.sign(&hba, &job, &batch), async {
        e2e::type_at(pad, &["123456"]).await;
        // some signatures are made: each is a command to the card
        let some = async || pad.card_commands() > commands + 60;
        morning
            .world
            .wait_for("signatures", LIMIT, &*morning.clock, some)
            .await
            .unwrap();
        office.stop(&job).await.unwrap()
    });
    assert_eq!(stopped.fault(), None, "{}", stopped.body);
    let all = outcomes(&answer.unwrap()).unwrap();
    assert_eq!(all.len(), 250);
    // one PIN was for all of them: all of them are given up
    assert!(
        all.iter()
            .all(|outcome| outcome.signed.is_none() && outcome.codes.contains(&4049))
    );
    // and the HBA is free for the next
    let job = office.job().await.unwrap();
    let two = items(2);
    let (answer, ()) = tokio::join!(office.sign(&hba, &job, &two), e2e::type_at(pad, &["123456"]));
    assert!(
        outcomes(&answer.unwrap())
            .unwrap()
            .iter()
            .all(|outcome| outcome.signed.is_some())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pin_for_a_day() {
    let morning = Morning::with(|options| {
        options.settings = "[signature]\ncomfort = true\ncomfort_max = 5\n".parse().unwrap();
    });
    let morning = morning.await.unwrap();
    Walk::new(&morning.world, &*morning.clock, true, &|_| ())
        .run()
        .await
        .unwrap();
    let (practice, pad) = (&morning.world.practice, &morning.world.terminal);
    let office = |user: &'static str| Office {
        practice,
        user: Some(user),
    };
    let (doctor, stranger) = (office(DOCTOR), office("0d8e3f52-7a1c-4b6e-8c09-1f2e3d4c5b6a"));
    let hba = e2e::card(practice, "HBA").await.unwrap();
    let smcb = e2e::card(practice, "SMC-B").await.unwrap();
    let refused = async |office: &Office<'_>, card: &str| {
        office
            .with_card("ActivateComfortSignature", card)
            .await
            .unwrap()
            .fault()
    };
    assert_eq!(refused(&office("spur"), &hba).await, Some(4272));
    assert_eq!(refused(&doctor, &smcb).await, Some(4274));
    let mode = doctor.with_card("GetSignatureMode", &hba).await.unwrap();
    assert_eq!(mode.text("ComfortSignatureStatus").unwrap(), "ENABLED");
    assert_eq!(mode.text("CountRemaining"), None);
    let (answer, prompt) = tokio::join!(doctor.with_card("ActivateComfortSignature", &hba), async {
        let prompt = pad.wait_for_prompt().await;
        e2e::type_at(pad, &["123456"]).await;
        prompt
    });
    let answer = answer.unwrap();
    assert_eq!(
        answer.text("SignatureMode").as_deref(),
        Some("COMFORT"),
        "{}",
        answer.body
    );
    assert!(prompt.contains("Komfortsignatur"), "{prompt}");
    // the same UserId is not taken twice, and nobody else signs with this doctor's card
    assert_eq!(refused(&doctor, &hba).await, Some(4270));
    assert_eq!(refused(&stranger, &hba).await, Some(4018));
    for left in [4, 3] {
        let job = doctor.job().await.unwrap();
        let one = items(1);
        let answer = doctor.sign(&hba, &job, &one).await.unwrap();
        check(&one[0], outcomes(&answer).unwrap()[0].signed.as_ref().unwrap());
        let mode = doctor.with_card("GetSignatureMode", &hba).await.unwrap();
        assert_eq!(mode.text("CountRemaining").unwrap(), left.to_string());
        // others use the card in between, over other channels
        let login = doctor.authenticate(&hba, &[7; 32]).await.unwrap();
        assert_eq!(login.fault(), Some(4085), "PIN.CH is not verified");
    }
    // more than are left: what could be signed is, and the session is over
    let job = doctor.job().await.unwrap();
    let all = outcomes(&doctor.sign(&hba, &job, &items(5)).await.unwrap()).unwrap();
    let signed: Vec<bool> = all.iter().map(|outcome| outcome.signed.is_some()).collect();
    assert_eq!(signed, [true, true, true, false, false]);
    assert!(all[4].codes.contains(&4271), "{:?}", all[4].codes);
    let mode = doctor.with_card("GetSignatureMode", &hba).await.unwrap();
    assert_eq!(mode.text("CountRemaining"), None);
    // another day, ended by whoever may call
    let other = office("3c9d1e77-5b2a-4f08-9e61-7a8b9c0d1e2f");
    let (answer, ()) = tokio::join!(
        other.with_card("ActivateComfortSignature", &hba),
        e2e::type_at(pad, &["123456"])
    );
    assert_eq!(answer.unwrap().fault(), None);
    // as many as there are, and the session is over with the last one
    let job = other.job().await.unwrap();
    let all = outcomes(&other.sign(&hba, &job, &items(5)).await.unwrap()).unwrap();
    assert!(all.iter().all(|outcome| outcome.signed.is_some()));
    let mode = other.with_card("GetSignatureMode", &hba).await.unwrap();
    assert_eq!(mode.text("CountRemaining"), None);
    let other = office("6e2a4c10-93d7-4b5f-8a1e-0c9d8b7a6f54");
    let (answer, ()) = tokio::join!(
        other.with_card("ActivateComfortSignature", &hba),
        e2e::type_at(pad, &["123456"])
    );
    assert_eq!(answer.unwrap().fault(), None);
    // an answer of the card is lost: the secured channel is out of step, and the session does not pretend to go on
    pad.set_fault(Some(Fault::CardGarbage));
    let job = other.job().await.unwrap();
    let answer = other.sign(&hba, &job, &items(1)).await.unwrap();
    assert!(answer.fault().is_some(), "{}", answer.body);
    pad.set_fault(None);
    let mode = other.with_card("GetSignatureMode", &hba).await.unwrap();
    assert_eq!(mode.text("CountRemaining"), None);
    let other = office("b1f0d2c3-4e5a-4697-8b88-99aabbccddee");
    let (answer, ()) = tokio::join!(
        other.with_card("ActivateComfortSignature", &hba),
        e2e::type_at(pad, &["123456"])
    );
    assert_eq!(answer.unwrap().fault(), None);
    let ended = other.deactivate(&[&hba, "none"]).await.unwrap();
    assert_eq!(ended.text("Result").unwrap(), "Warning");
    assert_eq!(ended.texts("Code"), ["4265"]);
    let ended = other.deactivate(&[&hba]).await.unwrap();
    assert_eq!(ended.texts("Code"), ["4266"]);
    let job = other.job().await.unwrap();
    let one = items(1);
    let (answer, prompt) = tokio::join!(other.sign(&hba, &job, &one), async {
        let prompt = pad.wait_for_prompt().await;
        e2e::type_at(pad, &["123456"]).await;
        prompt
    });
    assert_eq!(answer.unwrap().fault(), None);
    assert!(prompt.contains(&job), "the PIN is asked for again: {prompt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_card_forgets_the_pin_when_the_time_is_over() {
    let clock = VirtualClock::at("2026-03-01T08:00:00Z".parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut options = e2e::options(folder.path().into());
    options.settings = "[signature]\ncomfort = true\ncomfort_hours = 1\n"
        .parse()
        .unwrap();
    let ticking = clock.tick();
    let world = World::start(&options, clock.shared()).await.unwrap();
    Walk::new(&world, &clock, true, &|_| ()).run().await.unwrap();
    let (pad, office) = (
        &world.terminal,
        Office {
            practice: &world.practice,
            user: Some(DOCTOR),
        },
    );
    let hba = e2e::card(office.practice, "HBA").await.unwrap();
    // a PIN that was wrong does not use the UserId up
    for (entry, code) in [("999999", Some(4276)), ("123456", None)] {
        let entries = [entry];
        let (answer, ()) = tokio::join!(
            office.with_card("ActivateComfortSignature", &hba),
            e2e::type_at(pad, &entries)
        );
        assert_eq!(answer.unwrap().fault(), code);
    }
    let mode = async || office.with_card("GetSignatureMode", &hba).await.unwrap();
    assert!(mode().await.text("TimeRemaining").is_some());
    // nobody calls, and the terminal stays connected
    let (begin, before) = (clock.elapsed(), pad.card_commands());
    let millisecond = Duration::from_millis(1);
    while clock.elapsed() - begin < Duration::from_secs(3_580) {
        clock.pass(millisecond, 1_000).await;
    }
    assert_eq!(pad.card_commands(), before);
    while pad.card_commands() == before {
        clock.pass(millisecond, 100).await;
        assert!(clock.elapsed() - begin < Duration::from_secs(3_700));
    }
    assert_eq!(mode().await.text("TimeRemaining"), None);
    assert_eq!(e2e::card(office.practice, "HBA").await.unwrap(), hba);
    ticking.abort();
}
