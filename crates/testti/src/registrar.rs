//! The VPN access service's registration server (gemSpec_VPN_ZugD): who may build a tunnel, checked every day.

use crate::services::Ledger;
use asn1::{X509, oid};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base::{Clock, Timestamp};
use crypto::PublicKey;
use crypto::tls::{ClientCertificate, PeerVerifier};
use soap::provisioning::{Answer, Contract, Operation, Request};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;

/// How far clocks may differ (7061).
const SKEW: i64 = 300;
/// How long an entry is on hold before it is removed (TIP1-A_5390).
const HOLD: i64 = 2 * 86_400;
/// Most certificates of one contract; at least two are wanted (A_22543).
const ENTRIES: usize = 4;

/// Why a request was refused (TIP1-A_4491).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refusal {
    SmcbSignature = 7011,
    GsmcKCertificate = 7021,
    SmcbCertificate = 7031,
    ContractId = 7041,
    Timestamp = 7061,
    EntryFailed = 7071,
    RemovalFailed = 7081,
    Schema = 7091,
}

/// How the service misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrarFault {
    /// HTTP 503.
    Down,
    /// It accepts and never answers.
    Silent,
    /// Every request is refused with this code.
    Refuses(Refusal),
    /// It says "Registriert" and forgets it.
    Forgets,
}

/// A registered certificate.
#[derive(Debug, Clone)]
pub struct Entry {
    /// C.NK.VPN.
    pub certificate: X509,
    /// The OSIG certificate that signed.
    pub signer: X509,
    /// When it was registered.
    pub since: Timestamp,
    /// Since when it is on hold, if it is.
    pub hold: Option<i64>,
}

/// The service's book of one contract: pure, so that years of it run fast.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// What is registered, oldest first.
    pub entries: Vec<Entry>,
}

impl Book {
    /// Enters a certificate beside others, or a new signer for one that is there.
    pub fn enter(&mut self, certificate: X509, signer: X509, now: Timestamp) {
        self.entries
            .retain(|entry| entry.certificate.der() != certificate.der());
        if self.entries.len() >= ENTRIES {
            self.entries.remove(0);
        }
        self.entries.push(Entry {
            certificate,
            signer,
            since: now,
            hold: None,
        });
    }

    /// Every day: certificate and signer must be good, or the entry is put on hold and then removed (TIP1-A_5389).
    pub fn daily(&mut self, now: i64, revoked: impl Fn(&X509) -> bool) {
        for entry in &mut self.entries {
            let good = |certificate: &X509| certificate.is_valid_at(now) && !revoked(certificate);
            // the look was daily, also while nobody asked
            let ended = entry.certificate.validity().1.min(entry.signer.validity().1);
            entry.hold = match good(&entry.certificate) && good(&entry.signer) {
                true => None,
                false => entry.hold.or(Some(ended.min(now))),
            };
        }
        self.entries
            .retain(|entry| entry.hold.is_none_or(|since| now - since <= HOLD));
    }

    /// Is this certificate registered?
    pub fn find(&self, certificate: &[u8]) -> Option<&Entry> {
        let mut all = self.entries.iter();
        all.find(|entry| entry.certificate.der() == certificate)
    }

    /// May this certificate build a tunnel?
    pub fn admits(&self, certificate: &[u8], now: i64) -> bool {
        self.find(certificate)
            .is_some_and(|entry| entry.hold.is_none() && entry.certificate.is_valid_at(now))
    }
}

struct Shared {
    clock: Arc<dyn Clock>,
    ledger: Ledger,
    contract: String,
    component_cas: Mutex<Vec<X509>>,
    smcb_ca: X509,
    state: Mutex<Service>,
}

#[derive(Default)]
struct Service {
    book: Book,
    fault: Option<RegistrarFault>,
    asked: Vec<Operation>,
    /// Requests and answers, whole messages, the last ones.
    exchanges: Vec<(String, String)>,
}

/// Most exchanges that are remembered.
const REMEMBERED: usize = 50;

/// The service. Cheap to share.
#[derive(Clone)]
pub struct Registrar {
    shared: Arc<Shared>,
}

impl Registrar {
    /// A service for one contract, which believes certificates of these CAs.
    pub fn new(
        clock: Arc<dyn Clock>,
        ledger: Ledger,
        contract: &str,
        component_cas: Vec<X509>,
        smcb_ca: X509,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                ledger,
                contract: contract.to_owned(),
                component_cas: Mutex::new(component_cas),
                smcb_ca,
                state: Mutex::default(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, Service> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A CA that came later.
    pub fn believe(&self, ca: X509) {
        let mut cas = self
            .shared
            .component_cas
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        cas.push(ca);
    }

    /// Gives the service a fault, or takes it away.
    pub fn set_fault(&self, fault: Option<RegistrarFault>) {
        self.state().fault = fault;
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Operation> {
        self.state().asked.clone()
    }

    /// Requests that were answered, with their answers, as they came over the wire; the last fifty.
    pub fn exchanges(&self) -> Vec<(String, String)> {
        self.state().exchanges.clone()
    }

    /// What is registered, after the daily look as of now.
    pub fn entries(&self) -> Vec<Entry> {
        let now = self.shared.clock.now().as_second();
        let mut state = self.state();
        state.book.daily(now, |certificate| {
            self.shared.ledger.is_revoked(certificate.der())
        });
        state.book.entries.clone()
    }

    /// May this certificate build a tunnel now?
    pub fn admits(&self, certificate: &[u8]) -> bool {
        self.entries();
        let now = self.shared.clock.now().as_second();
        self.state().book.admits(certificate, now)
    }

    /// Judges a signed request.
    fn judge(&self, request: &Request) -> Result<(X509, X509), Refusal> {
        let now = self.shared.clock.now();
        let time: Timestamp = request.time.parse().map_err(|_| Refusal::Schema)?;
        if (time.as_second() - now.as_second()).abs() > SKEW {
            return Err(Refusal::Timestamp);
        }
        if request.contract.as_deref() != Some(self.shared.contract.as_str()) {
            return Err(Refusal::ContractId);
        }
        let mut signer = None;
        let verified = xmlsec::verify_enveloped(&request.signed, |certificates| {
            let der = certificates.first().ok_or(xmlsec::Error::SignatureCount)?;
            let certificate =
                X509::parse(der).map_err(|_| xmlsec::Error::Unacceptable("certificate of the signer"))?;
            let spki = certificate
                .spki()
                .map_err(|_| xmlsec::Error::Unacceptable("key of the signer"))?;
            let key = PublicKey::from_spki(&spki);
            signer = Some(certificate);
            key.map_err(xmlsec::Error::from)
        });
        verified.map_err(|_: xmlsec::Error| Refusal::SmcbSignature)?;
        let signer = signer.ok_or(Refusal::SmcbSignature)?;
        let good = |certificate: &X509| {
            certificate.is_valid_at(now.as_second()) && !self.shared.ledger.is_revoked(certificate.der())
        };
        let ours = pki::signed_by(&signer, &self.shared.smcb_ca) && signer.has_policy(oid::SMC_B_OSIG);
        if !ours || !good(&signer) {
            return Err(Refusal::SmcbCertificate);
        }
        let certificate = X509::parse(&request.certificate).map_err(|_| Refusal::GsmcKCertificate)?;
        let cas = self
            .shared
            .component_cas
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = cas.iter().any(|ca| pki::signed_by(&certificate, ca));
        if !known || !certificate.has_policy(oid::NK_VPN) || !good(&certificate) {
            return Err(Refusal::GsmcKCertificate);
        }
        Ok((certificate, signer))
    }

    fn answer(&self, message: &str) -> Result<String, Refusal> {
        let request = Request::parse(message).map_err(|_| Refusal::Schema)?;
        let now = self.shared.clock.now();
        let fault = {
            let mut state = self.state();
            state.asked.push(request.operation);
            state.fault
        };
        if let Some(RegistrarFault::Refuses(code)) = fault {
            return Err(code);
        }
        self.entries();
        let registered = match request.operation {
            Operation::Register => {
                let (certificate, signer) = self.judge(&request)?;
                if fault != Some(RegistrarFault::Forgets) {
                    self.state().book.enter(certificate, signer, now);
                }
                true
            }
            Operation::Deregister => {
                self.judge(&request).map_err(|_| Refusal::RemovalFailed)?;
                let entries = &mut self.state().book.entries;
                entries.retain(|entry| entry.certificate.der() != request.certificate);
                false
            }
            Operation::Status => self
                .state()
                .book
                .find(&request.certificate)
                .is_some_and(|entry| entry.hold.is_none()),
        };
        let since = self
            .state()
            .book
            .find(&request.certificate)
            .map(|entry| entry.since);
        let answer = Answer {
            registered,
            since: since.map(|since| since.to_string()),
            contract: if registered {
                Contract::TiAndSis
            } else {
                Contract::Nothing
            },
            information: None,
        };
        Ok(answer.message(request.operation, &now.to_string()))
    }

    /// Serves over HTTPS; clients show C.HCI.AUT.
    pub async fn serve(self, listener: TcpListener, identity: crypto::tls::Identity) -> std::io::Result<()> {
        let ca = self.shared.smcb_ca.clone();
        let judge = move |chain: &[&[u8]], _: &[u8]| {
            let der = chain.first().ok_or("no certificate")?;
            let certificate = X509::parse(der).map_err(|error| error.to_string())?;
            match certificate.has_policy(oid::SMC_B_AUT) && pki::signed_by(&certificate, &ca) {
                true => Ok(()),
                false => Err("not an SMC-B".to_owned()),
            }
        };
        let verifier = PeerVerifier::clients(Arc::new(judge), ClientCertificate::Required);
        let ledger = self.shared.ledger.clone();
        let router = Router::new().fallback(post(exchange)).with_state(self);
        crate::https::serve(listener, &identity, Some(verifier), router, Some(ledger)).await
    }
}

async fn exchange(State(registrar): State<Registrar>, body: String) -> Response {
    let fault = registrar.state().fault;
    match fault {
        Some(RegistrarFault::Down) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(RegistrarFault::Silent) => {
            registrar.shared.clock.sleep(Duration::from_secs(3600)).await;
        }
        _ => {}
    }
    let kind = [(header::CONTENT_TYPE, "text/xml; charset=utf-8")];
    match registrar.answer(&body) {
        Ok(message) => {
            let mut state = registrar.state();
            state.exchanges.push((body, message.clone()));
            if state.exchanges.len() > REMEMBERED {
                state.exchanges.remove(0);
            }
            drop(state);
            (kind, message).into_response()
        }
        Err(code) => {
            let fault = crate::vsdm::fault("VPNZugD", code as u32, registrar.shared.clock.now());
            (StatusCode::INTERNAL_SERVER_ERROR, kind, soap::wrap(&fault)).into_response()
        }
    }
}
