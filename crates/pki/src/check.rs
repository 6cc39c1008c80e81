use crate::crl::{Crl, CrlError};
use crate::responders::{Question, Responders};
use crate::status::{Status, StatusError};
use crate::tsl::{CaService, ServiceStatus, Tsl};
use crate::vl::{QualifiedCa, TrustedList};
use crate::{CvcTrust, Past};
use asn1::{X509, oid};
use base::{Clock, Code, Timestamp};
use crypto::{PublicKey, SignatureScheme};
use der::asn1::ObjectIdentifier as Oid;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What a key is used for: the key usage that goes with it depends on the kind of key (TAB_KON_853).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// digitalSignature, with RSA also keyEncipherment.
    Authenticate,
    /// nonRepudiation.
    Sign,
    /// keyAgreement; with RSA keyEncipherment.
    Encipher,
}

/// How the status of a certificate is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusCheck {
    /// Not at all.
    #[default]
    None,
    /// By OCSP.
    Ocsp,
    /// By OCSP; a responder that is out of order is tolerated with a warning (TOLERATE_OCSP_FAILURE).
    OcspTolerant,
    /// By the revocation list.
    Crl,
}

/// What a certificate is to be good for. Empty lists mean "anything".
#[derive(Debug, Clone, Copy, Default)]
pub struct Purpose {
    /// One of these certificate types must be among its policies.
    pub types: &'static [Oid],
    /// One of these roles must be in its admission.
    pub roles: &'static [Oid],
    /// What its key must be for.
    pub usage: Option<Use>,
    /// This extended key usage must be there.
    pub extended: Option<Oid>,
    /// How the status is found out.
    pub status: StatusCheck,
    /// May the judgement rest on a trust list beyond its grace period? Only for what was checked before and is pinned.
    pub stale_list: bool,
}

impl Purpose {
    /// A card terminal's TLS certificate: against the list, offline (TUC_KON_050). The terminal is pinned by its
    /// pairing, so it goes on working with an old list, as TAB_KON_504 has it.
    pub const TERMINAL: Purpose = Purpose {
        types: &[oid::SMKT_AUT],
        roles: &[],
        usage: None,
        extended: Some(oid::KP_SERVER_AUTH),
        status: StatusCheck::None,
        stale_list: true,
    };
    /// The VSDM intermediary's TLS certificate.
    pub const INTERMEDIARY: Purpose = Purpose {
        types: &[oid::FD_TLS_S],
        roles: &[oid::ROLE_INT_VSDM],
        usage: None,
        extended: Some(oid::KP_SERVER_AUTH),
        status: StatusCheck::OcspTolerant,
        stale_list: false,
    };
    /// The TLS certificate of the TSL service, from which the trusted list of the BNetzA comes (TUC_KON_031).
    pub const TSL_SERVICE: Purpose = Purpose {
        types: &[oid::ZD_TLS_S],
        roles: &[oid::ROLE_TSL_TI],
        usage: None,
        extended: Some(oid::KP_SERVER_AUTH),
        status: StatusCheck::OcspTolerant,
        stale_list: false,
    };
    /// The configuration service (KSR).
    pub const CONFIGURATION: Purpose = Purpose {
        roles: &[oid::ROLE_CONFIGURATION],
        ..Self::TSL_SERVICE
    };
    /// The directory service (TUC_KON_290).
    pub const DIRECTORY: Purpose = Purpose {
        roles: &[oid::ROLE_VZD_TI],
        ..Self::TSL_SERVICE
    };
    /// The registration server of the VPN access service: on the Internet, so it is judged by the trust list alone.
    pub const REGISTRATION: Purpose = Purpose {
        types: &[oid::ZD_TLS_S],
        roles: &[oid::ROLE_VPNZ_TI],
        usage: None,
        extended: Some(oid::KP_SERVER_AUTH),
        status: StatusCheck::None,
        stale_list: false,
    };
    /// A VPN concentrator: there is no tunnel yet, so the revocation list answers.
    pub const CONCENTRATOR: Purpose = Purpose {
        types: &[oid::VPNK_VPN],
        roles: &[oid::ROLE_VPNZ_TI],
        usage: Some(Use::Authenticate),
        extended: None,
        status: StatusCheck::Crl,
        stale_list: false,
    };
    /// An insured person's AUT certificate, offline.
    pub const EGK_OFFLINE: Purpose = Purpose {
        types: &[oid::EGK_AUT],
        roles: &[],
        usage: None,
        extended: None,
        status: StatusCheck::None,
        stale_list: false,
    };
    /// An insured person's AUT certificate, with its status.
    pub const EGK_ONLINE: Purpose = Purpose {
        status: StatusCheck::Ocsp,
        ..Purpose::EGK_OFFLINE
    };
    /// A certificate whose key is to sign documents, or has signed one.
    pub const SIGNER: Purpose = Purpose {
        types: &[],
        roles: &[],
        usage: Some(Use::Sign),
        extended: None,
        status: StatusCheck::Ocsp,
        stale_list: false,
    };
    /// A certificate that documents are enciphered for.
    pub const RECIPIENT: Purpose = Purpose {
        types: &[],
        roles: &[],
        usage: Some(Use::Encipher),
        extended: None,
        status: StatusCheck::Ocsp,
        stale_list: false,
    };
    /// Any certificate of the TI, offline: is it known at all?
    pub const KNOWN: Purpose = Purpose {
        status: StatusCheck::None,
        ..Purpose::ANY
    };
    /// Any certificate of the TI, with its status (VerifyCertificate).
    pub const ANY: Purpose = Purpose {
        types: &[],
        roles: &[],
        usage: None,
        extended: None,
        status: StatusCheck::Ocsp,
        stale_list: false,
    };
}

/// Why a certificate is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Not a certificate.
    #[error("certificate unreadable: {0}")]
    Format(#[from] asn1::Error),
    /// The list behind the judgement is too old for any.
    #[error("the trust list ended on {0} and its grace period is over; import a newer one")]
    ListTooOld(Timestamp),
    /// Not yet, or no longer.
    #[error("certificate is not valid at this moment")]
    Time,
    /// The issuer is not in the trust list, or has a status that says nothing good.
    #[error("issuer is not in the trust list: {0}")]
    Issuer(String),
    /// A CA of this name is in the list, but with another key.
    #[error("the key of the issuer is not the one the certificate names")]
    IssuerKey,
    /// The issuer did not sign this.
    #[error("signature wrong")]
    Signature,
    /// Issued after the issuer was revoked.
    #[error("issued after its CA was revoked on {0}")]
    IssuerRevoked(Timestamp),
    /// Names no type at all.
    #[error("the certificate names no certificate type")]
    TypeMissing,
    /// Not of the right type.
    #[error("not a certificate of the wanted type")]
    Type,
    /// The issuer may not issue this type.
    #[error("the issuer may not issue certificates of this type")]
    IssuerType,
    /// Not for this use.
    #[error("key usage is missing or differs")]
    KeyUsage,
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
    #[error("unknown to the status service")]
    Unknown,
    /// No acceptable answer about the status.
    #[error("{0}")]
    Status(#[from] StatusError),
    /// No acceptable revocation list.
    #[error("{0}")]
    Crl(#[from] CrlError),
    /// There is no revocation list yet.
    #[error("there is no revocation list yet")]
    NoCrl,
    /// Everything but the status is good, and the status cannot be asked for.
    #[error("the status was not asked for: the Konnektor is offline")]
    NotOnline,
    /// Does not claim to be qualified.
    #[error("the certificate does not claim to be qualified (QCStatements)")]
    QcStatement,
    /// There is no trusted list for qualified signatures, or it has ended.
    #[error("there is no valid trusted list for qualified signatures")]
    NoTrustedList,
    /// The CA is not qualified.
    #[error("the issuer was not qualified for signatures when it issued the certificate: {0}")]
    NotQualified(String),
    /// The CA was withdrawn before.
    #[error("the issuer was no longer qualified for signatures when it issued the certificate: {0}")]
    QualificationWithdrawn(String),
}

impl CheckError {
    /// The code of TUC_PKI_018 and TUC_PKI_030.
    pub fn code(&self) -> Code {
        match self {
            CheckError::Format(_) => Code::CERT_UNREADABLE,
            CheckError::ListTooOld(_) => Code::TSL_TOO_OLD,
            CheckError::Time => Code::CERT_EXPIRED,
            CheckError::Issuer(_) => Code::ISSUER_NOT_IN_TSL,
            CheckError::IssuerKey => Code::AUTHORITY_KEY_ID,
            CheckError::Signature => Code::CERT_SIGNATURE,
            CheckError::IssuerRevoked(_) => Code::CA_REVOKED,
            CheckError::TypeMissing => Code::CERT_TYPE_MISSING,
            CheckError::Type | CheckError::Role | CheckError::CriticalExtension => Code::CERT_TYPE_MISMATCH,
            CheckError::IssuerType => Code::CA_NOT_AUTHORIZED,
            CheckError::KeyUsage => Code::KEY_USAGE_MISMATCH,
            CheckError::ExtendedKeyUsage => Code::EXT_KEY_USAGE_MISMATCH,
            CheckError::Revoked(_) => Code::CERT_REVOKED,
            CheckError::Unknown => Code::CERT_UNKNOWN,
            CheckError::Status(error) => error.code(),
            CheckError::Crl(error) => error.code(),
            CheckError::NoCrl => Code::CRL_DOWNLOAD,
            CheckError::NotOnline => Code::NO_OCSP_CHECK,
            CheckError::QcStatement => Code::QC_STATEMENT,
            CheckError::NoTrustedList => Code::VL_UPDATE,
            CheckError::NotQualified(_) => Code::CA_NOT_QES,
            CheckError::QualificationWithdrawn(_) => Code::QES_CA_REVOKED,
        }
    }

    /// Could the same certificate be good if only somebody answered?
    pub fn is_inconclusive(&self) -> bool {
        matches!(
            self,
            CheckError::Status(_)
                | CheckError::Crl(_)
                | CheckError::NoCrl
                | CheckError::NoTrustedList
                | CheckError::NotOnline
                | CheckError::ListTooOld(_)
        )
    }
}

/// How the status was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusEvidence {
    /// It was not asked for.
    NotAsked,
    /// The responder answered now.
    Fresh,
    /// An earlier answer within the grace period, of this moment.
    Cached(Timestamp),
    /// The revocation list made at this moment.
    Crl(Timestamp),
    /// An answer that was kept with the signature, of this moment.
    Embedded(Timestamp),
    /// Nobody answered, and that is tolerated.
    Tolerated(StatusError),
}

/// A judgement with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Subject of the issuer.
    pub issuer: String,
    /// Sequence number of the list (for qualified certificates, of the trusted list).
    pub list: u64,
    /// Where the status comes from.
    pub status: StatusEvidence,
    /// Roles in the admission.
    pub roles: Vec<Oid>,
    /// What is worth knowing although the certificate is good.
    pub warnings: Vec<Code>,
}

/// How old an answer may be that lies beside a trust list: it is renewed every hour (A_21181).
const STAPLED_AGE: Duration = Duration::from_secs(2 * 3600);

/// The trust space as it is now: verified lists, and who answers about statuses. A new list makes a new value.
pub struct Trust {
    pub(crate) list: Arc<Tsl>,
    by_name: HashMap<Vec<u8>, Vec<usize>>,
    cvcs: CvcTrust,
    crl: Option<Arc<Crl>>,
    vl: Option<Arc<TrustedList>>,
    list_grace: Duration,
    pub(crate) responders: Arc<Responders>,
    pub(crate) past: Past,
}

impl Trust {
    /// From a verified list; `list_grace` is CERT_TSL_DEFAULT_GRACE_PERIOD_DAYS as a time.
    pub fn new(list: Arc<Tsl>, list_grace: Duration, responders: Arc<Responders>) -> Self {
        let cvcs = CvcTrust::new(list.cvcs.iter().cloned());
        let mut by_name: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (position, ca) in list.cas.iter().enumerate() {
            if let Ok(name) = ca.certificate.subject_der() {
                by_name.entry(name).or_default().push(position);
            }
        }
        Self {
            list,
            by_name,
            cvcs,
            crl: None,
            vl: None,
            list_grace,
            responders,
            past: Past::default(),
        }
    }

    /// The same with what earlier lists have said.
    pub fn with_past(mut self, past: Past) -> Self {
        self.past = past;
        self
    }

    /// The same with a revocation list.
    pub fn with_crl(mut self, crl: Option<Arc<Crl>>) -> Self {
        self.crl = crl;
        self
    }

    /// The same with a trusted list for qualified signatures.
    pub fn with_vl(mut self, vl: Option<Arc<TrustedList>>) -> Self {
        self.vl = vl;
        self
    }

    /// The list behind it.
    pub fn list(&self) -> &Arc<Tsl> {
        &self.list
    }

    /// The revocation list.
    pub fn crl(&self) -> Option<&Arc<Crl>> {
        self.crl.as_ref()
    }

    /// The trusted list for qualified signatures.
    pub fn vl(&self) -> Option<&Arc<TrustedList>> {
        self.vl.as_ref()
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
        let last = self.list.next_update.checked_add(self.list_grace);
        if !purpose.stale_list && last.is_ok_and(|last| at > last) {
            return Err(CheckError::ListTooOld(self.list.next_update));
        }
        if !certificate.is_valid_at(at.as_second()) {
            return Err(CheckError::Time);
        }
        check_usage(certificate, purpose)?;
        let issuer = self.issuer(certificate)?;
        self.check_with(certificate, issuer, purpose)
    }

    /// Everything about a certificate of this issuer but its time and status.
    pub(crate) fn check_with(
        &self,
        certificate: &X509,
        issuer: &CaService,
        purpose: &Purpose,
    ) -> Result<Verdict, CheckError> {
        check_usage(certificate, purpose)?;
        verify_signature(certificate, &issuer.certificate)?;
        match issuer.status {
            ServiceStatus::InAccord => {}
            ServiceStatus::Revoked(since) if certificate.validity().0 < since.as_second() => {}
            ServiceStatus::Revoked(since) => return Err(CheckError::IssuerRevoked(since)),
            ServiceStatus::Other => return Err(CheckError::Issuer(certificate.issuer())),
        }
        if !certificate.unknown_critical.is_empty() {
            return Err(CheckError::CriticalExtension);
        }
        check_type(certificate, purpose, issuer)?;
        if !purpose.roles.is_empty() && !purpose.roles.iter().any(|role| certificate.has_role(*role)) {
            return Err(CheckError::Role);
        }
        Ok(Verdict {
            issuer: issuer.certificate.subject(),
            list: self.list.sequence,
            status: StatusEvidence::NotAsked,
            roles: roles(certificate),
            warnings: match purpose.status {
                StatusCheck::None => Vec::new(),
                _ => vec![Code::NO_OCSP_CHECK],
            },
        })
    }

    /// The whole check, with the status found out as the purpose wants (TUC_PKI_018).
    pub async fn check(
        &self,
        certificate: &X509,
        purpose: &Purpose,
        clock: &dyn Clock,
    ) -> Result<Verdict, CheckError> {
        self.check_at(certificate, purpose, clock.now(), clock).await
    }

    /// The same for a moment that may have passed: what was revoked only later was good then.
    pub async fn check_at(
        &self,
        certificate: &X509,
        purpose: &Purpose,
        at: Timestamp,
        clock: &dyn Clock,
    ) -> Result<Verdict, CheckError> {
        let mut verdict = self.check_offline(certificate, purpose, at)?;
        verdict.warnings.clear();
        verdict.status = match purpose.status {
            StatusCheck::None => StatusEvidence::NotAsked,
            StatusCheck::Crl => self.look_up(certificate, clock.now())?,
            StatusCheck::Ocsp => self.ask_status(certificate, at, clock).await?,
            StatusCheck::OcspTolerant => match self.ask_status(certificate, at, clock).await {
                Err(CheckError::Status(error)) if error.is_outage() => {
                    verdict.warnings.push(Code::OCSP_TOLERATED);
                    StatusEvidence::Tolerated(error)
                }
                other => other?,
            },
        };
        Ok(verdict)
    }

    /// The status of a certificate whose issuer is known already: at `url`, or at the address in it. An answer that came
    /// with it (stapled) counts if it is good enough; if not it is no loss, and the responder is asked.
    pub async fn check_status(
        &self,
        certificate: &X509,
        issuer: &X509,
        url: Option<&str>,
        stapled: Option<&[u8]>,
        clock: &dyn Clock,
    ) -> Result<(), CheckError> {
        let status = self.find_status(certificate, issuer, url, stapled, clock).await?;
        good(status, clock.now())
    }

    /// The status that came with a handshake. "Good" is remembered as if it had been asked for, so as long as the grace
    /// period lasts nobody need be asked. An answer that cannot be used, or is too old, is as good as none.
    pub fn consider_stapled(
        &self,
        certificate: &X509,
        answer: &[u8],
        now: Timestamp,
    ) -> Result<(), CheckError> {
        let issuer = self.issuer(certificate)?;
        let trusted = |signer: &X509| self.list.responders.contains(signer);
        let question = question(certificate, &issuer.certificate, "stapled", &trusted);
        let age = self.responders.settings().grace;
        match self.responders.consider(answer, &question, None, age, now) {
            Ok(status) => good(status, now),
            Err(error) => {
                tracing::warn!(%error, "stapled status not usable");
                Ok(())
            }
        }
    }

    async fn find_status(
        &self,
        certificate: &X509,
        issuer: &X509,
        url: Option<&str>,
        stapled: Option<&[u8]>,
        clock: &dyn Clock,
    ) -> Result<Status, StatusError> {
        let trusted = |signer: &X509| self.list.responders.contains(signer);
        let url = url.or(certificate.ocsp.as_deref());
        let url = url.ok_or(StatusError::NoAddress)?;
        let question = question(certificate, issuer, url, &trusted);
        if let Some(answer) = stapled {
            let considered = self
                .responders
                .consider(answer, &question, None, STAPLED_AGE, clock.now());
            if considered.is_ok() {
                return considered;
            }
        }
        self.responders.ask(&question, clock).await
    }

    pub(crate) fn issuer(&self, certificate: &X509) -> Result<&CaService, CheckError> {
        let positions = self.by_name.get(&certificate.issuer_der()?);
        let named = positions
            .into_iter()
            .flatten()
            .filter_map(|position| self.list.cas.get(*position));
        choose_issuer(certificate, named, |ca| &ca.certificate)
    }

    fn look_up(&self, certificate: &X509, now: Timestamp) -> Result<StatusEvidence, CheckError> {
        let crl = self.crl.as_ref().ok_or(CheckError::NoCrl)?;
        crl.check_times(now)?;
        match crl.revoked(certificate) {
            Some(since) => Err(CheckError::Revoked(since)),
            None => Ok(StatusEvidence::Crl(crl.this_update)),
        }
    }

    async fn ask_status(
        &self,
        certificate: &X509,
        at: Timestamp,
        clock: &dyn Clock,
    ) -> Result<StatusEvidence, CheckError> {
        if let Some(time) = self.responders.remembered(certificate, clock.now()) {
            return Ok(StatusEvidence::Cached(time));
        }
        let issuer = self.issuer(certificate)?;
        let url = certificate.ocsp.as_ref().or(issuer.ocsp.as_ref());
        let url = url.map(String::as_str);
        let status = self
            .find_status(certificate, &issuer.certificate, url, None, clock)
            .await?;
        good(status, at)?;
        Ok(StatusEvidence::Fresh)
    }

    /// A qualified certificate at the moment of its use (TUC_PKI_030, chain model), without its status.
    pub fn check_qualified_offline(
        &self,
        certificate: &X509,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Verdict, CheckError> {
        let (list, ca) = self.qualified_ca(certificate, at, now)?;
        Ok(Verdict {
            issuer: ca.certificate.subject(),
            list: list.sequence,
            status: StatusEvidence::NotAsked,
            roles: roles(certificate),
            warnings: vec![Code::NO_OCSP_CHECK],
        })
    }

    /// A qualified certificate at the moment of its use, with its status (TUC_PKI_030).
    pub async fn check_qualified(
        &self,
        certificate: &X509,
        at: Timestamp,
        clock: &dyn Clock,
    ) -> Result<Verdict, CheckError> {
        let mut verdict = self.check_qualified_offline(certificate, at, clock.now())?;
        verdict.warnings.clear();
        let (list, ca) = self.qualified_ca(certificate, at, clock.now())?;
        // beyond its grace period the trust list says nothing about addresses any more
        let last = self.list.next_update.checked_add(self.list_grace);
        if last.is_ok_and(|last| clock.now() > last) {
            return Err(CheckError::ListTooOld(self.list.next_update));
        }
        let trusted = |signer: &X509| self.answers_for(signer, list, ca, Some(clock.now()));
        let question = self.qualified_question(certificate, &ca.certificate, &trusted)?;
        let status = self.responders.ask(&question, clock).await?;
        good(status, at)?;
        verdict.status = StatusEvidence::Fresh;
        Ok(verdict)
    }

    /// The question about a qualified certificate, at the address inside the TI if there is one.
    pub(crate) fn qualified_question<'q>(
        &'q self,
        certificate: &'q X509,
        issuer: &'q X509,
        trusted: &'q (dyn Fn(&X509) -> bool + Sync),
    ) -> Result<Question<'q>, CheckError> {
        let own = certificate.ocsp.as_ref().ok_or(StatusError::NoAddress)?;
        let inside = self.list.vl.as_ref().and_then(|vl| vl.responders.get(own));
        Ok(Question {
            certificate,
            issuer,
            url: inside.unwrap_or(own),
            trusted,
            need_hash: true,
            qualified: true,
        })
    }

    /// May this responder answer about certificates of this CA? Named by the trusted list itself, or certified by the CA
    /// for this purpose; `now` if its own time counts.
    pub(crate) fn answers_for(
        &self,
        signer: &X509,
        list: &TrustedList,
        ca: &QualifiedCa,
        now: Option<Timestamp>,
    ) -> bool {
        let certified = signer.extended_key_usage.contains(&oid::KP_OCSP_SIGNING)
            && now.is_none_or(|now| signer.is_valid_at(now.as_second()))
            && verify_signature(signer, &ca.certificate).is_ok();
        list.responders.contains(signer) || certified
    }

    pub(crate) fn qualified_ca(
        &self,
        certificate: &X509,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(&TrustedList, &QualifiedCa), CheckError> {
        let list = self.vl.as_deref().filter(|list| now <= list.next_update);
        let list = list.ok_or(CheckError::NoTrustedList)?;
        let statements = certificate.qc_statements.as_deref().unwrap_or_default();
        if !statements.contains(&oid::QC_COMPLIANCE) {
            return Err(CheckError::QcStatement);
        }
        if !certificate.is_valid_at(at.as_second()) {
            return Err(CheckError::Time);
        }
        if !uses(certificate, Use::Sign) {
            return Err(CheckError::KeyUsage);
        }
        let name = certificate.issuer_der()?;
        let named = list
            .cas
            .iter()
            .filter(|ca| ca.certificate.subject_der().is_ok_and(|subject| subject == name));
        let ca = choose_issuer(certificate, named, |ca| &ca.certificate).map_err(|error| match error {
            CheckError::Issuer(name) => CheckError::NotQualified(name),
            other => other,
        })?;
        verify_signature(certificate, &ca.certificate)?;
        let (begin, _) = certificate.validity();
        let issued = Timestamp::from_second(begin).map_err(|_| CheckError::Time)?;
        match ca.granted_at(issued) {
            Some(true) if ca.certificate.is_valid_at(begin) => Ok((list, ca)),
            Some(false) => Err(CheckError::QualificationWithdrawn(ca.certificate.subject())),
            _ => Err(CheckError::NotQualified(ca.certificate.subject())),
        }
    }
}

/// Several CAs may share a name: the one whose key the certificate names, or that signed it if it names none.
fn choose_issuer<'a, T>(
    certificate: &X509,
    named: impl Iterator<Item = &'a T>,
    of: impl Fn(&'a T) -> &'a X509,
) -> Result<&'a T, CheckError> {
    let named: Vec<&T> = named.collect();
    let first = *named
        .first()
        .ok_or_else(|| CheckError::Issuer(certificate.issuer()))?;
    match &certificate.authority_key {
        Some(key) => {
            let mut fitting = named
                .into_iter()
                .filter(|ca| of(ca).subject_key.as_ref() == Some(key));
            fitting.next().ok_or(CheckError::IssuerKey)
        }
        None => {
            let mut signed = named
                .into_iter()
                .filter(|ca| verify_signature(certificate, of(ca)).is_ok());
            Ok(signed.next().unwrap_or(first))
        }
    }
}

pub(crate) fn roles(certificate: &X509) -> Vec<Oid> {
    let admission = certificate.admission.as_ref();
    admission
        .map(|admission| admission.oids.clone())
        .unwrap_or_default()
}

/// CertHash is mandatory except for certificates of insured persons (TUC_PKI_018, step 7).
pub(crate) fn needs_hash(certificate: &X509) -> bool {
    ![oid::EGK_AUT, oid::EGK_ENC]
        .into_iter()
        .any(|kind| certificate.has_policy(kind))
}

/// About a certificate that is not qualified.
pub(crate) fn question<'a>(
    certificate: &'a X509,
    issuer: &'a X509,
    url: &'a str,
    trusted: &'a (dyn Fn(&X509) -> bool + Sync),
) -> Question<'a> {
    Question {
        certificate,
        issuer,
        url,
        trusted,
        need_hash: needs_hash(certificate),
        qualified: false,
    }
}

/// Revoked later than `at` is good at `at`.
pub(crate) fn good(status: Status, at: Timestamp) -> Result<(), CheckError> {
    match status {
        Status::Good => Ok(()),
        Status::Revoked(since) if since > at => Ok(()),
        Status::Revoked(since) => Err(CheckError::Revoked(since)),
        Status::Unknown => Err(CheckError::Unknown),
    }
}

fn check_usage(certificate: &X509, purpose: &Purpose) -> Result<(), CheckError> {
    if certificate.key_usage.is_none() || purpose.usage.is_some_and(|usage| !uses(certificate, usage)) {
        return Err(CheckError::KeyUsage);
    }
    match purpose.extended {
        Some(wanted) if !certificate.extended_key_usage.contains(&wanted) => {
            Err(CheckError::ExtendedKeyUsage)
        }
        _ => Ok(()),
    }
}

fn uses(certificate: &X509, usage: Use) -> bool {
    let rsa = certificate.is_rsa();
    certificate.key_usage.is_some_and(|bits| match usage {
        Use::Authenticate => bits.digital_signature() && (!rsa || bits.key_encipherment()),
        Use::Sign => bits.non_repudiation(),
        Use::Encipher => match rsa {
            true => bits.key_encipherment(),
            false => bits.key_agreement(),
        },
    })
}

fn check_type(certificate: &X509, purpose: &Purpose, issuer: &CaService) -> Result<(), CheckError> {
    if !purpose.types.is_empty() {
        if certificate.policies.is_empty() {
            return Err(CheckError::TypeMissing);
        }
        if !purpose.types.iter().any(|kind| certificate.has_policy(*kind)) {
            return Err(CheckError::Type);
        }
    }
    let kinds = certificate
        .policies
        .iter()
        .filter(|kind| **kind != oid::POLICY_GEM_OR_CP);
    let mut kinds = kinds.peekable();
    let may = |kind: &Oid| issuer.types.is_empty() || issuer.types.contains(kind);
    if kinds.peek().is_some() && !kinds.any(may) {
        return Err(CheckError::IssuerType);
    }
    Ok(())
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
