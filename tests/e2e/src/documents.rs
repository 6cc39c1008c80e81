//! Requests with documents, as a practice system writes them, and what comes back.

use anyhow::{Context as _, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use langlauf::practice::{Answer, Practice};
use roxmltree::Document;
use std::fmt::Write;

const NAMESPACES: &str = "xmlns:CONN=\"http://ws.gematik.de/conn/ConnectorCommon/v5.0\" \
    xmlns:CCTX=\"http://ws.gematik.de/conn/ConnectorContext/v2.0\" xmlns:dss=\"urn:oasis:names:tc:dss:1.0:core:schema\" \
    xmlns:vr=\"urn:oasis:names:tc:dss-x:1.0:profiles:verificationreport:schema#\"";

/// A context with a user.
fn context(user: Option<&str>) -> String {
    let user = user.map_or(String::new(), |user| format!("<CONN:UserId>{user}</CONN:UserId>"));
    format!(
        "<CCTX:Context><CONN:MandantId>Praxis</CONN:MandantId><CONN:ClientSystemId>PVS</CONN:ClientSystemId>\
         <CONN:WorkplaceId>Anmeldung</CONN:WorkplaceId>{user}</CCTX:Context>"
    )
}

/// A document to be signed.
#[derive(Debug, Clone)]
pub struct Item {
    /// RequestID.
    pub id: String,
    /// SignatureType.
    pub kind: Option<&'static str>,
    /// Further elements of OptionalInputs.
    pub inputs: String,
    /// Media type; `None` is XML.
    pub mime: Option<String>,
    /// The document.
    pub bytes: Vec<u8>,
    /// IncludeRevocationInfo.
    pub revocation: bool,
}

impl Item {
    /// A text for a CMS signature with the text inside.
    pub fn text(id: &str, text: &str) -> Self {
        Self {
            id: id.into(),
            kind: Some("urn:ietf:rfc:5652"),
            inputs: "<SIG:IncludeEContent>true</SIG:IncludeEContent>".into(),
            mime: Some("text/plain; charset=utf-8".into()),
            bytes: text.as_bytes().to_vec(),
            revocation: false,
        }
    }
}

/// What became of one document.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// RequestID.
    pub id: String,
    /// Codes in the status.
    pub codes: Vec<u32>,
    /// The signature or the signed document.
    pub signed: Option<Vec<u8>>,
}

/// A practice system that handles documents.
#[derive(Clone)]
pub struct Office<'p> {
    /// Its connection.
    pub practice: &'p Practice,
    /// Who is logged in.
    pub user: Option<&'p str>,
}

fn content(mime: Option<&str>, bytes: &[u8]) -> String {
    let base64 = STANDARD.encode(bytes);
    match mime {
        Some(mime) => format!("<dss:Base64Data MimeType=\"{mime}\">{base64}</dss:Base64Data>"),
        None => format!("<CONN:Base64XML>{base64}</CONN:Base64XML>"),
    }
}

fn signature_body(operation: &str, content: &str) -> String {
    format!(
        "<SIG:{operation} xmlns:SIG=\"{}\" {NAMESPACES}>{content}</SIG:{operation}>",
        soap::ns::SIG75
    )
}

impl Office<'_> {
    async fn signature(&self, operation: &str, content: &str) -> Result<Answer> {
        let body = signature_body(operation, content);
        self.practice.post("/ws/SignatureService", &body).await
    }

    /// GetJobNumber.
    pub async fn job(&self) -> Result<String> {
        let answer = self.signature("GetJobNumber", &context(self.user)).await?;
        answer.text("JobNumber").context("JobNumber")
    }

    /// StopSignature.
    pub async fn stop(&self, job: &str) -> Result<Answer> {
        let content = format!("{}<SIG:JobNumber>{job}</SIG:JobNumber>", context(self.user));
        self.signature("StopSignature", &content).await
    }

    /// SignDocument.
    pub async fn sign(&self, handle: &str, job: &str, items: &[Item]) -> Result<Answer> {
        let mut content = format!(
            "<CONN:CardHandle>{handle}</CONN:CardHandle>{}<SIG:TvMode>NONE</SIG:TvMode><SIG:JobNumber>{job}</SIG:JobNumber>",
            context(self.user)
        );
        for item in items {
            let kind = item
                .kind
                .map(|kind| format!("<dss:SignatureType>{kind}</dss:SignatureType>"));
            write!(
                content,
                "<SIG:SignRequest RequestID=\"{0}\"><SIG:OptionalInputs>{1}{2}</SIG:OptionalInputs><SIG:Document ID=\"{0}\" \
                 ShortText=\"{0}\">{3}</SIG:Document><SIG:IncludeRevocationInfo>{4}</SIG:IncludeRevocationInfo>\
                 </SIG:SignRequest>",
                item.id,
                kind.unwrap_or_default(),
                item.inputs,
                self::content(item.mime.as_deref(), &item.bytes),
                item.revocation
            )?;
        }
        self.signature("SignDocument", &content).await
    }

    /// VerifyDocument of a CMS signature, or of a document with its signature inside.
    pub async fn verify(
        &self,
        mime: Option<&str>,
        document: Option<&[u8]>,
        cms: Option<&[u8]>,
    ) -> Result<Answer> {
        let body = self.verify_body(mime, document, cms);
        self.practice.post("/ws/SignatureService", &body).await
    }

    /// The body of [`Office::verify`].
    pub fn verify_body(&self, mime: Option<&str>, document: Option<&[u8]>, cms: Option<&[u8]>) -> String {
        let document =
            document.map(|bytes| format!("<SIG:Document>{}</SIG:Document>", self::content(mime, bytes)));
        let cms = cms.map(|bytes| {
            format!(
                "<dss:SignatureObject><dss:Base64Signature Type=\"urn:ietf:rfc:5652\">{}</dss:Base64Signature>\
                 </dss:SignatureObject>",
                STANDARD.encode(bytes)
            )
        });
        let content = format!(
            "{}<SIG:OptionalInputs><vr:ReturnVerificationReport><vr:IncludeCertificateValues>true\
             </vr:IncludeCertificateValues><vr:IncludeRevocationValues>true</vr:IncludeRevocationValues>\
             </vr:ReturnVerificationReport></SIG:OptionalInputs>{}{}\
             <SIG:IncludeRevocationInfo>false</SIG:IncludeRevocationInfo>",
            context(self.user),
            document.unwrap_or_default(),
            cms.unwrap_or_default()
        );
        signature_body("VerifyDocument", &content)
    }

    /// ActivateComfortSignature, GetSignatureMode.
    pub async fn with_card(&self, operation: &str, handle: &str) -> Result<Answer> {
        let content = format!(
            "<CONN:CardHandle>{handle}</CONN:CardHandle>{}",
            context(self.user)
        );
        self.signature(operation, &content).await
    }

    /// GetPinStatus.
    pub async fn pin_status(&self, handle: &str, pin: &str) -> Result<Answer> {
        let body = format!(
            "<C:GetPinStatus xmlns:C=\"{}\" xmlns:D=\"{}\" {NAMESPACES}>{}<CONN:CardHandle>{handle}</CONN:CardHandle>\
             <D:PinTyp>{pin}</D:PinTyp></C:GetPinStatus>",
            soap::ns::CARD,
            soap::ns::CARDCMN,
            context(self.user)
        );
        self.practice.post("/ws/CardService", &body).await
    }

    /// DeactivateComfortSignature.
    pub async fn deactivate(&self, handles: &[&str]) -> Result<Answer> {
        let all = handles
            .iter()
            .map(|handle| format!("<CONN:CardHandle>{handle}</CONN:CardHandle>"));
        self.signature("DeactivateComfortSignature", &all.collect::<String>())
            .await
    }

    /// ExternalAuthenticate with the elliptic key.
    pub async fn authenticate(&self, handle: &str, hash: &[u8]) -> Result<Answer> {
        let body = self.authenticate_body(handle, hash);
        self.practice.post("/ws/AuthSignatureService", &body).await
    }

    /// The body of [`Office::authenticate`].
    pub fn authenticate_body(&self, handle: &str, hash: &[u8]) -> String {
        format!(
            "<SIG:ExternalAuthenticate xmlns:SIG=\"{}\" {NAMESPACES}><CONN:CardHandle>{handle}</CONN:CardHandle>{}\
             <SIG:OptionalInputs><dss:SignatureType>urn:bsi:tr:03111:ecdsa</dss:SignatureType></SIG:OptionalInputs>\
             <SIG:BinaryString><dss:Base64Data MimeType=\"application/octet-stream\">{}</dss:Base64Data></SIG:BinaryString>\
             </SIG:ExternalAuthenticate>",
            soap::ns::SIG74,
            context(self.user),
            STANDARD.encode(hash)
        )
    }

    /// EncryptDocument for a card's owner.
    pub async fn encrypt(&self, handle: &str, mime: Option<&str>, bytes: &[u8]) -> Result<Answer> {
        let content = format!(
            "{}<CRYPT:RecipientKeys><CRYPT:CertificateOnCard><CONN:CardHandle>{handle}</CONN:CardHandle>\
             </CRYPT:CertificateOnCard></CRYPT:RecipientKeys><CONN:Document>{}</CONN:Document>",
            context(self.user),
            self::content(mime, bytes)
        );
        self.encryption("EncryptDocument", &content).await
    }

    /// DecryptDocument with a card.
    pub async fn decrypt(&self, handle: &str, mime: Option<&str>, bytes: &[u8]) -> Result<Answer> {
        let content = format!(
            "{}<CRYPT:PrivateKeyOnCard><CONN:CardHandle>{handle}</CONN:CardHandle></CRYPT:PrivateKeyOnCard>\
             <CONN:Document>{}</CONN:Document>",
            context(self.user),
            self::content(mime, bytes)
        );
        self.encryption("DecryptDocument", &content).await
    }

    async fn encryption(&self, operation: &str, content: &str) -> Result<Answer> {
        let body = format!(
            "<CRYPT:{operation} xmlns:CRYPT=\"{}\" {NAMESPACES}>{content}</CRYPT:{operation}>",
            soap::ns::CRYPT
        );
        self.practice.post("/ws/EncryptionService", &body).await
    }
}

/// The documents of an answer to SignDocument.
pub fn outcomes(answer: &Answer) -> Result<Vec<Outcome>> {
    let document = Document::parse(&answer.body)?;
    let responses = document
        .descendants()
        .filter(|node| node.tag_name().name() == "SignResponse");
    let outcomes = responses.map(|response| {
        let texts = |name: &str| {
            let found = response
                .descendants()
                .filter(|node| node.tag_name().name() == name);
            found
                .filter_map(|node| node.text())
                .map(str::to_owned)
                .collect::<Vec<String>>()
        };
        let mut signed = texts("Base64Signature");
        signed.extend(texts("Base64XML"));
        signed.extend(texts("Base64Data"));
        Outcome {
            id: response.attribute("RequestID").unwrap_or_default().to_owned(),
            codes: texts("Code")
                .iter()
                .filter_map(|code| code.parse().ok())
                .collect(),
            signed: signed.iter().find_map(|text| STANDARD.decode(text).ok()),
        }
    });
    Ok(outcomes.collect())
}

/// The document of an answer to EncryptDocument or DecryptDocument.
pub fn document(answer: &Answer) -> Option<Vec<u8>> {
    let texts = [answer.text("Base64Data"), answer.text("Base64XML")];
    texts
        .into_iter()
        .flatten()
        .find_map(|text| STANDARD.decode(text).ok())
}
