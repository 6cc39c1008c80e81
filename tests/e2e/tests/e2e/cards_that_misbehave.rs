//! Cards that answer garbage or nothing, and a terminal whose answers break off: clear errors, and afterwards everything
//! works again.

use e2e::Morning;
use langlauf::practice::{Operation, Practice};
use std::time::Duration;
use terminal::simulator::Fault;

const LIMIT: Duration = Duration::from_secs(30);

async fn read(practice: &Practice) -> Option<u32> {
    e2e::read_vsd(practice, false, false).await.unwrap().fault()
}

/// A paired terminal that is asked every second how its slots are.
async fn paired() -> Morning {
    let settings = "keep_alive_seconds = 1".parse().unwrap();
    let morning = Morning::with(|options| options.settings = settings)
        .await
        .unwrap();
    let (inner, pad) = (
        morning.world.konnektor().unwrap().inner(),
        &morning.world.terminal,
    );
    e2e::pair(inner, pad, &"KT1".parse().unwrap()).await.unwrap();
    morning
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_then_silence_then_good_again() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, practice) = (&morning.world, &morning.world.practice);
    world.terminal.set_fault(Some(Fault::CardGarbage));
    assert_eq!(read(practice).await, Some(4044));
    world.terminal.set_fault(Some(Fault::CardSilence));
    assert_eq!(read(practice).await, Some(4094));
    world.terminal.set_fault(None);
    assert_eq!(read(practice).await, None);
}

/// A card that was put in upside down is told of once, however long it lies there, and read when it is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_card_without_atr_is_told_of_once() {
    let Morning { world, clock, .. } = &paired().await;
    let inner = world.konnektor().unwrap().inner();
    let inserted = |kind: &str| {
        let log = e2e::logged(inner);
        let ours = |(topic, body): &&(String, String)| topic == "CARD/INSERTED" && body.contains(kind);
        log.iter().filter(ours).count()
    };
    let seen = async |kind: &str| {
        let there = async || inserted(kind) > 0;
        world.wait_for(kind, LIMIT, &**clock, there).await.unwrap();
    };
    seen("SMC-KT").await;
    world.terminal.set_fault(Some(Fault::NoAtr));
    world.terminal.insert(1, "eGK Loipengrün").unwrap();
    seen("UNKNOWN").await;
    world.terminal.set_fault(None);
    // the first look again comes at once, the second after twenty keep-alives
    seen("EGK").await;
    assert_eq!(inserted("UNKNOWN"), 1);
}

/// A card that was silent for a moment when it came is read later, without anybody's hand.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_card_is_tried_again() {
    let Morning { world, clock, .. } = &paired().await;
    let one = async |kind| {
        world
            .practice
            .cards(kind)
            .await
            .is_ok_and(|cards| cards.len() == 1)
    };
    let connected = async || one("SMC-KT").await;
    world
        .wait_for("gSMC-KT", LIMIT, &**clock, connected)
        .await
        .unwrap();
    world.terminal.set_fault(Some(Fault::CardGarbage));
    world.terminal.insert(1, "eGK Loipengrün").unwrap();
    let unknown = async || one("UNKNOWN").await;
    world
        .wait_for("unknown card", LIMIT, &**clock, unknown)
        .await
        .unwrap();
    world.terminal.set_fault(None);
    let known = async || one("EGK").await;
    world.wait_for("eGK", LIMIT, &**clock, known).await.unwrap();
    assert!(!one("UNKNOWN").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_cannot_be_read_is_unknown_and_can_be_ejected() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, practice) = (&morning.world, &morning.world.practice);
    world.terminal.remove(1).unwrap();
    world.terminal.set_fault(Some(Fault::CardGarbage));
    world.terminal.insert(1, "eGK Loipengrün").unwrap();
    let unknown = async || {
        practice
            .cards("UNKNOWN")
            .await
            .is_ok_and(|cards| cards.len() == 1)
    };
    world
        .wait_for("unknown card", LIMIT, &*morning.clock, unknown)
        .await
        .unwrap();
    let handle = practice.cards("UNKNOWN").await.unwrap().pop().unwrap();
    let eject = Operation::EjectCard { handle: &handle };
    let (answer, ()) = tokio::join!(practice.call(eject), async {
        let asked = async || world.terminal.appearance().display.contains("entnehmen");
        world
            .wait_for("text", LIMIT, &*morning.clock, asked)
            .await
            .unwrap();
        world.terminal.remove(1).unwrap();
    });
    assert_eq!(answer.unwrap().fault(), None);
    world.terminal.set_fault(None);
    world.terminal.insert(1, "eGK Loipengrün").unwrap();
    let known = async || practice.cards("EGK").await.is_ok_and(|cards| cards.len() == 1);
    world
        .wait_for("eGK", LIMIT, &*morning.clock, known)
        .await
        .unwrap();
    assert_eq!(read(practice).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_ends_the_connection_and_it_comes_back() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, practice) = (&morning.world, &morning.world.practice);
    world.terminal.set_fault(Some(Fault::BrokenEnvelope));
    assert_eq!(read(practice).await, Some(4044));
    world.terminal.set_fault(None);
    let back = async || {
        practice.cards("EGK").await.is_ok_and(|cards| cards.len() == 1)
            && practice.cards("SMC-B").await.is_ok_and(|cards| cards.len() == 1)
    };
    world
        .wait_for("cards", LIMIT, &*morning.clock, back)
        .await
        .unwrap();
    // the cards lost power with the connection: the PIN is typed again
    assert_eq!(read(practice).await, Some(3041));
    let smcb = practice.cards("SMC-B").await.unwrap().pop().unwrap();
    let verify = ("VerifyPin", smcb.as_str(), "PIN.SMC");
    let answer = e2e::pin(practice, &world.terminal, verify, &["123456"])
        .await
        .unwrap();
    assert_eq!(answer.text("PinResult").as_deref(), Some("OK"));
    assert_eq!(read(practice).await, None);
}
