//! Packet filter and routes, judged from outside: hosts in the LAN, in the WAN and in the TI send to everybody, and a table of the
//! test's own notes in the kernel what came past ours.

use crate::lab::{Host, may};
use base::SystemClock;
use network::{Adapter, Environment, Hands, Internet, Intranet, Legacy, Machine, Network, Plan, Standing};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

const LAN: &str = "192.168.10.2";
const PVS: &str = "192.168.10.50";
const TERMINAL: &str = "192.168.20.60";
const HOP: &str = "192.168.10.9";
const CONCENTRATOR: &str = "10.77.0.10";
const REGISTRAR: &str = "10.77.0.20";
const STRANGER: &str = "10.77.0.66";
const INTERNET: &str = "8.8.8.8";
const INNER: &str = "172.16.0.5";
const INNER_SIS: &str = "172.29.0.5";
const LEGACY: &str = "188.144.1.1";
const LEGACY_OFF: &str = "188.145.1.1";
/// One address of each class of the TI: secured, open, central, decentral, SIS.
const CLASSES: [&str; 5] = [
    "172.28.0.10",
    "172.30.0.10",
    "172.24.0.10",
    "172.16.9.9",
    "172.29.9.9",
];

fn network(text: &str) -> Network {
    text.to_owned().try_into().unwrap()
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// How the Konnektor stands in its practice.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    InLine,
    Parallel,
}

/// A practice with a Konnektor between the LAN and everything else. Where its tunnels lead to is another host, by plain wires.
struct Practice {
    mode: Mode,
    konnektor: Host,
    lan: Host,
    wan: Host,
    ti: Host,
    sis: Host,
    machine: Machine,
    _folder: tempfile::TempDir,
    _switch: Host,
}

fn wire(a: &Host, name: &str, b: &Host, other: &str) {
    a.ip(&[
        "link", "add", name, "type", "veth", "peer", "name", other, "netns", &b.name,
    ])
    .unwrap();
    for (host, name) in [(a, name), (b, other)] {
        host.ip(&["link", "set", name, "up"]).unwrap();
    }
}

fn give(host: &Host, interface: &str, addresses: &[&str]) {
    for address in addresses {
        host.ip(&["addr", "add", address, "dev", interface]).unwrap();
    }
}

fn leads(host: &Host, to: &str, words: &[&str]) {
    host.ip(&[&["route", "add", to], words].concat()).unwrap();
}

impl Practice {
    fn new(mode: Mode) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let host = |letter: &str| Host::new(format!("llf{}x{number}{letter}", std::process::id())).unwrap();
        let (konnektor, lan, wan, ti, sis) = (host("k"), host("l"), host("w"), host("t"), host("s"));
        // a switch in the practice
        let switch = host("b");
        switch.ip(&["link", "add", "br0", "type", "bridge"]).unwrap();
        switch.ip(&["link", "set", "br0", "up"]).unwrap();
        let plug = |host: &Host, interface: &str, port: &str| {
            wire(host, interface, &switch, port);
            switch.ip(&["link", "set", port, "master", "br0"]).unwrap();
        };
        plug(&konnektor, "lan", "p1");
        plug(&lan, "eth0", "p2");
        match mode {
            Mode::InLine => wire(&konnektor, "wan", &wan, "eth0"),
            Mode::Parallel => plug(&wan, "eth0", "p3"),
        }
        wire(&konnektor, "vpn_ti", &ti, "eth0");
        wire(&konnektor, "vpn_sis", &sis, "eth0");
        give(&konnektor, "lan", &["192.168.10.2/24"]);
        give(&konnektor, "vpn_ti", &["172.16.0.5/32"]);
        give(&konnektor, "vpn_sis", &["172.29.0.5/32"]);
        // practice systems, and a router with a terminal behind it
        give(&lan, "eth0", &["192.168.10.50/24", "192.168.10.9/24"]);
        give(&lan, "lo", &["192.168.20.60/32"]);
        leads(&lan, "default", &["via", LAN]);
        give(&wan, "lo", &["8.8.8.8/32"]);
        match mode {
            Mode::InLine => {
                give(&konnektor, "wan", &["10.77.0.2/24"]);
                give(
                    &wan,
                    "eth0",
                    &["10.77.0.1/24", "10.77.0.10/24", "10.77.0.20/24", "10.77.0.66/24"],
                );
                // whoever is outside may know all networks and try
                for to in ["192.168.0.0/16", "172.16.0.0/12", "188.144.0.0/15"] {
                    leads(&wan, to, &["via", "10.77.0.2"]);
                }
            }
            Mode::Parallel => {
                // the router and all behind it, in the LAN like everybody
                give(
                    &wan,
                    "eth0",
                    &[
                        "192.168.10.1/24",
                        "10.77.0.10/32",
                        "10.77.0.20/32",
                        "10.77.0.66/32",
                    ],
                );
                for to in ["192.168.20.0/24", "172.16.0.0/12", "188.144.0.0/15"] {
                    leads(&wan, to, &["via", LAN]);
                }
            }
        }
        for host in [&ti, &sis] {
            host.ip(&["route", "add", "default", "dev", "eth0"]).unwrap();
            // whoever is asked for answers there
            host.exec(&[
                "sysctl",
                "-qw",
                "net.ipv4.conf.all.proxy_arp=1",
                "net.ipv4.ip_forward=1",
            ])
            .unwrap();
        }
        for there in CLASSES.iter().chain(&[LEGACY, LEGACY_OFF]) {
            give(&ti, "lo", &[&format!("{there}/32")]);
        }
        give(&sis, "lo", &["8.8.8.8/32"]);
        for host in [&konnektor, &lan, &wan, &ti, &sis] {
            host.exec(&[
                "sysctl",
                "-qw",
                "net.ipv4.conf.all.rp_filter=0",
                "net.ipv4.conf.default.rp_filter=0",
            ])
            .unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let prefix = ["ip", "netns", "exec", &konnektor.name];
        let prefix = prefix.map(str::to_owned).to_vec();
        let machine = Machine::new(prefix, folder.path().into(), SystemClock::new());
        Self {
            mode,
            konnektor,
            lan,
            wan,
            ti,
            sis,
            machine,
            _folder: folder,
            _switch: switch,
        }
    }

    fn plan(&self, ti: bool, sis: bool) -> Plan {
        let adapter = |name: &str, own: &str, around: &str| Adapter {
            name: name.into(),
            address: address(own),
            network: network(around),
            lent: false,
        };
        let standing = |interface: &str, inner: &str| Standing {
            interface: interface.into(),
            inner: address(inner),
            concentrator: address(CONCENTRATOR),
            names: BTreeSet::new(),
        };
        let legacy = |around: &str, active| Legacy {
            networks: vec![network(around)],
            names: BTreeSet::new(),
            active,
        };
        Plan {
            environment: Environment::TU,
            lan: adapter("lan", LAN, "192.168.10.0/24"),
            wan: (self.mode == Mode::InLine).then(|| adapter("wan", "10.77.0.2", "10.77.0.0/24")),
            gateway: Some(match self.mode {
                Mode::InLine => address("10.77.0.1"),
                Mode::Parallel => address("192.168.10.1"),
            }),
            intranet: vec![Intranet {
                network: network("192.168.20.0/24"),
                hop: address(HOP),
            }],
            redirect: true,
            internet: Internet::Sis,
            doors: BTreeSet::from([address(CONCENTRATOR)]),
            names: BTreeSet::new(),
            hosts: BTreeSet::from([format!("{REGISTRAR}:443").parse().unwrap()]),
            ti: ti.then(|| standing("vpn_ti", INNER)),
            sis: sis.then(|| standing("vpn_sis", INNER_SIS)),
            legacy: vec![legacy("188.144.0.0/16", true), legacy("188.145.0.0/16", false)],
            barred: Vec::new(),
            shut: false,
            tcp: BTreeSet::from([443, 636]),
            udp: BTreeSet::from([53, 123]),
            resolver: None,
            time: None,
            dhcp: None,
            mtu: None,
        }
    }

    /// Notes from now on what came past the packet filter.
    fn judge(&self) {
        let rules = "table inet judge\ndelete table inet judge\ntable inet judge {\n\
            set ports { type ifname . inet_proto . inet_service; flags dynamic; size 400000; }\n\
            set six { type ifname . inet_proto . inet_service; flags dynamic; size 400000; }\n\
            set passed { type ipv4_addr . ipv4_addr; flags dynamic; size 65535; }\n\
            set left { type ifname . ipv4_addr; flags dynamic; size 65535; }\n\
            chain arrived { type filter hook input priority 100; policy accept;\n\
              iifname != lo ct state new meta nfproto ipv4 meta l4proto { tcp, udp } add @ports { iifname . meta l4proto . th dport }\n\
              iifname != lo meta nfproto ipv6 meta l4proto { tcp, udp } add @six { iifname . meta l4proto . th dport }; }\n\
            chain forwarded { type filter hook forward priority 100; policy accept; ct state new add @passed { ip saddr . ip daddr }; }\n\
            chain sent { type filter hook output priority 100; policy accept; oifname != lo ct state new add @left { oifname . ip daddr }; }\n}\n";
        let file = std::env::temp_dir().join(format!("{}.nft", self.konnektor.name));
        std::fs::write(&file, rules).unwrap();
        self.konnektor
            .exec(&["nft", "-f", file.to_str().unwrap()])
            .unwrap();
        std::fs::remove_file(file).unwrap();
    }

    /// What was noted in one of the sets.
    fn noted(&self, set: &str) -> BTreeSet<String> {
        let text = self
            .konnektor
            .exec(&["nft", "-j", "list", "set", "inet", "judge", set])
            .unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sets = json["nftables"].as_array().unwrap();
        let found = sets.iter().find_map(|one| one.get("set")).unwrap();
        let elements = found["elem"].as_array().cloned().unwrap_or_default();
        let text = |part: &serde_json::Value| part.as_str().map_or(part.to_string(), str::to_owned);
        let parts = |one: &serde_json::Value| {
            let value = one
                .pointer("/elem/val/concat")
                .or(one.get("concat"))
                .unwrap()
                .clone();
            value
                .as_array()
                .unwrap()
                .iter()
                .map(text)
                .collect::<Vec<_>>()
                .join(" ")
        };
        elements.iter().map(parts).collect()
    }
}

/// One thing to send: from whom, to whom, and to which ports.
struct Job<'j> {
    from: &'j str,
    to: &'j [&'j str],
    tcp: [u16; 2],
    udp: [u16; 2],
    six: Option<&'j str>,
}

/// Sends all of it from a host; whether anybody answers is not asked.
fn send(host: &Host, jobs: &[Job]) {
    use std::io::Write;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/network/send.py");
    let mut child = std::process::Command::new("ip")
        .args(["netns", "exec", &host.name, "python3", script])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for job in jobs {
        let line = serde_json::json!({
            "from": job.from, "to": job.to, "tcp": job.tcp, "udp": job.udp, "six": job.six,
        });
        writeln!(stdin, "{line}").unwrap();
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

/// Ports of these addresses: every one, or those where anybody would look.
fn scan(host: &Host, every: bool, from: &str, to: &[&str]) {
    let job = |ports| Job {
        from,
        to,
        tcp: ports,
        udp: ports,
        six: None,
    };
    match every {
        true => send(host, &[job([1, 65535])]),
        false => send(host, &[job([1, 1100]), job([4000, 9999])]),
    }
}

/// In every mode and every state: which ports the Konnektor shows to whom, and which way packets go through it and out of it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_that_should_not() {
    if !may() {
        return;
    }
    let clock = SystemClock::new();
    let started = clock.elapsed();
    for mode in [Mode::InLine, Mode::Parallel] {
        let practice = Practice::new(mode);
        // without rules everything is open: the judge is one that can find something
        practice.judge();
        scan(&practice.lan, true, PVS, &[LAN]);
        assert!(practice.noted("ports").len() > 131_000);
        for (ti, sis) in [(false, false), (true, false), (true, true)] {
            practice.machine.apply(practice.plan(ti, sis)).await.unwrap();
            practice.judge();
            ports_are_as_expected(&practice, ti && !sis);
            ways_are_as_expected(&practice, ti, sis);
            assert!(practice.machine.look().await.unwrap().intact);
        }
    }
    println!("scanned in {:?}", clock.elapsed() - started);
}

fn ports_are_as_expected(practice: &Practice, every: bool) {
    scan(&practice.lan, every, PVS, &[LAN, INNER]);
    if practice.mode == Mode::Parallel {
        scan(&practice.wan, every, STRANGER, &[LAN, INNER]);
    } else {
        scan(&practice.wan, every, STRANGER, &[LAN, "10.77.0.2", INNER]);
        scan(&practice.wan, every, "10.77.0.1", &["10.77.0.2"]);
    }
    scan(&practice.ti, false, CLASSES[1], &[INNER, LAN]);
    scan(&practice.sis, false, INTERNET, &[INNER_SIS, LAN]);
    let expected: BTreeSet<String> = ["lan tcp 443", "lan tcp 636", "lan udp 53", "lan udp 123"]
        .map(str::to_owned)
        .into();
    let named = |one: String| one.replace(" 6 ", " tcp ").replace(" 17 ", " udp ");
    let seen: BTreeSet<String> = practice.noted("ports").into_iter().map(named).collect();
    assert_eq!(seen, expected, "{:?}", practice.mode);
    // every host of the link, whatever its address
    for (host, name) in [(&practice.lan, "eth0"), (&practice.wan, "eth0")] {
        let own = practice
            .konnektor
            .ip(&["-6", "-j", "addr", "show", "scope", "link"])
            .unwrap();
        let own: serde_json::Value = serde_json::from_str(&own).unwrap();
        let all = own
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|one| one["addr_info"].as_array().unwrap().clone());
        let all: Vec<String> = all.map(|one| one["local"].as_str().unwrap().to_owned()).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let ports = [1, 2000];
        send(
            host,
            &[Job {
                from: "",
                to: &all,
                tcp: ports,
                udp: ports,
                six: Some(name),
            }],
        );
    }
    assert_eq!(practice.noted("six"), BTreeSet::new());
}

fn ways_are_as_expected(practice: &Practice, ti: bool, sis: bool) {
    let [secured, open, central, decentral, other_sis] = CLASSES;
    let everywhere = [
        secured,
        open,
        central,
        decentral,
        other_sis,
        LEGACY,
        LEGACY_OFF,
        INTERNET,
        STRANGER,
        REGISTRAR,
        CONCENTRATOR,
        TERMINAL,
        PVS,
    ];
    // everybody to everywhere, with their own address and with everybody else's
    let from = [
        PVS,
        TERMINAL,
        STRANGER,
        CONCENTRATOR,
        open,
        central,
        INNER,
        LAN,
        "127.0.0.9",
        "0.0.0.0",
    ];
    let port = [443, 443];
    let jobs = from.map(|from| Job {
        from,
        to: &everywhere,
        tcp: port,
        udp: port,
        six: None,
    });
    for host in [&practice.lan, &practice.wan, &practice.ti, &practice.sis] {
        send(host, &jobs);
    }
    let mut expected = BTreeSet::new();
    for from in [PVS, TERMINAL] {
        if ti {
            expected.insert(format!("{from} {open}"));
            expected.insert(format!("{from} {LEGACY}"));
        }
        if sis {
            let outside: &[&str] = match practice.mode {
                // hosts that the Konnektor itself asks lie outside for everybody
                Mode::InLine => &[INTERNET],
                Mode::Parallel => &[INTERNET, STRANGER],
            };
            expected.extend(outside.iter().map(|to| format!("{from} {to}")));
        }
    }
    assert_eq!(
        practice.noted("passed"),
        expected,
        "{:?} {ti} {sis}",
        practice.mode
    );
    // and the Konnektor itself
    practice.judge();
    let all = everywhere.map(|to| format!("ping -c 1 -W 0.2 {to} & ")).concat();
    practice.konnektor.exec(&["sh", "-c", &(all + "wait")]).unwrap();
    let (tcp, udp) = ([443, 443], [0, 0]);
    let own = match practice.mode {
        Mode::InLine => "10.77.0.2",
        Mode::Parallel => LAN,
    };
    let to = &[REGISTRAR, STRANGER, INTERNET];
    send(
        &practice.konnektor,
        &[Job {
            from: own,
            to,
            tcp,
            udp,
            six: None,
        }],
    );
    let outside = match practice.mode {
        Mode::InLine => "wan",
        Mode::Parallel => "lan",
    };
    let mut expected: BTreeSet<String> = [PVS, TERMINAL].map(|to| format!("lan {to}")).into();
    expected.insert(format!("{outside} {REGISTRAR}"));
    if ti {
        expected.extend([secured, open, central].map(|to| format!("vpn_ti {to}")));
    }
    let left: BTreeSet<String> = practice
        .noted("left")
        .into_iter()
        .filter(|one| !one.ends_with(HOP))
        .collect();
    assert_eq!(left, expected, "{:?} {ti} {sis}", practice.mode);
}

/// Somebody else's hand in the table is seen, a plan that is not sound changes nothing, and routes go with what they were for.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_carried_out_or_not_at_all() {
    if !may() {
        return;
    }
    let practice = Practice::new(Mode::InLine);
    let routes = || practice.konnektor.ip(&["route", "show", "proto", "186"]).unwrap();
    practice.machine.apply(practice.plan(true, true)).await.unwrap();
    let all = routes();
    for wanted in [
        "172.28.0.0/16 dev vpn_ti",
        "188.144.0.0/16 dev vpn_ti",
        "0.0.0.0/1 dev vpn_sis",
        "default via 10.77.0.1",
    ] {
        assert!(all.contains(wanted), "{all}");
    }
    let mut unsound = practice.plan(true, true);
    unsound.lan.network = network("172.28.0.0/16");
    unsound.lan.address = address("172.28.0.1");
    let error = practice.machine.apply(unsound).await.unwrap_err();
    assert!(error.to_string().contains("172.28.0.0/16"), "{error}");
    assert_eq!(routes(), all);
    assert!(practice.machine.look().await.unwrap().intact);
    practice.machine.apply(practice.plan(false, false)).await.unwrap();
    let rest = routes();
    assert!(
        !rest.contains("vpn_") && rest.contains("192.168.20.0/24 via"),
        "{rest}"
    );
    let rule = ["nft", "insert", "rule", "inet", "langlauf", "in", "accept"];
    practice.konnektor.exec(&rule).unwrap();
    assert!(!practice.machine.look().await.unwrap().intact);
    practice.machine.apply(practice.plan(false, false)).await.unwrap();
    assert!(practice.machine.look().await.unwrap().intact);
}

/// A connection that exists goes no other way when its route is gone, though a default route leads outside.
#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_into_the_tunnel_goes_no_other_way() {
    if !may() {
        return;
    }
    let practice = Practice::new(Mode::InLine);
    practice.machine.apply(practice.plan(true, false)).await.unwrap();
    let rules = "table ip judge { chain c { type filter hook prerouting priority 0; ip daddr 172.16.0.0/12 counter; \
                 ip saddr 172.16.0.0/12 counter; }; }";
    practice.wan.exec(&["nft", rules]).unwrap();
    let ping = std::process::Command::new("ip")
        .args([
            "netns",
            "exec",
            &practice.lan.name,
            "ping",
            "-i",
            "0.05",
            "-c",
            "60",
            "-W",
            "1",
            CLASSES[1],
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let clock = SystemClock::new();
    clock.sleep(std::time::Duration::from_millis(1000)).await;
    practice
        .konnektor
        .ip(&["route", "del", "172.30.0.0/16", "dev", "vpn_ti"])
        .unwrap();
    let output = ping.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // some came back before, none after
    assert!(
        !text.contains(" 60 received") && !text.contains(" 0 received"),
        "{text}"
    );
    let seen = practice
        .wan
        .exec(&["nft", "list", "table", "ip", "judge"])
        .unwrap();
    assert_eq!(seen.matches("packets 0 ").count(), 2, "{seen}");
}
