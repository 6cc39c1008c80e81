//! Who signed a document, judged as of the moment of the signature (TUC_KON_161, 151), and answers about a status that are
//! kept with it.

use crate::check::{good, needs_hash, question};
use crate::status::{Judged, StatusError, judge_kept};
use crate::{CheckError, Purpose, StatusEvidence, Trust, Verdict, signed_by};
use asn1::X509;
use base::{Clock, Timestamp};

impl Trust {
    /// Who signed a document, judged as of the moment of the signature `at`: by the lists of today, and if the issuer has
    /// left them since, by those of then. Answers about the status that were kept with the signature count if they were
    /// given after it was made; otherwise the responder is asked, if there is a way to it (`online`).
    pub async fn check_signer(
        &self,
        certificate: &X509,
        at: Timestamp,
        kept: &[Vec<u8>],
        online: bool,
        clock: &dyn Clock,
    ) -> Result<Verdict, CheckError> {
        let now = clock.now();
        if certificate.qc_statements.is_some() {
            let (list, ca) = self.qualified_ca(certificate, at, now)?;
            let trusted = |signer: &X509| self.answers_for(signer, list, ca, None);
            if let Some(judged) = by_kept(certificate, &ca.certificate, kept, &trusted, (at, now)) {
                let mut verdict = self.check_qualified_offline(certificate, at, now)?;
                rest_on(&mut verdict, &judged, at)?;
                return Ok(verdict);
            }
            return match online {
                true => self.check_qualified(certificate, at, clock).await,
                false => self.check_qualified_offline(certificate, at, now),
            };
        }
        let then = match self.check_offline(certificate, &Purpose::SIGNER, at) {
            Err(CheckError::Issuer(name)) => {
                let past = self.past.cas.iter().filter(|(_, until)| *until >= at);
                let mut past = past.map(|(ca, _)| ca);
                let issuer = past.find(|ca| signed_by(certificate, &ca.certificate));
                let issuer = issuer.ok_or(CheckError::Issuer(name))?;
                let verdict = self.check_with(certificate, issuer, &Purpose::SIGNER)?;
                (verdict, issuer)
            }
            other => (other?, self.issuer(certificate)?),
        };
        let (mut verdict, issuer) = then;
        let trusted = |signer: &X509| {
            let past = self.past.responders.iter();
            self.list.responders.contains(signer) || past.map(|(one, _)| one).any(|one| one == signer)
        };
        if let Some(judged) = by_kept(certificate, &issuer.certificate, kept, &trusted, (at, now)) {
            rest_on(&mut verdict, &judged, at)?;
            return Ok(verdict);
        }
        if !online {
            return Ok(verdict);
        }
        verdict.warnings.clear();
        let url = certificate.ocsp.as_deref().or(issuer.ocsp.as_deref());
        let url = url.ok_or(StatusError::NoAddress)?;
        if let Some(time) = self.responders.remembered(certificate, now) {
            verdict.status = StatusEvidence::Cached(time);
            return Ok(verdict);
        }
        let question = question(certificate, &issuer.certificate, url, &trusted);
        good(self.responders.ask(&question, clock).await?, at)?;
        verdict.status = StatusEvidence::Fresh;
        Ok(verdict)
    }

    /// An answer about the status of a certificate, asked for now, to be kept with a signature: DER OCSPResponse.
    pub async fn fetch_status(&self, certificate: &X509, clock: &dyn Clock) -> Result<Vec<u8>, CheckError> {
        let now = clock.now();
        let fetched = if certificate.qc_statements.is_some() {
            let (list, ca) = self.qualified_ca(certificate, now, now)?;
            let trusted = |signer: &X509| self.answers_for(signer, list, ca, Some(now));
            let question = self.qualified_question(certificate, &ca.certificate, &trusted)?;
            self.responders.fetch(&question, clock).await?
        } else {
            let issuer = self.issuer(certificate)?;
            let url = certificate.ocsp.as_deref().or(issuer.ocsp.as_deref());
            let trusted = |signer: &X509| self.list.responders.contains(signer);
            let url = url.ok_or(StatusError::NoAddress)?;
            let question = question(certificate, &issuer.certificate, url, &trusted);
            self.responders.fetch(&question, clock).await?
        };
        good(fetched.0, now)?;
        Ok(fetched.1)
    }
}

/// What the youngest usable answer that was kept with the signature says; it knows most.
fn by_kept(
    certificate: &X509,
    issuer: &X509,
    kept: &[Vec<u8>],
    trusted: &dyn Fn(&X509) -> bool,
    moments: (Timestamp, Timestamp),
) -> Option<Judged> {
    let need_hash = needs_hash(certificate);
    kept.iter()
        .filter_map(|answer| judge_kept(answer, certificate, issuer, trusted, need_hash, moments).ok())
        .max_by_key(|judged| judged.produced)
}

fn rest_on(verdict: &mut Verdict, judged: &Judged, at: Timestamp) -> Result<(), CheckError> {
    good(judged.status, at)?;
    verdict.status = StatusEvidence::Embedded(judged.produced);
    verdict.warnings.clear();
    Ok(())
}
