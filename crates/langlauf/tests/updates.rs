//! A device under its supervisor, with real processes: a good release under load, and a gallery of bad ones, each of which
//! takes itself back. The same trials with the product's own limits, in virtual time: `crates/slots/tests/trials`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use base::{Clock, SystemClock, Timestamp};
use crypto::{Curve, EcPrivate, Key, SoftKey};
use langlauf::demo::Walk;
use langlauf::practice::Operation;
use langlauf::world::{Options, SMC_B, World};
use serde_json::Value;
use slots::Version;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use update::{Lifetimes, Publisher, Role, new_root, pack, sign_file};

const LANGLAUF: &str = env!("CARGO_BIN_EXE_langlauf");
const PRODUCT: &str = "langlauf-test";
/// The supervisor's patience in this test, seconds; the product's is 60 and 130.
const READY: u32 = 10;
const TRIAL: u32 = 15;

/// A world below this folder, with these settings of the Konnektor.
fn options(folder: &Path, settings: &str) -> Options {
    Options {
        fixed_ports: false,
        rsa: false,
        settings: settings.parse().unwrap(),
        ..Options::demo(folder.join("world"))
    }
}

/// Who signs releases.
struct Vendor {
    folder: PathBuf,
    keys: BTreeMap<Role, Vec<SoftKey>>,
}

impl Vendor {
    fn new(folder: PathBuf, now: Timestamp) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let key = || SoftKey::Ec(EcPrivate::generate(Curve::NistP256).unwrap());
        let keys: BTreeMap<Role, Vec<SoftKey>> = Role::ALL.map(|role| (role, vec![key(), key()])).into();
        let signers = keys.iter().map(|(role, keys)| {
            let publics = keys.iter().map(Key::public).collect();
            (*role, (publics, 2))
        });
        let root = new_root(&signers.collect(), 1, now, Lifetimes::default()).unwrap();
        let vendor = Self { folder, keys };
        let root = vendor.sign(Role::Root, root);
        std::fs::write(vendor.folder.join("root.json"), &root).unwrap();
        vendor.publisher().add_root(&root).unwrap();
        vendor
    }

    fn publisher(&self) -> Publisher {
        Publisher::new(self.folder.join("repository"), Lifetimes::default())
    }

    fn sign(&self, role: Role, json: Vec<u8>) -> Vec<u8> {
        self.keys[&role]
            .iter()
            .fold(json, |json, key| sign_file(&json, key).unwrap())
    }

    /// A release whose program is a script.
    fn release(&self, version: Version, script: &str, now: Timestamp) -> PathBuf {
        let path = |name: &str| self.folder.join(name);
        std::fs::write(path("langlauf"), format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::write(path("NOTES.md"), format!("# {version}\n\nWas neu ist.\n")).unwrap();
        let files = ["langlauf", "NOTES.md"]
            .map(|name| (name.to_owned(), path(name)))
            .into();
        let artefact = path(&format!("{version}.zip"));
        pack(version, "test", "langlauf", &files, &artefact).unwrap();
        let publisher = self.publisher();
        let draft = publisher
            .draft(Some((&artefact, PRODUCT, version)), &[], now)
            .unwrap();
        let online: Vec<&dyn Key> = [Role::Snapshot, Role::Timestamp]
            .iter()
            .flat_map(|role| self.keys[role].iter().map(|key| key as &dyn Key))
            .collect();
        publisher
            .publish(&self.sign(Role::Targets, draft), &online, now)
            .unwrap();
        let bundle = path(&format!("bundle-{version}.zip"));
        publisher.bundle(PRODUCT, version, &bundle).unwrap();
        bundle
    }
}

/// A practice's device that runs in slot A, with its world.
struct Device {
    world: World,
    clock: Arc<dyn Clock>,
    vendor: Vendor,
    folder: tempfile::TempDir,
    supervisor: Child,
    next: u16,
}

impl Drop for Device {
    fn drop(&mut self) {
        // it ends its child, too
        let pid = self.supervisor.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.supervisor.wait();
    }
}

/// The program of a release that is this one.
fn itself() -> String {
    format!("exec {LANGLAUF} \"$@\"")
}

impl Device {
    async fn start() -> Self {
        Self::with_trial(TRIAL).await
    }

    /// A trial may take so many seconds.
    async fn with_trial(trial: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::new();
        let vendor = Vendor::new(folder.path().join("vendor"), clock.now());
        let settings = format!(
            "smb_unlock = true\n[log]\nperformance = true\n[update]\nroot = \"{}\"\nproduct = \"{PRODUCT}\"\nautomatic = false",
            vendor.folder.join("root.json").display()
        );
        let options = options(folder.path(), &settings);
        let mut world = World::start(&options, clock.clone()).await.unwrap();
        Walk::new(&world, &*clock, true, &|_| ()).run().await.unwrap();
        let inner = world.konnektor().unwrap().inner();
        let pin = zeroize::Zeroizing::new("123456".to_owned());
        inner.store_smb_pin(&SMC_B.parse().unwrap(), pin).await.unwrap();
        world.power_off();
        // from here on it is a process of its own
        let release = folder.path().join("first");
        std::fs::create_dir(&release).unwrap();
        let artefact = {
            vendor.release(Version(1, 0, 0), &itself(), clock.now());
            vendor.folder.join("1.0.0.zip")
        };
        update::unpack(&artefact, &release).unwrap();
        let supervisor = Path::new(LANGLAUF).with_file_name("langlauf-supervisor");
        assert!(
            supervisor.exists(),
            "{} is missing: `cargo build --workspace`",
            supervisor.display()
        );
        let slots = folder.path().join("slots");
        let installed = Command::new(&supervisor)
            .args(["install", "--slots"])
            .args([&slots, &release])
            .status();
        assert!(installed.unwrap().success());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let supervisor = Command::new(&supervisor)
            .arg("run")
            .arg("--slots")
            .arg(&slots)
            .arg("--state")
            .arg(folder.path().join("world/konnektor"))
            .args(["--ready", &READY.to_string(), "--trial", &trial.to_string()])
            .args(["--", "konnektor", "--config"])
            .arg(&world.config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let device = Self {
            world,
            clock,
            vendor,
            folder,
            supervisor,
            next: 1,
        };
        device.serves_fully().await;
        device
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn pointer(&self) -> Value {
        let path = self.folder.path().join("slots/pointer.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// What the slot that is confirmed holds.
    fn confirmed(&self) -> String {
        let pointer = self.pointer();
        let slot = pointer["confirmed"].as_str().unwrap();
        pointer[slot]["version"].as_str().unwrap().to_owned()
    }

    async fn wait_for(&self, what: &str, seconds: u64, there: impl AsyncFnMut() -> bool) {
        let limit = Duration::from_secs(seconds);
        let outcome = self.world.wait_for(what, limit, &*self.clock, there).await;
        outcome.unwrap_or_else(|error| panic!("{error}\n{:#}\n{}", self.pointer(), self.log()));
    }

    /// A practice system gets its work done: SMC-B open, eGK read.
    async fn serves_fully(&self) {
        let practice = &self.world.practice;
        let works = async || {
            let Ok(ehc) = practice.cards("EGK").await else {
                return false;
            };
            let Ok(hpc) = practice.cards("SMC-B").await else {
                return false;
            };
            let ([ehc], [hpc]) = (ehc.as_slice(), hpc.as_slice()) else {
                return false;
            };
            let read = Operation::ReadVsd {
                ehc,
                hpc,
                online: false,
                receipt: false,
            };
            practice.call(read).await.is_ok_and(|answer| answer.status == 200)
        };
        self.wait_for("a practice system at work", 60, works).await;
    }

    /// `langlauf admin …`; its output.
    fn admin(&self, arguments: &[&str]) -> (bool, Value) {
        let output = Command::new(LANGLAUF)
            .args(["admin", "--folder"])
            .arg(self.folder.path().join("world"))
            .args(["--address", &self.world.addresses.admin.to_string()])
            .args(arguments)
            .output()
            .unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.success(), json)
    }

    /// Offers a release and has it tried; its version.
    async fn try_release(&mut self, script: &str) -> String {
        let version = Version(1, self.next, 0);
        self.next += 1;
        let bundle = self.vendor.release(version, script, self.clock.now());
        let (taken, answer) = self.admin(&["take-release", bundle.to_str().unwrap()]);
        assert!(taken, "{answer:#}");
        // what works at the moment is what will be asked for
        let fully = async || {
            let (_, view) = self.admin(&["updates"]);
            let work = &view["work"];
            ["status", "terminals", "cards", "signatures"]
                .iter()
                .all(|name| work[name].as_u64() > Some(0))
        };
        self.wait_for("all work", 30, fully).await;
        let (started, answer) = self.admin(&["start-update"]);
        assert!(started, "{answer:#}");
        version.to_string()
    }

    /// How often the Konnektor has done what [`LOAD`] asks for, whichever release it was.
    fn performed(&self) -> u32 {
        let output = Command::new(LANGLAUF)
            .args(["admin", "--folder"])
            .arg(self.folder.path().join("world"))
            .args(["--address", &self.world.addresses.admin.to_string()])
            .args(["export-log", "performance"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let entries = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_load = entries.filter(|entry| entry["topic"] == "GetCardTerminals");
        u32::try_from(of_load.count()).unwrap()
    }

    /// The newest outcome for a release.
    fn outcome(&self, version: &str) -> Option<Value> {
        let pointer = self.pointer();
        let outcomes = pointer["outcomes"].as_array()?;
        outcomes.iter().find(|one| one["version"] == version).cloned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_on_trial() {
    let mut device = Device::start().await;
    a_stranger_is_refused(&device);
    under_load(&mut device).await;
    bad_releases(&mut device, false).await;
    a_restart_in_the_middle(&mut device).await;
}

/// Those, too, that fail by what they do not do: minutes of waiting.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make soak"]
async fn the_whole_gallery() {
    // longer than the time in which silence is noticed
    let mut device = Device::with_trial(25).await;
    bad_releases(&mut device, true).await;
}

/// Signed by somebody else: refused, logged, and nothing remains of it.
fn a_stranger_is_refused(device: &Device) {
    let stranger = Vendor::new(device.folder.path().join("stranger"), device.clock.now());
    let bundle = stranger.release(Version(9, 0, 0), &itself(), device.clock.now());
    let (taken, answer) = device.admin(&["take-release", bundle.to_str().unwrap()]);
    assert!(!taken && answer["code"] == 4181, "{answer:#}");
    let (_, view) = device.admin(&["updates"]);
    assert!(view["offered"].is_null(), "{view:#}");
    let (started, answer) = device.admin(&["start-update"]);
    assert!(!started && answer["code"] == 4184, "{answer:#}");
}

/// A good release while practice systems call without a pause: whatever was accepted is answered.
async fn under_load(device: &mut Device) {
    let before = device.performed();
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU32::new(0));
    let practice = Arc::new(device.world.practice.clone());
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, answered, practice) = (stop.clone(), answered.clone(), practice.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // what was not accepted is tried again, as practice systems do
                    if practice.call(LOAD).await.is_ok_and(|answer| answer.status == 200) {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let version = device.try_release(&itself()).await;
    let ordered = device.clock.elapsed();
    let practice = &device.world.practice;
    let (mut last, mut longest) = (device.clock.elapsed(), Duration::ZERO);
    let confirmed = async || {
        if practice.directory().await.is_ok() {
            let now = device.clock.elapsed();
            longest = longest.max(now.saturating_sub(last));
            last = now;
        }
        device.confirmed() == version
    };
    device.wait_for("confirmed", 60, confirmed).await;
    let took = device.clock.elapsed().saturating_sub(ordered);
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    // what the old and the new release have done together is what practice systems were told
    let answered = answered.load(Ordering::Relaxed);
    let performed = device.performed() - before;
    let lost = performed.saturating_sub(answered);
    println!(
        "good release: confirmed after {:.1} s, {:.1} s without answer, {answered} requests answered, {lost} lost",
        took.as_secs_f64(),
        longest.as_secs_f64()
    );
    assert_eq!(performed, answered);
    assert!(answered > 20, "{answered}");
    assert!(longest < Duration::from_secs(20), "{longest:?}");
    device.serves_fully().await;
    let told = async || {
        let (_, log) = device.admin(&["log", "--log", "security"]);
        log.to_string().contains("KSR/UPDATE/SUCCESS")
    };
    device.wait_for("told", 30, told).await;
}

/// What practice systems call for all the time; nothing else in this test does.
const LOAD: Operation<'static> = Operation::GetCardTerminals;

const SPEAK: &str = "import socket, os, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text): s.sendto(text.encode(), os.environ['NOTIFY_SOCKET'])
say('READY=1')
";

/// Each bad release, what it is called in the record, and whether the state had to be put back.
async fn bad_releases(device: &mut Device, slow: bool) {
    let config = device.world.config.display().to_string();
    let state = device.folder.path().join("world/konnektor");
    let other = device.folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let python = |lines: &str| format!("exec python3 - <<'END'\n{SPEAK}{lines}\nEND");
    let changed = |from: &str, to: &Path| {
        // beside the original, for its paths are relative
        let copy = device.world.config.with_file_name("bad.toml");
        format!(
            "sed 's#{from}#{}#' {config} > {copy}\nexec {LANGLAUF} konnektor --config {copy}",
            to.display(),
            copy = copy.display()
        )
    };
    // a certificate with somebody else's key, and an identity that no terminal knows
    let pem = |name: &str| {
        let path = device
            .world
            .config
            .with_file_name("identities")
            .join(format!("{name}.pem"));
        std::fs::read_to_string(path).unwrap()
    };
    let part = |text: &str, label: &str| {
        let begin = text.find(&format!("-----BEGIN {label}")).unwrap();
        let end = format!("-----END {label}-----\n");
        let length = text[begin..].find(&end).unwrap() + end.len();
        text[begin..begin + length].to_owned()
    };
    let mixed = part(&pem("ak-brainpool"), "CERTIFICATE") + &part(&pem("sak"), "PRIVATE KEY");
    std::fs::write(other.join("mixed.pem"), mixed).unwrap();
    std::fs::write(other.join("stranger.pem"), pem("ak-brainpool")).unwrap();
    // the same key under an issuer that no terminal has been told of
    let key = part(&pem("sak"), "PRIVATE KEY");
    std::fs::write(other.join("key.pem"), &key).unwrap();
    let issued = Command::new("openssl")
        .current_dir(&other)
        .args([
            "req",
            "-x509",
            "-new",
            "-key",
            "key.pem",
            "-subj",
            "/CN=renewed",
            "-days",
            "1826",
            "-out",
            "new.pem",
        ])
        .status();
    assert!(issued.unwrap().success());
    let renewed = std::fs::read_to_string(other.join("new.pem")).unwrap() + &key;
    std::fs::write(other.join("renewed.pem"), renewed).unwrap();
    let layout = "BEGIN; ALTER TABLE entry ADD COLUMN author TEXT; PRAGMA user_version = 3; \
        INSERT INTO way_back VALUES (3, 'ALTER TABLE entry DROP COLUMN author'); COMMIT;";
    let gallery: Vec<(&str, String, &str, bool)> = vec![
        ("ends at once", "exit 1".into(), "ended", false),
        ("is never ready", "exec sleep 1000".into(), "not_ready", false),
        ("stops answering", python("time.sleep(1000)"), "hung", false),
        (
            "leaks",
            python(
                "held = []\nwhile True:\n  held.append(bytearray(32 << 20)); say('WATCHDOG=1'); time.sleep(0.2)",
            ),
            "memory",
            false,
        ),
        (
            "fills the disk",
            format!(
                "fallocate -l 700M {}/log\n{}",
                state.display(),
                python("time.sleep(1000)")
            ),
            "disk",
            false,
        ),
        (
            "has somebody else's key",
            changed("identities/ak-brainpool.pem", &other.join("mixed.pem")),
            "ended",
            false,
        ),
        (
            "finds no terminals",
            changed("identities/sak.pem", &other.join("stranger.pem")),
            "no_work",
            false,
        ),
        (
            "September 2020: its security log runs over, and it loops on itself",
            python(
                "import sqlite3\nlog = sqlite3.connect('STATE/langlauf.db', timeout=60)\nlog.execute('CREATE TABLE IF NOT EXISTS full (x)')\n\
                 while True:\n  log.execute('INSERT INTO full VALUES (zeroblob(100000))'); log.commit()",
            )
            .replace("STATE", &state.display().to_string()),
            "disk",
            false,
        ),
        (
            "September 2023: switches the certificates at once",
            changed("identities/sak.pem", &other.join("renewed.pem")),
            "no_work",
            false,
        ),
        (
            "seems well and does nothing",
            python("while True:\n  say('WATCHDOG=1'); time.sleep(1)"),
            "no_work",
            false,
        ),
        (
            "changes the state and fails",
            format!(
                "python3 -c \"import sqlite3; sqlite3.connect('{}/langlauf.db').executescript('''{layout}''')\"\nexit 1",
                state.display()
            ),
            "ended",
            false,
        ),
        (
            "wrecks the state",
            format!(
                "rm -f {0}/langlauf.db*; echo rubbish > {0}/langlauf.db; exit 1",
                state.display()
            ),
            "ended",
            true,
        ),
    ];
    let identity = std::fs::read(state.join("langlauf.key")).unwrap();
    let confirmed = device.confirmed();
    let waits = ["not_ready", "hung", "memory", "disk"];
    let chosen = gallery.into_iter().filter(|(name, _, reason, _)| {
        slow || !(waits.contains(reason) || *name == "seems well and does nothing")
    });
    for (name, script, reason, restored) in chosen {
        let version = device.try_release(&script).await;
        let ordered = device.clock.elapsed();
        let decided = async || device.outcome(&version).is_some();
        device.wait_for(name, 90, decided).await;
        device.serves_fully().await;
        let took = device.clock.elapsed().saturating_sub(ordered);
        let outcome = device.outcome(&version).unwrap();
        println!(
            "{name}: back at work after {:.1} s: {}",
            took.as_secs_f64(),
            outcome["reason"]
        );
        assert_eq!(outcome["result"], "rolled_back", "{name}: {outcome:#}");
        assert_eq!(
            outcome["reason"]["kind"],
            reason,
            "{name}: {outcome:#}\n{}",
            device.log()
        );
        assert_eq!(device.confirmed(), confirmed, "{name}");
        assert!(took < Duration::from_secs(180), "{name}: {took:?}");
        let back = device.pointer()["outcomes"][0]["result"] == "state_restored";
        assert_eq!(back, restored, "{name}: {:#}", device.pointer());
        assert_eq!(
            std::fs::read(state.join("langlauf.key")).unwrap(),
            identity,
            "{name}"
        );
        // people are told, and it is not tried again by itself
        let told = async || {
            let (_, view) = device.admin(&["updates"]);
            view["offered"]["failed"].is_string()
        };
        if !restored {
            device.wait_for("told", 30, told).await;
        }
    }
}

/// The supervisor is stopped while a release is on trial: its predecessor runs after it.
async fn a_restart_in_the_middle(device: &mut Device) {
    let confirmed = device.confirmed();
    let version = device.try_release(&format!("{}\n", "exec sleep 1000")).await;
    let booted = async || device.pointer()["trial"]["booted"] == true;
    device.wait_for("on trial", 60, booted).await;
    // as a power cut: nobody can tidy up
    let pid = device.supervisor.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-KILL", &pid])
            .status()
            .unwrap()
            .success()
    );
    device.supervisor.wait().unwrap();
    let _ = Command::new("pkill").args(["-KILL", "-f", "sleep 1000"]).status();
    let arguments = ["run", "--slots"];
    let supervisor = Path::new(LANGLAUF).with_file_name("langlauf-supervisor");
    device.supervisor = Command::new(supervisor)
        .args(arguments)
        .arg(device.folder.path().join("slots"))
        .arg("--state")
        .arg(device.folder.path().join("world/konnektor"))
        .args(["--", "konnektor", "--config"])
        .arg(&device.world.config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    device.serves_fully().await;
    let outcome = device.outcome(&version).unwrap();
    assert_eq!(outcome["reason"]["kind"], "interrupted", "{outcome:#}");
    assert_eq!(device.confirmed(), confirmed);
}

/// Whoever opens the doors but cannot speak TLS there says so itself, and does not count as alive.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_tls_is_broken_says_so() {
    use konnektor::Konnektor;
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::new();
    let slots = folder.path().join("slots");
    std::fs::create_dir(&slots).unwrap();
    let socket = slots::Socket::bind(&slots.join("notify")).unwrap();
    let settings = format!("[update]\nslots = \"{}\"", slots.display());
    let options = options(folder.path(), &settings);
    let mut world = World::start(&options, clock.clone()).await.unwrap();
    let heard = |seconds: u64| {
        let began = clock.elapsed();
        while clock.elapsed().saturating_sub(began) < Duration::from_secs(seconds) {
            let notes = tokio::task::block_in_place(|| socket.receive(Duration::from_secs(1))).unwrap();
            if let Some(note) = notes.into_iter().next() {
                return Some(note);
            }
        }
        None
    };
    // with its doors served it is ready
    assert_eq!(heard(30), Some(slots::Note::Ready));
    world.power_off();
    socket.forget().unwrap();
    let mut broken = None;
    let free = async || {
        broken = tokio::net::TcpListener::bind(world.addresses.konnektor)
            .await
            .ok();
        broken.is_some()
    };
    world
        .wait_for("door", Duration::from_secs(10), &*clock, free)
        .await
        .unwrap();
    let broken = broken.unwrap();
    let konnektor = Konnektor::open(&world.config, clock.clone()).unwrap();
    let garbage = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = broken.accept().await {
            let _ = stream
                .write_all(b"HTTP/1.1 400 plain text is spoken here\r\n\r\n")
                .await;
        }
    });
    match heard(60) {
        Some(slots::Note::Failed(what)) => assert!(what.contains("practice systems"), "{what}"),
        other => panic!("{other:?}"),
    }
    // and it does not claim to live
    assert_eq!(heard(12), None);
    konnektor.stop();
    garbage.abort();
}

/// The configuration service has a release: the line breaks, the download goes on where it was, and what comes is judged like any other.
#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_service_brings_one() {
    use konnektor::state::Condition;
    use soap::ksr::{Product, UpdateInformation};
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::new();
    let vendor = Vendor::new(folder.path().join("vendor"), clock.now());
    let settings = format!(
        "[update]\nroot = \"{}\"\nproduct = \"{PRODUCT}\"",
        vendor.folder.join("root.json").display()
    );
    let options = options(folder.path(), &settings);
    let world = World::start(&options, clock.clone()).await.unwrap();
    let inner = world.konnektor().unwrap().inner();
    let trusted = async || inner.trust().is_some();
    world
        .wait_for("trust", Duration::from_secs(30), &*clock, trusted)
        .await
        .unwrap();
    let entry = |id: &str, version: [u16; 3], critical: bool, deadline: &str| UpdateInformation {
        id: id.into(),
        product: Product {
            vendor: "LLAUF".into(),
            code: "LANGLAUF".into(),
            hardware: "1.0.0".into(),
        },
        name: "Langlauf".into(),
        version,
        critical,
        deadline: deadline.parse().ok(),
        files: Vec::new(),
        documents: Vec::new(),
        notes: "Was neu ist".into(),
    };
    let is = |condition: Condition| {
        let all = inner.conditions();
        all.into_iter().any(|(one, value, _)| one == condition && value)
    };
    // nothing there is nothing new
    inner.look_at_ksr().await.unwrap();
    assert!(!is(Condition::FwUpdateAvailable));
    let bundle = std::fs::read(vendor.release(Version(1, 1, 0), &itself(), clock.now())).unwrap();
    world
        .ksr
        .publish_update(entry("ONE", [1, 1, 0], false, ""), bundle.clone());
    world.ksr.break_off(Some(2000));
    let broken = inner.look_at_ksr().await.unwrap_err();
    assert_eq!(broken.code().number(), 4182, "{}", broken.detail());
    assert!(is(Condition::FwUpdateAvailable) && inner.offered().unwrap().is_none());
    world.ksr.break_off(None);
    inner.look_at_ksr().await.unwrap();
    let asked = world.ksr.asked();
    assert!(
        asked.len() == 2 && asked[0] == 0 && asked[1] > 0 && asked[1] <= 2000,
        "{asked:?}"
    );
    let offered = inner.offered().unwrap().unwrap();
    assert_eq!(
        (offered.version, offered.by),
        (Version(1, 1, 0), konnektor::update::Source::Ksr)
    );
    assert!(!is(Condition::ConnectorSoftwareOutOfDate) && !is(Condition::FwNotValidStatusBlocked));
    // what it says is not what it is
    world
        .ksr
        .publish_update(entry("TWO", [1, 3, 0], true, "2020-01-31"), bundle);
    let lie = inner.look_at_ksr().await.unwrap_err();
    assert_eq!(lie.code().number(), 4181, "{}", lie.detail());
    // a deadline that is over bars the TI all the same (TIP1-A_6025)
    assert!(is(Condition::ConnectorSoftwareOutOfDate) && is(Condition::FwNotValidStatusBlocked));
}

/// Both messages as the official schema has them.
#[test]
fn the_official_schema_takes_the_messages() {
    use soap::ksr::{Product, UpdateFile, UpdateInformation};
    let schemas =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/schemas/ksr/Konfigurationsdienst.xsd");
    if !schemas.exists() {
        println!("skipped: {} is not there", schemas.display());
        return;
    }
    let product = Product {
        vendor: "LLAUF".into(),
        code: "LANGLAUF".into(),
        hardware: "1.0.0".into(),
    };
    let file = |name: &str| UpdateFile {
        name: name.into(),
        size: 40_000_000,
        notes: "ein Paket".into(),
    };
    let entry = UpdateInformation {
        id: "LLAUF_1".into(),
        product: product.clone(),
        name: "Langlauf".into(),
        version: [1, 2, 3],
        critical: true,
        deadline: "2027-01-31".parse().ok(),
        files: vec![file("a.zip")],
        documents: vec![file("a.pdf")],
        notes: "Was neu ist & <so>".into(),
    };
    let folder = tempfile::tempdir().unwrap();
    let messages = [
        soap::ksr::request(&product, [1, 2, 3]),
        soap::ksr::response(&[entry], "2026-11-29".parse().unwrap()),
        soap::ksr::response(&[], "2026-11-29".parse().unwrap()),
    ];
    for message in messages {
        let envelope = soap::Envelope::parse(&message).unwrap();
        let body = envelope.body().unwrap();
        let text = &body.document().input_text()[body.range()];
        let path = folder.path().join("message.xml");
        std::fs::write(&path, text).unwrap();
        let output = Command::new("xmllint")
            .args(["--nonet", "--noout", "--schema"])
            .args([&schemas, &path])
            .output()
            .expect("xmllint: run `make setup`");
        assert!(
            output.status.success(),
            "{}\n{text}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
