//! The frame that trust lists and trusted lists share.

use super::{Announcement, DnssecAnchor, ServiceStatus, TslError};
use asn1::{Cvc, X509, oid};
use base::{Timestamp, limits};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use der::asn1::ObjectIdentifier as Oid;
use roxmltree::{Document, Node};
use std::collections::BTreeMap;

pub(crate) const NS: &str = "http://uri.etsi.org/02231/v2#";

/// Parses within limits: size, nodes; document type definitions are refused.
pub(crate) fn parse(xml: &str) -> Result<Document<'_>, TslError> {
    if xml.len() > limits::TSL {
        return Err(TslError::TooBig);
    }
    base::xml::check(xml)?;
    let options = roxmltree::ParsingOptions {
        nodes_limit: limits::XML_NODES,
        ..Default::default()
    };
    Ok(Document::parse_with_options(xml, options)?)
}

/// A list as it lies there, nothing decided.
pub(crate) struct Sheet<'a, 'i> {
    pub id: String,
    pub sequence: u64,
    pub issued: Timestamp,
    /// A closed trusted list has none.
    pub next_update: Option<Timestamp>,
    /// Role of a pointer and its address.
    pub pointers: Vec<(String, String)>,
    pub services: Vec<Service<'a, 'i>>,
}

impl<'a, 'i> Sheet<'a, 'i> {
    pub fn new(document: &'a Document<'i>) -> Result<Self, TslError> {
        let root = document.root_element();
        if !root.has_tag_name((NS, "TrustServiceStatusList")) {
            return Err(TslError::Format("TrustServiceStatusList"));
        }
        let scheme = child(root, "SchemeInformation").ok_or(TslError::Format("SchemeInformation"))?;
        let sequence = text(scheme, "TSLSequenceNumber").and_then(|number| number.parse().ok());
        let next = child(scheme, "NextUpdate").and_then(|next| text(next, "dateTime"));
        let pointer = |node: Node<'a, 'i>| {
            let role = node
                .descendants()
                .find(|node| node.has_tag_name((NS, "TextualInformation")))?
                .text()?;
            Some((role.trim().to_owned(), text(node, "TSLLocation")?.to_owned()))
        };
        Ok(Self {
            id: root.attribute("Id").unwrap_or_default().to_owned(),
            sequence: sequence.ok_or(TslError::Format("TSLSequenceNumber"))?,
            issued: moment(text(scheme, "ListIssueDateTime")).ok_or(TslError::Format("ListIssueDateTime"))?,
            next_update: moment(next),
            pointers: scheme
                .descendants()
                .filter(|node| node.has_tag_name((NS, "OtherTSLPointer")))
                .filter_map(pointer)
                .collect(),
            services: root
                .descendants()
                .filter(|node| node.has_tag_name((NS, "TSPService")))
                .filter_map(|node| {
                    let information = child(node, "ServiceInformation")?;
                    Some(Service { node, information })
                })
                .collect(),
        })
    }
}

/// One entry.
pub(crate) struct Service<'a, 'i> {
    node: Node<'a, 'i>,
    information: Node<'a, 'i>,
}

impl<'a, 'i> Service<'a, 'i> {
    pub fn kind(&self) -> &'a str {
        text(self.information, "ServiceTypeIdentifier").unwrap_or_default()
    }

    pub fn name(&self) -> &'a str {
        child(self.information, "ServiceName")
            .and_then(|name| text(name, "Name"))
            .unwrap_or("?")
    }

    /// `good` and `ended` are the two states that matter.
    pub fn status(&self, good: &str, ended: &str) -> ServiceStatus {
        status(self.information, good, ended)
    }

    /// Since when the current status holds.
    pub fn since(&self) -> Option<Timestamp> {
        moment(text(self.information, "StatusStartingTime"))
    }

    /// Earlier states, newest first.
    pub fn history(&self, good: &str, ended: &str) -> Vec<(ServiceStatus, Timestamp)> {
        let instances = child(self.node, "ServiceHistory")
            .into_iter()
            .flat_map(|history| {
                let instances = history.children();
                instances.filter(|node| node.has_tag_name((NS, "ServiceHistoryInstance")))
            });
        let mut all: Vec<_> = instances
            .filter_map(|node| {
                Some((
                    status(node, good, ended),
                    moment(text(node, "StatusStartingTime"))?,
                ))
            })
            .collect();
        all.sort_by_key(|(_, since)| std::cmp::Reverse(*since));
        all
    }

    pub fn certificates(&self) -> Result<Vec<X509>, String> {
        self.named("X509Certificate")
            .map(|node| X509::parse(&decode(node.text())?).map_err(|error| error.to_string()))
            .collect()
    }

    pub fn certificate(&self) -> Result<X509, String> {
        let node = self.named("X509Certificate").next().ok_or("no certificate")?;
        X509::parse(&decode(node.text())?).map_err(|error| error.to_string())
    }

    pub fn cvc(&self) -> Result<Cvc, String> {
        let node = self
            .information
            .descendants()
            .find(|node| node.tag_name().name() == "CVCertificate")
            .ok_or("no CV certificate")?;
        Cvc::parse(&decode(node.text())?).map_err(|error| error.to_string())
    }

    /// Certificate types; an entry without any carries a placeholder, because the schema wants something there.
    pub fn types(&self) -> Vec<Oid> {
        self.named("ExtensionOID")
            .filter_map(|node| Oid::new(node.text()?.trim()).ok())
            .filter(|kind| *kind != oid::TSL_PLACEHOLDER)
            .collect()
    }

    pub fn supply_points(&self) -> Vec<String> {
        self.named("ServiceSupplyPoint")
            .filter_map(|node| Some(node.text()?.trim().to_owned()))
            .collect()
    }

    /// URIs of AdditionalServiceInformation (trusted lists: what a CA is qualified for).
    pub fn qualifications(&self) -> Vec<&'a str> {
        self.named("AdditionalServiceInformation")
            .filter_map(|node| text(node, "URI"))
            .collect()
    }

    /// Pairs of addresses separated by a space: what a certificate says, what is used inside the TI.
    pub fn redirects(&self) -> BTreeMap<String, String> {
        self.named("InformationValue")
            .filter_map(|node| {
                let mut pair = node.text()?.split_ascii_whitespace();
                Some((pair.next()?.to_owned(), pair.next()?.to_owned()))
            })
            .collect()
    }

    pub fn announcement(&self) -> Result<Announcement, String> {
        Ok(Announcement {
            certificate: self.certificate()?,
            from: self.since().ok_or("StatusStartingTime")?,
            ocsp: self.supply_points().into_iter().next(),
        })
    }

    /// The keys of one entry; each is readable or not by itself.
    pub fn dnssec_anchors(&self) -> Vec<Result<DnssecAnchor, String>> {
        let local = |node: &Node<'_, '_>, name: &str| node.tag_name().name() == name;
        let inner = |node: Node<'a, 'i>, name: &'static str| {
            let found = node.descendants().find(|node| local(node, name));
            found.and_then(|node| node.text()).map(str::trim).ok_or(name)
        };
        let Some(anchor) = self
            .information
            .descendants()
            .find(|node| local(node, "TrustAnchor"))
        else {
            return vec![Err("no TrustAnchor".into())];
        };
        let read = |key: Node<'a, 'i>| {
            let number = |name: &'static str| {
                let text = inner(key, name)?;
                text.parse::<u16>().map_err(|_| name)
            };
            let small = |name: &'static str| number(name)?.try_into().map_err(|_| name);
            Ok(DnssecAnchor {
                zone: inner(anchor, "Zone")?.to_owned(),
                key_tag: number("KeyTag")?,
                algorithm: small("Algorithm")?,
                digest_type: small("DigestType")?,
                digest: hex::decode(inner(key, "Digest")?).map_err(|_| "Digest")?,
            })
        };
        let keys = anchor.descendants().filter(|node| local(node, "KeyDigest"));
        let mut all: Vec<Result<DnssecAnchor, String>> = keys
            .map(|key| read(key).map_err(|name: &str| format!("{name} missing or malformed")))
            .collect();
        if all.is_empty() {
            all.push(Err("no KeyDigest".into()));
        }
        all
    }

    fn named(&self, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> + use<'a, 'i> {
        self.information
            .descendants()
            .filter(move |node| node.has_tag_name((NS, name)))
    }
}

fn status(node: Node<'_, '_>, good: &str, ended: &str) -> ServiceStatus {
    let since = moment(text(node, "StatusStartingTime"));
    match (text(node, "ServiceStatus"), since) {
        (Some(status), _) if status == good => ServiceStatus::InAccord,
        (Some(status), Some(since)) if status == ended => ServiceStatus::Revoked(since),
        _ => ServiceStatus::Other,
    }
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name((NS, name)))
}

fn text<'a>(node: Node<'a, '_>, name: &'static str) -> Option<&'a str> {
    child(node, name)?.text().map(str::trim)
}

fn moment(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

fn decode(base64: Option<&str>) -> Result<Vec<u8>, String> {
    let compact: String = base64.unwrap_or_default().split_ascii_whitespace().collect();
    STANDARD.decode(compact).map_err(|error| error.to_string())
}
