//! The tunnel against real strongSwan, in network namespaces that the tests make themselves. `make test-network`; where
//! namespaces are not permitted they say so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // tests

mod demo;
mod faults;
mod filter;
mod lab;
mod practice;

use base::SystemClock;
use konnektor::lifetime::ByHand;
use lab::{Lab, NameServer, Oddity, SERVICE, may};
use langlauf::demo::Walk;
use langlauf::world::{GSMC_K, World};
use network::{Change, Directory, NameServers, Reason, Service, TunnelState};
use std::time::Duration;

/// It comes up with the right suite, carries packets, and goes when it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_comes_up_and_carries() {
    if !may() {
        return;
    }
    let mut lab = Lab::new().await;
    let station = lab.station(Oddity::default()).await;
    let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
    let Change::Up(place, sa) = watched.next().await else {
        panic!("{:?}", watched.tunnel.state());
    };
    assert_eq!(place, station.place);
    assert_eq!(sa.suite, "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384_BP");
    // extended sequence numbers, which only the kernel has (A_17118)
    assert_eq!(sa.esn, lab::path() == network::DataPath::Kernel);
    assert_eq!(watched.gate.open_for(), [place.concentrator.address]);
    lab.route(sa.inner.unwrap());
    lab.konnektor
        .exec(&["ping", "-c", "3", "-i", "0.05", "-W", "2", SERVICE])
        .unwrap();
    let gate = watched.gate.clone();
    watched.tunnel.stop().await;
    assert_eq!(watched.changes.recv().await, Some(Change::Down));
    assert_eq!(gate.open_for(), Vec::<std::net::Ipv4Addr>::new());
}

/// Every failure has its reason, and the door is closed again.
#[tokio::test(flavor = "multi_thread")]
async fn every_failure_has_its_reason() {
    if !may() {
        return;
    }
    let mut lab = Lab::new().await;
    let odd = |change: fn(&mut Oddity)| {
        let mut oddity = Oddity::default();
        change(&mut oddity);
        oddity
    };
    for (oddity, reason) in [
        (odd(|one| one.refuses = true), Reason::Refused),
        // for a clock that is years off nobody's certificate is valid
        (odd(|one| one.ahead = true), Reason::Refused),
        (odd(|one| one.other_suites = true), Reason::Proposal),
        (odd(|one| one.other_name = true), Reason::Refused),
        (odd(|one| one.no_addresses = true), Reason::NoInnerAddress),
    ] {
        let station = lab.station(oddity).await;
        let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
        let change = watched.next().await;
        let Change::Failed(attempt) = &change else {
            panic!("{change:?}");
        };
        assert_eq!(attempt.reason, reason, "{attempt:?}");
        assert!(watched.gate.open_for().is_empty());
        assert!(matches!(
            watched.tunnel.state(),
            TunnelState::Down { last: Some(_), .. }
        ));
    }
    let station = lab.station(Oddity::default()).await;
    // without a revocation list nobody is believed
    let mut order = lab.order();
    order.trust.revocation_lists.clear();
    let mut watched = lab.tunnel(order, &[&station.place]).await;
    assert!(matches!(watched.next().await, Change::Failed(attempt) if attempt.reason == Reason::PeerUnknown));
    drop(watched);
    // one that is on the list is not
    lab.publisher
        .revoke(asn1::X509::parse(&station.certificate).unwrap());
    lab.publisher.publish_crl().unwrap();
    let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
    assert!(matches!(watched.next().await, Change::Failed(attempt) if attempt.reason == Reason::PeerRevoked));
    drop(watched);
    // nobody there
    let mut nobody = station.place.clone();
    nobody.concentrator.address = "10.77.0.200".parse().unwrap();
    let mut watched = lab.tunnel(lab.order(), &[&nobody]).await;
    assert!(matches!(watched.next().await, Change::Failed(attempt) if attempt.reason == Reason::NoAnswer));
}

/// The certificate is not sent, only where it lies: a concentrator that cannot fetch it there believes nobody, one that can does.
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_lies_elsewhere() {
    if !may() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.tells_where().await;
    let fetches = Oddity {
        fetches: true,
        ..Oddity::default()
    };
    let station = lab.station(fetches).await;
    let folder = tempfile::tempdir().unwrap();
    let port = format!("{}:80", station.place.concentrator.address);
    let place = folder.path().display().to_string();
    let _server = station
        .host
        .start(&["busybox", "httpd", "-f", "-p", &port, "-h", &place]);
    let mut order = lab.order();
    order.credentials.lies = Some(network::Lies {
        base: format!("http://{}/", station.place.concentrator.address),
        issuer: lab.pki.component_ca.certificate.clone(),
    });
    let mut watched = lab.tunnel(order.clone(), &[&station.place]).await;
    assert!(matches!(watched.next().await, Change::Failed(attempt) if attempt.reason == Reason::Refused));
    watched.tunnel.stop().await;
    // by the name that it is told by
    let file = folder.path().join("certificate");
    std::fs::write(&file, &order.credentials.certificate).unwrap();
    let sum = lab::run("sha1sum", &[file.to_str().unwrap()]).unwrap();
    let name = sum.split_whitespace().next().unwrap();
    std::fs::rename(&file, folder.path().join(name)).unwrap();
    let mut watched = lab.tunnel(order, &[&station.place]).await;
    assert!(matches!(watched.next().await, Change::Up(..)));
    watched.tunnel.stop().await;
}

/// Pings through the tunnel, one every ten milliseconds; how many were lost.
fn ping(host: &str, count: u32) -> std::process::Child {
    ping_every("0.01", host, count)
}

fn ping_every(seconds: &str, host: &str, count: u32) -> std::process::Child {
    let arguments = [
        "netns", "exec", host, "ping", "-q", "-i", seconds, "-W", "2", "-c",
    ];
    std::process::Command::new("ip")
        .args(arguments)
        .args([&count.to_string(), SERVICE])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

fn lost(ping: std::process::Child) -> u32 {
    let output = ping.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |what: &str| {
        let (before, _) = text.split_once(what)?;
        before.split_whitespace().next_back()?.parse::<u32>().ok()
    };
    number(" packets transmitted")
        .zip(number(" received"))
        .map(|(sent, back)| sent - back)
        .unwrap_or_else(|| panic!("{text}"))
}

/// The certificate changes while the tunnel works, as often as one likes; one that is refused changes nothing; a probe leaves the
/// tunnel as it was.
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_changes_under_load() {
    if !may() {
        return;
    }
    let mut lab = Lab::new().await;
    let station = lab.station(Oddity::default()).await;
    let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
    let Change::Up(_, sa) = watched.next().await else {
        panic!("{:?}", watched.tunnel.state());
    };
    lab.route(sa.inner.unwrap());
    let changes: u32 = std::env::var("NETWORK_CHANGES").map_or(5, |text| text.parse().unwrap());
    let running = ping(&lab.konnektor.name, changes * 60 + 200);
    let before = watched.tunnel.probe(lab.renewed(500)).await.unwrap();
    let refused = lab.stranger();
    let attempt = watched.tunnel.probe(refused.clone()).await.unwrap_err();
    assert_eq!(attempt.reason, Reason::Refused, "{attempt:?}");
    let attempt = watched.tunnel.renew(refused).await.unwrap_err();
    assert_eq!(attempt.reason, Reason::Refused);
    let mut last = before.id;
    for number in 0..changes {
        lab.clock.sleep(std::time::Duration::from_millis(400)).await;
        let renewed = watched
            .tunnel
            .renew(lab.renewed(600 + i64::from(number)))
            .await
            .unwrap();
        assert!(renewed.id > last);
        assert_eq!(renewed.inner, sa.inner);
        last = renewed.id;
    }
    let lost = tokio::task::spawn_blocking(move || lost(running)).await.unwrap();
    println!("{lost} of {} pings lost in {changes} changes", changes * 60 + 200);
    // the other side speaks with the new one as soon as it has answered: a few milliseconds each
    let slow = match lab::path() {
        // emulated
        network::DataPath::Kernel => 5,
        network::DataPath::UserSpace => 1,
    };
    assert!(lost <= changes * slow, "{lost}");
    // nobody has ever been without a tunnel
    while let Ok(change) = watched.changes.try_recv() {
        assert!(matches!(change, Change::Renewed(..)), "{change:?}");
    }
}

/// A concentrator dies: the next one takes over by itself, and the first is tried again when the second dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_concentrator_dies_and_the_next_takes_over() {
    if !may() {
        return;
    }
    let mut lab = Lab::new().await;
    let (mut first, second) = (
        lab.station(Oddity::default()).await,
        lab.station(Oddity::default()).await,
    );
    let mut watched = lab.tunnel(lab.order(), &[&first.place, &second.place]).await;
    let Change::Up(place, _) = watched.next().await else {
        panic!("{:?}", watched.tunnel.state());
    };
    assert_eq!(place, first.place);
    let started = lab.clock.elapsed();
    first.charon.kill().await;
    assert_eq!(watched.next().await, Change::Down);
    let noticed = lab.clock.elapsed() - started;
    assert!(matches!(watched.next().await, Change::Failed(attempt) if attempt.reason == Reason::NoAnswer));
    let Change::Up(place, sa) = watched.next().await else {
        panic!("{:?}", watched.tunnel.state());
    };
    println!(
        "noticed after {noticed:?}, up again after {:?}",
        lab.clock.elapsed() - started
    );
    assert_eq!(place, second.place);
    assert_eq!(watched.gate.open_for(), [second.place.concentrator.address]);
    lab.route(sa.inner.unwrap());
    lab.konnektor
        .exec(&["ping", "-c", "3", "-i", "0.05", "-W", "2", SERVICE])
        .unwrap();
}

/// charon itself dies: the tunnel says so, and stands again when somebody has started it again.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_dies() {
    if !may() {
        return;
    }
    let mut lab = Lab::new().await;
    let station = lab.station(Oddity::default()).await;
    let mut watched = lab.tunnel(lab.order(), &[&station.place]).await;
    assert!(matches!(watched.next().await, Change::Up(..)));
    lab.charon.kill().await;
    assert_eq!(watched.next().await, Change::Down);
    assert!(matches!(watched.next().await, Change::Failed(attempt) if attempt.reason == Reason::Local));
    lab.restart().await;
    loop {
        match watched.next().await {
            Change::Up(..) => break,
            Change::Failed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Concentrators are found as the provider lists them; one that is gone hides nobody, and a list that is not there is said.
#[tokio::test(flavor = "multi_thread")]
async fn concentrators_are_found_in_the_dns() {
    if !may() {
        return;
    }
    let clock = SystemClock::new();
    let host = |number: u8| format!("vpnk{number}.langlauf.test");
    let mut records = vec![
        format!(
            "_isakmp._udp.ti-extern.langlauf.test. 60 IN SRV 20 0 500 {}.",
            host(1)
        ),
        format!(
            "_isakmp._udp.ti-extern.langlauf.test. 60 IN SRV 10 0 500 {}.",
            host(2)
        ),
        format!(
            "_isakmp._udp.ti-extern.langlauf.test. 60 IN SRV 15 0 500 {}.",
            host(3)
        ),
        format!("{}. 60 IN A 10.77.0.1", host(1)),
        format!("{}. 60 IN A 10.77.0.2", host(2)),
    ];
    let text = "\"txtvers=1\" \"NameserverTI=172.24.0.53,172.24.0.54\" \"DomainSrvTI=zugd.telematik-test\"";
    records.push(format!("{}. 60 IN TXT {text}", host(2)));
    let server = NameServer::start("langlauf.test", &records, &*clock).await;
    let names = NameServers::new(&[server.address], "langlauf.test").unwrap();
    let places = names.find(Service::Ti).await.unwrap();
    let found: Vec<(&str, String)> = places
        .iter()
        .map(|place| {
            (
                place.concentrator.name.as_str(),
                place.concentrator.address.to_string(),
            )
        })
        .collect();
    let (first, second) = (host(2), host(1));
    assert_eq!(
        found,
        [
            (first.as_str(), "10.77.0.2".to_owned()),
            (second.as_str(), "10.77.0.1".to_owned())
        ]
    );
    let inside = places[0].inside.as_ref().unwrap();
    assert_eq!(inside.nameservers.len(), 2);
    assert_eq!(inside.zone.as_deref(), Some("zugd.telematik-test"));
    assert_eq!(places[1].inside, None);
    let missing = names.find(Service::Sis).await.unwrap_err();
    assert!(missing.to_string().contains("sis-extern"), "{missing}");
}

/// The Konnektor itself: its tunnel comes up, proves a new certificate before it is used, changes to it beside the old one, and a
/// concentrator that is gone is told of.
#[tokio::test(flavor = "multi_thread")]
async fn the_extension_proves_the_tunnel() {
    if !may() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::new();
    let host = format!("llk{}", std::process::id());
    let station = "vpnk10.ti-extern.langlauf.test";
    let records = [
        format!("_isakmp._udp.ti-extern.langlauf.test. 60 IN SRV 10 0 500 {station}."),
        format!("{station}. 60 IN A 10.77.0.10"),
    ];
    let names = NameServer::start("langlauf.test", &records, &*clock).await;
    let mut options = e2e::options(folder.path().into());
    options.settings = format!(
        "[lifetime]\nautomatic = false\n[vpn]\nenvironment = \"TU\"\nuser_space = {}\nkeepalive_seconds = 1\n\
         charon = [\"ip\", \"netns\", \"exec\", \"{host}\", \"charon-systemd\"]\n\
         domain = \"langlauf.test\"\nname_servers = [\"{}\"]\n",
        lab::path() == network::DataPath::UserSpace,
        names.address
    )
    .parse()
    .unwrap();
    // the Konnektor's charon lives in a host of its own, beside the laboratory's
    options.konnektor = false;
    let mut world = World::start(&options, clock.clone()).await.unwrap();
    let mut lab = Lab::of(clock.clone(), world.pki.clone(), world.publisher.clone()).await;
    let _own = lab.host(&host, 3);
    let mut station = lab.station(Oddity::default()).await;
    world.power_on(clock.clone()).await.unwrap();
    Walk::new(&world, &*clock, true, &|_| ()).run().await.unwrap();
    let inner = world.konnektor().unwrap().inner().clone();
    let limit = Duration::from_secs(60);
    let is = async |path: &str, wanted: serde_json::Value| {
        let seen = async || inner.vpn_view().pointer(path) == Some(&wanted);
        let outcome = world.wait_for(path, limit, &*clock, seen).await;
        outcome.unwrap_or_else(|_| panic!("{}", inner.vpn_view()));
    };
    is("/up", true.into()).await;
    assert_eq!(inner.vpn_view()["generation"], 0);
    world.reissue(&world.issuers(), clock.now(), 2000).unwrap();
    let package = world.tsp.published(GSMC_K).unwrap().write(GSMC_K).unwrap();
    for action in [ByHand::Import(package), ByHand::Register(1), ByHand::Probe(1)] {
        inner.lifetime_by_hand(action).await.unwrap();
    }
    let view = inner.lifetime_view();
    let probes = view["generations"][1]["families"][0]["probes"]
        .as_array()
        .unwrap();
    let tunnel = probes.iter().find(|probe| probe["name"] == "tunnel").unwrap();
    assert_eq!(tunnel["outcome"], "good", "{tunnel}");
    // a probe leaves the tunnel as it is
    assert_eq!(inner.vpn_view()["generation"], 0);
    inner.lifetime_by_hand(ByHand::Activate(1)).await.unwrap();
    is("/generation", 1.into()).await;
    is("/up", true.into()).await;
    let log = |topic: &str| {
        e2e::logged(&inner)
            .into_iter()
            .filter(|(one, _)| one == topic)
            .count()
    };
    assert_eq!((log("NETWORK/VPN_TI/UP"), log("NETWORK/VPN_TI/DOWN")), (1, 0));
    assert_eq!(log("NETWORK/VPN_TI/RENEWED"), 1);
    station.charon.kill().await;
    is("/up", false.into()).await;
    is("/last/code", 4174.into()).await;
    // nothing is proven without a tunnel
    world.reissue(&world.issuers(), clock.now(), 2800).unwrap();
    let package = world.tsp.published(GSMC_K).unwrap().write(GSMC_K).unwrap();
    for action in [ByHand::Import(package), ByHand::Register(2)] {
        inner.lifetime_by_hand(action).await.unwrap();
    }
    assert!(inner.lifetime_by_hand(ByHand::Probe(2)).await.is_err());
    assert!(inner.lifetime_by_hand(ByHand::Activate(2)).await.is_err());
}
