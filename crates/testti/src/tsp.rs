//! The TSP that certified the gSMC-K, and its download point: new certificates for old keys, as packages by the card's number
//! (gemSpec_X.509_TSP, A_21765 to A_21770); also the packages nobody should ever get.

use crate::{Error, TestPki};
use asn1::{Admission, Cvc, CvcDate, X509, oid};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use base::Timestamp;
use crypto::{Curve, EcPrivate, EcPublic, PublicKey, SoftKey};
use identity::{Algorithm, Kind, Package, Role};
use pki::CvcAuthority;
use pki::issue::{Authority, Name, Request, profile};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Folder of the download point.
pub const FOLDER: &str = "/gsmck_neu/";

/// What is wrong with packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageFault {
    /// There is none.
    NotFound,
    /// The server is out of order.
    ServerError,
    /// It ends in the middle.
    Truncated,
    /// It is no archive.
    Garbage,
    /// It is of another card.
    OtherCard,
    /// Its certificates belong to other keys.
    OtherKeys,
    /// It is the one before.
    Older,
    /// C.SAK.AUT is missing.
    Half,
    /// C.AK.AUT has the type of another certificate.
    WrongType,
    /// C.NK.VPN has the serial number of the one before.
    OldSerial,
    /// The CV certificates are missing.
    NoCvc,
    /// The CV certificates are those before.
    OldCvc,
    /// A CA that no trust list knows has issued it.
    StrangeCa,
}

impl PackageFault {
    /// All of them.
    pub const ALL: [PackageFault; 13] = [
        PackageFault::NotFound,
        PackageFault::ServerError,
        PackageFault::Truncated,
        PackageFault::Garbage,
        PackageFault::OtherCard,
        PackageFault::OtherKeys,
        PackageFault::Older,
        PackageFault::Half,
        PackageFault::WrongType,
        PackageFault::OldSerial,
        PackageFault::NoCvc,
        PackageFault::OldCvc,
        PackageFault::StrangeCa,
    ];
}

/// Who certifies a generation.
#[derive(Debug, Clone)]
pub struct Issuers {
    /// For keys on brainpoolP256r1 and RSA.
    pub brainpool: Authority,
    /// For keys on P-256.
    pub nist: Authority,
    /// For CV certificates.
    pub cvc: CvcAuthority,
}

struct Device {
    /// All packages, the first with what lies on the card.
    packages: Vec<Package>,
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

#[derive(Default)]
struct Register {
    devices: BTreeMap<String, Device>,
    fault: Option<PackageFault>,
    asked: u64,
}

/// The TSP with its download point. Cheap to share.
#[derive(Clone, Default)]
pub struct Tsp {
    shared: Arc<Mutex<Register>>,
}

/// What one certificate of a gSMC-K is made from.
pub struct Certify<'c> {
    /// Which one; the kind of key decides about the CA.
    pub kind: Kind,
    /// Its type; that of `kind`, unless it is to be wrong.
    pub role: Role,
    /// Common name.
    pub name: &'c str,
    /// The key on the card.
    pub key: PublicKey,
    /// Names of C.AK.AUT.
    pub dns: &'c [&'c str],
    /// Addresses of C.AK.AUT.
    pub addresses: &'c [IpAddr],
    /// First and last moment.
    pub validity: (Timestamp, Timestamp),
}

impl Certify<'_> {
    /// The certificate, DER.
    pub fn certificate(self, issuers: &Issuers) -> Result<Vec<u8>, Error> {
        let ca = match self.kind.algorithm {
            Algorithm::Nist => &issuers.nist,
            Algorithm::Brainpool | Algorithm::Rsa => &issuers.brainpool,
        };
        let (profile, role) = match self.role {
            Role::NkVpn => (&profile::NK_VPN, oid::ROLE_NK),
            Role::AkAut => (&profile::AK_AUT, oid::ROLE_AK),
            Role::SakAut => (&profile::SAK_AUT, oid::ROLE_SAK),
        };
        Ok(ca.issue(&Request {
            profile,
            subject: Name::new("Langlauf TEST-ONLY NOT-VALID", self.name),
            key: self.key,
            admission: Some(Admission {
                items: vec!["TEST-ONLY".into()],
                oids: vec![role],
                registration: None,
            }),
            dns: self.dns,
            addresses: self.addresses,
            from: self.validity.0,
            to: self.validity.1,
        })?)
    }
}

impl Tsp {
    fn register(&self) -> MutexGuard<'_, Register> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what was issued for a card when it was made; names and addresses are those of C.AK.AUT.
    pub fn add(&self, iccsn: &str, card: Package, dns: &[&str], addresses: &[IpAddr]) {
        let device = Device {
            packages: vec![card],
            dns: dns.iter().map(|&name| name.to_owned()).collect(),
            addresses: addresses.to_vec(),
        };
        self.register().devices.insert(iccsn.to_owned(), device);
    }

    /// Issues the next package for a card and publishes it; with elliptic keys on the card RSA is left out (A_28504).
    pub fn reissue(
        &self,
        iccsn: &str,
        issuers: &Issuers,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Package, Error> {
        let mut register = self.register();
        let device = register
            .devices
            .get_mut(iccsn)
            .ok_or_else(|| Error::Stored(format!("no gSMC-K {iccsn}")))?;
        let card = device.packages.first().cloned().unwrap_or_default();
        let package = make(&card, device, issuers, (from, to), |_, key| Ok(key))?;
        device.packages.push(package.clone());
        Ok(package)
    }

    /// The package that is published for a card.
    pub fn published(&self, iccsn: &str) -> Option<Package> {
        let register = self.register();
        let device = register.devices.get(iccsn)?;
        device.packages.get(1..)?.last().cloned()
    }

    /// Gives packages a fault, or takes it away.
    pub fn set_fault(&self, fault: Option<PackageFault>) {
        self.register().fault = fault;
    }

    /// How often somebody asked for a package.
    pub fn asked(&self) -> u64 {
        self.register().asked
    }

    /// The download point.
    pub fn router(&self, pki: TestPki) -> Router {
        let package = async |State((tsp, pki)): State<(Tsp, TestPki)>, Path(name): Path<String>| {
            tsp.register().asked += 1;
            let iccsn = name.strip_suffix(".zip").unwrap_or_default();
            match tsp.download(iccsn, &pki) {
                Ok(bytes) => ([(header::CONTENT_TYPE, "application/zip")], bytes).into_response(),
                Err(status) => StatusCode::from_u16(status)
                    .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
                    .into_response(),
            }
        };
        Router::new()
            .route(&format!("{FOLDER}{{file}}"), get(package))
            .with_state((self.clone(), pki))
    }

    /// The package as it comes over the network, with the fault that is set.
    pub fn download(&self, iccsn: &str, pki: &TestPki) -> Result<Vec<u8>, u16> {
        let register = self.register();
        let device = register.devices.get(iccsn).ok_or(404u16)?;
        let package = device.packages.get(1..).and_then(<[_]>::last).ok_or(404u16)?;
        let write = |package: &Package, name: &str| package.write(name).map_err(|_| 500);
        match register.fault {
            None => write(package, iccsn),
            Some(PackageFault::NotFound) => Err(404),
            Some(PackageFault::ServerError) => Err(500),
            Some(PackageFault::Garbage) => Ok(b"<html>502 Bad Gateway</html>".to_vec()),
            Some(PackageFault::Truncated) => {
                let mut bytes = write(package, iccsn)?;
                bytes.truncate(bytes.len() / 2);
                Ok(bytes)
            }
            Some(PackageFault::OtherCard) => write(package, "80276009999999999999"),
            Some(fault) => {
                let spoiled = spoil(device, package, fault, pki).map_err(|_| 500u16)?;
                write(&spoiled, iccsn)
            }
        }
    }
}

/// New certificates over the keys of `card`; `change` may put other keys in their place.
fn make(
    card: &Package,
    device: &Device,
    issuers: &Issuers,
    validity: (Timestamp, Timestamp),
    change: impl Fn(Kind, PublicKey) -> Result<PublicKey, Error>,
) -> Result<Package, Error> {
    let mut package = Package::default();
    let needed = identity::required(card.certificates.keys().copied());
    for kind in needed {
        let Some(der) = card.certificates.get(&kind) else {
            continue;
        };
        let old = X509::parse(der)?;
        let dns: Vec<&str> = device.dns.iter().map(String::as_str).collect();
        let client = kind.role == Role::AkAut;
        let certify = Certify {
            kind,
            role: kind.role,
            name: &old.common_name().unwrap_or_default(),
            key: change(kind, PublicKey::from_spki(&old.spki()?)?)?,
            dns: if client { &dns } else { &[] },
            addresses: if client { &device.addresses } else { &[] },
            validity,
        };
        package.certificates.insert(kind, certify.certificate(issuers)?);
    }
    if let Some((own, _)) = &card.cvc {
        let old = Cvc::parse(own)?;
        let key = EcPublic::from_point(Curve::BrainpoolP256r1, &old.point)?;
        let date = |moment: Timestamp| -> Result<CvcDate, Error> { crate::pki_tree::cvc_date(moment) };
        let (from, to) = (date(validity.0)?, date(validity.1)?);
        let renewed = issuers.cvc.issue(&old.chr, &key, old.chat, from, to)?;
        package.cvc = Some((renewed, issuers.cvc.certificate.clone()));
    }
    Ok(package)
}

fn spoil(device: &Device, package: &Package, fault: PackageFault, pki: &TestPki) -> Result<Package, Error> {
    let card = device.packages.first().cloned().unwrap_or_default();
    let mut spoiled = package.clone();
    let validity = || -> Result<_, Error> {
        let der = package.certificates.values().next();
        let (from, to) = X509::parse(der.map_or(&[][..], Vec::as_slice))?.validity();
        let moment = |second| Timestamp::from_second(second).map_err(|error| Error::Date(error.to_string()));
        Ok((moment(from)?, moment(to)?))
    };
    let issuers = Issuers {
        brainpool: pki.component_ca.clone(),
        nist: pki.component_ca_nist.clone(),
        cvc: pki.cvc_device.clone(),
    };
    match fault {
        PackageFault::Older => {
            let before = device.packages.len().checked_sub(2);
            spoiled = before
                .and_then(|number| device.packages.get(number).cloned())
                .unwrap_or_default();
        }
        PackageFault::Half => spoiled.certificates.retain(|kind, _| kind.role != Role::SakAut),
        PackageFault::NoCvc => spoiled.cvc = None,
        PackageFault::OldCvc => spoiled.cvc.clone_from(&card.cvc),
        PackageFault::OtherKeys => {
            let other = |kind: Kind, _| {
                let curve = match kind.algorithm {
                    Algorithm::Nist => Curve::NistP256,
                    _ => Curve::BrainpoolP256r1,
                };
                Ok(PublicKey::Ec(EcPrivate::generate(curve)?.public()))
            };
            let other = make(&card, device, &issuers, validity()?, other)?;
            spoiled.certificates = other.certificates;
        }
        PackageFault::StrangeCa => {
            let key = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1)?);
            let (from, to) = validity()?;
            let strange = Authority::root(Name::new("Somebody", "CA"), key, "", from, to)?;
            let issuers = Issuers {
                brainpool: strange.clone(),
                nist: strange,
                ..issuers
            };
            let other = make(&card, device, &issuers, (from, to), |_, key| Ok(key))?;
            spoiled.certificates = other.certificates;
        }
        PackageFault::WrongType => {
            let of = |role| {
                let found = package.certificates.iter();
                found.filter(move |(kind, _)| kind.role == role)
            };
            for (kind, der) in of(Role::AkAut) {
                let old = X509::parse(der)?;
                let certify = Certify {
                    kind: *kind,
                    role: Role::SakAut,
                    name: &old.common_name().unwrap_or_default(),
                    key: PublicKey::from_spki(&old.spki()?)?,
                    dns: &[],
                    addresses: &[],
                    validity: validity()?,
                };
                spoiled.certificates.insert(*kind, certify.certificate(&issuers)?);
            }
        }
        PackageFault::OldSerial => {
            for (kind, der) in &mut spoiled.certificates {
                let (Some(old), true) = (card.certificates.get(kind), kind.role == Role::NkVpn) else {
                    continue;
                };
                let (old, new) = (X509::parse(old)?, X509::parse(der)?);
                let at = der
                    .windows(new.serial().len())
                    .position(|window| window == new.serial());
                if let Some(place) = at.and_then(|at| der.get_mut(at..at + old.serial().len())) {
                    place.copy_from_slice(old.serial());
                }
            }
        }
        PackageFault::NotFound
        | PackageFault::ServerError
        | PackageFault::Truncated
        | PackageFault::Garbage
        | PackageFault::OtherCard => {}
    }
    Ok(spoiled)
}
