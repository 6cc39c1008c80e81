//! What trust lists have said before: CAs and responders that are in the list no more. Signatures that were made while
//! they were in it are still judged by them (validation as of the time of signing).

use crate::tsl::{CaService, ServiceStatus, Tsl};
use asn1::X509;
use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Most services that are kept; the TI has had some hundreds of CAs in ten years.
const KEPT: usize = 2_000;

/// A service that has left the list, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastService {
    /// DER in base64.
    certificate: String,
    /// Certificate types a CA may issue; `None` for a responder.
    types: Option<Vec<String>>,
    ocsp: Option<String>,
    /// When a list without it was taken into use.
    until: Timestamp,
}

/// The services of earlier lists, read.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// CAs, and until when they were listed.
    pub cas: Vec<(CaService, Timestamp)>,
    /// Responders, and until when they were listed.
    pub responders: Vec<(X509, Timestamp)>,
}

/// Notes what `new` leaves out of `old`; what it has again is no past.
pub(crate) fn note(past: &mut Vec<PastService>, old: &Tsl, new: &Tsl, now: Timestamp) {
    let listed = |der: &[u8]| {
        new.cas.iter().any(|ca| ca.certificate.der() == der)
            || new.responders.iter().any(|responder| responder.der() == der)
    };
    past.retain(|one| STANDARD.decode(&one.certificate).is_ok_and(|der| !listed(&der)));
    // a CA that was revoked is judged by its entry as long as it is there, and by nothing afterwards
    let cas = old
        .cas
        .iter()
        .filter(|ca| ca.status == ServiceStatus::InAccord)
        .map(|ca| PastService {
            certificate: STANDARD.encode(ca.certificate.der()),
            types: Some(ca.types.iter().map(ToString::to_string).collect()),
            ocsp: ca.ocsp.clone(),
            until: now,
        });
    let responders = old.responders.iter().map(|responder| PastService {
        certificate: STANDARD.encode(responder.der()),
        types: None,
        ocsp: None,
        until: now,
    });
    for one in cas.chain(responders) {
        let gone = STANDARD.decode(&one.certificate).is_ok_and(|der| !listed(&der));
        if gone && !past.iter().any(|known| known.certificate == one.certificate) {
            past.push(one);
        }
    }
    let surplus = past.len().saturating_sub(KEPT);
    past.drain(..surplus);
}

/// Reads what is stored; what cannot be read is left out.
pub(crate) fn read(stored: &[PastService]) -> Past {
    let mut past = Past::default();
    for one in stored {
        let der = STANDARD.decode(&one.certificate).unwrap_or_default();
        let Ok(certificate) = X509::parse(&der) else {
            continue;
        };
        match &one.types {
            None => past.responders.push((certificate, one.until)),
            Some(types) => {
                let ca = CaService {
                    certificate,
                    status: ServiceStatus::InAccord,
                    history: Vec::new(),
                    types: types.iter().filter_map(|oid| oid.parse().ok()).collect(),
                    ocsp: one.ocsp.clone(),
                };
                past.cas.push((ca, one.until));
            }
        }
    }
    past
}
