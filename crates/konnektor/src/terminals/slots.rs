use crate::cards::Card;
use crate::events::Event;
use crate::{Failure, Inner};
use base::id::{CtId, SlotId};
use card::{CardKind, Inspection};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use terminal::command::sw;
use terminal::{Session, SlotChannel, SlotState, TerminalError};

impl Inner {
    pub(super) fn spawn_open_card(self: &Arc<Self>, id: &CtId, slot: SlotId, session: &Arc<Session>) {
        let (inner, id, session) = (self.clone(), id.clone(), session.clone());
        self.spawn(async move {
            match inner.open_card(&id, slot, session).await {
                Ok(card) => {
                    inner.auto_update(&card);
                    inner.unlock(&card).await;
                }
                Err(failure) => {
                    inner.terminals.slot(&id, slot).take_turn(inner.clock.elapsed());
                    tracing::warn!(terminal = %id, %slot, code = failure.code().number(), detail = failure.detail(), "card not opened");
                }
            }
        });
    }

    /// Opens cards that the terminal has and we have not: all of them at first, later those whose opening failed, and from time
    /// to time those that could not be read.
    pub(super) fn open_missed(self: &Arc<Self>, id: &CtId, slots: &[SlotState], session: &Arc<Session>) {
        for (index, state) in slots.iter().enumerate() {
            let Some(slot) = u16::try_from(index + 1).ok().and_then(slot_of) else {
                continue;
            };
            let work = self.terminals.slot(id, slot);
            let missed = match self.cards.in_slot(id, slot) {
                None => work.is_turn(self.clock.elapsed()),
                Some(card) => card.found.kind == CardKind::Unknown && work.is_turn(self.clock.elapsed()),
            };
            if *state != SlotState::Empty && missed && work.opening.try_lock().is_ok() {
                self.spawn_open_card(id, slot, session);
            }
        }
    }

    /// TUC_KON_001: powers a card up, recognises it, gives it a handle and tells subscribers. A card that cannot be read
    /// is of type UNKNOWN: it can still be ejected.
    pub(crate) async fn open_card(
        &self,
        id: &CtId,
        slot: SlotId,
        session: Arc<Session>,
    ) -> Result<Arc<Card>, Failure> {
        let limit = Duration::from_secs(self.config.card_timeout_seconds);
        // the terminal's event, its list of slots and RequestCard may all tell of the same card
        let work = self.terminals.slot(id, slot);
        let _one = work.opening.lock().await;
        let mut unread = None;
        if let Some(card) = self.cards.in_slot(id, slot) {
            let states = session.slots(limit).await?;
            let index = usize::from(slot.number()).saturating_sub(1);
            let powered = states.get(index) == Some(&SlotState::Powered);
            // one that gives no ATR never gets power: nobody is told of it again and again
            match card.found.kind == CardKind::Unknown {
                true if work.take_turn(self.clock.elapsed()) => unread = Some(card),
                true => return Ok(card),
                // another card would have no power yet
                false if powered => return Ok(card),
                false => self.card_removed(id, slot),
            }
        }
        let mut departures = work.departures.load(Ordering::Relaxed);
        let channel = SlotChannel::new(session, slot, limit);
        let found = match channel.power_up().await {
            Ok(()) => card::inspect(&channel).await?,
            Err(TerminalError::Refused {
                word: sw::NO_CARD, ..
            }) => return Err(base::Code::CARD_NOT_INSERTED.into()),
            Err(error @ TerminalError::Connection(_)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(terminal = %id, %slot, %error, "card gives no ATR");
                Inspection::unknown()
            }
        };
        if let Some(card) = unread {
            if found.kind == CardKind::Unknown {
                return Ok(card);
            }
            // it had only been silent: to everybody it is another card now
            self.card_removed(id, slot);
            departures += 1;
        }
        let card = Arc::new(Card::new(id.clone(), slot, self.clock.now(), found, channel)?);
        self.cards.insert(card.clone());
        // asked when it is in the list: whoever sees it leave from now on finds it there
        let current = self.terminals.get(id).and_then(|state| state.session);
        let connected = current.is_some_and(|current| Arc::ptr_eq(&current, card.channel.session()));
        if !connected || work.departures.load(Ordering::Relaxed) != departures {
            self.cards.remove(id, slot);
            return Err(base::Code::CARD_NOT_INSERTED.into());
        }
        self.card_event("CARD/INSERTED", &card);
        Ok(card)
    }

    pub(super) fn card_event(&self, topic: &str, card: &Card) {
        let (cos, system) = (card.found.cos, card.found.object_system);
        let mut parameters = vec![
            ("CardHandle", card.handle.to_string()),
            ("CardType", card.found.kind.to_string()),
            (
                "CardVersion",
                format!(
                    "COS {}.{}.{}, ObjectSystem {}.{}.{}",
                    cos.0, cos.1, cos.2, system.0, system.1, system.2
                ),
            ),
            ("CtID", card.ct_id.to_string()),
            ("SlotID", card.slot.to_string()),
            ("InsertTime", card.inserted.to_string()),
        ];
        let iccsn = card.found.iccsn.as_ref();
        parameters.extend(iccsn.map(|iccsn| ("ICCSN", iccsn.to_string())));
        parameters.extend(card.found.holder().map(|name| ("CardHolderName", name)));
        parameters.extend(card.found.kvnr().map(|kvnr| ("KVNR", kvnr)));
        if topic == "CARD/INSERTED" {
            parameters.extend(card.expires().map(|date| ("CertExpirationDate", date)));
        }
        self.raise(Event::about_card(topic, card, parameters));
    }

    /// A card was pulled.
    pub(super) fn card_removed(&self, id: &CtId, slot: SlotId) {
        self.terminals.departed(id, Some(slot));
        if let Some(card) = self.cards.remove(id, slot) {
            self.card_event("CARD/REMOVED", &card);
        }
    }

    pub(super) fn forget_cards(&self, id: &CtId) {
        self.terminals.departed(id, None);
        for card in self.cards.remove_terminal(id) {
            self.card_event("CARD/REMOVED", &card);
        }
    }
}

pub(super) fn slot_of(unit: u16) -> Option<SlotId> {
    u8::try_from(unit)
        .ok()
        .and_then(|number| SlotId::new(number).ok())
}
