//! Cards in the PC/SC readers of this machine as slots 1 to 3 of a virtual terminal: any Konnektor can then read real test
//! cards in a cheap USB reader. Development only: PINs are typed at the virtual terminal, and nothing here is an approved
//! eHealth terminal; the terminal says so in its product data.

use crate::simulator::{SlotCard, VirtualTerminal};
use pcsc::{Card, Context, Disposition, Protocols, ReaderState, Scope, ShareMode, State};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Slots for readers; the fourth holds the gSMC-KT.
const SLOTS: std::ops::RangeInclusive<u8> = 1..=3;
/// Largest answer: extended APDUs.
const ANSWER: usize = 65_538;

/// How soon the watcher notices that nobody wants it any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Readers are watched as long as this lives.
pub struct Attached {
    stop: Arc<AtomicBool>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Watches the readers of this machine and puts their cards into the terminal's slots.
pub fn attach(terminal: VirtualTerminal) -> Result<Attached, pcsc::Error> {
    let context = Context::establish(Scope::User)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut watch = Watch {
        context,
        terminal,
        slots: BTreeMap::new(),
        stop: stop.clone(),
    };
    std::thread::spawn(move || {
        while let Err(error) = watch.run() {
            tracing::warn!(%error, "PC/SC readers: trying again");
            watch.start_again();
        }
    });
    Ok(Attached { stop })
}

/// A reader in a slot, with what is known of it.
struct Reader {
    name: CString,
    known: State,
    inserted: bool,
}

struct Watch {
    context: Context,
    terminal: VirtualTerminal,
    slots: BTreeMap<u8, Reader>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Until it is told to stop.
    fn run(&mut self) -> Result<(), pcsc::Error> {
        let mut plugs = State::UNAWARE;
        while !self.stop.load(Ordering::Acquire) {
            self.find_readers()?;
            let slots: Vec<u8> = self.slots.keys().copied().collect();
            let mut states = vec![ReaderState::new(pcsc::PNP_NOTIFICATION(), plugs)];
            let readers = self.slots.values();
            states.extend(readers.map(|reader| ReaderState::new(reader.name.as_c_str(), reader.known)));
            match self.context.get_status_change(PATIENCE, &mut states) {
                Err(pcsc::Error::Timeout) => continue,
                outcome => outcome?,
            }
            let mut seen = states.iter().map(ReaderState::event_state);
            // bit 0 says "changed", which is no state to compare with
            plugs = seen.next().unwrap_or(State::UNAWARE) - State::CHANGED;
            for (slot, state) in slots.into_iter().zip(seen) {
                self.changed(slot, state - State::CHANGED);
            }
        }
        Ok(())
    }

    /// The service was restarted, or a reader went while it was looked at: everything anew.
    fn start_again(&mut self) {
        for (slot, reader) in std::mem::take(&mut self.slots) {
            if reader.inserted {
                let _ = self.terminal.take_away(slot);
            }
        }
        std::thread::park_timeout(PATIENCE);
        if let Ok(context) = Context::establish(Scope::User) {
            self.context = context;
        }
    }

    /// Gives new readers a slot, and takes it from those that are gone.
    fn find_readers(&mut self) -> Result<(), pcsc::Error> {
        let present = match self.context.list_readers_owned() {
            Ok(list) => list,
            Err(pcsc::Error::NoReadersAvailable) => Vec::new(),
            Err(error) => return Err(error),
        };
        let gone: Vec<u8> = self
            .slots
            .iter()
            .filter(|(_, reader)| !present.contains(&reader.name))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in gone {
            if self.slots.remove(&slot).is_some_and(|reader| reader.inserted) {
                let _ = self.terminal.take_away(slot);
            }
        }
        for name in present {
            let known = self.slots.values().any(|reader| reader.name == name);
            let free = SLOTS.into_iter().find(|slot| !self.slots.contains_key(slot));
            if let (false, Some(slot)) = (known, free) {
                tracing::info!(reader = %name.to_string_lossy(), slot, "PC/SC reader");
                let reader = Reader {
                    name,
                    known: State::UNAWARE,
                    inserted: false,
                };
                self.slots.insert(slot, reader);
            }
        }
        Ok(())
    }

    fn changed(&mut self, slot: u8, state: State) {
        let Some(reader) = self.slots.get_mut(&slot) else {
            return;
        };
        reader.known = state;
        let present = state.contains(State::PRESENT) && !state.contains(State::MUTE);
        if present == reader.inserted {
            return;
        }
        let outcome = if present {
            let name = reader.name.to_string_lossy().into_owned();
            match RealCard::connect(&self.context, &reader.name) {
                Ok(card) => self.terminal.put(slot, &name, Arc::new(Mutex::new(card))),
                Err(error) => {
                    tracing::warn!(reader = name, %error, "card in a PC/SC reader");
                    // somebody else may use it now: asked again at the next look
                    reader.known = State::UNAWARE;
                    std::thread::park_timeout(PATIENCE);
                    return;
                }
            }
        } else {
            self.terminal.take_away(slot)
        };
        match outcome {
            Ok(()) => reader.inserted = present,
            Err(error) => tracing::warn!(slot, %error, "card in a PC/SC reader"),
        }
    }
}

/// A card in a reader, for us alone: other programs of the machine would disturb its security states.
struct RealCard {
    card: Card,
    answer: Vec<u8>,
}

impl RealCard {
    fn connect(context: &Context, reader: &CStr) -> Result<Self, pcsc::Error> {
        Ok(Self {
            card: context.connect(reader, ShareMode::Exclusive, Protocols::ANY)?,
            answer: vec![0; ANSWER],
        })
    }
}

impl SlotCard for RealCard {
    fn reset(&mut self) -> Option<Vec<u8>> {
        self.card
            .reconnect(ShareMode::Exclusive, Protocols::ANY, Disposition::ResetCard)
            .ok()?;
        // not every driver gives the ATR as an attribute
        Some(self.card.status2_owned().ok()?.atr().to_vec())
    }

    fn process(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        self.card
            .transmit(apdu, &mut self.answer)
            .ok()
            .map(<[u8]>::to_vec)
    }
}
