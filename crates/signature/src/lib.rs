//! Documents that are signed or enciphered: CAdES, XAdES, PAdES, S/MIME, CMS and XML encryption.
//!
//! Nothing here knows a card, a key or a network. To sign, a format makes a [`Draft`]: the bytes that a key must sign, and
//! what becomes of the signature values. [`Draft::finish`] checks each value before it goes on, so that no broken
//! signature leaves ([`Error::BrokenValue`]). To verify, a format gives one [`Finding`] a signature; who the signer is
//! worth, `pki` judges.
//!
//! Chapters: gemSpec_Kon 4.1.7 and 4.1.8, ETSI EN 319 122, 319 132 and 319 142 (baseline profiles), RFC 5652, 5751.

mod algorithm;
pub mod cades;
mod draft;
pub mod envelope;
pub mod pades;
mod pdf;
pub mod smime;
pub mod xades;
pub mod xmlenc;

pub use draft::{Draft, Signer};

use asn1::X509;
use base::Timestamp;
use crypto::{Hash, SignatureScheme};

/// One signature in a document, checked as far as mathematics goes.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The signature whose value it countersigns, counted from 0; `None` for a signature over the document.
    pub counters: Option<usize>,
    /// The certificate that fits.
    pub certificate: Option<X509>,
    /// Do digests, signature value and the signed reference to the certificate fit together?
    pub outcome: Result<(), Flaw>,
    /// When the signer says it was made.
    pub signing_time: Option<Timestamp>,
    /// A time stamp over the signature value that is inside; recognised, not judged.
    pub time_stamp: Option<Timestamp>,
    /// How it was signed.
    pub algorithm: Option<(SignatureScheme, Hash)>,
    /// Hash of the document.
    pub digest: Option<Vec<u8>>,
    /// The signature value.
    pub value: Vec<u8>,
    /// Identifier of the signature policy, if there is one.
    pub policy: Option<String>,
    /// Does it cover the whole document?
    pub whole: bool,
    /// Where it is: an XPath, the name of a PDF field; empty in CMS.
    pub place: String,
}

/// All signatures of a document, and what came along.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// One a signature, in the order of the document.
    pub signatures: Vec<Finding>,
    /// Certificates that came along, DER.
    pub certificates: Vec<Vec<u8>>,
    /// OCSP responses that came along, DER.
    pub ocsp: Vec<Vec<u8>>,
    /// What signed manifests refer to; whether it is that, the caller knows.
    pub manifests: Vec<Manifest>,
}

/// A reference of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// XPath to the reference.
    pub place: String,
    /// What it refers to.
    pub uri: String,
    /// Digest of that.
    pub digest: Vec<u8>,
}

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The document is not what was signed.
    #[error("the document was changed after signing")]
    Digest,
    /// The value does not fit key and attributes.
    #[error("signature value wrong")]
    Value,
    /// No certificate that fits came along or was given.
    #[error("the signer's certificate is missing")]
    NoCertificate,
    /// The signed reference means another certificate.
    #[error("the signature names another certificate than the one that came along")]
    OtherCertificate,
    /// An algorithm that is not accepted.
    #[error("signature algorithm not supported")]
    Algorithm,
    /// Signed attributes are missing or contradict each other.
    #[error("signed attributes missing or contradictory")]
    Attributes,
    /// A reference leads to nothing, to several things, or elsewhere.
    #[error("the signature refers to something that is not in the document")]
    Reference,
}

/// Why a document cannot be signed, verified, enciphered or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the format it should be.
    #[error("document: {0}")]
    Format(String),
    /// A signature was asked for in a way this format does not know.
    #[error("{0}")]
    Variant(&'static str),
    /// More signatures, recipients, pages or bytes than are handled.
    #[error("document larger or more complicated than is handled: {0}")]
    TooMuch(&'static str),
    /// What the document may not contain.
    #[error("the document contains {0}, which is not permitted")]
    Forbidden(&'static str),
    /// There is no signature.
    #[error("no signature found")]
    NoSignature,
    /// The document that belongs to a detached signature was not given.
    #[error("the document that was signed is missing")]
    DocumentMissing,
    /// An element is not there.
    #[error("XML element not found: {0}")]
    ElementMissing(String),
    /// An element is not the only one.
    #[error("XML element not unique: {0}")]
    ElementAmbiguous(String),
    /// The place kept for the signature is too small.
    #[error("not enough room for the signature in the PDF document")]
    NoRoom,
    /// The key gave a signature value that is wrong.
    #[error("the signature value does not verify: it was made wrongly, and nothing leaves")]
    BrokenValue,
    /// Nothing in the envelope is for this key.
    #[error("enciphered for nobody whose key is here")]
    NotForUs,
    /// The content key or the content is not what the sender made.
    #[error("cannot be deciphered: damaged, or made with another key")]
    Damaged,
    /// A certificate or key cannot be used.
    #[error("key: {0}")]
    Key(#[from] crypto::Error),
}

impl From<asn1::Error> for Error {
    fn from(error: asn1::Error) -> Self {
        Error::Format(error.to_string())
    }
}

impl From<xmlsec::Error> for Error {
    fn from(error: xmlsec::Error) -> Self {
        match error {
            xmlsec::Error::Immodest(_) | xmlsec::Error::TooDeep => Error::TooMuch("XML"),
            xmlsec::Error::Doctype => Error::Forbidden("a document type definition"),
            xmlsec::Error::Forbidden => Error::Forbidden("XPath or XSLT in a signature"),
            xmlsec::Error::PathMissing(path) => Error::ElementMissing(path),
            xmlsec::Error::PathAmbiguous(path) => Error::ElementAmbiguous(path),
            other => Error::Format(other.to_string()),
        }
    }
}

impl From<der::Error> for Error {
    fn from(error: der::Error) -> Self {
        Error::Format(error.to_string())
    }
}
