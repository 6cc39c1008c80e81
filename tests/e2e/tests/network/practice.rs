//! A practice behind its Konnektor, which has no rights over the network: the helper, a process of its own, has them. A client in
//! the LAN reaches a service of the TI through the tunnel, asks for names and for the time, and loses all of it with the tunnel.

use crate::lab::{
    Host, INTERNET, Lab, NameServer, Oddity, Running, Station, interface, may, path, practice_lan,
};
use base::SystemClock;
use konnektor::doctor::{Health, Whose};
use konnektor::lifetime::ByHand;
use langlauf::demo::Walk;
use langlauf::world::World;
use network::{DataPath, Machine, Setup};
use serde_json::Value;
use soap::ksr::{Product, UpdateInformation};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use testti::configuration::Beside;
use testti::registrar::Registrar;

/// A service that clients may use, one only for the Konnektor, the TI's name server and its time server.
pub const OPEN: &str = "172.30.0.10";
const CENTRAL: &str = "172.24.0.10";
pub const NAMES: &str = "172.24.0.53";
const TIME: &str = "172.24.0.123";

/// A network beside the TI, with a host that knows its names.
const BESIDE: &str = "188.144.7.140";

/// Whom the helper runs as.
const NOBODY: u32 = 65534;

/// The helper, when this program is started again to be it: `langlauf network-helper` does the same.
#[tokio::test(flavor = "multi_thread")]
async fn helper_process() {
    let Ok(folder) = std::env::var("NETWORK_HELPER") else {
        return;
    };
    let (folder, clock) = (PathBuf::from(folder), SystemClock::new());
    let setup = Setup {
        path: path(),
        ..Setup::new(folder.join("charon"))
    };
    let machine = Arc::new(Machine::new(Vec::new(), folder.join("daemons"), clock.clone()));
    let socket = folder.join("network.sock");
    network::run_helper(&socket, machine, Some(setup), clock)
        .await
        .unwrap();
}

/// A zone of the TI, signed: its file, and the anchor as a DS record.
pub fn signed_zone(folder: &Path) -> (PathBuf, String) {
    let zone = "telematik-test";
    let file = folder.join("zone");
    let records = format!(
        "$TTL 300\n@ IN SOA ns.{zone}. admin.{zone}. 1 3600 600 86400 300\n@ IN NS ns.{zone}.\nns IN A {NAMES}\n\
         erezept IN A {OPEN}\nfalsch IN A {OPEN}\n"
    );
    std::fs::write(&file, records).unwrap();
    let run = |words: &[&str]| {
        let output = Command::new(words[0])
            .args(&words[1..])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let key = run(&["dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", zone]);
    run(&["dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", zone]);
    run(&["dnssec-signzone", "-S", "-o", zone, "-f", "signed", "zone"]);
    let anchor = run(&["dnssec-dsfromkey", "-2", key.trim()]);
    // one of its records is not what was signed
    let signed = folder.join("signed");
    let text = std::fs::read_to_string(&signed).unwrap();
    let lines = text
        .lines()
        .map(|line| match line.starts_with("falsch.") && line.ends_with(OPEN) {
            true => line.replace(OPEN, "172.30.0.66"),
            false => line.to_owned(),
        });
    let text: Vec<String> = lines.collect();
    std::fs::write(&signed, text.join("\n") + "\n").unwrap();
    (signed, anchor.trim().to_owned())
}

/// A DS record as a trust list says it.
pub fn anchor(record: &str) -> pki::tsl::DnssecAnchor {
    let words: Vec<&str> = record.split_whitespace().collect();
    let [zone, _, _, tag, algorithm, kind, digest @ ..] = words.as_slice() else {
        panic!("{record}");
    };
    pki::tsl::DnssecAnchor {
        zone: (*zone).to_owned(),
        key_tag: tag.parse().unwrap(),
        algorithm: algorithm.parse().unwrap(),
        digest_type: kind.parse().unwrap(),
        digest: hex::decode(digest.concat()).unwrap(),
    }
}

/// What a client in the LAN is told about a name.
pub fn ask(client: &Host, name: &str) -> String {
    let words = [
        "dig",
        "+time=1",
        "+tries=1",
        "+noall",
        "+comments",
        "+answer",
        "@192.168.10.2",
        name,
        "A",
    ];
    client.exec(&words).unwrap_or_default()
}

pub fn reaches(client: &Host, to: &str) -> bool {
    client.exec(&["ping", "-c", "1", "-W", "1", to]).is_ok()
}

/// The registration server of another access service, with a contract of its own.
async fn further_access(world: &World, clock: Arc<dyn base::Clock>) -> (std::net::SocketAddr, Registrar) {
    let certificate = |der: &[u8]| asn1::X509::parse(der).unwrap();
    let cas = [&world.pki.component_ca, &world.pki.component_ca_nist];
    let registrar = Registrar::new(
        clock,
        world.ledger.clone(),
        "vertrag-2",
        cas.map(|ca| certificate(&ca.certificate)).to_vec(),
        certificate(&world.pki.smcb_ca.certificate),
    );
    let identity = world.pki.component(
        crypto::Curve::BrainpoolP256r1,
        &pki::issue::profile::ZD_TLS_S,
        asn1::oid::ROLE_VPNZ_TI,
        "registrierung2.langlauf.test",
        &["localhost"],
        &[],
    );
    let identity = identity.unwrap();
    world.ledger.register(&identity.chain[0]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(registrar.clone().serve(listener, identity));
    (address, registrar)
}

/// The concentrator of the secure Internet service, and a name server behind it.
async fn internet(lab: &mut Lab, folder: &Path) -> (Station, NameServer) {
    let oddity = Oddity {
        sis: true,
        ..Oddity::default()
    };
    let station = lab.station(oddity).await;
    let file = folder.join("internet");
    let records = format!(
        "$TTL 300\n@ IN SOA ns.example.com. admin.example.com. 1 3600 600 86400 300\n@ IN NS ns.example.com.\n\
         ns IN A {INTERNET}\nwww IN A {INTERNET}\n"
    );
    std::fs::write(&file, records).unwrap();
    let address = format!("{INTERNET}:53").parse().unwrap();
    let names = NameServer::inside(&station.host, address, "example.com", &file);
    (station, names)
}

/// The secure Internet service: the practice reaches the Internet through its tunnel or not at all, and the TI through the other.
async fn secure_internet(
    world: &World,
    client: &Host,
    mut station: Station,
    until: impl AsyncFn(&str, &dyn Fn() -> bool),
) {
    let inner = world.konnektor().unwrap().inner().clone();
    let up = |wanted: bool| inner.vpn_view()["sis"]["up"] == wanted;
    until("secure Internet service", &|| up(true)).await;
    until("Internet", &|| reaches(client, INTERNET)).await;
    assert!(reaches(client, OPEN));
    until("name of the Internet", &|| {
        ask(client, "www.example.com").contains(INTERNET)
    })
    .await;
    // nobody in the Internet begins anything, though the tunnel would carry it
    let own = inner.vpn_view()["sis"]["inner"].as_str().unwrap().to_owned();
    let knock = ["ping", "-c", "1", "-W", "1", "-I", INTERNET, &own];
    assert!(station.host.exec(&knock).is_err());
    station.charon.kill().await;
    until("no secure Internet service", &|| up(false)).await;
    until("no Internet", &|| !reaches(client, INTERNET)).await;
    assert!(reaches(client, OPEN));
    let log = e2e::logged(&inner);
    for topic in ["NETWORK/VPN_SIS/UP", "NETWORK/VPN_SIS/DOWN"] {
        assert!(log.iter().any(|(one, _)| one == topic), "{topic}");
    }
}

/// Networks beside the TI: as they are listed and as administrators choose, without a restart; what is listed badly takes nothing
/// else away.
async fn beside_the_ti(world: &World, client: &Host, until: impl AsyncFn(&str, &dyn Fn() -> bool)) {
    let inner = world.konnektor().unwrap().inner().clone();
    let beside = |id: &str, network: (&str, u8), domain: &str| Beside {
        id: id.into(),
        network: (network.0.parse().unwrap(), network.1),
        domain: domain.into(),
        server: BESIDE.parse().unwrap(),
    };
    let safenet = || beside("SNK", ("188.144.0.0", 15), "kv-safenet.de");
    assert!(!reaches(client, BESIDE));
    world.ksr.publish(
        "2.1.5",
        &[
            // one lies where the practice is, one wants names of the TI, one has a concentrator in it
            beside("LAN", ("192.168.10.0", 24), "lan.de"),
            safenet(),
            Beside {
                server: "188.146.0.1".parse().unwrap(),
                ..beside("TI", ("188.146.0.0", 16), "erezept.telematik-test")
            },
            beside("OUT", ("10.77.0.0", 24), "draussen.de"),
        ],
    );
    // it may have been fetched just now
    inner.update_legacy(true).await.unwrap();
    until("network beside the TI", &|| reaches(client, BESIDE)).await;
    until("its names", &|| ask(client, "www.kv-safenet.de").contains(BESIDE)).await;
    assert!(ask(client, "erezept.telematik-test").contains(OPEN));
    let view = inner.legacy_view().unwrap();
    assert_eq!(view["version"], "2.1.5");
    let left_out = view["left_out"].to_string();
    for wanted in [
        "LAN: 192.168.10.0/24",
        "TI: names of erezept.telematik-test",
        "OUT: 10.77.0.0/24",
    ] {
        assert!(left_out.contains(wanted), "{wanted}: {left_out}");
    }
    // as many as must be taken (A_20531): they are in force, and so is the first
    let many = (0..2000_u32).map(|number| {
        let first = 0xBD00_0000 + number * 256;
        Beside {
            id: format!("N{number}"),
            network: (first.into(), 24),
            domain: format!("netz{number}.de"),
            server: (first + 1).into(),
        }
    });
    let many: Vec<_> = std::iter::once(safenet()).chain(many).collect();
    world.ksr.publish("2.1.6", &many);
    let failures = || {
        let log = e2e::logged(&inner);
        log.iter()
            .filter(|(topic, _)| topic == "ANLW/FIREWALL/FAILED")
            .count()
    };
    let (clock, before) = (SystemClock::new(), failures());
    let started = clock.elapsed();
    inner.update_legacy(true).await.unwrap();
    println!(
        "2,001 networks beside the TI in force after {} ms",
        (clock.elapsed() - started).as_millis()
    );
    until("network beside the TI", &|| reaches(client, BESIDE)).await;
    assert_eq!(failures(), before);
    world.ksr.publish("2.1.7", &[safenet()]);
    inner.update_legacy(true).await.unwrap();
    until("one again", &|| reaches(client, BESIDE)).await;
    // nothing new, something older, no list at all: everything stays
    assert!(!inner.update_legacy(true).await.unwrap());
    world.ksr.publish("2.1.4", &[]);
    let refused = inner.update_legacy(true).await.unwrap_err();
    assert_eq!(refused.code(), base::Code::LEGACY_NETWORKS);
    world.ksr.publish_text("<html>502 Bad Gateway</html>".into());
    assert!(inner.update_legacy(true).await.is_err());
    assert!(reaches(client, BESIDE));
    // an administrator's choice
    inner.choose_legacy("SNK", Some(false)).await.unwrap();
    until("switched off", &|| !reaches(client, BESIDE)).await;
    assert!(!ask(client, "www.kv-safenet.de").contains(BESIDE));
    inner.choose_legacy("SNK", None).await.unwrap();
    until("as the settings have it", &|| reaches(client, BESIDE)).await;
    // a list that takes it away, and the way back, on which nobody is overtaken by the same list
    world.ksr.publish("2.2.0", &[]);
    inner.update_legacy(true).await.unwrap();
    until("taken away", &|| !reaches(client, BESIDE)).await;
    assert!(inner.step_back_legacy().await.unwrap());
    assert!(!inner.update_legacy(false).await.unwrap());
    until("the list before", &|| reaches(client, BESIDE)).await;
    let log = e2e::logged(&inner);
    let versions = |(topic, body): &(String, String)| topic == "KSR/UPDATE_KONFIG" && body.contains("2.2.0");
    assert_eq!(log.iter().filter(|one| versions(one)).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_practice_reaches_the_ti_through_its_konnektor() {
    if !may() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::new();
    let prefix = format!("llp{}", std::process::id());
    let (socket, vpn) = (
        folder.path().join("run/network.sock"),
        folder.path().join("run/charon"),
    );
    let mut options = e2e::options(folder.path().join("world"));
    let station = "vpnk10.ti-extern.langlauf.test";
    let mut records = vec![
        format!("_isakmp._udp.ti-extern.langlauf.test. 60 IN SRV 10 0 500 {station}."),
        format!("{station}. 60 IN A 10.77.0.10"),
        format!(
            "{station}. 60 IN TXT \"txtvers=1\" \"NameserverTI={NAMES}\" \"DomainSrvTI=zugd.telematik-test\""
        ),
    ];
    // two tunnels can be told apart only where the kernel enciphers
    let sis = path() == DataPath::Kernel;
    if sis {
        let station = "vpnk12.sis-extern.langlauf.test";
        records.extend([
            format!("_isakmp._udp.sis-extern.langlauf.test. 60 IN SRV 10 0 500 {station}."),
            format!("{station}. 60 IN A 10.77.0.12"),
            format!("{station}. 60 IN TXT \"txtvers=1\" \"NameserverSIS={INTERNET}\" \"DomainSrvSIS=sis.langlauf.test\""),
        ]);
    }
    let outer = NameServer::start("langlauf.test", &records, &*clock).await;
    options.settings = format!(
        "[vpn]\nenvironment = \"TU\"\nuser_space = {}\nkeepalive_seconds = 1\nfolder = \"{}\"\n\
         domain = \"langlauf.test\"\nname_servers = [\"{}\"]\n\
         [[vpn.further]]\nname = \"zweiter\"\nregistration = \"https://SECOND/\"\ncontract = \"vertrag-2\"\n\
         [[vpn.further.concentrators]]\nname = \"vpnk11.ti-extern.langlauf.test\"\naddress = \"10.77.0.11\"\n\
         [network]\nhelper = \"{}\"\ninternet = \"{}\"\ninventory = \"https://INVENTORY\"\nsteer = false\npoll = 0\ntime_servers = [\"{TIME}\"]\n\
         [network.lan]\nname = \"lan\"\naddress = \"192.168.10.2\"\nnetwork = \"192.168.10.0/24\"\n\
         [network.wan]\nname = \"wan\"\ndhcp = true\n\
         [network.dhcp]\nseconds = 3600\n[[network.dhcp.groups]]\nfirst = \"192.168.10.100\"\nlast = \"192.168.10.150\"\n\
         domain = \"praxis.lan\"\noptions = [{{ code = 66, value = \"746674702e707261786973\" }}]\n[[network.dhcp.groups]]\nfirst = \"192.168.10.200\"\nlast = \"192.168.10.210\"\n\
         gateway = \"192.168.10.2\"\nmembers = [\"02:00:00:00:00:02\"]\n\
         [[network.dhcp.leases]]\nmac = \"02:00:00:00:00:03\"\naddress = \"192.168.10.30\"\nname = \"drucker\"\n",
        path() == DataPath::UserSpace,
        vpn.display(),
        outer.address,
        socket.display(),
        if sis { "sis" } else { "none" },
    )
    .parse()
    .unwrap();
    options.konnektor = false;
    let mut world = World::start(&options, clock.clone()).await.unwrap();
    let config = std::fs::read_to_string(&world.config).unwrap();
    let inventory = format!(
        "{}{}",
        world.addresses.configuration,
        testti::configuration::INVENTORY
    );
    let (second_access, second_registrar) = further_access(&world, clock.clone()).await;
    let config = config
        .replace("INVENTORY", &inventory)
        .replace("SECOND", &second_access.to_string());
    std::fs::write(&world.config, config).unwrap();
    let mut lab = Lab::of(clock.clone(), world.pki.clone(), world.publisher.clone()).await;
    // the Konnektor's place: one adapter to the practice, one to the router
    let own = lab.host(&format!("{prefix}k"), 3);
    let client = Host::new(format!("{prefix}c")).unwrap();
    practice_lan(&own, &client);
    // the provider's router, which lends addresses for twenty seconds
    own.ip(&["addr", "flush", "dev", "wan"]).unwrap();
    let router = lab.host(&format!("{prefix}r"), 1);
    let lends = |address: &str| {
        let file = folder.path().join(format!("udhcpd-{address}"));
        let text = format!(
            "start {address}\nend {address}\ninterface wan\nlease_file {0}.leases\npidfile {0}.pid\n\
             option subnet 255.255.255.0\noption router 10.77.0.1\noption lease 20\nmin_lease 10\n",
            file.display()
        );
        std::fs::write(&file, text).unwrap();
        std::fs::write(file.with_added_extension("leases"), "").unwrap();
        let words = ["netns", "exec", &router.name, "busybox", "udhcpd", "-f"];
        Running(Command::new("ip").args(words).arg(&file).spawn().unwrap())
    };
    let lender = lends("10.77.0.60");
    // the TI: behind the concentrator
    let mut station = lab.station(Oddity::default()).await;
    for address in [OPEN, NAMES, TIME, BESIDE] {
        station
            .host
            .ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"])
            .unwrap();
    }
    let mut second = lab.station(Oddity::default()).await;
    second
        .host
        .ip(&["addr", "add", &format!("{OPEN}/32"), "dev", "lo"])
        .unwrap();
    // an answer would find its way, so that it is the filter that keeps it from being asked for
    let back = ["route", "add", "192.168.10.0/24", "via", "10.77.0.60"];
    station.host.ip(&back).unwrap();
    let internet = match sis {
        true => Some(internet(&mut lab, folder.path()).await),
        false => None,
    };
    let (zone, ds) = signed_zone(folder.path());
    let beside = folder.path().join("beside");
    let records = format!(
        "$TTL 300\n@ IN SOA ns.kv-safenet.de. admin.kv-safenet.de. 1 3600 600 86400 300\n\
         @ IN NS ns.kv-safenet.de.\nns IN A {BESIDE}\nwww IN A {BESIDE}\n"
    );
    std::fs::write(&beside, records).unwrap();
    let _beside = NameServer::inside(
        &station.host,
        format!("{BESIDE}:53").parse().unwrap(),
        "kv-safenet.de",
        &beside,
    );
    let _names = NameServer::inside(
        &station.host,
        format!("{NAMES}:53").parse().unwrap(),
        "telematik-test",
        &zone,
    );
    world
        .publisher
        .change(|contents| contents.dnssec = vec![anchor(&ds)]);
    world.publisher.publish().unwrap();
    let times = folder.path().join("chrony.conf");
    std::fs::write(
        &times,
        format!(
            "local stratum 2\nallow\nbindaddress {TIME}\ncmdport 0\npidfile {}/pid\n",
            folder.path().display()
        ),
    )
    .unwrap();
    let chronyd = [
        "netns",
        "exec",
        &station.host.name,
        "chronyd",
        "-n",
        "-x",
        "-U",
        "-u",
        "root",
        "-f",
    ];
    let _times = Running(Command::new("ip").args(chronyd).arg(&times).spawn().unwrap());
    // not root: nobody with the capabilities that the documentation names, and no others
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::os::unix::fs::chown(&run, Some(NOBODY), Some(0)).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let start_helper = || {
        let (user, all) = (
            NOBODY.to_string(),
            "net_admin,+net_raw,+net_bind_service,+sys_time",
        );
        let own = [
            "netns",
            "exec",
            &own.name,
            "setpriv",
            "--reuid",
            &user,
            "--regid",
            "0",
            "--clear-groups",
        ];
        let helper = Command::new("ip")
            .args(own)
            .arg(format!("--inh-caps=-all,+{all}"))
            .arg(format!("--ambient-caps=+{all}"))
            .arg(format!("--bounding-set=-all,+{all}"))
            .arg("--no-new-privs")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "practice::helper_process", "--nocapture"])
            .env("NETWORK_HELPER", &run)
            .stdout(Stdio::null())
            .spawn();
        Running(helper.unwrap())
    };
    let helper = start_helper();
    world.power_on(clock.clone()).await.unwrap();
    let inner = world.konnektor().unwrap().inner().clone();
    let limit = Duration::from_secs(120);
    let until = async |what: &str, seen: &dyn Fn() -> bool| {
        let outcome = world.wait_for(what, limit, &*clock, async || seen()).await;
        if outcome.is_err() {
            let network: Value = inner.network_view().await;
            panic!("{what}: {} {}", inner.vpn_view(), network);
        }
    };
    let up = |wanted: bool| inner.vpn_view()["up"] == wanted;
    until("tunnel", &|| up(true)).await;
    // what the first access service knows the second one is told, too
    Walk::new(&world, &*clock, true, &|_| ()).run().await.unwrap();
    until("registered with the first", &|| {
        world.registrar.entries().len() == 1
    })
    .await;
    let known = || inner.lifetime_view()["elsewhere"][0].clone();
    until("registered with both", &|| {
        // one whose card was in use is made up for at the next look
        inner.look_now();
        !known()["registered_by"].is_null() || known()["failed"].is_string()
    })
    .await;
    if known()["registered_by"].is_null() {
        println!("by hand, for {}", known()["failed"]);
        inner.lifetime_by_hand(ByHand::Register(0)).await.unwrap();
    }
    assert!(!known()["registered_by"].is_null(), "{}", known());
    assert_eq!(world.registrar.entries().len(), 1);
    assert_eq!(second_registrar.entries().len(), 1);
    // a service for clients, and one that is none
    until("service", &|| reaches(&client, OPEN)).await;
    assert!(!reaches(&client, CENTRAL));
    assert!(!reaches(&client, "10.77.0.10"));
    // names: of the TI signed or not at all, the Konnektor's own, and the Internet's by whoever knows them outside
    until("name", &|| ask(&client, "erezept.telematik-test").contains(OPEN)).await;
    assert!(ask(&client, "erezept.telematik-test").contains(" ad"));
    until("no false name", &|| {
        ask(&client, "falsch.telematik-test").contains("SERVFAIL")
    })
    .await;
    assert!(ask(&client, "konnektor.konlan").contains("192.168.10.2"));
    // nobody who reads what strangers say has more rights than he needs
    for (daemon, most) in [
        ("unbound", 1_u64 << 10),
        ("chronyd", 1 << 10 | 1 << 25),
        ("kea-dhcp4", 1 << 10 | 1 << 13),
        ("busybox", 1 << 10 | 1 << 13),
        ("charon-systemd", 1 << 10 | 1 << 12 | 1 << 13),
    ] {
        let all = crate::lab::run("ip", &["netns", "pids", &own.name]).unwrap();
        let status = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let is_it = |status: &String| status.starts_with(&format!("Name:\t{daemon}\n"));
        let status = all.lines().map(status).find(is_it);
        let status = status.unwrap_or_else(|| panic!("{daemon} does not run"));
        for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
            let rights = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
            let rights = u64::from_str_radix(rights.trim(), 16).unwrap();
            assert_eq!(rights & !most, 0, "{daemon} {set} {rights:x}");
        }
    }
    // the time, for the Konnektor and for the practice
    until("time", &|| {
        let told = client.exec(&[
            "chronyd",
            "-Q",
            "-t",
            "5",
            "-U",
            "-u",
            "root",
            "server 192.168.10.2 iburst maxsamples 1",
        ]);
        told.is_ok()
    })
    .await;
    beside_the_ti(&world, &client, until).await;
    // addresses: for everybody, for a group, for one host; with the ways into the TI for hosts that have another gateway
    let addresses = |mac: &str| {
        client.ip(&["link", "set", "eth0", "address", mac]).unwrap();
        let script = folder.path().join("dhcp.sh");
        std::fs::write(&script, "#!/bin/sh\n[ \"$1\" = bound ] && set\nexit 0\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let ask = [
            "busybox",
            "udhcpc",
            "-i",
            "eth0",
            "-n",
            "-q",
            "-t",
            "10",
            "-T",
            "1",
            "-O",
            "ntpsrv",
            "-O",
            "staticroutes",
        ];
        client
            .exec(&[&ask[..], &["-s", script.to_str().unwrap()]].concat())
            .unwrap_or_default()
    };
    let told = addresses("02:00:00:00:00:01");
    for wanted in [
        "ip='192.168.10.1",
        "dns='192.168.10.2'",
        "ntpsrv='192.168.10.2'",
        "domain='praxis.lan'",
        "tftp='tftp.praxis'",
        "172.30.0.0/16 192.168.10.2",
        "188.144.0.0/15 192.168.10.2",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    assert!(!told.contains("router="), "{told}");
    let told = addresses("02:00:00:00:00:02");
    for wanted in [
        "ip='192.168.10.20",
        "router='192.168.10.2'",
        "0.0.0.0/0 192.168.10.2",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    let told = addresses("02:00:00:00:00:03");
    assert!(
        told.contains("ip='192.168.10.30'") && told.contains("hostname='drucker"),
        "{told}"
    );
    let network = inner.network_view().await;
    assert_eq!(network["mode"], "InReihe");
    // somebody's hand in the packet filter is undone
    own.exec(&["nft", "delete", "table", "inet", "langlauf"]).unwrap();
    until("packet filter", &|| {
        own.exec(&["nft", "list", "table", "inet", "langlauf"]).is_ok()
    })
    .await;
    assert!(
        e2e::logged(&inner)
            .iter()
            .any(|(topic, _)| topic == "ANLW/FIREWALL/TOUCHED")
    );
    if let Some((station, _names)) = internet {
        secure_internet(&world, &client, station, until).await;
    }
    // the provider gives another address: the tunnel moves with it
    let has = |address: &str| {
        let all = own.ip(&["addr", "show", "dev", "wan"]).unwrap();
        all.contains(&format!("{address}/24"))
    };
    assert!(has("10.77.0.60"));
    let told = |topic: &str| {
        let log = e2e::logged(&inner);
        log.iter().filter(|(one, _)| one == topic).count()
    };
    let before = ["UP", "DOWN", "RENEWED"].map(|what| told(&format!("NETWORK/VPN_TI/{what}")));
    drop(lender);
    let _lender = lends("10.77.0.61");
    until("another address", &|| has("10.77.0.61") && !has("10.77.0.60")).await;
    until("service", &|| reaches(&client, OPEN)).await;
    let after = ["UP", "DOWN", "RENEWED"].map(|what| told(&format!("NETWORK/VPN_TI/{what}")));
    assert_eq!(before, after);
    // the deadline of a critical update is over: no client gets into the TI any more, the Konnektor does, for the update lies there
    let critical = UpdateInformation {
        id: "KRITISCH".into(),
        product: Product {
            vendor: "LLAUF".into(),
            code: "LANGLAUF".into(),
            hardware: "1.0.0".into(),
        },
        name: "Langlauf".into(),
        version: [99, 0, 0],
        critical: true,
        deadline: "2020-01-31".parse().ok(),
        files: Vec::new(),
        documents: Vec::new(),
        notes: String::new(),
    };
    world
        .ksr
        .publish_update(critical.clone(), b"nothing of use".to_vec());
    inner.look_at_ksr().await.unwrap();
    until("no client in the TI", &|| !reaches(&client, OPEN)).await;
    assert!(up(true));
    // an empty list would be no news
    world.ksr.withdraw_updates();
    let normal = UpdateInformation {
        critical: false,
        ..critical
    };
    world.ksr.publish_update(normal, b"nothing of use".to_vec());
    inner.look_at_ksr().await.unwrap();
    until("clients in the TI", &|| reaches(&client, OPEN)).await;
    // the helper dies: what stands goes on standing, and another one takes over
    drop(helper);
    assert!(own.exec(&["nft", "list", "table", "inet", "langlauf"]).is_ok());
    let _helper = start_helper();
    until("another helper's charon", &|| {
        let log = e2e::logged(&inner);
        let all = log.iter().filter(|(topic, _)| topic == "NETWORK/VPN_TI/UP");
        all.count() > before[0] && up(true)
    })
    .await;
    until("service", &|| reaches(&client, OPEN)).await;
    // nobody of the first access service answers: the second one does
    station.charon.kill().await;
    until("the second access service", &|| {
        up(true) && inner.vpn_view()["concentrator"] == second.place.concentrator.name
    })
    .await;
    until("service", &|| reaches(&client, OPEN)).await;
    // and with the tunnel goes all that led through it
    second.charon.kill().await;
    until("no tunnel", &|| up(false)).await;
    until("no name", &|| {
        ask(&client, "erezept.telematik-test").contains("REFUSED")
    })
    .await;
    assert!(!reaches(&client, OPEN));
    let routes = own.ip(&["route", "show", "proto", "186"]).unwrap();
    assert!(!routes.contains(interface()), "{routes}");
    // who is to mend it: the access provider, whose concentrator is silent; then the line, which is cut
    until("an attempt that fails", &|| !inner.vpn_view()["last"].is_null()).await;
    let blamed = async || {
        let diagnosis = inner.diagnose().await;
        // no terminal was ever paired here
        let mut all = diagnosis.links.iter().filter(|one| one.link != "cards");
        let bad = all.find(|one| one.health == Health::Bad);
        bad.map(|one| (one.link, one.whose))
    };
    assert_eq!(
        blamed().await,
        Some(("access_service", Some(Whose::AccessProvider)))
    );
    drop(outer);
    assert_eq!(blamed().await, Some(("line", Some(Whose::Line))));
}
