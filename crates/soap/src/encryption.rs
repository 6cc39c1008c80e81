//! EncryptionService 6.1.

use crate::read::context;
use crate::signature::{InputDocument, KeyChoice, base64, key_choice, property_values};
use crate::{Malformed, Request, Status, Writer, children, descend, ns, optional, required};
use roxmltree::Node;

/// A card whose ENC key or certificate is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KeyOnCard {
    pub handle: String,
    pub reference: Option<String>,
    pub crypt: Option<KeyChoice>,
}

impl KeyOnCard {
    fn read(node: Node<'_, '_>) -> Result<Self, Malformed> {
        Ok(Self {
            handle: required(node, ns::CONN, "CardHandle")?,
            reference: optional(node, ns::CRYPT, "KeyReference").filter(|text| !text.is_empty()),
            crypt: key_choice(node, ns::CRYPT)?,
        })
    }
}

/// Types of encryption on the wire.
pub mod encryption_type {
    /// XML encryption.
    pub const XML: &str = "http://www.w3.org/TR/xmlenc-core/";
    /// CMS.
    pub const CMS: &str = "urn:ietf:rfc:5652";
    /// S/MIME.
    pub const SMIME: &str = "urn:ietf:rfc:5751";
}

pub(crate) fn decode(body: Node<'_, '_>) -> Result<Request, Malformed> {
    let context = context(body)?;
    let document = InputDocument::read(descend(body, ns::CONN, "Document")?)?;
    match body.tag_name().name() {
        "EncryptDocument" => {
            let keys = descend(body, ns::CRYPT, "RecipientKeys")?;
            let card = children(keys, ns::CRYPT, "CertificateOnCard").next();
            let certificates = children(keys, ns::CRYPT, "Certificate").map(base64);
            let inputs = children(body, ns::CRYPT, "OptionalInputs").next();
            let properties =
                inputs.and_then(|node| children(node, ns::CRYPT, "UnprotectedProperties").next());
            Ok(Request::Encrypt {
                context,
                card: card.map(KeyOnCard::read).transpose()?,
                certificates: certificates.collect::<Result<_, _>>()?,
                kind: inputs
                    .and_then(|node| optional(node, ns::CRYPT, "EncryptionType"))
                    .filter(|kind| !kind.is_empty()),
                unprotected: properties.map_or(Ok(Vec::new()), property_values)?,
                document,
            })
        }
        "DecryptDocument" => Ok(Request::Decrypt {
            context,
            card: KeyOnCard::read(descend(body, ns::CRYPT, "PrivateKeyOnCard")?)?,
            document,
        }),
        other => Err(Malformed(format!(
            "operation {other:.40} unknown in EncryptionService"
        ))),
    }
}

/// Answer to EncryptDocument or DecryptDocument.
pub fn encryption_response(operation: &str, status: &Status, document: &InputDocument) -> String {
    let name = format!("CRYPT:{operation}Response");
    let mut out = Writer::new();
    out.open(
        &name,
        &[
            ("xmlns:CRYPT", ns::CRYPT),
            ("xmlns:CONN", ns::CONN),
            ("xmlns:dss", ns::DSS),
        ],
    );
    status.write(&mut out);
    // the two messages have their parts in different order
    match operation {
        "EncryptDocument" => {
            out.open("CRYPT:OptionalOutputs", &[])
                .close("CRYPT:OptionalOutputs");
            document.write("CONN:Document", &mut out);
        }
        _ => document.write("CONN:Document", &mut out),
    }
    out.close(&name);
    out.finish()
}
