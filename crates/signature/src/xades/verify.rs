//! What a XAdES signature says, checked as far as mathematics goes.

use super::{SIGNATURES, is_counter, template};
use crate::{Error, Finding, Findings, Flaw, Manifest, cades};
use asn1::X509;
use base::Timestamp;
use crypto::PublicKey;
use roxmltree::Node;
use xmlsec::dsig::{self, Signature};
use xmlsec::{Error as XmlError, ns};

/// Checks all signatures in `xml`. `known` are certificates that the caller adds.
pub fn verify(xml: &str, known: &[X509]) -> Result<Findings, Error> {
    let document = xmlsec::parse(xml)?;
    let nodes: Vec<_> = document
        .descendants()
        .filter(|node| node.has_tag_name((ns::DS, "Signature")))
        .collect();
    match nodes.len() {
        0 => return Err(Error::NoSignature),
        1..=SIGNATURES => {}
        _ => return Err(Error::TooMuch("signatures")),
    }
    let mut findings = Findings::default();
    for node in &nodes {
        let mut finding = examine(*node, known)?;
        if is_counter(*node) {
            let over = countersigned(*node);
            finding.counters = over.and_then(|over| nodes.iter().position(|one| *one == over));
            if finding.counters.is_none() && finding.outcome.is_ok() {
                finding.outcome = Err(Flaw::Reference);
            }
        }
        findings.ocsp.extend(values(*node, "EncapsulatedOCSPValue"));
        findings.manifests.extend(manifests(*node));
        for certificate in Signature::read(*node)
            .map(|one| one.certificates)
            .unwrap_or_default()
        {
            if !findings.certificates.contains(&certificate) {
                findings.certificates.push(certificate);
            }
        }
        findings.signatures.push(finding);
    }
    Ok(findings)
}

/// References of the manifests in this signature.
fn manifests(signature: Node<'_, '_>) -> Vec<Manifest> {
    let all = signature
        .descendants()
        .filter(|node| node.has_tag_name((ns::DS, "Manifest")));
    all.flat_map(|manifest| manifest.children())
        .filter(|node| node.has_tag_name((ns::DS, "Reference")))
        .filter_map(|reference| {
            Some(Manifest {
                place: place(reference),
                uri: reference.attribute("URI")?.to_owned(),
                digest: dsig::decode(dsig::child(reference, "DigestValue").ok()?).ok()?,
            })
        })
        .collect()
}

/// The document with OCSP responses put into the signature at this place.
pub fn sealed_ocsp(xml: &str, place: &str, ocsp: &[Vec<u8>]) -> Result<String, Error> {
    let document = xmlsec::parse(xml)?;
    let node = xmlsec::path::find(document.root(), place)?;
    let id = node
        .attribute("Id")
        .ok_or(Error::Variant("a signature without Id cannot take more"))?;
    template::embed_ocsp(xml, id, ocsp)
}

/// The signature a counter signature lies in, if its reference means that one's value.
fn countersigned<'a, 'i>(counter: Node<'a, 'i>) -> Option<Node<'a, 'i>> {
    let around = counter
        .ancestors()
        .skip(1)
        .find(|node| node.has_tag_name((ns::DS, "Signature")))?;
    let value = dsig::child(around, "SignatureValue").ok()?;
    let references = Signature::read(counter).ok()?.references;
    let meant = references.iter().any(|one| one.target == value);
    meant.then_some(around)
}

/// Base64 in elements of this name in the unsigned properties of this very signature.
fn values(signature: Node<'_, '_>, name: &str) -> Vec<Vec<u8>> {
    own(signature, name)
        .filter_map(|node| dsig::decode(node).ok())
        .collect()
}

/// XAdES elements of this name in this signature, not in one inside it.
fn own<'a, 'i>(signature: Node<'a, 'i>, name: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    signature.descendants().filter(move |node| {
        node.has_tag_name((ns::XADES, name))
            && node
                .ancestors()
                .find(|one| one.has_tag_name((ns::DS, "Signature")))
                == Some(signature)
    })
}

/// The properties that the signature must cover; what stands in others anybody may have written.
fn properties<'a, 'i>(signature: Node<'a, 'i>) -> Option<Node<'a, 'i>> {
    own(signature, "SignedProperties").next()
}

/// A XAdES element in them.
fn signed<'a, 'i>(signature: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    let mut inside = properties(signature)?.descendants();
    inside.find(|node| node.has_tag_name((ns::XADES, name)))
}

fn flaw(error: XmlError) -> Result<Flaw, Error> {
    Ok(match error {
        XmlError::Digest => Flaw::Digest,
        XmlError::Signature => Flaw::Value,
        XmlError::Reference => Flaw::Reference,
        XmlError::Unacceptable(_) => Flaw::Algorithm,
        XmlError::Forbidden => return Err(Error::Forbidden("XPath or XSLT in a signature")),
        other => return Err(other.into()),
    })
}

fn examine(node: Node<'_, '_>, known: &[X509]) -> Result<Finding, Error> {
    let signing_time =
        signed(node, "SigningTime").and_then(|found| found.text()?.trim().parse::<Timestamp>().ok());
    let policy = signed(node, "SigPolicyId");
    let policy = policy.and_then(|id| {
        let identifier = id
            .children()
            .find(|child| child.has_tag_name((ns::XADES, "Identifier")))?;
        Some(identifier.text()?.trim().to_owned())
    });
    let mut finding = Finding {
        counters: None,
        certificate: None,
        outcome: Ok(()),
        signing_time,
        time_stamp: None,
        algorithm: None,
        digest: None,
        value: Vec::new(),
        policy,
        whole: false,
        place: place(node),
    };
    let signature = match Signature::read(node) {
        Ok(signature) => signature,
        Err(error) => {
            finding.outcome = Err(flaw(error)?);
            return Ok(finding);
        }
    };
    finding.algorithm = Some(signature.algorithm);
    finding.value = signature.value.clone();
    let own_certificates = signature.certificates.iter();
    let candidates: Vec<X509> = own_certificates
        .filter_map(|der| X509::parse(der).ok())
        .chain(known.iter().cloned())
        .collect();
    finding.time_stamp = values(node, "EncapsulatedTimeStamp").first().and_then(|token| {
        let value = signature.value_element().ok()?;
        let bytes = xmlsec::canonicalize(value, &xmlsec::Mode::Inclusive, &[]).ok()?;
        cades::time_in_token(token, &bytes)
    });
    finding.certificate = match signed(node, "CertDigest") {
        // the signed reference decides which one it is
        Some(named) => candidates
            .iter()
            .find(|one| dsig::check_digest(named, one.der()).is_ok())
            .cloned(),
        None => candidates.first().cloned(),
    };
    if finding.certificate.is_none() {
        finding.outcome = Err(match candidates.is_empty() {
            true => Flaw::NoCertificate,
            false => Flaw::OtherCertificate,
        });
        return Ok(finding);
    }
    let root = node.document().root_element();
    let alone = !has_stowaway(&signature);
    let covers = |reference: &dsig::Reference<'_, '_>| {
        let around = node == root && alone && reference.target.parent() == Some(root);
        reference.kind.is_none() && (reference.target.is_root() || reference.target == root || around)
    };
    finding.whole = signature.references.iter().any(covers);
    match check(&signature, finding.certificate.as_ref()) {
        Ok(digest) => finding.digest = digest,
        Err(Ok(broken)) => finding.outcome = Err(broken),
        Err(Err(error)) => return Err(error),
    }
    Ok(finding)
}

/// Is there an object in the signature that is neither signed nor made of properties?
fn has_stowaway(signature: &Signature<'_, '_>) -> bool {
    let objects = signature
        .node
        .children()
        .filter(|node| node.has_tag_name((ns::DS, "Object")));
    objects
        .filter(|object| signature.references.iter().all(|one| one.target != *object))
        .flat_map(|object| object.children())
        .any(|child| match child.is_element() {
            true => {
                !child.has_tag_name((ns::XADES, "QualifyingProperties"))
                    && signature.references.iter().all(|one| one.target != child)
            }
            false => child.text().is_some_and(|text| !text.trim().is_empty()),
        })
}

/// Value and digests; gives the digest of the first thing that is signed besides properties.
fn check(
    signature: &Signature<'_, '_>,
    certificate: Option<&X509>,
) -> Result<Option<Vec<u8>>, Result<Flaw, Error>> {
    let wrong = |error: XmlError| match flaw(error) {
        Ok(broken) => Ok(broken),
        Err(error) => Err(error),
    };
    let key = certificate
        .and_then(|one| PublicKey::from_spki(&one.spki().ok()?).ok())
        .ok_or(Ok(Flaw::Algorithm))?;
    signature.check_value(&key).map_err(wrong)?;
    let mut digest = None;
    for reference in &signature.references {
        let content = reference.check().map_err(wrong)?;
        if reference.kind == Some(ns::SIGNED_PROPERTIES) {
            // properties of somebody else say nothing about this signature
            if properties(signature.node) != Some(reference.target) {
                return Err(Ok(Flaw::Reference));
            }
        } else if digest.is_none() {
            digest = Some(crypto::sha256([content]).to_vec());
        }
    }
    let covered = properties(signature.node)
        .is_none_or(|node| signature.references.iter().any(|one| one.target == node));
    match (covered, digest) {
        (true, Some(digest)) => Ok(Some(digest)),
        _ => Err(Ok(Flaw::Reference)),
    }
}

/// XPath to an element, with positions.
fn place(node: Node<'_, '_>) -> String {
    let mut steps: Vec<String> = node
        .ancestors()
        .filter(Node::is_element)
        .map(|one| {
            let before = one.prev_siblings().skip(1).filter(Node::is_element).count();
            format!("/*[{}]", before + 1)
        })
        .collect();
    steps.reverse();
    steps.concat()
}
