//! A virtual eHealth terminal: SICCT over TLS, four slots with virtual cards, a display, a PIN pad, pairing blocks.
//!
//! It behaves like the real thing on the wire, including what a Konnektor without a valid certificate or without
//! pairing may not do (gemSpec_KT A_22456). A person or a test works it through [`VirtualTerminal`]'s methods, the
//! page ([`page`]) or `langlauf terminal`.

mod commands;
mod firmware;
mod pad;
pub mod page;
mod pairing;
mod serve;

pub use firmware::firmware;
pub use pad::Key;
pub use serve::{Identity, announce, serve};

use crate::wire::{Announcement, Event};
use crate::{Product, Version};
use base::Clock;
use base::id::Mac;
use card::cos::VirtualCard;
use commands::Connection;
use pad::Pad;
use pairing::Blocks;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, watch};

/// Slots of the terminal.
pub const SLOTS: usize = 4;

/// What can sit in a slot: a virtual card, or a real one in a PC/SC reader. Calls may take as long as a card does.
pub trait SlotCard: Send {
    /// Powers the card up or resets it: its ATR, or `None` if it is mute.
    fn reset(&mut self) -> Option<Vec<u8>>;
    /// Sends a command: the answer, or `None` if the contact is lost.
    fn process(&mut self, apdu: &[u8]) -> Option<Vec<u8>>;
}

impl SlotCard for VirtualCard {
    fn reset(&mut self) -> Option<Vec<u8>> {
        Some(VirtualCard::reset(self))
    }

    fn process(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        Some(VirtualCard::process(self, apdu))
    }
}

/// A card that can be put into a slot.
pub type SharedCard = Arc<Mutex<dyn SlotCard>>;

/// Resets a card without holding up others.
async fn reset(card: SharedCard) -> Option<Vec<u8>> {
    on_card(card, |card| card.reset()).await
}

async fn on_card(
    card: SharedCard,
    work: impl FnOnce(&mut dyn SlotCard) -> Option<Vec<u8>> + Send + 'static,
) -> Option<Vec<u8>> {
    let done = tokio::task::spawn_blocking(move || {
        let mut card = card.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut *card)
    });
    done.await.ok().flatten()
}

/// Something that goes wrong, to see what a Konnektor makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Cards answer with something that is no answer.
    CardGarbage,
    /// Cards do not answer at all.
    CardSilence,
    /// Cards give no ATR, as if put in upside down.
    NoAtr,
    /// A card takes a PIN, and its answer is lost.
    PinAnswerLost,
    /// An answer breaks off in the middle, and the connection with it.
    BrokenEnvelope,
    /// The terminal falls silent while a firmware comes.
    FirmwareSilence,
    /// The terminal takes a firmware, and starts again with the old one.
    FirmwareKept,
}

/// A virtual terminal. Cheap to share; all clones are the same terminal.
#[derive(Clone)]
pub struct VirtualTerminal {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    mac: Mac,
    product: Product,
    state: Mutex<State>,
    pad: Pad,
    clock: Arc<dyn Clock>,
    events: broadcast::Sender<Event>,
    network: watch::Sender<bool>,
    card_commands: AtomicU64,
    card_nanoseconds: AtomicU64,
    store: Option<PathBuf>,
}

struct State {
    /// Cards on the table, by name.
    rack: BTreeMap<String, SharedCard>,
    slots: [Slot; SLOTS],
    display: String,
    blocks: Blocks,
    firmware: Version,
    /// Only one Konnektor at a time (TIP1-A_3067).
    connected: bool,
    fault: Option<Fault>,
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
    /// What goes wrong on purpose.
    pub fault: Option<Fault>,
}

impl VirtualTerminal {
    /// A terminal without cards. With `store`, pairing blocks survive in that file.
    pub fn new(name: &str, mac: Mac, clock: Arc<dyn Clock>, store: Option<PathBuf>) -> std::io::Result<Self> {
        let blocks = store
            .as_ref()
            .map(|path| Blocks::load(path))
            .transpose()?
            .unwrap_or_default();
        let firmware = match store.as_deref() {
            Some(path) => base::file::read(&Self::version_file(path))?,
            None => None,
        };
        let firmware = firmware.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok());
        let state = State {
            rack: BTreeMap::new(),
            slots: Default::default(),
            display: String::new(),
            blocks,
            firmware: firmware.unwrap_or(Version(0, 1, 0)),
            connected: false,
            fault: None,
        };
        let shared = Shared {
            name: name.to_owned(),
            mac,
            product: Product {
                vendor: "LANGL".into(),
                model: "KTVIRT".into(),
                interface: Version(1, 0, 0),
                product_type: Version(1, 6, 0),
                firmware: Version(0, 1, 0),
                hardware: Version(1, 0, 0),
            },
            state: Mutex::new(state),
            pad: Pad::new(clock.clone()),
            clock,
            events: broadcast::channel(64).0,
            network: watch::channel(true).0,
            card_commands: AtomicU64::new(0),
            card_nanoseconds: AtomicU64::new(0),
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
        let card = self.state().rack.remove(name).ok_or(CannotDo::NoSuchCard)?;
        self.put(slot, name, card.clone())
            .inspect_err(|_| self.lay_down(name, card))
    }

    /// Puts a card into a slot (from 1).
    pub fn put(&self, slot: u8, name: &str, card: SharedCard) -> Result<(), CannotDo> {
        {
            let mut state = self.state();
            let index = usize::from(slot).checked_sub(1).ok_or(CannotDo::Slot)?;
            let place = state.slots.get_mut(index).ok_or(CannotDo::Slot)?;
            if place.card.is_some() {
                return Err(CannotDo::Occupied);
            }
            *place = Slot {
                card: Some((name.to_owned(), card)),
                powered: false,
            };
        }
        let _ = self.shared.events.send(Event::CardInserted(slot.into()));
        Ok(())
    }

    /// Takes the card out of a slot and lays it on the table.
    pub fn remove(&self, slot: u8) -> Result<(), CannotDo> {
        let (name, card) = self.take_out(slot)?;
        self.state().rack.insert(name, card);
        Ok(())
    }

    /// Takes the card out of a slot and away.
    pub fn take_away(&self, slot: u8) -> Result<(), CannotDo> {
        self.take_out(slot).map(drop)
    }

    fn take_out(&self, slot: u8) -> Result<(String, SharedCard), CannotDo> {
        let taken = {
            let mut state = self.state();
            let index = usize::from(slot).checked_sub(1).ok_or(CannotDo::Slot)?;
            let place = state.slots.get_mut(index).ok_or(CannotDo::Slot)?;
            place.powered = false;
            place.card.take().ok_or(CannotDo::Empty)?
        };
        self.lose_power(&taken.1);
        let _ = self.shared.events.send(Event::CardRemoved(slot.into()));
        Ok(taken)
    }

    /// Presses a key, or types a whole PIN followed by the enter key.
    pub fn press(&self, key: Key) {
        self.shared.pad.press(key);
    }

    /// Pulls the network cable, or puts it back.
    pub fn set_network(&self, up: bool) {
        self.shared.network.send_replace(up);
    }

    /// How many commands have gone to cards so far.
    pub fn card_commands(&self) -> u64 {
        self.shared.card_commands.load(Ordering::Relaxed)
    }

    /// How long cards have worked on commands so far.
    pub fn card_time(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.shared.card_nanoseconds.load(Ordering::Relaxed))
    }

    /// Lets something go wrong from now on, or nothing.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    fn has_fault(&self, fault: Fault) -> bool {
        self.state().fault == Some(fault)
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
            fault: state.fault,
        }
    }

    /// Waits until somebody is asked to type or confirm something.
    pub async fn wait_for_prompt(&self) -> String {
        self.shared.pad.wait_for_prompt().await
    }

    fn power_down_all(&self) {
        let cards: Vec<SharedCard> = {
            let mut state = self.state();
            state.slots.iter_mut().for_each(|slot| slot.powered = false);
            let inside = state.slots.iter().filter_map(|slot| slot.card.as_ref());
            inside.map(|(_, card)| card.clone()).collect()
        };
        cards.iter().for_each(|card| self.lose_power(card));
    }

    /// A card without power forgets its security states; one that is busy does so when it is done, and one that has got power
    /// again meanwhile was reset by that.
    fn lose_power(&self, card: &SharedCard) {
        let (terminal, card) = (self.clone(), card.clone());
        let reset = move || {
            let mut content = card.lock().unwrap_or_else(PoisonError::into_inner);
            let state = terminal.state();
            let is_this = |(_, other): &(String, SharedCard)| Arc::ptr_eq(other, &card);
            let powered = state
                .slots
                .iter()
                .find(|slot| slot.card.as_ref().is_some_and(is_this));
            let powered = powered.is_some_and(|slot| slot.powered);
            drop(state);
            if !powered {
                content.reset();
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(reset)),
            Err(_) => reset(),
        }
    }
}
