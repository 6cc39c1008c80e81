//! The TSL service of the test TI: it publishes lists, changes trust anchors, and makes mistakes when told to.

use crate::{Error, ListSigner, TestPki};
use asn1::X509;
use base::{Clock, Timestamp};
use crypto::SoftKey;
use pki::issue::revocation_list;
use pki::tsl::{self, Contents, Edition};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// How long a trust list is valid (GS-A_5214).
pub const LIST_DAYS: u32 = 30;
/// How long a revocation list is valid.
pub const CRL_DAYS: u32 = 7;

/// Publishes. Cheap to share; all clones are the same service.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    vl_signer: (X509, SoftKey),
    crl_signer: (X509, SoftKey),
    vpn_ca: X509,
    qes_ca: Vec<u8>,
    ocsp_signer: Vec<u8>,
    state: Mutex<State>,
}

struct State {
    contents: Contents,
    signer: ListSigner,
    next: Option<(ListSigner, Timestamp)>,
    sequence: u64,
    crl_number: u32,
    vl_sequence: u64,
    revoked: Vec<(X509, Timestamp)>,
    withdrawn: Option<Timestamp>,
    files: Files,
    /// What the server inside the TI has, if it stands still.
    frozen: Option<Files>,
    /// Download inside the TI works.
    inside: bool,
    /// Download from the Internet works.
    internet: bool,
}

/// What lies on the server now.
#[derive(Default, Clone)]
struct Files {
    tsl: Vec<u8>,
    signature: Vec<u8>,
    hash: Vec<u8>,
    crl: Vec<u8>,
    vl: Vec<u8>,
}

fn date(error: jiff::Error) -> Error {
    Error::Date(error.to_string())
}

/// Lists show whole seconds.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

impl Publisher {
    /// A service that has published list number 10001 and whatever else belongs to it. It can be reached at `http`,
    /// `http://host:port`, and at `https`.
    pub fn new(pki: &TestPki, clock: Arc<dyn Clock>, http: &str, https: &str) -> Result<Self, Error> {
        let mut contents = pki.list_contents(http, https);
        contents.cas.push((pki.tsl.ca.certificate.clone(), Vec::new()));
        let publisher = Self {
            shared: Arc::new(Shared {
                clock,
                vl_signer: pki.vl_signer.clone(),
                crl_signer: pki.crl_signer.clone(),
                vpn_ca: X509::parse(&pki.vpn_ca.certificate)?,
                qes_ca: pki.qes_ca.certificate.clone(),
                ocsp_signer: pki.ocsp_signer.0.der().to_vec(),
                state: Mutex::new(State {
                    contents,
                    signer: pki.tsl.clone(),
                    next: None,
                    sequence: 10_000,
                    crl_number: 0,
                    vl_sequence: 0,
                    revoked: Vec::new(),
                    withdrawn: None,
                    files: Files::default(),
                    frozen: None,
                    inside: true,
                    internet: true,
                }),
            }),
        };
        publisher.publish()?;
        publisher.publish_crl()?;
        publisher.publish_vl()?;
        Ok(publisher)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the next list.
    pub fn publish(&self) -> Result<String, Error> {
        self.publish_with(|_| ())
    }

    /// Publishes the next list with something changed for this one time: a mistake.
    pub fn publish_with(&self, change: impl FnOnce(&mut Contents)) -> Result<String, Error> {
        self.publish_as(|contents, _| change(contents))
    }

    /// Publishes the next list with something changed of it or of its dates, for this one time.
    pub fn publish_as(&self, change: impl FnOnce(&mut Contents, &mut Edition)) -> Result<String, Error> {
        let mut state = self.state();
        let now = whole(self.shared.clock.now());
        state.sequence += 1;
        let mut edition = Edition {
            sequence: state.sequence,
            issued: now,
            next_update: now.checked_add(DAY * LIST_DAYS).map_err(date)?,
        };
        let mut contents = state.contents.clone();
        if let Some((next, from)) = &state.next {
            contents.announced.push((next.ca.certificate.clone(), *from));
        }
        change(&mut contents, &mut edition);
        let signer = &state.signer;
        let xml = tsl::write(&contents, &edition, &signer.certificate, &signer.key)?;
        state.files.signature = pki::detached::sign(xml.as_bytes(), &signer.certificate, &signer.key)?;
        state.files.hash = hex::encode(crypto::sha256([&xml])).into_bytes();
        state.files.tsl = xml.clone().into_bytes();
        Ok(xml)
    }

    /// Changes what all following lists say.
    pub fn change(&self, change: impl FnOnce(&mut Contents)) {
        change(&mut self.state().contents);
    }

    /// Announces a trust anchor in the lists to come.
    pub fn announce(&self, next: ListSigner, from: Timestamp) {
        self.state().next = Some((next, from));
    }

    /// From now on the announced anchor's signer signs.
    pub fn switch(&self) {
        let mut state = self.state();
        if let Some((next, _)) = state.next.take() {
            state.contents.cas.push((next.ca.certificate.clone(), Vec::new()));
            state.signer = next;
        }
    }

    /// Publishes a revocation list of seven days.
    pub fn publish_crl(&self) -> Result<(), Error> {
        let mut state = self.state();
        let now = whole(self.shared.clock.now());
        state.crl_number += 1;
        let next = now.checked_add(DAY * CRL_DAYS).map_err(date)?;
        let entries: Vec<_> = state
            .revoked
            .iter()
            .map(|(certificate, since)| (&self.shared.vpn_ca, certificate, *since))
            .collect();
        let (signer, key) = &self.shared.crl_signer;
        let crl = revocation_list(signer, key, &entries, state.crl_number, now, next)?;
        state.files.crl = crl;
        Ok(())
    }

    /// Revokes a concentrator's certificate from the next revocation list on.
    pub fn revoke(&self, certificate: X509) {
        let now = self.shared.clock.now();
        self.state().revoked.push((certificate, now));
    }

    /// Publishes a trusted list of 180 days.
    pub fn publish_vl(&self) -> Result<(), Error> {
        let mut state = self.state();
        let now = whole(self.shared.clock.now());
        // two in one second are two
        state.vl_sequence = now.as_second().unsigned_abs().max(state.vl_sequence + 1);
        let edition = Edition {
            sequence: state.vl_sequence,
            issued: now,
            next_update: now.checked_add(DAY * 180).map_err(date)?,
        };
        let cas = [(self.shared.qes_ca.clone(), state.withdrawn)];
        let (signer, key) = &self.shared.vl_signer;
        let responders = [self.shared.ocsp_signer.clone()];
        let vl = tsl::write_trusted_list(&cas, &responders, &edition, signer.der(), key)?;
        state.files.vl = vl.into_bytes();
        Ok(())
    }

    /// The CA for qualified certificates loses its qualification, from the next trusted list on.
    pub fn withdraw_qualification(&self) {
        let now = whole(self.shared.clock.now());
        self.state().withdrawn = Some(now);
    }

    /// Which downloads work: inside the TI, and from the Internet.
    pub fn set_reachable(&self, inside: bool, internet: bool) {
        let mut state = self.state();
        (state.inside, state.internet) = (inside, internet);
    }

    /// Does the server inside the TI stand still? Then it has what is there now, whatever is published.
    pub fn set_frozen(&self, frozen: bool) {
        let mut state = self.state();
        state.frozen = frozen.then(|| state.files.clone());
    }

    /// What lies under a path now; `None` if the server is out of order or there is nothing.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let (works, path, files) = match path.strip_prefix("/internet") {
            Some(path) => (state.internet, path, &state.files),
            None => (state.inside, path, state.frozen.as_ref().unwrap_or(&state.files)),
        };
        let file = match path {
            "/TSL.xml" => &files.tsl,
            "/TSL.sig" => &files.signature,
            "/TSL.sha2" => &files.hash,
            "/VPN.crl" => &files.crl,
            "/VL.xml" => &files.vl,
            _ => return None,
        };
        works.then(|| file.clone())
    }
}
