//! The text of a signature, from its parts to the finished value. Everything is written into the document first, with room
//! for the digests; then what stands there is canonicalised in its place, so that no second serialisation can differ.

use super::{About, Gap};
use crate::{Draft, Error, Signer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::SignatureScheme;
use roxmltree::Node;
use std::fmt::Write;
use std::ops::Range;
use xmlsec::dsig::{self, algorithm};
use xmlsec::ns;

/// An id nobody else has.
pub(super) fn identifier() -> Result<String, Error> {
    let bytes: [u8; 12] = crypto::random()?;
    let hex: String = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok(format!("sig-{hex}"))
}

/// Transforms of a reference to the document the signature stands in.
pub(super) fn enveloped(beside_others: bool) -> &'static str {
    match beside_others {
        false => "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>",
        true => {
            "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>\
             <ds:Transform Algorithm=\"http://www.w3.org/2002/06/xmldsig-filter2\">\
             <dsf:XPath xmlns:dsf=\"http://www.w3.org/2002/06/xmldsig-filter2\" Filter=\"subtract\">\
             /descendant::ds:Signature</dsf:XPath></ds:Transform>"
        }
    }
}

/// In ASCII, whatever the encoding of the document around it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in base::xml::escape(text).chars() {
        match c.is_ascii() {
            true => out.push(c),
            false => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
        }
    }
    out
}

/// A signature without digests and value.
pub(super) struct Template {
    name: String,
    /// From `<ds:Signature` to the end of KeyInfo.
    head: String,
    /// The objects with properties and manifest, and the end tag.
    tail: String,
}

impl Template {
    /// A signature that covers `uri`; `transforms` come before canonicalisation.
    pub(super) fn new(name: &str, signer: &Signer, about: &About, uri: &str, transforms: &str) -> Self {
        let first = reference(uri, &format!(" Id=\"{name}-document\""), transforms);
        Self::with(name, signer, about, &first)
    }

    /// A signature over a signature value.
    pub(super) fn counter(name: &str, signer: &Signer, about: &About, uri: &str) -> Self {
        let kind = format!(" Id=\"{name}-document\" Type=\"{}\"", ns::COUNTERSIGNED);
        let first = reference(uri, &kind, "");
        let plain = About {
            policy: None,
            ..about.clone()
        };
        Self::with(name, signer, &plain, &first)
    }

    fn with(name: &str, signer: &Signer, about: &About, first: &str) -> Self {
        let properties = reference(
            &format!("#{name}-properties"),
            &format!(" Type=\"{}\"", ns::SIGNED_PROPERTIES),
            "",
        );
        let (mut third, mut manifest) = (String::new(), String::new());
        if let Some(policy) = about.policy.as_ref().filter(|policy| !policy.schemas.is_empty()) {
            let kind = format!(" Type=\"{}\"", ns::MANIFEST);
            third = reference(&format!("#{name}-manifest"), &kind, "");
            let _ = write!(manifest, "<ds:Object><ds:Manifest Id=\"{name}-manifest\">");
            for (uri, digest) in &policy.schemas {
                let _ = write!(
                    manifest,
                    "<ds:Reference URI=\"{}\"><ds:DigestMethod Algorithm=\"{}\"/><ds:DigestValue>{}</ds:DigestValue>\
                     </ds:Reference>",
                    escape(uri),
                    algorithm::SHA256,
                    STANDARD.encode(digest)
                );
            }
            manifest.push_str("</ds:Manifest></ds:Object>");
        }
        let head = format!(
            "<ds:Signature xmlns:ds=\"{}\" Id=\"{name}\"><ds:SignedInfo>\
             <ds:CanonicalizationMethod Algorithm=\"{}\"/><ds:SignatureMethod Algorithm=\"{}\"/>\
             {first}{properties}{third}</ds:SignedInfo>\
             <ds:SignatureValue Id=\"{name}-value\"></ds:SignatureValue>\
             <ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>",
            ns::DS,
            algorithm::C14N11,
            algorithm::signing(signer.scheme),
            STANDARD.encode(signer.certificate.der())
        );
        let tail = format!(
            "<ds:Object><xades:QualifyingProperties xmlns:xades=\"{}\" Target=\"#{name}\">{}\
             </xades:QualifyingProperties></ds:Object>{manifest}</ds:Signature>",
            ns::XADES,
            signed_properties(name, signer, about)
        );
        Self {
            name: name.to_owned(),
            head,
            tail,
        }
    }

    /// Puts it into a document.
    pub(super) fn insert(self, xml: &str, gap: Gap) -> Result<Prepared, Error> {
        let (before, after) = (xml.get(..gap.range.start), xml.get(gap.range.end..));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let parts = [before, gap.before, &self.head, &self.tail, &gap.after, after];
        Ok(Prepared {
            text: parts.concat(),
            names: vec![self.name],
        })
    }

    /// Puts it around an element.
    pub(super) fn around(self, object: &str, inside: &str) -> Result<Prepared, Error> {
        let object = format!("<ds:Object Id=\"{}\">{inside}</ds:Object>", escape(object));
        Ok(Prepared {
            text: [&self.head[..], &object, &self.tail].concat(),
            names: vec![self.name],
        })
    }

    /// Adds it to the unsigned properties of the signature `target` of the document `original`; `text` is the same with
    /// changes behind that signature only.
    pub(super) fn append_unsigned(
        &self,
        text: &str,
        original: &str,
        target: Node<'_, '_>,
    ) -> Result<String, Error> {
        let counter = format!("{}{}", self.head, self.tail);
        add_unsigned(text, original, target, |prefix| {
            let name = qualified(prefix, "CounterSignature");
            format!("<{name}>{counter}</{name}>")
        })
    }
}

fn qualified(prefix: &str, name: &str) -> String {
    match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}:{name}"),
    }
}

/// Adds an element to the unsigned properties of a signature, which are made if they are not there; `element` is written
/// with the prefix that XAdES has there.
pub(super) fn add_unsigned(
    text: &str,
    original: &str,
    target: Node<'_, '_>,
    element: impl FnOnce(&str) -> String,
) -> Result<String, Error> {
    let own = |name: &'static str| {
        let mut all = target.descendants();
        // not those of a counter signature inside
        all.find(move |node| {
            node.has_tag_name((ns::XADES, name))
                && node
                    .ancestors()
                    .find(|one| one.has_tag_name((ns::DS, "Signature")))
                    == Some(target)
        })
    };
    let qualifying = own("QualifyingProperties").ok_or(Error::Variant(
        "a signature without XAdES properties cannot take more",
    ))?;
    let prefix = original
        .get(qualifying.range())
        .and_then(|text| text.strip_prefix('<')?.split_once("QualifyingProperties"))
        .map_or("", |(prefix, _)| prefix.trim_end_matches(':'));
    let (inside, outer, inner) = match (own("UnsignedSignatureProperties"), own("UnsignedProperties")) {
        (Some(node), _) => (node, None, None),
        (None, Some(node)) => (node, None, Some("UnsignedSignatureProperties")),
        (None, None) => (
            qualifying,
            Some("UnsignedProperties"),
            Some("UnsignedSignatureProperties"),
        ),
    };
    let mut addition = element(prefix);
    for name in [inner, outer].into_iter().flatten() {
        let name = qualified(prefix, name);
        addition = format!("<{name}>{addition}</{name}>");
    }
    let range = inside.range();
    let element = original.get(range.clone()).unwrap_or_default();
    let end = element
        .rfind("</")
        .ok_or(Error::Variant("empty properties cannot take more"))?;
    let at = range.start + end;
    let (before, after) = (text.get(..at), text.get(at..));
    Ok([before.unwrap_or_default(), &addition, after.unwrap_or_default()].concat())
}

/// A reference with room for its digest.
fn reference(uri: &str, attributes: &str, transforms: &str) -> String {
    format!(
        "<ds:Reference{attributes} URI=\"{}\"><ds:Transforms>{transforms}<ds:Transform Algorithm=\"{}\"/></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"{}\"/><ds:DigestValue></ds:DigestValue></ds:Reference>",
        escape(uri),
        algorithm::C14N11,
        algorithm::SHA256
    )
}

fn signed_properties(name: &str, signer: &Signer, about: &About) -> String {
    let certificate = &signer.certificate;
    let policy = about.policy.as_ref().map_or(String::new(), |policy| {
        // the hash stays empty and is never checked (TIP1-A_5538)
        format!(
            "<xades:SignaturePolicyIdentifier><xades:SignaturePolicyId><xades:SigPolicyId><xades:Identifier>{}\
             </xades:Identifier></xades:SigPolicyId><xades:SigPolicyHash><ds:DigestMethod Algorithm=\"{}\"/>\
             <ds:DigestValue></ds:DigestValue></xades:SigPolicyHash></xades:SignaturePolicyId>\
             </xades:SignaturePolicyIdentifier>",
            escape(&policy.uri),
            algorithm::SHA256
        )
    });
    let description = about.description.as_ref().map_or(String::new(), |text| {
        format!("<xades:Description>{}</xades:Description>", escape(text))
    });
    format!(
        "<xades:SignedProperties Id=\"{name}-properties\"><xades:SignedSignatureProperties>\
         <xades:SigningTime>{}</xades:SigningTime><xades:SigningCertificate><xades:Cert><xades:CertDigest>\
         <ds:DigestMethod Algorithm=\"{}\"/><ds:DigestValue>{}</ds:DigestValue></xades:CertDigest><xades:IssuerSerial>\
         <ds:X509IssuerName>{}</ds:X509IssuerName><ds:X509SerialNumber>{}</ds:X509SerialNumber></xades:IssuerSerial>\
         </xades:Cert></xades:SigningCertificate>{policy}</xades:SignedSignatureProperties>\
         <xades:SignedDataObjectProperties><xades:DataObjectFormat ObjectReference=\"#{name}-document\">{description}\
         <xades:MimeType>text/xml</xades:MimeType></xades:DataObjectFormat></xades:SignedDataObjectProperties>\
         </xades:SignedProperties>",
        signer.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        algorithm::SHA256,
        STANDARD.encode(crypto::sha256([certificate.der()])),
        escape(&certificate.issuer()),
        certificate.serial_decimal(),
    )
}

/// A document with signatures that have neither digests nor values.
pub(super) struct Prepared {
    pub(super) text: String,
    pub(super) names: Vec<String>,
}

fn find<'a, 'i>(document: &'a roxmltree::Document<'i>, name: &str) -> Result<Node<'a, 'i>, Error> {
    Ok(dsig::by_id(document.root(), name)?)
}

/// Fills ranges of a text, which are in order.
fn fill(text: &str, fillings: &[(Range<usize>, String)]) -> String {
    let (mut out, mut from) = (String::with_capacity(text.len() + 64 * fillings.len()), 0);
    for (range, filling) in fillings {
        out.push_str(text.get(from..range.start).unwrap_or_default());
        out.push_str(filling);
        from = range.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// The place between the tags of an empty element.
fn inside(node: Node<'_, '_>, text: &str) -> Result<Range<usize>, Error> {
    let range = node.range();
    let element = text.get(range.clone()).unwrap_or_default();
    let at = range.start
        + element
            .rfind("</")
            .ok_or_else(|| Error::Format("element without end".into()))?;
    Ok(at..at)
}

impl Prepared {
    /// Fills in the digests and hands out what is to be signed.
    pub(super) fn draft(self, signer: &Signer) -> Result<Draft, Error> {
        let mut fillings = Vec::new();
        {
            let document = xmlsec::parse(&self.text)?;
            for name in &self.names {
                let node = find(&document, name)?;
                // the value is still empty, which is no base64 of a signature
                for reference in node
                    .children()
                    .filter(|child| child.has_tag_name((ns::DS, "SignedInfo")))
                    .flat_map(|info| info.children())
                    .filter(|child| child.has_tag_name((ns::DS, "Reference")))
                {
                    let digest = dsig::Reference::read(reference, node)?.digest()?;
                    let place = inside(dsig::child(reference, "DigestValue")?, &self.text)?;
                    fillings.push((place, STANDARD.encode(digest)));
                }
            }
        }
        fillings.sort_by_key(|(range, _)| range.start);
        let text = fill(&self.text, &fillings);
        let mut messages = Vec::new();
        {
            let document = xmlsec::parse(&text)?;
            for name in &self.names {
                messages.push(dsig::signed_bytes(find(&document, name)?)?);
            }
        }
        let (names, scheme) = (self.names, signer.scheme);
        Ok(Draft::new(signer, messages, move |values, ocsp| {
            finish(&text, &names, scheme, values, ocsp)
        }))
    }
}

fn finish(
    text: &str,
    names: &[String],
    scheme: SignatureScheme,
    values: &[Vec<u8>],
    ocsp: &[Vec<u8>],
) -> Result<Vec<u8>, Error> {
    let mut fillings = Vec::new();
    {
        let document = xmlsec::parse(text)?;
        for (name, value) in names.iter().zip(values) {
            let node = dsig::child(find(&document, name)?, "SignatureValue")?;
            let value = match scheme {
                SignatureScheme::Ecdsa => crypto::ecdsa_raw(value)?,
                _ => value.clone(),
            };
            fillings.push((inside(node, text)?, STANDARD.encode(value)));
        }
    }
    fillings.sort_by_key(|(range, _)| range.start);
    let mut signed = fill(text, &fillings);
    if let [name] = names
        && !ocsp.is_empty()
    {
        signed = embed_ocsp(&signed, name, ocsp)?;
    }
    Ok(signed.into_bytes())
}

/// Puts OCSP responses into the unsigned properties of the signature with this id.
pub(super) fn embed_ocsp(text: &str, name: &str, ocsp: &[Vec<u8>]) -> Result<String, Error> {
    let document = xmlsec::parse(text)?;
    let target = find(&document, name)?;
    add_unsigned(text, text, target, |prefix| {
        let tag = |name| qualified(prefix, name);
        let value = tag("EncapsulatedOCSPValue");
        let values: String = ocsp
            .iter()
            .map(|response| format!("<{value}>{}</{value}>", STANDARD.encode(response)))
            .collect();
        let (outer, inner) = (tag("RevocationValues"), tag("OCSPValues"));
        format!("<{outer}><{inner}>{values}</{inner}></{outer}>")
    })
}
