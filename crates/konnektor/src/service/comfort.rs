//! Comfort signature (A_19107 ff.): after one PIN a doctor signs for some hours or some hundred documents without it. A
//! session belongs to one user of one client system with one HBA, over a logical channel of its own.

use super::Call;
use super::prepare::Prepared;
use super::qes::{Prompt, QesChannel};
use super::sign::{KeyKind, Signed, checked};
use crate::cards::Card;
use crate::jobs::Job;
use crate::model::Caller;
use crate::state::Function;
use crate::{Failure, Inner};
use base::Code;
use card::CardKind;
use soap::signature::{SignatureMode, activate_response, status_response};
use soap::{CallContext, SignatureVersion};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// UserIds of so many activations must not come again (A_20074).
const REMEMBERED: usize = 1_000;
/// Sessions of one HBA at a time (A_22344): one of its three further channels stays free for batches.
const PARALLEL: usize = 2;

/// Card handle, Mandant, client system, user.
type Key = (String, String, String, String);

/// A running session.
pub(crate) struct Session {
    key: Key,
    caller: Caller,
    channel: tokio::sync::Mutex<Option<QesChannel>>,
    /// Signatures left.
    left: AtomicU8,
    /// When no new job is accepted any more, on the monotonic clock.
    until: Duration,
    ended: AtomicBool,
}

/// All sessions of an instance. None outlives a restart: the card's security state does not either.
#[derive(Default)]
pub(crate) struct ComfortSessions {
    running: Mutex<HashMap<Key, Arc<Session>>>,
    /// Handles of HBAs for which somebody is typing.
    beginning: Mutex<Vec<String>>,
    users: Mutex<VecDeque<String>>,
}

/// A place among the sessions of an HBA, as long as its PIN is typed.
struct Place<'s> {
    sessions: &'s ComfortSessions,
    handle: String,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut beginning = self
            .sessions
            .beginning
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = beginning.iter().position(|handle| *handle == self.handle) {
            beginning.swap_remove(at);
        }
    }
}

fn key(card: &Card, caller: &Caller) -> Key {
    let user = caller.user.as_ref().map(ToString::to_string);
    (
        card.handle.to_string(),
        caller.mandant.to_string(),
        caller.client_system.to_string(),
        user.unwrap_or_default(),
    )
}

impl ComfortSessions {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Key, Arc<Session>>) -> T) -> T {
        work(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The caller's session with this card, also one whose time is over.
    pub(super) fn find(&self, inner: &Inner, card: &Card, caller: &Caller) -> Option<Arc<Session>> {
        self.forget_pulled(inner);
        self.with(|running| running.get(&key(card, caller)).cloned())
    }

    /// Drops sessions of cards that are gone, with which they have ended.
    fn forget_pulled(&self, inner: &Inner) {
        self.with(|running| running.retain(|(handle, ..), _| inner.cards.by_handle(handle).is_some()));
    }

    /// Takes a place among the sessions of an HBA, before the PIN is typed; `None` if there is none.
    fn place(&self, handle: &str) -> Option<Place<'_>> {
        let mut beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let typing = beginning.iter().filter(|other| *other == handle).count();
        if self.of_card(handle).len() + typing >= PARALLEL {
            return None;
        }
        beginning.push(handle.to_owned());
        Some(Place {
            sessions: self,
            handle: handle.to_owned(),
        })
    }

    /// Notes a UserId with which a comfort signature begins; false if it was used lately.
    fn note_user(&self, user: &str) -> bool {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.iter().any(|known| known == user) {
            return false;
        }
        users.push_back(user.to_owned());
        while users.len() > REMEMBERED {
            users.pop_front();
        }
        true
    }

    /// Nothing began with this UserId.
    fn give_back_user(&self, user: &str) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|known| known != user);
    }

    fn of_card(&self, handle: &str) -> Vec<Arc<Session>> {
        self.with(|running| {
            let all = running.iter().filter(|((card, ..), _)| card == handle);
            all.map(|(_, session)| session.clone()).collect()
        })
    }

    /// Ends a session at once; only a signature that is being made is waited for.
    async fn end(&self, session: &Session, card: &Card) {
        session.ended.store(true, Ordering::Release);
        self.expire(session, card).await;
    }

    /// Ends a session after the job it is busy with (A_18686).
    async fn expire(&self, session: &Session, card: &Card) {
        let mut channel = session.channel.lock().await;
        session.ended.store(true, Ordering::Release);
        self.with(|running| running.remove(&session.key));
        card.forget_verified_of(&session.caller, "PIN.QES");
        if let Some(channel) = channel.take() {
            channel.close().await;
        }
    }
}

/// A UUID of 128 bits as RFC 4122 writes it (A_20073).
fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

impl Call<'_> {
    fn comfort_enabled(&self) -> Result<(), Failure> {
        match self.inner.config.signature.comfort {
            true => Ok(()),
            false => Err(Code::COMFORT_OFF.into()),
        }
    }

    pub(super) async fn activate_comfort(
        &self,
        context: &CallContext,
        handle: &str,
    ) -> Result<String, Failure> {
        self.inner.state.permit(Function::Pin)?;
        let user = context.user.as_deref().ok_or(Code::USER_ID_MISSING)?;
        if !is_uuid(user) {
            return Err(Failure::new(Code::USER_ID_FORM, "a UUID is expected"));
        }
        let card = self.card(handle)?;
        if card.found.kind != CardKind::Hba {
            return Err(Code::COMFORT_ONLY_WITH_HBA.into());
        }
        let caller = self.enter(context, &card, true)?;
        self.comfort_enabled()?;
        if !self.inner.config.lu_sak {
            return Err(Code::LU_SAK_OFF.into());
        }
        let sessions = &self.inner.comfort;
        sessions.forget_pulled(self.inner);
        let place = sessions.place(handle).ok_or(Code::NO_COMFORT_SESSION)?;
        if !sessions.note_user(user) {
            return Err(Code::USER_ID_USED.into());
        }
        let channel = match QesChannel::open(self, &card, &caller, Prompt::Comfort).await {
            Ok(channel) => channel,
            Err(failure) => {
                sessions.give_back_user(user);
                return Err(failure);
            }
        };
        let settings = self.inner.config.signature;
        let time = Duration::from_secs(u64::from(settings.comfort_hours) * 3600);
        let session = Arc::new(Session {
            key: key(&card, &caller),
            caller: caller.clone(),
            left: AtomicU8::new(
                settings
                    .comfort_max
                    .min(u8::try_from(channel.left).unwrap_or(u8::MAX)),
            ),
            until: self.inner.clock.elapsed() + time,
            channel: tokio::sync::Mutex::new(Some(channel)),
            ended: AtomicBool::new(false),
        });
        sessions.with(|running| running.insert(session.key.clone(), session.clone()));
        drop(place);
        card.set_verified(&caller, "PIN.QES");
        // the card forgets the PIN at the end of the time, whether anybody calls or not
        let (inner, session) = (self.inner.clone(), Arc::downgrade(&session));
        self.inner.spawn(async move {
            inner.clock.sleep(time).await;
            if let Some(session) = session.upgrade() {
                inner.comfort.expire(&session, &card).await;
            }
        });
        Ok(activate_response(&self.status(Vec::new())))
    }

    /// Whoever may call at all may end comfort signatures: of all users of each card (A_19108).
    pub(super) async fn deactivate_comfort(&self, handles: &[String]) -> Result<String, Failure> {
        self.inner.state.permit(Function::Pin)?;
        let mut unknown = Vec::new();
        let mut without = Vec::new();
        for handle in handles {
            let Some(card) = self.inner.cards.by_handle(handle) else {
                unknown.push(handle.as_str());
                continue;
            };
            let sessions = self.inner.comfort.of_card(handle);
            if sessions.is_empty() {
                without.push(handle.as_str());
            }
            for session in sessions {
                self.inner.comfort.end(&session, &card).await;
            }
        }
        let mut warnings = Vec::new();
        for (list, code) in [(unknown, Code::BAD_HANDLES), (without, Code::NO_SESSIONS)] {
            if !list.is_empty() {
                warnings.push(Failure::new(code, list.join(",")));
            }
        }
        let status = self.status(warnings);
        Ok(status_response(
            SignatureVersion::V75,
            "DeactivateComfortSignature",
            &status,
        ))
    }

    pub(super) fn signature_mode(&self, context: &CallContext, handle: &str) -> Result<String, Failure> {
        self.inner.state.permit(Function::Pin)?;
        let card = self.card(handle)?;
        if card.found.kind != CardKind::Hba {
            return Err(Failure::new(Code::SIGNATURE_MODE, "not an HBA").within(Code::COMFORT_ONLY_WITH_HBA));
        }
        let caller = self.enter(context, &card, true)?;
        let settings = self.inner.config.signature;
        let session = self.inner.comfort.find(self.inner, &card, &caller);
        let left = session.and_then(|session| {
            let time = session.until.saturating_sub(self.inner.clock.elapsed());
            let count = session.left.load(Ordering::Acquire);
            (!time.is_zero()).then_some((count, time.as_secs()))
        });
        let mode = SignatureMode {
            enabled: settings.comfort,
            max: settings.comfort_max,
            timer: u64::from(settings.comfort_hours) * 3600,
            left,
        };
        Ok(mode.to_xml())
    }

    /// Signs in a session, as long as time and number last; an accepted job is finished also after its time (A_18686).
    pub(super) async fn sign_comfort(
        &self,
        session: &Session,
        card: &Arc<Card>,
        documents: &[Prepared],
        (crypt, scheme): KeyKind,
        job: &Job<'_>,
    ) -> Result<Signed, Failure> {
        self.comfort_enabled()?;
        let over = |why: &str| Failure::new(Code::COMFORT_ENDED, why);
        if self.inner.clock.elapsed() >= session.until {
            self.inner.comfort.expire(session, card).await;
            return Err(over("the time of the comfort signature is over"));
        }
        let mut held = session.channel.lock().await;
        let mut signed = Signed::default();
        for document in documents {
            let mut values = Vec::new();
            for (position, message) in document.draft.messages().iter().enumerate() {
                if job.is_stopped() {
                    signed.ended = Some(Failure::new(Code::USER_CANCELLED, "StopSignature"));
                    return Ok(signed);
                }
                let ended = session.ended.load(Ordering::Acquire);
                let (Some(channel), false) = (held.as_mut(), ended) else {
                    signed.ended = Some(over("the comfort signature was deactivated"));
                    return Ok(signed);
                };
                if session.left.load(Ordering::Acquire) == 0 {
                    drop(held);
                    self.inner.comfort.end(session, card).await;
                    signed.ended = Some(over("all signatures of the comfort signature are used"));
                    return Ok(signed);
                }
                // what was sent to the card counts, whatever the card makes of it (A_19100)
                session.left.fetch_sub(1, Ordering::AcqRel);
                let value = channel.sign(crypt, scheme, &crypto::sha256([message])).await;
                match checked(document, position, value) {
                    Ok(value) => values.push(value),
                    Err(failure) => {
                        // the counters of the trusted channel may differ now: the doctor types the PIN again
                        signed.ended = Some(channel.explain(failure, &*self.inner.clock).await);
                        drop(held);
                        self.inner.comfort.end(session, card).await;
                        return Ok(signed);
                    }
                }
            }
            signed.values.push(values);
            self.tell_progress(card, job);
        }
        drop(held);
        if session.left.load(Ordering::Acquire) == 0 {
            self.inner.comfort.end(session, card).await;
        }
        Ok(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_uuids_and_new() {
        assert!(is_uuid("8a4b1c7e-0f6d-4c1e-9a53-5d2f1b7c9e10"));
        for text in [
            "",
            "doctor",
            "8a4b1c7e0f6d4c1e9a535d2f1b7c9e10",
            "8a4b1c7e-0f6d-4c1e-9a53-5d2f1b7c9e1g",
        ] {
            assert!(!is_uuid(text), "{text}");
        }
        let sessions = ComfortSessions::default();
        assert!(sessions.note_user("a"));
        assert!(!sessions.note_user("a"));
        for number in 0..REMEMBERED {
            assert!(sessions.note_user(&number.to_string()));
        }
        assert!(sessions.note_user("a"));
        sessions.give_back_user("a");
        assert!(sessions.note_user("a"));
    }

    #[test]
    fn places_of_an_hba_are_counted_while_pins_are_typed() {
        let sessions = ComfortSessions::default();
        let places: Vec<_> = (0..PARALLEL).filter_map(|_| sessions.place("card")).collect();
        assert_eq!(places.len(), PARALLEL);
        assert!(sessions.place("card").is_none());
        assert!(sessions.place("another card").is_some());
        drop(places);
        assert!(sessions.place("card").is_some());
    }
}
