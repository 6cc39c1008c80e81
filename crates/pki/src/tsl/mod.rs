//! The trust list (ETSI TS 102 231, gemSpec_TSL): reading, verifying, and writing one for the test TI. The trusted list
//! of the Bundesnetzagentur (TS 119 612) has the same frame and is read with the same hands: [`crate::vl`].

mod read;
mod write;

pub(crate) use read::{Service, Sheet, parse};
pub use write::{Contents, Edition, QualifiedCa, write, write_trusted_list};

use asn1::{Cvc, X509, oid};
use base::{Code, Timestamp, limits};
use crypto::PublicKey;
use der::asn1::ObjectIdentifier as Oid;
use std::collections::BTreeMap;

const CA_PKC: &str = "http://uri.etsi.org/TrstSvc/Svctype/CA/PKC";
const CA_CVC: &str = "http://uri.telematik/TrstSvc/Svctype/CA/CVC";
const OCSP: &str = "http://uri.etsi.org/TrstSvc/Svctype/Certstatus/OCSP";
const CRL: &str = "http://uri.etsi.org/TrstSvc/Svctype/Certstatus/CRL";
const DNSSEC: &str = "http://uri.telematik/TrstSvc/Svctype/DNSSEC";
const VL: &str = "http://uri.telematik/TrstSvc/Svctype/TrustedList/schemerules/DE";
const ANCHOR_CHANGE: &str = "http://uri.etsi.org/TrstSvc/Svctype/TSLServiceCertChange";
const IN_ACCORD: &str = "http://uri.etsi.org/TrstSvc/Svcstatus/inaccord";
const REVOKED: &str = "http://uri.etsi.org/TrstSvc/Svcstatus/revoked";
/// Which pointer is the primary address, which the backup (gemSpec_TSL 6.3).
const PRIMARY: &str = "1.2.276.0.76.4.120";
const BACKUP: &str = "1.2.276.0.76.4.121";

/// Why a list is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TslError {
    /// Larger than [`limits::TSL`].
    #[error("larger than {} bytes", limits::TSL)]
    TooBig,
    /// More elements, attributes or namespaces than any list needs.
    #[error("refused: {0}")]
    Immodest(#[from] base::xml::Immodest),
    /// Not XML.
    #[error("unreadable: {0}")]
    Xml(#[from] roxmltree::Error),
    /// Not a trust list, or a mandatory part is missing.
    #[error("{0} missing or malformed")]
    Format(&'static str),
    /// The signature is wrong or its form is not accepted.
    #[error("signature: {0}")]
    Signature(#[from] xmlsec::Error),
    /// The signer is not one the anchor vouches for.
    #[error("signer: {0}")]
    Signer(#[from] SignerError),
    /// Older than the list in use, or the same number with other content (TUC_PKI_019).
    #[error("number {offered} does not follow number {current}, the list in use; wait for the next one")]
    Sequence {
        /// Number of the offered list.
        offered: u64,
        /// Number of the list in use.
        current: u64,
    },
    /// Past its NextUpdate and the grace period.
    #[error(
        "its validity ended on {0} and the grace period is over; import it by hand if there is no newer one"
    )]
    TooOld(Timestamp),
    /// Lost everything of a kind that the list in use has: not believed without a person.
    #[error(
        "has no {0} any more, the list in use has: a mistake in publication? Import it by hand to use it nevertheless"
    )]
    Hollow(&'static str),
    /// With it would stop what works with the list in use: not believed without a person as long as that one is valid.
    #[error(
        "with it would stop what works: {0}; a mistake in publication? Import it by hand to use it nevertheless"
    )]
    Breaks(String),
    /// Turned down before by an administrator.
    #[error("was set aside by an administrator")]
    SetAside,
    /// The detached signature does not fit.
    #[error("detached signature: {0}")]
    Detached(&'static str),
}

/// What is wrong with the signer of a list (TUC_PKI_011).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// There is none, or it cannot be read.
    #[error("certificate missing or unreadable")]
    Missing,
    /// The anchor has ended or not begun.
    #[error("the trust anchor is outside its validity")]
    AnchorTime,
    /// The signer has ended or not begun.
    #[error("outside its validity")]
    Time,
    /// Not for trust lists.
    #[error("extended key usage is not tslSigning")]
    ExtendedKeyUsage,
    /// Not for signatures that bind.
    #[error("key usage is not nonRepudiation")]
    KeyUsage,
    /// The anchor did not issue it.
    #[error("not issued by the trust anchor")]
    Chain,
    /// The signature below it is wrong.
    #[error("the signature of its certificate is wrong")]
    Signature,
    /// Revoked, unknown, or its status could not be found out.
    #[error("no good status")]
    Status,
}

impl TslError {
    /// The code of TUC_PKI_001 and those it uses.
    pub fn code(&self) -> Code {
        match self {
            TslError::TooBig | TslError::Immodest(_) | TslError::Xml(_) => Code::TSL_FORMAT,
            TslError::Format(_) | TslError::Hollow(_) | TslError::Breaks(_) => Code::TSL_SCHEMA,
            TslError::Signature(_) | TslError::Detached(_) => Code::TSL_SIGNATURE,
            TslError::Sequence { .. } | TslError::SetAside => Code::TSL_ID,
            TslError::TooOld(_) => Code::TSL_TOO_OLD,
            TslError::Signer(error) => error.code(),
        }
    }
}

impl SignerError {
    fn code(self) -> Code {
        match self {
            SignerError::Missing => Code::TSL_CERT_EXTRACTION,
            SignerError::AnchorTime | SignerError::Time => Code::CERT_EXPIRED,
            SignerError::ExtendedKeyUsage => Code::EXT_KEY_USAGE_MISMATCH,
            SignerError::KeyUsage => Code::KEY_USAGE_MISMATCH,
            SignerError::Chain => Code::AUTHORITY_KEY_ID,
            SignerError::Signature => Code::CERT_SIGNATURE,
            SignerError::Status => Code::CERT_REVOKED,
        }
    }
}

/// Status of a service (Tab_PKI_271).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceStatus {
    /// Usable.
    InAccord,
    /// What it issued before this moment stays good, what it issued later is not.
    Revoked(Timestamp),
    /// Anything else: not usable.
    Other,
}

/// One certification authority in the list.
#[derive(Debug, Clone)]
pub struct CaService {
    /// Its certificate.
    pub certificate: X509,
    /// Its status.
    pub status: ServiceStatus,
    /// Earlier states, newest first: status and since when (ServiceHistory).
    pub history: Vec<(ServiceStatus, Timestamp)>,
    /// Certificate types it may issue; empty means the list does not say.
    pub types: Vec<Oid>,
    /// Its OCSP address.
    pub ocsp: Option<String>,
}

/// A trust anchor that a list announces (TUC_PKI_013).
#[derive(Debug, Clone)]
pub struct Announcement {
    /// The CA that will certify signers of lists.
    pub certificate: X509,
    /// Not before this moment.
    pub from: Timestamp,
    /// Where the status of its signers can be asked.
    pub ocsp: Option<String>,
}

/// An anchor of the TI's signed names (root-anchors form of IANA).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DnssecAnchor {
    /// Zone, with the dot at the end: `telematik.`
    pub zone: String,
    /// Tag of the key.
    pub key_tag: u16,
    /// Algorithm of the key (RFC 8624).
    pub algorithm: u8,
    /// Kind of digest: 1 SHA-1, 2 SHA-256, 4 SHA-384.
    pub digest_type: u8,
    /// The digest.
    #[serde(with = "hex_bytes")]
    pub digest: Vec<u8>,
}

mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// Where the trusted list of the Bundesnetzagentur is, and who may sign it.
#[derive(Debug, Clone, Default)]
pub struct VlService {
    /// Certificates of its signers.
    pub signers: Vec<X509>,
    /// Addresses inside the TI, the primary one first.
    pub addresses: Vec<String>,
    /// OCSP address in a QES certificate → address inside the TI (TIP1-A_7219).
    pub responders: BTreeMap<String, String>,
}

/// A trust list.
#[derive(Debug, Clone)]
pub struct Tsl {
    /// `Id` of the document.
    pub id: String,
    /// Sequence number.
    pub sequence: u64,
    /// Made at.
    pub issued: Timestamp,
    /// Next one at the latest at.
    pub next_update: Timestamp,
    /// Where the next one is to be found: primary address, then backup.
    pub addresses: Vec<String>,
    /// Certification authorities.
    pub cas: Vec<CaService>,
    /// OCSP signers.
    pub responders: Vec<X509>,
    /// Signers of revocation lists.
    pub crl_signers: Vec<X509>,
    /// Roots and cross certificates of the card world.
    pub cvcs: Vec<Cvc>,
    /// Announced trust anchors, readable or not: more than one, or one that is unreadable, is a mistake to report.
    pub announcements: Vec<Result<Announcement, String>>,
    /// Anchors of signed names, readable or not.
    pub dnssec: Vec<Result<DnssecAnchor, String>>,
    /// The trusted list for qualified signatures.
    pub vl: Option<VlService>,
    /// Entries that could not be used, with reason; one bad entry does not spoil the list.
    pub skipped: Vec<String>,
}

/// A list whose signature is right, and what that rests on.
#[derive(Debug, Clone)]
pub struct SignedTsl {
    /// The list.
    pub list: Tsl,
    /// Who signed it.
    pub signer: X509,
    /// Position of the anchor that vouches for the signer.
    pub anchor: usize,
}

impl Tsl {
    /// Checks the signature up to one of `anchors` (TSL signer CAs, the preferred one first) at `now`, and reads the list.
    pub fn verify(xml: &str, anchors: &[&X509], now: Timestamp) -> Result<SignedTsl, TslError> {
        if xml.len() > limits::TSL {
            return Err(TslError::TooBig);
        }
        let mut found = None;
        let verified = xmlsec::verify_enveloped(xml, |certificates| {
            let first = certificates.first().ok_or(SignerError::Missing)?;
            let signer = X509::parse(first).map_err(|_| SignerError::Missing)?;
            let anchor = choose_anchor(&signer, anchors, now)?;
            let key = signer_key(&signer)?;
            found = Some((signer, anchor));
            Ok::<_, TslError>(key)
        })?;
        let (signer, anchor) = found.ok_or(SignerError::Missing)?;
        let content = std::str::from_utf8(&verified.content).map_err(|_| TslError::Format("encoding"))?;
        let list = Self::read(content)?;
        Ok(SignedTsl { list, signer, anchor })
    }

    /// Reads a list whose signature somebody else has checked.
    pub fn read(xml: &str) -> Result<Self, TslError> {
        let document = parse(xml)?;
        let sheet = Sheet::new(&document)?;
        let next_update = sheet.next_update.ok_or(TslError::Format("NextUpdate"))?;
        let mut tsl = Self {
            id: sheet.id,
            sequence: sheet.sequence,
            issued: sheet.issued,
            next_update,
            addresses: [PRIMARY, BACKUP]
                .into_iter()
                .flat_map(|role| sheet.pointers.iter().filter(move |(marked, _)| marked == role))
                .map(|(_, address)| address.clone())
                .collect(),
            cas: Vec::new(),
            responders: Vec::new(),
            crl_signers: Vec::new(),
            cvcs: Vec::new(),
            announcements: Vec::new(),
            dnssec: Vec::new(),
            vl: None,
            skipped: Vec::new(),
        };
        for service in sheet.services {
            if let Err(reason) = tsl.take(&service) {
                tsl.skipped.push(format!("{}: {reason}", service.name()));
            }
        }
        Ok(tsl)
    }

    fn take(&mut self, service: &Service<'_, '_>) -> Result<(), String> {
        let status = service.status(IN_ACCORD, REVOKED);
        let in_accord = status == ServiceStatus::InAccord;
        match service.kind() {
            CA_PKC => self.cas.push(CaService {
                certificate: service.certificate()?,
                status,
                history: service.history(IN_ACCORD, REVOKED),
                types: service.types(),
                ocsp: service.supply_points().into_iter().next(),
            }),
            // answers about the past may bear the signature of a responder that has retired since
            OCSP if in_accord => self.responders.push(service.certificate()?),
            CRL if in_accord => self.crl_signers.push(service.certificate()?),
            CA_CVC if in_accord => self.cvcs.push(service.cvc()?),
            ANCHOR_CHANGE => self.announcements.push(service.announcement()),
            DNSSEC if in_accord => self.dnssec.extend(service.dnssec_anchors()),
            VL if in_accord => {
                self.vl = Some(VlService {
                    signers: service.certificates()?,
                    addresses: service.supply_points(),
                    responders: service.redirects(),
                });
            }
            _ => {}
        }
        Ok(())
    }
}

/// The first anchor that issued the signer and is valid now; otherwise what is wrong with the best candidate.
fn choose_anchor(signer: &X509, anchors: &[&X509], now: Timestamp) -> Result<usize, SignerError> {
    let mut reason = SignerError::Chain;
    for (position, anchor) in anchors.iter().enumerate() {
        match check_signer(signer, anchor, now) {
            Ok(()) => return Ok(position),
            Err(SignerError::Chain) => {}
            Err(other) => reason = other,
        }
    }
    Err(reason)
}

/// TUC_PKI_011: the signer must be certified by the anchor, for signing trust lists, and valid now.
pub(crate) fn check_signer(signer: &X509, anchor: &X509, now: Timestamp) -> Result<(), SignerError> {
    let named = signer.issuer_der().ok() == anchor.subject_der().ok();
    let same_key = match (&signer.authority_key, &anchor.subject_key) {
        (Some(wanted), Some(own)) => wanted == own,
        _ => true,
    };
    if !named || !same_key {
        return Err(SignerError::Chain);
    }
    if !anchor.is_valid_at(now.as_second()) {
        return Err(SignerError::AnchorTime);
    }
    if !signer.is_valid_at(now.as_second()) {
        return Err(SignerError::Time);
    }
    if !signer.key_usage.is_some_and(|usage| usage.non_repudiation()) {
        return Err(SignerError::KeyUsage);
    }
    if !signer.extended_key_usage.contains(&oid::KP_TSL_SIGNING) {
        return Err(SignerError::ExtendedKeyUsage);
    }
    crate::check::verify_signature(signer, anchor).map_err(|_| SignerError::Signature)
}

pub(crate) fn signer_key(signer: &X509) -> Result<PublicKey, SignerError> {
    let spki = signer.spki().map_err(|_| SignerError::Missing)?;
    PublicKey::from_spki(&spki).map_err(|_| SignerError::Missing)
}
