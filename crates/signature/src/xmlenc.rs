//! XML documents enciphered for several recipients (XML Encryption 1.1, AES-256-GCM): the root element becomes
//! EncryptedData, with an EncryptedKey for each recipient and the certificate it is for (TAB_KON_073).

use crate::{Error, envelope};
use asn1::X509;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::{PublicKey, aead};
use roxmltree::{Document, Node};
use std::fmt::Write;
use std::ops::Range;

const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
const XENC11: &str = "http://www.w3.org/2009/xmlenc11#";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const AES256_GCM: &str = "http://www.w3.org/2009/xmlenc11#aes256-gcm";
const OAEP: &str = "http://www.w3.org/2009/xmlenc11#rsa-oaep";
const OAEP_OLD: &str = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p";
const MGF1_SHA256: &str = "http://www.w3.org/2009/xmlenc11#mgf1sha256";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
const ECIES: &str = "http://gematik.de/ecies/2019";
const ELEMENT: &str = "http://www.w3.org/2001/04/xmlenc#Element";

/// Enciphers the root element of `xml` for all of these certificates; what stands around it stays.
pub fn seal(xml: &str, recipients: &[X509]) -> Result<String, Error> {
    if recipients.is_empty() {
        return Err(Error::Variant("nobody to encipher for"));
    }
    let document = parse(xml)?;
    let root = document.root_element().range();
    let mut text = slice(xml, root.clone()).as_bytes().to_vec();
    let key = aead::fresh_key()?;
    let mut keys = String::new();
    for certificate in recipients {
        let public = PublicKey::from_spki(&certificate.spki()?)?;
        let method = match public {
            PublicKey::Ec(_) => format!("<xenc:EncryptionMethod Algorithm=\"{ECIES}\"/>"),
            PublicKey::Rsa(_) => format!(
                "<xenc:EncryptionMethod Algorithm=\"{OAEP}\"><ds:DigestMethod Algorithm=\"{SHA256}\"/>\
                 <xenc11:MGF xmlns:xenc11=\"{XENC11}\" Algorithm=\"{MGF1_SHA256}\"/></xenc:EncryptionMethod>"
            ),
        };
        let _ = write!(
            keys,
            "<xenc:EncryptedKey>{method}<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate>\
             </ds:X509Data></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>{}</xenc:CipherValue></xenc:CipherData>\
             </xenc:EncryptedKey>",
            STANDARD.encode(certificate.der()),
            STANDARD.encode(public.encipher(&key[..])?)
        );
    }
    let (nonce, tag) = aead::seal(&key[..], b"", &mut text)?;
    text.splice(0..0, nonce);
    text.extend(tag);
    let enciphered = format!(
        "<xenc:EncryptedData xmlns:xenc=\"{XENC}\" Type=\"{ELEMENT}\"><xenc:EncryptionMethod Algorithm=\"{AES256_GCM}\"/>\
         <ds:KeyInfo xmlns:ds=\"{DS}\">{keys}</ds:KeyInfo><xenc:CipherData><xenc:CipherValue>{}</xenc:CipherValue>\
         </xenc:CipherData></xenc:EncryptedData>",
        STANDARD.encode(&text)
    );
    let (before, after) = (slice(xml, 0..root.start), slice(xml, root.end..xml.len()));
    Ok([before, &enciphered, after].concat())
}

/// An enciphered element that was read.
#[derive(Debug)]
pub struct Sealed {
    xml: String,
    place: Range<usize>,
    keys: Vec<(Vec<u8>, &'static str, Vec<u8>)>,
    text: Vec<u8>,
}

impl Sealed {
    /// Reads a document with one EncryptedData, anywhere in it.
    pub fn read(xml: &str) -> Result<Self, Error> {
        let document = parse(xml)?;
        let mut all = document
            .descendants()
            .filter(|node| node.has_tag_name((XENC, "EncryptedData")));
        let data = all
            .next()
            .ok_or_else(|| Error::ElementMissing("EncryptedData".into()))?;
        if all.next().is_some() {
            return Err(Error::ElementAmbiguous("EncryptedData".into()));
        }
        if method(data)? != AES256_GCM {
            return Err(Error::Variant("enciphered with something else than AES-256-GCM"));
        }
        let mut keys = Vec::new();
        for node in data
            .descendants()
            .filter(|node| node.has_tag_name((XENC, "EncryptedKey")))
        {
            if keys.len() == envelope::RECIPIENTS {
                return Err(Error::TooMuch("recipients"));
            }
            let algorithm = match method(node)? {
                ECIES => ECIES,
                OAEP if oaep_is_ours(node) => OAEP,
                OAEP | OAEP_OLD => OAEP_OLD,
                _ => continue,
            };
            let certificate = node
                .descendants()
                .find(|node| node.has_tag_name((DS, "X509Certificate")));
            if let Some(certificate) = certificate {
                keys.push((decode(certificate)?, algorithm, cipher_value(node)?));
            }
        }
        Ok(Self {
            place: data.range(),
            keys,
            text: cipher_value(data)?,
            xml: xml.to_owned(),
        })
    }

    /// The content key as it was enciphered for this certificate.
    pub fn key_for(&self, certificate: &X509) -> Result<Vec<u8>, Error> {
        let mut mine = self.keys.iter().filter(|(der, ..)| der == certificate.der());
        match mine.next() {
            None => Err(Error::NotForUs),
            Some((_, OAEP_OLD, _)) => Err(Error::Variant(
                "the content key was enciphered with RSA-OAEP and SHA-1",
            )),
            Some((.., key)) => Ok(key.clone()),
        }
    }

    /// The document with the plain element in its place.
    pub fn open(&self, content_key: &[u8]) -> Result<String, Error> {
        let mut text = self.text.clone();
        if text.len() < 12 + 16 {
            return Err(Error::Damaged);
        }
        let tag = text.split_off(text.len() - 16);
        let mut plain = text.split_off(12);
        aead::open(content_key, &text, b"", &mut plain, &tag).map_err(|_| Error::Damaged)?;
        let plain = String::from_utf8(plain).map_err(|_| Error::Damaged)?;
        let before = slice(&self.xml, 0..self.place.start);
        let after = slice(&self.xml, self.place.end..self.xml.len());
        let whole = [before, &plain, after].concat();
        parse(&whole)?;
        Ok(whole)
    }
}

fn parse(xml: &str) -> Result<Document<'_>, Error> {
    xmlsec::parse(xml).map_err(Error::from)
}

fn slice(text: &str, range: Range<usize>) -> &str {
    text.get(range).unwrap_or_default()
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> Result<Node<'a, 'i>, Error> {
    node.children()
        .find(|child| child.has_tag_name((XENC, name)))
        .ok_or_else(|| Error::ElementMissing(name.into()))
}

fn method<'a>(node: Node<'a, '_>) -> Result<&'a str, Error> {
    let method = child(node, "EncryptionMethod")?;
    Ok(method.attribute("Algorithm").unwrap_or_default())
}

/// OAEP with SHA-256 in both places; other hashes no card of the TI undoes.
fn oaep_is_ours(key: Node<'_, '_>) -> bool {
    let algorithm = |namespace, name| {
        let mut all = key.descendants();
        all.find(|node| node.has_tag_name((namespace, name)))
            .and_then(|node| node.attribute("Algorithm"))
    };
    algorithm(DS, "DigestMethod") == Some(SHA256) && algorithm(XENC11, "MGF") == Some(MGF1_SHA256)
}

fn cipher_value(node: Node<'_, '_>) -> Result<Vec<u8>, Error> {
    let value = child(child(node, "CipherData")?, "CipherValue")?;
    decode(value)
}

fn decode(node: Node<'_, '_>) -> Result<Vec<u8>, Error> {
    let text: String = node.text().unwrap_or_default().split_ascii_whitespace().collect();
    STANDARD
        .decode(text)
        .map_err(|_| Error::Format("base64 expected".into()))
}
