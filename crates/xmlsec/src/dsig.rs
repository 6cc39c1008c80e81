use crate::Error;
use crate::c14n::{Mode, canonicalize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::{Hash, Key, PublicKey, SignatureScheme, SoftKey, sha256, sha512};
use roxmltree::Node;

const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXC_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
const ECDSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const RSA_PSS_SHA256: &str = "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1";
const RSA_PSS_SHA512: &str = "http://www.w3.org/2007/05/xmldsig-more#sha512-rsa-MGF1";
const SHA512: &str = "http://www.w3.org/2001/04/xmlenc#sha512";
const XADES: &str = "http://uri.etsi.org/01903/v1.3.2#";
const SIGNED_PROPERTIES: &str = "http://uri.etsi.org/01903#SignedProperties";

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

/// Puts an enveloped signature (exclusive canonicalisation, SHA-256) as last child into the root of `xml`. With
/// `properties` it is a XAdES signature as in gematik's trust lists.
pub fn sign_enveloped(
    xml: &str,
    key: &SoftKey,
    certificate: &[u8],
    properties: Option<&Properties<'_>>,
) -> Result<String, Error> {
    let document = roxmltree::Document::parse(xml)?;
    let mode = Mode::Exclusive(Vec::new());
    let digest = STANDARD.encode(sha256([canonicalize(document.root_element(), &mode, None)?]));
    let method = match key {
        SoftKey::Ec(_) => ECDSA_SHA256,
        SoftKey::Rsa(_) => RSA_SHA256,
    };
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
    let value = match key {
        SoftKey::Ec(key) => key.sign_prehash(&sha256([&signed_info]))?,
        SoftKey::Rsa(_) => key.sign(SignatureScheme::RsaPkcs1, signed_info.as_bytes())?,
    };
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
    base::xml::check(xml).map_err(Error::from)?;
    let options = roxmltree::ParsingOptions {
        nodes_limit: base::limits::XML_NODES,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(xml, options).map_err(Error::from)?;
    let root = document.root_element();
    let mut all = document
        .descendants()
        .filter(|node| node.has_tag_name((DS, "Signature")));
    let signature = all.next().ok_or(Error::SignatureCount)?;
    if all.next().is_some() || signature.parent() != Some(root) {
        return Err(Error::SignatureCount.into());
    }
    let signed_info = child(signature, "SignedInfo")?;
    let references = References::of(signed_info, root)?;
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
        (PublicKey::Rsa(key), RSA_SHA256) => key.verify_pkcs1(Hash::Sha256, &sha256([&message]), &value),
        (PublicKey::Rsa(key), RSA_PSS_SHA256) => key.verify_pss(Hash::Sha256, &sha256([&message]), &value),
        (PublicKey::Rsa(key), RSA_PSS_SHA512) => key.verify_pss(Hash::Sha512, &sha512(&message), &value),
        _ => return Err(Error::Unacceptable("signature method").into()),
    };
    outcome.map_err(|_| Error::Signature)?;
    // the whole document is gone through only for somebody who is believed
    Ok(Verified {
        content: references.check(root, signature)?,
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

/// What a signature covers: the whole document, and perhaps its own signed properties. Nothing else is accepted.
struct References<'a, 'i> {
    whole: Node<'a, 'i>,
    mode: Mode,
    properties: Option<Node<'a, 'i>>,
}

impl<'a, 'i> References<'a, 'i> {
    fn of(signed_info: Node<'a, 'i>, root: Node<'a, 'i>) -> Result<Self, Error> {
        let mut references = signed_info
            .children()
            .filter(|node| node.has_tag_name((DS, "Reference")));
        let (first, second) = (references.next(), references.next());
        let first = first.ok_or(Error::Unacceptable("reference missing"))?;
        if references.next().is_some() {
            return Err(Error::Unacceptable("more than two references"));
        }
        // the order is the signer's
        let (whole, properties) = match second {
            Some(second) if first.attribute("Type") == Some(SIGNED_PROPERTIES) => (second, Some(first)),
            second => (first, second),
        };
        let uri = whole.attribute("URI").unwrap_or_default();
        let means_all = uri.is_empty() || uri.strip_prefix('#').is_some_and(|id| has_id(root, id));
        if !means_all {
            return Err(Error::Unacceptable(
                "reference to something else than the whole document",
            ));
        }
        let (mode, enveloped) = transforms(whole)?;
        if !enveloped {
            return Err(Error::Unacceptable("enveloped transform missing"));
        }
        Ok(Self {
            whole,
            mode,
            properties,
        })
    }

    /// The document's canonical bytes, if all digests fit.
    fn check(&self, root: Node<'_, '_>, signature: Node<'_, '_>) -> Result<Vec<u8>, Error> {
        if let Some(reference) = self.properties {
            check_properties(reference, signature)?;
        }
        let content = canonicalize(root, &self.mode, Some(signature.id()))?;
        check_digest(self.whole, &content)?;
        Ok(content)
    }
}

/// The signed properties of XAdES: they must lie inside this signature and name the certificate in KeyInfo.
fn check_properties(reference: Node<'_, '_>, signature: Node<'_, '_>) -> Result<(), Error> {
    if reference.attribute("Type") != Some(SIGNED_PROPERTIES) {
        return Err(Error::Unacceptable("second reference"));
    }
    let mut found = signature
        .descendants()
        .filter(|node| node.has_tag_name((XADES, "SignedProperties")));
    let (Some(properties), None) = (found.next(), found.next()) else {
        return Err(Error::Unacceptable("signed properties"));
    };
    let id = reference.attribute("URI").and_then(|uri| uri.strip_prefix('#'));
    // an id that somebody else carries too would leave open what was signed
    let meant = id.is_some_and(|id| {
        let mut all = signature
            .document()
            .descendants()
            .filter(|node| has_id(*node, id));
        all.next() == Some(properties) && all.next().is_none()
    });
    if !meant {
        return Err(Error::Unacceptable("reference to the signed properties"));
    }
    let (mode, _) = transforms(reference)?;
    check_digest(reference, &canonicalize(properties, &mode, None)?)?;
    let certificates = key_info(signature)?;
    let named = properties
        .descendants()
        .find(|node| node.has_tag_name((XADES, "CertDigest")))
        .ok_or(Error::Unacceptable(
            "signing certificate missing in the signed properties",
        ))?;
    let certificate = certificates.first().ok_or(Error::Unacceptable("KeyInfo"))?;
    check_digest(named, certificate)
}

fn has_id(node: Node<'_, '_>, id: &str) -> bool {
    ["Id", "ID", "id"]
        .iter()
        .any(|name| node.attribute(*name) == Some(id))
}

/// How to canonicalise, and whether the signature itself is left out. Absent transforms mean Canonical XML 1.0.
fn transforms(reference: Node<'_, '_>) -> Result<(Mode, bool), Error> {
    let (mut mode, mut enveloped) = (Mode::Inclusive, false);
    let all = reference
        .children()
        .find(|node| node.has_tag_name((DS, "Transforms")));
    for transform in all
        .into_iter()
        .flat_map(|all| all.children().filter(Node::is_element))
    {
        match transform.attribute("Algorithm") {
            Some(ENVELOPED) => enveloped = true,
            _ => mode = c14n_mode(transform)?,
        }
    }
    Ok((mode, enveloped))
}

/// DigestMethod and DigestValue of `node` against `content`.
fn check_digest(node: Node<'_, '_>, content: &[u8]) -> Result<(), Error> {
    let digest = match child(node, "DigestMethod")?.attribute("Algorithm") {
        Some(SHA256) => sha256([content]).to_vec(),
        Some(SHA512) => sha512(content).to_vec(),
        _ => return Err(Error::Unacceptable("digest method")),
    };
    match decode(child(node, "DigestValue")?)? == digest {
        true => Ok(()),
        false => Err(Error::Digest),
    }
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
    use crypto::{Curve, EcPrivate};

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
        assert!(matches!(check(&doubled), Err(Error::Unacceptable(_))));
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
            Err(Error::Unacceptable(_))
        ));
        let other = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).unwrap());
        let foreign = verify_enveloped::<Error>(&signed, |_| Ok(other.public()));
        assert!(matches!(foreign, Err(Error::Signature)));
        assert!(check("<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>").is_err());
    }
}
