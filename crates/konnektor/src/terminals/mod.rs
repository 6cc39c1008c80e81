//! The Kartenterminaldienst: which terminals there are, how far each has come, and one task a terminal that connects,
//! proves the pairing, watches and reconnects (TUC_KON_050 to 055, TIP1-A_4536 ff.).
//!
//! `pair` makes pairings, `supervise` keeps connections, `firmware` gives them another one, `announced` finds terminals, `slots` sees cards come and go.

mod announced;
mod firmware;
mod pair;
mod slots;
mod supervise;

pub(crate) use firmware::{LOGINS, Login, login_id};

use crate::config::TerminalConfig;
use crate::state::Condition;
use crate::{Failure, Inner};
use base::Code;
use base::id::{CtId, SlotId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use terminal::{Product, Session};
use tokio::sync::Notify;

/// CT.CORRELATION.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correlation {
    /// Seen on the network.
    Bekannt,
    /// Adopted by the administrator.
    Zugewiesen,
    /// Paired, but not to be used.
    Gepairt,
    /// In use.
    Aktiv,
}

/// What is stored of a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalRecord {
    /// Identity and address.
    #[serde(flatten)]
    pub config: TerminalConfig,
    /// How far it has come.
    pub correlation: Correlation,
    /// SHA-256 of the certificate it was paired with.
    #[serde(default)]
    pub certificate: Option<String>,
    /// What it said it is when it was last connected.
    #[serde(default)]
    pub product: Option<Product>,
}

impl TerminalRecord {
    pub(crate) fn new(config: TerminalConfig, correlation: Correlation) -> Self {
        Self {
            config,
            correlation,
            certificate: None,
            product: None,
        }
    }
}

/// A terminal as the services see it.
#[derive(Clone)]
pub struct TerminalState {
    /// What is stored.
    pub record: TerminalRecord,
    /// The proven connection (CT.CONNECTED).
    pub session: Option<Arc<Session>>,
    /// Number of slots.
    pub slots: u8,
    /// It is being given another firmware, so many percent of it.
    pub updating: Option<u8>,
    /// Where it says it is; counts once it has proven itself there.
    candidate: Option<SocketAddr>,
    wake: Arc<Notify>,
}

/// All terminals.
#[derive(Default)]
pub struct Terminals {
    list: Mutex<BTreeMap<CtId, TerminalState>>,
    slots: Mutex<BTreeMap<(CtId, SlotId), Arc<SlotWork>>>,
    /// Held while a terminal or the information model is changed on disk and in memory.
    changing: Mutex<()>,
}

/// What happens in a slot.
#[derive(Default)]
struct SlotWork {
    /// One opening of a card at a time.
    opening: tokio::sync::Mutex<()>,
    /// Goes on when a card leaves: what was read of it before is nothing worth.
    departures: AtomicU64,
    /// How often a card that could not be read was tried again, and when it is next.
    unread: Mutex<(u32, Duration)>,
}

/// Pause before a card that could not be read is tried again; twice as long each time, up to the limit.
const READ_AGAIN: Duration = Duration::from_secs(20);
const READ_AGAIN_LIMIT: Duration = Duration::from_secs(3600);

impl SlotWork {
    /// Is it time to try a card again that could not be read?
    fn is_turn(&self, now: Duration) -> bool {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).1 <= now
    }

    /// The same, and the next time is later.
    fn take_turn(&self, now: Duration) -> bool {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if unread.1 > now {
            return false;
        }
        let pause = READ_AGAIN.saturating_mul(1 << unread.0.min(10));
        *unread = (unread.0.saturating_add(1), now + pause.min(READ_AGAIN_LIMIT));
        true
    }
}

const STORE: &str = "terminal";
/// Login of the ordinary role at a terminal.
const ANYBODY: (&str, &str) = ("", "");
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

impl Terminals {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<CtId, TerminalState>) -> T) -> T {
        work(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All terminals.
    pub fn all(&self) -> Vec<TerminalState> {
        self.with(|list| list.values().cloned().collect())
    }

    /// Lets go of every connection; each is closed when the last command in it is over.
    pub(crate) fn hang_up(&self) {
        self.with(|list| list.values_mut().for_each(|state| state.session = None));
    }

    /// One terminal.
    pub fn get(&self, id: &CtId) -> Option<TerminalState> {
        self.with(|list| list.get(id).cloned())
    }

    /// The terminal that `mine` belongs to, and not a later one of the same id.
    fn of_task(&self, id: &CtId, mine: &Arc<Notify>) -> Option<TerminalState> {
        self.get(id).filter(|state| Arc::ptr_eq(&state.wake, mine))
    }

    /// Changes it, if it is still there.
    fn change_of_task(&self, id: &CtId, mine: &Arc<Notify>, change: impl FnOnce(&mut TerminalState)) {
        self.with(|list| {
            let state = list.get_mut(id).filter(|state| Arc::ptr_eq(&state.wake, mine));
            state.map(change);
        });
    }

    fn slot(&self, id: &CtId, slot: SlotId) -> Arc<SlotWork> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry((id.clone(), slot)).or_default().clone()
    }

    /// Cards have left: one slot, or all of a terminal that is not connected any more.
    fn departed(&self, id: &CtId, slot: Option<SlotId>) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for ((place, number), work) in &*slots {
            if place == id && slot.is_none_or(|slot| slot == *number) {
                work.departures.fetch_add(1, Ordering::Relaxed);
                *work.unread.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
            }
        }
    }

    pub(crate) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A terminal that is active and connected.
    pub fn connected(&self, id: &CtId) -> Result<Arc<Session>, Failure> {
        let state = self.get(id).ok_or(Code::UNKNOWN_TERMINAL)?;
        if !state.is_wanted() {
            return Err(Code::TERMINAL_NOT_ACTIVE.into());
        }
        state.session.ok_or_else(|| Code::TERMINAL_NOT_CONNECTED.into())
    }
}

impl Inner {
    /// Loads stored terminals and those of the configuration, starts their tasks, and looks for others.
    pub(crate) fn start_terminals(self: &Arc<Self>) -> Result<(), Failure> {
        let mut records: BTreeMap<CtId, TerminalRecord> = BTreeMap::new();
        for (_, record) in self.store.all::<TerminalRecord>(STORE)? {
            records.insert(record.config.id.clone(), record);
        }
        for config in &self.config.terminals {
            let record = records
                .entry(config.id.clone())
                .or_insert_with(|| TerminalRecord::new(config.clone(), Correlation::Zugewiesen));
            // the address may change, the pairing stays
            record.config = config.clone();
        }
        for record in records.into_values() {
            self.watch(record);
        }
        self.look_for_terminals();
        Ok(())
    }

    /// Enters a terminal and starts its task; one that is there already stays.
    fn watch(self: &Arc<Self>, record: TerminalRecord) {
        let id = record.config.id.clone();
        let state = TerminalState {
            record,
            session: None,
            slots: 0,
            updating: None,
            candidate: None,
            wake: Arc::default(),
        };
        let wake = state.wake.clone();
        let new = self.terminals.with(|list| match list.entry(id.clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(state);
                true
            }
        });
        if new {
            self.spawn(self.clone().supervise(id, wake));
        }
    }

    /// Other terminals than before. `store` stores them, with whatever else changes together with them; nobody changes a
    /// terminal or the information model meanwhile.
    pub(crate) fn replace_terminals(
        self: &Arc<Self>,
        records: Vec<TerminalRecord>,
        store: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let _one = self.terminals.changing();
        store()?;
        let gone = self.terminals.with(std::mem::take);
        for (id, state) in gone {
            state.wake.notify_one();
            self.forget_terminal(&id);
        }
        for record in records {
            self.watch(record);
        }
        Ok(())
    }

    /// What is known of a terminal that is not there any more.
    fn forget_terminal(&self, id: &CtId) {
        self.forget_cards(id);
        for condition in [
            Condition::CardTerminalNotAvailable(id.clone()),
            Condition::CardTerminalCertificateExpiresSoon(id.clone()),
            Condition::CardTerminalSoftwareOutOfDate(id.clone()),
        ] {
            self.state.forget(&condition);
        }
    }

    /// Changes what is stored of a terminal: first on disk, then for everybody, and its task looks again. `mine` tells
    /// the terminal that is meant from a later one of the same id.
    fn change_terminal(
        &self,
        id: &CtId,
        mine: Option<&Arc<Notify>>,
        change: impl FnOnce(&mut TerminalRecord) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let _one = self.terminals.changing();
        let state = match mine {
            Some(mine) => self.terminals.of_task(id, mine),
            None => self.terminals.get(id),
        };
        let mut record = state.ok_or(Code::UNKNOWN_TERMINAL)?.record;
        change(&mut record)?;
        if record.correlation != Correlation::Bekannt {
            self.store.put(STORE, id.as_str(), &record)?;
        }
        let wake = self.terminals.with(|list| {
            let state = list.get_mut(id)?;
            state.record = record;
            Some(state.wake.clone())
        });
        wake.ok_or(Code::UNKNOWN_TERMINAL)?.notify_one();
        Ok(())
    }

    /// Moves a terminal along the ladder, as an administrator may: adopt one that was seen, put a paired one out of use
    /// or into use again, give a pairing up.
    pub fn set_correlation(self: &Arc<Self>, id: &CtId, wanted: Correlation) -> Result<(), Failure> {
        use Correlation::{Aktiv, Bekannt, Gepairt, Zugewiesen};
        let now = self
            .terminals
            .get(id)
            .ok_or(Code::UNKNOWN_TERMINAL)?
            .record
            .correlation;
        match (now, wanted) {
            (Bekannt | Zugewiesen, Zugewiesen) | (Aktiv, Gepairt) | (Gepairt, Aktiv) => {
                self.change_terminal(id, None, |record| {
                    record.correlation = wanted;
                    Ok(())
                })
            }
            (Gepairt | Aktiv, Zugewiesen) => {
                self.change_terminal(id, None, |record| {
                    record.correlation = Zugewiesen;
                    record.certificate = None;
                    Ok(())
                })?;
                Ok(self.store.delete_secret(&secret_id(id))?)
            }
            _ if now == wanted => Ok(()),
            _ => Err(Failure::new(
                Code::TERMINAL_INCONSISTENT,
                format!("a terminal cannot go from {now:?} to {wanted:?}: pair it instead"),
            )),
        }
    }

    /// Removes a terminal with its pairing.
    pub fn remove_terminal(&self, id: &CtId) -> Result<(), Failure> {
        let _one = self.terminals.changing();
        self.store.delete(STORE, id.as_str())?;
        self.forget_terminal_secrets(id)?;
        let gone = self
            .terminals
            .with(|list| list.remove(id))
            .ok_or(Code::UNKNOWN_TERMINAL)?;
        gone.wake.notify_one();
        self.forget_terminal(id);
        Ok(())
    }
}

fn secret_id(id: &CtId) -> String {
    format!("pairing/{id}")
}
