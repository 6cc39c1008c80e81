//! The verification report (OASIS DSS-X, gemSpec_Kon annex B.3): what was looked at, and what it showed.

use super::verify::Judged;
use asn1::X509;
use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto::SignatureScheme;
use pki::StatusEvidence;
use signature::Manifest;
use soap::signature::{HighLevelResult, ReportWish};
use soap::{SignatureVersion, Writer, ns};

const VALID: &str = "urn:oasis:names:tc:dss:1.0:detail:valid";
const INVALID: &str = "urn:oasis:names:tc:dss:1.0:detail:invalid";
const UNKNOWN: &str = "urn:oasis:names:tc:dss:1.0:detail:indetermined";
const MAJOR: &str = "urn:oasis:names:tc:dss:1.0:resultmajor:";
const MINOR: &str = "urn:oasis:names:tc:dss:1.0:resultminor:";
const ANCHOR: &str = "urn:oasis:names:tc:dss-x:1.0:profiles:verificationreport:trustanchor:certDataBase";

/// A report about to be written.
pub(super) struct Report<'r> {
    pub version: SignatureVersion,
    pub wish: ReportWish,
    pub now: Timestamp,
    /// OCSP responses that came with the document.
    pub ocsp: &'r [Vec<u8>],
    pub manifests: &'r [Manifest],
}

/// A signature to be reported.
pub(super) struct Subject<'s> {
    pub judged: &'s Judged,
    pub short_text: Option<&'s str>,
}

fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn time_info(out: &mut Writer, time: Timestamp) {
    out.open("dss:VerificationTimeInfo", &[]);
    out.leaf("dss:VerificationTime", &moment(time))
        .close("dss:VerificationTimeInfo");
}

/// An element that says how one check went.
fn detail(out: &mut Writer, name: &str, major: &str) {
    out.open(name, &[]);
    out.leaf("vr:ResultMajor", major).close(name);
}

fn of_result(result: HighLevelResult) -> &'static str {
    match result {
        HighLevelResult::Valid => VALID,
        HighLevelResult::Inconclusive => UNKNOWN,
        HighLevelResult::Invalid => INVALID,
    }
}

/// The short text as reports may carry it: permitted characters, thirty at most.
fn short(text: &str) -> String {
    let permitted = |c: &char| c.is_ascii_alphanumeric() || " _.-äöüÄÖÜß".contains(*c);
    text.chars().filter(permitted).take(30).collect()
}

/// Results of manifests, where no report is asked for.
pub(super) fn manifest_results(manifests: &[Manifest]) -> String {
    let mut out = Writer::new();
    manifests_into(&mut out, manifests);
    out.finish()
}

fn manifests_into(out: &mut Writer, manifests: &[Manifest]) {
    out.open("dss:VerifyManifestResults", &[("xmlns:dss", ns::DSS)]);
    for manifest in manifests {
        let known = super::prepare::known_schema(&manifest.uri) == Some(manifest.digest.clone());
        let status = if known { "Valid" } else { "Invalid" };
        out.open("dss:ManifestResult", &[]);
        out.leaf("dss:ReferenceXpath", &manifest.place)
            .leaf(
                "dss:Status",
                &format!("urn:oasis:names:tc:dss:1.0:manifeststatus:{status}"),
            )
            .close("dss:ManifestResult");
    }
    out.close("dss:VerifyManifestResults");
}

impl Report<'_> {
    pub(super) fn to_xml(&self, subjects: &[Subject<'_>]) -> String {
        let mut out = Writer::new();
        let sig = match self.version {
            SignatureVersion::V74 => ns::SIG74,
            SignatureVersion::V75 => ns::SIG75,
        };
        out.open(
            "vr:VerificationReport",
            &[
                ("xmlns:vr", ns::VR),
                ("xmlns:dss", ns::DSS),
                ("xmlns:ds", ns::DS),
                ("xmlns:XAdES", ns::XADES),
                ("xmlns:SIG", sig),
            ],
        );
        time_info(&mut out, self.now);
        for (number, subject) in subjects.iter().enumerate() {
            self.individual(&mut out, number, subject);
        }
        out.close("vr:VerificationReport");
        out.finish()
    }

    fn individual(&self, out: &mut Writer, number: usize, subject: &Subject<'_>) {
        let judged = subject.judged;
        let finding = &judged.finding;
        out.open("vr:IndividualReport", &[]);
        let place = (!finding.place.is_empty()).then_some(finding.place.as_str());
        let attributes: Vec<(&str, &str)> = match place {
            Some(path) if path.starts_with('/') => vec![("XPath", path)],
            Some(field) => vec![("FieldName", field)],
            None => Vec::new(),
        };
        out.open("vr:SignedObjectIdentifier", &attributes);
        out.open("vr:SignedProperties", &[]);
        if let Some(time) = finding.signing_time {
            out.open("vr:SignedSignatureProperties", &[]);
            out.leaf("XAdES:SigningTime", &moment(time))
                .close("vr:SignedSignatureProperties");
        }
        out.open("vr:Other", &[]);
        if let Some(text) = subject.short_text {
            out.leaf("SIG:ShortText", &short(text));
        }
        out.leaf(
            "SIG:ReferenceToSignerCertificate",
            if finding.certificate.is_some() {
                "true"
            } else {
                "false"
            },
        );
        out.close("vr:Other").close("vr:SignedProperties");
        let id = format!("SignatureValue-{number}");
        out.open("ds:SignatureValue", &[("Id", &id)])
            .raw(&STANDARD.encode(&finding.value))
            .close("ds:SignatureValue");
        out.close("vr:SignedObjectIdentifier");
        self.result(out, judged);
        if !self.wish.summary {
            out.open("vr:Details", &[]);
            time_info(out, judged.at);
            self.detailed(out, judged);
            out.close("vr:Details");
        }
        out.close("vr:IndividualReport");
    }

    fn result(&self, out: &mut Writer, judged: &Judged) {
        let minor = match judged.result {
            HighLevelResult::Valid if self.manifests.is_empty() => "valid:signature:OnAllDocuments",
            HighLevelResult::Valid => "valid:signature:HasManifestResults",
            // spelt so in the specification
            HighLevelResult::Inconclusive => "OcspNotAvailiable",
            HighLevelResult::Invalid if judged.finding.outcome.is_err() => "invalid:IncorrectSignature",
            HighLevelResult::Invalid => "CertificateChainNotComplete",
        };
        let major = match (judged.result, judged.finding.outcome.is_err()) {
            (HighLevelResult::Valid, _) | (HighLevelResult::Invalid, true) => "Success",
            _ => "InsufficientInformation",
        };
        out.open("dss:Result", &[]);
        out.leaf("dss:ResultMajor", &format!("{MAJOR}{major}"))
            .leaf("dss:ResultMinor", &format!("{MINOR}{minor}"));
        if let Some(failure) = &judged.failure {
            let text = format!("{} {}", failure.code(), failure.detail());
            out.open("dss:ResultMessage", &[("xml:lang", "de")])
                .raw(&soap::escape(text.trim()))
                .close("dss:ResultMessage");
        }
        out.close("dss:Result");
    }

    fn detailed(&self, out: &mut Writer, judged: &Judged) {
        let finding = &judged.finding;
        let math = if finding.outcome.is_ok() { VALID } else { INVALID };
        out.open("vr:DetailedSignatureReport", &[]);
        detail(out, "vr:FormatOK", VALID);
        if let Some(over) = finding.counters {
            out.open("vr:Properties", &[])
                .open("vr:UnsignedProperties", &[])
                .open("vr:Other", &[])
                .open("SIG:CounterSignatureMarker", &[]);
            let target = format!("SignatureValue-{over}");
            out.open("SIG:SignatureValueReference", &[("IdRef", &target)])
                .close("SIG:SignatureValueReference");
            out.close("SIG:CounterSignatureMarker")
                .close("vr:Other")
                .close("vr:UnsignedProperties")
                .close("vr:Properties");
        }
        if !self.manifests.is_empty() {
            manifests_into(out, self.manifests);
        }
        out.open("vr:SignatureOK", &[]);
        detail(out, "vr:SigMathOK", math);
        if let Some((scheme, hash)) = finding.algorithm {
            let name = match scheme {
                SignatureScheme::Ecdsa => "ecdsa",
                SignatureScheme::RsaPkcs1 => "rsa",
                SignatureScheme::RsaPss => "rsa-pss",
            };
            out.open("vr:SignatureAlgorithm", &[]);
            out.leaf("vr:Algorithm", &format!("urn:oid:{}", hash.oid()));
            out.open("vr:Suitability", &[]);
            out.leaf("vr:ResultMajor", VALID);
            out.open("vr:ResultMessage", &[("xml:lang", "en")])
                .raw(name)
                .close("vr:ResultMessage");
            out.close("vr:Suitability").close("vr:SignatureAlgorithm");
        }
        out.close("vr:SignatureOK");
        out.open("vr:CertificatePathValidity", &[]);
        detail(out, "vr:PathValiditySummary", of_result(judged.result));
        match &finding.certificate {
            Some(certificate) => {
                identifier(out, certificate);
                out.open("vr:PathValidityDetail", &[]);
                self.certificate(out, judged, certificate);
                detail(out, "vr:TrustAnchor", ANCHOR);
                out.close("vr:PathValidityDetail");
            }
            None => {
                out.open("vr:CertificateIdentifier", &[]);
                out.leaf("ds:X509IssuerName", "")
                    .leaf("ds:X509SerialNumber", "0")
                    .close("vr:CertificateIdentifier");
            }
        }
        out.close("vr:CertificatePathValidity")
            .close("vr:DetailedSignatureReport");
    }

    fn certificate(&self, out: &mut Writer, judged: &Judged, certificate: &X509) {
        let in_time = certificate.is_valid_at(judged.at.as_second());
        out.open("vr:CertificateValidity", &[]);
        identifier(out, certificate);
        out.leaf("vr:Subject", &certificate.subject());
        detail(out, "vr:ChainingOK", of_result(judged.result));
        detail(out, "vr:ValidityPeriodOK", if in_time { VALID } else { INVALID });
        detail(out, "vr:ExtensionsOK", of_result(judged.result));
        if self.wish.certificates {
            out.open("vr:CertificateValue", &[])
                .raw(&STANDARD.encode(certificate.der()))
                .close("vr:CertificateValue");
        }
        out.open("vr:SignatureOK", &[]);
        detail(out, "vr:SigMathOK", of_result(judged.result));
        out.close("vr:SignatureOK");
        out.open("vr:CertificateStatus", &[]);
        let status = match &judged.evidence {
            Some(_) => VALID,
            None => of_result(judged.result),
        };
        detail(out, "vr:CertStatusOK", status);
        if self.wish.revocation
            && let Some(StatusEvidence::Embedded(produced)) = &judged.evidence
        {
            self.evidence(out, *produced);
        }
        out.close("vr:CertificateStatus").close("vr:CertificateValidity");
    }

    /// The OCSP response the judgement rests on.
    fn evidence(&self, out: &mut Writer, produced: Timestamp) {
        let found = self.ocsp.iter().find_map(|response| {
            let answer = asn1::ocsp::decode_response(response).ok()?.ok()?;
            let at = answer.data.produced_at.to_unix_duration().as_secs();
            let signer = X509::parse(answer.certificates.first()?).ok()?;
            (i64::try_from(at) == Ok(produced.as_second())).then_some((response, signer))
        });
        let Some((response, signer)) = found else { return };
        out.open("vr:RevocationEvidence", &[])
            .open("vr:OCSPValidity", &[])
            .open("vr:OCSPIdentifier", &[])
            .open("XAdES:ResponderID", &[]);
        out.leaf("XAdES:ByName", &signer.subject())
            .close("XAdES:ResponderID")
            .leaf("XAdES:ProducedAt", &moment(produced))
            .close("vr:OCSPIdentifier");
        out.open("vr:OCSPValue", &[])
            .raw(&STANDARD.encode(response))
            .close("vr:OCSPValue");
        out.open("vr:SignatureOK", &[]);
        detail(out, "vr:SigMathOK", VALID);
        out.close("vr:SignatureOK")
            .open("vr:CertificatePathValidity", &[]);
        detail(out, "vr:PathValiditySummary", VALID);
        identifier(out, &signer);
        out.close("vr:CertificatePathValidity")
            .close("vr:OCSPValidity")
            .close("vr:RevocationEvidence");
    }
}

fn identifier(out: &mut Writer, certificate: &X509) {
    out.open("vr:CertificateIdentifier", &[]);
    out.leaf("ds:X509IssuerName", &certificate.issuer())
        .leaf("ds:X509SerialNumber", &certificate.serial_decimal())
        .close("vr:CertificateIdentifier");
}
