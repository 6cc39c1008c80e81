//! Bad input and bad luck: each a clear error with the right code, nothing lost, the next request works.

use e2e::{Morning, card, read_vsd};
use langlauf::practice::{Operation, Practice};
use std::time::Duration;
use terminal::simulator::Key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const VSD: &str = "/ws/VSDService";

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_none() {
    let morning = Morning::before().await.unwrap();
    let practice = &morning.world.practice;
    let fault = async |text: String| practice.post_raw(VSD, text).await.unwrap().fault();
    assert_eq!(fault("not xml".into()).await, Some(4000));
    assert_eq!(fault(String::new()).await, Some(4000));
    assert_eq!(fault(soap::wrap("<x/>")).await, Some(4000));
    assert_eq!(
        fault("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".into()).await,
        Some(4000)
    );
    assert_eq!(fault(soap::wrap(&"<a>".repeat(100_000))).await, Some(4000));
    assert_eq!(
        fault(soap::wrap(&format!("<a>{}</a>", "x".repeat(10 << 20)))).await,
        Some(4000)
    );
    let answer = practice
        .call(Operation::GetCards {
            card_type: Some("SCHEIN"),
        })
        .await
        .unwrap();
    assert_eq!(answer.fault(), Some(4000));
    // and the next one works
    assert_eq!(
        practice.call(Operation::GetCardTerminals).await.unwrap().fault(),
        None
    );
    assert_eq!(practice.directory().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_or_with_a_foreign_certificate_stay_outside() {
    let morning = Morning::before().await.unwrap();
    let world = &morning.world;
    let none = Practice::new(world.addresses.konnektor, None, world.authorities.clone());
    assert!(none.call(Operation::GetCardTerminals).await.is_err());
    let now = morning.clock.now();
    let to = now.checked_add(Duration::from_secs(86_400)).unwrap();
    let key = || crypto::SoftKey::Ec(crypto::EcPrivate::generate(crypto::Curve::NistP256).unwrap());
    let own = key();
    let name = pki::issue::Name::new("Fremd", "PVS");
    let issuer = pki::issue::Authority::root(name, own.clone(), "", now, to).unwrap();
    let identity = crypto::tls::Identity {
        chain: vec![issuer.certificate.clone()],
        key: own,
    };
    let foreign = Practice::new(
        world.addresses.konnektor,
        Some(identity),
        world.authorities.clone(),
    );
    assert!(foreign.call(Operation::GetCardTerminals).await.is_err());
    assert!(e2e::is_served(&world.practice).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_hung_up_on_and_others_do_not_notice() {
    let morning = Morning::before().await.unwrap();
    let world = &morning.world;
    let mut slow = TcpStream::connect(world.addresses.konnektor).await.unwrap();
    // the first bytes of a ClientHello, and then nothing
    slow.write_all(&[0x16, 0x03, 0x01, 0x02]).await.unwrap();
    assert!(e2e::is_served(&world.practice).await);
    let mut rest = Vec::new();
    let closed = morning
        .clock
        .timeout(Duration::from_secs(15), slow.read_to_end(&mut rest))
        .await;
    assert!(closed.is_some(), "still open after 15 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_handles_and_a_card_pulled_while_somebody_types() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, practice) = (&morning.world, &morning.world.practice);
    let smcb = card(practice, "SMC-B").await.unwrap();
    let request = Operation::ReadVsd {
        ehc: "none",
        hpc: &smcb,
        online: false,
        receipt: false,
    };
    assert_eq!(practice.call(request).await.unwrap().fault(), Some(4008));
    let egk = card(practice, "EGK").await.unwrap();
    let change = Operation::Pin {
        operation: "ChangePin",
        handle: &egk,
        pin: "PIN.CH",
    };
    let (answer, ()) = tokio::join!(practice.call(change), async {
        world.terminal.wait_for_prompt().await;
        world.terminal.remove(1).unwrap();
        let mut last = None;
        for digits in ["123456", "654321", "654321"] {
            let mut prompt = world.terminal.appearance().waiting_for;
            while prompt.is_none() || prompt == last {
                tokio::task::yield_now().await;
                prompt = world.terminal.appearance().waiting_for;
            }
            last = prompt;
            world.terminal.press(Key::Digits(digits.into()));
            world.terminal.press(Key::Enter);
        }
    });
    assert_eq!(answer.unwrap().fault(), Some(4008));
    world.terminal.insert(1, "eGK Loipengrün").unwrap();
    let back = async || practice.cards("EGK").await.is_ok_and(|cards| cards.len() == 1);
    world
        .wait_for("eGK", Duration::from_secs(5), &*morning.clock, back)
        .await
        .unwrap();
    assert_eq!(read_vsd(practice, false, false).await.unwrap().fault(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_loses_its_network_comes_back_by_itself() {
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, practice) = (&morning.world, &morning.world.practice);
    let egk = card(practice, "EGK").await.unwrap();
    let change = Operation::Pin {
        operation: "ChangePin",
        handle: &egk,
        pin: "PIN.CH",
    };
    let (answer, ()) = tokio::join!(practice.call(change), async {
        world.terminal.wait_for_prompt().await;
        world.terminal.set_network(false);
    });
    assert_eq!(answer.unwrap().fault(), Some(4028));
    let connected = async |wanted: &str| {
        let answer = practice.call(Operation::GetCardTerminals).await;
        answer.is_ok_and(|answer| answer.texts("Connected") == [wanted])
    };
    let limit = Duration::from_secs(20);
    world
        .wait_for("gone", limit, &*morning.clock, async || connected("false").await)
        .await
        .unwrap();
    assert!(practice.cards("EGK").await.unwrap().is_empty());
    let state = practice.call(Operation::GetResourceInformation).await.unwrap();
    assert!(state.body.contains("EC_CardTerminal_Not_Available(KT1)"));
    world.terminal.set_network(true);
    world
        .wait_for("back", limit, &*morning.clock, async || connected("true").await)
        .await
        .unwrap();
    let back = async || practice.cards("EGK").await.is_ok_and(|cards| cards.len() == 1);
    world
        .wait_for("cards", limit, &*morning.clock, back)
        .await
        .unwrap();
    // the card lost power, so its PIN must be typed again
    let answer = read_vsd(practice, false, false).await.unwrap();
    assert_eq!(answer.fault(), Some(3041));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insurers_service_in_trouble_never_hinders_reading() {
    use testti::vsdm::Behaviour;
    let morning = Morning::after_the_walk().await.unwrap();
    let (world, practice) = (&morning.world, &morning.world.practice);
    let read = async || {
        let answer = read_vsd(practice, true, true).await.unwrap();
        assert_eq!(answer.fault(), None, "{}", answer.body);
        langlauf::demo::container(&answer, "Pruefungsnachweis").unwrap()
    };
    world.vsdm.behave(Behaviour::UnknownCard);
    let receipt = read().await;
    assert!(
        receipt.contains("<E>3</E>") && receipt.contains("<EC>11101</EC>"),
        "{receipt}"
    );
    world.vsdm.behave(Behaviour::Unavailable);
    assert!(read().await.contains("<E>3</E>"));
    world.vsdm.behave(Behaviour::BadCommands);
    world
        .vsdm
        .set_pending("80276009990000000001", testti::person::Person::example());
    assert!(read().await.contains("<E>3</E>"));
    assert!(world.vsdm.is_pending("80276009990000000001"));
    world.vsdm.behave(Behaviour::Good);
    assert!(read().await.contains("<E>1</E>"));
    assert!(read().await.contains("<E>2</E>"));
}

/// The responder is silent: the receipt says 5, the data come nevertheless. A revoked card is refused.
#[tokio::test(flavor = "multi_thread")]
async fn status_unknown_and_revoked() {
    let morning = Morning::before().await.unwrap();
    let world = &morning.world;
    world.ledger.set_fault(Some(testti::services::OcspFault::Down));
    // the walk's own online read ends with 5 here, so walk as far as it goes
    let walk = langlauf::demo::Walk::new(world, &*morning.clock, true, &|_| ());
    assert!(walk.run().await.is_err());
    let practice = &world.practice;
    let answer = read_vsd(practice, true, true).await.unwrap();
    assert!(
        langlauf::demo::container(&answer, "Pruefungsnachweis")
            .unwrap()
            .contains("<E>5</E>")
    );
    world.ledger.set_fault(None);
    let image = std::fs::read_to_string(morning.folder.path().join("cards/eGK Loipengruen.xml")).unwrap();
    let system = card::image::read(&image).unwrap();
    let id = system.find("EF.C.CH.AUT.E256").unwrap();
    let card::image::Body::Transparent { bytes, .. } = &system.node(id).unwrap().body else {
        panic!("file")
    };
    world.ledger.revoke(bytes);
    assert_eq!(read_vsd(practice, true, true).await.unwrap().fault(), Some(106));
    assert_eq!(read_vsd(practice, false, false).await.unwrap().fault(), None);
}

/// Everything is stored: the same folder gives the same paired terminal and the same cards.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_needs_nobody() {
    let morning = Morning::after_the_walk().await.unwrap();
    let Morning { world, clock, folder } = morning;
    let before = world.terminal.appearance().pairings;
    drop(world);
    let world = langlauf::world::World::start(&e2e::options(folder.path().into()), clock.clone())
        .await
        .unwrap();
    assert_eq!(world.terminal.appearance().pairings, before);
    let connected = async || {
        let answer = world.practice.call(Operation::GetCardTerminals).await;
        answer.is_ok_and(|answer| answer.texts("Connected") == ["true"])
    };
    world
        .wait_for("connected", Duration::from_secs(20), &*clock, connected)
        .await
        .unwrap();
}
