//! The trust space in a running Konnektor: what practice systems are told of certificates, what happens when status
//! services or the TSL service fail or lie, and that lists heal what they broke.

use asn1::X509;
use base::Timestamp;
use crypto::{Curve, EcPrivate, PublicKey};
use e2e::{Morning, is_served};
use konnektor::Inner;
use konnektor::state::{Condition, Other};
use langlauf::practice::{Operation, Practice};
use pki::issue::{Authority, Name, Profile, Request, profile};
use pki::{CheckError, How, Purpose, Responders, StatusEvidence, Trust};
use std::sync::Arc;
use std::time::Duration;
use testti::services::OcspFault;

const LIMIT: Duration = Duration::from_secs(30);

/// A morning whose Konnektor has all its lists.
async fn morning(settings: &str) -> Morning {
    let morning = Morning::with(|options| options.settings = settings.parse().unwrap())
        .await
        .unwrap();
    let inner = morning.world.konnektor().unwrap().inner();
    let complete = async || {
        let space = inner.space();
        space.list().is_some() && space.crl().is_some() && space.vl().is_some()
    };
    morning
        .world
        .wait_for("lists", LIMIT, &*morning.clock, complete)
        .await
        .unwrap();
    morning
}

struct Maker<'a> {
    morning: &'a Morning,
    from: Timestamp,
    to: Timestamp,
}

impl Maker<'_> {
    fn make(&self, ca: &Authority, profile: &Profile) -> Vec<u8> {
        let key = PublicKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap().public());
        let der = ca
            .issue(&Request {
                profile,
                subject: Name::new("Langlauf TEST-ONLY", "Somebody"),
                key,
                admission: Some(asn1::Admission {
                    items: vec!["Betriebsstätte Arzt".into()],
                    oids: vec![asn1::oid::INSTITUTION_PRAXIS_ARZT],
                    registration: None,
                }),
                dns: &[],
                addresses: &[],
                from: self.from,
                to: self.to,
            })
            .unwrap();
        self.morning.world.ledger.register(&der);
        der
    }
}

fn days(from: Timestamp, days: i64) -> Timestamp {
    Timestamp::from_second(from.as_second() + days * 86_400).unwrap()
}

/// Result and the code behind it (0 if there is none).
async fn verify(practice: &Practice, der: &[u8], at: Option<&str>) -> (String, u16) {
    let answer = practice
        .call(Operation::VerifyCertificate { der, at })
        .await
        .unwrap();
    assert_eq!(answer.fault(), None, "{}", answer.body);
    let texts = |name| answer.texts(name);
    let code = texts("Code").pop().map_or(0, |code| code.parse().unwrap());
    (texts("VerificationResult").pop().unwrap(), code)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_result_of_a_verification() {
    let morning = morning("certificates.ocsp_grace_minutes = 0\ncertificates.ocsp_timeout_seconds = 1").await;
    let (world, practice, now) = (&morning.world, &morning.world.practice, morning.clock.now());
    let pki = &world.pki;
    let make = |ca: &Authority, profile: &Profile| {
        let (from, to) = (days(now, -10), days(now, 100));
        Maker {
            morning: &morning,
            from,
            to,
        }
        .make(ca, profile)
    };
    let good = make(&pki.smcb_ca, &profile::SMC_B_AUT);
    let result = |der: &[u8], at: Option<&str>| {
        let (der, at) = (der.to_vec(), at.map(str::to_owned));
        async move { verify(practice, &der, at.as_deref()).await }
    };
    let valid = ("VALID".to_owned(), 0);
    let invalid = |code| ("INVALID".to_owned(), code);
    let inconclusive = |code| ("INCONCLUSIVE".to_owned(), code);

    assert_eq!(result(&good, None).await, valid);
    // time, issuer, signature, type
    let old = Maker {
        morning: &morning,
        from: days(now, -20),
        to: days(now, -10),
    };
    assert_eq!(
        result(&old.make(&pki.smcb_ca, &profile::SMC_B_AUT), None).await,
        invalid(1021)
    );
    let stranger = Authority::root(
        Name::new("Somebody", "CA"),
        crypto::SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap()),
        "",
        days(now, -20),
        days(now, 100),
    )
    .unwrap();
    let foreign = make(&stranger, &profile::SMC_B_AUT);
    assert_eq!(result(&foreign, None).await, invalid(1027));
    let namesake = Authority::root(
        pki.smcb_ca.name.clone(),
        crypto::SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap()),
        "",
        days(now, -20),
        days(now, 100),
    )
    .unwrap();
    assert_eq!(
        result(&make(&namesake, &profile::SMC_B_AUT), None).await,
        invalid(1023)
    );
    let mut broken = good.clone();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    assert_eq!(result(&broken, None).await, invalid(1024));
    assert_eq!(
        result(&make(&pki.egk_ca, &profile::SMC_B_AUT), None).await,
        invalid(1061)
    );
    // unknown to the responder; revoked, and good the day before
    let unknown = pki
        .smcb_ca
        .issue(&Request {
            profile: &profile::SMC_B_AUT,
            subject: Name::new("Langlauf TEST-ONLY", "Unregistered"),
            key: PublicKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap().public()),
            admission: None,
            dns: &[],
            addresses: &[],
            from: days(now, -10),
            to: days(now, 100),
        })
        .unwrap();
    assert_eq!(result(&unknown, None).await, invalid(1044));
    let revoked = make(&pki.smcb_ca, &profile::SMC_B_AUT);
    world.ledger.revoke(&revoked);
    assert_eq!(result(&revoked, None).await, invalid(1047));
    let yesterday = days(now, -1).to_string();
    assert_eq!(result(&revoked, Some(&yesterday)).await, valid);
    let before = days(now, -11).to_string();
    assert_eq!(result(&good, Some(&before)).await, invalid(1021));
    // qualified: by the trusted list, and only by that
    // (chain model: its CA must have been qualified when it was issued)
    let (from, to) = (now, days(now, 100));
    let today = Maker {
        morning: &morning,
        from,
        to,
    };
    assert_eq!(
        result(&today.make(&pki.qes_ca, &profile::HBA_QES), None).await,
        valid
    );
    assert_eq!(
        result(&make(&pki.qes_ca, &profile::HBA_QES), None).await,
        invalid(1059)
    );
    assert_eq!(
        result(&today.make(&pki.hba_ca, &profile::HBA_QES), None).await,
        invalid(1059)
    );
    let own = today.make(&pki.qes_ca, &profile::HBA_AUT);
    assert_eq!(result(&own, None).await, invalid(1027));
    // a CA that an administrator has imported
    let inner = world.konnektor().unwrap().inner();
    let id = inner
        .import_authority(&X509::parse(&stranger.certificate).unwrap())
        .unwrap();
    assert_eq!(result(&foreign, None).await, valid);
    inner.forget_authority(&id).unwrap();
    assert_eq!(result(&foreign, None).await, invalid(1027));
    // the responder fails or lies, each in its way
    for (fault, code) in [
        (OcspFault::Garbage, 1029),
        (OcspFault::StrangeSigner, 1030),
        (OcspFault::BadSignature, 1031),
        (OcspFault::OtherCertificate, 1029),
        (OcspFault::NoHash, 1040),
        (OcspFault::WrongHash, 1041),
        (OcspFault::WrongNonce, 1051),
        (OcspFault::Stale, 1029),
        (OcspFault::Future, 1029),
        (OcspFault::Overloaded, 1058),
        (OcspFault::Slow(Duration::from_secs(3)), 1032),
    ] {
        world.ledger.set_fault(Some(fault));
        assert_eq!(result(&good, None).await, inconclusive(code), "{fault:?}");
    }
    // what an administrator reads says whose fault it is
    let health = inner.responders().health();
    let [health] = health.as_slice() else {
        panic!("{health:?}")
    };
    let words = health.last_failure.clone().unwrap();
    assert!(
        words.contains(&health.url) && words.contains("no answer within 1 s"),
        "{words}"
    );
    world.ledger.set_fault(None);
    assert_eq!(result(&good, None).await, valid);
}

/// A responder that fails three times in a row is left alone, so that nobody at a counter waits for it again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_responder_is_left_alone() {
    let morning = morning("certificates.ocsp_grace_minutes = 0").await;
    let (world, now) = (&morning.world, morning.clock.now());
    let maker = Maker {
        morning: &morning,
        from: days(now, -10),
        to: days(now, 100),
    };
    let good = maker.make(&world.pki.smcb_ca, &profile::SMC_B_AUT);
    world.ledger.set_fault(Some(OcspFault::Down));
    for _ in 0..3 {
        assert_eq!(verify(&world.practice, &good, None).await.1, 1032);
    }
    let asked = world.ledger.asked();
    world.ledger.set_fault(None);
    for _ in 0..5 {
        assert_eq!(
            verify(&world.practice, &good, None).await,
            ("INCONCLUSIVE".to_owned(), 1032)
        );
    }
    assert_eq!(world.ledger.asked(), asked);
    let health = world.konnektor().unwrap().inner().responders().health();
    assert!(health.iter().any(|health| health.paused_until.is_some()));
}

/// Within its grace period an answer is remembered, also across a new trust list.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_remembered() {
    let morning = morning("").await;
    let (world, now) = (&morning.world, morning.clock.now());
    let inner = world.konnektor().unwrap().inner();
    let maker = Maker {
        morning: &morning,
        from: days(now, -10),
        to: days(now, 100),
    };
    let good = maker.make(&world.pki.smcb_ca, &profile::SMC_B_AUT);
    assert_eq!(verify(&world.practice, &good, None).await.0, "VALID");
    let xml = world.publisher.publish().unwrap();
    inner.adopt_list(&xml, How::Automatic).await.unwrap();
    let asked = world.ledger.asked();
    for _ in 0..5 {
        assert_eq!(verify(&world.practice, &good, None).await.0, "VALID");
    }
    assert_eq!(world.ledger.asked(), asked);
    // the grace period is not for qualified certificates
    let (from, to) = (morning.clock.now(), days(now, 100));
    let today = Maker {
        morning: &morning,
        from,
        to,
    };
    let qualified = today.make(&world.pki.qes_ca, &profile::HBA_QES);
    for _ in 0..2 {
        assert_eq!(verify(&world.practice, &qualified, None).await.0, "VALID");
    }
    assert_eq!(world.ledger.asked(), asked + 2);
}

fn holds(inner: &Inner, condition: &Condition) -> bool {
    inner
        .conditions()
        .iter()
        .any(|(found, value, _)| found == condition && *value)
}

const REFUSED: Condition = Condition::OtherErrorState(Other::TrustListEntryRefused);

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_by_every_way_and_heal() {
    let morning = morning("").await;
    let world = &morning.world;
    let inner: &Arc<Inner> = world.konnektor().unwrap().inner();
    let publisher = &world.publisher;
    let number = || inner.space().list().unwrap().sequence;
    assert_eq!(number(), 10_001);
    // nothing new is a success
    inner.update_now().await.unwrap();

    // the TI is out of reach: from the Internet, with the detached signature
    publisher.set_reachable(false, true);
    publisher.publish().unwrap();
    // the trusted list exists inside only, so the whole is no success
    assert!(inner.update_now().await.is_err());
    assert_eq!(number(), 10_002);
    assert!(!holds(inner, &Condition::TslUpdateNotSuccessful));
    // nothing is in reach: reported, nothing lost
    publisher.set_reachable(false, false);
    publisher.publish().unwrap();
    assert_eq!(inner.update_now().await.unwrap_err().code().number(), 1006);
    assert!(holds(inner, &Condition::TslUpdateNotSuccessful));
    assert_eq!(number(), 10_002);
    assert!(is_served(&world.practice).await);
    publisher.set_reachable(true, true);
    inner.update_now().await.unwrap();
    assert!(!holds(inner, &Condition::TslUpdateNotSuccessful));
    assert_eq!(number(), 10_003);

    // a wrong announcement in an otherwise good list: the list is used, the entry not; the next list heals
    publisher
        .publish_with(|contents| {
            let wrong = (contents.responders[0].clone(), morning.clock.now());
            contents.announced.push(wrong);
        })
        .unwrap();
    inner.update_now().await.unwrap();
    assert_eq!(number(), 10_004);
    assert!(holds(inner, &REFUSED));
    assert!(inner.space().announced().is_none());
    publisher.publish().unwrap();
    inner.update_now().await.unwrap();
    assert!(!holds(inner, &REFUSED));

    // a list that lost its responders is not believed, and can be set aside when a person has imported it
    let hollow = publisher
        .publish_with(|contents| contents.responders.clear())
        .unwrap();
    assert_eq!(inner.update_now().await.unwrap_err().code().number(), 1012);
    assert_eq!(number(), 10_005);
    inner.adopt_list(&hollow, How::ByHand).await.unwrap();
    assert_eq!(number(), 10_006);
    assert!(inner.step_back().await.unwrap());
    assert_eq!(number(), 10_005);
    publisher.publish().unwrap();
    inner.update_now().await.unwrap();
    assert_eq!(number(), 10_007);

    // the server inside stands still: shortly before the list ends the others are asked too
    let soon = publisher.publish_as(|_, edition| edition.next_update = days(morning.clock.now(), 5));
    soon.unwrap();
    inner.update_now().await.unwrap();
    assert_eq!(number(), 10_008);
    publisher.set_frozen(true);
    publisher.publish().unwrap();
    inner.update_now().await.unwrap();
    assert_eq!(number(), 10_009);
    // and that it still has an old one is no harm
    inner.update_now().await.unwrap();
    publisher.set_frozen(false);

    // the signer of a list is revoked: no list of his is taken any more
    world.ledger.revoke(&world.pki.tsl.certificate);
    publisher.publish().unwrap();
    assert_eq!(inner.update_now().await.unwrap_err().code().number(), 1047);
    assert_eq!(number(), 10_009);
}

/// May 2020 was a list that was signed and wrong. One with which what works would stop is not used by itself as long as there is a
/// valid one; what it revokes in so many words is revoked, and a person may know better.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_would_stop_the_work_is_not_used() {
    let morning = Morning::after_the_walk().await.unwrap();
    let world = &morning.world;
    let inner: &Arc<Inner> = world.konnektor().unwrap().inner();
    let publisher = &world.publisher;
    let number = || inner.space().list().unwrap().sequence;
    let without = |ca: &Authority| {
        let der = ca.certificate.clone();
        publisher.publish_with(move |contents| contents.cas.retain(|(one, _)| *one != der))
    };
    let refused = async |reason: &str| {
        let before = number();
        let failure = inner.update_now().await.expect_err(reason);
        assert_eq!(failure.code().number(), 1012, "{}", failure.detail());
        assert!(failure.detail().contains(reason), "{}", failure.detail());
        assert_eq!(number(), before);
        assert!(holds(inner, &Condition::TslUpdateNotSuccessful));
        assert!(is_served(&world.practice).await);
    };
    assert!(inner.space().is_list_proven());
    // the CA of the practice's card is gone, that of the services
    for (ca, reason) in [
        (&world.pki.smcb_ca, "SMC-B in KT1"),
        (&world.pki.component_ca, "127.0.0.1:"),
    ] {
        without(ca).unwrap();
        refused(reason).await;
    }
    // who answers about statuses is somebody else, and nobody has told the service
    let stranger = world.pki.smcb_ca.certificate.clone();
    publisher
        .publish_with(|contents| contents.responders = vec![stranger])
        .unwrap();
    refused("status of").await;
    publisher.publish().unwrap();
    inner.update_now().await.unwrap();
    assert!(!holds(inner, &Condition::TslUpdateNotSuccessful));
    // a person says that it is meant so
    let list = without(&world.pki.smcb_ca).unwrap();
    let taken = inner.adopt_list(&list, How::ByHand).await.unwrap();
    assert!(
        taken.notes.iter().any(|note| note.contains("SMC-B in KT1")),
        "{:?}",
        taken.notes
    );
    publisher.publish().unwrap();
    inner.update_now().await.unwrap();
    let good = number();
    assert!(is_served(&world.practice).await);
    // the list in use has ended: then one with a mistake is better than none, and nothing dies on a date
    let end = morning.clock.now().checked_add(Duration::from_secs(3)).unwrap();
    publisher
        .publish_as(|_, edition| edition.next_update = end)
        .unwrap();
    inner.update_now().await.unwrap();
    without(&world.pki.smcb_ca).unwrap();
    let ended = async || morning.clock.now() > end;
    let waiting = world.wait_for("end", LIMIT, &*morning.clock, ended);
    waiting.await.unwrap();
    inner.update_now().await.unwrap();
    let maker = Maker {
        morning: &morning,
        from: days(morning.clock.now(), -10),
        to: days(morning.clock.now(), 100),
    };
    let colleague = X509::parse(&maker.make(&world.pki.smcb_ca, &profile::SMC_B_AUT)).unwrap();
    let card = || {
        let checked = inner
            .trust()
            .unwrap()
            .check_offline(&colleague, &Purpose::KNOWN, morning.clock.now());
        checked.map(|_| ())
    };
    assert!(matches!(card(), Err(CheckError::Issuer(_))), "{:?}", card());
    publisher.publish().unwrap();
    inner.update_now().await.unwrap();
    assert_eq!(card(), Ok(()));
    // revoked is revoked
    let (from, der) = (
        days(morning.clock.now(), -3000),
        world.pki.smcb_ca.certificate.clone(),
    );
    publisher
        .publish_with(move |contents| {
            contents.cas.retain(|(one, _)| *one != der);
            contents.revoked.push((der, from));
        })
        .unwrap();
    inner.update_now().await.unwrap();
    assert!(number() > good);
    assert!(
        matches!(card(), Err(CheckError::IssuerRevoked(_))),
        "{:?}",
        card()
    );
}

/// A service that brings the status of its certificate along saves the question, and is not believed if that is bad.
#[tokio::test(flavor = "multi_thread")]
async fn a_stapled_status_counts() {
    let morning = morning("").await;
    let (world, clock) = (&morning.world, &*morning.clock);
    let inner = world.konnektor().unwrap().inner();
    let (publisher, ledger) = (&world.publisher, &world.ledger);
    let service = X509::parse(&world.tsl_service).unwrap();
    ledger.set_stapling(true);
    ledger.set_fault(Some(OcspFault::Down));
    // somebody who has never asked
    let list = inner.space().list().unwrap().clone();
    let trust = Trust::new(list, Duration::ZERO, Arc::new(Responders::default()));
    let answer = ledger.staple(service.der()).unwrap();
    trust.consider_stapled(&service, &answer, clock.now()).unwrap();
    let verdict = trust.check(&service, &Purpose::TSL_SERVICE, clock).await.unwrap();
    assert!(matches!(verdict.status, StatusEvidence::Cached(_)), "{verdict:?}");
    // nonsense is as good as nothing
    trust.consider_stapled(&service, b"?", clock.now()).unwrap();
    // in a handshake: the responder is gone, which would be tolerated, but what is stapled says more
    let sequence = || inner.space().vl().unwrap().sequence;
    let before = sequence();
    publisher.publish_vl().unwrap();
    inner.update_now().await.unwrap();
    let taken = sequence();
    assert!(taken > before);
    ledger.revoke(service.der());
    publisher.publish_vl().unwrap();
    assert!(inner.update_now().await.is_err());
    assert_eq!(sequence(), taken);
    // without it the service goes on being believed for the grace period
    ledger.set_stapling(false);
    inner.update_now().await.unwrap();
    assert!(sequence() > taken);
}

/// The anchor changes while everything runs, and a restart finds all of it again.
#[tokio::test(flavor = "multi_thread")]
async fn the_anchor_changes_and_a_restart_knows() {
    let morning = morning("").await;
    let Morning { world, clock, folder } = morning;
    let inner = world.konnektor().unwrap().inner().clone();
    let now = clock.now();
    let next = world.pki.list_signer(2, days(now, -1), days(now, 1000)).unwrap();
    world.ledger.add_issuer(&next.ca);
    world.ledger.register(&next.certificate);
    world.publisher.announce(next, days(now, -1));
    world.publisher.publish().unwrap();
    inner.update_now().await.unwrap();
    assert!(inner.space().announced().is_some());
    world.publisher.switch();
    world.publisher.publish().unwrap();
    inner.update_now().await.unwrap();
    let subject = inner.space().anchor().subject();
    assert!(subject.contains("TSL-CA2"), "{subject}");
    // the next announcement is missed, and the TI is out of reach: a root vouches, and the list comes from the Internet
    let third = world.pki.list_signer(3, days(now, -1), days(now, 1000)).unwrap();
    world.ledger.add_issuer(&third.ca);
    world.ledger.register(&third.certificate);
    world.publisher.announce(third, days(now, -1));
    world.publisher.switch();
    world.publisher.publish().unwrap();
    world.publisher.set_reachable(false, true);
    assert!(
        inner.update_now().await.is_err(),
        "the trusted list is inside only"
    );
    assert!(!holds(&inner, &Condition::TslUpdateNotSuccessful));
    let subject = inner.space().anchor().subject();
    assert!(subject.contains("TSL-CA3"), "{subject}");
    world.publisher.set_reachable(true, true);
    let before = inner.space().record().clone();
    drop((inner, world));
    // no list can be had, only what is stored
    let mut options = e2e::options(folder.path().into());
    options.settings = "online = false".parse().unwrap();
    let world = langlauf::world::World::start(&options, clock).await.unwrap();
    let space = world.konnektor().unwrap().inner().space();
    assert_eq!(space.record(), &before);
    assert_eq!(space.anchor().subject(), subject);
    assert!(space.crl().is_some() && space.vl().is_some());
}
