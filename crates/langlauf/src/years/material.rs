//! What all lives share: CAs of every era, keys, trust as of each era.

use super::Card;
use anyhow::{Context, Result};
use asn1::X509;
use base::Timestamp;
use crypto::{Curve, EcPrivate, Key, RsaPrivate, SoftKey};
use identity::{Algorithm, DAY, Kind, Package, Role};
use pki::issue::{Name, Profile, Request, profile};
use pki::tsl::{CaService, ServiceStatus, Tsl};
use pki::{Responders, Trust};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use testti::tsp::Issuers;
use testti::{SavedKeys, TestPki};

/// Days between two generations of CAs.
const ERA: i64 = 1_000;

/// CAs of one era.
pub struct Era {
    /// Day on which they come into the trust list.
    pub begin: i64,
    /// The CAs.
    pub issuers: Issuers,
    /// Trust in them and in all before that have not ended.
    pub trust: Trust,
    /// Their names, for the lists in terminals.
    pub names: Vec<String>,
}

/// CAs, keys and trust. Making it takes a second, for an RSA key.
pub struct Material {
    /// The first day, as Unix seconds.
    pub start: i64,
    /// Eras in order.
    pub eras: Vec<Era>,
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
                trust: trust(&pki, cas, day(begin)?, day(begin + 20 * 365)?)?,
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
        Ok(Self {
            start: start.as_second(),
            eras,
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

    /// What lies on a new card; it ends after so many days.
    pub fn card(&self, card: Card, iccsn: &str, days: i64) -> Result<Package> {
        let era = self.era(0)?;
        let wanted = |kind: &Kind| match card {
            Card::Rsa => kind.algorithm == Algorithm::Rsa,
            Card::Dual => true,
            Card::Ecc => kind.algorithm != Algorithm::Rsa,
        };
        let mut package = Package::default();
        for (kind, key) in self.keys.iter().filter(|(kind, _)| wanted(kind)) {
            let (profile, role) = match kind.role {
                Role::NkVpn => (&profile::NK_VPN, asn1::oid::ROLE_NK),
                Role::AkAut => (&profile::AK_AUT, asn1::oid::ROLE_AK),
                Role::SakAut => (&profile::SAK_AUT, asn1::oid::ROLE_SAK),
            };
            let ca = match kind.algorithm {
                Algorithm::Nist => &era.issuers.nist,
                _ => &era.issuers.brainpool,
            };
            let certificate = ca.issue(&Request {
                profile,
                subject: Name::new("Langlauf TEST-ONLY NOT-VALID", &format!("{iccsn}-20260101")),
                key: key.public(),
                admission: Some(asn1::Admission {
                    items: vec!["TEST-ONLY".into()],
                    oids: vec![role],
                    registration: None,
                }),
                dns: &[],
                addresses: &[],
                from: self.at(-10 * DAY)?,
                to: self.at(days * DAY)?,
            })?;
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

/// Trust in these CAs; it lasts, for its own calendar is simulated elsewhere (`a_thousand_days`).
fn trust(pki: &TestPki, cas: Vec<X509>, from: Timestamp, to: Timestamp) -> Result<Trust> {
    let contents = pki.list_contents("http://127.0.0.1", "https://127.0.0.1");
    let types = contents.cas.first().map(|(_, types)| types.clone());
    let services = cas.into_iter().map(|certificate| CaService {
        certificate,
        status: ServiceStatus::InAccord,
        history: Vec::new(),
        types: types.clone().unwrap_or_default(),
        ocsp: None,
    });
    let cvcs = contents.cvcs.iter().map(|bytes| asn1::Cvc::parse(bytes));
    let list = Tsl {
        id: "years".into(),
        sequence: 1,
        issued: from,
        next_update: to,
        addresses: Vec::new(),
        cas: services.collect(),
        responders: Vec::new(),
        crl_signers: Vec::new(),
        cvcs: cvcs.collect::<Result<_, _>>()?,
        announcements: Vec::new(),
        dnssec: Vec::new(),
        vl: None,
        skipped: Vec::new(),
    };
    let responders = Arc::new(Responders::new(pki::Settings::default()));
    let grace = Duration::from_secs(30 * 86_400);
    Ok(Trust::new(Arc::new(list), grace, responders))
}
