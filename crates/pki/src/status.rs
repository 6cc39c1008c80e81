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
    #[error("answer unreadable: {0}")]
    Format(#[from] asn1::Error),
    /// The responder refuses.
    #[error("responder refuses: {0:?}")]
    Refused(ocsp::ResponseStatus),
    /// About another certificate.
    #[error("answer is about another certificate")]
    Other,
    /// The signer is not in the trust list.
    #[error("signer of the answer is not in the trust list")]
    Signer,
    /// The signature is wrong.
    #[error("signature of the answer wrong")]
    Signature,
    /// Too old, or from the future.
    #[error("answer is too old or from the future")]
    Time,
    /// The nonce is not ours.
    #[error("nonce differs")]
    Nonce,
    /// The hash of the certificate is absent.
    #[error("certificate hash missing")]
    HashMissing,
    /// The responder knows another certificate with this number.
    #[error("certificate hash differs")]
    HashMismatch,
    /// Nobody answered.
    #[error("responder unreachable: {0}")]
    Unreachable(String),
}

impl StatusError {
    /// The code of TUC_PKI_006.
    pub fn code(&self) -> Code {
        match self {
            StatusError::HashMissing => Code::CERT_HASH_MISSING,
            StatusError::HashMismatch => Code::CERT_HASH_MISMATCH,
            StatusError::Signature | StatusError::Signer => Code::OCSP_SIGNATURE,
            StatusError::Time => Code::OCSP_TIME,
            StatusError::Unreachable(_) => Code::OCSP_UNREACHABLE,
            _ => Code::STATUS_UNKNOWN,
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

/// Judges an answer about `certificate`.
///
/// `responders` are the OCSP signers of the trust list; `max_age` is how old the answer may be at `now`.
#[allow(clippy::too_many_arguments)] // each is a fact of its own
pub fn judge(
    answer: &[u8],
    certificate: &X509,
    issuer: &X509,
    responders: &[X509],
    nonce: Option<&[u8]>,
    now: Timestamp,
    max_age: Duration,
    need_hash: bool,
) -> Result<Status, StatusError> {
    let answer = ocsp::decode_response(answer)?.map_err(StatusError::Refused)?;
    let signer = answer
        .certificates
        .iter()
        .filter_map(|der| X509::parse(der).ok())
        .find(|signer| responders.contains(signer))
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
    if let (Some(sent), Some(returned)) = (nonce, answer.nonce())
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
    check_times(&answer.data, single, now, max_age)?;
    match (&single.status, single.cert_hash()) {
        (CertStatus::Good(_), None) if need_hash => return Err(StatusError::HashMissing),
        (CertStatus::Good(_), Some(hash)) if hash != sha256([certificate.der()]) => {
            return Err(StatusError::HashMismatch);
        }
        _ => {}
    }
    Ok(match &single.status {
        CertStatus::Good(_) => Status::Good,
        CertStatus::Revoked(info) => Status::Revoked(timestamp(&info.time)),
        CertStatus::Unknown(_) => Status::Unknown,
    })
}

fn check_times(
    data: &ResponseData,
    single: &SingleResponse,
    now: Timestamp,
    max_age: Duration,
) -> Result<(), StatusError> {
    let later = |time: Timestamp, by: Duration| time.checked_add(by).unwrap_or(Timestamp::MAX);
    let produced = timestamp(&data.produced_at);
    let this = timestamp(&single.this_update);
    let from_future = [produced, this]
        .into_iter()
        .any(|time| time > later(now, CLOCK_TOLERANCE));
    let too_old = later(later(produced, max_age), CLOCK_TOLERANCE) < now;
    let over = single
        .next_update
        .as_ref()
        .is_some_and(|next| later(timestamp(next), CLOCK_TOLERANCE) < now);
    if from_future || too_old || over {
        Err(StatusError::Time)
    } else {
        Ok(())
    }
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
