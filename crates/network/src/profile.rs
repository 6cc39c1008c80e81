//! What an environment of the TI uses: suites, lifetimes, addresses. Data and not code, for the environments differ and suites
//! have ended on a day before.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Largest profile that is read, in bytes.
const MAX: usize = 64 * 1024;

/// Proposals, each one transform set in strongSwan's writing, the preferred one first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suites {
    /// For IKE_SAs (A_17125).
    pub ike: Vec<String>,
    /// For CHILD_SAs where the kernel has ESP; with extended sequence numbers (A_17126, A_17118).
    pub esp: Vec<String>,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name of the environment: PU, RU, TU.
    pub name: String,
    /// Suites.
    pub suites: Suites,
    /// Hours after which an IKE_SA is renewed.
    pub ike_hours: u32,
    /// Hours after which a CHILD_SA is renewed.
    pub child_hours: u32,
    /// Seconds between two questions whether the other side lives (IKE_KEEPALIVE_INTERVAL).
    pub keepalive_seconds: u32,
    /// How often it is asked (IKE_KEEPALIVE_RETRY).
    pub keepalive_tries: u32,
    /// Largest packet in the tunnel, without ESP (VPN_TI_MTU, VPN_SIS_MTU).
    pub mtu: u32,
    /// The networks of the environment.
    pub networks: Networks,
}

/// Which environment of the TI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Environment {
    /// Production.
    #[default]
    PU,
    /// Test.
    TU,
}

impl Environment {
    /// What it uses.
    pub fn profile(self) -> Result<Profile, ProfileError> {
        Profile::read(match self {
            Environment::PU => include_str!("../profiles/pu.toml"),
            Environment::TU => include_str!("../profiles/tu.toml"),
        })
    }
}

/// The networks of an environment (Tab_Adrkonzept).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Networks {
    /// NET_TI_ZENTRAL: services of the TI itself; only for the Konnektor.
    pub central: Vec<Network>,
    /// NET_TI_GESICHERTE_FD: services only for the Konnektor.
    pub secured: Vec<Network>,
    /// NET_TI_OFFENE_FD: services that clients may use, too.
    pub open: Vec<Network>,
    /// NET_TI_DEZENTRAL: inner addresses of Konnektors; nobody of the TI calls from there.
    pub decentral: Vec<Network>,
    /// NET_SIS: inner addresses of the secure Internet service.
    pub sis: Vec<Network>,
}

/// Largest packets in a tunnel that may be set (TAB_KON_639, TAB_KON_684).
pub const MTU: std::ops::RangeInclusive<u32> = 576..=8076;

impl Networks {
    /// Those that are reached through the tunnel into the TI.
    pub fn inside(&self) -> impl Iterator<Item = Network> + '_ {
        self.central
            .iter()
            .chain(&self.secured)
            .chain(&self.open)
            .copied()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Network> + '_ {
        self.inside()
            .chain(self.decentral.iter().chain(&self.sis).copied())
    }
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    /// Its first address.
    pub address: Ipv4Addr,
    /// Bits of the prefix.
    pub bits: u8,
}

impl Network {
    fn mask(self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.bits))
            .unwrap_or_default()
    }

    /// Is the address inside?
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.address)
    }

    /// Is it for private use (RFC 1918)?
    pub fn is_private(self) -> bool {
        let least = match self.address.octets() {
            [10, ..] => 8,
            [172, 16..=31, ..] => 12,
            [192, 168, ..] => 16,
            _ => return false,
        };
        self.bits >= least
    }

    /// Have both an address in common?
    pub fn overlaps(self, other: Network) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text}: not a network such as 100.64.0.0/11");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let network = Network {
            address: address.parse().map_err(|_| wrong())?,
            bits: bits.parse().ok().filter(|bits| *bits <= 32).ok_or_else(wrong)?,
        };
        match network.contains(network.address) {
            true => Ok(network),
            false => Err(format!("{text}: bits behind the prefix")),
        }
    }
}

/// Why a profile was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Longer than any profile.
    #[error("longer than {MAX} bytes")]
    TooLong,
    /// Not readable.
    #[error("{0}")]
    Format(#[from] toml::de::Error),
    /// A value that makes no sense.
    #[error("{0}")]
    Value(&'static str),
}

impl Profile {
    /// Reads a profile.
    pub fn read(text: &str) -> Result<Self, ProfileError> {
        if text.len() > MAX {
            return Err(ProfileError::TooLong);
        }
        let profile: Self = toml::from_str(text)?;
        let wrong = |text| Err(ProfileError::Value(text));
        if profile.suites.ike.is_empty() || profile.suites.esp.is_empty() {
            return wrong("a profile needs suites for IKE and ESP");
        }
        let all = profile.suites.ike.iter().chain(&profile.suites.esp);
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !all.flat_map(|suite| suite.chars()).all(allowed) {
            return wrong("a suite has letters, digits and hyphens only");
        }
        if !(1..=161).contains(&profile.ike_hours) || !(1..=23).contains(&profile.child_hours) {
            return wrong("an IKE_SA lives 1 to 161 hours, a CHILD_SA 1 to 23 (GS-A_5548)");
        }
        if profile.keepalive_seconds == 0 || profile.keepalive_tries == 0 {
            return wrong("keep-alive needs an interval and tries");
        }
        if !MTU.contains(&profile.mtu) {
            return wrong("mtu is 576 to 8076 (TAB_KON_639)");
        }
        Ok(profile)
    }

    /// Can this be a host outside, in the practice's network or the Internet? A name server may be the practice's own router.
    pub fn is_outside(&self, host: Ipv4Addr) -> bool {
        let special =
            host.is_unspecified() || host.is_loopback() || host.is_multicast() || host.is_broadcast();
        !special && !self.networks.all().any(|network| network.contains(host))
    }

    /// Does one of the networks of the practice collide with one of the TI (TAB_KON_683, TAB_KON_685)?
    pub fn collision(&self, practice: Network) -> Option<Network> {
        self.networks.all().find(|network| network.overlaps(practice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_are_good_and_apart() {
        let (production, test) = (
            Environment::PU.profile().unwrap(),
            Environment::TU.profile().unwrap(),
        );
        for profile in [&production, &test] {
            assert!(profile.suites.esp.iter().all(|suite| suite.ends_with("-esn")));
        }
        for network in production.networks.all() {
            assert_eq!(test.collision(network), None, "{network}");
        }
        let fritz: Network = "192.168.178.0/24".to_owned().try_into().unwrap();
        assert_eq!(production.collision(fritz), None);
        // carrier-grade NAT, and Docker's favourite
        let nat: Network = "100.64.0.0/10".to_owned().try_into().unwrap();
        assert!(production.collision(nat).is_some());
        let docker: Network = "172.17.0.0/16".to_owned().try_into().unwrap();
        assert!(test.collision(docker).is_some() && production.collision(docker).is_none());
    }

    #[test]
    fn bad_profiles_are_refused() {
        let good = include_str!("../profiles/tu.toml");
        for (from, to) in [
            ("aes256gcm16-prfsha384-ecp384bp", "aes256; load = x"),
            ("ike_hours = 161", "ike_hours = 162"),
            ("mtu = 1318", "mtu = 100"),
            ("172.16.0.0/13", "172.17.0.0/13"),
            ("172.16.0.0/13", "172.16.0.0/33"),
            ("name = ", "unknown = "),
        ] {
            assert!(good.contains(from));
            assert!(Profile::read(&good.replace(from, to)).is_err(), "{to}");
        }
        assert!(Profile::read(&"#".repeat(MAX + 1)).is_err());
    }
}
