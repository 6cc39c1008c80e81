//! The trusted list of the Bundesnetzagentur (ETSI TS 119 612, TUC_PKI_036): which CAs are qualified, and since when.

use crate::tsl::{ServiceStatus, Sheet, TslError, signer_key};
use asn1::X509;
use base::{Code, Timestamp, limits};

pub(crate) const CA_QC: &str = "http://uri.etsi.org/TrstSvc/Svctype/CA/QC";
pub(crate) const OCSP_QC: &str = "http://uri.etsi.org/TrstSvc/Svctype/Certstatus/OCSP/QC";
const OCSP: &str = "http://uri.etsi.org/TrstSvc/Svctype/Certstatus/OCSP";
pub(crate) const GRANTED: &str = "http://uri.etsi.org/TrstSvc/TrustedList/Svcstatus/granted";
pub(crate) const WITHDRAWN: &str = "http://uri.etsi.org/TrstSvc/TrustedList/Svcstatus/withdrawn";
pub(crate) const FOR_SIGNATURES: &str = "http://uri.etsi.org/TrstSvc/TrustedList/SvcInfoExt/ForeSignatures";
/// States of the years before eIDAS that were carried over as granted (Annex J).
const FORMER_GRANTED: [&str; 3] = [
    "http://uri.etsi.org/TrstSvc/TrustedList/Svcstatus/undersupervision",
    "http://uri.etsi.org/TrstSvc/TrustedList/Svcstatus/supervisionincessation",
    "http://uri.etsi.org/TrstSvc/TrustedList/Svcstatus/accredited",
];

/// Why a trusted list is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum VlError {
    /// Not readable, or its signature is wrong.
    #[error("trusted list for qualified signatures: {0}")]
    List(#[from] TslError),
    /// Past its NextUpdate.
    #[error("the trusted list for qualified signatures ended on {0}")]
    Outdated(Timestamp),
    /// The trust list does not name the signer.
    #[error("the signer of the trusted list is not in the trust list")]
    Signer,
    /// Older than the one in use.
    #[error("older than the trusted list in use")]
    Older,
}

impl From<xmlsec::Error> for VlError {
    fn from(error: xmlsec::Error) -> Self {
        VlError::List(error.into())
    }
}

impl VlError {
    /// The code of TUC_PKI_036.
    pub fn code(&self) -> Code {
        match self {
            VlError::List(TslError::Signature(_)) => Code::TSL_SIGNATURE,
            _ => Code::VL_UPDATE,
        }
    }
}

/// A CA for qualified certificates.
#[derive(Debug, Clone)]
pub struct QualifiedCa {
    /// Its certificate.
    pub certificate: X509,
    /// States, newest first: granted or not, and since when.
    pub states: Vec<(bool, Timestamp)>,
}

impl QualifiedCa {
    /// Was it qualified at `at`? `None` if the list does not reach so far back.
    pub fn granted_at(&self, at: Timestamp) -> Option<bool> {
        let state = self.states.iter().find(|(_, since)| *since <= at);
        state.map(|(granted, _)| *granted)
    }
}

/// A trusted list whose signature is right.
#[derive(Debug, Clone)]
pub struct TrustedList {
    /// Sequence number.
    pub sequence: u64,
    /// Made at.
    pub issued: Timestamp,
    /// Next one at the latest at.
    pub next_update: Timestamp,
    /// CAs for qualified signatures.
    pub cas: Vec<QualifiedCa>,
    /// OCSP signers that the list names itself.
    pub responders: Vec<X509>,
    /// Entries that could not be used, with reason.
    pub skipped: Vec<String>,
}

impl TrustedList {
    /// Checks the signature with the signers that the trust list names, and reads the list. Whether it is still
    /// valid is the caller's question: [`TrustedList::next_update`].
    pub fn verify(xml: &str, signers: &[X509]) -> Result<Self, VlError> {
        if xml.len() > limits::TSL {
            return Err(TslError::TooBig.into());
        }
        let verified = xmlsec::verify_enveloped(xml, |certificates| {
            let named = |signer: &&X509| certificates.first().is_some_and(|der| der == signer.der());
            let signer = signers.iter().find(named).ok_or(VlError::Signer)?;
            Ok::<_, VlError>(signer_key(signer).map_err(TslError::from)?)
        })?;
        let content = std::str::from_utf8(&verified.content).map_err(|_| TslError::Format("encoding"))?;
        Self::read(content)
    }

    /// Reads a list whose signature somebody else has checked.
    pub fn read(xml: &str) -> Result<Self, VlError> {
        let document = crate::tsl::parse(xml)?;
        let sheet = Sheet::new(&document)?;
        let mut list = Self {
            sequence: sheet.sequence,
            issued: sheet.issued,
            next_update: sheet.next_update.ok_or(TslError::Format("NextUpdate"))?,
            cas: Vec::new(),
            responders: Vec::new(),
            skipped: Vec::new(),
        };
        for service in &sheet.services {
            let qualifications = service.qualifications();
            let for_signatures = qualifications.is_empty() || qualifications.contains(&FOR_SIGNATURES);
            let taken = match service.kind() {
                CA_QC if for_signatures => service.certificates().map(|certificates| {
                    let states = states(service);
                    list.cas
                        .extend(certificates.into_iter().map(|certificate| QualifiedCa {
                            certificate,
                            states: states.clone(),
                        }));
                }),
                OCSP_QC | OCSP => service
                    .certificates()
                    .map(|certificates| list.responders.extend(certificates)),
                _ => Ok(()),
            };
            if let Err(reason) = taken {
                list.skipped.push(format!("{}: {reason}", service.name()));
            }
        }
        Ok(list)
    }
}

fn states(service: &crate::tsl::Service<'_, '_>) -> Vec<(bool, Timestamp)> {
    let granted = |status: ServiceStatus| status == ServiceStatus::InAccord;
    let mut states = Vec::new();
    if let Some(since) = service.since() {
        states.push((granted(service.status(GRANTED, WITHDRAWN)), since));
    }
    for (status, since) in service.history(GRANTED, WITHDRAWN) {
        states.push((granted(status), since));
    }
    // older states bear older names
    for former in FORMER_GRANTED {
        for (status, since) in service.history(former, WITHDRAWN) {
            if granted(status) {
                states.retain(|(_, known)| *known != since);
                states.push((true, since));
            }
        }
    }
    states.sort_by_key(|(_, since)| std::cmp::Reverse(*since));
    states
}
