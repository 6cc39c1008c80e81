//! Canonical XML and XML signatures, only the parts the TI uses.
//!
//! * [`canonicalize`]: Canonical XML 1.0 and 1.1 (without comments) and exclusive canonicalisation, of a subtree.
//! * [`dsig`]: one `ds:Signature` with its references, read, resolved and checked.
//! * [`sign_enveloped`], [`verify_enveloped`]: one enveloped signature over a whole document (TSL, registration).
//! * [`path`]: the few XPath expressions that say where a signature goes or is.
//!
//! roxmltree reads (and refuses document type definitions); it drops prefixes but keeps positions, so prefixes come
//! from the source text. Rules against wrapping: a reference means the document or exactly one element by its id; a fixed
//! list of transforms; what was verified is handed back, not a mere "true". Lists have exactly one signature, a direct
//! child of the root, with one reference to the whole document and at most one to the signature's own XAdES properties.

mod c14n;
pub mod dsig;
mod enveloped;
pub mod path;

pub use c14n::{Mode, canonicalize};
pub use enveloped::{Properties, Verified, sign_enveloped, verify_enveloped};

/// Namespaces and types of references.
#[allow(missing_docs)]
pub mod ns {
    pub const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
    pub const XADES: &str = "http://uri.etsi.org/01903/v1.3.2#";
    pub const SIGNED_PROPERTIES: &str = "http://uri.etsi.org/01903#SignedProperties";
    pub const COUNTERSIGNED: &str = "http://uri.etsi.org/01903#CountersignedSignature";
    pub const MANIFEST: &str = "http://www.w3.org/2000/09/xmldsig#Manifest";
}

/// Reads a document within the limits that hold for all XML.
pub fn parse(xml: &str) -> Result<roxmltree::Document<'_>, Error> {
    base::xml::check(xml)?;
    let options = roxmltree::ParsingOptions {
        nodes_limit: base::limits::XML_NODES,
        ..Default::default()
    };
    roxmltree::Document::parse_with_options(xml, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => Error::Doctype,
        roxmltree::Error::NodesLimitReached => Error::TooDeep,
        other => Error::Xml(other),
    })
}

/// Why a document was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not readable XML.
    #[error("not readable XML: {0}")]
    Xml(#[from] roxmltree::Error),
    /// XML with a document type definition, which could define entities.
    #[error("XML with a document type definition")]
    Doctype,
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
    /// A reference means nothing here, or several things.
    #[error("signature: a reference means nothing in this document, or several elements")]
    Reference,
    /// An XPath expression nobody here understands.
    #[error("XPath expression not supported: {0}")]
    Path(String),
    /// An XPath expression that means nothing.
    #[error("no element at {0}")]
    PathMissing(String),
    /// An XPath expression that means several elements.
    #[error("several elements at {0}")]
    PathAmbiguous(String),
    /// A transform that could hide anything.
    #[error("signature with XPath or XSLT transforms")]
    Forbidden,
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
