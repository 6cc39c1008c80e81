use crate::apdu::{Command, Expect};
use crate::channel::{Channel, ChannelError};
use asn1::{X509, tlv};
use base::id::Iccsn;
use std::fmt;

/// Type of a card as the services name it (CardServiceCommon `CardType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CardKind {
    /// Health card.
    Egk,
    /// Professional card.
    Hba,
    /// Institution card.
    SmcB,
    /// Card of a terminal.
    SmcKt,
    /// The old insurance card.
    Kvk,
    /// Unreadable or unknown.
    Unknown,
}

impl CardKind {
    /// Name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CardKind::Egk => "EGK",
            CardKind::Hba => "HBA",
            CardKind::SmcB => "SMC-B",
            CardKind::SmcKt => "SMC-KT",
            CardKind::Kvk => "KVK",
            CardKind::Unknown => "UNKNOWN",
        }
    }

    fn from_aid(aid: &[u8]) -> Self {
        match aid {
            [0xD2, 0x76, 0x00, 0x01, 0x44, 0x80, 0x00] => CardKind::Egk,
            [0xD2, 0x76, 0x00, 0x01, 0x46, 0x01] => CardKind::Hba,
            [0xD2, 0x76, 0x00, 0x01, 0x46, 0x06] => CardKind::SmcB,
            [0xD2, 0x76, 0x00, 0x01, 0x44, 0x80, 0x03] => CardKind::SmcKt,
            _ => CardKind::Unknown,
        }
    }
}

impl fmt::Display for CardKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Major, minor, revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version(pub u8, pub u8, pub u8);

/// What TUC_KON_001 finds out about a card.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Type.
    pub kind: CardKind,
    /// Serial number.
    pub iccsn: Option<Iccsn>,
    /// Version of the COS (EF.ATR, D0).
    pub cos: Version,
    /// Version of the object system (EF.Version2, C1); 4.x is generation 2.
    pub object_system: Version,
    /// Further versions of EF.Version2: ATR, GDO, KeyInfo, Logging, in this order.
    pub further: [Option<Version>; 4],
    /// The AUT certificate (C.CH.AUT, C.HP.AUT, C.HCI.AUT), ECC before RSA.
    pub aut: Option<X509>,
}

impl Inspection {
    /// A card that could not be read.
    pub fn unknown() -> Self {
        Self {
            kind: CardKind::Unknown,
            iccsn: None,
            cos: Version::default(),
            object_system: Version::default(),
            further: [None; 4],
            aut: None,
        }
    }

    /// Name of the holder: common name of the AUT certificate.
    pub fn holder(&self) -> Option<String> {
        self.aut.as_ref()?.common_name()
    }

    /// The immutable part of the health insurance number, only on an eGK.
    pub fn kvnr(&self) -> Option<String> {
        if self.kind != CardKind::Egk {
            return None;
        }
        let units = self.aut.as_ref()?.subject_attribute("2.5.4.11");
        units.into_iter().find(|unit| is_kvnr(unit))
    }

    /// The insurer's IK, which names the back-end service; only on an eGK.
    pub fn insurer(&self) -> Option<String> {
        let units = self.aut.as_ref()?.subject_attribute("2.5.4.11");
        units
            .into_iter()
            .find(|unit| unit.len() == 9 && unit.bytes().all(|b| b.is_ascii_digit()))
    }
}

fn is_kvnr(text: &str) -> bool {
    match text.as_bytes() {
        [letter, digits @ ..] => {
            letter.is_ascii_uppercase() && digits.len() == 9 && digits.iter().all(u8::is_ascii_digit)
        }
        [] => false,
    }
}

/// DF.ESIGN.
pub const AID_ESIGN: &[u8] = &[0xA0, 0x00, 0x00, 0x01, 0x67, 0x45, 0x53, 0x49, 0x47, 0x4E];

/// Recognises a card and reads what everybody may read. A card that answers nonsense or nothing is
/// [`CardKind::Unknown`]; an error means that the way to the card failed.
pub async fn inspect(channel: &dyn Channel) -> Result<Inspection, ChannelError> {
    match read_everything(channel).await {
        Err(ChannelError::Garbage | ChannelError::Timeout) => Ok(Inspection::unknown()),
        outcome => outcome,
    }
}

async fn read_everything(channel: &dyn Channel) -> Result<Inspection, ChannelError> {
    let mut found = Inspection::unknown();
    let select = Command::new(0, 0xA4, 0x04, 0x04).expect(Expect::AllShort);
    let root = channel.transmit(&select).await?;
    let aid = tlv::path(&root.data, &[0x62, 0x84]).map(<[u8]>::to_vec);
    let aid = match aid {
        Some(aid) => aid,
        None => aid_from_directory(channel).await?.unwrap_or_default(),
    };
    found.kind = CardKind::from_aid(&aid);
    if let Ok(gdo) = channel.read_file(0x02).await? {
        let digits = tlv::find(&gdo, 0x5A).and_then(|value| value.try_into().ok());
        found.iccsn = digits.and_then(|digits| Iccsn::from_bcd(digits).ok());
    }
    if let Ok(versions) = channel.read_file(0x11).await? {
        let inside = tlv::find(&versions, 0xEF).unwrap_or_default();
        let version = |tag| version(tlv::find(inside, tag)?);
        found.object_system = version(0xC1).unwrap_or_default();
        found.further = [version(0xC5), version(0xC4), version(0xC6), version(0xC7)];
    }
    if let Ok(atr) = channel.read_file(0x1D).await? {
        found.cos = tlv::find(&atr, 0xD0).and_then(version).unwrap_or_default();
    }
    if found.iccsn.is_none() || (found.kind != CardKind::Unknown && found.object_system.0 < 4) {
        // generation 1 cards are reported as unknown (TIP1-A_4988-02)
        found.kind = CardKind::Unknown;
    }
    let certificates: &[u8] = match found.kind {
        CardKind::Egk => &[0x04, 0x01],
        CardKind::Hba | CardKind::SmcB => &[0x06, 0x01],
        _ => &[],
    };
    if !certificates.is_empty() {
        channel.select(AID_ESIGN).await?;
        for sfi in certificates {
            if let Ok(file) = channel.read_file(*sfi).await?
                && let Ok(certificate) = X509::parse_file(&file)
            {
                found.aut = Some(certificate);
                break;
            }
        }
        channel.select_mf().await?;
    }
    Ok(found)
}

fn version(bytes: &[u8]) -> Option<Version> {
    match bytes {
        [major, minor, revision] => Some(Version(*major, *minor, *revision)),
        _ => None,
    }
}

async fn aid_from_directory(channel: &dyn Channel) -> Result<Option<Vec<u8>>, ChannelError> {
    let read = Command::new(0, 0xB2, 0x01, 0x1E << 3 | 0x04).expect(Expect::AllShort);
    let record = channel.transmit(&read).await?;
    Ok(tlv::path(&record.data, &[0x61, 0x4F]).map(<[u8]>::to_vec))
}
