//! What all lives share: CAs of every era, keys, trust as of each era.

use super::{Card, between};
use anyhow::{Context, Result};
use asn1::X509;
use base::{Timestamp, VirtualClock};
use crypto::{Curve, EcPrivate, Key, RsaPrivate, SoftKey};
use identity::{Algorithm, DAY, Kind, Package, Role};
use pki::issue::{Name, Profile, Request, profile};
use pki::space::Origin;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use testti::tsp::{Certify, Issuers};
use testti::{Publisher, SavedKeys, TestPki};

/// Days between two generations of CAs.
const ERA: i64 = 1_000;
/// Days between two trust lists.
const LIST: i64 = 28;
/// Days between two trust anchors; a multiple of [`LIST`].
const ANCHOR: i64 = 728;

/// CAs of one era.
pub struct Era {
    /// Day on which they come into the trust list.
    pub begin: i64,
    /// The CAs.
    pub issuers: Issuers,
    /// Their names, for the lists in terminals.
    pub names: Vec<String>,
}

/// CAs, keys and trust. Making it takes a second, for an RSA key.
pub struct Material {
    /// The first day, as Unix seconds.
    pub start: i64,
    /// Eras in order.
    pub eras: Vec<Era>,
    /// Trust lists, with the day on which each is published.
    pub lists: Vec<(i64, String)>,
    /// What a device was made with; without roots, so that only an announcement brings it over a change of the anchor.
    pub origin: Arc<Origin>,
    /// The test TI.
    pub pki: TestPki,
    /// Keys of the gSMC-K.
    pub keys: BTreeMap<Kind, Arc<dyn Key>>,
    cvc_key: EcPrivate,
    smb_key: SoftKey,
}

impl Material {
    /// For lives of so many years.
    pub fn make(years: u32) -> Result<Self> {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse()?;
        let pki = TestPki::open(&mut SavedKeys::default(), start, "http://127.0.0.1/ocsp")?;
        let day = |number: i64| Timestamp::from_second(start.as_second() + number * DAY);
        let (mut eras, mut issuers): (Vec<Era>, Vec<(i64, Issuers)>) = (Vec::new(), Vec::new());
        for number in 0..=(i64::from(years) * 365 / ERA + 1) {
            // the first had been there before the card
            let begin = number * ERA - 100;
            let (from, to) = (day(begin - 30)?, day(begin + 8 * 365)?);
            let ca = u32::try_from(20 + number)?;
            issuers.push((
                begin + 8 * 365,
                Issuers {
                    brainpool: pki.component_generation(ca, Curve::BrainpoolP256r1, from, to)?,
                    nist: pki.component_generation(ca + 100, Curve::NistP256, from, to)?,
                    cvc: pki.cvc_generation(u8::try_from(0x30 + number)?, from, to)?,
                },
            ));
            let known = issuers.iter().filter(|(end, _)| *end > begin);
            let cas = known.flat_map(|(_, one)| [&one.brainpool, &one.nist]);
            let cas: Vec<X509> = cas
                .map(|ca| X509::parse(&ca.certificate))
                .collect::<Result<_, _>>()?;
            let (_, newest) = issuers.last().context("no CA")?;
            eras.push(Era {
                begin,
                issuers: newest.clone(),
                names: cas.iter().map(X509::subject).collect(),
            });
        }
        let elliptic = |curve| Ok::<_, crypto::Error>(SoftKey::Ec(EcPrivate::generate(curve)?));
        let mut keys: BTreeMap<Kind, Arc<dyn Key>> = BTreeMap::new();
        let rsa = SoftKey::Rsa(RsaPrivate::generate(2048)?);
        for role in Role::ALL {
            let kind = |algorithm| Kind { role, algorithm };
            keys.insert(kind(Algorithm::Rsa), Arc::new(rsa.clone()));
            keys.insert(
                kind(Algorithm::Brainpool),
                Arc::new(elliptic(Curve::BrainpoolP256r1)?),
            );
            if role == Role::AkAut {
                keys.insert(kind(Algorithm::Nist), Arc::new(elliptic(Curve::NistP256)?));
            }
        }
        let lists = trust_lists(&pki, start, i64::from(years) * 365, &eras)?;
        let origin = Origin {
            anchor: X509::parse(&pki.tsl.ca.certificate)?,
            roots: Vec::new(),
        };
        Ok(Self {
            start: start.as_second(),
            eras,
            lists,
            origin: Arc::new(origin),
            pki,
            keys,
            cvc_key: EcPrivate::generate(Curve::BrainpoolP256r1)?,
            smb_key: elliptic(Curve::BrainpoolP256r1)?,
        })
    }

    /// A moment so many seconds after the first day's begin.
    pub fn at(&self, seconds: i64) -> Result<Timestamp> {
        Ok(Timestamp::from_second(self.start + seconds)?)
    }

    /// The era of a day.
    pub fn era(&self, day: i64) -> Result<&Era> {
        let mut all = self.eras.iter().rev();
        all.find(|era| era.begin <= day).context("before every era")
    }

    /// What lies on a new card; it ends after so many days, some of it earlier.
    pub fn card(&self, card: Card, iccsn: &str, days: i64, seed: u64) -> Result<Package> {
        let era = self.era(0)?;
        let wanted = |kind: &Kind| match card {
            Card::Rsa => kind.algorithm == Algorithm::Rsa,
            Card::Dual => true,
            Card::Ecc => kind.algorithm != Algorithm::Rsa,
        };
        let mut package = Package::default();
        for (kind, key) in self.keys.iter().filter(|(kind, _)| wanted(kind)) {
            // what was made on one day need not end on one day
            let early = between(seed, &kind.to_string(), 0, 0, 45);
            let certify = Certify {
                kind: *kind,
                role: kind.role,
                name: &format!("{iccsn}-20260101"),
                key: key.public(),
                dns: &[],
                addresses: &[],
                validity: (self.at(-10 * DAY)?, self.at((days - early) * DAY)?),
            };
            let certificate = certify.certificate(&era.issuers)?;
            package.certificates.insert(*kind, certificate);
        }
        let holder = hex::decode(format!("000a{iccsn}"))?;
        let chat = asn1::Chat {
            kind: asn1::ListKind::Ti,
            flags: asn1::Flags([0, 0, 0, 0, 0, 0, 1]),
        };
        let date = |seconds: i64| pki::day_of(self.at(seconds)?).context("date");
        let own = era.issuers.cvc.issue(
            &holder,
            &self.cvc_key.public(),
            chat,
            date(-10 * DAY)?,
            date(days * DAY)?,
        )?;
        package.cvc = Some((own, era.issuers.cvc.certificate.clone()));
        Ok(package)
    }

    /// An SMC-B's OSIG certificate from one day to another.
    pub fn smb(&self, from: i64, to: i64) -> Result<X509> {
        let profile: &Profile = &profile::SMC_B_OSIG;
        let certificate = self.pki.smcb_ca.issue(&Request {
            profile,
            subject: Name::new("Praxis", "Praxis Dr. Spur TEST-ONLY"),
            key: self.smb_key.public(),
            admission: None,
            dns: &[],
            addresses: &[],
            from: self.at(from * DAY)?,
            to: self.at(to * DAY)?,
        })?;
        Ok(X509::parse(&certificate)?)
    }
}

/// Trust lists as they are published in these years, with the day of each: every one lasts thirty days, the trust anchor changes
/// every two years and is announced four weeks before, and the CAs of an era are in them from its first day.
fn trust_lists(pki: &TestPki, start: Timestamp, days: i64, eras: &[Era]) -> Result<Vec<(i64, String)>> {
    let clock = VirtualClock::at(start);
    let day = |number: i64| Timestamp::from_second(start.as_second() + number * DAY);
    let publisher = Publisher::new(pki, clock.shared(), "http://127.0.0.1", "https://127.0.0.1")?;
    let (mut lists, mut eras, mut anchors) = (Vec::new(), eras.iter().peekable(), 2);
    for today in (0..days).step_by(usize::try_from(LIST)?) {
        while let Some(era) = eras.next_if(|era| era.begin <= today) {
            publisher.change(|contents| {
                let types = contents.cas.first().map(|(_, types)| types.clone());
                for ca in [&era.issuers.brainpool, &era.issuers.nist] {
                    contents
                        .cas
                        .push((ca.certificate.clone(), types.clone().unwrap_or_default()));
                }
            });
        }
        if today % ANCHOR == ANCHOR - 2 * LIST {
            let begin = day(today + 2 * LIST)?;
            let next = pki.list_signer(anchors, day(today)?, day(today + 2 * ANCHOR)?)?;
            publisher.announce(next, begin);
            anchors += 1;
        }
        if today > 0 && today % ANCHOR == 0 {
            publisher.switch();
        }
        lists.push((today, publisher.publish()?));
        clock.advance(Duration::from_secs(u64::try_from(LIST * DAY)?));
    }
    Ok(lists)
}
