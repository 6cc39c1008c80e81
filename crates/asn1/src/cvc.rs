use crate::{Error, tlv};
use std::fmt;

/// `oid_cvc_fl_ti` 1.2.276.0.76.4.152 as it stands in tag 06.
const OID_FLAG_LIST_TI: &[u8] = &[0x2A, 0x82, 0x14, 0x00, 0x4C, 0x04, 0x81, 0x18];
/// `oid_cvc_fl_cms` 1.2.276.0.76.4.153.
const OID_FLAG_LIST_CMS: &[u8] = &[0x2A, 0x82, 0x14, 0x00, 0x4C, 0x04, 0x81, 0x19];
/// ecdsa-with-SHA256, the key usage of a CA key.
const OID_CA_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
/// authS_gemSpec-COS-G2_ecc-with-sha256, the key usage of a card key.
const OID_CARD_KEY: &[u8] = &[0x2B, 0x24, 0x03, 0x05, 0x03, 0x01];

/// Which list of rights a certificate speaks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListKind {
    /// `cvc_FlagList_TI`: roles and devices.
    Ti,
    /// `cvc_FlagList_CMS`: card management.
    Cms,
}

/// Seven bytes of rights; bit b00 is the most significant bit of the first byte (gemSpec_PKI 6.7.2.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flags(pub [u8; 7]);

impl Flags {
    /// Rights in both lists: what counts along a chain.
    pub fn and(self, other: Flags) -> Flags {
        let mut bytes = self.0;
        for (mine, theirs) in bytes.iter_mut().zip(other.0) {
            *mine &= theirs;
        }
        Flags(bytes)
    }

    /// Is every right of `wanted` here?
    pub fn covers(self, wanted: Flags) -> bool {
        self.and(wanted) == wanted
    }

    /// Right number `bit`, b00 to b55.
    pub fn has(self, bit: u8) -> bool {
        self.0
            .get(usize::from(bit / 8))
            .is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Certificate holder authorisation template: a list and the rights in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chat {
    /// The list.
    pub kind: ListKind,
    /// The rights.
    pub flags: Flags,
}

/// A day as six digits YYMMDD, one digit a byte; the century is 20.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CvcDate([u8; 6]);

impl CvcDate {
    /// From the six unpacked digits.
    pub fn from_digits(digits: [u8; 6]) -> Result<Self, Error> {
        let [y1, y2, m1, m2, d1, d2] = digits;
        let (month, day) = (
            u16::from(m1) * 10 + u16::from(m2),
            u16::from(d1) * 10 + u16::from(d2),
        );
        if digits.iter().any(|d| *d > 9) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(Error::Malformed("CVC date"));
        }
        Ok(Self([y1, y2, m1, m2, d1, d2]))
    }

    /// A day of this century.
    pub fn from_ymd(year: u16, month: u8, day: u8) -> Result<Self, Error> {
        let year = (year % 100) as u8;
        Self::from_digits([year / 10, year % 10, month / 10, month % 10, day / 10, day % 10])
    }

    /// Year, month, day.
    pub fn ymd(self) -> (i16, i8, i8) {
        let [y1, y2, m1, m2, d1, d2] = self.0.map(|d| d as i8);
        (2000 + i16::from(y1 * 10 + y2), m1 * 10 + m2, d1 * 10 + d2)
    }

    /// The six digits.
    pub fn digits(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Debug for CvcDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (y, m, d) = self.ymd();
        write!(f, "{y:04}-{m:02}-{d:02}")
    }
}

/// A CV certificate of generation 2 (gemSpec_PKI 6.7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cvc {
    /// Certification authority reference: which key signed this.
    pub car: [u8; 8],
    /// Certificate holder reference: 8 bytes for a CA, 12 for a card.
    pub chr: Vec<u8>,
    /// Uncompressed public point `04 || x || y`.
    pub point: Vec<u8>,
    /// Rights claimed.
    pub chat: Chat,
    /// First day (CED).
    pub effective: CvcDate,
    /// Last day (CXD).
    pub expires: CvcDate,
    /// The signed bytes: the whole 7F4E object.
    pub body: Vec<u8>,
    /// r || s.
    pub signature: Vec<u8>,
}

impl Cvc {
    /// Reads a certificate, with or without its 7F21 head.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (first, _) = tlv::read(bytes)?;
        let content = if first.tag == 0x7F21 { first.value } else { bytes };
        let (body, rest) = tlv::read(content)?;
        if body.tag != 0x7F4E {
            return Err(Error::Missing("CVC body 7F4E"));
        }
        let signature = tlv::find(rest, 0x5F37).ok_or(Error::Missing("CVC signature 5F37"))?;
        let field = |tag, name| tlv::find(body.value, tag).ok_or(Error::Missing(name));
        if field(0x5F29, "CVC profile")? != [0x70] {
            return Err(Error::Malformed("CVC profile identifier"));
        }
        let car = field(0x42, "CVC CAR")?;
        let chr = field(0x5F20, "CVC CHR")?;
        if !matches!(chr.len(), 8 | 12) {
            return Err(Error::Malformed("CVC CHR length"));
        }
        let key = field(0x7F49, "CVC public key")?;
        let point = tlv::find(key, 0x86).ok_or(Error::Missing("CVC public point"))?;
        if !matches!(point.len(), 65 | 97 | 129) || point.first() != Some(&4) {
            return Err(Error::Malformed("CVC public point"));
        }
        let chat = field(0x7F4C, "CVC CHAT")?;
        let kind = match tlv::find(chat, 0x06) {
            Some(OID_FLAG_LIST_TI) => ListKind::Ti,
            Some(OID_FLAG_LIST_CMS) => ListKind::Cms,
            _ => return Err(Error::Malformed("CVC flag list OID")),
        };
        let flags = tlv::find(chat, 0x53).ok_or(Error::Missing("CVC flags"))?;
        let array = |bytes: &[u8], name| <[u8; 6]>::try_from(bytes).map_err(|_| Error::Malformed(name));
        Ok(Self {
            car: car.try_into().map_err(|_| Error::Malformed("CVC CAR length"))?,
            chr: chr.to_vec(),
            point: point.to_vec(),
            chat: Chat {
                kind,
                flags: Flags(
                    flags
                        .try_into()
                        .map_err(|_| Error::Malformed("CVC flags length"))?,
                ),
            },
            effective: CvcDate::from_digits(array(field(0x5F25, "CVC CED")?, "CVC CED")?)?,
            expires: CvcDate::from_digits(array(field(0x5F24, "CVC CXD")?, "CVC CXD")?)?,
            body: body.raw.to_vec(),
            signature: signature.to_vec(),
        })
    }

    /// The body to be signed for these contents.
    pub fn encode_body(
        car: &[u8; 8],
        chr: &[u8],
        point: &[u8],
        chat: Chat,
        effective: CvcDate,
        expires: CvcDate,
    ) -> Vec<u8> {
        let key_oid = if chr.len() == 8 { OID_CA_KEY } else { OID_CARD_KEY };
        let list = match chat.kind {
            ListKind::Ti => OID_FLAG_LIST_TI,
            ListKind::Cms => OID_FLAG_LIST_CMS,
        };
        tlv::nest(
            0x7F4E,
            [
                tlv::encode(0x5F29, &[0x70]),
                tlv::encode(0x42, car),
                tlv::nest(0x7F49, [tlv::encode(0x06, key_oid), tlv::encode(0x86, point)]),
                tlv::encode(0x5F20, chr),
                tlv::nest(
                    0x7F4C,
                    [tlv::encode(0x06, list), tlv::encode(0x53, &chat.flags.0)],
                ),
                tlv::encode(0x5F25, &effective.0),
                tlv::encode(0x5F24, &expires.0),
            ],
        )
    }

    /// The certificate as it is stored on a card, with its 7F21 head.
    pub fn encode(body: &[u8], signature: &[u8]) -> Vec<u8> {
        tlv::nest(0x7F21, [body.to_vec(), tlv::encode(0x5F37, signature)])
    }

    /// What PSO VERIFY CERTIFICATE takes: body and signature without the head.
    pub fn command_data(&self) -> Vec<u8> {
        [self.body.clone(), tlv::encode(0x5F37, &self.signature)].concat()
    }

    /// Is this the certificate of a certification authority?
    pub fn is_ca(&self) -> bool {
        self.chr.len() == 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_to_the_published_sizes_and_back() {
        let chat = Chat {
            kind: ListKind::Ti,
            flags: Flags([0, 0x5D, 0x29, 0xDA, 0xA0, 0xBB, 0]),
        };
        let (from, to) = (
            CvcDate::from_ymd(2026, 1, 1).unwrap(),
            CvcDate::from_ymd(2031, 1, 1).unwrap(),
        );
        let mut point = vec![4];
        point.extend([7; 64]);
        let body = Cvc::encode_body(b"DEGXX\x11\x02\x23", &[9; 12], &point, chat, from, to);
        let encoded = Cvc::encode(&body, &[5; 64]);
        assert_eq!(encoded.len(), 222);
        let cvc = Cvc::parse(&encoded).unwrap();
        assert_eq!(cvc.body, body);
        assert_eq!(cvc.chat, chat);
        assert!(cvc.chat.flags.has(30) && cvc.chat.flags.has(32) && !cvc.chat.flags.has(55));
        assert_eq!(Cvc::parse(&cvc.command_data()).unwrap(), cvc);
        let ca = Cvc::encode_body(b"DEGXX\x87\x02\x22", b"DEGXX\x11\x02\x23", &point, chat, from, to);
        assert_eq!(Cvc::encode(&ca, &[5; 64]).len(), 220);
    }

    #[test]
    fn bad_dates_are_refused() {
        assert!(CvcDate::from_ymd(2026, 13, 1).is_err());
        assert!(CvcDate::from_digits([2, 6, 0, 0xA, 0, 1]).is_err());
    }
}
