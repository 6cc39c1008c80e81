//! Lists and OCSP over HTTP, and the book of all certificates that are answered about.

use crate::{Publisher, TestPki};
use asn1::X509;
use asn1::ocsp::ResponseStatus;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base::{Clock, Timestamp, limits};
use crypto::{Curve, EcPrivate, SoftKey};
use pki::issue::Authority;
use pki::status::{self, Statement, Status};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Every certificate the test TI has issued, and those it has revoked.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    signer: (X509, SoftKey),
    clock: Arc<dyn Clock>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    stapling: bool,
    issuers: Vec<X509>,
    certificates: Vec<(asn1::ocsp::CertId, Vec<u8>)>,
    revoked: HashMap<Vec<u8>, Timestamp>,
    fault: Option<OcspFault>,
    asked: u64,
}

/// What is wrong with the responder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcspFault {
    /// It does not answer at all.
    Down,
    /// It answers after so long.
    Slow(Duration),
    /// It says `tryLater`.
    Overloaded,
    /// It sends something that is no OCSP answer.
    Garbage,
    /// It signs with a key that no list knows.
    StrangeSigner,
    /// Its signature is wrong.
    BadSignature,
    /// It answers about another certificate.
    OtherCertificate,
    /// It does not prove that it knows the certificate.
    NoHash,
    /// It knows another certificate under this number.
    WrongHash,
    /// It sends an answer to somebody else's question.
    WrongNonce,
    /// Its answer is an hour old.
    Stale,
    /// Its answer is an hour from the future.
    Future,
}

impl Ledger {
    /// The clock it goes by.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.shared.clock.clone()
    }

    /// An empty book for the CAs of this tree.
    pub fn new(pki: &TestPki, clock: Arc<dyn Clock>) -> Self {
        let authorities = [
            &pki.component_ca,
            &pki.component_ca_nist,
            &pki.smcb_ca,
            &pki.hba_ca,
            &pki.egk_ca,
            &pki.vpn_ca,
            &pki.tsl.ca,
            &pki.qes_ca,
        ];
        let issuers = authorities
            .into_iter()
            .filter_map(|ca| X509::parse(&ca.certificate).ok())
            .collect();
        let entries = Entries {
            issuers,
            ..Entries::default()
        };
        let shared = Shared {
            signer: pki.ocsp_signer.clone(),
            clock,
            entries: Mutex::new(entries),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A CA that the book did not know from the start.
    pub fn add_issuer(&self, authority: &Authority) {
        if let Ok(certificate) = X509::parse(&authority.certificate) {
            self.entries().issuers.push(certificate);
        }
    }

    /// Enters a certificate. One that none of our CAs issued is ignored.
    pub fn register(&self, der: &[u8]) {
        let Ok(certificate) = X509::parse_file(der) else {
            return;
        };
        let issuer = certificate.issuer_der().unwrap_or_default();
        let mut entries = self.entries();
        let mut named = entries
            .issuers
            .iter()
            .filter(|ca| ca.subject_der().is_ok_and(|name| name == issuer));
        let id = named
            .find(|ca| pki::signed_by(&certificate, ca))
            .and_then(|ca| status::cert_id(&certificate, ca).ok());
        if let Some(id) = id {
            entries.certificates.push((id, certificate.der().to_vec()));
        }
    }

    /// Enters every certificate on a card.
    pub fn register_card(&self, system: &card::image::ObjectSystem) {
        for node in &system.nodes {
            if let card::image::Body::Transparent { bytes, .. } = &node.body
                && node.name.starts_with("EF.C.")
            {
                self.register(bytes);
            }
        }
    }

    /// Revokes a certificate now.
    pub fn revoke(&self, der: &[u8]) {
        let now = self.shared.clock.now();
        if let Ok(certificate) = X509::parse_file(der) {
            self.entries().revoked.insert(certificate.der().to_vec(), now);
        }
    }

    /// Was it revoked?
    pub fn is_revoked(&self, der: &[u8]) -> bool {
        self.entries().revoked.contains_key(der)
    }

    /// Gives the responder a fault, or takes it away.
    pub fn set_fault(&self, fault: Option<OcspFault>) {
        self.entries().fault = fault;
    }

    /// How often the responder was asked.
    pub fn asked(&self) -> u64 {
        self.entries().asked
    }

    /// Do the services staple the status of their certificate?
    pub fn set_stapling(&self, on: bool) {
        self.entries().stapling = on;
    }

    /// The answer that a service staples to its certificate, if it does.
    pub fn staple(&self, der: &[u8]) -> Option<Vec<u8>> {
        let entries = self.entries();
        let known = |(_, known): &&(asn1::ocsp::CertId, Vec<u8>)| known == der;
        let (id, _) = entries
            .certificates
            .iter()
            .find(known)
            .filter(|_| entries.stapling)?;
        let request = asn1::ocsp::encode_request(id.clone(), None).ok()?;
        drop(entries);
        self.answer(&request, None)
    }

    fn answer(&self, request: &[u8], fault: Option<OcspFault>) -> Option<Vec<u8>> {
        let (mut wanted, mut nonce) = asn1::ocsp::decode_request(request).ok()?;
        let entries = self.entries();
        match fault {
            Some(OcspFault::OtherCertificate) => {
                wanted = vec![
                    entries
                        .certificates
                        .iter()
                        .find(|(id, _)| !wanted.iter().any(|w| w.same(id)))?
                        .0
                        .clone(),
                ];
            }
            Some(OcspFault::WrongNonce) => nonce = Some(vec![0; 16]),
            _ => {}
        }
        let statements = wanted.into_iter().map(|cert_id| {
            let found = entries
                .certificates
                .iter()
                .find(|(id, _)| id.same(&cert_id))
                .map(|(_, der)| der.clone());
            let status = match &found {
                None => Status::Unknown,
                Some(der) => entries
                    .revoked
                    .get(der)
                    .map_or(Status::Good, |time| Status::Revoked(*time)),
            };
            let certificate = match fault {
                Some(OcspFault::NoHash) => None,
                Some(OcspFault::WrongHash) => Some(b"another certificate".to_vec()),
                _ => found,
            };
            Statement {
                cert_id,
                status,
                certificate,
            }
        });
        let hour = Duration::from_secs(3600);
        let now = self.shared.clock.now();
        let now = match fault {
            Some(OcspFault::Stale) => now.checked_sub(hour).ok()?,
            Some(OcspFault::Future) => now.checked_add(hour).ok()?,
            _ => now,
        };
        let (mut signer, mut key) = self.shared.signer.clone();
        if fault == Some(OcspFault::StrangeSigner) {
            let strange = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).ok()?);
            let name = pki::issue::Name::new("Somebody", "OCSP");
            let (from, to) = signer.validity();
            let time = |seconds| Timestamp::from_second(seconds).ok();
            let made = Authority::root(name, strange.clone(), "", time(from)?, time(to)?).ok()?;
            (signer, key) = (X509::parse(&made.certificate).ok()?, strange);
        }
        if fault == Some(OcspFault::BadSignature) {
            key = SoftKey::Ec(EcPrivate::generate(Curve::BrainpoolP256r1).ok()?);
        }
        status::answer(statements.collect(), nonce.as_deref(), now, &signer, &key).ok()
    }
}

/// Routes: the publisher's files, and `/ocsp`.
pub fn router(ledger: Ledger, publisher: Publisher) -> Router {
    files(publisher)
        .route("/ocsp", post(ocsp).with_state(ledger))
        .layer(axum::extract::DefaultBodyLimit::max(limits::OCSP_RESPONSE))
}

fn files(publisher: Publisher) -> Router {
    let file = async |State(publisher): State<Publisher>, uri: Uri| match publisher.file(uri.path()) {
        Some(bytes) => ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    Router::new().fallback(file).with_state(publisher)
}

/// Serves the publisher's files over HTTPS, as the TSL service does with the trusted list.
pub async fn serve_files(
    listener: tokio::net::TcpListener,
    identity: crypto::tls::Identity,
    publisher: Publisher,
    ledger: Ledger,
) -> std::io::Result<()> {
    crate::https::serve(listener, &identity, None, files(publisher), Some(ledger)).await
}

async fn ocsp(State(ledger): State<Ledger>, request: Bytes) -> Response {
    let fault = {
        let mut entries = ledger.entries();
        entries.asked += 1;
        entries.fault
    };
    let kind = [(header::CONTENT_TYPE, "application/ocsp-response")];
    let refuse = |status| match asn1::ocsp::encode_refusal(status) {
        Ok(refusal) => (kind.clone(), refusal).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    };
    match fault {
        Some(OcspFault::Down) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(OcspFault::Slow(span)) => ledger.shared.clock.sleep(span).await,
        Some(OcspFault::Overloaded) => return refuse(ResponseStatus::TryLater),
        Some(OcspFault::Garbage) => return (kind, "garbage").into_response(),
        _ => {}
    }
    match ledger.answer(&request, fault) {
        Some(answer) => (kind, answer).into_response(),
        None => refuse(ResponseStatus::MalformedRequest),
    }
}
