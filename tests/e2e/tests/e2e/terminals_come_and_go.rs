//! Terminals are found, adopted, moved, put out of use; a Konnektor with a new key takes over its old pairings.

use base::id::{CtId, Mac};
use e2e::{Morning, Station};
use konnektor::terminals::Correlation;
use langlauf::world::{TERMINAL, World};
use std::time::Duration;

/// Longer than the longest pause between two attempts to connect.
const LIMIT: Duration = Duration::from_secs(60);

fn connected(world: &World, id: &CtId) -> bool {
    let state = world.konnektor().unwrap().inner().terminals().get(id);
    state.is_some_and(|state| state.session.is_some())
}

async fn wait(morning: &Morning, what: &str, condition: impl Fn() -> bool) {
    let condition = async || condition();
    morning
        .world
        .wait_for(what, LIMIT, &*morning.clock, condition)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_konnektor_with_a_new_key_takes_over_its_pairing() {
    let morning = Morning::after_the_walk().await.unwrap();
    let Morning { world, clock, folder } = morning;
    drop(world);
    // the device was replaced: the same state, another key and certificate of ID.SAK.AUT
    std::fs::remove_file(folder.path().join("identities/sak.pem")).unwrap();
    let world = World::start(&e2e::options(folder.path().into()), clock.clone())
        .await
        .unwrap();
    let morning = Morning { world, clock, folder };
    let id: CtId = TERMINAL.parse().unwrap();
    wait(&morning, "maintenance pairing", || connected(&morning.world, &id)).await;
    assert_eq!(morning.world.terminal.appearance().pairings, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_announces_itself_is_seen_adopted_paired_and_followed() {
    let morning = Morning::after_the_walk().await.unwrap();
    let inner = morning.world.konnektor().unwrap().inner();
    let mac: Mac = "02-4C-4C-00-00-77".parse().unwrap();
    let station = Station::start(&morning, "KT77", mac, &[]).await.unwrap();
    let listening = morning.world.addresses.announcements;
    station.announce(listening).await.unwrap();
    let id: CtId = "KT-024C4C000077".parse().unwrap();
    let correlation = || inner.terminals().get(&id).map(|state| state.record.correlation);
    wait(&morning, "seen", || correlation() == Some(Correlation::Bekannt)).await;
    // only what was adopted and paired may be used
    assert!(inner.set_correlation(&id, Correlation::Aktiv).is_err());
    inner.set_correlation(&id, Correlation::Zugewiesen).unwrap();
    station.pair(&morning, &id).await.unwrap();
    wait(&morning, "connected", || connected(&morning.world, &id)).await;
    let product = inner.terminals().get(&id).unwrap().record.product.unwrap();
    assert_eq!(
        (product.vendor.as_str(), product.interface.to_string()),
        ("LANGL", "1.0.0".into())
    );

    // an announcement does not move a terminal that is connected
    let before = inner.terminals().get(&id).unwrap().record.config.address;
    let liar = Station::start(&morning, "KT77", mac, &[]).await.unwrap();
    liar.announce(listening).await.unwrap();
    // datagrams are heard in order: when this one is seen, the lie has been heard
    let marker: Mac = "02-4C-4C-00-00-76".parse().unwrap();
    let marker = Station::start(&morning, "KT76", marker, &[]).await.unwrap();
    marker.announce(listening).await.unwrap();
    let seen = || {
        inner
            .terminals()
            .get(&"KT-024C4C000076".parse().unwrap())
            .is_some()
    };
    wait(&morning, "marker", seen).await;
    inner.set_correlation(&id, Correlation::Gepairt).unwrap();
    wait(&morning, "out of use", || !connected(&morning.world, &id)).await;
    assert_eq!(inner.terminals().get(&id).unwrap().record.config.address, before);
    inner.set_correlation(&id, Correlation::Aktiv).unwrap();
    wait(&morning, "in use again", || connected(&morning.world, &id)).await;

    // out of reach it is tried where it is said to be, and is back where it was when that was a lie
    station.terminal.set_network(false);
    wait(&morning, "cable", || !connected(&morning.world, &id)).await;
    liar.announce(listening).await.unwrap();
    station.terminal.set_network(true);
    wait(&morning, "back", || connected(&morning.world, &id)).await;
    assert_eq!(inner.terminals().get(&id).unwrap().record.config.address, before);

    // it really moves: another port, the same pairing
    let moved = station.move_to_another_port(&morning).await.unwrap();
    wait(&morning, "gone", || !connected(&morning.world, &id)).await;
    moved.announce(listening).await.unwrap();
    wait(&morning, "followed", || connected(&morning.world, &id)).await;
    assert_eq!(
        inner.terminals().get(&id).unwrap().record.config.address,
        moved.address
    );

    inner.remove_terminal(&id).unwrap();
    wait(&morning, "removed", || !moved.terminal.appearance().connected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn added_by_hand_only_if_it_is_the_one_that_was_meant() {
    let morning = Morning::before().await.unwrap();
    let inner = morning.world.konnektor().unwrap().inner();
    let mac: Mac = "02-4C-4C-00-00-78".parse().unwrap();
    let station = Station::start(&morning, "KT78", mac, &[]).await.unwrap();
    let found = inner.search(station.address).await.unwrap();
    assert_eq!(
        (found.len(), found[0].mac, found[0].name.as_str()),
        (1, mac, "KT78")
    );
    let add = async |name: Option<&str>, mac: Option<Mac>, address| {
        let id = "KT78".parse().unwrap();
        let added = inner
            .add_terminal(id, address, name.map(str::to_owned), mac)
            .await;
        added.map_err(|failure| failure.code().number())
    };
    let other: Mac = "02-4C-4C-00-00-79".parse().unwrap();
    assert_eq!(add(None, Some(other), station.address).await, Err(4035));
    assert_eq!(add(Some("KT9"), None, station.address).await, Err(4036));
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(add(None, None, nobody.local_addr().unwrap()).await, Err(4033));
    assert_eq!(add(Some("KT78"), Some(mac), station.address).await, Ok(()));
    assert_eq!(add(None, None, station.address).await, Err(4037));
    // refused by the person there
    let id = "KT78".parse().unwrap();
    let (paired, ()) = tokio::join!(inner.pair(&id, None), async {
        station.terminal.wait_for_prompt().await;
        station.terminal.press(terminal::simulator::Key::Cancel);
    });
    assert_eq!(paired.map_err(|failure| failure.code().number()), Err(4041));
    let wrong = inner.pair(&id, Some("00")).await;
    assert_eq!(wrong.map_err(|failure| failure.code().number()), Err(4041));
}
