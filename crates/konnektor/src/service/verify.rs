//! VerifyDocument (TIP1-A_5034): all signatures of a document, as of the time they were made.

use super::Call;
use super::document::{Around, Kind, check_size, decode_xml, examine, format_failure};
use super::report::{Report, Subject};
use crate::Failure;
use crate::model::Target;
use crate::state::Function;
use asn1::X509;
use base::{Code, Timestamp};
use pki::StatusEvidence;
use signature::{Error, Finding, Findings, Flaw, cades, pades, smime, xades};
use soap::signature::{
    HighLevelResult, ReportWish, SignatureObject, SignatureResult, TimeSource, VerifyResponse, signature_type,
};
use soap::{CallContext, Content, InputDocument, SignatureVersion};

/// What is to be verified, and how.
pub(super) struct VerifyOrder {
    pub version: SignatureVersion,
    /// RFC 3339.
    pub time: Option<String>,
    pub current_time: bool,
    pub certificates: Vec<Vec<u8>>,
    pub report: Option<ReportWish>,
    pub manifests: bool,
    pub document: Option<InputDocument>,
    pub signature: Option<SignatureObject>,
    pub revocation: bool,
}

/// Where the signatures are.
enum Source {
    Cms(Vec<u8>),
    Xml(String),
    Pdf,
    Mail,
}

/// One signature, judged.
pub(super) struct Judged {
    pub finding: Finding,
    pub result: HighLevelResult,
    /// What is wrong or unknown.
    pub failure: Option<Failure>,
    /// The moment it was judged for, and where that comes from.
    pub at: Timestamp,
    pub source: TimeSource,
    /// What the status rests on.
    pub evidence: Option<StatusEvidence>,
}

impl Call<'_> {
    pub(super) async fn verify_document(
        &self,
        context: &CallContext,
        order: VerifyOrder,
    ) -> Result<String, Failure> {
        self.inner.state.permit(Function::Pin)?;
        self.check(context, Target::Nothing { wide: false })?;
        let user_time = match (&order.time, order.current_time) {
            (Some(text), _) => Some(
                text.parse::<Timestamp>()
                    .map_err(|_| Failure::new(Code::SYNTAX, "SpecificTime"))?,
            ),
            (None, true) => Some(self.inner.clock.now()),
            (None, false) => None,
        };
        let known: Result<Vec<X509>, _> = order.certificates.iter().map(|der| X509::parse(der)).collect();
        let known = known.map_err(|error| Failure::new(Code::SYNTAX, format!("X509Certificate: {error}")))?;
        let (source, findings) = tokio::task::block_in_place(|| find(&order, &known))?;
        let mut judged = Vec::new();
        for finding in findings.signatures {
            judged.push(self.judge(finding, user_time, &findings.ocsp).await?);
        }
        let result = judged
            .iter()
            .map(|one| one.result)
            .max()
            .unwrap_or(HighLevelResult::Invalid);
        let mut warnings: Vec<Failure> = judged.iter().filter_map(|one| one.failure.clone()).collect();
        let (mut updated, mut document) = (None, None);
        if order.revocation {
            match self.embed(&source, &judged, order.document.as_ref()).await {
                Ok((signature, whole)) => (updated, document) = (signature, whole),
                Err(failure) => warnings.push(failure),
            }
        }
        // the youngest signature's moment stands for all
        let youngest = judged.iter().max_by_key(|one| one.at);
        let (at, time_source) = youngest.map_or((self.inner.clock.now(), TimeSource::System), |one| {
            (one.at, one.source)
        });
        let description = order
            .document
            .as_ref()
            .and_then(|document| document.short_text.clone());
        let report = order.report.map(|wish| {
            let report = Report {
                version: order.version,
                wish,
                now: self.inner.clock.now(),
                ocsp: &findings.ocsp,
                manifests: &findings.manifests,
            };
            let subjects: Vec<Subject<'_>> = judged
                .iter()
                .map(|one| Subject {
                    judged: one,
                    short_text: description.as_deref(),
                })
                .collect();
            report.to_xml(&subjects)
        });
        let manifests = (order.manifests && order.report.is_none() && !findings.manifests.is_empty())
            .then(|| super::report::manifest_results(&findings.manifests));
        let response = VerifyResponse {
            status: &self.status(warnings),
            result,
            source: time_source,
            time: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            manifests,
            updated,
            document,
            report,
        };
        self.inner.log_crypto_operation_without_card("VerifyDocument");
        Ok(response.to_xml(order.version))
    }

    /// One signature: mathematics first, then who signed.
    async fn judge(
        &self,
        finding: Finding,
        user_time: Option<Timestamp>,
        ocsp: &[Vec<u8>],
    ) -> Result<Judged, Failure> {
        let now = self.inner.clock.now();
        let (at, source) = match (user_time, finding.signing_time) {
            (Some(time), _) => (time, TimeSource::User),
            (None, Some(time)) => (time, TimeSource::Embedded),
            (None, None) => (now, TimeSource::System),
        };
        let mut judged = Judged {
            result: HighLevelResult::Invalid,
            failure: None,
            at,
            source,
            evidence: None,
            finding,
        };
        let qualified = judged
            .finding
            .certificate
            .as_ref()
            .is_some_and(|certificate| certificate.qc_statements.is_some());
        if qualified && !self.inner.config.lu_sak {
            return Err(Code::LU_SAK_OFF.into());
        }
        if let Err(flaw) = judged.finding.outcome {
            let code = match flaw {
                Flaw::Digest | Flaw::Value | Flaw::OtherCertificate => Code::SIGNATURE_INVALID,
                Flaw::NoCertificate => Code::SIGNER_CERTIFICATE,
                Flaw::Algorithm | Flaw::Attributes if qualified => Code::NOT_QES,
                Flaw::Reference if qualified => Code::SIGNATURE_PROFILE,
                Flaw::Algorithm | Flaw::Attributes | Flaw::Reference => Code::NOT_NONQES,
            };
            judged.failure = Some(Failure::new(code, flaw));
            return Ok(judged);
        }
        let partial = !judged.finding.whole && judged.finding.counters.is_none();
        // only this policy signs parts of documents
        if partial && judged.finding.policy.as_deref() != Some(super::prepare::NFDM) {
            judged.failure = Some(Code::NOT_WHOLE_DOCUMENT.into());
            return Ok(judged);
        }
        // a time stamp or a clock of the signer from the future proves nothing
        if at.duration_since(now).as_secs_f64() > pki::status::CLOCK_TOLERANCE.as_secs_f64() {
            judged.failure = Some(Failure::new(Code::SIGNATURE_INVALID, "signed in the future"));
            return Ok(judged);
        }
        let Some(certificate) = &judged.finding.certificate else {
            judged.failure = Some(Code::SIGNER_CERTIFICATE.into());
            return Ok(judged);
        };
        let (trust, clock) = (self.trust()?, &*self.inner.clock);
        let checking = trust.check_signer(certificate, at, ocsp, self.inner.config.online, clock);
        match checking.await {
            Ok(verdict) if verdict.status == StatusEvidence::NotAsked => {
                judged.result = HighLevelResult::Inconclusive;
                judged.failure = Some(Failure::from(Code::NO_OCSP_CHECK).within(Code::CERTIFICATES_IGNORED));
            }
            Ok(verdict) => {
                judged.result = HighLevelResult::Valid;
                judged.evidence = Some(verdict.status);
            }
            Err(error) if error.is_inconclusive() => {
                judged.result = HighLevelResult::Inconclusive;
                judged.failure = Some(Failure::new(error.code(), error).within(Code::CERTIFICATES_IGNORED));
            }
            Err(error) => judged.failure = Some(Failure::new(error.code(), error)),
        }
        Ok(judged)
    }

    /// Fetches the status of each signer and puts the answers into the signature.
    async fn embed(
        &self,
        source: &Source,
        judged: &[Judged],
        document: Option<&InputDocument>,
    ) -> Result<(Option<SignatureResult>, Option<InputDocument>), Failure> {
        if matches!(source, Source::Pdf | Source::Mail) {
            return Err(Code::REVOCATION_NOT_EMBEDDED.into());
        }
        let mut fresh = Vec::new();
        for one in judged.iter().filter(|one| one.finding.counters.is_none()) {
            if let Some(certificate) = &one.finding.certificate {
                fresh.push((one.finding.place.clone(), self.fetch_status(certificate).await?));
            }
        }
        let failed = |error| format_failure(error, Code::REVOCATION_NOT_EMBEDDED);
        match source {
            Source::Cms(cms) => {
                let responses: Vec<Vec<u8>> = fresh.into_iter().map(|(_, response)| response).collect();
                let bytes = cades::with_ocsp(cms, &responses).map_err(failed)?;
                let kind = signature_type::CMS;
                Ok((Some(SignatureResult::Bytes { kind, bytes }), None))
            }
            Source::Xml(xml) => {
                let mut xml = xml.clone();
                // from the end, so that places further in front stay what they are
                for (place, response) in fresh.into_iter().rev() {
                    xml = xades::sealed_ocsp(&xml, &place, &[response]).map_err(failed)?;
                }
                match document {
                    Some(document) => {
                        let mut document = document.clone();
                        let encoding = decode_xml(document.content.bytes())?.1;
                        document.content = Content::Xml(encoding.encode(&xml));
                        Ok((None, Some(document)))
                    }
                    None => Ok((Some(SignatureResult::Xml(xml)), None)),
                }
            }
            Source::Pdf | Source::Mail => Ok((None, None)),
        }
    }
}

/// Looks for signatures where the caller says they are, or where they can be.
fn find(order: &VerifyOrder, known: &[X509]) -> Result<(Source, Findings), Failure> {
    let document = order.document.as_ref();
    let failed = |error: Error| match error {
        Error::DocumentMissing => {
            Failure::new(Code::SYNTAX, "the document of a detached signature is missing")
        }
        other => format_failure(other, Code::BAD_DOCUMENT_FORMAT),
    };
    if let Some(SignatureObject::Bytes { kind, bytes }) = &order.signature {
        if kind.as_deref() == Some(signature_type::XML) {
            return in_xml(decode_xml(bytes)?.0, known).map_err(failed);
        }
        check_size(bytes.len(), Around::Signatures)?;
        let content = document.map(|document| document.content.bytes());
        // some hand over an empty document beside a signature that contains it
        let content = content.filter(|content| !content.is_empty());
        let findings = cades::verify(bytes, content, known).map_err(failed)?;
        return Ok((Source::Cms(bytes.clone()), findings));
    }
    if let Some(SignatureObject::Xml(text)) = &order.signature {
        return in_xml(text.clone(), known).map_err(failed);
    }
    let document = document.ok_or_else(|| Failure::from(Code::NO_SIGNATURE))?;
    match (examine(document, Around::Signatures)?, &document.content) {
        (Kind::Xml(text, _), _) => in_xml(text, known).map_err(failed),
        (_, content) if content.bytes().starts_with(b"%PDF-") => {
            let findings = pades::verify(content.bytes(), known).map_err(failed)?;
            Ok((Source::Pdf, findings))
        }
        (_, content) if content.bytes().first() == Some(&0x30) => {
            let findings = cades::verify(content.bytes(), None, known).map_err(failed)?;
            Ok((Source::Cms(content.bytes().to_vec()), findings))
        }
        (_, content) => match smime::verify(content.bytes(), known) {
            Ok(findings) => Ok((Source::Mail, findings)),
            Err(Error::Format(_) | Error::NoSignature) => Err(Code::NO_SIGNATURE.into()),
            Err(other) => Err(failed(other)),
        },
    }
}

fn in_xml(text: String, known: &[X509]) -> Result<(Source, Findings), Error> {
    let findings = xades::verify(&text, known)?;
    Ok((Source::Xml(text), findings))
}
