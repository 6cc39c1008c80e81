use super::*;
use crate::access::{BadRule, parse_chat};
use roxmltree::Node as Xml;
use std::collections::HashMap;

/// Why a card image cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum BadImage {
    /// Larger than [`base::limits::CARD_IMAGE`].
    #[error("card image larger than {} bytes", base::limits::CARD_IMAGE)]
    TooBig,
    /// Not XML, or XML with a document type definition.
    #[error("card image is not readable XML: {0}")]
    Xml(#[from] roxmltree::Error),
    /// Not a card image.
    #[error("card image: {0} is missing")]
    Missing(String),
    /// An attribute with a value that makes no sense.
    #[error("card image: {object}, {attribute}: {reason}")]
    Attribute {
        /// Name of the object.
        object: String,
        /// Name of the attribute.
        attribute: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An access rule that cannot be read.
    #[error("card image: {object}: {source}")]
    Rule {
        /// Name of the object.
        object: String,
        /// What is wrong.
        source: BadRule,
    },
    /// More elements, attributes or namespaces than any image needs.
    #[error(transparent)]
    Immodest(#[from] base::xml::Immodest),
    /// Nested deeper than any card.
    #[error("card image nested too deep")]
    TooDeep,
}

/// Reads an image in gematik's simulator format (`<card><objectSystem>`).
pub fn read(xml: &str) -> Result<ObjectSystem, BadImage> {
    if xml.len() > base::limits::CARD_IMAGE {
        return Err(BadImage::TooBig);
    }
    base::xml::check(xml)?;
    let options = roxmltree::ParsingOptions {
        nodes_limit: base::limits::XML_NODES,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(xml, options)?;
    let card = document.root_element();
    let system = child(card, "objectSystem").ok_or_else(|| BadImage::Missing("objectSystem".into()))?;
    let attributes = Attributes::of("objectSystem", system);
    let mut nodes = Vec::new();
    let root = attribute_nodes(system).find(|node| node.attribute("id") == Some("root"));
    for mf in root.into_iter().flat_map(|root| children(root, "child")) {
        read_node(mf, None, &mut nodes, 0)?;
    }
    if !matches!(
        nodes.first(),
        Some(Node {
            body: Body::Folder { .. },
            ..
        })
    ) {
        return Err(BadImage::Missing("MF".into()));
    }
    let commons = children(card, "commons").flat_map(|commons| children(commons, "common"));
    let commons: Vec<_> = commons
        .map(|common| {
            let attribute = |name| common.attribute(name).unwrap_or_default().to_owned();
            (
                attribute("id"),
                attribute("type"),
                common.text().unwrap_or_default().trim().to_owned(),
            )
        })
        .collect();
    Ok(ObjectSystem {
        name: card.attribute("name").unwrap_or_default().to_owned(),
        nodes,
        cold_atr: attributes.hex("coldAnswerToReset")?,
        warm_atr: attributes.hex("warmAnswerToReset")?,
        point_in_time: attributes.date("pointInTime")?,
        iccsn8: attributes.fixed("iccsn8")?,
        cache_slots: attributes.number("reservedPersistentCacheSlots").unwrap_or(5),
        crypto_box: commons
            .iter()
            .any(|(id, _, value)| id == "OPTION_CRYPTOBOX" && value == "TRUE"),
        commons,
    })
}

fn children<'a, 'i>(node: Xml<'a, 'i>, name: &'static str) -> impl Iterator<Item = Xml<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

fn child<'a, 'i>(node: Xml<'a, 'i>, name: &'static str) -> Option<Xml<'a, 'i>> {
    children(node, name).next()
}

/// `attribute` elements of an object, whether or not an `attributes` element stands around them.
fn attribute_nodes<'a, 'i>(node: Xml<'a, 'i>) -> impl Iterator<Item = Xml<'a, 'i>> {
    children(child(node, "attributes").unwrap_or(node), "attribute")
}

struct Attributes<'a> {
    object: String,
    values: HashMap<&'a str, &'a str>,
}

impl<'a> Attributes<'a> {
    fn of(object: &str, node: Xml<'a, '_>) -> Self {
        let values = attribute_nodes(node)
            .filter_map(|attribute| {
                Some((
                    attribute.attribute("id")?,
                    attribute.text().unwrap_or_default().trim(),
                ))
            })
            .collect();
        Self {
            object: object.to_owned(),
            values,
        }
    }

    fn bad(&self, attribute: &'static str, reason: impl Into<String>) -> BadImage {
        BadImage::Attribute {
            object: self.object.clone(),
            attribute,
            reason: reason.into(),
        }
    }

    /// A value that is there and set.
    fn optional(&self, name: &str) -> Option<&'a str> {
        self.values
            .get(name)
            .copied()
            .filter(|value| !value.is_empty() && *value != "AttributeNotSet")
    }

    fn text(&self, name: &'static str) -> Result<&'a str, BadImage> {
        self.optional(name).ok_or_else(|| self.bad(name, "missing"))
    }

    fn hex(&self, name: &'static str) -> Result<Vec<u8>, BadImage> {
        hex::decode(self.text(name)?).map_err(|error| self.bad(name, error.to_string()))
    }

    fn optional_hex(&self, name: &'static str) -> Result<Vec<u8>, BadImage> {
        if self.optional(name).is_some() {
            self.hex(name)
        } else {
            Ok(Vec::new())
        }
    }

    fn fixed<const N: usize>(&self, name: &'static str) -> Result<[u8; N], BadImage> {
        self.hex(name)?
            .try_into()
            .map_err(|_| self.bad(name, "wrong length"))
    }

    fn number(&self, name: &'static str) -> Result<usize, BadImage> {
        usize::from_str_radix(self.text(name)?, 16).map_err(|error| self.bad(name, error.to_string()))
    }

    fn byte(&self, name: &'static str) -> Result<u8, BadImage> {
        self.number(name)?
            .try_into()
            .map_err(|_| self.bad(name, "more than one byte"))
    }

    fn fid(&self) -> Result<u16, BadImage> {
        self.number("fileIdentifier")?
            .try_into()
            .map_err(|_| self.bad("fileIdentifier", "more than two bytes"))
    }

    fn sfi(&self) -> Result<Option<u8>, BadImage> {
        self.optional("shortFileIdentifier")
            .map(|_| self.byte("shortFileIdentifier"))
            .transpose()
    }

    fn flag(&self, name: &str) -> bool {
        self.optional(name) == Some("TRUE")
    }

    fn date(&self, name: &'static str) -> Result<CvcDate, BadImage> {
        CvcDate::from_digits(self.fixed(name)?).map_err(|error| self.bad(name, error.to_string()))
    }

    fn rules(&self, name: &'static str) -> Result<AccessRules, BadImage> {
        let text = self.values.get(name).copied().unwrap_or_default();
        AccessRules::parse(text).map_err(|source| BadImage::Rule {
            object: self.object.clone(),
            source,
        })
    }

    fn block(&self, name: &'static str) -> Result<PinBlock, BadImage> {
        PinBlock::parse(&self.hex(name)?).ok_or_else(|| self.bad(name, "not a format 2 PIN block"))
    }

    /// `{(1,INFINITY)}`, `{(1,fa),(2,01)}`
    fn uses(&self) -> Result<Uses, BadImage> {
        let name = "startSSecList";
        let text: String = self.text(name)?.chars().filter(|c| !c.is_whitespace()).collect();
        let mut uses = Vec::new();
        for pair in text.split('(').skip(1) {
            let pair = pair.split(')').next().unwrap_or_default();
            let (se, count) = pair
                .split_once(',')
                .ok_or_else(|| self.bad(name, "pairs expected"))?;
            let se = u8::from_str_radix(se, 16).map_err(|_| self.bad(name, "security environment"))?;
            let count = match count {
                "INFINITY" => None,
                hex => Some(u32::from_str_radix(hex, 16).map_err(|_| self.bad(name, "count"))?),
            };
            uses.push((se, count));
        }
        Ok(uses)
    }

    /// `{[1,(signECDSA)],[2,(signECDSA,elcRoleAuthentication)]}`
    fn algorithms(&self) -> Result<Algorithms, BadImage> {
        let name = "listAlgorithmIdentifier";
        let text: String = self.text(name)?.chars().filter(|c| !c.is_whitespace()).collect();
        let mut algorithms = Vec::new();
        for entry in text.split('[').skip(1) {
            let (se, list) = entry
                .split_once(",(")
                .ok_or_else(|| self.bad(name, "[SE,(…)] expected"))?;
            let se = u8::from_str_radix(se, 16).map_err(|_| self.bad(name, "security environment"))?;
            let list = list.split(')').next().unwrap_or_default();
            algorithms.push((se, list.split(',').map(str::to_owned).collect()));
        }
        Ok(algorithms)
    }

    fn curve(&self) -> Result<Option<Curve>, BadImage> {
        match self.text("domainParameterOid")? {
            "brainpoolP256r1" => Ok(Some(Curve::BrainpoolP256r1)),
            "brainpoolP384r1" | "brainpoolP512r1" => Ok(None),
            other => Err(self.bad("domainParameterOid", format!("curve {other} unknown"))),
        }
    }
}

fn read_node(
    xml: Xml<'_, '_>,
    parent: Option<NodeId>,
    nodes: &mut Vec<Node>,
    depth: usize,
) -> Result<(), BadImage> {
    if depth > 8 {
        return Err(BadImage::TooDeep);
    }
    let name = xml.attribute("id").unwrap_or_default().to_owned();
    let attributes = Attributes::of(&name, xml);
    let life = attributes.optional("lifeCycleStatus").unwrap_or("ACTIVATED");
    let life = LifeCycle::parse(life).ok_or_else(|| attributes.bad("lifeCycleStatus", "unknown"))?;
    let kind = xml.attribute("objectType").unwrap_or_default();
    // objects on curves we do not have are left out: a card without them answers "not found", which is true
    let Some(body) = read_body(kind, &attributes, xml)? else {
        return Ok(());
    };
    let id = nodes.len();
    nodes.push(Node {
        name,
        parent,
        life,
        rules: attributes.rules("accessRules")?,
        body,
    });
    for below in children(xml, "children").flat_map(|list| children(list, "child")) {
        read_node(below, Some(id), nodes, depth + 1)?;
    }
    Ok(())
}

fn read_body(kind: &str, attributes: &Attributes<'_>, xml: Xml<'_, '_>) -> Result<Option<Body>, BadImage> {
    Ok(Some(match kind {
        "ADF" | "Application" | "DF" => {
            let list = attributes.optional("applicationIdentifier").unwrap_or_default();
            let aids = list
                .trim_matches(['{', '}'])
                .split(',')
                .map(str::trim)
                .filter(|aid| !aid.is_empty());
            let aids = aids.map(hex::decode).collect::<Result<Vec<_>, _>>();
            let aids = aids.map_err(|error| attributes.bad("applicationIdentifier", error.to_string()))?;
            let fid = attributes
                .optional("fileIdentifier")
                .map(|_| attributes.fid())
                .transpose()?;
            Body::Folder {
                aids,
                fid,
                is_adf: kind == "ADF",
            }
        }
        "TransparentElementaryFile" => {
            let (size, end) = (
                attributes.number("numberOfOctet")?,
                attributes.number("positionLogicalEndOfFile")?,
            );
            let mut bytes = attributes.optional_hex("body")?;
            if bytes.len() > size || end > size {
                return Err(attributes.bad("body", "longer than the file"));
            }
            bytes.resize(size, 0);
            Body::Transparent {
                fid: attributes.fid()?,
                sfi: attributes.sfi()?,
                size,
                end,
                bytes,
            }
        }
        "LinearFixedElementaryFile" => Body::Records(read_records(attributes, xml, RecordKind::LinearFixed)?),
        "LinearVariableElementaryFile" => {
            Body::Records(read_records(attributes, xml, RecordKind::LinearVariable)?)
        }
        "CyclicElementaryFile" => Body::Records(read_records(attributes, xml, RecordKind::Cyclic)?),
        "PWD" => Body::Password(Password {
            id: attributes.byte("pwdIdentifier")?,
            length: (
                attributes.number("minimumLength")?,
                attributes.number("maximumLength")?,
            ),
            start_tries: attributes.byte("startRetryCounter")?,
            tries: attributes.byte("retryCounter")?,
            transport: match attributes.text("transportStatus")? {
                "regularPassword" => Transport::Regular,
                "transportPIN" | "Transport-PIN" => Transport::TransportPin,
                "leerPIN" | "Leer-PIN" => Transport::EmptyPin,
                other => return Err(attributes.bad("transportStatus", format!("{other} unknown"))),
            },
            enabled: attributes.flag("flagEnabled"),
            uses: attributes.uses()?,
            secret: attributes.block("secret")?,
            puk: attributes.block("PUK")?,
            puk_uses: attributes.byte("pukUsage")?,
        }),
        "MultireferencePWD" => Body::MultiReference {
            id: attributes.byte("pwdIdentifier")?,
            target: attributes.byte("passwordReference")?,
            enabled: attributes.flag("flagEnabled"),
            uses: attributes.uses()?,
        },
        "PrivateElcKey" => {
            let Some(curve) = attributes.curve()? else {
                return Ok(None);
            };
            let scalar = attributes.optional_hex("privateKey")?;
            let key = (!scalar.is_empty())
                .then(|| EcPrivate::from_scalar(curve, &scalar))
                .transpose();
            let key = key.map_err(|error| attributes.bad("privateKey", error.to_string()))?;
            let (id, algorithms) = (attributes.byte("keyIdentifier")?, attributes.algorithms()?);
            Body::PrivateElc(PrivateElc {
                id,
                curve,
                key,
                algorithms,
            })
        }
        "PrivateRsaKey" => {
            let parts = ["n", "e", "d", "p", "q"].map(|name| attributes.optional_hex(name));
            let [n, e, d, p, q] = parts;
            let (n, e, d, p, q) = (n?, e?, d?, p?, q?);
            let key = (!d.is_empty())
                .then(|| RsaPrivate::from_numbers(&n, &e, &d, &p, &q))
                .transpose();
            let key = key.map_err(|error| attributes.bad("d", error.to_string()))?;
            let (id, algorithms) = (attributes.byte("keyIdentifier")?, attributes.algorithms()?);
            Body::PrivateRsa {
                id,
                key,
                algorithms,
                modulus_bits: attributes.number("modulusLength")?,
            }
        }
        "PublicElcVerificationKey" => {
            let Some(curve) = attributes.curve()? else {
                return Ok(None);
            };
            let key = EcPublic::from_point(curve, &attributes.hex("P")?);
            let chat = attributes.text("CHAT")?;
            Body::PublicElc(PublicElc {
                id: attributes.hex("keyIdentifier")?,
                key: key.map_err(|error| attributes.bad("P", error.to_string()))?,
                chat: parse_chat(chat).ok_or_else(|| attributes.bad("CHAT", "flag list expected"))?,
                expires: attributes.date("expirationDate")?,
                verification_rules: attributes.rules("accessRulesVerification")?,
                authentication_rules: attributes.rules("accessRulesAuthentication")?,
            })
        }
        "SymmetricAutKey" => Body::Symmetric {
            id: attributes.byte("keyIdentifier")?,
            algorithm: attributes.text("algorithmIdentifier")?.to_owned(),
            enc: Zeroizing::new(attributes.optional_hex("encKey")?),
            mac: Zeroizing::new(attributes.optional_hex("macKey")?),
        },
        "SymmetricConnectionKey" => Body::Connection {
            id: attributes.byte("keyIdentifier")?,
            can: attributes.block("can")?,
        },
        other => return Err(attributes.bad("objectType", format!("{other} unknown"))),
    }))
}

fn read_records(
    attributes: &Attributes<'_>,
    xml: Xml<'_, '_>,
    kind: RecordKind,
) -> Result<RecordFile, BadImage> {
    let max_length = attributes.number("maximumRecordLength")?;
    let mut records = Vec::new();
    for record in children(xml, "records").flat_map(|list| children(list, "record")) {
        let fields = Attributes::of(&attributes.object, record);
        let value = fields.optional_hex("recordValue")?;
        if value.len() > max_length {
            return Err(fields.bad("recordValue", "longer than maximumRecordLength"));
        }
        let life = fields.optional("recordLifeCycleStatus").unwrap_or("ACTIVATED");
        let life = LifeCycle::parse(life).ok_or_else(|| fields.bad("recordLifeCycleStatus", "unknown"))?;
        records.push(Record { life, value });
    }
    Ok(RecordFile {
        fid: attributes.fid()?,
        sfi: attributes.sfi()?,
        kind,
        max_records: attributes.number("maximumNumberOfRecords")?,
        max_length,
        size: attributes
            .optional("numberOfOctet")
            .map(|_| attributes.number("numberOfOctet"))
            .transpose()?,
        has_record_life: attributes.flag("flagRecordLifeCycleStatus"),
        records,
    })
}
