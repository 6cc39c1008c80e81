use crate::status::{self, Status, StatusError};
use crate::tsl::Tsl;
use crate::{CvcTrust, http};
use asn1::{X509, oid};
use base::{Clock, Code, Timestamp, limits};
use crypto::{PublicKey, SignatureScheme};
use der::asn1::ObjectIdentifier as Oid;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// What a certificate is to be good for. Empty lists mean "anything".
#[derive(Debug, Clone, Copy, Default)]
pub struct Purpose {
    /// One of these certificate types must be among its policies.
    pub types: &'static [Oid],
    /// One of these roles must be in its admission.
    pub roles: &'static [Oid],
    /// This extended key usage must be there.
    pub extended: Option<Oid>,
    /// Must the status be asked?
    pub status: bool,
}

impl Purpose {
    /// A card terminal's TLS certificate: against the list, offline (TUC_KON_050).
    pub const TERMINAL: Purpose = Purpose {
        types: &[oid::SMKT_AUT],
        roles: &[],
        extended: Some(oid::KP_SERVER_AUTH),
        status: false,
    };
    /// The VSDM intermediary's TLS certificate.
    pub const INTERMEDIARY: Purpose = Purpose {
        types: &[oid::FD_TLS_S],
        roles: &[oid::ROLE_INT_VSDM],
        extended: Some(oid::KP_SERVER_AUTH),
        status: true,
    };
    /// An insured person's AUT certificate, offline.
    pub const EGK_OFFLINE: Purpose = Purpose {
        types: &[oid::EGK_AUT],
        roles: &[],
        extended: None,
        status: false,
    };
    /// An insured person's AUT certificate, with its status.
    pub const EGK_ONLINE: Purpose = Purpose {
        types: &[oid::EGK_AUT],
        roles: &[],
        extended: None,
        status: true,
    };
    /// Any certificate of the TI, with its status (VerifyCertificate).
    pub const ANY: Purpose = Purpose {
        types: &[],
        roles: &[],
        extended: None,
        status: true,
    };
}

/// Why a certificate is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Not a certificate.
    #[error("certificate unreadable: {0}")]
    Format(#[from] asn1::Error),
    /// Not yet, or no longer.
    #[error("certificate is not valid at this moment")]
    Time,
    /// The issuer is not in the trust list, or not in accord.
    #[error("issuer is not in the trust list: {0}")]
    Issuer(String),
    /// The issuer did not sign this.
    #[error("signature wrong")]
    Signature,
    /// Not of the right type.
    #[error("not a certificate of the wanted type")]
    Type,
    /// The issuer may not issue this type.
    #[error("the issuer may not issue certificates of this type")]
    IssuerType,
    /// Not for this use.
    #[error("extended key usage differs")]
    ExtendedKeyUsage,
    /// The holder has another role.
    #[error("role differs")]
    Role,
    /// A critical extension nobody understands.
    #[error("unknown critical extension")]
    CriticalExtension,
    /// Revoked.
    #[error("revoked since {0}")]
    Revoked(Timestamp),
    /// The responder does not know it.
    #[error("unknown to the responder")]
    Unknown,
    /// No acceptable answer about the status.
    #[error("status: {0}")]
    Status(#[from] StatusError),
}

impl CheckError {
    /// The code of TUC_PKI_018.
    pub fn code(&self) -> Code {
        match self {
            CheckError::Format(_) => Code::CERT_UNREADABLE,
            CheckError::Time => Code::CERT_EXPIRED,
            CheckError::Issuer(_) => Code::ISSUER_NOT_IN_TSL,
            CheckError::Signature => Code::CERT_SIGNATURE,
            CheckError::Type | CheckError::IssuerType | CheckError::Role | CheckError::CriticalExtension => {
                Code::CERT_TYPE_MISMATCH
            }
            CheckError::ExtendedKeyUsage => Code::EXT_KEY_USAGE_MISMATCH,
            CheckError::Revoked(_) => Code::CERT_REVOKED,
            CheckError::Unknown => Code::STATUS_UNKNOWN,
            CheckError::Status(error) => error.code(),
        }
    }

    /// Could the same certificate be good if only somebody answered?
    pub fn is_inconclusive(&self) -> bool {
        matches!(self, CheckError::Status(_))
    }
}

/// How the status was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusEvidence {
    /// It was not asked for.
    NotAsked,
    /// The responder answered now.
    Fresh,
    /// An earlier answer within the grace period.
    Cached(Timestamp),
}

/// A judgement with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Subject of the issuer.
    pub issuer: String,
    /// Sequence number of the list.
    pub list: u64,
    /// Where the status comes from.
    pub status: StatusEvidence,
    /// Roles in the admission.
    pub roles: Vec<Oid>,
}

/// The trust space: one verified list and the answers received about certificates.
pub struct Trust {
    list: Tsl,
    cvcs: CvcTrust,
    grace: Duration,
    timeout: Duration,
    answers: Mutex<HashMap<[u8; 32], Timestamp>>,
}

impl Trust {
    /// From a verified list. `grace` is CERT_OCSP_DEFAULT_GRACE_PERIOD_NONQES (10 min by default),
    /// `timeout` CERT_OCSP_TIMEOUT_NONQES (10 s).
    pub fn new(list: Tsl, grace: Duration, timeout: Duration) -> Self {
        let cvcs = CvcTrust::new(list.cvcs.iter().cloned());
        Self {
            list,
            cvcs,
            grace,
            timeout,
            answers: Mutex::default(),
        }
    }

    /// The list behind it.
    pub fn list(&self) -> &Tsl {
        &self.list
    }

    /// The roots of the card world.
    pub fn cvcs(&self) -> &CvcTrust {
        &self.cvcs
    }

    /// Everything that needs no network: format, time, issuer, signature, type, role.
    pub fn check_offline(
        &self,
        certificate: &X509,
        purpose: &Purpose,
        at: Timestamp,
    ) -> Result<Verdict, CheckError> {
        let (from, to) = certificate.validity();
        if !(from..=to).contains(&at.as_second()) {
            return Err(CheckError::Time);
        }
        let issuer = self.issuer(certificate, at)?;
        verify_signature(certificate, &issuer.certificate)?;
        if !certificate.unknown_critical.is_empty() {
            return Err(CheckError::CriticalExtension);
        }
        if !purpose.types.is_empty() && !purpose.types.iter().any(|kind| certificate.has_policy(*kind)) {
            return Err(CheckError::Type);
        }
        let may = |kind: &Oid| issuer.types.is_empty() || issuer.types.contains(kind);
        let kinds: Vec<&Oid> = certificate
            .policies
            .iter()
            .filter(|kind| **kind != oid::POLICY_GEM_OR_CP)
            .collect();
        if !kinds.is_empty() && !kinds.into_iter().any(may) {
            return Err(CheckError::IssuerType);
        }
        if purpose
            .extended
            .is_some_and(|wanted| !certificate.extended_key_usage.contains(&wanted))
        {
            return Err(CheckError::ExtendedKeyUsage);
        }
        if !purpose.roles.is_empty() && !purpose.roles.iter().any(|role| certificate.has_role(*role)) {
            return Err(CheckError::Role);
        }
        let roles = certificate
            .admission
            .as_ref()
            .map(|admission| admission.oids.clone())
            .unwrap_or_default();
        Ok(Verdict {
            issuer: issuer.certificate.subject(),
            list: self.list.sequence,
            status: StatusEvidence::NotAsked,
            roles,
        })
    }

    /// The whole check, with the status asked for if the purpose needs it.
    pub async fn check(
        &self,
        certificate: &X509,
        purpose: &Purpose,
        clock: &dyn Clock,
    ) -> Result<Verdict, CheckError> {
        let now = clock.now();
        let mut verdict = self.check_offline(certificate, purpose, now)?;
        if purpose.status {
            verdict.status = self.ask_status(certificate, clock).await?;
        }
        Ok(verdict)
    }

    fn issuer(&self, certificate: &X509, at: Timestamp) -> Result<&crate::tsl::CaService, CheckError> {
        let unknown = || CheckError::Issuer(certificate.issuer());
        let name = certificate.issuer_der()?;
        let mut named = self
            .list
            .cas
            .iter()
            .filter(|ca| ca.certificate.subject_der().is_ok_and(|s| s == name));
        // several CA certificates may share a name: the one whose key fits is meant
        let fits = |ca: &&crate::tsl::CaService| verify_signature(certificate, &ca.certificate).is_ok();
        let first = named.clone().next().ok_or_else(unknown)?;
        let ca = named.find(fits).unwrap_or(first);
        if !ca.in_accord && ca.since <= at {
            return Err(unknown());
        }
        Ok(ca)
    }

    async fn ask_status(&self, certificate: &X509, clock: &dyn Clock) -> Result<StatusEvidence, CheckError> {
        let now = clock.now();
        let hash = crypto::sha256([certificate.der()]);
        let cached = self
            .answers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(&hash)
            .copied();
        if let Some(time) = cached.filter(|time| now.duration_since(*time).unsigned_abs() <= self.grace) {
            return Ok(StatusEvidence::Cached(time));
        }
        let issuer = self.issuer(certificate, now)?;
        let url = certificate.ocsp.clone().or_else(|| issuer.ocsp.clone());
        let url = url.ok_or_else(|| StatusError::Unreachable("no address".into()))?;
        let nonce: [u8; 16] =
            crypto::random().map_err(|_| StatusError::Unreachable("no random numbers".into()))?;
        let id = status::cert_id(certificate, &issuer.certificate)?;
        let request = asn1::ocsp::encode_request(id, Some(&nonce))?;
        let asking = http::fetch(
            "POST",
            &url,
            Some("application/ocsp-request"),
            request,
            limits::OCSP_RESPONSE,
        );
        let answer = clock.timeout(self.timeout, asking).await;
        let answer =
            answer.ok_or_else(|| StatusError::Unreachable(format!("no answer in {:?}", self.timeout)))?;
        let answer = answer.map_err(|error| StatusError::Unreachable(error.to_string()))?;
        // CertHash is mandatory except for certificates of insured persons
        let need_hash = !certificate.has_policy(oid::EGK_AUT);
        let judged = status::judge(
            &answer,
            certificate,
            &issuer.certificate,
            &self.list.responders,
            Some(&nonce),
            clock.now(),
            self.grace,
            need_hash,
        )?;
        match judged {
            Status::Good => {
                let mut answers = self
                    .answers
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                answers.retain(|_, time| now.duration_since(*time).unsigned_abs() <= self.grace);
                answers.insert(hash, now);
                Ok(StatusEvidence::Fresh)
            }
            Status::Revoked(time) => Err(CheckError::Revoked(time)),
            Status::Unknown => Err(CheckError::Unknown),
        }
    }
}

/// Did `issuer` sign `certificate`? For devices that know CAs but no trust list.
pub fn signed_by(certificate: &X509, issuer: &X509) -> bool {
    verify_signature(certificate, issuer).is_ok()
}

/// Did `issuer` sign `certificate`?
pub(crate) fn verify_signature(certificate: &X509, issuer: &X509) -> Result<(), CheckError> {
    let (algorithm, signature) = certificate.signature();
    let key = PublicKey::from_spki(&issuer.spki()?).map_err(|_| CheckError::Signature)?;
    let scheme = SignatureScheme::from_oid(algorithm).map_err(|_| CheckError::Signature)?;
    key.verify(scheme, certificate.tbs(), signature)
        .map_err(|_| CheckError::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(path: &str) -> Option<Vec<u8>> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/pki-testdata");
        let bytes = std::fs::read(root.join(path)).ok();
        if bytes.is_none() {
            eprintln!("skipped: ../shared/pki-testdata/{path} is absent");
        }
        bytes
    }

    #[test]
    fn a_published_list_is_read_whole() {
        let Some(xml) = shared("pkits-tsl-provider/src/test/resources/TSL_default.xml") else {
            return;
        };
        let tsl = Tsl::read(std::str::from_utf8(&xml).unwrap()).unwrap();
        assert_eq!(tsl.sequence, 1);
        assert!(tsl.cas.len() > 50, "{}", tsl.cas.len());
        assert!(tsl.responders.len() > 50);
        assert!(!CvcTrust::new(tsl.cvcs).is_empty());
        // entries on curves and key types we do not know may be skipped, but not many
        assert!(tsl.skipped.len() < 5, "{:?}", tsl.skipped);
    }
}
