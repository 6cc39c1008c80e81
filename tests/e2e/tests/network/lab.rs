//! Hosts of our own in network namespaces: a Konnektor and concentrators with real strongSwan, which know nothing of Langlauf.

use base::{Clock, SystemClock, Timestamp};
use crypto::pem;
use network::{
    Change, Charon, Concentrator, Credentials, DataPath, Directory, DirectoryError, Environment, Gate, Later,
    Place, Places, Profile, Service, Setup, Tunnel, TunnelOrder,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testti::{Publisher, SavedKeys, TestPki};
use tokio::sync::mpsc;

/// A service inside the TI, behind every concentrator.
pub const SERVICE: &str = "172.24.0.10";
/// A host in the Internet, behind the concentrator of the secure Internet service.
pub const INTERNET: &str = "9.8.7.80";
/// Networks of the TI's test environment, as a route.
const TI: &str = "172.24.0.0/14";

/// Runs a program; its output, or what it said instead.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program} is missing, run `make setup`: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!(
            "{program} {arguments:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        )),
    }
}

/// A namespace that ends with this.
pub struct Host {
    pub name: String,
}

impl Host {
    pub fn new(name: String) -> Result<Self, String> {
        run("ip", &["netns", "add", &name])?;
        let host = Self { name };
        host.ip(&["link", "set", "lo", "up"])?;
        Ok(host)
    }

    pub fn ip(&self, arguments: &[&str]) -> Result<String, String> {
        run("ip", &[&["-n", &self.name], arguments].concat())
    }

    pub fn exec(&self, arguments: &[&str]) -> Result<String, String> {
        run("ip", &[&["netns", "exec", &self.name], arguments].concat())
    }

    /// Starts a program in this host.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .spawn();
        Running(child.unwrap())
    }

    /// A program in this host.
    pub fn command(&self, program: &str) -> Vec<String> {
        ["ip", "netns", "exec", &self.name, program]
            .map(str::to_owned)
            .to_vec()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // what still runs in it keeps it until it ends
        let _ = run("ip", &["netns", "del", &self.name]);
    }
}

/// The Konnektor in the practice's LAN, and a client there.
pub const KONNEKTOR: &str = "192.168.10.2";
pub const CLIENT: &str = "192.168.10.50";

/// Joins a Konnektor's host and a client's by the practice's LAN; the Konnektor is the client's gateway.
pub fn practice_lan(own: &Host, client: &Host) {
    own.ip(&[
        "link",
        "add",
        "lan",
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        &client.name,
    ])
    .unwrap();
    for (host, name, address) in [(own, "lan", KONNEKTOR), (client, "eth0", CLIENT)] {
        host.ip(&["addr", "add", &format!("{address}/24"), "dev", name])
            .unwrap();
        host.ip(&["link", "set", name, "up"]).unwrap();
    }
    client.ip(&["route", "add", "default", "via", KONNEKTOR]).unwrap();
}

/// A process that ends with the test.
pub struct Running(pub std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // it may have ended already
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// A concentrator: a host with strongSwan as a responder.
pub struct Station {
    pub host: Host,
    pub charon: Charon,
    pub place: Place,
    pub certificate: Vec<u8>,
    folder: PathBuf,
}

/// How a concentrator differs from an ordinary one.
#[derive(Default, Clone)]
pub struct Oddity {
    /// It says that it is somebody else.
    pub other_name: bool,
    /// It knows other suites only.
    pub other_suites: bool,
    /// It believes nobody.
    pub refuses: bool,
    /// It has no addresses to give.
    pub no_addresses: bool,
    /// Its clock is ten years ahead.
    pub ahead: bool,
    /// It fetches certificates that it is told about.
    pub fetches: bool,
    /// It leads into the secure Internet service.
    pub sis: bool,
}

/// The whole laboratory.
pub struct Lab {
    pub konnektor: Host,
    bridge: Host,
    pub clock: Arc<dyn Clock>,
    pub pki: TestPki,
    pub publisher: Publisher,
    pub nk: Credentials,
    pub charon: Charon,
    pub folder: tempfile::TempDir,
    setup: Setup,
    prefix: String,
    next: u8,
}

/// Who enciphers: charon, or in `make test-network-kernel` the kernel.
pub fn path() -> DataPath {
    match std::env::var_os("NETWORK_KERNEL") {
        Some(_) => DataPath::Kernel,
        None => DataPath::UserSpace,
    }
}

/// How long an answer is waited for: less than a product does, for the tests' sake; emulation is slow.
fn patience() -> (u32, u32) {
    match path() {
        DataPath::Kernel => (2, 4),
        DataPath::UserSpace => (1, 2),
    }
}

/// The interface of a tunnel into the TI.
pub fn interface() -> &'static str {
    match path() {
        DataPath::Kernel => "vpn_ti",
        DataPath::UserSpace => "ipsec0",
    }
}

/// Do we have the right to make namespaces? Says so if not.
pub fn may() -> bool {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "llt{}x{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let outcome = run("ip", &["netns", "add", &name]);
    let _ = run("ip", &["netns", "del", &name]);
    let outcome = outcome.and_then(|_| {
        run(
            "which",
            &[
                "charon-systemd",
                "swanctl",
                "unbound",
                "nft",
                "conntrack",
                "faketime",
                "chronyd",
                "dnssec-signzone",
                "dig",
            ],
        )
    });
    match outcome {
        Ok(_) => true,
        Err(reason) => {
            eprintln!(
                "skipped: no network namespaces or no strongSwan here, see `make test-network` ({reason})"
            );
            false
        }
    }
}

/// An address in the transport network.
fn transport(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

impl Lab {
    pub async fn new() -> Self {
        let clock = SystemClock::new();
        let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://127.0.0.1/ocsp").unwrap();
        let publisher = Publisher::new(&pki, clock.clone(), "http://127.0.0.1", "https://127.0.0.1").unwrap();
        Self::of(clock, pki, publisher).await
    }

    /// A laboratory in this test TI.
    pub async fn of(clock: Arc<dyn Clock>, pki: TestPki, publisher: Publisher) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!(
            "ll{}x{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = tempfile::tempdir().unwrap();
        let bridge = Host::new(format!("{prefix}b")).unwrap();
        bridge.ip(&["link", "add", "br0", "type", "bridge"]).unwrap();
        bridge.ip(&["link", "set", "br0", "up"]).unwrap();
        let konnektor = Host::new(format!("{prefix}k")).unwrap();
        let nk = pki
            .konnektor("80276009990000000010", &[], 1826, false)
            .unwrap()
            .nk;
        let setup = Setup {
            command: konnektor.command("charon-systemd"),
            path: path(),
            patience: patience(),
            ..Setup::new(folder.path().join("konnektor"))
        };
        plug(&bridge, &konnektor, transport(2));
        let charon = Charon::start(&setup, clock.clone()).await.unwrap();
        Self {
            nk: Credentials {
                certificate: nk.chain[0].clone(),
                key: nk.key,
                lies: None,
            },
            konnektor,
            bridge,
            clock,
            pki,
            publisher,
            charon,
            folder,
            setup,
            prefix,
            next: 10,
        }
    }

    /// A renewed certificate for the same key.
    pub fn renewed(&self, days: i64) -> Credentials {
        let now = self.clock.now();
        let at = |days: i64| Timestamp::from_second(now.as_second() + days * 86_400).unwrap();
        let old = asn1::X509::parse(&self.nk.certificate).unwrap();
        let issuers = testti::tsp::Issuers {
            brainpool: self.pki.component_ca.clone(),
            nist: self.pki.component_ca_nist.clone(),
            cvc: self.pki.cvc_device.clone(),
        };
        let kind: identity::Kind = "C.NK.VPN_ECC".parse().unwrap();
        let certify = testti::tsp::Certify {
            kind,
            role: kind.role,
            name: &old.common_name().unwrap(),
            key: crypto::Key::public(&self.nk.key),
            dns: &[],
            addresses: &[],
            validity: (at(-1), at(days)),
        };
        Credentials {
            certificate: certify.certificate(&issuers).unwrap(),
            key: self.nk.key.clone(),
            lies: None,
        }
    }

    /// Another device of the same kind.
    pub fn another(&self) -> Credentials {
        let nk = self
            .pki
            .konnektor("80276009990000000011", &[], 1826, false)
            .unwrap()
            .nk;
        Credentials {
            certificate: nk.chain[0].clone(),
            key: nk.key,
            lies: None,
        }
    }

    /// A certificate for the same key from a CA that no concentrator believes.
    pub fn stranger(&self) -> Credentials {
        let now = self.clock.now();
        let at = |days: i64| Timestamp::from_second(now.as_second() + days * 86_400).unwrap();
        let own = self.nk.key.clone();
        let name = |text| pki::issue::Name::new("Somebody", text);
        let certificate = pki::issue::Authority::root(name("self"), own.clone(), "", at(-1), at(10)).unwrap();
        Credentials {
            certificate: certificate.certificate,
            key: own,
            lies: None,
        }
    }

    /// Puts the Konnektor behind a router with NAT, and starts its charon there, as patient as a product's.
    pub async fn behind_nat(&mut self) -> Host {
        let nat = self.host(&format!("{}n", self.prefix), 5);
        self.konnektor.ip(&["link", "del", "wan"]).unwrap();
        let pair = [
            "link", "add", "wan", "type", "veth", "peer", "name", "in", "netns", &nat.name,
        ];
        self.konnektor.ip(&pair).unwrap();
        for (host, name, address) in [
            (&self.konnektor, "wan", "10.88.0.2/24"),
            (&nat, "in", "10.88.0.1/24"),
        ] {
            host.ip(&["addr", "add", address, "dev", name]).unwrap();
            host.ip(&["link", "set", name, "up"]).unwrap();
        }
        self.konnektor
            .ip(&["route", "add", "default", "via", "10.88.0.1"])
            .unwrap();
        nat.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]).unwrap();
        nat.exec(&["nft", "add", "table", "ip", "nat"]).unwrap();
        nat.exec(&[
            "nft",
            "add",
            "chain",
            "ip",
            "nat",
            "post",
            "{ type nat hook postrouting priority 100 ; }",
        ])
        .unwrap();
        nat.exec(&[
            "nft",
            "add",
            "rule",
            "ip",
            "nat",
            "post",
            "oifname",
            "wan",
            "snat",
            "to",
            "10.77.0.5",
        ])
        .unwrap();
        let patience = Setup::new(PathBuf::new()).patience;
        self.setup.patience = patience;
        self.restart().await;
        nat
    }

    /// A further host in the transport network.
    pub fn host(&self, name: &str, number: u8) -> Host {
        let host = Host::new(name.to_owned()).unwrap();
        plug(&self.bridge, &host, transport(number));
        host
    }

    /// Starts the Konnektor's charon again, which tells where its certificate lies.
    pub async fn tells_where(&mut self) {
        self.setup.hash_and_url = true;
        self.restart().await;
    }

    /// Starts the Konnektor's charon again.
    pub async fn restart(&mut self) {
        self.charon = Charon::start(&self.setup, self.clock.clone()).await.unwrap();
    }

    /// Sets a concentrator up.
    pub async fn station(&mut self, oddity: Oddity) -> Station {
        let number = self.next;
        self.next += 1;
        let host = Host::new(format!("{}v{number}", self.prefix)).unwrap();
        plug(&self.bridge, &host, transport(number));
        let (service, inner, addresses, kind) = match oddity.sis {
            false => (SERVICE, "172.16.0.0/13", "172.16.0.0/24", "ti"),
            true => (INTERNET, "172.29.0.0/16", "172.29.0.0/24", "sis"),
        };
        host.ip(&["addr", "add", &format!("{service}/32"), "dev", "lo"])
            .unwrap();
        if path() == DataPath::Kernel {
            // policies take what a route has led out
            host.ip(&["route", "add", inner, "dev", "wan"]).unwrap();
        }
        let name = format!("vpnk{number}.{kind}-extern.langlauf.test");
        let identity = self.pki.concentrator(&name).unwrap();
        let folder = self.folder.path().join(&name);
        let mut command = host.command("charon-systemd");
        if oddity.ahead {
            let clock = ["faketime", "-f", "+3650d"].map(str::to_owned);
            command.splice(4..4, clock);
        }
        let setup = Setup {
            command,
            path: path(),
            patience: patience(),
            hash_and_url: oddity.fetches,
            ..Setup::new(folder.clone())
        };
        let charon = Charon::start(&setup, self.clock.clone()).await.unwrap();
        let write = |place: &str, text: &str| put(&folder, place, text);
        write("x509/vpnk.pem", &certificate(&identity.chain[0]));
        write("private/vpnk.pem", &key(&identity.key));
        let ca = match oddity.refuses {
            true => &self.pki.smcb_ca.certificate,
            false => &self.pki.component_ca.certificate,
        };
        write("x509ca/ca.pem", &certificate(ca));
        // charon believes a CA only up to a root
        write("x509ca/root.pem", &certificate(&self.pki.anchors()[0]));
        let suites = match oddity.other_suites {
            true => "aes128-sha256-modp2048",
            false => "aes256gcm16-prfsha384-ecp384bp",
        };
        let pool = match oddity.no_addresses {
            true => "",
            false => "pools = p",
        };
        let esn = if path() == DataPath::Kernel { "-esn" } else { "" };
        let said = match oddity.other_name {
            true => "somebody.else.test",
            false => &name,
        };
        write(
            "swanctl.conf",
            &format!(
                "connections {{ ti {{\n version = 2\n proposals = {suites}\n {pool}\n unique = replace\n \
                 local {{\n auth = ecdsa-sha256\n certs = vpnk.pem\n id = {said}\n }}\n \
                 remote {{\n auth = ecdsa-sha256\n cacerts = ca.pem\n revocation = relaxed\n }}\n \
                 children {{ ti {{\n local_ts = 0.0.0.0/0\n remote_ts = dynamic\n esp_proposals = aes256gcm16-ecp384bp{esn}\n }} }}\n }} }}\n\
                 pools {{ p {{\n addrs = {addresses}\n }} }}\n"
            ),
        );
        let station = Station {
            host,
            charon,
            place: Place {
                concentrator: Concentrator {
                    name,
                    address: transport(number),
                },
                inside: None,
            },
            certificate: identity.chain[0].clone(),
            folder,
        };
        station.load();
        station
    }

    /// What the tunnel is built with.
    pub fn order(&self) -> TunnelOrder {
        let profile = Profile {
            keepalive_seconds: 1,
            ..Environment::TU.profile().unwrap()
        };
        TunnelOrder {
            service: Service::Ti,
            profile: Arc::new(profile),
            credentials: self.nk.clone(),
            trust: network::Trust {
                authorities: vec![self.pki.vpn_ca.certificate.clone()],
                others: vec![
                    self.pki.crl_signer.0.der().to_vec(),
                    self.pki.anchors()[0].clone(),
                ],
                revocation_lists: vec![self.publisher.file("/internet/VPN.crl").unwrap()],
            },
        }
    }

    /// Begins a tunnel to these places.
    pub async fn tunnel(&self, order: TunnelOrder, places: &[&Place]) -> Watched {
        let book = Arc::new(Book(Mutex::new(
            places.iter().map(|&place| place.clone()).collect(),
        )));
        let gate = Arc::new(OneDoor::default());
        let (sender, changes) = mpsc::unbounded_channel();
        let tunnel = Tunnel::begin(
            &self.charon,
            path(),
            order,
            vec![book],
            gate.clone(),
            self.clock.clone(),
            sender,
        );
        Watched {
            tunnel: tunnel.await.unwrap(),
            changes,
            gate,
            clock: self.clock.clone(),
        }
    }

    /// The route into the TI, as the network connector sets it.
    pub fn route(&self, inner: Ipv4Addr) {
        let inner = inner.to_string();
        if path() == DataPath::Kernel {
            // it may be there already
            let link = [
                "link", "add", "vpn_ti", "type", "xfrm", "dev", "wan", "if_id", "7",
            ];
            let _ = self.konnektor.ip(&link);
            self.konnektor.ip(&["link", "set", "vpn_ti", "up"]).unwrap();
        }
        self.konnektor
            .ip(&["route", "replace", TI, "dev", interface(), "src", &inner])
            .unwrap();
    }
}

impl Station {
    /// (Re)reads its configuration.
    pub fn load(&self) {
        let socket = format!("unix://{}", self.charon.vici().display());
        let file = self.folder.join("swanctl.conf");
        run(
            "swanctl",
            &["--load-all", "--file", file.to_str().unwrap(), "--uri", &socket],
        )
        .unwrap();
    }
}

pub fn plug(bridge: &Host, host: &Host, address: Ipv4Addr) {
    let port = format!("p{}", address.octets()[3]);
    bridge
        .ip(&[
            "link", "add", &port, "type", "veth", "peer", "name", "wan", "netns", &host.name,
        ])
        .unwrap();
    bridge.ip(&["link", "set", &port, "master", "br0", "up"]).unwrap();
    host.ip(&["addr", "add", &format!("{address}/24"), "dev", "wan"])
        .unwrap();
    host.ip(&["link", "set", "wan", "up"]).unwrap();
}

/// Puts a file into a folder of strongSwan's.
pub fn put(folder: &Path, place: &str, text: &str) {
    let path = folder.join(place);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A certificate as strongSwan reads it.
pub fn certificate(der: &[u8]) -> String {
    pem::encode("CERTIFICATE", der).unwrap().to_string()
}

/// A key as strongSwan reads it.
pub fn key(key: &crypto::SoftKey) -> String {
    pem::encode("PRIVATE KEY", &key.to_pkcs8().unwrap())
        .unwrap()
        .to_string()
}

/// unbound with the records of a provider.
pub struct NameServer {
    child: std::process::Child,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl NameServer {
    /// In a host and at an address of it, with a zone that is signed or not.
    pub fn inside(host: &Host, address: SocketAddr, zone: &str, file: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "server:\n interface: {}@{}\n access-control: 0.0.0.0/0 allow\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
             pidfile: \"\"\n directory: \"{}\"\n use-syslog: no\n module-config: \"iterator\"\n do-ip6: no\n\
             auth-zone:\n name: \"{zone}.\"\n zonefile: \"{}\"\n for-downstream: yes\n for-upstream: yes\n\
             remote-control:\n control-enable: no\n",
            address.ip(),
            address.port(),
            folder.path().display(),
            file.display(),
        );
        let conf = folder.path().join("unbound.conf");
        std::fs::write(&conf, text).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", &host.name, "unbound", "-c"])
            .arg(&conf)
            .spawn()
            .unwrap();
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    pub async fn start(zone: &str, records: &[String], clock: &dyn Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // free for both kinds
        let free = || {
            let tcp = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
            let address = tcp.local_addr().ok()?;
            std::net::UdpSocket::bind(address).ok().map(|_| address)
        };
        let address = (0..20).find_map(|_| free()).unwrap();
        let data: Vec<String> = records.iter().map(|one| format!("local-data: '{one}'")).collect();
        let text = format!(
            "server:\n interface: 127.0.0.1@{}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n \
             directory: \"{}\"\n use-syslog: no\n local-zone: \"{zone}.\" static\n {}\nremote-control:\n control-enable: no\n",
            address.port(),
            folder.path().display(),
            data.join("\n ")
        );
        let file = folder.path().join("unbound.conf");
        std::fs::write(&file, text).unwrap();
        let child = Command::new("unbound").arg("-c").arg(&file).spawn().unwrap();
        let up = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                clock.sleep(Duration::from_millis(20)).await;
            }
        };
        clock
            .timeout(Duration::from_secs(10), up)
            .await
            .expect("unbound does not start");
        Self {
            child,
            address,
            _folder: folder,
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Book(Mutex<Places>);

impl Directory for Book {
    fn find(&self, _: Service) -> Later<'_, Result<Places, DirectoryError>> {
        Box::pin(async { Ok(self.0.lock().unwrap().clone()) })
    }
}

/// Remembers who is let through.
#[derive(Default)]
pub struct OneDoor {
    open: Mutex<Vec<Ipv4Addr>>,
}

impl OneDoor {
    pub fn open_for(&self) -> Vec<Ipv4Addr> {
        self.open.lock().unwrap().clone()
    }
}

impl Gate for OneDoor {
    fn open(&self, _: Service, address: Ipv4Addr) -> Later<'_, Result<(), String>> {
        self.open.lock().unwrap().push(address);
        Box::pin(async { Ok(()) })
    }

    fn close(&self, _: Service, address: Ipv4Addr) -> Later<'_, ()> {
        self.open.lock().unwrap().retain(|one| *one != address);
        Box::pin(async {})
    }
}

/// A tunnel with what it tells.
pub struct Watched {
    pub tunnel: Tunnel,
    pub changes: mpsc::UnboundedReceiver<Change>,
    pub gate: Arc<OneDoor>,
    clock: Arc<dyn Clock>,
}

impl Watched {
    /// The next change, within a minute.
    pub async fn next(&mut self) -> Change {
        let next = self
            .clock
            .timeout(Duration::from_secs(60), self.changes.recv())
            .await;
        next.expect("nothing happens for a minute").unwrap()
    }
}
