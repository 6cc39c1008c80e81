//! Trust list and OCSP over HTTP, and the book of all certificates they answer about.

use crate::TestPki;
use asn1::X509;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base::{Clock, Timestamp, limits};
use crypto::SoftKey;
use pki::status::{self, Statement, Status};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Every certificate the test TI has issued, and those it has revoked.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    issuers: Vec<X509>,
    signer: (X509, SoftKey),
    clock: Arc<dyn Clock>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    certificates: Vec<(asn1::ocsp::CertId, Vec<u8>)>,
    revoked: HashMap<Vec<u8>, Timestamp>,
    /// Does the responder answer at all?
    silent: bool,
}

impl Ledger {
    /// An empty book for the CAs of this tree.
    pub fn new(pki: &TestPki, clock: Arc<dyn Clock>) -> Self {
        let authorities = [
            &pki.component_ca,
            &pki.component_ca_nist,
            &pki.smcb_ca,
            &pki.hba_ca,
            &pki.egk_ca,
            &pki.vpn_ca,
            &pki.tsl_ca,
        ];
        let issuers = authorities
            .into_iter()
            .filter_map(|ca| X509::parse(&ca.certificate).ok())
            .collect();
        let shared = Shared {
            issuers,
            signer: pki.ocsp_signer.clone(),
            clock,
            entries: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a certificate. One that none of our CAs issued is ignored.
    pub fn register(&self, der: &[u8]) {
        let Ok(certificate) = X509::parse_file(der) else {
            return;
        };
        let issuer = certificate.issuer_der().unwrap_or_default();
        let mut named = self
            .shared
            .issuers
            .iter()
            .filter(|ca| ca.subject_der().is_ok_and(|name| name == issuer));
        if let Some(ca) = named.find(|ca| pki::signed_by(&certificate, ca))
            && let Ok(id) = status::cert_id(&certificate, ca)
        {
            self.entries().certificates.push((id, certificate.der().to_vec()));
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

    /// Makes the responder silent, or lets it answer again.
    pub fn set_silent(&self, silent: bool) {
        self.entries().silent = silent;
    }

    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let (wanted, nonce) = asn1::ocsp::decode_request(request).ok()?;
        let entries = self.entries();
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
            Statement {
                cert_id,
                status,
                certificate: found,
            }
        });
        let (signer, key) = &self.shared.signer;
        status::answer(
            statements.collect(),
            nonce.as_deref(),
            self.shared.clock.now(),
            signer,
            key,
        )
        .ok()
    }
}

/// The trust list as it is published now.
pub type PublishedList = Arc<Mutex<String>>;

/// Routes: `/TSL.xml`, `/ocsp`.
pub fn router(ledger: Ledger, list: PublishedList) -> Router {
    let tsl = async |State(list): State<PublishedList>| {
        let text = list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ([(header::CONTENT_TYPE, "application/xml")], text)
    };
    Router::new()
        .route("/TSL.xml", get(tsl).with_state(list))
        .route("/ocsp", post(ocsp).with_state(ledger))
        .layer(axum::extract::DefaultBodyLimit::max(limits::OCSP_RESPONSE))
}

async fn ocsp(State(ledger): State<Ledger>, request: Bytes) -> Response {
    if ledger.entries().silent {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match ledger.answer(&request) {
        Some(answer) => ([(header::CONTENT_TYPE, "application/ocsp-response")], answer).into_response(),
        None => match asn1::ocsp::encode_refusal(asn1::ocsp::ResponseStatus::MalformedRequest) {
            Ok(refusal) => ([(header::CONTENT_TYPE, "application/ocsp-response")], refusal).into_response(),
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        },
    }
}
