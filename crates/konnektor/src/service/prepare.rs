//! From a SignRequest to something a key can sign, and from the signed to the answer (TUC_KON_155): which variant is wanted,
//! whether it is permitted, and where the result goes.

use super::document::{Around, Encoding, Kind, examine, format_failure};
use crate::Failure;
use base::Code;
use signature::cades::{self, Extra};
use signature::xades::{self, About, Form, Place, Policy};
use signature::{Draft, Error, Signer, pades, smime};
use soap::signature::{Placement, SignRequest, SignResponse, SignatureResult, signature_type};
use soap::{Content, InputDocument, Status};

const PARALLEL: &str = "http://ws.gematik.de/conn/sig/sigupdate/parallel";
const COUNTER: &str = "http://ws.gematik.de/conn/sig/sigupdate/counter/documentexcluding";

/// The policy of emergency data (gemRL_QES_NFDM).
pub(super) const NFDM: &str = "urn:gematik:fa:sak:nfdm:r1:v1";
/// What the policy checks documents with: names below its URI, and SHA-256 of the published schemas (version 1.4).
const NFDM_SCHEMAS: [(&str, &str); 2] = [
    (
        "NFD_Document_v1_4.xsd",
        "015c6b6b64a34004688144aa3c666dd91172b4500bb0465bf6f3f95e6ae3a785",
    ),
    (
        "NFDM_Common_v1_1.xsd",
        "5da19f868a5920181b5b3e30b48a1d3f5e6d9cfbc144e99651dcb6a481a05c53",
    ),
];

/// What is asked for in place of a signature of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    New,
    Parallel,
    Counter,
}

/// Where the result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Output {
    /// A signature apart, of this type.
    Apart(&'static str),
    /// An XML signature around the document.
    Around,
    /// The document with a signature at this XPath.
    InXml(String, Encoding),
    /// The document with a signature inside.
    Inside,
    /// A mail, which is the document now.
    Mail,
}

/// A document ready to be signed.
#[derive(Debug)]
pub(super) struct Prepared {
    id: String,
    document: InputDocument,
    output: Output,
    /// What the caller should know.
    pub warnings: Vec<Failure>,
    /// What waits for signature values; taken when they are there.
    pub draft: Draft,
    /// Are revocation data to be embedded, and can they?
    pub revocation: bool,
}

fn refuse(code: Code, detail: &str) -> Failure {
    Failure::new(code, detail)
}

/// Prepares a document; `qualified` is what the card can.
pub(super) fn prepare(request: SignRequest, qualified: bool, signer: &Signer) -> Result<Prepared, Failure> {
    let around = match request.update {
        None => Around::Nothing,
        Some(_) => Around::Signatures,
    };
    let kind = examine(&request.document, around)?;
    let mut warnings = Vec::new();
    if qualified && request.document.short_text.is_none() {
        return Err(refuse(
            Code::SYNTAX,
            "ShortText is mandatory for qualified signatures",
        ));
    }
    if qualified && matches!(kind, Kind::Binary | Kind::Pdf) && request.update.is_none() {
        return Err(refuse(
            Code::BAD_DOCUMENT_FORMAT,
            "XML, PDF/A, text and TIFF can be signed with a qualified signature",
        ));
    }
    let update = match request.update.as_deref() {
        None => Update::New,
        Some(PARALLEL) => Update::Parallel,
        Some(COUNTER) => Update::Counter,
        Some(_) => {
            return Err(refuse(
                Code::BAD_SIGNATURE_TYPE,
                "ReturnUpdatedSignature/@Type unknown",
            ));
        }
    };
    let wanted = match (request.signature_type.as_deref(), &kind) {
        (Some(named), _) => named.to_owned(),
        (None, Kind::Xml(..)) => signature_type::XML.to_owned(),
        (None, Kind::PdfA) => signature_type::PDF.to_owned(),
        (None, _) => signature_type::CMS.to_owned(),
    };
    let is_cms = wanted == signature_type::CMS;
    if request.include_content.is_some() && !is_cms {
        return Err(refuse(
            Code::BAD_SIGNATURE_TYPE,
            "IncludeEContent goes with CMS signatures only",
        ));
    }
    if !request.include_objects.is_empty() && wanted != signature_type::XML {
        return Err(refuse(
            Code::BAD_SIGNATURE_TYPE,
            "IncludeObject goes with XML signatures only",
        ));
    }
    if request.placement.is_some() && wanted != signature_type::XML {
        warnings.push(refuse(
            Code::PLACEMENT_IGNORED,
            "SignaturePlacement goes with XML signatures only",
        ));
    }
    if matches!(kind, Kind::Xml(..)) && !request.schemas && request.policy.is_none() {
        warnings.push(refuse(
            Code::NO_XML_SCHEMA,
            "no schema was handed over to check the document with",
        ));
    }
    let mut revocation = request.revocation;
    let (draft, output) = match wanted.as_str() {
        signature_type::CMS => cms(&request, update, qualified, signer, &mut warnings)?,
        signature_type::XML => {
            let Kind::Xml(text, encoding) = &kind else {
                return Err(refuse(
                    Code::BAD_SIGNATURE_TYPE,
                    "XML signatures need a document in Base64XML",
                ));
            };
            xml(&request, (text, *encoding), update, qualified, signer)?
        }
        signature_type::PDF => {
            if !matches!(kind, Kind::PdfA | Kind::Pdf) {
                return Err(refuse(Code::BAD_DOCUMENT_FORMAT, "not a PDF document"));
            }
            if update != Update::New {
                return Err(refuse(
                    Code::BAD_SIGNATURE_TYPE,
                    "PDF documents take one signature",
                ));
            }
            if std::mem::take(&mut revocation) {
                warnings.push(refuse(Code::REVOCATION_NOT_EMBEDDED, "PDF"));
            }
            let reason = request.document.short_text.as_deref();
            let draft = pades::sign(request.document.content.bytes(), reason, signer);
            (
                draft.map_err(|error| format_failure(error, Code::DOCUMENT_FORMAT_CHECK))?,
                Output::Inside,
            )
        }
        signature_type::SMIME => {
            if qualified || update != Update::New {
                return Err(refuse(
                    Code::BAD_SIGNATURE_TYPE,
                    "S/MIME: a first signature of an SM-B only",
                ));
            }
            let extra = extra(&request, &mut warnings);
            let draft = smime::sign(request.document.content.bytes(), signer, extra);
            (
                draft.map_err(|error| format_failure(error, Code::DOCUMENT_FORMAT_CHECK))?,
                Output::Mail,
            )
        }
        _ => return Err(refuse(Code::BAD_SIGNATURE_TYPE, "SignatureType unknown")),
    };
    // of a counter signature nothing is embedded for those it stands over
    revocation &= draft.messages().len() == 1;
    Ok(Prepared {
        id: request.id,
        document: request.document,
        output,
        warnings,
        draft,
        revocation,
    })
}

/// Attributes of the caller, without those that would contradict ours (4273).
fn extra(request: &SignRequest, warnings: &mut Vec<Failure>) -> Extra {
    let mime = match &request.document.content {
        Content::Xml(_) => Some("text/xml".to_owned()),
        Content::Data { mime, .. } => mime.clone(),
    };
    let extra = Extra {
        description: request.document.short_text.clone(),
        mime,
        signed: request.signed.clone(),
        unsigned: request.unsigned.clone(),
    };
    let (extra, left_out) = extra.sift();
    if left_out {
        warnings.push(refuse(
            Code::ATTRIBUTES_IGNORED,
            "attributes that the Konnektor sets itself, or that are none, were left out",
        ));
    }
    extra
}

fn cms(
    request: &SignRequest,
    update: Update,
    qualified: bool,
    signer: &Signer,
    warnings: &mut Vec<Failure>,
) -> Result<(Draft, Output), Failure> {
    let bytes = request.document.content.bytes();
    let draft = match update {
        Update::New => {
            let enveloped = request.include_content.unwrap_or(false);
            cades::sign(bytes.to_vec(), enveloped, signer, extra(request, warnings))
        }
        Update::Parallel => {
            let extra = extra(request, warnings);
            match (
                cades::sign_beside(bytes.to_vec(), None, signer, extra.clone()),
                qualified,
            ) {
                // what is signed must be there to be seen
                (Err(Error::DocumentMissing), false) => cades::sign_same(bytes.to_vec(), signer, extra),
                (other, _) => other,
            }
        }
        Update::Counter => cades::countersign(bytes.to_vec(), signer),
    };
    let draft = draft.map_err(|error| format_failure(error, Code::BAD_DOCUMENT_FORMAT))?;
    Ok((draft, Output::Apart(signature_type::CMS)))
}

fn xml(
    request: &SignRequest,
    (text, encoding): (&str, Encoding),
    update: Update,
    qualified: bool,
    signer: &Signer,
) -> Result<(Draft, Output), Failure> {
    let policy = match request.policy.as_deref() {
        None if qualified && update != Update::Counter => {
            return Err(refuse(
                Code::BAD_SIGNATURE_TYPE,
                "qualified XML signatures need a signature policy (TIP1-A_5447)",
            ));
        }
        None => None,
        Some(NFDM) => Some(nfdm()),
        Some(_) => return Err(refuse(Code::BAD_SIGNATURE_TYPE, "signature policy unknown")),
    };
    let about = About {
        description: request.document.short_text.clone(),
        policy,
    };
    let place = request.placement.as_ref().map(|placement| match placement {
        Placement::FirstChildOf(path) => Place::FirstChildOf(path.clone()),
        Placement::After(path) => Place::After(path.clone()),
    });
    let bad = |error| format_failure(error, Code::XML_NOT_WELL_FORMED);
    if update == Update::Counter {
        let draft = xades::countersign(text, &about, signer).map_err(bad)?;
        return Ok((draft, Output::InXml("/*".into(), encoding)));
    }
    if let Some(object) = request.include_objects.first() {
        if update == Update::Parallel || object.has_object {
            return Err(refuse(
                Code::BAD_SIGNATURE_TYPE,
                "a signature around a document stands alone, and makes its object itself",
            ));
        }
        let form = Form::Enveloping {
            object: object.object_id.clone(),
        };
        let draft = xades::sign(text, &form, &about, signer).map_err(bad)?;
        return Ok((draft, Output::Around));
    }
    let subtree = request
        .document
        .ref_uri
        .as_deref()
        .and_then(|uri| uri.strip_prefix('#'));
    let form = match (subtree, place) {
        (Some(id), Some(place)) if about.policy.is_some() => Form::Detached {
            place,
            id: id.to_owned(),
        },
        (Some(_), _) => {
            return Err(refuse(
                Code::BAD_SIGNATURE_TYPE,
                "a part of a document is signed under a policy only, at the place it names",
            ));
        }
        (None, place) => Form::Enveloped {
            place,
            beside_others: update == Update::Parallel,
        },
    };
    let at = match &form {
        Form::Detached { place, .. } => place.path(),
        Form::Enveloped {
            place: Some(place), ..
        } => place.path(),
        _ => "/*/child::*[1]".to_owned(),
    };
    let draft = xades::sign(text, &form, &about, signer).map_err(bad)?;
    Ok((draft, Output::InXml(at, encoding)))
}

fn nfdm() -> Policy {
    let schemas = NFDM_SCHEMAS.iter().filter_map(|(name, digest)| {
        let digest = hex::decode(digest).ok()?.try_into().ok()?;
        Some((format!("{NFDM}:{name}"), digest))
    });
    Policy {
        uri: NFDM.into(),
        schemas: schemas.collect(),
    }
}

/// SHA-256 of a schema that a policy stands on.
pub(super) fn known_schema(uri: &str) -> Option<Vec<u8>> {
    let name = uri.strip_prefix(NFDM)?.strip_prefix(':')?;
    let (_, digest) = NFDM_SCHEMAS.iter().find(|(known, _)| *known == name)?;
    hex::decode(digest).ok()
}

impl Prepared {
    /// The answer for a document whose signature values are there.
    pub(super) fn answer(
        self,
        values: &[Vec<u8>],
        ocsp: &[Vec<u8>],
        status: impl FnOnce(Vec<Failure>) -> Status,
    ) -> Result<SignResponse, Failure> {
        let signed = self.draft.finish(values, ocsp);
        let signed = signed.map_err(|error| format_failure(error, Code::SIGNATURE_FAILED))?;
        let mut document = self.document;
        let empty = |content: &Content| match content {
            Content::Xml(_) => Content::Xml(Vec::new()),
            Content::Data { .. } => Content::Data {
                mime: None,
                bytes: Vec::new(),
            },
        };
        let mime = match &document.content {
            Content::Data { mime, .. } => mime.clone(),
            Content::Xml(_) => None,
        };
        // a RequestID is any text, an ID is a name
        let id = document
            .id
            .clone()
            .unwrap_or_else(|| format!("ID-{}", hex::encode(&crypto::sha256([self.id.as_bytes()])[..8])));
        let pointer = |xpath: String| SignatureResult::Pointer {
            document: id.clone(),
            xpath,
        };
        let signature = match self.output {
            Output::Apart(kind) => {
                document.content = empty(&document.content);
                Some(SignatureResult::Bytes { kind, bytes: signed })
            }
            Output::Around => {
                document.content = empty(&document.content);
                let text = String::from_utf8(signed).map_err(|_| Failure::from(Code::INTERNAL))?;
                Some(SignatureResult::Xml(text))
            }
            Output::InXml(xpath, encoding) => {
                let text = String::from_utf8(signed).map_err(|_| Failure::from(Code::INTERNAL))?;
                document.content = Content::Xml(encoding.encode(&text));
                document.id = Some(id.clone());
                Some(pointer(xpath))
            }
            Output::Inside => {
                document.content = Content::Data { mime, bytes: signed };
                document.id = Some(id.clone());
                Some(pointer("/".into()))
            }
            Output::Mail => {
                document.content = Content::Data { mime, bytes: signed };
                None
            }
        };
        Ok(SignResponse {
            id: self.id,
            status: status(self.warnings),
            document: Some(document),
            signature,
        })
    }

    /// The answer for a document that was not signed.
    pub(super) fn unsigned(
        self,
        reason: Failure,
        status: impl FnOnce(Vec<Failure>) -> Status,
    ) -> SignResponse {
        SignResponse {
            id: self.id,
            status: status(vec![reason]),
            document: None,
            signature: None,
        }
    }
}
