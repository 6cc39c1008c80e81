//! One enveloped signature over a whole document, as trust lists carry it.

use crate::c14n::{Mode, canonicalize};
use crate::dsig::{Reference, Signature, algorithm, check_digest};
use crate::{Error, ns};
use algorithm::{ENVELOPED, EXC_C14N, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::{Key, PublicKey, SignatureScheme, sha256};
use ns::{DS, SIGNED_PROPERTIES, XADES};

/// A document whose signature is right.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The signed content in canonical form, without the signature: work with this and nothing else.
    pub content: Vec<u8>,
    /// The certificates in KeyInfo, DER, end entity first. They are a claim; judge them.
    pub certificates: Vec<Vec<u8>>,
}

/// What a XAdES signature says about itself besides its value.
#[derive(Debug, Clone, Copy)]
pub struct Properties<'a> {
    /// When it was made, RFC 3339.
    pub signing_time: &'a str,
    /// Issuer of the signer's certificate, RFC 4514 text.
    pub issuer: &'a str,
    /// Its serial number, decimal.
    pub serial: &'a str,
}

/// Puts an enveloped signature (exclusive canonicalisation, SHA-256; ECDSA or PSS) as last child into the root of `xml`. With
/// `properties` it is a XAdES signature as in gematik's trust lists.
pub fn sign_enveloped(
    xml: &str,
    key: &dyn Key,
    certificate: &[u8],
    properties: Option<&Properties<'_>>,
) -> Result<String, Error> {
    let document = crate::parse(xml)?;
    let mode = Mode::Exclusive(Vec::new());
    let digest = STANDARD.encode(sha256([canonicalize(document.root(), &mode, &[])?]));
    let scheme = match key.public() {
        PublicKey::Ec(_) => SignatureScheme::Ecdsa,
        PublicKey::Rsa(_) => SignatureScheme::RsaPss,
    };
    let method = algorithm::signing(scheme);
    // written in canonical form: whatever is signed is also what stands in the document
    let object = properties.map(|properties| signed_properties(properties, certificate));
    let second = object.as_ref().map_or(String::new(), |properties| {
        format!(
            "<ds:Reference Type=\"{SIGNED_PROPERTIES}\" URI=\"#SignedProperties\"><ds:Transforms>\
             <ds:Transform Algorithm=\"{EXC_C14N}\"></ds:Transform></ds:Transforms>\
             <ds:DigestMethod Algorithm=\"{SHA256}\"></ds:DigestMethod>\
             <ds:DigestValue>{}</ds:DigestValue></ds:Reference>",
            STANDARD.encode(sha256([properties]))
        )
    });
    let inside = format!(
        "<ds:CanonicalizationMethod Algorithm=\"{EXC_C14N}\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"{method}\"></ds:SignatureMethod>\
         <ds:Reference Id=\"Document\" URI=\"\"><ds:Transforms>\
         <ds:Transform Algorithm=\"{ENVELOPED}\"></ds:Transform>\
         <ds:Transform Algorithm=\"{EXC_C14N}\"></ds:Transform></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"{SHA256}\"></ds:DigestMethod>\
         <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>{second}</ds:SignedInfo>"
    );
    let signed_info = format!("<ds:SignedInfo xmlns:ds=\"{DS}\">{inside}");
    let mut value = key.sign(scheme, signed_info.as_bytes())?;
    if scheme == SignatureScheme::Ecdsa {
        value = crypto::ecdsa_raw(&value)?;
    }
    let object = object.map_or(String::new(), |properties| {
        format!(
            "<ds:Object><xades:QualifyingProperties xmlns:xades=\"{XADES}\" Target=\"#Signature\">{properties}\
             </xades:QualifyingProperties></ds:Object>"
        )
    });
    let signature = format!(
        "<ds:Signature xmlns:ds=\"{DS}\" Id=\"Signature\"><ds:SignedInfo>{inside}\
         <ds:SignatureValue>{}</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}\
         </ds:X509Certificate></ds:X509Data></ds:KeyInfo>{object}</ds:Signature>",
        STANDARD.encode(value),
        STANDARD.encode(certificate)
    );
    let end = xml
        .rfind("</")
        .ok_or(Error::Unacceptable("the root element must have an end tag"))?;
    let (before, after) = xml.split_at(end);
    Ok(format!("{before}{signature}{after}"))
}

/// The signed properties in canonical form.
fn signed_properties(properties: &Properties<'_>, certificate: &[u8]) -> String {
    let text = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    format!(
        "<xades:SignedProperties xmlns:xades=\"{XADES}\" Id=\"SignedProperties\"><xades:SignedSignatureProperties>\
         <xades:SigningTime>{}</xades:SigningTime><xades:SigningCertificate><xades:Cert><xades:CertDigest>\
         <ds:DigestMethod xmlns:ds=\"{DS}\" Algorithm=\"{SHA256}\"></ds:DigestMethod>\
         <ds:DigestValue xmlns:ds=\"{DS}\">{}</ds:DigestValue></xades:CertDigest><xades:IssuerSerial>\
         <ds:X509IssuerName xmlns:ds=\"{DS}\">{}</ds:X509IssuerName>\
         <ds:X509SerialNumber xmlns:ds=\"{DS}\">{}</ds:X509SerialNumber></xades:IssuerSerial></xades:Cert>\
         </xades:SigningCertificate></xades:SignedSignatureProperties><xades:SignedDataObjectProperties>\
         <xades:DataObjectFormat ObjectReference=\"#Document\"><xades:MimeType>text/xml</xades:MimeType>\
         </xades:DataObjectFormat></xades:SignedDataObjectProperties></xades:SignedProperties>",
        text(properties.signing_time),
        STANDARD.encode(sha256([certificate])),
        text(properties.issuer),
        text(properties.serial),
    )
}

/// Checks the one enveloped signature of `xml`. `key` judges the certificates of KeyInfo and returns the key to use.
///
/// Besides the document, a XAdES signature covers its own signed properties; the certificate they name must then be
/// the one in KeyInfo.
pub fn verify_enveloped<E: From<Error>>(
    xml: &str,
    key: impl FnOnce(&[Vec<u8>]) -> Result<PublicKey, E>,
) -> Result<Verified, E> {
    let document = crate::parse(xml)?;
    let root = document.root_element();
    let mut all = document
        .descendants()
        .filter(|node| node.has_tag_name((DS, "Signature")));
    let node = all.next().ok_or(Error::SignatureCount)?;
    if all.next().is_some() || node.parent() != Some(root) {
        return Err(Error::SignatureCount.into());
    }
    let signature = Signature::read(node)?;
    let (whole, properties) = covered(&signature, root)?;
    let key = key(&signature.certificates)?;
    signature.check_value(&key)?;
    // the whole document is gone through only for somebody who is believed
    if let Some(reference) = properties {
        check_properties(reference, &signature)?;
    }
    Ok(Verified {
        content: whole.check()?,
        certificates: signature.certificates,
    })
}

/// The whole document, and perhaps the signature's own properties; nothing else is accepted.
fn covered<'s, 'a, 'i>(
    signature: &'s Signature<'a, 'i>,
    root: roxmltree::Node<'a, 'i>,
) -> Result<(&'s Reference<'a, 'i>, Option<&'s Reference<'a, 'i>>), Error> {
    // the order is the signer's
    let (whole, properties) = match signature.references.as_slice() {
        [whole] => (whole, None),
        [properties, whole] if properties.kind == Some(SIGNED_PROPERTIES) => (whole, Some(properties)),
        [whole, properties] if properties.kind == Some(SIGNED_PROPERTIES) => (whole, Some(properties)),
        [_, _] => return Err(Error::Unacceptable("second reference")),
        _ => return Err(Error::Unacceptable("more than two references")),
    };
    if whole.target != root && !whole.target.is_root() {
        return Err(Error::Unacceptable(
            "reference to something else than the whole document",
        ));
    }
    match whole.enveloped {
        true => Ok((whole, properties)),
        false => Err(Error::Unacceptable("enveloped transform missing")),
    }
}

/// The signed properties of XAdES: they must lie inside this signature and name the certificate in KeyInfo.
fn check_properties(reference: &Reference<'_, '_>, signature: &Signature<'_, '_>) -> Result<(), Error> {
    let mut found = signature
        .node
        .descendants()
        .filter(|node| node.has_tag_name((XADES, "SignedProperties")));
    let (Some(properties), None) = (found.next(), found.next()) else {
        return Err(Error::Unacceptable("signed properties"));
    };
    if reference.target != properties {
        return Err(Error::Unacceptable("reference to the signed properties"));
    }
    reference.check()?;
    let named = properties
        .descendants()
        .find(|node| node.has_tag_name((XADES, "CertDigest")))
        .ok_or(Error::Unacceptable(
            "signing certificate missing in the signed properties",
        ))?;
    let certificate = signature
        .certificates
        .first()
        .ok_or(Error::Unacceptable("KeyInfo"))?;
    check_digest(named, certificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::{Curve, EcPrivate, SoftKey};

    const XML: &str = "<?xml version=\"1.0\"?>\n<list xmlns=\"urn:list\" Id=\"L1\">\n  <entry a=\"1\">ä &amp; ö</entry>\n</list>";

    fn key() -> SoftKey {
        SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap())
    }

    #[test]
    fn sign_and_verify() {
        let key = key();
        let signed = sign_enveloped(XML, &key, b"certificate", None).unwrap();
        let verified = verify_enveloped::<Error>(&signed, |_| Ok(key.public())).unwrap();
        assert_eq!(verified.certificates, [b"certificate".to_vec()]);
        assert!(
            verified
                .content
                .starts_with(b"<list xmlns=\"urn:list\" Id=\"L1\">")
        );
    }

    #[test]
    fn signed_properties_bind_the_certificate() {
        let key = key();
        let properties = Properties {
            signing_time: "2026-11-25T00:00:00Z",
            issuer: "CN=GEM.TSL-CA & Co,C=DE",
            serial: "6",
        };
        let signed = sign_enveloped(XML, &key, b"certificate", Some(&properties)).unwrap();
        let check = |xml: &str| verify_enveloped::<Error>(xml, |_| Ok(key.public())).map(|_| ());
        check(&signed).unwrap();
        assert!(matches!(
            check(&signed.replace("2026-11-25", "2026-11-24")),
            Err(Error::Digest)
        ));
        // another certificate in KeyInfo than the one that was signed for
        let (own, other) = (STANDARD.encode("certificate"), STANDARD.encode("certificat"));
        assert!(matches!(check(&signed.replace(&own, &other)), Err(Error::Digest)));
        // the reference moved to a second element with the same id
        let doubled = signed.replace("<entry ", "<entry Id=\"SignedProperties\" ");
        assert!(matches!(check(&doubled), Err(Error::Reference)));
        let third = "<ds:Reference URI=\"\"></ds:Reference></ds:SignedInfo>";
        assert!(check(&signed.replace("</ds:SignedInfo>", third)).is_err());
    }

    #[test]
    fn manipulation_is_found() {
        let key = key();
        let signed = sign_enveloped(XML, &key, b"c", None).unwrap();
        let check = |xml: &str| verify_enveloped::<Error>(xml, |_| Ok(key.public())).map(|_| ());
        assert!(matches!(check(&signed.replace("ä", "a")), Err(Error::Digest)));
        assert!(matches!(check(XML), Err(Error::SignatureCount)));
        // wrapping: the signed list moved into another one
        let inner = signed.split_once("?>\n").unwrap().1;
        assert!(matches!(
            check(&format!("<list xmlns=\"urn:list\">{inner}</list>")),
            Err(Error::SignatureCount)
        ));
        assert!(matches!(
            check(&signed.replace("URI=\"\"", "URI=\"#other\"")),
            Err(Error::Reference)
        ));
        let other = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap());
        let foreign = verify_enveloped::<Error>(&signed, |_| Ok(other.public()));
        assert!(matches!(foreign, Err(Error::Signature)));
        assert!(check("<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>").is_err());
    }
}
