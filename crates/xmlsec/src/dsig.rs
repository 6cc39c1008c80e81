//! One `ds:Signature`: read, resolved, checked. What a signature must look like in which place, others decide.

use crate::c14n::{Mode, canonicalize};
use crate::{Error, ns};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::{Hash, PublicKey, SignatureScheme};
use roxmltree::{Node, NodeId};

/// Most references of one signature.
const REFERENCES: usize = 64;
/// Most transforms of one reference (TAB_KON_775).
const TRANSFORMS: usize = 10;

/// Addresses of algorithms.
pub mod algorithm {
    use super::{Hash, Mode, SignatureScheme};

    /// Exclusive canonicalisation.
    pub const EXC_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
    /// Canonical XML 1.0.
    pub const C14N: &str = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";
    /// Canonical XML 1.1.
    pub const C14N11: &str = "http://www.w3.org/2006/12/xml-c14n11";
    /// The signature itself is left out.
    pub const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
    /// XPath Filter 2.0.
    pub const FILTER2: &str = "http://www.w3.org/2002/06/xmldsig-filter2";
    /// SHA-256.
    pub const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";

    const MORE: &str = "http://www.w3.org/2001/04/xmldsig-more#";
    const PSS: &str = "http://www.w3.org/2007/05/xmldsig-more#";

    /// The address of a signature with SHA-256.
    pub fn signing(scheme: SignatureScheme) -> &'static str {
        match scheme {
            SignatureScheme::Ecdsa => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
            SignatureScheme::RsaPkcs1 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            SignatureScheme::RsaPss => "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1",
        }
    }

    pub(super) fn read_signing(address: &str) -> Option<(SignatureScheme, Hash)> {
        let (scheme, hash) = match (address.strip_prefix(MORE), address.strip_prefix(PSS)) {
            (Some(rest), _) => match rest.split_once('-')? {
                ("ecdsa", hash) => (SignatureScheme::Ecdsa, hash),
                ("rsa", hash) => (SignatureScheme::RsaPkcs1, hash),
                _ => return None,
            },
            (None, Some(rest)) => (SignatureScheme::RsaPss, rest.strip_suffix("-rsa-MGF1")?),
            (None, None) => return None,
        };
        let hash = match hash {
            "sha256" => Hash::Sha256,
            "sha384" => Hash::Sha384,
            "sha512" => Hash::Sha512,
            _ => return None,
        };
        Some((scheme, hash))
    }

    pub(super) fn read_hash(address: &str) -> Option<Hash> {
        match address {
            SHA256 => Some(Hash::Sha256),
            "http://www.w3.org/2001/04/xmldsig-more#sha384" => Some(Hash::Sha384),
            "http://www.w3.org/2001/04/xmlenc#sha512" => Some(Hash::Sha512),
            _ => None,
        }
    }

    pub(super) fn read_c14n(address: &str) -> Option<Mode> {
        match address {
            EXC_C14N => Some(Mode::Exclusive(Vec::new())),
            C14N => Some(Mode::Inclusive),
            C14N11 => Some(Mode::Inclusive11),
            _ => None,
        }
    }
}

/// A signature element.
#[derive(Debug, Clone)]
pub struct Signature<'a, 'i> {
    /// The element.
    pub node: Node<'a, 'i>,
    /// What it covers.
    pub references: Vec<Reference<'a, 'i>>,
    /// How it was signed.
    pub algorithm: (SignatureScheme, Hash),
    /// The signature value, as [`PublicKey::verify_hash`] takes it.
    pub value: Vec<u8>,
    /// Certificates in KeyInfo, DER. They are a claim; judge them.
    pub certificates: Vec<Vec<u8>>,
}

/// What one reference covers.
#[derive(Debug, Clone)]
pub struct Reference<'a, 'i> {
    /// The element.
    pub node: Node<'a, 'i>,
    /// Its Type.
    pub kind: Option<&'a str>,
    /// The element it means, the document's root node for the whole document.
    pub target: Node<'a, 'i>,
    /// Is the signature itself left out?
    pub enveloped: bool,
    /// Are all signatures left out, also those that will come?
    pub without_signatures: bool,
    hash: Hash,
    mode: Mode,
    signature: NodeId,
}

impl<'a, 'i> Signature<'a, 'i> {
    /// Reads a `ds:Signature`. References must mean the document or one element of it.
    pub fn read(node: Node<'a, 'i>) -> Result<Self, Error> {
        let signed_info = child(node, "SignedInfo")?;
        let references = signed_info
            .children()
            .filter(|node| node.has_tag_name((ns::DS, "Reference")))
            .map(|reference| Reference::read(reference, node));
        let references = references.collect::<Result<Vec<_>, _>>()?;
        if references.is_empty() || references.len() > REFERENCES {
            return Err(Error::Unacceptable("number of references"));
        }
        let address = |name| Ok::<_, Error>(attribute(child(signed_info, name)?, "Algorithm"));
        let algorithm = algorithm::read_signing(address("SignatureMethod")?)
            .ok_or(Error::Unacceptable("signature method"))?;
        let mut value = decode(child(node, "SignatureValue")?)?;
        if algorithm.0 == SignatureScheme::Ecdsa {
            value = crypto::ecdsa_der(&value).map_err(|_| Error::Signature)?;
        }
        let key_info = node
            .children()
            .filter(|child| child.has_tag_name((ns::DS, "KeyInfo")));
        let certificates = key_info
            .flat_map(|info| info.descendants())
            .filter(|node| node.has_tag_name((ns::DS, "X509Certificate")))
            .map(decode);
        Ok(Self {
            node,
            references,
            algorithm,
            value,
            certificates: certificates.collect::<Result<_, _>>()?,
        })
    }

    /// Checks the value, not what the references say.
    pub fn check_value(&self, key: &PublicKey) -> Result<(), Error> {
        let (scheme, hash) = self.algorithm;
        key.verify_hash(scheme, hash, &hash.of([signed_bytes(self.node)?]), &self.value)
            .map_err(|_| Error::Signature)
    }

    /// The element of the signature value.
    pub fn value_element(&self) -> Result<Node<'a, 'i>, Error> {
        child(self.node, "SignatureValue")
    }
}

impl<'a, 'i> Reference<'a, 'i> {
    /// Reads a reference of `signature`.
    pub fn read(node: Node<'a, 'i>, signature: Node<'a, 'i>) -> Result<Self, Error> {
        let uri = node.attribute("URI");
        let target = match uri {
            Some("") => node.document().root(),
            Some(uri) => by_id(
                node.document().root(),
                uri.strip_prefix('#').ok_or(Error::Reference)?,
            )?,
            None => return Err(Error::Reference),
        };
        let mut reference = Self {
            node,
            kind: node.attribute("Type"),
            target,
            enveloped: false,
            without_signatures: false,
            hash: hash_of(node)?,
            // absent transforms mean Canonical XML 1.0
            mode: Mode::Inclusive,
            signature: signature.id(),
        };
        let lists = node
            .children()
            .filter(|node| node.has_tag_name((ns::DS, "Transforms")));
        let transforms = lists.flat_map(|list| list.children().filter(Node::is_element));
        for (position, transform) in transforms.enumerate() {
            match attribute(transform, "Algorithm") {
                _ if position == TRANSFORMS => return Err(Error::Unacceptable("number of transforms")),
                algorithm::ENVELOPED => reference.enveloped = true,
                algorithm::FILTER2 if subtracts_signatures(transform) => reference.without_signatures = true,
                algorithm::FILTER2
                | "http://www.w3.org/TR/1999/REC-xpath-19991116"
                | "http://www.w3.org/TR/1999/REC-xslt-19991116" => return Err(Error::Forbidden),
                _ => reference.mode = c14n_mode(transform)?,
            }
        }
        Ok(reference)
    }

    /// The bytes it covers.
    pub fn content(&self) -> Result<Vec<u8>, Error> {
        let mut omit = Vec::new();
        if self.without_signatures {
            let all = self.target.descendants();
            omit.extend(
                all.filter(|node| node.has_tag_name((ns::DS, "Signature")))
                    .map(|node| node.id()),
            );
        } else if self.enveloped {
            omit.push(self.signature);
        }
        canonicalize(self.target, &self.mode, &omit)
    }

    /// The hash value of what it covers.
    pub fn digest(&self) -> Result<Vec<u8>, Error> {
        Ok(self.hash.of([self.content()?]))
    }

    /// The bytes it covers, if their digest is the one that was signed.
    pub fn check(&self) -> Result<Vec<u8>, Error> {
        let content = self.content()?;
        match decode(child(self.node, "DigestValue")?)? == self.hash.of([&content]) {
            true => Ok(content),
            false => Err(Error::Digest),
        }
    }
}

/// The only filter that is understood, and the one Langlauf writes: everything but signatures.
pub const SUBTRACT_SIGNATURES: &str = "/descendant::ds:Signature";

fn subtracts_signatures(transform: Node<'_, '_>) -> bool {
    let mut filters = transform.children().filter(Node::is_element);
    let (Some(filter), None) = (filters.next(), filters.next()) else {
        return false;
    };
    filter.has_tag_name((algorithm::FILTER2, "XPath"))
        && filter.attribute("Filter") == Some("subtract")
        && filter.text() == Some(SUBTRACT_SIGNATURES)
        && filter.lookup_namespace_uri(Some("ds")) == Some(ns::DS)
}

/// The element with this id. One that somebody else carries too would leave open what was signed.
pub fn by_id<'a, 'i>(root: Node<'a, 'i>, id: &str) -> Result<Node<'a, 'i>, Error> {
    let mut all = root.descendants().filter(|node| has_id(*node, id));
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(Error::Reference),
    }
}

/// Does the element carry this id?
pub fn has_id(node: Node<'_, '_>, id: &str) -> bool {
    ["Id", "ID", "id"]
        .iter()
        .any(|name| node.attribute(*name) == Some(id))
}

/// The bytes that the value of a signature covers.
pub fn signed_bytes(signature: Node<'_, '_>) -> Result<Vec<u8>, Error> {
    let signed_info = child(signature, "SignedInfo")?;
    let mode = c14n_mode(child(signed_info, "CanonicalizationMethod")?)?;
    canonicalize(signed_info, &mode, &[])
}

/// The one child of `ds:` with this name.
pub fn child<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> Result<Node<'a, 'i>, Error> {
    let mut found = node.children().filter(|child| child.has_tag_name((ns::DS, name)));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(Error::Unacceptable(name)),
    }
}

/// Base64 in an element.
pub fn decode(node: Node<'_, '_>) -> Result<Vec<u8>, Error> {
    let text: String = node.text().unwrap_or_default().split_ascii_whitespace().collect();
    STANDARD.decode(text).map_err(|_| Error::Unacceptable("base64"))
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> &'a str {
    node.attribute(name).unwrap_or_default()
}

fn c14n_mode(method: Node<'_, '_>) -> Result<Mode, Error> {
    let mode = algorithm::read_c14n(attribute(method, "Algorithm"))
        .ok_or(Error::Unacceptable("canonicalisation method"))?;
    if mode != Mode::Exclusive(Vec::new()) {
        return Ok(mode);
    }
    let inclusive = method
        .children()
        .find(|node| node.has_tag_name((algorithm::EXC_C14N, "InclusiveNamespaces")));
    let list = inclusive.map_or("", |node| attribute(node, "PrefixList"));
    let prefixes = list.split_ascii_whitespace();
    Ok(Mode::Exclusive(
        prefixes
            .map(|p| if p == "#default" { "" } else { p }.to_owned())
            .collect(),
    ))
}

fn hash_of(node: Node<'_, '_>) -> Result<Hash, Error> {
    algorithm::read_hash(attribute(child(node, "DigestMethod")?, "Algorithm"))
        .ok_or(Error::Unacceptable("digest method"))
}

/// DigestMethod and DigestValue inside `node` against `content`.
pub fn check_digest(node: Node<'_, '_>, content: &[u8]) -> Result<(), Error> {
    match decode(child(node, "DigestValue")?)? == hash_of(node)?.of([content]) {
        true => Ok(()),
        false => Err(Error::Digest),
    }
}
