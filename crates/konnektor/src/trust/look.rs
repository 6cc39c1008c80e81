//! One look at real work before a trust list is used, and the proof that one in use has: services of the TI that were believed.

use crate::Inner;
use crate::cards::Card;
use asn1::X509;
use base::Timestamp;
use card::CardKind;
use pki::{CheckError, Purpose, Responders, Space, Trust};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Services remembered at most; a practice has about ten.
const SERVICES: usize = 32;
/// Who has not been believed for so long may have another certificate by now.
const LATELY: Duration = Duration::from_secs(2 * 86_400);
/// Certificates whose status is asked for before a list is used.
const QUESTIONS: usize = 4;

/// Services of the TI that were believed, by address.
#[derive(Default)]
pub(crate) struct Services(Mutex<BTreeMap<String, Service>>);

/// One of them, and when that was.
struct Service {
    certificate: X509,
    purpose: &'static Purpose,
    at: Timestamp,
}

impl Inner {
    /// What this instance lives on: services lately believed, and certificates in use here.
    fn lives_on(&self, now: Timestamp) -> Vec<(String, X509, &'static Purpose)> {
        let own = self.certificates_in_use().into_iter();
        let own = own.map(|(what, certificate)| (what, certificate, &Purpose::KNOWN));
        self.services.lately(now).into_iter().chain(own).collect()
    }

    /// What of it is believed now and would not be any more, and why.
    fn lost(&self, before: &Trust, after: &Trust, now: Timestamp) -> Vec<(String, CheckError)> {
        let all = self.lives_on(now).into_iter();
        let lost = all.filter_map(|(what, certificate, purpose)| {
            let error = after.check_offline(&certificate, purpose, now).err()?;
            before.check_offline(&certificate, purpose, now).ok()?;
            Some((what, error))
        });
        lost.collect()
    }

    /// The same in words, for a list may take a CA away on purpose.
    pub(super) fn losses(&self, space: &Space) -> Vec<String> {
        let (Some(before), Some(after)) = (self.trust(), trust_of(space, self.responders.clone())) else {
            return Vec::new();
        };
        let lost = self.lost(&before, &after, self.clock.now()).into_iter();
        lost.map(|(what, _)| format!("{what} is not trusted any more with the new trust list"))
            .collect()
    }

    /// One look at real work before the list in use is given up: what works with it and would not with this one. A CA that is gone is
    /// taken for a mistake as long as the list in use is valid, for a list says "revoked" of those that are not to be believed any more;
    /// that, and a certificate that is revoked, is obeyed.
    pub(super) async fn would_break(&self, space: &Space) -> Vec<String> {
        let now = self.clock.now();
        let before = self.trust().filter(|trust| trust.list().next_update >= now);
        let fresh = || Arc::new(Responders::new(*self.responders.settings()));
        let (Some(before), Some(after)) = (before, trust_of(space, fresh())) else {
            return Vec::new();
        };
        let lost = self.lost(&before, &after, now).into_iter();
        let lost = lost.filter(|(_, error)| !matches!(error, CheckError::IssuerRevoked(_)));
        let mut broken: Vec<String> = lost.map(|(what, error)| format!("{what}: {error}")).collect();
        // nothing is remembered here, so that both are asked
        let again = trust_of(&self.space(), fresh()).filter(|_| self.config.online && broken.is_empty());
        let Some(again) = again else { return broken };
        for (what, certificate, _) in self.lives_on(now).iter().take(QUESTIONS) {
            let asked = after.check(certificate, &Purpose::ANY, &*self.clock).await;
            let Err(CheckError::Status(error)) = asked else {
                continue;
            };
            let known = again.check(certificate, &Purpose::ANY, &*self.clock).await;
            if known.is_ok() {
                broken.push(format!("status of {what}: {error}"));
            }
        }
        broken
    }

    /// A service of the TI was believed, by the list of this number.
    pub(crate) fn note_service(
        &self,
        address: &str,
        certificate: X509,
        purpose: &'static Purpose,
        list: u64,
    ) {
        let at = self.clock.now();
        let service = Service {
            certificate,
            purpose,
            at,
        };
        self.services.note(address, service);
        // whoever adopts another list now proves that one with the next service
        let Ok(_one) = self.adopting.try_lock() else {
            return;
        };
        let space = self.space();
        if space.is_list_proven() || space.list().is_none_or(|used| used.sequence != list) {
            return;
        }
        let proven = space.prove_list();
        match self.store.put("trust", "space", proven.record()) {
            Ok(()) => *self.space.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(proven),
            Err(error) => tracing::error!(%error, "that the trust list has proven itself is not stored"),
        }
    }

    /// Certificates this instance lives on: its own, of terminals, of cards in them that are not a patient's.
    fn certificates_in_use(&self) -> Vec<(String, X509)> {
        let own = &self.identities;
        let mut all: Vec<(String, X509)> = [&own.ak_brainpool, &own.ak_nist, &own.sak]
            .into_iter()
            .filter_map(|identity| X509::parse(identity.chain.first()?).ok())
            .map(|certificate| ("the Konnektor's own certificate".to_owned(), certificate))
            .collect();
        for terminal in self.terminals.all() {
            let session = terminal.session.as_ref();
            let certificate = session.and_then(|session| X509::parse(session.certificate()).ok());
            let id = &terminal.record.config.id;
            all.extend(certificate.map(|certificate| (format!("terminal {id}"), certificate)));
        }
        let patients = |card: &Arc<Card>| card.found.kind == CardKind::Egk;
        for card in self.cards.all().iter().filter(|card| !patients(card)) {
            let place = format!("{} in {}", card.found.kind.as_str(), card.ct_id);
            all.extend(card.found.aut.clone().map(|certificate| (place, certificate)));
        }
        all
    }
}

impl Services {
    fn note(&self, address: &str, service: Service) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SERVICES && !all.contains_key(address) {
            let oldest = all.iter().min_by_key(|(_, service)| service.at);
            let oldest = oldest.map(|(address, _)| address.clone());
            all.remove(&oldest.unwrap_or_default());
        }
        all.insert(address.to_owned(), service);
    }

    fn lately(&self, now: Timestamp) -> Vec<(String, X509, &'static Purpose)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = all
            .iter()
            .filter(|(_, service)| service.at.checked_add(LATELY).is_ok_and(|end| end >= now));
        let lately =
            lately.map(|(address, service)| (address.clone(), service.certificate.clone(), service.purpose));
        lately.collect()
    }
}

/// What a space has certificates judged by.
pub(super) fn trust_of(space: &Space, responders: Arc<Responders>) -> Option<Trust> {
    let trust = Trust::new(space.list()?.clone(), space.list_grace(), responders);
    let trust = trust.with_crl(space.crl().cloned()).with_vl(space.vl().cloned());
    Some(trust.with_past(space.past()))
}
