//! Ten terminals with four cards each: paired, read and watched side by side.

use base::id::{CtId, Mac};
use e2e::{Morning, Station};
use langlauf::practice::Operation;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn ten_terminals_with_four_slots_in_parallel() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, practice) = (&morning.world, &morning.world.practice);
    let inner = world.konnektor().unwrap().inner();
    let mut stations = Vec::new();
    for number in 2..=10u8 {
        let mac = Mac([2, 0x4C, 0x4C, 0, 1, number]);
        let station = Station::start(&morning, &format!("KT{number}"), mac, &["EGK", "HBA", "SMC-B"]).await;
        stations.push(station.unwrap());
    }
    // everything at the one workplace, every SM-B managed
    let mut model = (*inner.model()).clone();
    for (number, station) in (2..).zip(&stations) {
        let id: CtId = format!("KT{number}").parse().unwrap();
        model.mandants[0].terminals.insert(id.clone());
        model.workplaces[0].local_terminals.insert(id);
        model.mandants[0].smb.extend(station.smb.clone());
    }
    inner.set_model(model).unwrap();
    let pairing = stations.iter().zip(2..).map(|(station, number)| {
        let morning = &morning;
        async move {
            let id: CtId = format!("KT{number}").parse().unwrap();
            let inner = morning.world.konnektor().unwrap().inner();
            inner
                .add_terminal(id.clone(), station.address, None, None)
                .await
                .unwrap();
            station.pair(morning, &id).await.unwrap();
        }
    });
    e2e::all(pairing).await;
    let everything = async || {
        let answer = practice
            .call(Operation::GetCards { card_type: None })
            .await
            .unwrap();
        answer.texts("CardHandle").len() == 40
    };
    world
        .wait_for("40 cards", LIMIT, &*morning.clock, everything)
        .await
        .unwrap();

    let answer = practice
        .call(Operation::GetCards { card_type: None })
        .await
        .unwrap();
    let cards: Vec<(String, String, String)> = {
        let (handles, kinds, places) = (
            answer.texts("CardHandle"),
            answer.texts("CardType"),
            answer.texts("CtId"),
        );
        handles
            .into_iter()
            .zip(kinds)
            .zip(places)
            .map(|((a, b), c)| (a, b, c))
            .collect()
    };
    let handle = |place: &str, kind: &str| {
        let found = cards.iter().find(|(_, k, p)| k == kind && p == place);
        found.map(|(handle, _, _)| handle.clone()).unwrap()
    };
    let reading = stations.iter().zip(2..).map(|(station, number)| {
        let place = format!("KT{number}");
        let (egk, smcb) = (handle(&place, "EGK"), handle(&place, "SMC-B"));
        async move {
            let verify = ("VerifyPin", smcb.as_str(), "PIN.SMC");
            let answer = e2e::pin(practice, &station.terminal, verify, &["123456"]).await;
            assert_eq!(
                answer.unwrap().text("PinResult").as_deref(),
                Some("OK"),
                "{place}"
            );
            let read = Operation::ReadVsd {
                ehc: &egk,
                hpc: &smcb,
                online: false,
                receipt: false,
            };
            for _ in 0..3 {
                assert_eq!(practice.call(read).await.unwrap().fault(), None, "{place}");
            }
        }
    });
    e2e::all(reading).await;

    // one loses its network: the others do not notice
    stations[0].terminal.set_network(false);
    let fewer = async || {
        let answer = practice
            .call(Operation::GetCards { card_type: None })
            .await
            .unwrap();
        answer.texts("CardHandle").len() == 36
    };
    world
        .wait_for("36 cards", LIMIT, &*morning.clock, fewer)
        .await
        .unwrap();
}
