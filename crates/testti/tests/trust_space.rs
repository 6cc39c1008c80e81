//! The trust space and those who publish for it: what is believed, what is refused, and that every refusal heals.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use asn1::X509;
use base::{Clock, Timestamp, VirtualClock};
use pki::space::{Note, Origin, Record};
use pki::tsl::{DnssecAnchor, SignerError, Tsl, TslError};
use pki::{CheckError, How, Purpose, Responders, Space, Trust};
use std::sync::Arc;
use std::time::Duration;
use testti::{ListSigner, Publisher, SavedKeys, TestPki};

const DAY: Duration = Duration::from_secs(86_400);
const GRACE: Duration = Duration::from_secs(30 * 86_400);

struct Ti {
    clock: VirtualClock,
    pki: TestPki,
    publisher: Publisher,
}

impl Ti {
    fn new() -> Self {
        let clock = VirtualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let pki = TestPki::open(&mut SavedKeys::default(), clock.now(), "http://ocsp").unwrap();
        let publisher = Publisher::new(&pki, clock.shared(), "http://ti", "https://ti").unwrap();
        Self {
            clock,
            pki,
            publisher,
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn in_days(&self, days: u32) -> Timestamp {
        self.now().checked_add(DAY * days).unwrap()
    }

    fn pass(&self, days: u32) {
        self.clock.advance(DAY * days);
    }

    fn anchor(&self) -> X509 {
        X509::parse(&self.pki.tsl.ca.certificate).unwrap()
    }

    fn origin(&self) -> Arc<Origin> {
        let roots = self.pki.anchors().iter().map(|der| X509::parse(der).unwrap());
        Arc::new(Origin {
            anchor: self.anchor(),
            roots: roots.collect(),
        })
    }

    fn signer(&self, number: u32) -> ListSigner {
        self.pki
            .list_signer(number, self.now(), self.in_days(8 * 365))
            .unwrap()
    }

    fn list(&self) -> String {
        String::from_utf8(self.publisher.file("/TSL.xml").unwrap()).unwrap()
    }

    /// A device that was just made and has the list of today.
    fn device(&self) -> Space {
        let (space, _) = Space::open(Record::default(), self.origin(), GRACE);
        self.adopt(&space, &self.list()).unwrap().0
    }

    fn adopt(&self, space: &Space, xml: &str) -> Result<(Space, Vec<Note>), TslError> {
        let offer = space.offer_list(xml, How::Automatic, self.now())?;
        // whatever is adopted must be there after a restart too
        let stored = serde_json::to_string(offer.space.record()).unwrap();
        let (again, notes) = Space::open(serde_json::from_str(&stored).unwrap(), self.origin(), GRACE);
        assert_eq!(notes, []);
        assert_eq!(
            again.list().map(|list| list.sequence),
            offer.space.list().map(|list| list.sequence)
        );
        assert_eq!(again.anchor(), offer.space.anchor());
        Ok((again, offer.notes))
    }
}

/// A device that was made without roots.
fn only(anchor: X509) -> Arc<Origin> {
    Arc::new(Origin {
        anchor,
        roots: Vec::new(),
    })
}

/// Would a card certified by the test TI be read?
fn reads_cards(ti: &Ti, space: &Space, card: &X509) -> bool {
    let Some(list) = space.list() else { return false };
    let trust = Trust::new(list.clone(), GRACE, Arc::new(Responders::default()));
    trust.check_offline(card, &Purpose::EGK_OFFLINE, ti.now()).is_ok()
}

fn egk(ti: &Ti) -> X509 {
    let person = testti::person::Person::example();
    let options = testti::cards::Options {
        rsa: false,
        ..testti::cards::Options::default()
    };
    let number = "80276009990000000001".parse().unwrap();
    let system = testti::cards::egk(&ti.pki, &number, &person, ti.now(), &options).unwrap();
    let id = system.find("EF.C.CH.AUT.E256").unwrap();
    match &system.node(id).unwrap().body {
        card::image::Body::Transparent { bytes, .. } => X509::parse_file(bytes).unwrap(),
        _ => panic!("file"),
    }
}

#[test]
fn numbers_and_replays() {
    let ti = Ti::new();
    let first = ti.list();
    let space = ti.device();
    ti.pass(1);
    let second = ti.publisher.publish().unwrap();
    let (space, _) = ti.adopt(&space, &second).unwrap();
    // the same list again is no news and no mistake
    assert!(
        space
            .offer_list(&second, How::Automatic, ti.now())
            .unwrap()
            .unchanged
    );
    // an old one, from a replayed download or by hand
    for how in [How::Automatic, How::ByHand] {
        let refused = space.offer_list(&first, how, ti.now());
        assert!(matches!(
            refused,
            Err(TslError::Sequence {
                offered: 10_001,
                current: 10_002
            })
        ));
    }
    // too old for anybody but an administrator
    ti.pass(61);
    let (fresh, _) = Space::open(Record::default(), ti.origin(), GRACE);
    assert!(matches!(
        fresh.offer_list(&second, How::Automatic, ti.now()),
        Err(TslError::TooOld(_))
    ));
    assert!(fresh.offer_list(&second, How::ByHand, ti.now()).is_ok());
}

/// A list is verified again after a restart as of the day it was adopted: whatever has ended since, the device starts.
#[test]
fn a_restart_after_the_signer_has_ended() {
    let ti = Ti::new();
    let short = ti.pki.list_signer(2, ti.now(), ti.in_days(20)).unwrap();
    let anchor = X509::parse(&short.ca.certificate).unwrap();
    ti.publisher.announce(short, ti.now());
    ti.publisher.switch();
    let xml = ti.publisher.publish().unwrap();
    let (space, _) = Space::open(Record::default(), only(anchor.clone()), GRACE);
    let space = space.offer_list(&xml, How::Automatic, ti.now()).unwrap().space;
    ti.pass(25);
    assert!(Tsl::verify(&xml, &[&anchor], ti.now()).is_err());
    let (again, notes) = Space::open(space.record().clone(), only(anchor), GRACE);
    assert_eq!((notes.len(), again.list().unwrap().sequence), (0, 10_002));
    assert!(reads_cards(&ti, &again, &egk(&ti)));
}

#[test]
fn an_announced_anchor_takes_over_when_it_has_proven_itself() {
    let ti = Ti::new();
    let space = ti.device();
    let next = ti.signer(2);
    let subject = X509::parse(&next.ca.certificate).unwrap().subject();
    ti.publisher.announce(next, ti.in_days(10));
    let (space, notes) = ti.adopt(&space, &ti.publisher.publish().unwrap()).unwrap();
    assert!(matches!(notes.as_slice(), [Note::Announced { .. }]), "{notes:?}");
    // too early: the new anchor counts for nothing before its moment
    ti.pass(9);
    ti.publisher.switch();
    let early = ti.publisher.publish().unwrap();
    assert!(matches!(
        ti.adopt(&space, &early),
        Err(TslError::Signer(SignerError::Chain))
    ));
    // at its moment it does, and is the anchor from then on
    ti.pass(1);
    let (space, notes) = ti.adopt(&space, &early).unwrap();
    assert_eq!(notes, [Note::Activated(subject.clone())]);
    assert_eq!(space.anchor().subject(), subject);
    assert!(space.announced().is_none());
    // what the old one signs later is refused
    let old = {
        let edition = pki::tsl::Edition {
            sequence: 20_000,
            issued: ti.now(),
            next_update: ti.in_days(30),
        };
        let contents = ti.pki.list_contents("http://ti", "https://ti");
        pki::tsl::write(&contents, &edition, &ti.pki.tsl.certificate, &ti.pki.tsl.key).unwrap()
    };
    assert!(matches!(
        ti.adopt(&space, &old),
        Err(TslError::Signer(SignerError::Chain))
    ));
}

/// Two changes while the device is off: nobody it knows has signed the list of today. A root vouches for the anchor; a
/// device without roots takes the list in between from a person, also when that has ended.
#[test]
fn a_missed_announcement() {
    let ti = Ti::new();
    let bare = |record: Record| Space::open(record, only(ti.anchor()), GRACE).0;
    let device = ti.device();
    ti.publisher.announce(ti.signer(2), ti.in_days(5));
    ti.pass(5);
    ti.publisher.publish().unwrap();
    let first = ti.list();
    ti.publisher.switch();
    ti.pass(1);
    ti.publisher.announce(ti.signer(3), ti.in_days(80));
    let between = ti.publisher.publish().unwrap();
    ti.pass(80);
    ti.publisher.switch();
    let today = ti.publisher.publish().unwrap();

    let (space, notes) = ti.adopt(&device, &today).unwrap();
    assert!(matches!(notes.as_slice(), [Note::FoundByRoot(_)]), "{notes:?}");
    // such a device has the Internet only: the detached signature has the same signer
    let detached = ti.publisher.file("/TSL.sig").unwrap();
    let verify = |anchors: &[X509]| {
        let anchors: Vec<&X509> = anchors.iter().collect();
        pki::detached::verify(today.as_bytes(), &detached, &anchors, ti.now())
    };
    assert!(verify(&[ti.anchor()]).is_err());
    verify(&device.vouched_anchors(&today, ti.now())).unwrap();
    assert!(
        bare(device.record().clone())
            .vouched_anchors(&today, ti.now())
            .is_empty()
    );
    assert!(space.anchor().subject().contains("TSL-CA3"));

    let mut space = bare(device.record().clone());
    let refused = space.offer_list(&today, How::Automatic, ti.now());
    assert!(matches!(refused, Err(TslError::Signer(SignerError::Chain))));
    for list in [&first, &between, &today] {
        space = space.offer_list(list, How::ByHand, ti.now()).unwrap().space;
    }
    assert!(space.anchor().subject().contains("TSL-CA3"));
    // the certificate of another CA below the same root vouches for nothing
    let component = &ti.pki.component_ca;
    let forged = ListSigner {
        ca: component.clone(),
        ..ti.signer(4)
    };
    let certificate = component
        .issue(&pki::issue::Request {
            profile: &pki::issue::profile::TSL_SIGNER,
            subject: pki::issue::Name::new("Forger", "TSL Signing Unit"),
            key: crypto::Key::public(&forged.key),
            admission: None,
            dns: &[],
            addresses: &[],
            from: ti.now(),
            to: ti.in_days(100),
        })
        .unwrap();
    ti.publisher.announce(
        ListSigner {
            certificate,
            ..forged
        },
        ti.now(),
    );
    ti.publisher.switch();
    let forged = ti.publisher.publish().unwrap();
    assert!(matches!(
        ti.adopt(&device, &forged),
        Err(TslError::Signer(SignerError::Chain))
    ));
}

/// A list of otherwise good content in which the entry of the new anchor is wrong, in every way one can think of: the
/// entry is refused and reported, the list is used, and the next good list heals it.
#[test]
fn a_wrong_announcement_is_refused_and_healed() {
    let ti = Ti::new();
    let card = egk(&ti);
    let mut space = ti.device();
    let (ended, _) = (ti.pki.list_signer(7, ti.now(), ti.in_days(5)).unwrap(), ());
    let good = ti.signer(8);
    let entry = |der: &[u8], from: Timestamp| (der.to_vec(), from);
    let raw = |identity: &str| {
        format!(
            "<TSPService><ServiceInformation><ServiceTypeIdentifier>http://uri.etsi.org/TrstSvc/Svctype/\
             TSLServiceCertChange</ServiceTypeIdentifier><ServiceName><Name xml:lang=\"DE\">x</Name></ServiceName>\
             <ServiceDigitalIdentity><DigitalId>{identity}</DigitalId></ServiceDigitalIdentity><ServiceStatus>\
             http://uri.etsi.org/TrstSvc/Svcstatus/inaccord</ServiceStatus><StatusStartingTime>2026-02-01T00:00:00Z\
             </StatusStartingTime></ServiceInformation></TSPService>"
        )
    };
    type Mistake<'a> = Box<dyn Fn(&mut pki::tsl::Contents) + 'a>;
    let moment = ti.in_days(31);
    let mistakes: Vec<(&str, u16, Mistake<'_>)> = vec![
        ("two entries", 1003, {
            let good = good.ca.certificate.clone();
            Box::new(move |contents| contents.announced = vec![entry(&good, moment), entry(&good, moment)])
        }),
        ("garbage instead of a certificate", 1004, {
            let text = raw("<X509Certificate>bm90IGEgY2VydGlmaWNhdGU=</X509Certificate>");
            Box::new(move |contents| contents.raw.clone_from(&text))
        }),
        ("no certificate but a name", 1004, {
            let text = raw("<X509SubjectName>CN=GEM.TSL-CA9</X509SubjectName>");
            Box::new(move |contents| contents.raw.clone_from(&text))
        }),
        ("the signer instead of its CA", 1021, {
            let der = good.certificate.clone();
            Box::new(move |contents| contents.announced = vec![entry(&der, moment)])
        }),
        ("ended before it begins", 1021, {
            let der = ended.ca.certificate.clone();
            Box::new(move |contents| contents.announced = vec![entry(&der, moment)])
        }),
    ];
    for (what, code, mistake) in &mistakes {
        ti.pass(1);
        let xml = ti.publisher.publish_with(mistake).unwrap();
        let (next, notes) = ti.adopt(&space, &xml).unwrap();
        let [Note::AnnouncementRefused { code: found, .. }] = notes.as_slice() else {
            panic!("{what}: {notes:?}");
        };
        assert_eq!(found.number(), *code, "{what}");
        assert!(next.announced().is_none(), "{what}");
        assert!(reads_cards(&ti, &next, &card), "{what}");
        space = next;
    }
    // the next good list heals: its announcement is kept
    ti.publisher.announce(good, moment);
    ti.pass(1);
    let (space, notes) = ti.adopt(&space, &ti.publisher.publish().unwrap()).unwrap();
    assert!(matches!(notes.as_slice(), [Note::Announced { .. }]));
    assert!(space.announced().is_some());
}

/// A well-formed announcement of an anchor nobody will ever sign under: its moment passes, lists go on being signed
/// under the old one. The device says so and goes on, and the next announcement replaces the wrong one.
#[test]
fn an_announced_anchor_that_never_signs() {
    let ti = Ti::new();
    let card = egk(&ti);
    let space = ti.device();
    let wrong = ti.signer(66);
    let from = ti.in_days(5);
    let der = wrong.ca.certificate;
    let xml = ti
        .publisher
        .publish_with(|contents| contents.announced.push((der, from)))
        .unwrap();
    let (mut space, _) = ti.adopt(&space, &xml).unwrap();
    for _ in 0..6 {
        ti.pass(14);
        let (next, notes) = ti.adopt(&space, &ti.publisher.publish().unwrap()).unwrap();
        assert!(matches!(notes.as_slice(), [Note::Unproven { .. }]), "{notes:?}");
        assert!(reads_cards(&ti, &next, &card));
        space = next;
    }
    let right = ti.signer(2);
    ti.publisher.announce(right, ti.in_days(3));
    let (space, _) = ti.adopt(&space, &ti.publisher.publish().unwrap()).unwrap();
    ti.pass(4);
    ti.publisher.switch();
    let (space, notes) = ti.adopt(&space, &ti.publisher.publish().unwrap()).unwrap();
    assert!(matches!(notes.as_slice(), [Note::Activated(_)]), "{notes:?}");
    assert!(reads_cards(&ti, &space, &card));
}

fn dnssec(key_tag: u16) -> DnssecAnchor {
    DnssecAnchor {
        zone: "telematik.".into(),
        key_tag,
        algorithm: 8,
        digest_type: 2,
        digest: vec![key_tag as u8; 32],
    }
}

/// 25 May 2020 again: the anchor for signed names is changed through the trust list, and the entry is wrong.
#[test]
fn may_2020() {
    let ti = Ti::new();
    let tags = |space: &Space| {
        space
            .dnssec_anchors()
            .map(|anchor| anchor.key_tag)
            .collect::<Vec<_>>()
    };
    ti.publisher.change(|contents| contents.dnssec = vec![dnssec(1)]);
    ti.pass(1);
    let (space, _) = ti.adopt(&ti.device(), &ti.publisher.publish().unwrap()).unwrap();
    let space = space.prove_dnssec(&dnssec(1));
    assert_eq!(tags(&space), [1]);
    // broken entries are refused with a report; the proven anchor stays in use
    let broken = [
        DnssecAnchor {
            digest: vec![2; 31],
            ..dnssec(2)
        },
        DnssecAnchor {
            zone: "telematik".into(),
            ..dnssec(2)
        },
        DnssecAnchor {
            digest_type: 1,
            ..dnssec(2)
        },
        DnssecAnchor {
            algorithm: 1,
            ..dnssec(2)
        },
    ];
    let mut space = space;
    for wrong in broken {
        ti.pass(1);
        let xml = ti
            .publisher
            .publish_with(|contents| contents.dnssec = vec![wrong])
            .unwrap();
        let (next, notes) = ti.adopt(&space, &xml).unwrap();
        assert!(matches!(notes.as_slice(), [Note::DnssecRefused(_)]), "{notes:?}");
        assert_eq!(tags(&next), [1]);
        space = next;
    }
    // a well-formed one that fits no key of the zone stands beside the proven one, so names go on being resolved
    ti.pass(1);
    let xml = ti
        .publisher
        .publish_with(|contents| contents.dnssec = vec![dnssec(9)])
        .unwrap();
    let (space, notes) = ti.adopt(&space, &xml).unwrap();
    assert_eq!((notes, tags(&space)), (vec![Note::DnssecOffered(9)], vec![1, 9]));
    // no entry at all is no change
    ti.pass(1);
    let xml = ti
        .publisher
        .publish_with(|contents| contents.dnssec.clear())
        .unwrap();
    let (space, _) = ti.adopt(&space, &xml).unwrap();
    assert_eq!(tags(&space), [1, 9]);
    // the next good list heals without a person; the old anchor goes only when a name was resolved with the new one
    ti.publisher.change(|contents| contents.dnssec = vec![dnssec(2)]);
    ti.pass(1);
    let (space, _) = ti.adopt(&space, &ti.publisher.publish().unwrap()).unwrap();
    assert_eq!(tags(&space), [1, 2]);
    let space = space.prove_dnssec(&dnssec(2));
    assert_eq!(tags(&space), [2]);
}

#[test]
fn a_hollow_list_needs_a_person() {
    let ti = Ti::new();
    let space = ti.device();
    ti.pass(1);
    let hollow = ti
        .publisher
        .publish_with(|contents| contents.responders.clear())
        .unwrap();
    assert!(matches!(
        ti.adopt(&space, &hollow),
        Err(TslError::Hollow("OCSP responders"))
    ));
    let (healed, _) = ti.adopt(&space, &ti.publisher.publish().unwrap()).unwrap();
    assert!(!healed.list().unwrap().responders.is_empty());
    let by_hand = space.offer_list(&hollow, How::ByHand, ti.now()).unwrap().space;
    assert!(by_hand.list().unwrap().responders.is_empty());
    // and back again: the hollow list is set aside and stays so
    let back = by_hand.step_back(ti.now()).unwrap();
    assert_eq!(back.list().unwrap().sequence, 10_001);
    assert!(matches!(
        back.offer_list(&hollow, How::Automatic, ti.now()),
        Err(TslError::SetAside)
    ));
}

/// A rejected list takes its announcement with it, and the one before it announces again.
#[test]
fn stepping_back_over_announcements() {
    let ti = Ti::new();
    let device = ti.device();
    // a list with an announcement that a person does not want
    ti.pass(1);
    ti.publisher.announce(ti.signer(2), ti.in_days(5));
    let announcing = ti.publisher.publish().unwrap();
    let (space, _) = ti.adopt(&device, &announcing).unwrap();
    let back = space.step_back(ti.now()).unwrap();
    assert!(back.announced().is_none());
    // a list under the new anchor that a person does not want: the announcement that led there counts again
    let (space, _) = ti.adopt(&device, &announcing).unwrap();
    ti.pass(6);
    ti.publisher.switch();
    let (space, _) = ti.adopt(&space, &ti.publisher.publish().unwrap()).unwrap();
    assert!(space.anchor().subject().contains("TSL-CA2"));
    let back = space.step_back(ti.now()).unwrap();
    assert_eq!(*back.anchor(), ti.anchor());
    assert!(back.announced().is_some());
    let (space, _) = ti.adopt(&back, &ti.publisher.publish().unwrap()).unwrap();
    assert!(space.anchor().subject().contains("TSL-CA2"));
}

/// A list that nobody has worked with does not push the one out that has proven itself.
#[test]
fn the_list_that_has_proven_itself_stays() {
    let ti = Ti::new();
    let proven = ti.device().prove_list();
    assert!(proven.is_list_proven());
    let next = |space: &Space| {
        ti.pass(1);
        ti.adopt(space, &ti.publisher.publish().unwrap()).unwrap().0
    };
    let third = next(&next(&proven));
    assert!(!third.is_list_proven());
    assert_eq!(third.list().unwrap().sequence, 10_003);
    let back = third.step_back(ti.now()).unwrap();
    assert_eq!(back.list_hash(), proven.list_hash());
    // and when the third has, it goes
    let fourth = next(&third.prove_list());
    let back = fourth.step_back(ti.now()).unwrap();
    assert_eq!(back.list_hash(), third.list_hash());
}

/// A generation that cannot be read any more, as after an update of the software, is neither what is in use nor what is
/// kept.
#[test]
fn an_unreadable_generation_gives_way() {
    let ti = Ti::new();
    let old = ti.device();
    ti.pass(1);
    let (new, _) = ti.adopt(&old, &ti.publisher.publish().unwrap()).unwrap();
    let mut stored = serde_json::to_value(new.record()).unwrap();
    stored["lists"][0]["xml"] = "<unreadable/>".into();
    let (space, notes) = Space::open(serde_json::from_value(stored).unwrap(), ti.origin(), GRACE);
    assert!(matches!(notes.as_slice(), [Note::Unreadable { .. }]), "{notes:?}");
    assert_eq!(space.list_hash(), old.list_hash());
    assert!(space.step_back(ti.now()).is_none());
    let (again, _) = ti.adopt(&space, &ti.list()).unwrap();
    assert_eq!(again.list().unwrap().sequence, new.list().unwrap().sequence);
    let back = again.step_back(ti.now()).unwrap();
    assert_eq!(back.list_hash(), old.list_hash());
}

/// From a trust space under an RSA anchor to one under elliptic curves, and nothing but the right cross certificate
/// opens the way.
#[test]
fn a_cross_certificate_changes_the_trust_space() {
    use crypto::{Key, RsaPrivate, SoftKey};
    use pki::issue::{Authority, Name, Request, profile};
    let ti = Ti::new();
    let key = SoftKey::Rsa(RsaPrivate::generate(2048).unwrap());
    let name = Name::new("Langlauf TEST-ONLY", "TSL-CA1 RSA");
    let (from, to) = (ti.now(), ti.in_days(8 * 365));
    let rsa = Authority::root(name, key, "http://ocsp", from, to).unwrap();
    let signer_key = SoftKey::Rsa(RsaPrivate::generate(2048).unwrap());
    let request = Request {
        profile: &profile::TSL_SIGNER,
        subject: Name::new("Langlauf TEST-ONLY", "TSL Signing Unit RSA"),
        key: signer_key.public(),
        admission: None,
        dns: &[],
        addresses: &[],
        from,
        to,
    };
    let signer = rsa.issue(&request).unwrap();
    let edition = pki::tsl::Edition {
        sequence: 400,
        issued: ti.now(),
        next_update: ti.in_days(30),
    };
    let contents = ti.pki.list_contents("http://ti", "https://ti");
    let old_list = pki::tsl::write(&contents, &edition, &signer, &signer_key).unwrap();
    let old_anchor = X509::parse(&rsa.certificate).unwrap();
    let (space, _) = Space::open(Record::default(), only(old_anchor), GRACE);
    let space = space
        .offer_list(&old_list, How::Automatic, ti.now())
        .unwrap()
        .space;

    let anchor = ti.anchor();
    let cross = rsa
        .cross(&ti.pki.tsl.ca.name, &ti.pki.tsl.ca.key().public(), from, to)
        .unwrap();
    let cross = X509::parse(&cross).unwrap();
    let new_list = ti.list();
    assert!(space.offer_list(&new_list, How::ByHand, ti.now()).is_err());
    // a cross certificate for another key, one by somebody else, a list of somebody else
    let other = ti.signer(5);
    let wrong_key = rsa
        .cross(&ti.pki.tsl.ca.name, &other.key.public(), from, to)
        .unwrap();
    let wrong_key = X509::parse(&wrong_key).unwrap();
    assert!(
        space
            .offer_cross(&wrong_key, &anchor, &new_list, ti.now())
            .is_err()
    );
    let by_other = other
        .ca
        .cross(&ti.pki.tsl.ca.name, &ti.pki.tsl.ca.key().public(), from, to)
        .unwrap();
    let by_other = X509::parse(&by_other).unwrap();
    assert!(
        space
            .offer_cross(&by_other, &anchor, &new_list, ti.now())
            .is_err()
    );
    assert!(space.offer_cross(&cross, &anchor, &old_list, ti.now()).is_err());

    let moved = space
        .offer_cross(&cross, &anchor, &new_list, ti.now())
        .unwrap()
        .space;
    assert_eq!(moved.anchor(), &anchor);
    assert_eq!(moved.list().unwrap().sequence, 10_001);
    let (again, notes) = Space::open(
        moved.record().clone(),
        only(X509::parse(&rsa.certificate).unwrap()),
        GRACE,
    );
    assert_eq!((notes.len(), again.anchor()), (0, &anchor));
}

#[test]
fn a_ca_that_was_revoked() {
    let ti = Ti::new();
    let before = egk(&ti);
    let space = ti.device();
    ti.pass(10);
    let moment = ti.now();
    ti.publisher.change(|contents| {
        let ca = ti.pki.egk_ca.certificate.clone();
        contents.cas.retain(|(der, _)| *der != ca);
        contents.revoked.push((ca, moment));
    });
    let (space, _) = ti.adopt(&space, &ti.publisher.publish().unwrap()).unwrap();
    let trust = Trust::new(
        space.list().unwrap().clone(),
        GRACE,
        Arc::new(Responders::default()),
    );
    let check = |certificate: &X509| trust.check_offline(certificate, &Purpose::EGK_OFFLINE, ti.now());
    assert!(check(&before).is_ok(), "issued before the revocation");
    let late = {
        use crypto::{Curve, EcPrivate, PublicKey};
        use pki::issue::{Name, Request, profile};
        let key = PublicKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap().public());
        let request = Request {
            profile: &profile::EGK_AUT,
            subject: Name::new("Kasse", "Spät"),
            key,
            admission: None,
            dns: &[],
            addresses: &[],
            from: ti.now(),
            to: ti.in_days(365),
        };
        X509::parse(&ti.pki.egk_ca.issue(&request).unwrap()).unwrap()
    };
    assert_eq!(check(&late), Err(CheckError::IssuerRevoked(moment)));
}

#[test]
fn the_revocation_list() {
    let ti = Ti::new();
    let space = ti.device();
    let concentrator = {
        use crypto::{Curve, EcPrivate, PublicKey};
        use pki::issue::{Name, Request, profile};
        let key = PublicKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap().public());
        let request = Request {
            profile: &profile::VPNK_VPN,
            subject: Name::new("VPN", "konzentrator"),
            key,
            admission: None,
            dns: &[],
            addresses: &[],
            from: ti.now(),
            to: ti.in_days(365),
        };
        X509::parse(&ti.pki.vpn_ca.issue(&request).unwrap()).unwrap()
    };
    let first = ti.publisher.file("/internet/VPN.crl").unwrap();
    let space = space.offer_crl(&first, ti.now()).unwrap();
    assert_eq!(space.crl().unwrap().revoked(&concentrator), None);
    ti.pass(1);
    ti.publisher.revoke(concentrator.clone());
    let moment = ti.now();
    ti.publisher.publish_crl().unwrap();
    let second = ti.publisher.file("/internet/VPN.crl").unwrap();
    let space = space.offer_crl(&second, ti.now()).unwrap();
    assert_eq!(space.crl().unwrap().revoked(&concentrator), Some(moment));
    // its serial number under another issuer is another certificate
    let namesake = X509::parse(&ti.pki.tsl.certificate).unwrap();
    assert_eq!(space.crl().unwrap().revoked(&namesake), None);
    assert_eq!(
        space.offer_crl(&first, ti.now()).unwrap_err().code().number(),
        1043
    );
    let mut changed = second.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert_eq!(
        space.offer_crl(&changed, ti.now()).unwrap_err().code().number(),
        1057
    );
    ti.pass(7);
    assert_eq!(
        space.offer_crl(&second, ti.now()).unwrap_err().code().number(),
        1054
    );
    // openssl reads it as we do
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crl");
    std::fs::write(&path, &second).unwrap();
    let output = std::process::Command::new("openssl")
        .args(["crl", "-inform", "DER", "-noout", "-text", "-in"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("Certificate Issuer"),
        "{text}"
    );
    let serial: String = hex::encode_upper(concentrator.serial());
    assert!(text.contains(&serial), "{text}");
}

#[test]
fn qualified_certificates() {
    let ti = Ti::new();
    let certificate = {
        use crypto::{Curve, EcPrivate, PublicKey};
        use pki::issue::{Name, Request, profile};
        let key = PublicKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap().public());
        move |ti: &Ti| {
            let request = Request {
                profile: &profile::HBA_QES,
                subject: Name::new("Ärztekammer", "Dr. Spur"),
                key: key.clone(),
                admission: None,
                dns: &[],
                addresses: &[],
                from: ti.now(),
                to: ti.in_days(365),
            };
            X509::parse(&ti.pki.qes_ca.issue(&request).unwrap()).unwrap()
        }
    };
    let trust = |space: &Space| {
        Trust::new(
            space.list().unwrap().clone(),
            GRACE,
            Arc::new(Responders::default()),
        )
        .with_vl(space.vl().cloned())
    };
    let space = ti.device();
    let early = certificate(&ti);
    let check = |space: &Space, certificate: &X509| {
        trust(space)
            .check_qualified_offline(certificate, ti.now(), ti.now())
            .map(|verdict| verdict.list)
            .map_err(|error| error.code().number())
    };
    assert_eq!(check(&space, &early), Err(1060), "no trusted list yet");
    let vl = |ti: &Ti| String::from_utf8(ti.publisher.file("/VL.xml").unwrap()).unwrap();
    let space = space.offer_vl(&vl(&ti), How::Automatic, ti.now()).unwrap();
    assert!(check(&space, &early).is_ok());
    // not claimed to be qualified; of a CA that is in the trust list only
    let other = egk(&ti);
    assert_eq!(check(&space, &other), Err(1048));
    ti.pass(30);
    ti.publisher.withdraw_qualification();
    ti.pass(1);
    ti.publisher.publish_vl().unwrap();
    let (space, _) = ti.adopt(&space, &ti.publisher.publish().unwrap()).unwrap();
    let space = space.offer_vl(&vl(&ti), How::Automatic, ti.now()).unwrap();
    assert!(check(&space, &early).is_ok(), "issued while the CA was qualified");
    let late = certificate(&ti);
    assert_eq!(check(&space, &late), Err(1062));
    // a list with a changed letter, and one that is over
    let changed = vl(&ti).replace("withdrawn", "granted");
    assert_eq!(
        space
            .offer_vl(&changed, How::Automatic, ti.now())
            .unwrap_err()
            .code()
            .number(),
        1013
    );
    ti.pass(200);
    assert_eq!(
        space
            .offer_vl(&vl(&ti), How::Automatic, ti.now())
            .unwrap_err()
            .code()
            .number(),
        1060
    );
    assert_eq!(check(&space, &early), Err(1060));
}

/// Bombs of every kind: refused, in bounded memory, before anything of them is believed.
#[test]
fn bombs() {
    let anchor = Ti::new().anchor();
    let now = "2026-01-02T00:00:00Z".parse().unwrap();
    let refuse = |xml: String| {
        let before = peak();
        assert!(Tsl::verify(&xml, &[&anchor], now).is_err());
        assert!(Tsl::read(&xml).is_err());
        let grown = peak().saturating_sub(before);
        assert!(grown < 1_000_000, "{grown} KiB for {} bytes", xml.len());
    };
    let root = "<TrustServiceStatusList xmlns=\"http://uri.etsi.org/02231/v2#\">";
    refuse(format!(
        "{root}{}{}</TrustServiceStatusList>",
        "<a>".repeat(100_000),
        "</a>".repeat(100_000)
    ));
    refuse(format!(
        "{root}{}</TrustServiceStatusList>",
        "<a/>".repeat(1_000_000)
    ));
    refuse(format!(
        "<!DOCTYPE x [<!ENTITY a \"{}\"><!ENTITY b \"{}\">]>{root}&b;</TrustServiceStatusList>",
        "x".repeat(1000),
        "&a;".repeat(1000)
    ));
    refuse(format!(
        "{root}{}</TrustServiceStatusList>",
        "x".repeat(100_000_000)
    ));
    refuse(format!(
        "{root}{}",
        (0..60_000)
            .map(|n| format!("<a xmlns:n{n}=\"u{n}\">"))
            .collect::<String>()
    ));
    refuse(format!(
        "{root}<a {}/></TrustServiceStatusList>",
        (0..200_000).map(|n| format!("b{n}=\"\" ")).collect::<String>()
    ));
}

/// Peak memory of this process in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A thousand days of a device's life, day by day, from many seeds: lists every fortnight, four changes of the trust
/// anchor (each announced four weeks before, one on the last day of the old anchor, two within one grace period),
/// mistakes in single lists, and the download out of order for twenty days at any time. There is no day on which a card
/// cannot be read, and at the end the device has the newest anchor.
#[test]
fn a_thousand_days() {
    const CHANGES: [i32; 4] = [150, 170, 500, 900];
    let seeds = std::env::var("TRUST_SEEDS").map_or(4, |text| text.parse().unwrap());
    for seed in 0_u64..seeds {
        // a small generator: the same seed is the same life
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let ti = Ti::new();
        let card = egk(&ti);
        let mut space = ti.device();
        let outages: Vec<i32> = (0..6).map(|_| random(980) as i32).collect();
        // the anchor that begins on day 150 ends on day 170, and so on: each change is on the last allowed day
        let anchors: Vec<_> = CHANGES
            .iter()
            .enumerate()
            .map(|(position, day)| {
                let end = CHANGES.get(position + 1).copied().unwrap_or(2000);
                (*day, ti.in_days(*day as u32), ti.in_days(end as u32))
            })
            .collect();
        let mut anchors = anchors.into_iter();
        let mut next = anchors.next();
        let mut announced = false;
        let mut number = 1;
        for day in 1..=1000 {
            ti.pass(1);
            if let Some((begin, from, to)) = next {
                let lead = if begin == 170 { 20 } else { 28 };
                if !announced && day >= begin - lead {
                    number += 1;
                    let made = ti.now();
                    ti.publisher
                        .announce(ti.pki.list_signer(number, made, to).unwrap(), from);
                    announced = true;
                }
                if day == begin {
                    ti.publisher.switch();
                    announced = false;
                    next = anchors.next();
                    if let Some((170, from, to)) = next {
                        // one list names one anchor only: the next is announced when this one has begun
                        number += 1;
                        ti.publisher
                            .announce(ti.pki.list_signer(number, ti.now(), to).unwrap(), from);
                        announced = true;
                    }
                }
            }
            let urgent = CHANGES.contains(&day);
            if day % 14 == 0 || urgent {
                match random(8) {
                    0 => ti.publisher.publish_with(|contents| contents.responders.clear()),
                    1 => ti.publisher.publish_with(|contents| {
                        let twice = contents.announced.clone();
                        contents.announced.extend(twice);
                        contents.raw = "<TSPService/>".into();
                    }),
                    _ => ti.publisher.publish(),
                }
                .unwrap();
            }
            // a list that was refused is followed by a good one within two days
            if day % 14 == 2 {
                ti.publisher.publish().unwrap();
            }
            let broken = outages.iter().any(|begin| (*begin..begin + 20).contains(&day));
            let known = hex::encode(crypto::sha256([ti.list()]));
            if !broken && space.list_hash() != Some(known.as_str()) {
                match ti.adopt(&space, &ti.list()) {
                    Ok((adopted, _)) => space = adopted,
                    Err(TslError::Hollow(_)) => {}
                    Err(error) => panic!("seed {seed}, day {day}, outages {outages:?}: {error}"),
                }
            }
            assert!(
                reads_cards(&ti, &space, &card),
                "seed {seed}, day {day}, outages {outages:?}"
            );
        }
        assert!(space.anchor().subject().contains("TSL-CA5"), "seed {seed}");
    }
}
