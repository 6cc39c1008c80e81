//! Registration at further access services (`[[vpn.further]]`): what the first one knows they are to know, too, so that the tunnel can
//! be built there when nobody of the first answers. Their state is beside the extension's rules: nothing waits for it.

use super::*;
use crate::vpn::FurtherAccess;
use identity::Signer;
use serde_json::{Value, json};
use soap::provisioning::Operation;

/// Kind of documents about registrations there.
const KIND: &str = "registered-elsewhere";
/// Seconds between two attempts, and between two questions whether a registration stands.
const PAUSE: i64 = 6 * 3600;
const ASK: i64 = 7 * identity::DAY;

/// What became of a registration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Elsewhere {
    /// Who has signed it, if it stands.
    signer: Option<Signer>,
    /// Last attempt, and last word of the service, Unix seconds.
    tried: i64,
    heard: i64,
    /// Why the last attempt failed.
    failed: Option<String>,
}

impl Elsewhere {
    /// What is to be done, if anything.
    fn next(&self, best: &Signer, now: i64) -> Option<Operation> {
        // a clock that was ahead counts for nothing
        let since = |at: i64| if at > now { i64::MAX } else { now - at };
        if since(self.tried) < PAUSE {
            return None;
        }
        match &self.signer {
            None => Some(Operation::Register),
            Some(old) if plan::is_outlasted(old, best, now) => Some(Operation::Register),
            Some(_) => (since(self.heard) >= ASK).then_some(Operation::Status),
        }
    }
}

impl Inner {
    fn further(&self) -> impl Iterator<Item = &FurtherAccess> {
        let vpn = self.config.vpn.iter();
        vpn.flat_map(|vpn| &vpn.further)
    }

    /// What is registered with the first access service, or used: generation and family.
    fn to_be_known(&self) -> Vec<(u32, Family)> {
        let now = self.clock.now().as_second();
        self.with_book(|book| {
            let all = select::tunnel(book, now).into_iter();
            let all = all.map(|choice| (choice.generation, choice.kind.algorithm.family()));
            let known = |(generation, family): &(u32, Family)| {
                book.families().contains(family)
                    && !book.quarantine.contains_key(generation)
                    && book.registration(*generation, *family).is_some()
            };
            all.filter(known).collect()
        })
    }

    /// Registers there what is not known yet; failures are events, and tried again in their time. By hand everything, at once.
    pub(super) async fn register_elsewhere(self: &Arc<Self>, by_hand: bool) {
        let _one = match (self.lifetime.elsewhere.try_lock(), by_hand) {
            (Ok(one), _) => one,
            (Err(_), true) => self.lifetime.elsewhere.lock().await,
            (Err(_), false) => return,
        };
        let resting = self.doubt().is_some() || self.with_book(|book| book.frozen);
        if resting && !by_hand {
            return;
        }
        for access in self.further() {
            for (generation, family) in self.to_be_known() {
                let Some((_, best)) = self.best_signer().await else {
                    return;
                };
                let id = format!("{}/{generation}/{family:?}", access.name);
                let known = self.store.get::<Elsewhere>(KIND, &id).ok().flatten();
                let mut known = known.unwrap_or_default();
                let now = self.clock.now().as_second();
                let operation = match by_hand {
                    true => Operation::Register,
                    false => match known.next(&best, now) {
                        Some(operation) => operation,
                        None => continue,
                    },
                };
                let outcome = self
                    .carry_out_elsewhere(access, operation, generation, family)
                    .await;
                // a card in use is no attempt: the service has heard of none (four a day, A_21744-03)
                let asked = |failure: &Failure| failure.code() == Code::TLS_SERVER;
                if outcome.as_ref().err().is_none_or(asked) {
                    known.tried = now;
                }
                known.failed = match outcome {
                    Ok(signer) => {
                        known.heard = now;
                        known.signer = match operation {
                            // only a clear "no" takes it away
                            Operation::Status => known.signer.filter(|_| signer.is_some()),
                            _ => signer,
                        };
                        None
                    }
                    Err(failure) => Some(failure.detail()),
                };
                if let Err(error) = self.store.put(KIND, &id, &known) {
                    tracing::warn!(%error, "registration elsewhere not stored");
                }
            }
        }
    }

    /// Who has signed the registration that stands now; `None` if there is none.
    async fn carry_out_elsewhere(
        self: &Arc<Self>,
        access: &FurtherAccess,
        operation: Operation,
        generation: u32,
        family: Family,
    ) -> Result<Option<Signer>, Failure> {
        let held = self.tunnel_certificate(generation, family)?;
        let (card, signer) = self.best_signer().await.ok_or(Code::SMCB_NOT_VERIFIED)?;
        let url = &access.registration;
        let answer = match operation {
            Operation::Status => self.query_status(url, &held).await,
            _ => {
                self.send_registration(url, Some(&access.contract), &card, &held)
                    .await
            }
        };
        let wrong = match &answer {
            Ok(answer) if answer.registered => return Ok(Some(signer)),
            Ok(_) => format!("{}: nicht registriert", access.name),
            Err(failure) => format!("{}: {}", access.name, failure.detail()),
        };
        self.register_error(&held, operation, "Other", wrong.clone());
        match (answer, operation) {
            (Ok(_), Operation::Status) => Ok(None),
            (Ok(_), _) => Err(Failure::new(Code::TLS_SERVER, wrong)),
            (Err(failure), _) => Err(failure),
        }
    }

    /// Registrations there, as administrators see them.
    pub(super) fn elsewhere_view(&self) -> Vec<Value> {
        let all: Vec<(String, Elsewhere)> = self.store.all(KIND).unwrap_or_default();
        let known = self.to_be_known();
        let mut view = Vec::new();
        for access in self.further() {
            for (generation, family) in &known {
                let id = format!("{}/{generation}/{family:?}", access.name);
                let found = all
                    .iter()
                    .find(|(of, _)| *of == id)
                    .map(|(_, found)| found.clone());
                let found = found.unwrap_or_default();
                view.push(json!({
                    "access": access.name, "generation": generation, "family": family,
                    "registered_by": found.signer.as_ref().map(|signer| json!({
                        "iccsn": signer.iccsn, "end": Timestamp::from_second(signer.end).unwrap_or_default().to_string(),
                    })),
                    "failed": found.failed,
                }));
            }
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_its_time() {
        let day = identity::DAY;
        let signer = |end: i64| Signer {
            iccsn: "1".into(),
            serial: "1".into(),
            end,
        };
        let mut known = Elsewhere::default();
        let now = 1000 * day;
        assert_eq!(known.next(&signer(2000 * day), now), Some(Operation::Register));
        known.tried = now;
        assert_eq!(known.next(&signer(2000 * day), now + 3600), None);
        assert_eq!(
            known.next(&signer(2000 * day), now + PAUSE),
            Some(Operation::Register)
        );
        (known.signer, known.heard) = (Some(signer(1040 * day)), now);
        // January 2026: whoever has signed it ends, and somebody else lasts longer
        assert_eq!(
            known.next(&signer(2000 * day), now + day),
            Some(Operation::Register)
        );
        assert_eq!(known.next(&signer(1040 * day), now + day), None);
        assert_eq!(
            known.next(&signer(1040 * day), now + 7 * day),
            Some(Operation::Status)
        );
        // an attempt by a clock that was ahead
        known.tried = now + 5000 * day;
        assert_eq!(
            known.next(&signer(2000 * day), now + day),
            Some(Operation::Register)
        );
    }
}
