//! AutoUpdateVSD: an eGK that is put in is updated without a practice system; receipts 4, 1 and 6 on the card.

use e2e::Morning;
use langlauf::practice::Practice;
use langlauf::world::EGK;
use std::time::Duration;
use testti::person::Person;
use testti::vsdm::Behaviour;

const LIMIT: Duration = Duration::from_secs(30);

/// The receipt on the card, as the offline Konnektor of the practice would read it.
async fn receipt(practice: &Practice) -> String {
    let answer = e2e::read_vsd(practice, false, true).await.unwrap();
    assert_eq!(answer.fault(), None, "{}", answer.body);
    langlauf::demo::container(&answer, "Pruefungsnachweis").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_egk_is_updated_when_it_is_put_in() {
    let settings = "certificates.ocsp_grace_minutes = 0\nvsdm_max_seconds = 6\nvsdm_offline_days = 1\nauto_update = { terminals = [\"KT1\"], mandant = \"Praxis\" }";
    let morning = Morning::with(|options| options.settings = settings.parse().unwrap())
        .await
        .unwrap();
    let (world, practice) = (&morning.world, &morning.world.practice);
    let inner = world.konnektor().unwrap().inner();
    let trust = async || inner.trust().is_some();
    world
        .wait_for("trust list", LIMIT, &*morning.clock, trust)
        .await
        .unwrap();
    let id = "KT1".parse().unwrap();
    e2e::pair(inner, &world.terminal, &id).await.unwrap();
    world.terminal.insert(3, "SMC-B Praxis").unwrap();
    let there = async || practice.cards("SMC-B").await.is_ok_and(|cards| cards.len() == 1);
    world
        .wait_for("SMC-B", LIMIT, &*morning.clock, there)
        .await
        .unwrap();
    let smcb = practice.cards("SMC-B").await.unwrap().pop().unwrap();
    let verify = ("VerifyPin", smcb.as_str(), "PIN.SMC");
    let answer = e2e::pin(practice, &world.terminal, verify, &["123456"])
        .await
        .unwrap();
    assert_eq!(answer.text("PinResult").as_deref(), Some("OK"));

    let updates = || {
        let log = e2e::logged(inner);
        log.iter()
            .filter(|(topic, _)| topic == "VSDM/AUTO_UPDATE")
            .count()
    };
    let put_in = async || {
        let _ = world.terminal.remove(1);
        let clear = async || practice.cards("EGK").await.is_ok_and(|cards| cards.is_empty());
        world
            .wait_for("removed", LIMIT, &*morning.clock, clear)
            .await
            .unwrap();
        let before = updates();
        world.terminal.insert(1, "eGK Loipengrün").unwrap();
        let done = async || updates() > before;
        world
            .wait_for("done", LIMIT, &*morning.clock, done)
            .await
            .unwrap();
        let shown = world.terminal.appearance().display;
        assert!(shown.contains("eGK geprüft"), "{shown}");
    };
    let mut moved = Person::example();
    moved.street = "Neuschneegasse".into();
    world.vsdm.set_pending(EGK, moved);
    put_in().await;
    assert!(!world.vsdm.is_pending(EGK));
    assert!(receipt(practice).await.contains("<E>1</E>"));

    // a service that never answers leaves time for the rest
    world.vsdm.behave(Behaviour::Silent);
    put_in().await;
    assert!(receipt(practice).await.contains("<E>3</E>"));

    // out of reach: 3, and 6 once that has lasted longer than a day
    world.vsdm.behave(Behaviour::Unavailable);
    put_in().await;
    assert!(receipt(practice).await.contains("<E>3</E>"));
    let long_ago = morning
        .clock
        .now()
        .checked_sub(Duration::from_secs(2 * 86_400))
        .unwrap();
    inner.store().put("vsdm", "last-contact", &long_ago).unwrap();
    put_in().await;
    assert!(receipt(practice).await.contains("<E>6</E>"));
    world.vsdm.behave(Behaviour::Good);

    // revoked: 4, only here and only on the card
    let image = std::fs::read_to_string(morning.folder.path().join("cards/eGK Loipengruen.xml")).unwrap();
    let system = card::image::read(&image).unwrap();
    let aut = system.find("EF.C.CH.AUT.E256").unwrap();
    let card::image::Body::Transparent { bytes, .. } = &system.node(aut).unwrap().body else {
        panic!("file")
    };
    world.ledger.revoke(bytes);
    put_in().await;
    assert!(receipt(practice).await.contains("<E>4</E>"));
}
