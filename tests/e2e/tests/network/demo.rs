//! `make demo-network`: a practice LAN, a Konnektor between it and the router, a concentrator and what lies behind it, each a host of
//! its own; and what a client in the LAN can do with that. Konnektor, terminal, cards and the rest of the test TI are one process in
//! the Konnektor's host, the client is another in its own.

use crate::lab::{CLIENT, Host, KONNEKTOR, Lab, NameServer, Oddity, Station, may, path, practice_lan};
use crate::practice::{NAMES, OPEN, anchor, ask, reaches, signed_zone};
use base::SystemClock;
use langlauf::demo::Walk;
use langlauf::practice::{Operation, Practice};
use langlauf::world::{Options, World};
use network::DataPath;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use testti::{Publisher, SavedKeys, TestPki};

/// Said when everything is ready.
const READY: &str = "ready: ";

fn folder() -> Option<PathBuf> {
    std::env::var_os("NETWORK_DEMO").map(PathBuf::from)
}

/// Konnektor and test TI, when this program is started again to be them.
#[tokio::test(flavor = "multi_thread")]
async fn konnektor_process() {
    let Some(folder) = folder() else { return };
    let clock = SystemClock::new();
    let settings = std::fs::read_to_string(folder.join("settings.toml")).unwrap();
    let options = Options {
        rsa: false,
        settings: settings.parse().unwrap(),
        listen: KONNEKTOR.parse().unwrap(),
        konnektor: false,
        ..Options::demo(folder.join("world"))
    };
    let mut world = World::start(&options, clock.clone()).await.unwrap();
    let ds = std::fs::read_to_string(folder.join("anchor")).unwrap();
    world
        .publisher
        .change(|contents| contents.dnssec = vec![anchor(&ds)]);
    world.publisher.publish().unwrap();
    world.power_on(clock.clone()).await.unwrap();
    Walk::new(&world, &*clock, true, &|_| ()).run().await.unwrap();
    let inner = world.konnektor().unwrap().inner();
    let up = async || inner.vpn_view()["up"] == true;
    world
        .wait_for("tunnel", Duration::from_secs(60), &*clock, up)
        .await
        .unwrap();
    let view = inner.vpn_view();
    let text = |field: &str| view[field].as_str().unwrap_or_default().to_owned();
    println!("{READY}{}, {}", text("concentrator"), text("suite"));
    // until whoever started this goes
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count())
        .await
        .unwrap();
}

/// A practice system in the LAN, when this program is started again to be it: reads the card.
#[tokio::test(flavor = "multi_thread")]
async fn client_process() {
    let Some(folder) = folder() else { return };
    let read = |name: &str| std::fs::read_to_string(folder.join("world").join(name)).unwrap();
    let identity = crypto::tls::Identity::from_pem(&(read("practice.crt") + &read("practice.key"))).unwrap();
    let cas = crypto::pem::decode_all("CERTIFICATE", &read("konnektor-ca.pem")).unwrap();
    let cas = cas.iter().map(|der| asn1::X509::parse(der).unwrap()).collect();
    let address = format!("{KONNEKTOR}:8443").parse().unwrap();
    let practice = Practice::new(address, Some(identity), cas);
    let handle = async |kind: &str| practice.cards(kind).await.unwrap().remove(0);
    let (ehc, hpc) = (handle("EGK").await, handle("SMC-B").await);
    let operation = Operation::ReadVsd {
        ehc: &ehc,
        hpc: &hpc,
        online: true,
        receipt: false,
    };
    let answer = practice.call(operation).await.unwrap();
    assert_eq!(answer.fault(), None, "{}", answer.body);
    let text = langlauf::demo::container(&answer, "PersoenlicheVersichertendaten").unwrap();
    let name = text
        .split("<Nachname>")
        .nth(1)
        .and_then(|rest| rest.split('<').next());
    println!("{READY}{}", name.unwrap_or(&text));
}

/// This program, as somebody else in that host.
fn start(host: &Host, who: &str, folder: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &host.name])
        .arg(program)
        .args(["--exact", who, "--nocapture"])
        .env("NETWORK_DEMO", folder);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it says when it is ready.
fn said(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // the name of the test stands before it on the same line
    let found = lines.find_map(|line| line.unwrap().split_once(READY).map(|(_, text)| text.to_owned()));
    found.expect("it has ended; see above")
}

fn show(step: &str, result: &str) {
    println!("  ✓ {step:<38} {result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_practice_on_its_network() {
    if !may() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let clock = SystemClock::new();
    // one public key infrastructure for both sides
    std::fs::create_dir(folder.join("world")).unwrap();
    let mut saved = SavedKeys::default();
    let pki = TestPki::open(&mut saved, clock.now(), "http://127.0.0.1:9000/ocsp").unwrap();
    let keys = serde_json::to_vec(&saved).unwrap();
    std::fs::write(folder.join("world/test-ti.json"), keys).unwrap();
    let publisher = Publisher::new(
        &pki,
        clock.clone(),
        "http://127.0.0.1:9000",
        "https://127.0.0.1:9002",
    )
    .unwrap();
    let mut lab = Lab::of(clock.clone(), pki, publisher).await;
    let prefix = format!("lld{}", std::process::id());
    let own = lab.host(&format!("{prefix}k"), 3);
    let client = Host::new(format!("{prefix}c")).unwrap();
    practice_lan(&own, &client);
    let Station {
        host: station,
        charon: _charon,
        place,
        ..
    } = lab.station(Oddity::default()).await;
    for address in [OPEN, NAMES] {
        station
            .ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"])
            .unwrap();
    }
    // an answer would find its way, so that it is the filter that keeps it from being asked for
    station
        .ip(&["route", "add", "192.168.10.0/24", "via", "10.77.0.3"])
        .unwrap();
    let (zone, ds) = signed_zone(folder);
    std::fs::write(folder.join("anchor"), ds).unwrap();
    let _names = NameServer::inside(
        &station,
        format!("{NAMES}:53").parse().unwrap(),
        "telematik-test",
        &zone,
    );
    let settings = format!(
        "[vpn]\nenvironment = \"TU\"\nuser_space = {}\n[[vpn.concentrators]]\nname = \"{}\"\naddress = \"{}\"\n\
         names = [\"{NAMES}\"]\n[network]\nntp = false\n\
         [network.lan]\nname = \"lan\"\naddress = \"{KONNEKTOR}\"\nnetwork = \"192.168.10.0/24\"\n\
         [network.wan]\nname = \"wan\"\naddress = \"10.77.0.3\"\nnetwork = \"10.77.0.0/24\"\n",
        path() == DataPath::UserSpace,
        place.concentrator.name,
        place.concentrator.address,
    );
    std::fs::write(folder.join("settings.toml"), settings).unwrap();
    println!("\nPractice LAN {CLIENT} – {KONNEKTOR} Konnektor 10.77.0.3 – 10.77.0.10 concentrator – TI\n");
    let mut konnektor = start(&own, "demo::konnektor_process", folder);
    show("terminal paired, cards in, tunnel up", &said(&mut konnektor));
    let until = async |what: &str, seen: &dyn Fn() -> bool| {
        let waiting = async {
            while !seen() {
                clock.sleep(Duration::from_millis(50)).await;
            }
        };
        let limit = Duration::from_secs(60);
        clock
            .timeout(limit, waiting)
            .await
            .unwrap_or_else(|| panic!("{what}: not within a minute"));
    };
    until("name", &|| ask(&client, "erezept.telematik-test").contains(OPEN)).await;
    assert!(ask(&client, "erezept.telematik-test").contains(" ad"));
    show(
        "client: a name of the TI",
        &format!("erezept.telematik-test is {OPEN}, signature good"),
    );
    until("service", &|| reaches(&client, OPEN)).await;
    show("client: that service", "answers through the tunnel");
    let mut system = start(&client, "demo::client_process", folder);
    show("client: ReadVSD of the eGK, online", &said(&mut system));
    let _ = system.wait();
    assert!(!reaches(&client, &place.concentrator.address.to_string()));
    show("client: past the tunnel", "reaches nothing");
    drop(konnektor.stdin.take());
    let _ = konnektor.wait();
}
