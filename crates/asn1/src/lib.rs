//! Bytes to types and back: BER-TLV, CV certificates, OCSP, CMS, and what the TI adds to X.509.
//!
//! Pure: no input or output, no clock, no key ever used. Everything here sees foreign bytes, is bounded and fuzzed.
//! Chapters: gemSpec_PKI (CV certificates 6.7, admission 4.6), RFC 6960 with the CertHash extension of Common PKI,
//! RFC 5652, 5083 and 5940.

pub mod ber;
pub mod cms;
mod crl;
mod cvc;
pub mod ocsp;
pub mod oid;
pub mod tlv;
mod x509;

pub use crl::{Crl, RevokedEntry};
pub use cvc::{Chat, Cvc, CvcDate, Flags, ListKind};
pub use x509::{Admission, X509};

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The data end before a length says so.
    #[error("truncated {0}")]
    Truncated(&'static str),
    /// A rule of the encoding is broken.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A mandatory object is absent.
    #[error("missing {0}")]
    Missing(&'static str),
    /// The DER library refused the bytes.
    #[error("DER: {0}")]
    Der(String),
}

impl From<der::Error> for Error {
    fn from(error: der::Error) -> Self {
        Error::Der(error.to_string())
    }
}
