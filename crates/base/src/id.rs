//! Identifiers that travel between rooms. Each knows its own rules, so nothing downstream checks them again.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not the identifier it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {rule}")]
pub struct BadId {
    what: &'static str,
    rule: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                if text.is_empty() || text.chars().count() > $max {
                    return Err(BadId { what: stringify!($name), rule: concat!("1 to ", $max, " characters") });
                }
                if text.chars().any(char::is_control) {
                    return Err(BadId { what: stringify!($name), rule: "no control characters" });
                }
                Ok(Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A practice or tenant (ConnectorCommon `MandantId`).
    MandantId, 64
);
text_id!(
    /// A practice system (`ClientSystemId`).
    ClientSystemId, 64
);
text_id!(
    /// A workplace (`WorkplaceId`).
    WorkplaceId, 64
);
text_id!(
    /// A user of the practice system (`UserId`).
    UserId, 64
);
text_id!(
    /// A card terminal (`CtId`).
    CtId, 64
);
text_id!(
    /// A card as long as it is inserted (`CardHandle`); not used again for 48 h (TIP1-A_4559).
    CardHandle, 128
);
text_id!(
    /// A subscription to events (`SubscriptionID`).
    SubscriptionId, 64
);

/// The 20-digit serial number of a card, `80276…` for cards of the health service.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Iccsn([u8; 10]);

impl Iccsn {
    /// From the ten BCD bytes of EF.GDO (tag 5A).
    pub fn from_bcd(bytes: [u8; 10]) -> Result<Self, BadId> {
        if bytes.iter().any(|b| b >> 4 > 9 || b & 0x0F > 9) {
            return Err(BadId {
                what: "Iccsn",
                rule: "decimal digits only",
            });
        }
        Ok(Self(bytes))
    }

    /// The ten BCD bytes.
    pub fn as_bcd(&self) -> &[u8; 10] {
        &self.0
    }

    /// The last eight bytes, which the card signs in a role authentication.
    pub fn iccsn8(&self) -> [u8; 8] {
        let [_, _, rest @ ..] = self.0;
        rest
    }
}

impl TryFrom<String> for Iccsn {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl std::str::FromStr for Iccsn {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let digits: Vec<u8> = text.bytes().map(|b| b.wrapping_sub(b'0')).collect();
        let digits: [u8; 20] = digits.try_into().map_err(|_| BadId {
            what: "Iccsn",
            rule: "20 decimal digits",
        })?;
        if digits.iter().any(|d| *d > 9) {
            return Err(BadId {
                what: "Iccsn",
                rule: "20 decimal digits",
            });
        }
        let mut bcd = [0; 10];
        for (byte, pair) in bcd.iter_mut().zip(digits.chunks_exact(2)) {
            if let [high, low] = pair {
                *byte = high << 4 | low;
            }
        }
        Ok(Self(bcd))
    }
}

impl From<Iccsn> for String {
    fn from(iccsn: Iccsn) -> String {
        iccsn.to_string()
    }
}

impl fmt::Display for Iccsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// An ICCSN is personal data: debug output shows only its last four digits (TIP1-A_4710).
impl fmt::Debug for Iccsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [.., a, b] = self.0;
        write!(f, "Iccsn(…{a:02x}{b:02x})")
    }
}

/// A slot of a terminal, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct SlotId(u8);

impl SlotId {
    /// Contact slots have the numbers 1 to 14 (SICCT functional units 01..0E).
    pub fn new(number: u8) -> Result<Self, BadId> {
        match number {
            1..=14 => Ok(Self(number)),
            _ => Err(BadId {
                what: "SlotId",
                rule: "1 to 14",
            }),
        }
    }

    /// The slot number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for SlotId {
    type Error = BadId;
    fn try_from(number: u8) -> Result<Self, BadId> {
        Self::new(number)
    }
}

impl From<SlotId> for u8 {
    fn from(slot: SlotId) -> u8 {
        slot.0
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A MAC address as terminals announce it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// `AABBCC:DDEEFF`, the form of the pairing text (TIP1-A_4548-02).
    pub fn pairing_text(&self) -> String {
        let [a, b, c, d, e, f] = self.0;
        format!("{a:02X}{b:02X}{c:02X}:{d:02X}{e:02X}{f:02X}")
    }
}

impl TryFrom<String> for Mac {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl std::str::FromStr for Mac {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId {
            what: "Mac",
            rule: "six hexadecimal bytes, separated by - or :",
        };
        let bytes: Result<Vec<u8>, _> = text
            .split(['-', ':'])
            .map(|part| u8::from_str_radix(part, 16).map_err(|_| bad()))
            .collect();
        bytes?.try_into().map(Self).map_err(|_| bad())
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}-{b:02X}-{c:02X}-{d:02X}-{e:02X}-{g:02X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iccsn_round_trip_and_privacy() {
        let iccsn: Iccsn = "80276883110000168583".parse().unwrap();
        assert_eq!(iccsn.to_string(), "80276883110000168583");
        assert_eq!(iccsn.iccsn8(), [0x68, 0x83, 0x11, 0x00, 0x00, 0x16, 0x85, 0x83]);
        assert_eq!(format!("{iccsn:?}"), "Iccsn(…8583)");
        assert!("8027688311000016858".parse::<Iccsn>().is_err());
        assert!("8027688311000016858x".parse::<Iccsn>().is_err());
        assert!(Iccsn::from_bcd([0xFA; 10]).is_err());
    }

    #[test]
    fn text_ids_have_limits() {
        assert!("".parse::<MandantId>().is_err());
        assert!("M\n1".parse::<MandantId>().is_err());
        assert!("ä".repeat(64).parse::<MandantId>().is_ok());
        assert!("a".repeat(65).parse::<MandantId>().is_err());
    }

    #[test]
    fn mac_forms() {
        let mac: Mac = "02:4C:4C:00:00:01".parse().unwrap();
        assert_eq!(mac.to_string(), "02-4C-4C-00-00-01");
        assert_eq!(mac.pairing_text(), "024C4C:000001");
        assert!("02-4C".parse::<Mac>().is_err());
    }
}
