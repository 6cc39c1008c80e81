//! A virtual eHealth terminal: SICCT over TLS, four slots with virtual cards, a display, a PIN pad, pairing blocks.
//!
//! It behaves like the real thing on the wire, including what a Konnektor without a valid certificate or without
//! pairing may not do (gemSpec_KT A_22456). A person or a test works it through [`VirtualTerminal`]'s methods, the
//! page ([`page`]) or `langlauf terminal`.

mod commands;
mod pad;
pub mod page;
mod pairing;
mod serve;

pub use pad::Key;
pub use serve::{Identity, serve};

use crate::wire::{Announcement, Event};
use base::Clock;
use base::id::Mac;
use card::cos::VirtualCard;
use pad::Pad;
use pairing::Blocks;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, watch};

/// Slots of the terminal.
pub const SLOTS: usize = 4;

/// A card that can be put into a slot.
pub type SharedCard = Arc<Mutex<VirtualCard>>;

/// A virtual terminal. Cheap to share; all clones are the same terminal.
#[derive(Clone)]
pub struct VirtualTerminal {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    mac: Mac,
    state: Mutex<State>,
    pad: Pad,
    clock: Arc<dyn Clock>,
    events: broadcast::Sender<Event>,
    network: watch::Sender<bool>,
    store: Option<PathBuf>,
}

struct State {
    /// Cards on the table, by name.
    rack: BTreeMap<String, SharedCard>,
    slots: [Slot; SLOTS],
    display: String,
    blocks: Blocks,
    /// Only one Konnektor at a time (TIP1-A_3067).
    connected: bool,
}

#[derive(Default)]
struct Slot {
    card: Option<(String, SharedCard)>,
    powered: bool,
}

/// Why a person's action is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotDo {
    /// No such slot.
    #[error("slot must be 1 to {SLOTS}")]
    Slot,
    /// The slot is taken.
    #[error("there is a card in this slot")]
    Occupied,
    /// The slot is empty.
    #[error("there is no card in this slot")]
    Empty,
    /// The card is not on the table.
    #[error("no card of this name on the table")]
    NoSuchCard,
}

/// What one can see of the terminal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Appearance {
    /// Host name.
    pub name: String,
    /// MAC address.
    pub mac: String,
    /// Text on the display; line breaks as such.
    pub display: String,
    /// Is somebody asked to type?
    pub waiting_for: Option<String>,
    /// Stars for digits typed so far.
    pub typed: usize,
    /// Names of the cards in the slots.
    pub slots: Vec<Option<String>>,
    /// Cards on the table.
    pub table: Vec<String>,
    /// Is a Konnektor connected?
    pub connected: bool,
    /// Is the network cable in?
    pub network: bool,
    /// Number of pairing blocks in use.
    pub pairings: usize,
}

impl VirtualTerminal {
    /// A terminal without cards. With `store`, pairing blocks survive in that file.
    pub fn new(name: &str, mac: Mac, clock: Arc<dyn Clock>, store: Option<PathBuf>) -> std::io::Result<Self> {
        let blocks = store
            .as_ref()
            .map(|path| Blocks::load(path))
            .transpose()?
            .unwrap_or_default();
        let state = State {
            rack: BTreeMap::new(),
            slots: Default::default(),
            display: String::new(),
            blocks,
            connected: false,
        };
        let shared = Shared {
            name: name.to_owned(),
            mac,
            state: Mutex::new(state),
            pad: Pad::new(clock.clone()),
            clock,
            events: broadcast::channel(64).0,
            network: watch::channel(true).0,
            store,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Host name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How it announces itself on this port.
    pub fn announcement(&self, address: Ipv4Addr, port: u16) -> Announcement {
        Announcement {
            version: (1, 0x1E),
            address,
            mac: self.shared.mac,
            name: self.shared.name.clone(),
            port,
        }
    }

    /// Puts a card on the table.
    pub fn lay_down(&self, name: &str, card: SharedCard) {
        self.state().rack.insert(name.to_owned(), card);
    }

    /// Puts a card from the table into a slot (from 1).
    pub fn insert(&self, slot: u8, name: &str) -> Result<(), CannotDo> {
        let mut state = self.state();
        let index = usize::from(slot)
            .checked_sub(1)
            .filter(|index| *index < SLOTS)
            .ok_or(CannotDo::Slot)?;
        let free = state.slots.get(index).is_some_and(|slot| slot.card.is_none());
        if !free {
            return Err(CannotDo::Occupied);
        }
        let card = state.rack.remove(name).ok_or(CannotDo::NoSuchCard)?;
        if let Some(place) = state.slots.get_mut(index) {
            *place = Slot {
                card: Some((name.to_owned(), card)),
                powered: false,
            };
        }
        drop(state);
        let _ = self.shared.events.send(Event::CardInserted(slot.into()));
        Ok(())
    }

    /// Takes the card out of a slot and lays it on the table.
    pub fn remove(&self, slot: u8) -> Result<(), CannotDo> {
        let mut state = self.state();
        let index = usize::from(slot)
            .checked_sub(1)
            .filter(|index| *index < SLOTS)
            .ok_or(CannotDo::Slot)?;
        let (name, card) = state
            .slots
            .get_mut(index)
            .and_then(|slot| slot.card.take())
            .ok_or(CannotDo::Empty)?;
        card.lock().unwrap_or_else(PoisonError::into_inner).reset();
        state.rack.insert(name, card);
        drop(state);
        let _ = self.shared.events.send(Event::CardRemoved(slot.into()));
        Ok(())
    }

    /// Presses a key, or types a whole PIN followed by the enter key.
    pub fn press(&self, key: Key) {
        self.shared.pad.press(key);
    }

    /// Pulls the network cable, or puts it back.
    pub fn set_network(&self, up: bool) {
        self.shared.network.send_replace(up);
    }

    /// What one can see now.
    pub fn appearance(&self) -> Appearance {
        let prompt = self.shared.pad.prompt();
        let state = self.state();
        let display = prompt.clone().unwrap_or_else(|| state.display.clone());
        Appearance {
            name: self.shared.name.clone(),
            mac: self.shared.mac.to_string(),
            display: display.replace(['\u{0B}', '\u{0F}'], "\n"),
            waiting_for: prompt.map(|text| text.replace(['\u{0B}', '\u{0F}'], " ")),
            typed: self.shared.pad.typed(),
            slots: state
                .slots
                .iter()
                .map(|slot| slot.card.as_ref().map(|(name, _)| name.clone()))
                .collect(),
            table: state.rack.keys().cloned().collect(),
            connected: state.connected,
            network: *self.shared.network.borrow(),
            pairings: state.blocks.len(),
        }
    }

    /// Waits until somebody is asked to type or confirm something.
    pub async fn wait_for_prompt(&self) -> String {
        self.shared.pad.wait_for_prompt().await
    }

    fn power_down_all(&self) {
        let mut state = self.state();
        for slot in &mut state.slots {
            slot.powered = false;
            if let Some((_, card)) = &slot.card {
                card.lock().unwrap_or_else(PoisonError::into_inner).reset();
            }
        }
    }
}
