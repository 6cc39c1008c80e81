//! What goes wrong between a practice and its provider, and how long it takes until packets pass again.

use crate::lab::{
    Host, Lab, Oddity, SERVICE, Station, Watched, certificate, interface, key, may, path, put, run,
};
use crate::{lost, ping, ping_every};
use network::{Change, Charon, DataPath, Setup};
use std::time::Duration;

async fn up(watched: &mut Watched, lab: &Lab) {
    loop {
        if let Change::Up(_, sa) = watched.next().await {
            return lab.route(sa.inner.unwrap());
        }
    }
}

/// A laboratory in which a tunnel stands.
async fn standing() -> (Lab, Station, Watched) {
    let mut lab = Lab::new().await;
    let station = lab.station(Oddity::default()).await;
    let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
    up(&mut watched, &lab).await;
    (lab, station, watched)
}

/// Pings for some seconds through the tunnel while something happens; how many milliseconds of them were lost.
async fn gap(lab: &Lab, seconds: u32, happens: impl AsyncFnOnce()) -> u32 {
    let running = ping(&lab.konnektor.name, seconds * 100);
    lab.clock.sleep(Duration::from_millis(500)).await;
    happens().await;
    tokio::task::spawn_blocking(move || lost(running)).await.unwrap() * 10
}

fn undisturbed(watched: &mut Watched) {
    if let Ok(change) = watched.changes.try_recv() {
        panic!("{change:?}");
    }
}

/// The practice gets another address (DSL's daily separation), with and without a router that hides it: the tunnel stays the same
/// one, or is built anew beside the old one. And it comes up through a line that loses many packets.
#[tokio::test(flavor = "multi_thread")]
async fn the_line_is_what_it_is() {
    if !may() {
        return;
    }
    let (mut lab, station, mut watched) = standing().await;
    // the second address of a network goes with the first otherwise
    lab.konnektor
        .exec(&["sysctl", "-qw", "net.ipv4.conf.all.promote_secondaries=1"])
        .unwrap();
    let moved = gap(&lab, 8, async || {
        lab.konnektor
            .ip(&["addr", "add", "10.77.0.99/24", "dev", "wan"])
            .unwrap();
        lab.konnektor
            .ip(&["addr", "del", "10.77.0.2/24", "dev", "wan"])
            .unwrap();
    })
    .await;
    println!("another address: {moved} ms without packets");
    assert!(moved < 5000, "{moved}");
    undisturbed(&mut watched);
    watched.tunnel.stop().await;

    let nat = lab.behind_nat().await;
    let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
    up(&mut watched, &lab).await;
    let rebound = gap(&lab, 10, async || {
        nat.ip(&["addr", "add", "10.77.0.6/24", "dev", "wan"]).unwrap();
        nat.exec(&["nft", "flush", "chain", "ip", "nat", "post"]).unwrap();
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
            "10.77.0.6",
        ])
        .unwrap();
        // it says how many went, on standard error
        let _ = nat.exec(&["conntrack", "-F"]);
        // charon does not notice when nothing has made it ask before; the silence is noticed
        let Change::Renewed(_, sa) = watched.next().await else {
            panic!("{:?}", watched.tunnel.state());
        };
        lab.route(sa.inner.unwrap());
    })
    .await;
    println!("the router's address and port change: {rebound} ms without packets (keep-alive 1 s)");
    assert!(rebound < 8000, "{rebound}");
    undisturbed(&mut watched);

    // every third packet is lost, both ways
    nat.exec(&[
        "nft",
        "add",
        "chain",
        "ip",
        "nat",
        "loss",
        "{ type filter hook forward priority 0 ; }",
    ])
    .unwrap();
    nat.exec(&[
        "nft", "add", "rule", "ip", "nat", "loss", "numgen", "random", "mod", "100", "<", "30", "drop",
    ])
    .unwrap();
    watched.tunnel.stop().await;
    let mut took = Vec::new();
    for _ in 0..5 {
        let started = lab.clock.elapsed();
        let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
        up(&mut watched, &lab).await;
        took.push((lab.clock.elapsed() - started).as_millis());
        watched.tunnel.stop().await;
    }
    println!("up through a line that loses 30 %, five times: {took:?} ms");
}

/// A line that loses large packets and says nothing: the tunnel comes up, what the device sends finds its way by itself, and with a
/// smaller `vpn.mtu` everything does.
#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_for_large_packets() {
    if !may() {
        return;
    }
    let mut lab = Lab::new().await;
    let station = lab.station(Oddity::default()).await;
    let nat = lab.behind_nat().await;
    let chain = "{ type filter hook forward priority 0 ; }";
    nat.exec(&["nft", "add", "chain", "ip", "nat", "hole", chain])
        .unwrap();
    nat.exec(&[
        "nft", "add", "rule", "ip", "nat", "hole", "meta", "length", ">", "1340", "drop",
    ])
    .unwrap();
    let started = lab.clock.elapsed();
    let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
    up(&mut watched, &lab).await;
    let took = (lab.clock.elapsed() - started).as_millis();
    // as the helper sets it
    lab.konnektor
        .exec(&["sysctl", "-qw", "net.ipv4.tcp_mtu_probing=1"])
        .unwrap();
    let mtu = |mtu: &str| {
        lab.konnektor
            .ip(&["link", "set", interface(), "mtu", mtu])
            .unwrap()
    };
    let _server = station.host.start(&["iperf3", "-s"]);
    lab.clock.sleep(Duration::from_millis(500)).await;
    let sends = |other: &[&str]| {
        let started = lab.clock.elapsed();
        let words = ["timeout", "20", "iperf3", "-c", SERVICE, "-n", "200K"];
        let outcome = lab.konnektor.exec(&[&words, other].concat());
        outcome.map(|_| (lab.clock.elapsed() - started).as_millis())
    };
    mtu("1318");
    let small = lab
        .konnektor
        .exec(&["ping", "-c", "1", "-W", "2", SERVICE])
        .is_ok();
    let large = lab
        .konnektor
        .exec(&["ping", "-c", "1", "-W", "2", "-M", "do", "-s", "1290", SERVICE])
        .is_ok();
    assert!(small && !large, "{small} {large}");
    let own = sends(&[]).unwrap();
    let (there, back) = {
        mtu("1200");
        (sends(&[]).unwrap(), sends(&["-R"]).unwrap())
    };
    println!(
        "large packets are lost silently: up after {took} ms, 200 kB into the TI after {own} ms; with vpn.mtu = 1200 {there} ms, and {back} ms back"
    );
}

/// How long packets are lost in a change of the certificate, at one a millisecond.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "make bench-network"]
async fn as_fast_as_it_can_be_changed() {
    if !may() {
        return;
    }
    let (lab, _station, watched) = standing().await;
    let mut gaps = Vec::new();
    for number in 0..10 {
        let running = ping_every("0.001", &lab.konnektor.name, 2000);
        lab.clock.sleep(Duration::from_millis(500)).await;
        watched.tunnel.renew(lab.renewed(600 + number)).await.unwrap();
        gaps.push(tokio::task::spawn_blocking(move || lost(running)).await.unwrap());
    }
    println!("packets lost in each of ten changes, at one a millisecond: {gaps:?} of 2000");
}

/// A bare strongSwan beside ours, with the same suite: its host, its charon, and its socket.
async fn bare(lab: &Lab, station: &Station) -> (Host, Charon, String) {
    let host = lab.host(&format!("{}x", lab.konnektor.name), 4);
    let folder = lab.folder.path().join("bare");
    let setup = Setup {
        command: host.command("charon-systemd"),
        path: path(),
        ..Setup::new(folder.clone())
    };
    let charon = Charon::start(&setup, lab.clock.clone()).await.unwrap();
    let write = |place: &str, text: &str| put(&folder, place, text);
    let own = lab.another();
    write("x509/nk.pem", &certificate(&own.certificate));
    write("private/nk.pem", &key(&own.key));
    write("x509ca/vpn.pem", &certificate(&lab.pki.vpn_ca.certificate));
    write("x509ca/root.pem", &certificate(&lab.pki.anchors()[0]));
    let esn = if path() == DataPath::Kernel { "-esn" } else { "" };
    write(
        "swanctl.conf",
        &format!(
            "connections {{ ti {{\n version = 2\n remote_addrs = {}\n vips = 0.0.0.0\n proposals = aes256gcm16-prfsha384-ecp384bp\n \
             local {{\n auth = ecdsa-sha256\n certs = nk.pem\n }}\n remote {{\n auth = pubkey\n id = {}\n revocation = relaxed\n }}\n \
             children {{ ti {{\n local_ts = dynamic\n remote_ts = 0.0.0.0/0\n esp_proposals = aes256gcm16-ecp384bp{esn}\n }} }}\n }} }}\n",
            station.place.concentrator.address, station.place.concentrator.name
        ),
    );
    let socket = format!("unix://{}", charon.vici().display());
    let file = folder.join("swanctl.conf").display().to_string();
    run("swanctl", &["--load-all", "--file", &file, "--uri", &socket]).unwrap();
    (host, charon, socket)
}

fn median(mut all: Vec<f64>) -> (f64, f64, f64) {
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[0], all[all.len() - 1])
}

/// Megabits a second from the Konnektor's side into the TI.
fn throughput(host: &Host, seconds: u32) -> f64 {
    let text = host
        .exec(&["iperf3", "-J", "-c", SERVICE, "-t", &seconds.to_string()])
        .unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() / 1e6
}

/// Time to establish and throughput, as a share of bare strongSwan with the same suite in the same run: by turns, so that both have
/// the same neighbours. Named, not run by default: figures depend on the machine (`make bench-network`).
#[tokio::test(flavor = "multi_thread")]
#[ignore = "make bench-network"]
async fn as_fast_as_bare_strongswan() {
    if !may() {
        return;
    }
    let mut lab = Lab::new().await;
    let station = lab.station(Oddity::default()).await;
    let (host, _charon, socket) = bare(&lab, &station).await;
    let seconds = |from: Duration, to: Duration| (to - from).as_secs_f64() * 1000.0;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let started = lab.clock.elapsed();
        let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
        assert!(matches!(watched.next().await, Change::Up(..)));
        ours.push(seconds(started, lab.clock.elapsed()));
        watched.tunnel.stop().await;
        let started = lab.clock.elapsed();
        run("swanctl", &["--initiate", "--child", "ti", "--uri", &socket]).unwrap();
        theirs.push(seconds(started, lab.clock.elapsed()));
        run("swanctl", &["--terminate", "--ike", "ti", "--uri", &socket]).unwrap();
    }
    let ((own, least, most), (bare, less, more)) = (median(ours), median(theirs));
    println!(
        "to establish: ours {own:.0} ms ({least:.0} to {most:.0}), bare {bare:.0} ms ({less:.0} to {more:.0}): {:.2}",
        own / bare
    );
    let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
    up(&mut watched, &lab).await;
    run("swanctl", &["--initiate", "--child", "ti", "--uri", &socket]).unwrap();
    let device = if path() == DataPath::Kernel {
        "wan"
    } else {
        "ipsec0"
    };
    host.ip(&["route", "replace", "172.24.0.0/14", "dev", device])
        .unwrap();
    let _server = station.host.start(&["iperf3", "-s"]);
    lab.clock.sleep(Duration::from_millis(500)).await;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        ours.push(throughput(&lab.konnektor, 3));
        theirs.push(throughput(&host, 3));
    }
    let ((own, least, most), (bare, less, more)) = (median(ours), median(theirs));
    println!(
        "throughput: ours {own:.0} Mbit/s ({least:.0} to {most:.0}), bare {bare:.0} Mbit/s ({less:.0} to {more:.0}): {:.2}",
        own / bare
    );
}
