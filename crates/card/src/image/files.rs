use super::{BadImage, Body, NodeId, ObjectSystem, PinBlock};
use asn1::{Cvc, tlv};
use base::id::Iccsn;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::{Curve, EcPublic, SoftKey};
use roxmltree::Node;
use zeroize::Zeroizing;

/// A card as a plain list of files, keys and PINs, without access rules (gematik's testhub, `<cardImage>`). The rules come
/// from a template of the card type: [`FileImage::onto`].
#[derive(Debug, Clone)]
pub struct FileImage {
    /// `hpc`, `ehc` or `hpic`.
    pub kind: String,
    /// Serial number.
    pub iccsn: Option<Iccsn>,
    /// What is in it.
    pub items: Vec<ImageItem>,
}

/// One entry of a [`FileImage`].
#[derive(Debug, Clone)]
pub struct ImageItem {
    /// Application, e.g. `ESIGN`, `QES`, `ROOT`.
    pub application: String,
    /// Name.
    pub name: String,
    /// What it is.
    pub content: ImageContent,
}

/// What an entry holds.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum ImageContent {
    File {
        fid: u16,
        data: Vec<u8>,
    },
    PrivateKey {
        reference: u8,
        key: SoftKey,
    },
    /// A CV certificate of a root the card trusts.
    Root(Box<Cvc>),
    Pin {
        reference: u8,
        pin: PinBlock,
        puk: Option<PinBlock>,
    },
}

impl FileImage {
    /// Content of the file with this identifier.
    pub fn file(&self, wanted: u16) -> Option<&[u8]> {
        self.items.iter().find_map(|item| match &item.content {
            ImageContent::File { fid, data } if *fid == wanted => Some(data.as_slice()),
            _ => None,
        })
    }

    /// A card with the rules of `template` (one of the same card type) and the contents of this image. What the template
    /// has no place for is an error: half a card would only confuse.
    pub fn onto(&self, mut template: ObjectSystem) -> Result<ObjectSystem, BadImage> {
        for item in &self.items {
            let missing =
                || BadImage::Missing(format!("{} of {} in the template", item.name, item.application));
            let folder = folder_of(&template, &item.application).ok_or_else(missing)?;
            let place = match &item.content {
                ImageContent::Root(_) => template
                    .nodes
                    .iter()
                    .position(|node| matches!(node.body, Body::PublicElc(_))),
                other => template
                    .children(folder)
                    .find(|(_, node)| other.fits(&node.body))
                    .map(|(id, _)| id),
            };
            let node = place
                .and_then(|id| template.nodes.get_mut(id))
                .ok_or_else(missing)?;
            item.content.fill(&mut node.body, &item.name)?;
        }
        if let Some(iccsn) = &self.iccsn {
            template.iccsn8 = iccsn.iccsn8();
            if let Some(node) = template.nodes.iter_mut().find(|node| node.name == "EF.GDO") {
                write_file(&mut node.body, &tlv::encode(0x5A, iccsn.as_bcd()), "EF.GDO")?;
            }
        }
        template.name = format!("{} on a template", self.kind);
        Ok(template)
    }
}

/// The folder an application of the format means.
fn folder_of(template: &ObjectSystem, application: &str) -> Option<NodeId> {
    match application {
        "ROOT" => Some(0),
        name => template.find(&format!("DF.{name}")),
    }
}

impl ImageContent {
    /// Is this object of the template the place for it?
    fn fits(&self, body: &Body) -> bool {
        match (self, body) {
            (Self::File { fid, .. }, Body::Transparent { fid: mine, .. }) => fid == mine,
            (
                Self::PrivateKey {
                    reference,
                    key: SoftKey::Ec(_),
                },
                Body::PrivateElc(elc),
            ) => elc.id == reference & 0x1F,
            (
                Self::PrivateKey {
                    reference,
                    key: SoftKey::Rsa(_),
                },
                Body::PrivateRsa { id, .. },
            ) => *id == reference & 0x1F,
            (Self::Pin { reference, .. }, Body::Password(password)) => password.id == reference & 0x1F,
            _ => false,
        }
    }

    fn fill(&self, body: &mut Body, name: &str) -> Result<(), BadImage> {
        match (self, body) {
            (Self::File { data, .. }, body) => write_file(body, data, name)?,
            (
                Self::PrivateKey {
                    key: SoftKey::Ec(key),
                    ..
                },
                Body::PrivateElc(elc),
            ) => {
                elc.curve = key.curve();
                elc.key = Some(key.clone());
            }
            (
                Self::PrivateKey {
                    key: SoftKey::Rsa(key),
                    ..
                },
                Body::PrivateRsa { key: mine, .. },
            ) => {
                *mine = Some(key.clone());
            }
            (Self::Pin { pin, puk, .. }, Body::Password(password)) => {
                password.secret = pin.clone();
                password.puk = puk.clone().unwrap_or_else(|| password.puk.clone());
            }
            (Self::Root(cvc), Body::PublicElc(anchor)) => {
                anchor.id = cvc.chr.clone();
                anchor.chat = cvc.chat;
                anchor.expires = cvc.expires;
                anchor.key = EcPublic::from_point(Curve::BrainpoolP256r1, &cvc.point).map_err(|error| {
                    BadImage::Attribute {
                        object: name.to_owned(),
                        attribute: "certificate",
                        reason: error.to_string(),
                    }
                })?;
            }
            _ => return Err(BadImage::Missing(name.to_owned())),
        }
        Ok(())
    }
}

/// Replaces a file; its place grows if it is too small for what a real card holds.
fn write_file(body: &mut Body, data: &[u8], name: &str) -> Result<(), BadImage> {
    let Body::Transparent { size, end, bytes, .. } = body else {
        return Err(BadImage::Missing(name.to_owned()));
    };
    *size = (*size).max(data.len());
    *end = data.len();
    *bytes = data.to_vec();
    bytes.resize(*size, 0);
    Ok(())
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<&'a str> {
    let found = node.children().find(|child| child.has_tag_name(name))?;
    found.text().map(str::trim)
}

/// Reads a file image.
pub fn read_file_image(xml: &str) -> Result<FileImage, BadImage> {
    if xml.len() > base::limits::CARD_IMAGE {
        return Err(BadImage::TooBig);
    }
    base::xml::check(xml)?;
    let options = roxmltree::ParsingOptions {
        nodes_limit: base::limits::XML_NODES,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(xml, options)?;
    let root = document.root_element();
    if !root.has_tag_name("cardImage") {
        return Err(BadImage::Missing("cardImage".into()));
    }
    let card = root
        .first_element_child()
        .ok_or_else(|| BadImage::Missing("card".into()))?;
    let mut items = Vec::new();
    for application in card.descendants().filter(|node| node.has_tag_name("application")) {
        let id = child(application, "applicationId").unwrap_or_default();
        for node in application.descendants() {
            let name = node.attribute("name").unwrap_or_default();
            let content = match node.tag_name().name() {
                "file" => read_file(node, name)?,
                "key" => read_key(node, name)?,
                "pin" => read_pin(node, name)?,
                _ => continue,
            };
            items.push(ImageItem {
                application: id.to_owned(),
                name: name.to_owned(),
                content,
            });
        }
    }
    let iccsn = child(card, "iccsn").map(str::parse).transpose();
    Ok(FileImage {
        kind: card.tag_name().name().to_owned(),
        iccsn: iccsn.map_err(|error: base::id::BadId| bad("card", "iccsn", error))?,
        items,
    })
}

fn bad(object: &str, attribute: &'static str, reason: impl std::fmt::Display) -> BadImage {
    BadImage::Attribute {
        object: object.to_owned(),
        attribute,
        reason: reason.to_string(),
    }
}

fn base64(node: Node<'_, '_>, element: &'static str, name: &str) -> Result<Zeroizing<Vec<u8>>, BadImage> {
    let found = node.children().find(|child| child.has_tag_name(element));
    let text: String = found
        .and_then(|node| node.text())
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let bytes = STANDARD.decode(text).map_err(|error| bad(name, element, error))?;
    Ok(Zeroizing::new(bytes))
}

fn number<T>(
    node: Node<'_, '_>,
    attribute: &'static str,
    name: &str,
    parse: fn(&str, u32) -> Result<T, std::num::ParseIntError>,
) -> Result<T, BadImage> {
    let text = node.attribute(attribute).unwrap_or_default();
    parse(text, 16).map_err(|error| bad(name, attribute, error))
}

fn read_file(node: Node<'_, '_>, name: &str) -> Result<ImageContent, BadImage> {
    Ok(ImageContent::File {
        fid: number(node, "fileId", name, u16::from_str_radix)?,
        data: base64(node, "data", name)?.to_vec(),
    })
}

fn read_key(node: Node<'_, '_>, name: &str) -> Result<ImageContent, BadImage> {
    if node.children().any(|child| child.has_tag_name("certificate")) {
        let der = base64(node, "certificate", name)?;
        let cvc = Cvc::parse(&der).map_err(|error| bad(name, "certificate", error))?;
        return Ok(ImageContent::Root(Box::new(cvc)));
    }
    let der = base64(node, "privateKey", name)?;
    Ok(ImageContent::PrivateKey {
        reference: number(node, "keyRef", name, u8::from_str_radix)?,
        key: SoftKey::from_pkcs8(&der).map_err(|error| bad(name, "privateKey", error))?,
    })
}

fn read_pin(node: Node<'_, '_>, name: &str) -> Result<ImageContent, BadImage> {
    let block = |element: &'static str| {
        let block =
            |digits| PinBlock::from_digits(digits).ok_or_else(|| bad(name, element, "up to 12 digits"));
        node.children()
            .find(|child| child.has_tag_name(element))
            .map(|found| block(found.text().unwrap_or_default().trim()))
            .transpose()
    };
    Ok(ImageContent::Pin {
        reference: number(node, "pinRef", name, u8::from_str_radix)?,
        pin: block("PIN")?.ok_or_else(|| bad(name, "PIN", "missing"))?,
        puk: block("PUK")?,
    })
}
