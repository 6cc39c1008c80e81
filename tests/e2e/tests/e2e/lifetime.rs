//! The lifetime extension on the whole instance: by the calendar with everything going wrong, under load, and back after a
//! year off.

use crate::an_unchanged_practice_system::{practice_with, run as zeep};
use crate::runbooks::Rest;
use base::{Clock, VirtualClock};
use e2e::documents::{Item, Office, outcomes};
use e2e::{logged, read_vsd};
use identity::{Package, Stage};
use konnektor::Inner;
use konnektor::lifetime::{ByHand, RecoverOptions};
use konnektor::state::Condition;
use langlauf::demo::Walk;
use langlauf::practice::Operation;
use langlauf::world::{GSMC_K, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use terminal::simulator::Key;
use testti::registrar::{Refusal, RegistrarFault};
use testti::services::OcspFault;
use testti::tsp::PackageFault;

const DAY: Duration = Duration::from_secs(86_400);
/// Days that the certificates of the card last here: the search begins on day 20.
const CARD: u32 = 201;

struct Life {
    world: World,
    clock: VirtualClock,
    ticking: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

/// A card with elliptic keys.
async fn begin(settings: &str) -> Life {
    begin_with(settings, false).await
}

async fn begin_with(settings: &str, rsa: bool) -> Life {
    let folder = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let mut options = e2e::options(folder.path().into());
    options.settings = settings.parse().unwrap();
    options.gsmc_k_days = CARD;
    options.rsa = rsa;
    let ticking = clock.tick();
    let world = World::start(&options, clock.shared()).await.unwrap();
    Walk::new(&world, &clock, true, &|_| ()).run().await.unwrap();
    Life {
        world,
        clock,
        ticking,
        _folder: folder,
    }
}

impl Life {
    fn inner(&self) -> Arc<Inner> {
        self.world.konnektor().unwrap().inner().clone()
    }

    /// To half past five in the afternoon of a day after the begin: the quarter's moment is past then.
    fn to_evening(&self, day: u32) {
        let evening = DAY * day + Duration::from_secs(17 * 3600 + 1800);
        self.clock.advance(evening.saturating_sub(self.clock.elapsed()));
    }

    async fn read(&self, day: u32) {
        let mut last = String::new();
        for attempt in 0..1000 {
            match read_vsd(&self.world.practice, false, false).await {
                Ok(answer) if answer.fault().is_none() => return,
                Ok(answer) => last = answer.body,
                Err(error) => last = format!("{error:#}"),
            }
            // the longest pause between two attempts to connect at once, then time for handshake and cards
            let connected = self.inner().terminals().all();
            let connected = connected.iter().any(|one| one.session.is_some());
            let times = if !connected && attempt % 12 == 0 { 3000 } else { 5 };
            self.clock.pass(Duration::from_millis(10), times).await;
        }
        panic!("day {day}: no card could be read: {last}");
    }

    /// Reads a card, and waits until what is due for the extension has been done: before, because time runs fast while a terminal
    /// comes back, and a download would have no time; and afterwards, because a card that is open again may be what was missing.
    async fn read_and_look(&self, day: u32) {
        self.look().await;
        self.read(day).await;
        self.look().await;
    }

    async fn look(&self) {
        let begin = self.clock.now();
        self.inner().look_now();
        let looked = |life: &Self| {
            let view = life.inner().lifetime_view();
            let at = view["looked_at"].as_str();
            at.and_then(|at| at.parse::<base::Timestamp>().ok())
                .is_some_and(|at| at >= begin)
        };
        self.until("looked after", looked).await;
    }

    fn stage(&self, generation: u32) -> Option<Stage> {
        let view = self.inner().lifetime_view();
        let families = &view["generations"].get(generation as usize)?["families"];
        let family = families.as_array()?.iter().find(|one| one["family"] == "ecc")?;
        serde_json::from_value(family["stage"].clone()).ok()
    }

    fn is_set(&self, wanted: &Condition) -> bool {
        let all = self.inner().conditions();
        all.iter()
            .any(|(condition, value, _)| condition == wanted && *value)
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        self.world
            .wait_for(what, DAY / 24, &self.clock, async || condition(self))
            .await
            .unwrap();
    }
}

/// From the first day to a month after the old certificates have ended: every package that nobody should get, a status service
/// and an access service that fail, power cuts; and a card is read on every day. The card has both kinds of keys; that its RSA
/// certificates end on day 100 troubles nobody (G8).
#[tokio::test(flavor = "multi_thread")]
async fn by_the_calendar_with_everything_going_wrong() {
    let mut life = begin_with("smb_unlock = true", true).await;
    let smb = langlauf::world::SMC_B.parse().unwrap();
    life.inner()
        .store_smb_pin(&smb, "123456".to_owned().into())
        .await
        .unwrap();
    let mut fatal = Vec::new();
    // every day as long as something goes wrong, then now and then
    for day in std::iter::once(5)
        .chain(10..72)
        .chain((72..=CARD + 30).step_by(6))
    {
        if day == 15 {
            // before the search begins: nobody may take it yet
            let now = life.clock.now();
            life.world.reissue(&life.world.issuers(), now, 5 * 365).unwrap();
        }
        let fault = (day - 1) as usize / 2;
        life.world
            .tsp
            .set_fault((day < 46).then(|| PackageFault::ALL[fault % PackageFault::ALL.len()]));
        life.world
            .ledger
            .set_fault((46..50).contains(&day).then_some(OcspFault::Down));
        life.world.registrar.set_fault(match day {
            50..53 => Some(RegistrarFault::Down),
            53..55 => Some(RegistrarFault::Refuses(Refusal::EntryFailed)),
            55..57 => Some(RegistrarFault::Forgets),
            _ => None,
        });
        if day % 10 == 0 {
            life.world.publisher.publish().unwrap();
        }
        life.world.publisher.publish_crl().unwrap();
        life.to_evening(day);
        life.read_and_look(day).await;
        if [13, 58, 102, 150, 204].contains(&day) {
            life.world.power_cut(life.clock.shared()).await.unwrap();
            // the next night must not begin before it is up again
            life.read(day).await;
        }
        let conditions = life.inner().conditions();
        fatal.extend(conditions.into_iter().filter_map(|(condition, value, _)| {
            // six days at once can be the end of a revocation list for a moment
            let passing = condition == Condition::CrlOutOfDate;
            let about = condition.describe();
            (value && !passing && about.severity == base::Severity::Fatal)
                .then(|| format!("{day} {}", about.name))
        }));
        match day {
            19 => {
                assert_eq!(life.world.tsp.asked(), 0, "the search began too early");
                // the card's own registration is made by itself
                assert_eq!(life.world.registrar.entries().len(), 1);
                assert!(!life.is_set(&Condition::NkCertificateExpiring));
            }
            45 => {
                // every bad package was refused, and the good old certificates are untouched
                assert!(life.world.tsp.asked() > 10);
                let log = logged(&life.inner());
                for fail in ["Crypt", "Serial", "Chain", "Missing", "Cvc"] {
                    let told = |(topic, body): &(String, String)| {
                        topic == "SMC_K/UPDATE/ERROR" && body.contains(&format!("\"{fail}\""))
                    };
                    assert!(log.iter().any(told), "{fail}");
                }
                assert!(log.iter().any(|(topic, _)| topic == "SMC_K/DOWNLOAD/ERROR"));
                assert_eq!(life.stage(1), None);
                assert!(life.is_set(&Condition::NkCertificateExpiring));
            }
            49 => assert_eq!(life.stage(1), Some(Stage::Fetched), "no status, no step"),
            71 => {
                assert!(life.stage(1) >= Some(Stage::Probed), "{:?}", life.stage(1));
                let log = logged(&life.inner());
                for topic in [
                    "SMC_K/UPDATE/SUCCESS",
                    "SMC_K/REGISTER/ERROR",
                    "MGM/TI_ACCESS_GRANTED",
                    "CERT/CALENDAR/EXPIRATION",
                ] {
                    assert!(log.iter().any(|(one, _)| one == topic), "{topic}");
                }
                // beside the old one, which nobody took away
                assert_eq!(life.world.registrar.entries().len(), 2);
            }
            144 => {
                // what a machine under load has let run out is tried again in the next quarter of a day
                for _ in 0..12 {
                    if life.stage(1) == Some(Stage::Active) {
                        break;
                    }
                    life.clock.advance(DAY / 4);
                    life.read_and_look(day).await;
                }
                let generations = &life.inner().lifetime_view()["generations"];
                assert_eq!(life.stage(1), Some(Stage::Active), "{generations}");
                assert_eq!(life.stage(0), Some(Stage::Superseded));
                assert!(!life.is_set(&Condition::NkCertificateExpiring));
                // practice systems go on seeing the old one until its day
                assert_eq!(life.inner().lifetime_view()["clients"]["brainpoolP256r1"], 0);
            }
            _ => {}
        }
    }
    assert_eq!(fatal, Vec::<String>::new());
    let view = life.inner().lifetime_view();
    assert_eq!(view["clients"]["brainpoolP256r1"], 1);
    assert_eq!(view["clients"]["P-256"], 1);
    assert_eq!(view["terminals"]["KT1"], 1);
    assert_eq!(view["tunnel"], 1);
    let on_card = view["generations"][0]["certificates"].as_array().unwrap();
    assert!(on_card.iter().any(|one| one["kind"] == "C.NK.VPN_RSA"));
    let log = logged(&life.inner());
    let told = |kind: &str| {
        let mut log = log.iter();
        log.any(|(topic, body)| topic == "CERT/CALENDAR/EXPIRATION" && body.contains(kind))
    };
    assert!(told("C.NK.VPN_ECC") && !told("_RSA"));
    let switched = |(topic, _): &(String, String)| topic == "SMC_K/CLIENTS/SWITCHED";
    assert!(logged(&life.inner()).iter().any(switched));
    assert!(
        !life
            .world
            .registrar
            .asked()
            .contains(&soap::provisioning::Operation::Deregister)
    );
}

/// Practice systems call all the time, each with a new connection, while every identity is extended by hand: not one request
/// fails.
#[tokio::test(flavor = "multi_thread")]
async fn not_one_failed_request() {
    let mut life = begin("[lifetime]\nautomatic = false").await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (practice, stop, done) = (life.world.practice.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = match number {
                        0 => read_vsd(&practice, false, false).await,
                        _ => practice.call(Operation::GetCards { card_type: None }).await,
                    };
                    let answer = answer.map_err(|error| format!("{error:#}"))?;
                    match answer.fault() {
                        None => done.fetch_add(1, Ordering::Relaxed),
                        Some(_) => return Err(answer.body),
                    };
                }
                Ok(())
            })
        })
        .collect();
    let enough = async |more: u32| {
        let wanted = done.load(Ordering::Relaxed) + more;
        let limit = Duration::from_secs(600);
        let waiting = life.world.wait_for("requests", limit, &life.clock, async || {
            done.load(Ordering::Relaxed) >= wanted || clients.iter().any(|client| client.is_finished())
        });
        waiting.await.unwrap();
    };
    enough(30).await;
    let inner = life.inner();
    for generation in 1..=2 {
        let now = life.clock.now();
        let days = CARD + 400 * generation;
        life.world.reissue(&life.world.issuers(), now, days).unwrap();
        let fetched = inner.lifetime_by_hand(ByHand::Fetch).await;
        fetched.unwrap();
        let package = life.world.tsp.published(GSMC_K).unwrap().write(GSMC_K).unwrap();
        // the same once more as a file: nothing new, but checked now
        inner.lifetime_by_hand(ByHand::Import(package)).await.unwrap();
        enough(20).await;
        for action in [
            ByHand::Register(generation),
            ByHand::Probe(generation),
            ByHand::Activate(generation),
            ByHand::ShowClients(Some(generation)),
        ] {
            inner.lifetime_by_hand(action).await.unwrap();
            enough(20).await;
        }
        let view = inner.lifetime_view();
        assert_eq!(view["clients"]["P-256"], generation);
        assert_eq!(view["terminals"]["KT1"], generation);
    }
    // a batch: the HBA is shown the renewed CV certificates, and believes them
    assert!(view_has_cvc(&inner, 2));
    let office = Office {
        practice: &life.world.practice,
        user: Some("8a4b1c7e-0f6d-4c1e-9a53-5d2f1b7c9e10"),
    };
    let hba = e2e::card(&life.world.practice, "HBA").await.unwrap();
    let job = office.job().await.unwrap();
    let letters = [Item::text("R1", "eins"), Item::text("R2", "zwei")];
    let (answer, ()) = tokio::join!(
        office.sign(&hba, &job, &letters),
        e2e::type_at(&life.world.terminal, &["123456"])
    );
    let signed = outcomes(&answer.unwrap()).unwrap();
    assert!(signed.iter().all(|one| one.signed.is_some()), "{signed:?}");
    // one click back
    inner
        .lifetime_by_hand(ByHand::ShowClients(Some(0)))
        .await
        .unwrap();
    enough(20).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.await.unwrap(), Ok(()));
    }
    assert_eq!(life.world.registrar.entries().len(), 2);
    judged_by_others(&life);
    // the store is lost: the backup brings the newest certificates back (G11)
    let (backup, passphrase) = inner.export().await.unwrap();
    let text = serde_json::to_string(&backup).unwrap();
    drop(inner);
    life.world.power_off();
    std::fs::remove_dir_all(life.world.config.with_file_name("konnektor")).unwrap();
    life.world.power_on(life.clock.shared()).await.unwrap();
    life.until("trust list", |life| life.inner().trust().is_some())
        .await;
    let inner = life.inner();
    let count = |inner: &Inner| inner.lifetime_view()["generations"].as_array().unwrap().len();
    assert_eq!(count(&inner), 1);
    let preview = inner.preview(&text, &passphrase).unwrap();
    inner.import(&text, &passphrase, &preview.confirm).unwrap();
    assert_eq!(count(&inner), 2);
}

/// The same with an unchanged practice system: zeep with the official WSDLs works through two extensions by hand, in real time.
#[tokio::test(flavor = "multi_thread")]
async fn zeep_works_through_two_extensions() {
    let settings = "smb_unlock = true\n[lifetime]\nautomatic = false";
    let practice = practice_with(|options| options.settings = settings.parse().unwrap()).await;
    let Some((morning, schemas)) = practice else {
        return;
    };
    let (world, clock) = (&morning.world, &morning.clock);
    let inner = world.konnektor().unwrap().inner().clone();
    let smb = langlauf::world::SMC_B.parse().unwrap();
    inner
        .store_smb_pin(&smb, "123456".to_owned().into())
        .await
        .unwrap();
    let file = |name: &str| morning.folder.path().join(name);
    let calls = || {
        let text = std::fs::read_to_string(file("zeep-at-work")).ok();
        text.and_then(|text| text.parse::<u32>().ok()).unwrap_or_default()
    };
    let more = async |number: u32| {
        let wanted = calls() + number;
        let limit = Duration::from_secs(60);
        let worked = world.wait_for("zeep", limit, &**clock, async || calls() >= wanted);
        worked.await.unwrap();
    };
    let extension = async {
        more(1).await;
        for generation in 1..=2 {
            world
                .reissue(&world.issuers(), clock.now(), 1826 + 400 * generation)
                .unwrap();
            let package = world.tsp.published(GSMC_K).unwrap().write(GSMC_K).unwrap();
            for action in [
                ByHand::Import(package),
                ByHand::Register(generation),
                ByHand::Probe(generation),
                ByHand::Activate(generation),
                ByHand::ShowClients(Some(generation)),
            ] {
                inner.lifetime_by_hand(action).await.unwrap();
                more(8).await;
            }
            assert_eq!(inner.lifetime_view()["clients"]["P-256"], generation);
            assert_eq!(inner.lifetime_view()["terminals"]["KT1"], generation);
        }
        std::fs::write(file("zeep-may-go"), "").unwrap();
    };
    let (answers, ()) = tokio::join!(zeep::<u32>("extension.py", &morning, &schemas), extension);
    assert!(answers >= 80, "{answers}");
}

/// Has this generation CV certificates that are valid?
fn view_has_cvc(inner: &Inner, generation: usize) -> bool {
    inner.lifetime_view()["generations"][generation]["cvc"]["to"].is_string()
}

/// What went over the wire to the VPN access service: signatures by xmlsec1, messages by the official schema.
fn judged_by_others(life: &Life) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let ca = crypto::pem::encode("CERTIFICATE", &life.world.pki.smcb_ca.certificate).unwrap();
    std::fs::write(path("ca.pem"), ca.as_bytes()).unwrap();
    let root = life.world.pki.anchors().first().unwrap();
    let root = crypto::pem::encode("CERTIFICATE", root).unwrap();
    std::fs::write(path("root.pem"), root.as_bytes()).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap_or_else(|error| panic!("{program} is missing, run `make setup`: {error}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program}: {said}");
    };
    let schema = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/schemas/vpnzugd/ProvisioningService.xsd");
    let schema = schema.canonicalize().ok();
    if schema.is_none() {
        eprintln!("skipped: ../shared/schemas is not there, messages are not judged by the official schema");
    }
    let body = |message: &str| {
        let document = roxmltree::Document::parse(message).unwrap();
        let element = document
            .descendants()
            .find(|node| node.tag_name().namespace() == Some(soap::ns::VPNK))
            .unwrap();
        message[element.range()].to_owned()
    };
    let (mut signed, mut questions) = (0, 0);
    for (request, answer) in life.world.registrar.exchanges() {
        for (name, message) in [("request.xml", &request), ("answer.xml", &answer)] {
            std::fs::write(path(name), body(message)).unwrap();
            if let Some(schema) = &schema {
                let schema = schema.to_str().unwrap();
                run("xmllint", &["--nonet", "--noout", "--schema", schema, name]);
            }
        }
        match request.contains("registerKonnektorRequest") {
            true => {
                signed += 1;
                let arguments = [
                    "--verify",
                    "--trusted-pem",
                    "root.pem",
                    "--untrusted-pem",
                    "ca.pem",
                    "--enabled-key-data",
                    "x509",
                ];
                run("xmlsec1", &[&arguments[..], &["request.xml"]].concat());
            }
            false => questions += 1,
        }
    }
    assert!(signed >= 2 && questions >= 2, "{signed} {questions}");
}

/// A generation is revoked after it has proven itself and before it is used: the refusal of the access service makes the device
/// look why, it is put aside, and the next package, which lasts no longer, takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn revoked_before_it_was_used() {
    let life = begin("smb_unlock = true").await;
    let inner = life.inner();
    let smb = langlauf::world::SMC_B.parse().unwrap();
    inner
        .store_smb_pin(&smb, "123456".to_owned().into())
        .await
        .unwrap();
    let issue = async || {
        let now = life.clock.now();
        life.world.reissue(&life.world.issuers(), now, 1000).unwrap();
        let package = life.world.tsp.published(GSMC_K).unwrap();
        let file = package.write(GSMC_K).unwrap();
        inner.lifetime_by_hand(ByHand::Import(file)).await.unwrap();
        package
    };
    let package = issue().await;
    inner.lifetime_by_hand(ByHand::Register(1)).await.unwrap();
    inner.lifetime_by_hand(ByHand::Probe(1)).await.unwrap();
    assert_eq!(life.stage(1), Some(Stage::Probed));
    let revoke = async |package: &Package| {
        package
            .certificates
            .values()
            .for_each(|der| life.world.ledger.revoke(der));
        // an answer of before may be used for ten minutes
        life.clock.advance(Duration::from_secs(3600));
        life.read(0).await;
    };
    revoke(&package).await;
    assert!(inner.lifetime_by_hand(ByHand::Register(1)).await.is_err());
    assert_eq!(life.stage(1), Some(Stage::Quarantined));
    assert!(inner.lifetime_by_hand(ByHand::Activate(1)).await.is_err());
    issue().await;
    for action in [ByHand::Register(2), ByHand::Probe(2), ByHand::Activate(2)] {
        inner.lifetime_by_hand(action).await.unwrap();
    }
    assert_eq!(life.stage(2), Some(Stage::Active));
    // revoked in use: the one before serves as long as it lasts, and the search begins at once
    revoke(&life.world.tsp.published(GSMC_K).unwrap()).await;
    assert!(inner.lifetime_by_hand(ByHand::Register(2)).await.is_err());
    assert_eq!(life.stage(2), Some(Stage::Active));
    let view = inner.lifetime_view();
    assert!(view["generations"][2]["quarantine"].is_string(), "{view}");
    assert_eq!(view["tunnel"], 0);
    assert!(view["search_begins"].as_str().unwrap() < "2000");
    assert!(
        e2e::logged(&inner)
            .iter()
            .any(|(topic, _)| topic == "SMC_K/REVOKED")
    );
    issue().await;
    for action in [ByHand::Register(3), ByHand::Probe(3), ByHand::Activate(3)] {
        inner.lifetime_by_hand(action).await.unwrap();
    }
    assert_eq!(inner.lifetime_view()["tunnel"], 3);
}

/// A terminal whose firmware does not know the CA of the new certificate keeps the old one, and goes on with it when that has
/// ended, for it has no clock of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_does_not_know_the_new_ca() {
    let life = begin("[lifetime]\nautomatic = false").await;
    let now = life.clock.now();
    let end = now.checked_add(DAY * 2000).unwrap();
    let ca = life
        .world
        .pki
        .component_generation(10, crypto::Curve::BrainpoolP256r1, now, end)
        .unwrap();
    life.world.ledger.add_issuer(&ca);
    let certificate = asn1::X509::parse(&ca.certificate).unwrap();
    life.world.registrar.believe(certificate);
    life.world.publisher.change(|contents| {
        let types = contents.cas.first().unwrap().1.clone();
        contents.cas.push((ca.certificate.clone(), types));
    });
    life.world.publisher.publish().unwrap();
    let inner = life.inner();
    inner.update_now().await.unwrap();
    let issuers = testti::tsp::Issuers {
        brainpool: ca,
        ..life.world.issuers()
    };
    life.world.reissue(&issuers, now, 1000).unwrap();
    inner.lifetime_by_hand(ByHand::Fetch).await.unwrap();
    let package = life.world.tsp.published(GSMC_K).unwrap().write(GSMC_K).unwrap();
    inner.lifetime_by_hand(ByHand::Import(package)).await.unwrap();
    inner.lifetime_by_hand(ByHand::Register(1)).await.unwrap();
    inner.lifetime_by_hand(ByHand::Probe(1)).await.unwrap();
    let view = inner.lifetime_view();
    let probes = view["generations"][1]["families"][0]["probes"]
        .as_array()
        .unwrap();
    let terminal = probes
        .iter()
        .find(|probe| probe["name"] == "terminal KT1")
        .unwrap();
    assert!(terminal["outcome"]["refused"].is_string(), "{terminal}");
    assert_eq!(view["terminals"]["KT1"], serde_json::Value::Null);
    inner.lifetime_by_hand(ByHand::Activate(1)).await.unwrap();
    // the terminal is switched off and on again: the new certificate is tried, the old one works
    life.world.terminal.set_network(false);
    let gone = |life: &Life| life.is_set(&Condition::CardTerminalNotAvailable("KT1".parse().unwrap()));
    life.until("terminal gone", gone).await;
    life.world.terminal.set_network(true);
    life.until("terminal back", |life| !gone(life)).await;
    assert_eq!(inner.lifetime_view()["terminals"]["KT1"], serde_json::Value::Null);
}

/// Off for more than a year: everything has ended, the lists are beyond their grace period, the SMC-B is closed, the TI cannot be
/// reached and no name be resolved. One action with a bundle and a PIN brings the device back.
#[tokio::test(flavor = "multi_thread")]
async fn back_after_a_year_on_the_shelf() {
    let mut life = begin("").await;
    life.world.power_off();
    life.clock.advance(DAY * 400);
    let now = life.clock.now();
    life.world.reissue(&life.world.issuers(), now, 1000).unwrap();
    life.world.publisher.publish().unwrap();
    life.world.publisher.publish_crl().unwrap();
    let file = |path: &str| life.world.publisher.file(path).unwrap();
    let (list, crl) = (file("/TSL.xml"), file("/internet/VPN.crl"));
    let package = life.world.tsp.published(GSMC_K).unwrap().write(GSMC_K).unwrap();
    let name = format!("{GSMC_K}.zip");
    let bundle = identity::zip([
        ("TSL.xml", list.as_slice()),
        ("VPN.crl", crl.as_slice()),
        (name.as_str(), package.as_slice()),
    ])
    .unwrap();
    life.world.publisher.set_reachable(false, false);
    life.world.tsp.set_fault(Some(PackageFault::ServerError));
    life.world.ledger.set_fault(Some(OcspFault::Down));
    life.world.power_on(life.clock.shared()).await.unwrap();
    let inner = life.inner();
    life.until("terminal connected", |life| {
        !life.is_set(&Condition::CardTerminalNotAvailable("KT1".parse().unwrap()))
            && life
                .inner()
                .terminals()
                .all()
                .iter()
                .all(|one| one.session.is_some())
    })
    .await;
    // a clock that jumped a year ahead locks nobody out by itself: it is not believed
    assert!(inner.doubt().is_some());
    // and nobody is shown anything else than before
    assert_eq!(inner.lifetime_view()["clients"]["P-256"], 0);
    assert!(!life.is_set(&Condition::NkCertificateExpired));
    // nothing can be done without a bundle, and what is missing is said
    let steps = inner.recover(None, RecoverOptions::default()).await.unwrap();
    assert_eq!((steps[0].step, steps[0].good), ("clock", false));
    let confirmed = RecoverOptions {
        clock_confirmed: true,
        pin: false,
    };
    inner.recover(None, confirmed).await.unwrap();
    life.until("expired", |life| life.is_set(&Condition::NkCertificateExpired))
        .await;
    // by the check list: what is missing is seen, and the way back itself is a person's
    let rest = Rest::of(&life.world);
    let smcb = serde_json::json!({ "smcb": langlauf::world::SMC_B });
    let run = rest.begin("recovery", smcb).await;
    for step in ["bundle", "clock", "card"] {
        rest.done(&run, step).await;
    }
    assert_eq!(rest.step(&run, "recover").await.0, "failed");
    // the PIN cannot be entered any more in the ordinary way
    let card = e2e::card(&life.world.practice, "SMC-B").await;
    assert!(card.is_err(), "GetCards is barred");
    let steps = inner.recover(Some(&bundle), confirmed).await.unwrap();
    let last = steps.last().unwrap();
    assert_eq!((last.step, last.good), ("pin", false), "{steps:?}");
    let with_pin = RecoverOptions {
        pin: true,
        ..confirmed
    };
    let (steps, ()) = tokio::join!(inner.recover(Some(&bundle), with_pin), async {
        life.world.terminal.wait_for_prompt().await;
        for key in [Key::Digits("123456".into()), Key::Enter] {
            life.world.terminal.press(key);
        }
    });
    let steps = steps.unwrap();
    assert!(steps.iter().all(|step| step.good), "{steps:?}");
    let names: Vec<&str> = steps.iter().map(|step| step.step).collect();
    let expected = [
        "clock",
        "anchor",
        "trust_list",
        "revocation_list",
        "package",
        "pin",
        "registration",
        "tunnel",
    ];
    assert_eq!(names, expected);
    assert!(!life.is_set(&Condition::NkCertificateExpired));
    assert_eq!(life.world.registrar.entries().len(), 1);
    // practice systems see the new certificate, and read cards
    life.read(400).await;
    assert_eq!(inner.lifetime_view()["clients"]["P-256"], 1);
    rest.done(&run, "recover").await;
    // inside the TI there is a status service again
    life.world.ledger.set_fault(None);
    for step in ["ti", "work", "cause"] {
        rest.done(&run, step).await;
    }
    // once more: everything is passed over
    let again = inner.recover(Some(&bundle), with_pin).await.unwrap();
    assert!(again.iter().all(|step| step.good), "{again:?}");
    assert_eq!(life.world.registrar.entries().len(), 1);
}

/// The check list of the extension, walked by a person before the calendar gets there, and one step back.
#[tokio::test(flavor = "multi_thread")]
async fn extended_by_the_check_list() {
    let life = begin("smb_unlock = true").await;
    let smb = langlauf::world::SMC_B.parse().unwrap();
    let stored = life.inner().store_smb_pin(&smb, "123456".to_owned().into()).await;
    stored.unwrap();
    life.to_evening(21);
    life.read(21).await;
    let rest = Rest::of(&life.world);
    let run = rest.begin("lifetime-extension", serde_json::json!({})).await;
    // nobody has renewed the revocation list in three weeks
    assert_eq!(rest.step(&run, "before").await.0, "failed");
    life.world.publisher.publish_crl().unwrap();
    rest.call("POST", "trust/update", serde_json::Value::Null).await;
    for step in ["before", "backup"] {
        rest.done(&run, step).await;
    }
    // a package that nobody should get is none
    life.world.tsp.set_fault(Some(PackageFault::ServerError));
    assert_eq!(rest.step(&run, "fetch").await.0, "failed");
    life.world.tsp.set_fault(None);
    // none at all: nothing has changed
    assert_eq!(rest.step(&run, "fetch").await.0, "failed");
    assert_eq!(life.stage(1), None);
    let now = life.clock.now();
    life.world.reissue(&life.world.issuers(), now, 1000).unwrap();
    for step in ["fetch", "register", "probe", "clients", "activate"] {
        rest.done(&run, step).await;
    }
    assert_eq!(life.stage(1), Some(Stage::Active));
    let note = serde_json::json!({ "note": "ein Praxissystem will noch nicht" });
    rest.call("POST", &format!("runs/{run}/steps/activate/undo"), note)
        .await;
    assert_eq!(
        (life.stage(0), life.stage(1)),
        (Some(Stage::Active), Some(Stage::Superseded))
    );
    for step in ["activate", "work"] {
        rest.done(&run, step).await;
    }
    assert_eq!(life.stage(1), Some(Stage::Active));
    life.read(21).await;
}
