//! What an SM-B does with documents: signing for many at once, logging in, enciphering and back; and signatures that
//! outlive the list of CAs they were made under.

use e2e::Morning;
use e2e::documents::{Item, Office, document, outcomes};
use langlauf::demo::Walk;
use signature::cades;
use std::time::Duration;

/// 32 practice systems sign with the one SM-B, each three times: all signatures are right, and at least three quarters have
/// had a first turn before the first has had his third.
#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_and_nobody_starves() {
    let morning = Morning::after_the_walk().await.unwrap();
    let practice = &morning.world.practice;
    let smcb = e2e::card(practice, "SMC-B").await.unwrap();
    let order = tokio::sync::Mutex::new(Vec::new());
    let (smcb, order) = (&smcb, &order);
    let clients = (0..32).map(|client| async move {
        let office = Office { practice, user: None };
        for round in 0..3 {
            let job = office.job().await.unwrap();
            let text = format!("Arztbrief {client}/{round}");
            let answer = office.sign(smcb, &job, &[Item::text("B", &text)]).await.unwrap();
            assert_eq!(answer.fault(), None, "{}", answer.body);
            let signed = outcomes(&answer).unwrap().remove(0).signed.unwrap();
            let findings = cades::verify(&signed, None, &[]).unwrap();
            assert_eq!(findings.signatures[0].outcome, Ok(()));
            assert!(signed.windows(text.len()).any(|window| window == text.as_bytes()));
            order.lock().await.push((client, round));
        }
    });
    e2e::all(clients).await;
    let order = order.lock().await;
    let first_third = order.iter().position(|(_, round)| *round == 2).unwrap();
    let had_a_turn = order[..first_third]
        .iter()
        .filter(|(_, round)| *round == 0)
        .count();
    assert!(had_a_turn >= 24, "only {had_a_turn} of 32 had a turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_and_letters() {
    let morning = Morning::with(|options| {
        options.settings = "[log]\ncrypto_operations = true\n".parse().unwrap();
    });
    let morning = morning.await.unwrap();
    let walk = Walk::new(&morning.world, &*morning.clock, true, &|_| ());
    walk.run().await.unwrap();
    let practice = &morning.world.practice;
    let office = Office { practice, user: None };
    let smcb = e2e::card(practice, "SMC-B").await.unwrap();
    let login = office.authenticate(&smcb, &[7; 32]).await.unwrap();
    assert_eq!(login.fault(), None, "{}", login.body);
    assert_eq!(
        office.authenticate(&smcb, &[7; 31]).await.unwrap().fault(),
        Some(4000)
    );
    assert_eq!(
        office.authenticate(&smcb, &[7; 64]).await.unwrap().fault(),
        Some(4000)
    );
    let egk = e2e::card(practice, "EGK").await.unwrap();
    assert_eq!(
        office.authenticate(&egk, &[7; 32]).await.unwrap().fault(),
        Some(4058)
    );
    let xml = b"<?xml version=\"1.0\" encoding=\"ISO-8859-15\"?><a:b xmlns:a=\"urn:a\">\xE4 &amp; \xA4</a:b>";
    for (mime, bytes) in [(Some("text/plain"), &b"Befund"[..]), (None, &xml[..])] {
        let sealed = office.encrypt(&smcb, mime, bytes).await.unwrap();
        assert_eq!(sealed.fault(), None, "{}", sealed.body);
        let sealed = document(&sealed).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"Befund"));
        let opened = office.decrypt(&smcb, mime, &sealed).await.unwrap();
        assert_eq!(opened.fault(), None, "{}", opened.body);
        assert_eq!(document(&opened).unwrap(), bytes);
    }
    let sealed = document(
        &office
            .encrypt(&smcb, Some("text/plain"), b"Befund")
            .await
            .unwrap(),
    )
    .unwrap();
    let hba = e2e::card(practice, "HBA").await.unwrap();
    let doctor = Office {
        practice,
        user: Some("spur"),
    };
    assert_eq!(
        doctor.decrypt(&hba, Some(""), &sealed).await.unwrap().fault(),
        Some(4085)
    );
    let mut damaged = sealed.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(
        office.decrypt(&smcb, Some(""), &damaged).await.unwrap().fault(),
        Some(4107)
    );
    assert_eq!(
        office.decrypt(&smcb, Some(""), b"no CMS").await.unwrap().fault(),
        Some(4107)
    );
    assert_eq!(
        office.decrypt(&smcb, None, b"<a/>").await.unwrap().fault(),
        Some(4103)
    );
    assert_eq!(
        office.encrypt(&egk, Some(""), b"x").await.unwrap().fault(),
        Some(4058)
    );
    // what was done with keys is in the log where that is wanted, once each, and nothing of the documents
    let logged = e2e::logged(morning.world.konnektor().unwrap().inner());
    let of = |operation: &str| {
        let wanted = format!("\"Operation\":\"{operation}\"");
        let entries = logged.iter().filter(|(topic, _)| topic == "LOG/CRYPTO_OP");
        entries.filter(|(_, body)| body.contains(&wanted)).count()
    };
    assert_eq!(of("ExternalAuthenticate"), 1);
    assert_eq!((of("EncryptDocument"), of("DecryptDocument")), (3, 2));
    assert!(logged.iter().all(|(_, body)| !body.contains("Befund")));
}

/// A letter signed today is still valid after its CA has left the trust list; one that claims to be from afterwards is not.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_outlive_their_ca() {
    let morning = Morning::after_the_walk().await.unwrap();
    let world = &morning.world;
    let practice = &world.practice;
    let inner = world.konnektor().unwrap().inner();
    let office = Office { practice, user: None };
    let smcb = e2e::card(practice, "SMC-B").await.unwrap();
    let job = office.job().await.unwrap();
    let mut item = Item::text("B", "Arztbrief");
    item.revocation = true;
    let answer = office.sign(&smcb, &job, &[item]).await.unwrap();
    let signed = outcomes(&answer).unwrap().remove(0).signed.unwrap();
    let verdict = async || {
        let answer = office.verify(None, None, Some(&signed)).await.unwrap();
        assert_eq!(answer.fault(), None, "{}", answer.body);
        answer.text("HighLevelResult").unwrap()
    };
    assert_eq!(verdict().await, "VALID");
    let ca = world.pki.smcb_ca.certificate.clone();
    let sequence = inner.trust().unwrap().list().sequence;
    let without = world
        .publisher
        .publish_with(|contents| contents.cas.retain(|(one, _)| *one != ca));
    // the card is still in, so it takes a person to believe it
    inner
        .adopt_list(&without.unwrap(), pki::How::ByHand)
        .await
        .unwrap();
    assert!(inner.trust().unwrap().list().sequence > sequence);
    // neither its CA nor the way to ask about it is in the list
    let (certificate, trust) = (cades::verify(&signed, None, &[]).unwrap(), inner.trust().unwrap());
    let certificate = certificate.signatures[0].certificate.clone().unwrap();
    let now = morning.clock.now();
    assert!(
        trust
            .check_offline(&certificate, &pki::Purpose::KNOWN, now)
            .is_err()
    );
    assert_eq!(verdict().await, "VALID");
    let later = now + Duration::from_secs(86_400);
    let checked = trust
        .check_signer(&certificate, later, &[], false, &*morning.clock)
        .await;
    assert!(matches!(checked, Err(pki::CheckError::Issuer(_))), "{checked:?}");
}
