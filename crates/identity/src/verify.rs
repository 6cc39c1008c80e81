//! Is a package good, and better than what we have? (TUC_KON_410, steps a to e, and what they leave out.)

use crate::{Book, Error, Generation, HeldCvc, Kind, Package, Source, required};
use asn1::{Cvc, X509};
use base::Timestamp;
use crypto::{Key, PublicKey, SignatureScheme};
use pki::Trust;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The gSMC-K: its number and its keys.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its number.
    pub iccsn: String,
    /// Its private keys; they never leave it.
    pub keys: BTreeMap<Kind, Arc<dyn Key>>,
}

impl Device {
    /// Does the key on the card belong to this certificate? It signs a number that nobody knew before.
    pub fn proves(&self, kind: Kind, der: &[u8]) -> bool {
        X509::parse(der).is_ok_and(|certificate| prove(kind, &certificate, self).is_ok())
    }
}

/// What is wrong, or worth knowing, with one certificate. The names of the first five are those of the events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// It is of another card.
    #[error("it is of another gSMC-K")]
    Iccsn,
    /// It does not last longer than what is there.
    #[error("it does not end later than the present one")]
    Date,
    /// It does not belong to the key on the card.
    #[error("it does not belong to the key on the card")]
    Crypt,
    /// Its serial number is known, with another content.
    #[error("another certificate has this serial number")]
    Serial,
    /// It was revoked.
    #[error("its status: {0}")]
    Ocsp(String),
    /// The trust space does not believe it, or not for this purpose.
    #[error("not believed: {0}")]
    Chain(String),
    /// It is not in the package.
    #[error("missing in the package")]
    Missing,
    /// The CV certificates.
    #[error("CV certificate: {0}")]
    Cvc(String),
}

impl Finding {
    /// `Fail` in SMC_K/UPDATE/ERROR (TUC_KON_410).
    pub fn fail(&self) -> &'static str {
        match self {
            Finding::Iccsn => "Iccsn",
            Finding::Date => "Date",
            Finding::Crypt => "Crypt",
            Finding::Serial => "Serial",
            Finding::Ocsp(_) => "Ocsp",
            Finding::Chain(_) => "Chain",
            Finding::Missing => "Missing",
            Finding::Cvc(_) => "Cvc",
        }
    }
}

/// A finding with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `C.NK.VPN_ECC`, `C.SAK.AUTD_CVC`.
    pub profile: String,
    /// Serial number of the certificate, hexadecimal.
    pub serial: String,
    /// What.
    pub finding: Finding,
}

/// Judges a package without asking anybody. `Ok(None)` is a package that brings nothing new: no reason for anything. A package
/// is taken as a whole or not at all; what is not required (RSA beside elliptic keys) is left out if it is not good.
pub fn verify(
    package: &Package,
    book: &Book,
    device: &Device,
    trust: &Trust,
    now: Timestamp,
    source: Source,
) -> Result<(Option<Generation>, Vec<Found>), Vec<Found>> {
    let number = u32::try_from(book.generations.len()).unwrap_or(u32::MAX);
    let held = book.generations.first().map(|card| &card.certificates);
    let needed = required(held.into_iter().flat_map(|all| all.keys().copied()));
    let mut taken = Package::default();
    let (mut notes, mut errors) = (Vec::new(), Vec::new());
    let mut news = false;
    for (kind, der) in &package.certificates {
        let serial = X509::parse(der).map(|certificate| hex::encode(certificate.serial()));
        let found = |finding| Found {
            profile: kind.to_string(),
            serial: serial.clone().unwrap_or_default(),
            finding,
        };
        let list = if needed.contains(kind) {
            &mut errors
        } else {
            &mut notes
        };
        match check(*kind, der, book, device, trust, now) {
            Ok(is_new) => {
                news |= is_new;
                taken.certificates.insert(*kind, der.clone());
            }
            Err(finding) => list.push(found(finding)),
        }
    }
    // CV certificates may be renewed on their own
    let fresh = package
        .cvc
        .as_ref()
        .and_then(|(own, ca)| HeldCvc::read(own, ca).ok());
    let on_card = book.generations.first().is_some_and(|card| card.cvc.is_some());
    let known = |cvc: &HeldCvc| {
        let mut all = book.generations.iter().filter_map(|one| one.cvc.as_ref());
        all.any(|other| other.own == cvc.own)
    };
    news |= on_card && fresh.is_some_and(|cvc| Some(cvc.to) > latest_cvc(book) && !known(&cvc));
    // the same package again, day after day, or nothing but an old one: nothing happens
    let old_only = errors.iter().all(|one: &Found| one.finding == Finding::Date);
    if !news && old_only && (errors.is_empty() || taken.certificates.is_empty()) {
        return Ok((None, notes));
    }
    for kind in &needed {
        if !package.certificates.contains_key(kind) {
            errors.push(Found {
                profile: kind.to_string(),
                serial: String::new(),
                finding: Finding::Missing,
            });
        }
    }
    match check_cvc(package, &taken, book, trust, now) {
        Ok(cvc) => taken.cvc = cvc,
        Err(reason) => errors.push(Found {
            profile: "C.SAK.AUTD_CVC".into(),
            serial: String::new(),
            finding: Finding::Cvc(reason),
        }),
    }
    if !errors.is_empty() {
        errors.append(&mut notes);
        return Err(errors);
    }
    match Generation::read(number, &taken, source) {
        Ok(generation) => Ok((Some(generation), notes)),
        Err(error) => Err(vec![Found {
            profile: String::new(),
            serial: String::new(),
            finding: Finding::Chain(error.to_string()),
        }]),
    }
}

/// One certificate; true if it is one we do not have.
fn check(
    kind: Kind,
    der: &[u8],
    book: &Book,
    device: &Device,
    trust: &Trust,
    now: Timestamp,
) -> Result<bool, Finding> {
    let unreadable = |error: &dyn std::fmt::Display| Finding::Chain(error.to_string());
    let certificate = X509::parse(der).map_err(|error| unreadable(&error))?;
    let serial = hex::encode(certificate.serial());
    let all = || {
        let usable = book.generations.iter();
        usable.filter_map(|one| Some((one.number, one.certificates.get(&kind)?)))
    };
    if let Some((number, known)) =
        all().find(|(_, held)| held.serial == serial && held.issuer == certificate.issuer())
    {
        return match known.der == der {
            true if book.quarantine.contains_key(&number) => {
                Err(Finding::Ocsp("it is in quarantine already".into()))
            }
            true => Ok(false),
            false => Err(Finding::Serial),
        };
    }
    // the name carries the number of the card; what follows it says nothing (the old date of issue)
    let name = certificate.common_name().unwrap_or_default();
    if name.split('-').next() != Some(device.iccsn.as_str()) {
        return Err(Finding::Iccsn);
    }
    let usable = book.generations.iter().filter(|one| book.is_good(one.number));
    let latest = usable
        .filter_map(|one| Some(one.certificates.get(&kind)?.to))
        .max();
    if latest.is_some_and(|latest| certificate.validity().1 <= latest) {
        return Err(Finding::Date);
    }
    prove(kind, &certificate, device).map_err(|()| Finding::Crypt)?;
    let mut purpose = kind.role.purpose();
    purpose.status = pki::StatusCheck::None;
    trust
        .check_offline(&certificate, &purpose, now)
        .map_err(|error| unreadable(&error))?;
    Ok(true)
}

/// The key on the card signs a number nobody knew before, and the certificate's key verifies it.
fn prove(kind: Kind, certificate: &X509, device: &Device) -> Result<(), ()> {
    let key = device.keys.get(&kind).ok_or(())?;
    let spki = certificate.spki().map_err(drop)?;
    let public = PublicKey::from_spki(&spki).map_err(drop)?;
    let scheme = match public {
        PublicKey::Ec(_) => SignatureScheme::Ecdsa,
        PublicKey::Rsa(_) => SignatureScheme::RsaPss,
    };
    let nonce: [u8; 32] = crypto::random().map_err(drop)?;
    let signature = key.sign(scheme, &nonce).map_err(drop)?;
    public.verify(scheme, &nonce, &signature).map_err(drop)
}

/// C.SAK.AUTD_CVC and C.CA_SAK.CS.
type CvcPair = (Vec<u8>, Vec<u8>);

/// The latest end of the CV certificates that may be used, Unix seconds.
fn latest_cvc(book: &Book) -> Option<i64> {
    let usable = book.generations.iter().filter(|one| book.is_good(one.number));
    usable.filter_map(|one| Some(one.cvc.as_ref()?.to)).max()
}

/// The CV certificates of a package: of our key, below a root we know. They may be missing only if those we have last longer
/// than the rest of the package.
fn check_cvc(
    package: &Package,
    taken: &Package,
    book: &Book,
    trust: &Trust,
    now: Timestamp,
) -> Result<Option<CvcPair>, String> {
    let Some(card) = book.generations.first().and_then(|card| card.cvc.as_ref()) else {
        return Ok(None);
    };
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let latest = latest_cvc(book);
    let ends = taken
        .certificates
        .values()
        .filter_map(|der| Some(X509::parse(der).ok()?.validity().1))
        .max();
    let Some((own, ca)) = &package.cvc else {
        return match latest >= ends {
            true => Ok(None),
            false => Err("missing in the package".into()),
        };
    };
    let (mine, above) = (Cvc::parse(own), Cvc::parse(ca));
    let (mine, above) = (mine.map_err(|e| text(&e))?, above.map_err(|e| text(&e))?);
    let before = Cvc::parse(&card.own).map_err(|error| text(&error))?;
    if mine.point != before.point || mine.chr != before.chr {
        return Err("it is of another key or card".into());
    }
    if mine.chat.flags != before.chat.flags {
        return Err("it has other rights".into());
    }
    let held = HeldCvc::read(own, ca).map_err(|error: Error| text(&error))?;
    if held.to < now.as_second() {
        return Err("it has ended".into());
    }
    if Some(held.to) <= latest && latest < ends {
        return Err("it does not end later than the present one".into());
    }
    let today = pki::day_of(now).ok_or("date")?;
    trust
        .cvcs()
        .check(&above, &mine, today)
        .map_err(|error| text(&error))?;
    Ok(Some((own.clone(), ca.clone())))
}
