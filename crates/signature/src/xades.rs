//! XAdES (ETSI EN 319 132-1, baseline B): signatures in XML. Inside the document they sign (enveloped), around it
//! (enveloping), or beside the part they sign under a signature policy (detached in the document); side by side, and over
//! each other. Canonical XML 1.1 throughout, references by id only, except to the whole document (TIP1-A_5010).

mod template;
mod verify;

pub use verify::{sealed_ocsp, verify};

use crate::{Draft, Error, Signer};
use std::ops::Range;
use template::{Template, identifier};
use xmlsec::dsig::Signature;
use xmlsec::ns;

/// Most signatures of one document.
const SIGNATURES: usize = 100;

/// Where the signature goes and what it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Inside the root element, which it covers: as its first child, or where the place says.
    Enveloped {
        /// Where, if not as first child of the root.
        place: Option<Place>,
        /// May others sign beside it? Then it leaves out all signatures, not only itself.
        beside_others: bool,
    },
    /// Around the document's root element, in a `ds:Object` with this id.
    Enveloping {
        /// Id of the object.
        object: Option<String>,
    },
    /// In the document, covering the element with this id, under a policy.
    Detached {
        /// Where.
        place: Place,
        /// Id of what is signed.
        id: String,
    },
}

/// A place in a document, as an XPath ([`xmlsec::path`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// As first child of this element.
    FirstChildOf(String),
    /// Behind this element.
    After(String),
}

impl Place {
    /// XPath to a signature that was put there.
    pub fn path(&self) -> String {
        match self {
            Place::FirstChildOf(path) => format!("{path}/child::*[1]"),
            Place::After(path) => format!("{path}/following-sibling::*[1]"),
        }
    }
}

/// What is said about the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Short text, as Description.
    pub description: Option<String>,
    /// Signature policy and the schemas it stands on: URI and SHA-256.
    pub policy: Option<Policy>,
}

/// A signature policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its URI.
    pub uri: String,
    /// The schemas that a document under it must follow: address and SHA-256, as manifest.
    pub schemas: Vec<(String, [u8; 32])>,
}

/// A signature over `xml`. The draft's document is the one with the signature, or the signature around it.
pub fn sign(xml: &str, form: &Form, about: &About, signer: &Signer) -> Result<Draft, Error> {
    let document = xmlsec::parse(xml)?;
    let root = document.root_element();
    let signatures = root
        .descendants()
        .filter(|node| node.has_tag_name((ns::DS, "Signature")));
    let others: Vec<_> = signatures.collect();
    if others.len() >= SIGNATURES {
        return Err(Error::TooMuch("signatures"));
    }
    let name = identifier()?;
    let template = match form {
        Form::Enveloped { place, beside_others } => {
            if !beside_others && !others.is_empty() {
                return Err(Error::Variant(
                    "the document is signed already: a further signature must be asked for as a parallel one",
                ));
            }
            for other in &others {
                let fragile = Signature::read(*other)?
                    .references
                    .iter()
                    .any(|one| (one.target.is_root() || one.target == root) && !one.without_signatures);
                if fragile {
                    return Err(Error::Variant(
                        "a further signature would break the one inside, which does not leave out others",
                    ));
                }
            }
            let at = match place {
                None => first_child(xml, root)?,
                Some(place) => position(xml, &document, place)?,
            };
            let uri = root_id(root).map(|id| format!("#{id}")).unwrap_or_default();
            Template::new(&name, signer, about, &uri, template::enveloped(*beside_others)).insert(xml, at)
        }
        Form::Detached { place, id } => {
            xmlsec::dsig::by_id(root, id)
                .map_err(|_| Error::ElementMissing(format!("element with ID {id}")))?;
            let at = position(xml, &document, place)?;
            Template::new(&name, signer, about, &format!("#{id}"), "").insert(xml, at)
        }
        Form::Enveloping { object } => {
            let object = object.clone().unwrap_or(format!("{name}-object"));
            let inside = xml.get(root.range()).unwrap_or_default();
            let template = Template::new(&name, signer, about, &format!("#{object}"), "");
            template.around(&object, inside)
        }
    };
    let prepared = template?;
    // what stands in the document may carry our id only once
    prepared.draft(signer)
}

/// Counter signatures over all signatures in `xml` that cover the document.
pub fn countersign(xml: &str, about: &About, signer: &Signer) -> Result<Draft, Error> {
    let document = xmlsec::parse(xml)?;
    let mut targets: Vec<_> = document
        .descendants()
        .filter(|node| node.has_tag_name((ns::DS, "Signature")) && !is_counter(*node))
        .collect();
    if targets.is_empty() {
        return Err(Error::NoSignature);
    }
    if targets.len() >= SIGNATURES {
        return Err(Error::TooMuch("signatures"));
    }
    let (mut text, mut names) = (xml.to_owned(), Vec::new());
    // from the end, so that places further in front stay where they are
    targets.reverse();
    for target in targets {
        let value = Signature::read(target)?.value_element()?;
        let id = value.attribute("Id").ok_or(Error::Variant(
            "a signature whose value has no Id cannot be countersigned",
        ))?;
        let name = identifier()?;
        let template = Template::counter(&name, signer, about, &format!("#{id}"));
        text = template.append_unsigned(&text, xml, target)?;
        names.push(name);
    }
    names.reverse();
    template::Prepared { text, names }.draft(signer)
}

/// Is it a signature over another signature?
fn is_counter(signature: roxmltree::Node<'_, '_>) -> bool {
    signature
        .ancestors()
        .any(|node| node.has_tag_name((ns::XADES, "CounterSignature")))
}

fn root_id(root: roxmltree::Node<'_, '_>) -> Option<String> {
    let id = root.attribute("ID").or_else(|| root.attribute("Id"))?;
    // an id that is not unique, or would have to be escaped, means nothing safely
    let plain = id.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
    (plain && xmlsec::dsig::by_id(root, id).is_ok()).then(|| id.to_owned())
}

/// Where something goes: the range it replaces, what stands before it and what after it.
struct Gap {
    range: Range<usize>,
    before: &'static str,
    after: String,
}

/// Before the first child of an element; an element without content gets an end tag.
fn first_child(xml: &str, element: roxmltree::Node<'_, '_>) -> Result<Gap, Error> {
    let range = element.range();
    if let Some(child) = element.first_child() {
        let at = child.range().start;
        return Ok(Gap {
            range: at..at,
            before: "",
            after: String::new(),
        });
    }
    let text = xml.get(range.clone()).unwrap_or_default();
    if text.ends_with("/>") {
        let name = text
            .trim_start_matches('<')
            .split(|c: char| c.is_whitespace() || c == '/' || c == '>')
            .next()
            .unwrap_or_default();
        return Ok(Gap {
            range: range.end - 2..range.end,
            before: ">",
            after: format!("</{name}>"),
        });
    }
    let end = text
        .rfind("</")
        .ok_or_else(|| Error::Format("element without end".into()))?;
    let at = range.start + end;
    Ok(Gap {
        range: at..at,
        before: "",
        after: String::new(),
    })
}

fn position(xml: &str, document: &roxmltree::Document<'_>, place: &Place) -> Result<Gap, Error> {
    let find = |path: &str| xmlsec::path::find(document.root(), path).map_err(Error::from);
    match place {
        Place::FirstChildOf(path) => first_child(xml, find(path)?),
        Place::After(path) => {
            let element = find(path)?;
            if element == document.root_element() {
                return Err(Error::Variant("a signature cannot stand behind the root element"));
            }
            let at = element.range().end;
            Ok(Gap {
                range: at..at,
                before: "",
                after: String::new(),
            })
        }
    }
}
