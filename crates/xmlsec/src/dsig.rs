use crate::Error;
use crate::c14n::{Mode, canonicalize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::{PublicKey, SoftKey, sha256};
use roxmltree::Node;

const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXC_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
const ECDSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const RSA_PSS_SHA256: &str = "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1";

/// A document whose signature is right.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The signed content in canonical form, without the signature: work with this and nothing else.
    pub content: Vec<u8>,
    /// The certificates in KeyInfo, DER, end entity first. They are a claim; judge them.
    pub certificates: Vec<Vec<u8>>,
}

/// Puts an enveloped signature (exclusive canonicalisation, SHA-256) as last child into the root of `xml`.
pub fn sign_enveloped(xml: &str, key: &SoftKey, certificate: &[u8]) -> Result<String, Error> {
    let document = roxmltree::Document::parse(xml)?;
    let mode = Mode::Exclusive(Vec::new());
    let digest = STANDARD.encode(sha256([canonicalize(document.root_element(), &mode, None)?]));
    let method = match key {
        SoftKey::Ec(_) => ECDSA_SHA256,
        SoftKey::Rsa(_) => RSA_SHA256,
    };
    // written in canonical form: whatever is signed is also what stands in the document
    let inside = format!(
        "<ds:CanonicalizationMethod Algorithm=\"{EXC_C14N}\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"{method}\"></ds:SignatureMethod>\
         <ds:Reference URI=\"\"><ds:Transforms>\
         <ds:Transform Algorithm=\"{ENVELOPED}\"></ds:Transform>\
         <ds:Transform Algorithm=\"{EXC_C14N}\"></ds:Transform></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"{SHA256}\"></ds:DigestMethod>\
         <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    );
    let signed_info = format!("<ds:SignedInfo xmlns:ds=\"{DS}\">{inside}");
    let value = match key {
        SoftKey::Ec(key) => key.sign_prehash(&sha256([&signed_info]))?,
        SoftKey::Rsa(key) => key.sign_pkcs1(signed_info.as_bytes())?,
    };
    let signature = format!(
        "<ds:Signature xmlns:ds=\"{DS}\"><ds:SignedInfo>{inside}\
         <ds:SignatureValue>{}</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}\
         </ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>",
        STANDARD.encode(value),
        STANDARD.encode(certificate)
    );
    let end = xml
        .rfind("</")
        .ok_or(Error::Unacceptable("the root element must have an end tag"))?;
    let (before, after) = xml.split_at(end);
    Ok(format!("{before}{signature}{after}"))
}

/// Checks the one enveloped signature of `xml`. `key` judges the certificates of KeyInfo and returns the key to use.
pub fn verify_enveloped<E: From<Error>>(
    xml: &str,
    key: impl FnOnce(&[Vec<u8>]) -> Result<PublicKey, E>,
) -> Result<Verified, E> {
    let document = roxmltree::Document::parse(xml).map_err(Error::from)?;
    let root = document.root_element();
    let mut all = document
        .descendants()
        .filter(|node| node.has_tag_name((DS, "Signature")));
    let signature = all.next().ok_or(Error::SignatureCount)?;
    if all.next().is_some() || signature.parent() != Some(root) {
        return Err(Error::SignatureCount.into());
    }
    let signed_info = child(signature, "SignedInfo")?;
    let content = check_reference(signed_info, root, signature)?;
    let method = child(signed_info, "CanonicalizationMethod")?;
    let mode = c14n_mode(method)?;
    let certificates = key_info(signature)?;
    let key = key(&certificates)?;
    let value = decode(child(signature, "SignatureValue")?)?;
    let message = canonicalize(signed_info, &mode, None)?;
    let algorithm = child(signed_info, "SignatureMethod")?
        .attribute("Algorithm")
        .unwrap_or_default();
    let outcome = match (&key, algorithm) {
        (PublicKey::Ec(key), ECDSA_SHA256) => key.verify_prehash(&sha256([&message]), &value),
        (PublicKey::Rsa(key), RSA_SHA256) => key.verify_pkcs1(&message, &value),
        (PublicKey::Rsa(key), RSA_PSS_SHA256) => key.verify_pss(&message, &value),
        _ => return Err(Error::Unacceptable("signature method").into()),
    };
    outcome.map_err(|_| Error::Signature)?;
    Ok(Verified {
        content,
        certificates,
    })
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> Result<Node<'a, 'i>, Error> {
    let mut found = node.children().filter(|child| child.has_tag_name((DS, name)));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(Error::Unacceptable(name)),
    }
}

fn decode(node: Node<'_, '_>) -> Result<Vec<u8>, Error> {
    let text: String = node.text().unwrap_or_default().split_ascii_whitespace().collect();
    STANDARD.decode(text).map_err(|_| Error::Unacceptable("base64"))
}

fn c14n_mode(method: Node<'_, '_>) -> Result<Mode, Error> {
    match method.attribute("Algorithm") {
        Some(EXC_C14N) => {
            let inclusive = method
                .children()
                .find(|node| node.has_tag_name((EXC_C14N, "InclusiveNamespaces")));
            let list = inclusive
                .and_then(|node| node.attribute("PrefixList"))
                .unwrap_or_default();
            let prefixes = list.split_ascii_whitespace();
            Ok(Mode::Exclusive(
                prefixes
                    .map(|p| if p == "#default" { "" } else { p }.to_owned())
                    .collect(),
            ))
        }
        Some("http://www.w3.org/TR/2001/REC-xml-c14n-20010315") => Ok(Mode::Inclusive),
        _ => Err(Error::Unacceptable("canonicalisation method")),
    }
}

/// The only reference must mean the whole document; returns its canonical bytes if the digest fits.
fn check_reference(
    signed_info: Node<'_, '_>,
    root: Node<'_, '_>,
    signature: Node<'_, '_>,
) -> Result<Vec<u8>, Error> {
    let reference = child(signed_info, "Reference")?;
    let uri = reference.attribute("URI").unwrap_or_default();
    let whole = uri.is_empty()
        || uri.strip_prefix('#').is_some_and(|id| {
            ["Id", "ID", "id"]
                .iter()
                .any(|name| root.attribute(*name) == Some(id))
        });
    if !whole {
        return Err(Error::Unacceptable(
            "reference to something else than the whole document",
        ));
    }
    let mut mode = Mode::Inclusive;
    let mut enveloped = false;
    let transforms = child(reference, "Transforms")?;
    for transform in transforms.children().filter(Node::is_element) {
        match transform.attribute("Algorithm") {
            Some(ENVELOPED) => enveloped = true,
            _ => mode = c14n_mode(transform)?,
        }
    }
    if !enveloped {
        return Err(Error::Unacceptable("enveloped transform missing"));
    }
    if child(reference, "DigestMethod")?.attribute("Algorithm") != Some(SHA256) {
        return Err(Error::Unacceptable("digest method"));
    }
    let content = canonicalize(root, &mode, Some(signature.id()))?;
    if decode(child(reference, "DigestValue")?)? != sha256([&content]) {
        return Err(Error::Digest);
    }
    Ok(content)
}

fn key_info(signature: Node<'_, '_>) -> Result<Vec<Vec<u8>>, Error> {
    let certificates = signature
        .descendants()
        .filter(|node| node.has_tag_name((DS, "X509Certificate")));
    certificates.map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::{Curve, EcPrivate, Key};

    const XML: &str = "<?xml version=\"1.0\"?>\n<list xmlns=\"urn:list\" Id=\"L1\">\n  <entry a=\"1\">ä &amp; ö</entry>\n</list>";

    fn key() -> SoftKey {
        SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap())
    }

    #[test]
    fn sign_and_verify() {
        let key = key();
        let signed = sign_enveloped(XML, &key, b"certificate").unwrap();
        let verified = verify_enveloped::<Error>(&signed, |_| Ok(key.public())).unwrap();
        assert_eq!(verified.certificates, [b"certificate".to_vec()]);
        assert!(
            verified
                .content
                .starts_with(b"<list xmlns=\"urn:list\" Id=\"L1\">")
        );
    }

    #[test]
    fn manipulation_is_found() {
        let key = key();
        let signed = sign_enveloped(XML, &key, b"c").unwrap();
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
            Err(Error::Unacceptable(_))
        ));
        let other = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap());
        let foreign = verify_enveloped::<Error>(&signed, |_| Ok(other.public()));
        assert!(matches!(foreign, Err(Error::Signature)));
        assert!(check("<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>").is_err());
    }
}
