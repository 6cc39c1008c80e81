//! Which certificates a gSMC-K has, and what they are called in a package.

use crate::Error;
use asn1::oid;
use der::asn1::ObjectIdentifier as Oid;
use pki::{Purpose, StatusCheck, Use};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What an identity is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// ID.NK.VPN: the tunnel into the TI.
    NkVpn,
    /// ID.AK.AUT: TLS server towards practice systems.
    AkAut,
    /// ID.SAK.AUT: TLS client towards card terminals.
    SakAut,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::NkVpn, Role::AkAut, Role::SakAut];

    /// As in names of certificates, `C.NK.VPN`.
    pub fn name(self) -> &'static str {
        match self {
            Role::NkVpn => "C.NK.VPN",
            Role::AkAut => "C.AK.AUT",
            Role::SakAut => "C.SAK.AUT",
        }
    }

    /// What a certificate of this role must be good for (TUC_PKI_018 with type and role): the specification asks for less,
    /// and a certificate of the wrong type would be noticed only when it is needed.
    pub fn purpose(self) -> Purpose {
        const NK: Purpose = purpose(&[oid::NK_VPN], &[oid::ROLE_NK]);
        const AK: Purpose = purpose(&[oid::AK_AUT], &[oid::ROLE_AK]);
        const SAK: Purpose = purpose(&[oid::SAK_AUT], &[oid::ROLE_SAK]);
        match self {
            Role::NkVpn => NK,
            Role::AkAut => AK,
            Role::SakAut => SAK,
        }
    }
}

const fn purpose(types: &'static [Oid], roles: &'static [Oid]) -> Purpose {
    Purpose {
        types,
        roles,
        usage: Some(Use::Authenticate),
        extended: None,
        status: StatusCheck::Ocsp,
        stale_list: false,
    }
}

/// The kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSA 2048.
    Rsa,
    /// brainpoolP256r1.
    Brainpool,
    /// P-256, which our device has beside brainpool for clients that know nothing else.
    Nist,
}

/// Which algorithms stand and fall together: those of the tunnel and of registrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// RSA.
    Rsa,
    /// Elliptic curves.
    Ecc,
}

impl Algorithm {
    /// Its family.
    pub fn family(self) -> Family {
        match self {
            Algorithm::Rsa => Family::Rsa,
            Algorithm::Brainpool | Algorithm::Nist => Family::Ecc,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Algorithm::Rsa => "RSA",
            Algorithm::Brainpool => "ECC",
            Algorithm::Nist => "P256",
        }
    }
}

/// A certificate of a gSMC-K: role and kind of key. Written `C.NK.VPN_ECC`, as in the names of files (A_21769).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Kind {
    /// What for.
    pub role: Role,
    /// With which kind of key.
    pub algorithm: Algorithm,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.role.name(), self.algorithm.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let all = Role::ALL.into_iter().flat_map(|role| {
            [Algorithm::Rsa, Algorithm::Brainpool, Algorithm::Nist].map(|algorithm| Kind { role, algorithm })
        });
        all.into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or(Error::Package("a name that is no certificate of a gSMC-K"))
    }
}

impl TryFrom<String> for Kind {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> String {
        kind.to_string()
    }
}

/// Those of `held` that must be extended: with elliptic keys on the card, RSA is history (A_28504).
pub fn required(held: impl IntoIterator<Item = Kind>) -> Vec<Kind> {
    let held: Vec<Kind> = held.into_iter().collect();
    let elliptic = held.iter().any(|kind| kind.algorithm.family() == Family::Ecc);
    let wanted = |kind: &Kind| !elliptic || kind.algorithm.family() == Family::Ecc;
    held.into_iter().filter(wanted).collect()
}
