//! Canonical XML and XML signatures, only the parts the TI uses.
//!
//! * [`canonicalize`]: Canonical XML 1.0 (without comments) and exclusive canonicalisation, of a subtree.
//! * [`sign_enveloped`], [`verify_enveloped`]: one enveloped signature over a whole document (TSL, registration).
//!
//! roxmltree reads (and refuses document type definitions); it drops prefixes but keeps positions, so prefixes come
//! from the source text. Rules against wrapping: exactly one signature, a direct child of the root; one reference to
//! the whole document and at most one to the signature's own XAdES properties; a fixed list of transforms; what was
//! verified is handed back, not a mere "true".

mod c14n;
mod dsig;

pub use c14n::{Mode, canonicalize};
pub use dsig::{Properties, Verified, sign_enveloped, verify_enveloped};

/// Why a document was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not readable XML, or XML with a document type definition.
    #[error("not readable XML: {0}")]
    Xml(#[from] roxmltree::Error),
    /// More elements, attributes or namespaces than any document needs.
    #[error("{0}")]
    Immodest(#[from] base::xml::Immodest),
    /// Nested deeper than any document of the TI.
    #[error("XML nested too deep")]
    TooDeep,
    /// No signature where one must be, or more than one.
    #[error("exactly one enveloped signature expected")]
    SignatureCount,
    /// A part of the signature is missing or not one we accept.
    #[error("signature: {0}")]
    Unacceptable(&'static str),
    /// The digest of the document differs.
    #[error("the document was changed after signing")]
    Digest,
    /// The signature does not fit the key.
    #[error("signature value wrong")]
    Signature,
    /// The key cannot be used.
    #[error("key: {0}")]
    Key(#[from] crypto::Error),
}
