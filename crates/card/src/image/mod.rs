//! Object systems of cards: everything a card holds, as it stands in a card image.

mod files;
mod read;
mod write;

pub use files::{FileImage, ImageContent, ImageItem, read_file_image};
pub use read::{BadImage, read};
pub use write::write;

use crate::access::{AccessRules, LifeCycle};
use asn1::{Chat, CvcDate};
use crypto::{Curve, EcPrivate, EcPublic, RsaPrivate};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Position of an object in its [`ObjectSystem`]; the MF is 0.
pub type NodeId = usize;

/// A whole card.
#[derive(Debug, Clone)]
pub struct ObjectSystem {
    /// Name of the image, e.g. `eGK G2.1`.
    pub name: String,
    /// All objects, parents before children.
    pub nodes: Vec<Node>,
    /// Answer to a cold reset.
    pub cold_atr: Vec<u8>,
    /// Answer to a warm reset.
    pub warm_atr: Vec<u8>,
    /// The card's idea of today.
    pub point_in_time: CvcDate,
    /// Last eight bytes of the ICCSN, which go into authentications.
    pub iccsn8: [u8; 8],
    /// How many imported keys survive a reset.
    pub cache_slots: usize,
    /// Can it act as a security module (PSO with session keys)?
    pub crypto_box: bool,
    /// Further entries of the image (`commons`): id, type, value.
    pub commons: Vec<(String, String, String)>,
}

impl ObjectSystem {
    /// An object, if there is one at this position.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The first object with this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// The content of the first transparent file whose name has this in it.
    pub fn content(&self, part: &str) -> Option<&[u8]> {
        self.nodes.iter().find_map(|node| match &node.body {
            Body::Transparent { bytes, end, .. } if node.name.contains(part) => bytes.get(..*end),
            _ => None,
        })
    }

    /// The objects directly inside a folder.
    pub fn children(&self, folder: NodeId) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .filter(move |(_, node)| node.parent == Some(folder))
    }
}

/// One object.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name in the image, e.g. `EF.GVD`.
    pub name: String,
    /// The folder it lies in; `None` for the MF.
    pub parent: Option<NodeId>,
    /// Life cycle.
    pub life: LifeCycle,
    /// Who may do what.
    pub rules: AccessRules,
    /// What it is.
    pub body: Body,
}

/// What an object is.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Body {
    Folder {
        aids: Vec<Vec<u8>>,
        fid: Option<u16>,
        is_adf: bool,
    },
    Transparent {
        fid: u16,
        sfi: Option<u8>,
        size: usize,
        end: usize,
        bytes: Vec<u8>,
    },
    Records(RecordFile),
    Password(Password),
    MultiReference {
        id: u8,
        target: u8,
        enabled: bool,
        uses: Uses,
    },
    PrivateElc(PrivateElc),
    PrivateRsa {
        id: u8,
        key: Option<RsaPrivate>,
        algorithms: Algorithms,
        modulus_bits: usize,
    },
    PublicElc(PublicElc),
    Symmetric {
        id: u8,
        algorithm: String,
        enc: Zeroizing<Vec<u8>>,
        mac: Zeroizing<Vec<u8>>,
    },
    Connection {
        id: u8,
        can: PinBlock,
    },
}

/// Structure of a record file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RecordKind {
    LinearFixed,
    LinearVariable,
    Cyclic,
}

/// A file of records.
#[derive(Debug, Clone)]
pub struct RecordFile {
    /// File identifier.
    pub fid: u16,
    /// Short file identifier.
    pub sfi: Option<u8>,
    /// Structure.
    pub kind: RecordKind,
    /// Most records.
    pub max_records: usize,
    /// Longest record.
    pub max_length: usize,
    /// Most bytes of all records together, if bounded.
    pub size: Option<usize>,
    /// Can single records be deactivated?
    pub has_record_life: bool,
    /// The records; the first is number 1 (of a cyclic file: the newest).
    pub records: Vec<Record>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Life cycle.
    pub life: LifeCycle,
    /// Content.
    pub value: Vec<u8>,
}

/// An ISO 9564 format 2 block: length nibble and up to 12 digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct PinBlock([u8; 8]);

impl PinBlock {
    /// From the eight bytes; the digits must be decimal and the filler F.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let block: [u8; 8] = bytes.try_into().ok()?;
        let nibbles: Vec<u8> = block.iter().flat_map(|b| [b >> 4, b & 0x0F]).collect();
        let (control, length, digits) = match nibbles.as_slice() {
            [control, length, digits @ ..] => (*control, usize::from(*length), digits),
            _ => return None,
        };
        let (pin, filler) = digits.split_at_checked(length)?;
        let good =
            control == 2 && length <= 12 && pin.iter().all(|d| *d <= 9) && filler.iter().all(|f| *f == 0xF);
        good.then_some(Self(block))
    }

    /// From the digits a person types.
    pub fn from_digits(digits: &str) -> Option<Self> {
        if digits.len() > 12 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut text = format!("2{:X}{digits}", digits.len());
        while text.len() < 16 {
            text.push('F');
        }
        Self::parse(&hex::decode(text).ok()?)
    }

    /// Number of digits.
    pub fn digits(&self) -> usize {
        let [first, ..] = self.0;
        usize::from(first & 0x0F)
    }

    /// The eight bytes.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl From<PinBlock> for Vec<u8> {
    fn from(block: PinBlock) -> Vec<u8> {
        block.0.to_vec()
    }
}

impl TryFrom<Vec<u8>> for PinBlock {
    type Error = &'static str;
    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        Self::parse(&bytes).ok_or("not a format 2 PIN block")
    }
}

impl std::fmt::Debug for PinBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinBlock(…)")
    }
}

/// Is the password usable?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// A password chosen by the holder.
    Regular,
    /// A short one from the manufacturer, only good for a change.
    TransportPin,
    /// None yet.
    EmptyPin,
}

/// How often one verification may be used, by security environment; `None` is without limit.
pub type Uses = Vec<(u8, Option<u32>)>;

/// A password.
#[derive(Debug, Clone)]
pub struct Password {
    /// Reference.
    pub id: u8,
    /// Shortest and longest value.
    pub length: (usize, usize),
    /// Tries after a correct entry.
    pub start_tries: u8,
    /// Tries left.
    pub tries: u8,
    /// Transport protection.
    pub transport: Transport,
    /// Is it asked for at all?
    pub enabled: bool,
    /// How long a verification lasts.
    pub uses: Uses,
    /// The value.
    pub secret: PinBlock,
    /// The PUK.
    pub puk: PinBlock,
    /// Uses of the PUK left.
    pub puk_uses: u8,
}

/// Algorithms of a key by security environment.
pub type Algorithms = Vec<(u8, Vec<String>)>;

/// A private elliptic key.
#[derive(Debug, Clone)]
pub struct PrivateElc {
    /// Reference.
    pub id: u8,
    /// Curve.
    pub curve: Curve,
    /// The key, if it has been generated.
    pub key: Option<EcPrivate>,
    /// What it may do.
    pub algorithms: Algorithms,
}

/// A trust anchor for CV certificates.
#[derive(Debug, Clone)]
pub struct PublicElc {
    /// Its holder reference.
    pub id: Vec<u8>,
    /// The point.
    pub key: EcPublic,
    /// The rights it can give.
    pub chat: Chat,
    /// Last day.
    pub expires: CvcDate,
    /// Rules for keys verified with it, as certificate verifiers.
    pub verification_rules: AccessRules,
    /// Rules for keys verified with it, as authentication keys.
    pub authentication_rules: AccessRules,
}
