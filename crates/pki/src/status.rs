//! OCSP: asking, judging an answer (TUC_PKI_006), and answering in the test TI.

use asn1::ocsp::{self, CertId, CertStatus, ResponderId, ResponseData, SingleResponse};
use asn1::{X509, oid};
use base::{Code, Timestamp};
use crypto::{Key, PublicKey, SignatureScheme, SoftKey, sha1, sha256};
use der::asn1::GeneralizedTime;
use der::{DateTime, Decode, Encode};
use std::time::Duration;

/// Tolerated difference of clocks, 37.5 s (GS-A_5215).
pub const CLOCK_TOLERANCE: Duration = Duration::from_millis(37_500);

/// A status that an acceptable answer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not revoked, as of the moment of the answer.
    Good,
    /// Revoked at this moment.
    Revoked(Timestamp),
    /// The responder does not know the certificate.
    Unknown,
}

/// Why an answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Not an OCSP answer.
    #[error("the status service answers something unreadable: {0}")]
    Format(#[from] asn1::Error),
    /// The responder refuses.
    #[error("the status service is overloaded or out of order: it answers {0:?}")]
    Refused(ocsp::ResponseStatus),
    /// About another certificate.
    #[error("the status service answers about another certificate")]
    Other,
    /// The signer is not in the trust list.
    #[error("who signed the status answer is not trusted for that")]
    Signer,
    /// The signature is wrong.
    #[error("the signature of the status answer is wrong")]
    Signature,
    /// Too old.
    #[error("the status answer is of {0}, too old to count")]
    Old(Timestamp),
    /// From the future.
    #[error("the status answer is dated in the future ({0}): a wrong clock, here or there")]
    Future(Timestamp),
    /// The nonce is not ours.
    #[error("the status answer belongs to another question (nonce)")]
    Nonce,
    /// The hash of the certificate is absent.
    #[error("the status service does not prove that it knows the certificate (CertHash missing)")]
    HashMissing,
    /// The responder knows another certificate with this number.
    #[error("the status service knows another certificate with this number (CertHash differs)")]
    HashMismatch,
    /// There is no address to ask.
    #[error("neither the certificate nor the trust list says where its status can be asked")]
    NoAddress,
    /// Nobody answered.
    #[error("status service {url} does not answer: {reason}")]
    Unreachable {
        /// Whom we asked.
        url: String,
        /// What happened.
        reason: String,
    },
    /// It failed so often that it is left alone for a while.
    #[error(
        "status service {url} failed {failures} times in a row and is asked again at {until}; last: {reason}"
    )]
    Paused {
        /// Whom we did not ask.
        url: String,
        /// How often it failed.
        failures: u32,
        /// When it is asked again.
        until: Timestamp,
        /// What happened last.
        reason: String,
    },
}

impl StatusError {
    /// The code of TUC_PKI_006.
    pub fn code(&self) -> Code {
        match self {
            StatusError::HashMissing => Code::CERT_HASH_MISSING,
            StatusError::HashMismatch => Code::CERT_HASH_MISMATCH,
            StatusError::Signature => Code::OCSP_SIGNATURE,
            StatusError::Signer => Code::OCSP_CERT_MISSING,
            StatusError::Nonce => Code::OCSP_NONCE,
            StatusError::Refused(_) => Code::OCSP_STATUS,
            StatusError::NoAddress => Code::OCSP_ADDRESS_MISSING,
            StatusError::Unreachable { .. } | StatusError::Paused { .. } => Code::OCSP_UNREACHABLE,
            StatusError::Format(_) | StatusError::Other | StatusError::Old(_) | StatusError::Future(_) => {
                Code::OCSP_FAILED
            }
        }
    }

    /// Is it the service that failed, and not its answer that is wrong? Only then may the failure be tolerated.
    pub fn is_outage(&self) -> bool {
        use ocsp::ResponseStatus::{InternalError, TryLater};
        match self {
            StatusError::Unreachable { .. } | StatusError::Paused { .. } => true,
            // any other refusal is about the question: this responder does not serve this certificate (RFC 5019)
            StatusError::Refused(status) => matches!(status, InternalError | TryLater),
            _ => false,
        }
    }
}

/// Names a certificate for OCSP.
pub fn cert_id(certificate: &X509, issuer: &X509) -> Result<CertId, asn1::Error> {
    CertId::new(
        &sha1([issuer.subject_der()?]),
        &sha1([issuer.key_bits()]),
        certificate.serial(),
    )
}

/// What an answer is judged by.
pub struct Rules<'a> {
    /// Is this a responder we believe?
    pub trusted: &'a dyn Fn(&X509) -> bool,
    /// The nonce we sent.
    pub nonce: Option<&'a [u8]>,
    /// The moment of the judgement.
    pub now: Timestamp,
    /// How old an answer may be.
    pub max_age: Duration,
    /// Must it prove that it knows the certificate (all but those of insured persons)?
    pub need_hash: bool,
}

/// An answer that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What it says.
    pub status: Status,
    /// When the responder said so.
    pub produced: Timestamp,
}

/// Judges an answer about `certificate`.
pub fn judge(
    answer: &[u8],
    certificate: &X509,
    issuer: &X509,
    rules: &Rules<'_>,
) -> Result<Judged, StatusError> {
    let answer = ocsp::decode_response(answer)?.map_err(StatusError::Refused)?;
    let signer = answer
        .certificates
        .iter()
        .filter_map(|der| X509::parse(der).ok())
        .find(|signer| (rules.trusted)(signer))
        .ok_or(StatusError::Signer)?;
    let key = signer
        .spki()
        .ok()
        .and_then(|spki| PublicKey::from_spki(&spki).ok())
        .ok_or(StatusError::Signer)?;
    let scheme = SignatureScheme::from_oid(answer.algorithm).map_err(|_| StatusError::Signature)?;
    key.verify(scheme, &answer.signed, &answer.signature)
        .map_err(|_| StatusError::Signature)?;
    // a responder may leave the nonce out, but not change it
    if let (Some(sent), Some(returned)) = (rules.nonce, answer.nonce())
        && sent != returned.as_slice()
    {
        return Err(StatusError::Nonce);
    }
    let wanted = cert_id(certificate, issuer)?;
    let single = answer
        .data
        .responses
        .iter()
        .find(|single| single.cert_id.same(&wanted))
        .ok_or(StatusError::Other)?;
    check_times(&answer.data, single, rules)?;
    match (&single.status, single.cert_hash()) {
        (CertStatus::Good(_), None) if rules.need_hash => return Err(StatusError::HashMissing),
        (CertStatus::Good(_), Some(hash)) if hash != sha256([certificate.der()]) => {
            return Err(StatusError::HashMismatch);
        }
        _ => {}
    }
    let status = match &single.status {
        CertStatus::Good(_) => Status::Good,
        CertStatus::Revoked(info) => Status::Revoked(timestamp(&info.time)),
        CertStatus::Unknown(_) => Status::Unknown,
    };
    Ok(Judged {
        status,
        produced: timestamp(&answer.data.produced_at),
    })
}

/// Judges an answer that was kept with a signature of the moment `at`: it must have been given afterwards, and before
/// `now`; how old it is since then says nothing.
pub fn judge_kept(
    answer: &[u8],
    certificate: &X509,
    issuer: &X509,
    trusted: &dyn Fn(&X509) -> bool,
    need_hash: bool,
    (at, now): (Timestamp, Timestamp),
) -> Result<Judged, StatusError> {
    let produced = ocsp::decode_response(answer)?.map_err(StatusError::Refused)?;
    let produced = timestamp(&produced.data.produced_at);
    let rules = Rules {
        trusted,
        nonce: None,
        now: produced,
        max_age: Duration::MAX,
        need_hash,
    };
    let judged = judge(answer, certificate, issuer, &rules)?;
    let later = |time: Timestamp| time.checked_add(CLOCK_TOLERANCE).unwrap_or(Timestamp::MAX);
    if produced > later(now) {
        return Err(StatusError::Future(produced));
    }
    match later(produced) < at {
        true => Err(StatusError::Old(produced)),
        false => Ok(judged),
    }
}

fn check_times(data: &ResponseData, single: &SingleResponse, rules: &Rules<'_>) -> Result<(), StatusError> {
    let later = |time: Timestamp, by: Duration| time.checked_add(by).unwrap_or(Timestamp::MAX);
    let (produced, this) = (timestamp(&data.produced_at), timestamp(&single.this_update));
    for time in [produced, this] {
        if time > later(rules.now, CLOCK_TOLERANCE) {
            return Err(StatusError::Future(time));
        }
    }
    let over = single
        .next_update
        .as_ref()
        .is_some_and(|next| later(timestamp(next), CLOCK_TOLERANCE) < rules.now);
    if over || later(later(produced, rules.max_age), CLOCK_TOLERANCE) < rules.now {
        return Err(StatusError::Old(produced));
    }
    Ok(())
}

fn timestamp(time: &GeneralizedTime) -> Timestamp {
    Timestamp::from_second(time.to_unix_duration().as_secs() as i64).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn generalized(time: Timestamp) -> Result<GeneralizedTime, asn1::Error> {
    let seconds = Duration::from_secs(time.as_second().max(0) as u64);
    Ok(GeneralizedTime::from_date_time(DateTime::from_unix_duration(
        seconds,
    )?))
}

/// What a responder says about one certificate it was asked about.
pub struct Statement {
    /// Which one, as asked.
    pub cert_id: CertId,
    /// Its status.
    pub status: Status,
    /// The certificate itself, for the hash; `None` if unknown.
    pub certificate: Option<Vec<u8>>,
}

/// A signed answer (test TI).
pub fn answer(
    statements: Vec<Statement>,
    nonce: Option<&[u8]>,
    now: Timestamp,
    signer: &X509,
    key: &SoftKey,
) -> Result<Vec<u8>, crate::issue::IssueError> {
    let this_update = generalized(now)?;
    let mut responses = Vec::new();
    for statement in statements {
        let status = match statement.status {
            Status::Good => CertStatus::Good(der::asn1::Null),
            Status::Revoked(time) => CertStatus::Revoked(ocsp::RevokedInfo {
                time: generalized(time)?,
                reason: None,
            }),
            Status::Unknown => CertStatus::Unknown(der::asn1::Null),
        };
        let hash = statement
            .certificate
            .map(|der| SingleResponse::cert_hash_extension(&sha256([der])))
            .transpose()?;
        responses.push(SingleResponse {
            cert_id: statement.cert_id,
            status,
            this_update,
            next_update: None,
            extensions: hash.map(|extension| vec![extension]),
        });
    }
    let name = x509_cert::name::Name::from_der(&signer.subject_der()?)?;
    let data = ResponseData {
        version: 0,
        responder: ResponderId::ByName(name),
        produced_at: this_update,
        responses,
        extensions: ocsp::nonce_extensions(nonce)?,
    };
    let data = data.to_der()?;
    let signature = key.sign(key.scheme(), &data)?;
    let algorithm = match key {
        SoftKey::Ec(_) => oid::ECDSA_WITH_SHA256,
        SoftKey::Rsa(_) => oid::SHA256_WITH_RSA,
    };
    Ok(ocsp::encode_response(&data, algorithm, &signature, signer.der())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocsp::ResponseStatus as R;

    /// Whom an answer is about decides whether the responder is in trouble: only then is he left alone or tolerated.
    #[test]
    fn a_refusal_is_an_outage_only_if_the_responder_says_so() {
        for status in [R::TryLater, R::InternalError] {
            assert!(StatusError::Refused(status).is_outage(), "{status:?}");
        }
        for status in [R::MalformedRequest, R::SigRequired, R::Unauthorized] {
            assert!(!StatusError::Refused(status).is_outage(), "{status:?}");
        }
    }
}
