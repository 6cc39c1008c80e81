//! An SM-B whose PIN is stored opens after an insertion and a restart; a wrong PIN costs one try and never the last.

use base::Clock;
use base::id::Iccsn;
use card::image::PinBlock;
use e2e::Morning;
use konnektor::unlock::{Unlock, UnlockEntry};
use langlauf::practice::Operation;
use langlauf::world::{Options, SMC_B, World};
use pki::How;
use std::sync::Arc;
use std::time::Duration;
use terminal::simulator::Fault;
use zeroize::Zeroizing;

const LIMIT: Duration = Duration::from_secs(30);
const SLOT: u8 = 3;
const OPEN: (&str, Option<&str>) = ("VERIFIED", None);

/// A practice that looks at its SM-B.
struct Practice {
    world: World,
    clock: Arc<dyn Clock>,
}

impl Practice {
    /// State of PIN.SMC and tries left, as a practice system is told.
    async fn pin_status(&self) -> Option<(String, Option<String>)> {
        let practice = &self.world.practice;
        let handle = practice.cards("SMC-B").await.ok()?.pop()?;
        let status = Operation::Pin {
            operation: "GetPinStatus",
            handle: &handle,
            pin: "PIN.SMC",
        };
        let answer = practice.call(status).await.ok()?;
        Some((answer.text("PinStatus")?, answer.text("LeftTries")))
    }

    async fn wait_for(&self, (state, tries): (&str, Option<&str>)) {
        let mut last = None;
        let there = async || {
            last = self.pin_status().await;
            last == Some((state.into(), tries.map(Into::into)))
        };
        let outcome = self.world.wait_for(state, LIMIT, &*self.clock, there).await;
        outcome.unwrap_or_else(|error| panic!("{error}, but: {last:?}"));
    }

    /// Pulls the SM-B and puts it in again; the Konnektor has done with it what it does.
    async fn in_again(&self) {
        self.world.terminal.remove(SLOT).unwrap();
        let gone = async || self.pin_status().await.is_none();
        let clock = &*self.clock;
        self.world.wait_for("pulled", LIMIT, clock, gone).await.unwrap();
        self.world.terminal.insert(SLOT, "SMC-B Praxis").unwrap();
        let there = async || self.pin_status().await.is_some();
        self.world.wait_for("there", LIMIT, clock, there).await.unwrap();
    }

    async fn store(&self, iccsn: &Iccsn, pin: &str) -> Result<Unlock, u16> {
        let inner = self.world.konnektor().unwrap().inner();
        let stored = inner.store_smb_pin(iccsn, Zeroizing::new(pin.to_owned())).await;
        stored.map_err(|failure| failure.code().number())
    }

    fn known(&self) -> Unlock {
        let pins = self.world.konnektor().unwrap().inner().smb_pins().unwrap();
        pins.first().unwrap().1.state
    }

    /// A PIN operation; each entry is typed at the terminal.
    async fn typed(&self, operation: &str, entries: &[&str]) {
        let handle = self.world.practice.cards("SMC-B").await.unwrap().pop().unwrap();
        let operation = (operation, handle.as_str(), "PIN.SMC");
        let answer = e2e::pin(&self.world.practice, &self.world.terminal, operation, entries).await;
        assert_eq!(answer.unwrap().text("PinResult").as_deref(), Some("OK"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_opens_and_a_wrong_pin_is_never_tried_twice() {
    let Morning { world, clock, folder } = Morning::after_the_walk().await.unwrap();
    let practice = Practice { world, clock };
    let iccsn = SMC_B.parse().unwrap();
    // off by default
    assert_eq!(practice.store(&iccsn, "123456").await, Err(4058));
    let start = async |practice: Practice| {
        let clock = practice.clock.clone();
        drop(practice);
        let options = Options {
            settings: "smb_unlock = true".parse().unwrap(),
            ..e2e::options(folder.path().into())
        };
        let world = World::start(&options, clock.clone()).await.unwrap();
        // the virtual terminal starts with empty slots
        world.terminal.insert(SLOT, "SMC-B Praxis").unwrap();
        Practice { world, clock }
    };
    let practice = start(practice).await;
    practice.wait_for(("VERIFIABLE", Some("3"))).await;
    assert_eq!(practice.store(&iccsn, "12345").await, Err(4000));
    let strange = "80276009999999999999".parse().unwrap();
    assert_eq!(practice.store(&strange, "123456").await, Err(4009));
    assert_eq!(practice.store(&iccsn, "123456").await, Ok(Unlock::Opened));
    practice.wait_for(OPEN).await;

    // that nobody typed stands in the log
    let inner = practice.world.konnektor().unwrap().inner();
    let opened = |topic: &str, body: &str| topic == "CARD/SELF_UNLOCK" && body.contains("opened");
    assert!(e2e::logged(inner).iter().any(|(topic, body)| opened(topic, body)));

    // an insertion, a restart, a cable: nobody has to type
    practice.in_again().await;
    practice.wait_for(OPEN).await;
    let practice = start(practice).await;
    practice.wait_for(OPEN).await;
    practice.world.terminal.set_network(false);
    let gone = async || practice.pin_status().await.is_none();
    let clock = &*practice.clock;
    practice.world.wait_for("gone", LIMIT, clock, gone).await.unwrap();
    practice.world.terminal.set_network(true);
    practice.wait_for(OPEN).await;

    // the PIN is changed at the terminal: what is stored would be wrong, and is forgotten
    practice.typed("ChangePin", &["123456", "654321", "654321"]).await;
    assert_eq!(practice.known(), Unlock::Changed);
    practice.in_again().await;
    practice.wait_for(("VERIFIABLE", Some("3"))).await;

    // a wrong one costs one try, once
    assert_eq!(practice.store(&iccsn, "111111").await, Ok(Unlock::Wrong));
    practice.wait_for(("VERIFIABLE", Some("2"))).await;
    practice.in_again().await;
    practice.wait_for(("VERIFIABLE", Some("2"))).await;
    assert_eq!(practice.known(), Unlock::Wrong);
    // power went after the PIN was sent and before the answer came: the card has a try less, so it was wrong
    let inner = practice.world.konnektor().unwrap().inner();
    let block = PinBlock::from_digits("111111").unwrap();
    let secret = format!("smb-pin/{SMC_B}");
    inner.store().put_secret(&secret, block.as_bytes()).unwrap();
    let sent = UnlockEntry {
        state: Unlock::Waiting,
        since: practice.clock.now(),
        sent_at: Some(3),
    };
    inner.store().put("smb-unlock", SMC_B, &sent).unwrap();
    practice.in_again().await;
    let known = async || practice.known() == Unlock::Wrong;
    practice
        .world
        .wait_for("wrong", LIMIT, &*practice.clock, known)
        .await
        .unwrap();
    practice.wait_for(("VERIFIABLE", Some("2"))).await;
    assert!(inner.store().secret(&secret).unwrap().is_none());
    // the last try is a person's, even if the PIN is right
    assert_eq!(practice.store(&iccsn, "111111").await, Ok(Unlock::Wrong));
    assert_eq!(practice.store(&iccsn, "654321").await, Ok(Unlock::HeldBack));
    practice.wait_for(("VERIFIABLE", Some("1"))).await;
    practice.typed("VerifyPin", &["654321"]).await;
    practice.in_again().await;
    practice.wait_for(OPEN).await;
    assert_eq!(practice.known(), Unlock::Opened);
}

/// The card has taken the PIN, and nobody heard: that it is open is seen without another try.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost() {
    let settings = "smb_unlock = true\ncard_timeout_seconds = 1";
    let morning = Morning::with(|options| options.settings = settings.parse().unwrap()).await;
    let Morning {
        world,
        clock,
        folder: _folder,
    } = morning.unwrap();
    let inner = world.konnektor().unwrap().inner().clone();
    e2e::pair(&inner, &world.terminal, &"KT1".parse().unwrap())
        .await
        .unwrap();
    for (slot, name) in [(1, "eGK Loipengrün"), (SLOT, "SMC-B Praxis")] {
        world.terminal.insert(slot, name).unwrap();
    }
    let practice = Practice { world, clock };
    practice.wait_for(("VERIFIABLE", Some("3"))).await;
    practice.world.terminal.set_fault(Some(Fault::PinAnswerLost));
    let iccsn = SMC_B.parse().unwrap();
    assert_eq!(practice.store(&iccsn, "123456").await, Err(4094));
    practice.world.terminal.set_fault(None);
    // a practice system that calls now is served a moment later
    let served = async || {
        let answer = e2e::read_vsd(&practice.world.practice, false, false).await;
        answer.is_ok_and(|answer| answer.fault().is_none())
    };
    let clock = &*practice.clock;
    practice
        .world
        .wait_for("served", LIMIT, clock, served)
        .await
        .unwrap();
    assert_eq!(practice.known(), Unlock::Opened);
    practice.wait_for(OPEN).await;
    practice.in_again().await;
    practice.wait_for(OPEN).await;
}

/// The PIN lies in a file, as systemd hands over credentials: nothing of it is stored, and a wrong one is tried once.
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_opens_it() {
    let credentials = tempfile::tempdir().unwrap();
    let file = credentials.path().join(format!("smb-pin.{SMC_B}"));
    std::fs::write(&file, "123456\n").unwrap();
    let settings = format!("smb_unlock = true\nsmb_pin_folder = {:?}", credentials.path());
    let morning = Morning::with(|options| options.settings = settings.parse().unwrap())
        .await
        .unwrap();
    let Morning {
        world,
        clock,
        folder: _folder,
    } = morning;
    let inner = world.konnektor().unwrap().inner().clone();
    e2e::pair(&inner, &world.terminal, &"KT1".parse().unwrap())
        .await
        .unwrap();
    world.terminal.insert(SLOT, "SMC-B Praxis").unwrap();
    let practice = Practice { world, clock };
    practice.wait_for(OPEN).await;
    assert!(
        inner
            .store()
            .secret(&format!("smb-pin/{SMC_B}"))
            .unwrap()
            .is_none()
    );
    std::fs::write(&file, "999999").unwrap();
    for _ in 0..2 {
        practice.in_again().await;
        practice.wait_for(("VERIFIABLE", Some("2"))).await;
    }
    assert_eq!(practice.known(), Unlock::Wrong);
    std::fs::write(&file, "123456").unwrap();
    practice.in_again().await;
    practice.wait_for(OPEN).await;

    // put in while the trust list has ended, it opens as soon as there is one again
    let publisher = &practice.world.publisher;
    let now = practice.clock.now().as_second();
    let ended = publisher.publish_as(|_, edition| {
        edition.next_update = base::Timestamp::from_second(now - 40 * 86_400).unwrap();
    });
    inner.adopt_list(&ended.unwrap(), How::ByHand).await.unwrap();
    practice.world.terminal.remove(SLOT).unwrap();
    practice.world.terminal.insert(SLOT, "SMC-B Praxis").unwrap();
    let clock = &*practice.clock;
    let waits = async || practice.known() == Unlock::Waiting;
    practice
        .world
        .wait_for("barred", LIMIT, clock, waits)
        .await
        .unwrap();
    let list = publisher.publish().unwrap();
    inner.adopt_list(&list, How::ByHand).await.unwrap();
    practice.wait_for(OPEN).await;
}
