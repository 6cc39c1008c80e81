//! SignatureService 7.4 and 7.5, AuthSignatureService 7.4: their messages share types and namespaces.

use crate::read::{boolean, context};
use crate::{
    CallContext, Fault, Malformed, Request, Status, Writer, children, descend, ns, optional, required,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Node;

/// The namespace a request came in, which its answer uses too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SignatureVersion {
    V74,
    V75,
}

impl SignatureVersion {
    pub(crate) fn of(namespace: &str) -> Option<Self> {
        match namespace {
            ns::SIG74 => Some(Self::V74),
            ns::SIG75 => Some(Self::V75),
            _ => None,
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::V74 => ns::SIG74,
            Self::V75 => ns::SIG75,
        }
    }
}

/// Which kind of key is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum KeyChoice {
    Rsa,
    Ecc,
    /// The better one the card has; for encryption, both.
    RsaEcc,
}

pub(crate) fn key_choice(
    node: Node<'_, '_>,
    namespace: &'static str,
) -> Result<Option<KeyChoice>, Malformed> {
    match optional(node, namespace, "Crypt").as_deref() {
        None => Ok(None),
        Some("RSA") => Ok(Some(KeyChoice::Rsa)),
        Some("ECC") => Ok(Some(KeyChoice::Ecc)),
        Some("RSA_ECC") => Ok(Some(KeyChoice::RsaEcc)),
        Some(other) => Err(Malformed(format!("Crypt `{other:.20}` unknown"))),
    }
}

/// What a document element carries.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Base64XML.
    Xml(Vec<u8>),
    /// Base64Data.
    Data {
        /// Its media type.
        mime: Option<String>,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

impl std::fmt::Debug for Content {
    /// Documents are nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Xml(bytes) => write!(f, "Xml({} bytes)", bytes.len()),
            Content::Data { mime, bytes } => write!(f, "Data({mime:?}, {} bytes)", bytes.len()),
        }
    }
}

impl Content {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Content::Xml(bytes) | Content::Data { bytes, .. } => bytes,
        }
    }
}

/// A document in a request or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct InputDocument {
    pub id: Option<String>,
    pub ref_uri: Option<String>,
    pub short_text: Option<String>,
    pub content: Content,
}

impl InputDocument {
    pub(crate) fn read(node: Node<'_, '_>) -> Result<Self, Malformed> {
        let xml = children(node, ns::CONN, "Base64XML").next();
        let data = children(node, ns::DSS, "Base64Data").next();
        let content = match (xml, data) {
            (Some(node), None) => Content::Xml(base64(node)?),
            (None, Some(node)) => Content::Data {
                mime: attribute(node, "MimeType"),
                bytes: base64(node)?,
            },
            _ => return Err(Malformed("Base64XML or Base64Data expected in Document".into())),
        };
        Ok(Self {
            id: attribute(node, "ID"),
            ref_uri: attribute(node, "RefURI"),
            short_text: attribute(node, "ShortText"),
            content,
        })
    }

    /// Writes the document as element `name`.
    pub(crate) fn write(&self, name: &str, out: &mut Writer) {
        let mut attributes = Vec::new();
        for (key, value) in [
            ("ID", &self.id),
            ("RefURI", &self.ref_uri),
            ("ShortText", &self.short_text),
        ] {
            attributes.extend(value.as_deref().map(|value| (key, value)));
        }
        out.open(name, &attributes);
        match &self.content {
            Content::Xml(bytes) => {
                out.open("CONN:Base64XML", &[])
                    .raw(&STANDARD.encode(bytes))
                    .close("CONN:Base64XML");
            }
            Content::Data { mime, bytes } => {
                let mime: Vec<_> = mime.iter().map(|mime| ("MimeType", mime.as_str())).collect();
                out.open("dss:Base64Data", &mime)
                    .raw(&STANDARD.encode(bytes))
                    .close("dss:Base64Data");
            }
        }
        out.close(name);
    }
}

fn attribute(node: Node<'_, '_>, name: &str) -> Option<String> {
    node.attribute(name).map(str::to_owned)
}

/// Base64 with the white space that many put in.
pub(crate) fn base64(node: Node<'_, '_>) -> Result<Vec<u8>, Malformed> {
    let mut texts = node
        .children()
        .filter(Node::is_text)
        .filter_map(|child| child.text());
    let bad = |_| Malformed(format!("{} is not base64", node.tag_name().name()));
    match (texts.next(), texts.next()) {
        (None, _) => Ok(Vec::new()),
        (Some(one), None) if !one.bytes().any(|byte| byte.is_ascii_whitespace()) => {
            STANDARD.decode(one).map_err(bad)
        }
        _ => {
            let pieces = node
                .children()
                .filter(Node::is_text)
                .filter_map(|child| child.text());
            let text: String = pieces.flat_map(str::split_ascii_whitespace).collect();
            STANDARD.decode(text).map_err(bad)
        }
    }
}

/// `IncludeObject`: the document goes into the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IncludeObject {
    pub document: Option<String>,
    pub object_id: Option<String>,
    /// The document is already a `ds:Object`.
    pub has_object: bool,
}

/// `SignaturePlacement`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Behind this element.
    After(String),
    /// As first child of this element.
    FirstChildOf(String),
}

/// One document to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SignRequest {
    pub id: String,
    pub signature_type: Option<String>,
    /// Attributes to be signed, DER.
    pub signed: Vec<Vec<u8>>,
    /// Attributes that need not be signed, DER.
    pub unsigned: Vec<Vec<u8>>,
    pub include_content: Option<bool>,
    pub include_objects: Vec<IncludeObject>,
    pub placement: Option<Placement>,
    /// CreateEnvelopedSignature of the placement.
    pub enveloped: bool,
    /// Type of ReturnUpdatedSignature.
    pub update: Option<String>,
    /// Were schemas handed over?
    pub schemas: bool,
    pub policy: Option<String>,
    pub document: InputDocument,
    pub revocation: bool,
}

/// A signature in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureObject {
    /// Base64Signature.
    Bytes {
        /// What kind of signature the caller says it is.
        kind: Option<String>,
        /// The signature.
        bytes: Vec<u8>,
    },
    /// An XML signature that stands in the request.
    Xml(String),
    /// SignaturePtr: it lies in a document.
    Pointer {
        /// XPath to it.
        xpath: Option<String>,
    },
}

/// What the caller wants to see in a verification report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ReportWish {
    pub certificates: bool,
    pub revocation: bool,
    pub verifier: bool,
    /// Only whether, not why.
    pub summary: bool,
}

/// Requests to the SignatureService and the AuthSignatureService.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SignatureRequest {
    Sign {
        handle: String,
        crypt: Option<KeyChoice>,
        job: Option<String>,
        requests: Vec<SignRequest>,
    },
    Verify {
        /// `CurrentTime` or a moment, RFC 3339.
        time: Option<String>,
        current_time: bool,
        /// Certificates of AdditionalKeyInfo, DER.
        certificates: Vec<Vec<u8>>,
        report: Option<ReportWish>,
        manifests: bool,
        document: Option<InputDocument>,
        signature: Option<SignatureObject>,
        revocation: bool,
    },
    GetJobNumber,
    Stop {
        job: String,
    },
    ActivateComfort {
        handle: String,
    },
    DeactivateComfort {
        handles: Vec<String>,
    },
    GetMode {
        handle: String,
    },
    ExternalAuthenticate {
        handle: String,
        signature_type: Option<String>,
        scheme: Option<String>,
        mime: Option<String>,
        hash: Vec<u8>,
    },
}

/// Types of signatures on the wire.
pub mod signature_type {
    /// XML signature.
    pub const XML: &str = "urn:ietf:rfc:3275";
    /// CMS signature.
    pub const CMS: &str = "urn:ietf:rfc:5652";
    /// S/MIME.
    pub const SMIME: &str = "urn:ietf:rfc:5751";
    /// PDF signature.
    pub const PDF: &str = "http://uri.etsi.org/02778/3";
    /// PKCS#1 (ExternalAuthenticate).
    pub const PKCS1: &str = "urn:ietf:rfc:3447";
    /// ECDSA (ExternalAuthenticate).
    pub const ECDSA: &str = "urn:bsi:tr:03111:ecdsa";
}

pub(crate) fn decode(body: Node<'_, '_>, version: SignatureVersion) -> Result<Request, Malformed> {
    let sig = version.namespace();
    let (name, empty) = (body.tag_name().name(), CallContext::default());
    // the one operation without a context: whoever may call at all may end a comfort signature
    let context = match name {
        "DeactivateComfortSignature" => empty,
        _ => context(body)?,
    };
    let handle = || required(body, ns::CONN, "CardHandle");
    let request = match (name, version) {
        ("SignDocument", _) => {
            let requests = children(body, sig, "SignRequest").map(|node| sign_request(node, sig));
            let requests = requests.collect::<Result<Vec<_>, _>>()?;
            if requests.is_empty() {
                return Err(Malformed("SignRequest missing".into()));
            }
            SignatureRequest::Sign {
                handle: handle()?,
                crypt: key_choice(body, sig)?,
                job: optional(body, sig, "JobNumber").filter(|job| !job.is_empty()),
                requests,
            }
        }
        ("VerifyDocument", _) => verify_request(body, sig)?,
        ("GetJobNumber", _) => SignatureRequest::GetJobNumber,
        ("StopSignature", _) => SignatureRequest::Stop {
            job: required(body, sig, "JobNumber")?,
        },
        ("ActivateComfortSignature", SignatureVersion::V75) => {
            SignatureRequest::ActivateComfort { handle: handle()? }
        }
        ("DeactivateComfortSignature", SignatureVersion::V75) => {
            let all = children(body, ns::CONN, "CardHandle");
            let handles: Vec<String> = all
                .map(|node| node.text().unwrap_or_default().trim().to_owned())
                .collect();
            if handles.is_empty() {
                return Err(Malformed("CardHandle missing".into()));
            }
            SignatureRequest::DeactivateComfort { handles }
        }
        ("GetSignatureMode", SignatureVersion::V75) => SignatureRequest::GetMode { handle: handle()? },
        ("ExternalAuthenticate", _) => {
            let inputs = children(body, sig, "OptionalInputs").next();
            let data = descend(descend(body, sig, "BinaryString")?, ns::DSS, "Base64Data")?;
            SignatureRequest::ExternalAuthenticate {
                handle: handle()?,
                signature_type: inputs.and_then(|node| optional(node, ns::DSS, "SignatureType")),
                scheme: inputs.and_then(|node| optional(node, sig, "SignatureSchemes")),
                mime: attribute(data, "MimeType"),
                hash: base64(data)?,
            }
        }
        (other, _) => {
            return Err(Malformed(format!(
                "operation {other:.40} unknown in SignatureService"
            )));
        }
    };
    Ok(Request::Signature {
        version,
        context,
        request: Box::new(request),
    })
}

fn sign_request(node: Node<'_, '_>, sig: &'static str) -> Result<SignRequest, Malformed> {
    let inputs = children(node, sig, "OptionalInputs").next();
    let text = |namespace, name| inputs.and_then(|node| optional(node, namespace, name));
    let inside = |namespace, name| inputs.and_then(|node| children(node, namespace, name).next());
    let properties = inside(ns::DSS, "Properties");
    let attributes = |name| -> Result<Vec<Vec<u8>>, Malformed> {
        let list = properties.and_then(|node| children(node, ns::DSS, name).next());
        list.map_or(Ok(Vec::new()), property_values)
    };
    let objects = inside(sig, "IncludeObjects");
    let objects = objects
        .into_iter()
        .flat_map(|node| children(node, ns::DSS, "IncludeObject"));
    let include_objects = objects.map(|node| {
        Ok(IncludeObject {
            document: attribute(node, "WhichDocument"),
            object_id: attribute(node, "ObjId"),
            has_object: crate::read::attribute_flag(node, "hasObjectTagsAndAttributesSet")?,
        })
    });
    let placement_node = inside(ns::DSS, "SignaturePlacement");
    let placement = placement_node.and_then(|node| {
        let after = optional(node, ns::DSS, "XPathAfter").map(Placement::After);
        after.or_else(|| optional(node, ns::DSS, "XPathFirstChildOf").map(Placement::FirstChildOf))
    });
    if placement_node.is_some() && placement.is_none() {
        return Err(Malformed(
            "XPathAfter or XPathFirstChildOf expected in SignaturePlacement".into(),
        ));
    }
    let enveloped = placement_node.and_then(|node| node.attribute("CreateEnvelopedSignature"));
    let policy = inside(ns::SP, "GenerateUnderSignaturePolicy");
    let policy = policy.map(|node| required(node, ns::SP, "SignaturePolicyIdentifier"));
    Ok(SignRequest {
        id: attribute(node, "RequestID").ok_or_else(|| Malformed("RequestID missing".into()))?,
        signature_type: text(ns::DSS, "SignatureType").filter(|text| !text.is_empty()),
        signed: attributes("SignedProperties")?,
        unsigned: attributes("UnsignedProperties")?,
        include_content: text(sig, "IncludeEContent")
            .map(|text| boolean(&text))
            .transpose()?,
        include_objects: include_objects.collect::<Result<_, Malformed>>()?,
        placement,
        enveloped: enveloped.map_or(Ok(true), boolean)?,
        update: inside(ns::DSS, "ReturnUpdatedSignature")
            .map(|node| node.attribute("Type").unwrap_or_default().to_owned()),
        schemas: inside(ns::DSS, "Schemas").is_some(),
        policy: policy.transpose()?,
        document: InputDocument::read(descend(node, sig, "Document")?)?,
        revocation: boolean(&required(node, sig, "IncludeRevocationInfo")?)?,
    })
}

/// The CMS attributes in a list of properties, in whatever namespace they stand.
pub(crate) fn property_values(list: Node<'_, '_>) -> Result<Vec<Vec<u8>>, Malformed> {
    let values = children(list, ns::DSS, "Property").flat_map(|node| children(node, ns::DSS, "Value"));
    let attributes = values.flat_map(|node| {
        node.children()
            .filter(|child| child.tag_name().name() == "CMSAttribute")
    });
    attributes.map(base64).collect()
}

fn verify_request(body: Node<'_, '_>, sig: &'static str) -> Result<SignatureRequest, Malformed> {
    let inputs = children(body, sig, "OptionalInputs").next();
    let inside = |namespace, name| inputs.and_then(|node| children(node, namespace, name).next());
    let time = inside(sig, "UseVerificationTime");
    let keys = inside(ns::DSS, "AdditionalKeyInfo");
    let certificates = keys
        .into_iter()
        .flat_map(|node| node.descendants())
        .filter(|node| crate::has_name(*node, ns::DS, "X509Certificate"))
        .map(base64);
    let report = inside(ns::VR, "ReturnVerificationReport").map(|node| {
        let flag = |name, default| optional(node, ns::VR, name).map_or(Ok(default), |text| boolean(&text));
        let level = optional(node, ns::VR, "ReportDetailLevel").unwrap_or_default();
        Ok::<_, Malformed>(ReportWish {
            certificates: flag("IncludeCertificateValues", false)?,
            revocation: flag("IncludeRevocationValues", false)?,
            verifier: flag("IncludeVerifier", true)?,
            summary: level.ends_with(":noDetails"),
        })
    });
    let object = children(body, ns::DSS, "SignatureObject").next();
    let signature = object.map(|node| {
        if let Some(bytes) = children(node, ns::DSS, "Base64Signature").next() {
            return Ok(SignatureObject::Bytes {
                kind: attribute(bytes, "Type"),
                bytes: base64(bytes)?,
            });
        }
        if let Some(signature) = children(node, ns::DS, "Signature").next() {
            return Ok(SignatureObject::Xml(standalone(signature)));
        }
        let pointer = descend(node, ns::DSS, "SignaturePtr")?;
        Ok::<_, Malformed>(SignatureObject::Pointer {
            xpath: attribute(pointer, "XPath"),
        })
    });
    let document = children(body, sig, "Document").next();
    Ok(SignatureRequest::Verify {
        time: time.and_then(|node| optional(node, ns::DSS, "SpecificTime")),
        current_time: time.is_some_and(|node| children(node, ns::DSS, "CurrentTime").next().is_some()),
        certificates: certificates.collect::<Result<_, _>>()?,
        report: report.transpose()?,
        manifests: inside(sig, "VerifyManifests").is_some(),
        document: document.map(InputDocument::read).transpose()?,
        signature: signature.transpose()?,
        revocation: boolean(&required(body, sig, "IncludeRevocationInfo")?)?,
    })
}

/// An element as a document of its own: as it is written, if it declares its prefixes itself; otherwise with those
/// declared that it takes from around it.
fn standalone(node: Node<'_, '_>) -> String {
    let text = node.document().input_text().get(node.range()).unwrap_or_default();
    if roxmltree::Document::parse(text).is_ok_and(|alone| alone.root_element().tag_name() == node.tag_name())
    {
        return text.to_owned();
    }
    let own = text.split('>').next().unwrap_or_default();
    let declares = |name: &str| {
        own.split_ascii_whitespace()
            .any(|word| word.split('=').next() == Some(name))
    };
    let mut declarations = String::new();
    for namespace in node.namespaces() {
        let name = match namespace.name() {
            Some("xml") => continue,
            Some(prefix) => format!("xmlns:{prefix}"),
            None => "xmlns".to_owned(),
        };
        if !declares(&name) {
            declarations += &format!(" {name}=\"{}\"", crate::escape(namespace.uri()));
        }
    }
    let end = text.find([' ', '>', '/', '\n', '\t', '\r']).unwrap_or_default();
    let (head, rest) = text.split_at(end);
    format!("{head}{declarations}{rest}")
}

const NAMESPACES: [(&str, &str); 2] = [("xmlns:CONN", ns::CONN), ("xmlns:dss", ns::DSS)];

fn open(out: &mut Writer, version: SignatureVersion, name: &str) {
    let mut namespaces = vec![("xmlns:SIG", version.namespace())];
    namespaces.extend(NAMESPACES);
    out.open(name, &namespaces);
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SignResponse {
    pub id: String,
    pub status: Status,
    /// The document, with the signature inside, or an empty one.
    pub document: Option<InputDocument>,
    pub signature: Option<SignatureResult>,
}

/// Where the signature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureResult {
    /// Here.
    Bytes {
        /// Its type.
        kind: &'static str,
        /// The signature.
        bytes: Vec<u8>,
    },
    /// An XML signature, here.
    Xml(String),
    /// In the document.
    Pointer {
        /// ID of the document.
        document: String,
        /// XPath to the signature.
        xpath: String,
    },
}

impl SignatureResult {
    fn write(&self, out: &mut Writer) {
        out.open("dss:SignatureObject", &[]);
        match self {
            SignatureResult::Bytes { kind, bytes } => {
                out.open("dss:Base64Signature", &[("Type", kind)])
                    .raw(&STANDARD.encode(bytes))
                    .close("dss:Base64Signature");
            }
            SignatureResult::Xml(signature) => {
                out.raw(signature);
            }
            SignatureResult::Pointer { document, xpath } => {
                out.open(
                    "dss:SignaturePtr",
                    &[("WhichDocument", document), ("XPath", xpath)],
                )
                .close("dss:SignaturePtr");
            }
        }
        out.close("dss:SignatureObject");
    }
}

/// Answer to SignDocument.
pub fn sign_response(version: SignatureVersion, responses: &[SignResponse]) -> String {
    let mut out = Writer::new();
    open(&mut out, version, "SIG:SignDocumentResponse");
    for response in responses {
        out.open("SIG:SignResponse", &[("RequestID", &response.id)]);
        response.status.write(&mut out);
        if let Some(document) = &response.document {
            out.open("SIG:OptionalOutputs", &[]);
            document.write("SIG:DocumentWithSignature", &mut out);
            out.close("SIG:OptionalOutputs");
        }
        if let Some(signature) = &response.signature {
            signature.write(&mut out);
        }
        out.close("SIG:SignResponse");
    }
    out.close("SIG:SignDocumentResponse");
    out.finish()
}

/// What a verification found, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum HighLevelResult {
    Valid,
    Inconclusive,
    Invalid,
}

impl HighLevelResult {
    /// On the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Invalid => "INVALID",
        }
    }
}

/// Where the moment of a verification comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TimeSource {
    Embedded,
    User,
    System,
}

/// Answer to VerifyDocument.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct VerifyResponse<'a> {
    pub status: &'a Status,
    pub result: HighLevelResult,
    pub source: TimeSource,
    /// RFC 3339.
    pub time: String,
    /// Written manifest results, if there are any.
    pub manifests: Option<String>,
    /// The signature with revocation data put in.
    pub updated: Option<SignatureResult>,
    /// The document with revocation data put into its signature.
    pub document: Option<InputDocument>,
    /// A written verification report.
    pub report: Option<String>,
}

impl VerifyResponse<'_> {
    /// The body.
    pub fn to_xml(&self, version: SignatureVersion) -> String {
        let mut out = Writer::new();
        open(&mut out, version, "SIG:VerifyDocumentResponse");
        self.status.write(&mut out);
        out.open("SIG:VerificationResult", &[]);
        out.leaf("SIG:HighLevelResult", self.result.as_str());
        let source = match self.source {
            TimeSource::Embedded => "SIGNATURE_EMBEDDED_TIMESTAMP",
            TimeSource::User => "USER_DEFINED_TIMESTAMP",
            TimeSource::System => "SYSTEM_TIMESTAMP",
        };
        out.leaf("SIG:TimestampType", source)
            .leaf("SIG:Timestamp", &self.time);
        out.close("SIG:VerificationResult");
        let outputs = self.manifests.is_some()
            || self.updated.is_some()
            || self.document.is_some()
            || self.report.is_some();
        if outputs {
            out.open("SIG:OptionalOutputs", &[]);
            out.raw(self.manifests.as_deref().unwrap_or_default());
            if let Some(document) = &self.document {
                document.write("SIG:DocumentWithSignature", &mut out);
            }
            if let Some(updated) = &self.updated {
                out.open("dss:UpdatedSignature", &[]);
                updated.write(&mut out);
                out.close("dss:UpdatedSignature");
            }
            out.raw(self.report.as_deref().unwrap_or_default());
            out.close("SIG:OptionalOutputs");
        }
        out.close("SIG:VerifyDocumentResponse");
        out.finish()
    }
}

/// Answer to GetJobNumber.
pub fn job_number_response(version: SignatureVersion, number: &str) -> String {
    let mut out = Writer::new();
    open(&mut out, version, "SIG:GetJobNumberResponse");
    out.leaf("SIG:JobNumber", number)
        .close("SIG:GetJobNumberResponse");
    out.finish()
}

/// Answer to an operation that only has a status: StopSignature, DeactivateComfortSignature.
pub fn status_response(version: SignatureVersion, operation: &str, status: &Status) -> String {
    let name = format!("SIG:{operation}Response");
    let mut out = Writer::new();
    open(&mut out, version, &name);
    status.write(&mut out);
    out.close(&name);
    out.finish()
}

/// Answer to ActivateComfortSignature.
pub fn activate_response(status: &Status) -> String {
    let mut out = Writer::new();
    open(
        &mut out,
        SignatureVersion::V75,
        "SIG:ActivateComfortSignatureResponse",
    );
    status.write(&mut out);
    out.leaf("SIG:SignatureMode", "COMFORT")
        .close("SIG:ActivateComfortSignatureResponse");
    out.finish()
}

/// Answer to GetSignatureMode.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SignatureMode {
    pub enabled: bool,
    pub max: u8,
    /// Seconds.
    pub timer: u64,
    /// Signatures and seconds left, of a session in comfort mode.
    pub left: Option<(u8, u64)>,
}

impl SignatureMode {
    /// The body.
    pub fn to_xml(&self) -> String {
        let mut out = Writer::new();
        open(&mut out, SignatureVersion::V75, "SIG:GetSignatureModeResponse");
        Status::Ok.write(&mut out);
        let status = if self.enabled { "ENABLED" } else { "DISABLED" };
        out.leaf("SIG:ComfortSignatureStatus", status)
            .leaf("SIG:ComfortSignatureMax", &self.max.to_string())
            .leaf("SIG:ComfortSignatureTimer", &format!("PT{}S", self.timer));
        if let Some((count, seconds)) = self.left {
            out.open("SIG:SessionInfo", &[]);
            out.leaf("SIG:SignatureMode", "COMFORT")
                .leaf("SIG:CountRemaining", &count.to_string())
                .leaf("SIG:TimeRemaining", &format!("PT{seconds}S"));
            out.close("SIG:SessionInfo");
        }
        out.close("SIG:GetSignatureModeResponse");
        out.finish()
    }
}

/// Answer to ExternalAuthenticate.
pub fn authenticate_response(version: SignatureVersion, kind: &'static str, signature: Vec<u8>) -> String {
    let mut out = Writer::new();
    open(&mut out, version, "SIG:ExternalAuthenticateResponse");
    Status::Ok.write(&mut out);
    SignatureResult::Bytes {
        kind,
        bytes: signature,
    }
    .write(&mut out);
    out.close("SIG:ExternalAuthenticateResponse");
    out.finish()
}

/// A status from what was found on the way: none is well.
pub fn status_of(warning: Option<Fault>) -> Status {
    warning.map_or(Status::Ok, Status::Warning)
}
