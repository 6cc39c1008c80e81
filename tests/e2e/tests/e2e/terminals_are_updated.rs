//! Firmware for terminals: from the configuration service or a file, over SICCT, while nobody works there, and believed only when the
//! terminal is back with it.

use base::VirtualClock;
use e2e::{Morning, Station, logged, read_vsd};
use konnektor::Inner;
use konnektor::state::Condition;
use konnektor::update::TerminalFirmware;
use langlauf::demo::Walk;
use langlauf::world::World;
use soap::ksr::{Product, UpdateInformation};
use std::sync::Arc;
use std::time::Duration;
use terminal::Version;
use terminal::simulator::{Fault, VirtualTerminal, firmware};

const LIMIT: Duration = Duration::from_secs(300);

/// In virtual time: terminals take minutes.
struct Workshop {
    morning: Morning,
    virtually: VirtualClock,
    ticking: tokio::task::JoinHandle<()>,
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

impl Workshop {
    async fn open(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = VirtualClock::at("2026-03-02T10:00:00Z".parse().unwrap());
        let mut options = e2e::options(folder.path().into());
        options.settings = settings.parse().unwrap();
        let ticking = clock.tick();
        let world = World::start(&options, clock.shared()).await.unwrap();
        Walk::new(&world, &clock, true, &|_| ()).run().await.unwrap();
        Self {
            morning: Morning {
                world,
                clock: clock.shared(),
                folder,
            },
            virtually: clock,
            ticking,
        }
    }

    fn inner(&self) -> Arc<Inner> {
        self.morning.world.konnektor().unwrap().inner().clone()
    }

    fn publish(&self, version: Version, package: Vec<u8>) {
        let Version(a, b, c) = version;
        let entry = UpdateInformation {
            id: format!("KT_{a}_{b}_{c}"),
            product: Product {
                vendor: "LANGL".into(),
                code: "KTVIRT".into(),
                hardware: "1.0.0".into(),
            },
            name: "Virtual terminal".into(),
            version: [a, b, c],
            critical: false,
            deadline: None,
            files: Vec::new(),
            documents: Vec::new(),
            notes: "Was neu ist".into(),
        };
        self.morning.world.ksr.publish_update(entry, package);
    }

    fn firmware_of(&self, id: &str) -> TerminalFirmware {
        let all = self.inner().terminal_firmware().unwrap();
        all.into_iter().find(|one| one.terminal.as_str() == id).unwrap()
    }

    fn login(&self, id: &str, password: &str) {
        let (user, _) = VirtualTerminal::ADMIN;
        let password = password.to_owned().into();
        self.inner()
            .set_terminal_login(&id.parse().unwrap(), user, &password)
            .unwrap();
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waiting = self
            .morning
            .world
            .wait_for(what, LIMIT, &*self.morning.clock, async || condition(self));
        waiting
            .await
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.inner().terminal_firmware()));
    }

    /// Orders what there is; how that ended.
    async fn update(&self, id: &str) -> Option<String> {
        let before = self.firmware_of(id).last;
        self.inner().order_terminal_update(&id.parse().unwrap()).unwrap();
        self.until("outcome", |this| {
            this.firmware_of(id).last != before && this.firmware_of(id).percent.is_none()
        })
        .await;
        self.firmware_of(id).last.unwrap().failed
    }

    /// It was given a firmware, starts again, and says nothing new until nobody believes any more that it will.
    async fn back_with_the_old_one(&self, id: &str) -> String {
        let before = self.firmware_of(id).last;
        self.until("given", |this| this.firmware_of(id).percent.is_some())
            .await;
        let back = |this: &Self| {
            let connected = this.inner().terminals().connected(&id.parse().unwrap()).is_ok();
            connected && this.firmware_of(id).percent.is_none()
        };
        self.until("back", back).await;
        // fast, but not so fast that a connection takes it for silence
        for _ in 0..10_000 {
            let last = self.firmware_of(id).last;
            if last != before {
                return last.unwrap().failed.unwrap();
            }
            self.virtually.pass(Duration::from_millis(2), 80).await;
        }
        panic!("no outcome: {:?}", self.firmware_of(id))
    }

    async fn read(&self) {
        let world = &self.morning.world;
        let works = async || {
            read_vsd(&world.practice, false, false)
                .await
                .is_ok_and(|answer| answer.fault().is_none())
        };
        world
            .wait_for("a card is read", LIMIT, &*self.morning.clock, works)
            .await
            .unwrap();
    }

    fn is_set(&self, wanted: &Condition) -> bool {
        let all = self.inner().conditions();
        all.iter().any(|(one, value, _)| one == wanted && *value)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_what_the_configuration_service_has() {
    let shop = Workshop::open("smb_unlock = true").await;
    let (world, inner) = (&shop.morning.world, shop.inner());
    let smb = langlauf::world::SMC_B.parse().unwrap();
    inner
        .store_smb_pin(&smb, "123456".to_owned().into())
        .await
        .unwrap();
    let id = "KT1".parse().unwrap();
    let out_of_date = Condition::CardTerminalSoftwareOutOfDate("KT1".parse().unwrap());
    inner.look_at_ksr().await.unwrap();
    assert!(shop.firmware_of("KT1").available.is_none() && !shop.is_set(&out_of_date));
    let new = Version(0, 2, 0);
    shop.publish(new, firmware(new, 300_000));
    inner.look_at_ksr().await.unwrap();
    assert_eq!(shop.firmware_of("KT1").available.unwrap().version, [0, 2, 0]);
    assert!(shop.is_set(&out_of_date) && shop.is_set(&Condition::FwUpdateAvailable));

    // nobody has said how to log in there; and what was said was wrong
    let refused = inner.order_terminal_update(&id).unwrap_err();
    assert_eq!(refused.code().number(), 4030, "{}", refused.detail());
    shop.login("KT1", "falsch");
    let failed = shop.update("KT1").await.unwrap();
    assert!(failed.starts_with("4030"), "{failed}");
    shop.read().await;

    // the line breaks while it is fetched; the next time it goes on there
    shop.login("KT1", VirtualTerminal::ADMIN.1);
    world.ksr.break_off(Some(100_000));
    let failed = shop.update("KT1").await.unwrap();
    assert!(failed.starts_with("4186"), "{failed}");
    world.ksr.break_off(None);
    // somebody who only drips is given up (TUF's slow retrieval)
    world.ksr.drip(Some(500));
    let failed = shop.update("KT1").await.unwrap();
    assert!(
        failed.starts_with("4186") && failed.contains("slower than"),
        "{failed}"
    );
    world.ksr.drip(None);
    assert_eq!(shop.update("KT1").await, None);
    let asked = world.ksr.asked();
    assert!(
        asked.last().is_some_and(|from| *from > 0 && *from <= 150_000),
        "{asked:?}"
    );
    assert_eq!(world.terminal.version(), new);
    assert!(shop.firmware_of("KT1").available.is_none() && !shop.is_set(&out_of_date));
    shop.read().await;
    let topics: Vec<String> = logged(&inner).into_iter().map(|(topic, _)| topic).collect();
    for topic in [
        "KSR/UPDATE/START",
        "KSR/UPDATE/SUCCESS",
        "KSR/UPDATE/END",
        "KSR/ERROR",
    ] {
        assert!(topics.iter().any(|one| one == topic), "{topic}");
    }
    // pairing and configuration are what they were
    assert_eq!(
        inner.terminals().get(&id).unwrap().record.correlation,
        konnektor::terminals::Correlation::Aktiv
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_leaves_the_terminal_as_it_was() {
    let shop = Workshop::open("").await;
    let (world, inner) = (&shop.morning.world, shop.inner());
    let (old, id) = (world.terminal.version(), "KT1".parse().unwrap());
    shop.login("KT1", VirtualTerminal::ADMIN.1);
    // broken on the way: the terminal sees it (TIP1-A_2976)
    let mut broken = firmware(Version(0, 2, 0), 20_000);
    broken.truncate(15_000);
    shop.publish(Version(0, 2, 0), broken);
    inner.look_at_ksr().await.unwrap();
    let failed = shop.update("KT1").await.unwrap();
    assert!(
        failed.starts_with("4187") && failed.contains("DOWNLOAD FINISH: 6400"),
        "{failed}"
    );
    // another version than the list says
    shop.publish(Version(0, 4, 0), firmware(Version(0, 3, 0), 20_000));
    inner.look_at_ksr().await.unwrap();
    world.terminal.set_fault(Some(Fault::FirmwareKept));
    inner.order_terminal_update(&id).unwrap();
    let failed = shop.back_with_the_old_one("KT1").await;
    assert!(
        failed.starts_with("4187") && failed.contains("with its old firmware"),
        "{failed}"
    );
    world.terminal.set_fault(Some(Fault::FirmwareSilence));
    let failed = shop.update("KT1").await.unwrap();
    assert!(
        failed.starts_with("4187") && failed.contains("did not answer"),
        "{failed}"
    );
    world.terminal.set_fault(None);
    assert_eq!(world.terminal.version(), old);
    let failed = shop.update("KT1").await.unwrap();
    assert!(
        failed.starts_with("4187") && failed.contains("it came back with 0.3.0"),
        "{failed}"
    );
    // an order for a terminal that is away waits for it (TIP1-A_4831)
    let newest = Version(0, 5, 0);
    shop.publish(newest, firmware(newest, 20_000));
    inner.look_at_ksr().await.unwrap();
    world.terminal.set_network(false);
    shop.until("away", |this| {
        this.inner()
            .terminals()
            .get(&"KT1".parse().unwrap())
            .is_some_and(|one| one.session.is_none())
    })
    .await;
    inner.order_terminal_update(&id).unwrap();
    assert!(shop.firmware_of("KT1").ordered.is_some());
    world.terminal.set_network(true);
    shop.until("done", |this| {
        this.firmware_of("KT1")
            .last
            .is_some_and(|last| last.failed.is_none())
    })
    .await;
    assert!(shop.firmware_of("KT1").ordered.is_none());
    assert_eq!(world.terminal.version(), newest);
    // somebody types a PIN there: it waits, and is called off
    let later = Version(0, 6, 0);
    shop.publish(later, firmware(later, 20_000));
    inner.look_at_ksr().await.unwrap();
    let pad = inner.terminals().connected(&id);
    shop.until("back", |this| {
        this.inner()
            .terminals()
            .connected(&"KT1".parse().unwrap())
            .is_ok()
    })
    .await;
    let pad = pad.or_else(|_| inner.terminals().connected(&id)).unwrap();
    let typing = pad.reserve_pad().unwrap();
    inner.order_terminal_update(&id).unwrap();
    let waits = |this: &Workshop| {
        let fetched = this.morning.world.ksr.asked().len() >= 5;
        fetched && this.firmware_of("KT1").percent.is_none()
    };
    shop.until("waits", waits).await;
    inner.cancel_terminal_update(&id).unwrap();
    drop(typing);
    assert_eq!(world.terminal.version(), newest);
}

/// Six of them, by themselves in the window, at least five at the same time, and what failed is not tried again.
#[tokio::test(flavor = "multi_thread")]
async fn many_in_the_window() {
    // Monday at one, German time
    let shop = Workshop::open("update.ksr.terminals = true").await;
    let inner = shop.inner();
    let mut stations = Vec::new();
    for number in 2..8u8 {
        let id = format!("KT{number}");
        let mac = base::id::Mac([2, 0x4c, 0x4c, 0, 1, number]);
        let station = Station::start(&shop.morning, &id, mac, &[]).await.unwrap();
        let id = id.parse().unwrap();
        inner.add_terminal(id, station.address, None, None).await.unwrap();
        let id = format!("KT{number}").parse().unwrap();
        station.pair(&shop.morning, &id).await.unwrap();
        shop.login(id.as_str(), VirtualTerminal::ADMIN.1);
        stations.push(station);
    }
    let all = ["KT2", "KT3", "KT4", "KT5", "KT6", "KT7"];
    let connected = |this: &Workshop| {
        all.iter()
            .all(|id| this.inner().terminals().connected(&id.parse().unwrap()).is_ok())
    };
    shop.until("connected", connected).await;
    let fault = |fault: Option<Fault>| {
        stations
            .iter()
            .for_each(|station| station.terminal.set_fault(fault))
    };
    // each stops in the middle until all of them have begun
    fault(Some(Fault::FirmwareSilence));
    let new = Version(0, 2, 0);
    shop.publish(new, firmware(new, 100_000));
    inner.look_at_ksr().await.unwrap();
    // it is Monday at eleven: the window is over, and nothing begins
    let minutes = |minutes: u64| shop.virtually.advance(Duration::from_secs(60 * minutes));
    minutes(10);
    shop.until("connected", connected).await;
    assert!(all.iter().all(|id| shop.firmware_of(id).ordered.is_none()));
    // a week later
    let window = konnektor::update::Window::default();
    while !window.is_open(shop.morning.clock.now()) {
        minutes(30);
    }
    let together = |this: &Workshop| all.iter().all(|id| this.firmware_of(id).percent.is_some());
    shop.until("all at the same time", together).await;
    fault(None);
    stations[0].terminal.set_fault(Some(Fault::FirmwareKept));
    let done = |id: &&&str| {
        let one = shop.firmware_of(id);
        one.last.is_some() && one.ordered.is_none()
    };
    let others = |_: &Workshop| all[1..].iter().all(|id| done(&id));
    shop.until("all but one", others).await;
    // the last one was given its firmware, and says nothing new
    let given = |_: &Workshop| {
        let begun = logged(&inner)
            .iter()
            .filter(|(topic, _)| topic == "KSR/UPDATE/START")
            .count();
        begun == all.len() && shop.firmware_of("KT2").percent.is_none()
    };
    shop.until("given", given).await;
    minutes(6);
    shop.until("the one", |_| done(&&all[0])).await;
    let failed = |id: &str| shop.firmware_of(id).last.unwrap().failed;
    assert!(failed("KT2").unwrap().starts_with("4187"));
    assert!(all[1..].iter().all(|id| failed(id).is_none()));
    assert!(
        stations[1..]
            .iter()
            .all(|station| station.terminal.version() == new)
    );
    // what failed is a person's to decide; and nobody has logged in at KT1
    let at = shop.firmware_of("KT2").last.unwrap().at;
    minutes(30);
    shop.until("connected", connected).await;
    assert_eq!(shop.firmware_of("KT2").last.unwrap().at, at);
    assert_eq!(shop.morning.world.terminal.version(), Version(0, 1, 0));
}
