//! SM-B that open by themselves: an administrator stores the PIN, sealed, and the Konnektor verifies it after every restart,
//! reconnect and insertion. Off by default, for the PIN then lies in the practice and not in a head. A stored PIN that a
//! card refuses once is forgotten, and the last try always stays with a person.

use crate::cards::Card;
use crate::events::Event;
use crate::state::Function;
use crate::{Failure, Inner};
use ::card::image::PinBlock;
use ::card::pin::{PinOutcome, PinRef, PinStatus};
use ::card::{CardKind, Channel, Command};
use base::id::{Iccsn, MandantId};
use base::{Code, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use terminal::command::PinTemplate;
use terminal::texts;
use zeroize::Zeroizing;

/// How far a stored PIN got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlock {
    /// Stored; the card was not there or was open already, or a fatal state bars PINs: then it is tried when that ends.
    Waiting,
    /// The card was opened with it.
    Opened,
    /// One try is left, or the PIN cannot be verified at all (transport PIN, blocked): a person must type it.
    HeldBack,
    /// The card or its terminal did not take the command.
    NotTaken,
    /// Wrong; it was forgotten.
    Wrong,
    /// The PIN was changed at the terminal; the stored one was forgotten.
    Changed,
}

/// What is known of a stored PIN, or of one that was forgotten by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnlockEntry {
    /// How far it got.
    pub state: Unlock,
    /// Since when.
    pub since: Timestamp,
    /// Tries the card had when the PIN was sent to it and no answer had come yet. If it has fewer later, that was wrong.
    #[serde(default)]
    pub sent_at: Option<u8>,
}

const STORE: &str = "smb-unlock";
/// How long a card that somebody uses is waited for.
const RESERVE: std::time::Duration = std::time::Duration::from_secs(10);
/// Fewer tries than these, and a person must type.
const FEWEST_TRIES: u8 = 2;

fn secret_id(iccsn: &Iccsn) -> String {
    format!("smb-pin/{iccsn}")
}

/// The PIN that was refused last, or that was changed: one in a file can only be remembered as wrong, not deleted.
fn refused_id(iccsn: &Iccsn) -> String {
    format!("smb-refused/{iccsn}")
}

fn pin_smc() -> Result<PinRef, Failure> {
    PinRef::find(CardKind::SmcB, "PIN.SMC").ok_or_else(|| Code::INTERNAL.into())
}

/// PIN.SMC has six to eight digits.
fn is_pin(text: &str) -> bool {
    (6..=8).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit())
}

impl Inner {
    /// Stores the PIN of an SM-B and opens the card with it, if it is inserted. Six to eight digits; the SM-B must be
    /// managed by a Mandant (4009).
    pub async fn store_smb_pin(&self, iccsn: &Iccsn, pin: Zeroizing<String>) -> Result<Unlock, Failure> {
        if !self.config.smb_unlock {
            let off = "smb_unlock is off in the configuration";
            return Err(Failure::new(Code::NOT_PERMITTED, off));
        }
        if !is_pin(&pin) {
            return Err(Failure::new(Code::SYNTAX, "a PIN.SMC has six to eight digits"));
        }
        self.managers(iccsn)?;
        let block = PinBlock::from_digits(&pin).ok_or(Code::INTERNAL)?;
        let keep = || {
            self.store.put_secret(&secret_id(iccsn), block.as_bytes())?;
            crate::admin::audit(self, "PIN of an SM-B stored");
            self.note(iccsn, Unlock::Waiting, None)
        };
        let cards = self.cards.all();
        match cards.iter().find(|card| card.found.iccsn.as_ref() == Some(iccsn)) {
            Some(card) => {
                // nobody changes the PIN on the card meanwhile
                let _guard = card.reserve().await?;
                keep()?;
                self.open_reserved(card, iccsn, false).await
            }
            None => keep().map(|()| Unlock::Waiting),
        }
    }

    /// Forgets the PIN of an SM-B; absence is no error.
    pub fn forget_smb_pin(&self, iccsn: &Iccsn) -> Result<(), Failure> {
        self.store.delete_secret(&secret_id(iccsn))?;
        self.store.delete_secret(&refused_id(iccsn))?;
        self.store.delete(STORE, &iccsn.to_string())?;
        Ok(())
    }

    /// The PIN to try: one that an administrator has stored, else one in the folder of credentials that systemd fills
    /// (`LoadCredentialEncrypted=smb-pin.<ICCSN>`), unless that was refused before.
    fn pin_to_try(&self, iccsn: &Iccsn) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        if let Some(block) = self.store.secret(&secret_id(iccsn))? {
            return Ok(Some(block));
        }
        let named = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let Some(folder) = self.config.smb_pin_folder.clone().or(named) else {
            return Ok(None);
        };
        let text = match std::fs::read_to_string(folder.join(format!("smb-pin.{iccsn}"))) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::new(Code::INTERNAL, format!("file of a PIN: {error}"))),
        };
        let pin = text.trim();
        if !is_pin(pin) {
            return Err(Failure::new(
                Code::SYNTAX,
                "the file of a PIN must have six to eight digits",
            ));
        }
        let block = PinBlock::from_digits(pin).ok_or(Code::INTERNAL)?;
        let refused = self.store.secret(&refused_id(iccsn))?;
        let wrong = refused.is_some_and(|refused| refused[..] == block.as_bytes()[..]);
        Ok((!wrong).then(|| Zeroizing::new(block.as_bytes().to_vec())))
    }

    /// All stored PINs, without the PINs.
    pub fn smb_pins(&self) -> Result<Vec<(String, UnlockEntry)>, Failure> {
        Ok(self.store.all(STORE)?)
    }

    fn note(&self, iccsn: &Iccsn, state: Unlock, sent_at: Option<u8>) -> Result<(), Failure> {
        let since = self.clock.now();
        let entry = UnlockEntry {
            state,
            since,
            sent_at,
        };
        Ok(self.store.put(STORE, &iccsn.to_string(), &entry)?)
    }

    /// The Mandants in whose name the card is opened.
    fn managers(&self, iccsn: &Iccsn) -> Result<Vec<MandantId>, Failure> {
        let model = self.model();
        let managers: Vec<_> = model.managers(iccsn).map(|one| one.id.clone()).collect();
        if managers.is_empty() {
            return Err(Code::SMB_NOT_MANAGED.into());
        }
        Ok(managers)
    }

    /// A card was inserted, or is there again.
    pub(crate) async fn unlock(&self, card: &Card) {
        let Some(iccsn) = card.found.iccsn.as_ref().filter(|_| self.config.smb_unlock) else {
            return;
        };
        if card.found.kind != CardKind::SmcB {
            return;
        }
        if matches!(self.pin_to_try(iccsn), Ok(None)) {
            return;
        }
        // somebody may be typing at it for minutes; it is looked at again
        let outcome = match self.clock.timeout(RESERVE, card.reserve()).await {
            Some(Ok(_guard)) => self.open_reserved(card, iccsn, false).await,
            Some(Err(failure)) => Err(failure),
            None => Err(Code::RESOURCE_BUSY.into()),
        };
        if let Err(failure) = outcome {
            tracing::warn!(
                code = failure.code().number(),
                detail = failure.detail(),
                "SM-B not opened by itself"
            );
        }
    }

    /// Those that are closed though a PIN is stored: a fatal state has barred it, the terminal was silent at the wrong moment, or
    /// the card has lost it. What a person must look at first is left alone.
    pub(crate) async fn unlock_closed(&self) {
        let barred = |function| self.state.permit(function).is_err();
        if !self.config.smb_unlock || barred(Function::Pin) || barred(Function::OpenSession) {
            return;
        }
        for card in self.cards.all() {
            let noted = match &card.found.iccsn {
                Some(iccsn) => self.store.get::<UnlockEntry>(STORE, &iccsn.to_string()),
                None => continue,
            };
            let again = noted
                .ok()
                .flatten()
                .is_none_or(|entry| matches!(entry.state, Unlock::Waiting | Unlock::Opened));
            if again && !card.is_open("PIN.SMC") {
                self.unlock(&card).await;
            }
        }
    }

    /// Opens an SM-B on the way back from EC_NK_Certificate_Expired, which bars every other PIN: with the stored PIN, else
    /// with one that is typed at the card's terminal if somebody is `there`.
    pub(crate) async fn open_for_recovery(&self, card: &Card, there: bool) -> Result<(), Failure> {
        let iccsn = card.found.iccsn.as_ref().ok_or(Code::CARD_ERROR)?;
        let managers = self.managers(iccsn)?;
        if self.config.smb_unlock {
            let guard = card.reserve().await?;
            match self.open_reserved(card, iccsn, true).await {
                Ok(Unlock::Opened) => return Ok(()),
                Ok(_) => {}
                // whatever is wrong with the stored one, a person can still type it
                Err(failure) => tracing::warn!(detail = failure.detail(), "stored PIN"),
            }
            drop(guard);
        }
        if !there {
            let nobody = "geschlossen; mit pin wird am Kartenterminal nach der PIN gefragt";
            return Err(Failure::new(Code::SMCB_NOT_VERIFIED, nobody));
        }
        let pin_ref = pin_smc()?;
        let session = self.terminals.connected(&card.ct_id)?;
        let _pad = session.reserve_pad().ok_or(Code::RESOURCE_BUSY)?;
        let _guard = card.reserve().await?;
        let status = card.pin_status(pin_ref).await?;
        self.settle_unlock(card, status)?;
        match status {
            PinStatus::Blocked => return Err(Code::PIN_BLOCKED.into()),
            PinStatus::TransportPin | PinStatus::EmptyPin => return Err(Code::TRANSPORT_PIN.into()),
            _ => {}
        }
        let texts = texts::texts(
            texts::Task::Verify,
            pin_ref.kind,
            pin_ref.name,
            card.slot.number(),
        );
        let command = PinTemplate::verify(pin_ref.reference).command(card.slot, &texts);
        let word = session.send(0, &command, crate::service::PIN_ENTRY).await?.sw;
        match PinOutcome::from_word(word) {
            PinOutcome::Ok => {
                for mandant in &managers {
                    card.set_verified_for(mandant, pin_ref.name);
                }
                Ok(())
            }
            PinOutcome::Rejected(tries) => Err(Failure::new(
                Code::PIN_WRONG,
                format!("PIN falsch, noch {tries} Versuche"),
            )),
            _ => Err(Failure::new(Code::PIN_TIMEOUT, format!("keine PIN: {word:04X}"))),
        }
        .inspect_err(|_| card.forget_verified(pin_ref.name))
    }

    /// For a card the caller has reserved. A fatal state bars it, but not on the way back from one.
    async fn open_reserved(&self, card: &Card, iccsn: &Iccsn, recovering: bool) -> Result<Unlock, Failure> {
        let pin_ref = pin_smc()?;
        self.managers(iccsn)?;
        // a card that was put in again is another `Card` with another reservation
        let _one = self.unlocking.lock().await;
        let Some(block) = self.pin_to_try(iccsn)? else {
            return Ok(Unlock::Waiting);
        };
        let sent_at = self
            .store
            .get::<UnlockEntry>(STORE, &iccsn.to_string())?
            .and_then(|entry| entry.sent_at);
        // a stored PIN may do no more than a typed one
        let barred = [Function::Pin, Function::OpenSession]
            .into_iter()
            .find_map(|function| self.state.permit(function).err())
            .filter(|_| !recovering);
        if let Some(failure) = barred {
            self.note(iccsn, Unlock::Waiting, sent_at)?;
            return Err(failure);
        }
        let status = card.pin_status(pin_ref).await?;
        let state = match status {
            // the answer was lost on the way, and nobody has typed since
            PinStatus::Verified if sent_at.is_some() => Unlock::Opened,
            // somebody was faster; whether the stored one is right is not known
            PinStatus::Verified => return Ok(Unlock::Waiting),
            PinStatus::Verifiable(tries) if sent_at.is_some_and(|before| tries < before) => Unlock::Wrong,
            PinStatus::Verifiable(tries) if tries >= FEWEST_TRIES => {
                let current = self.cards.in_slot(&card.ct_id, card.slot);
                if current.is_none_or(|current| current.handle != card.handle) {
                    return Err(Code::CARD_NOT_INSERTED.into());
                }
                self.note(iccsn, Unlock::Waiting, Some(tries))?;
                let command = Command::new(0x00, 0x20, 0x00, pin_ref.reference).data(block.to_vec());
                match PinOutcome::from_word(card.channel.transmit(&command).await?.sw) {
                    PinOutcome::Ok => Unlock::Opened,
                    PinOutcome::Rejected(_) | PinOutcome::NowBlocked => Unlock::Wrong,
                    _ => Unlock::NotTaken,
                }
            }
            _ => Unlock::HeldBack,
        };
        // an unclear answer may have cost a try: the next look at the card tells
        let unclear = match (state, status) {
            (Unlock::NotTaken, PinStatus::Verifiable(tries)) => Some(tries),
            _ => None,
        };
        self.conclude(card, iccsn, &block, state, unclear)?;
        Ok(state)
    }

    /// What a stored PIN came to, for everybody who must know.
    fn conclude(
        &self,
        card: &Card,
        iccsn: &Iccsn,
        block: &[u8],
        state: Unlock,
        sent_at: Option<u8>,
    ) -> Result<(), Failure> {
        match state {
            Unlock::Opened => {
                for mandant in &self.managers(iccsn)? {
                    card.set_verified_for(mandant, pin_smc()?.name);
                }
                // a registration may wait for its signature
                self.look_again.notify_one();
            }
            // first of all: a wrong PIN is never sent twice
            Unlock::Wrong => {
                self.store.put_secret(&refused_id(iccsn), block)?;
                self.store.delete_secret(&secret_id(iccsn))?;
            }
            _ => {}
        }
        self.note(iccsn, state, sent_at)?;
        self.unlock_event(card, state);
        Ok(())
    }

    /// Somebody is going to type a PIN at the card, whose state is `status`: after that nobody can tell any more what became of a
    /// stored one that was sent without an answer, so it is told now.
    pub(crate) fn settle_unlock(&self, card: &Card, status: PinStatus) -> Result<(), Failure> {
        let Some(iccsn) = &card.found.iccsn else {
            return Ok(());
        };
        if card.found.kind != CardKind::SmcB {
            return Ok(());
        }
        let known = self.store.get::<UnlockEntry>(STORE, &iccsn.to_string())?;
        let Some((entry, sent_at)) = known.and_then(|entry| Some((entry.clone(), entry.sent_at?))) else {
            return Ok(());
        };
        let state = match status {
            PinStatus::Verified => Unlock::Opened,
            PinStatus::Blocked => Unlock::Wrong,
            PinStatus::Verifiable(tries) if tries < sent_at => Unlock::Wrong,
            // it never reached the card
            _ => return self.note(iccsn, entry.state, None),
        };
        match self.pin_to_try(iccsn)? {
            Some(block) => self.conclude(card, iccsn, &block, state, None),
            None => self.note(iccsn, entry.state, None),
        }
    }

    /// The PIN of a card was changed: a stored one is wrong from now on.
    pub(crate) fn smb_pin_changed(&self, card: &Card) {
        let Some(iccsn) = &card.found.iccsn else {
            return;
        };
        let forget = || {
            if let Some(block) = self.pin_to_try(iccsn)? {
                self.store.put_secret(&refused_id(iccsn), &block)?;
                self.store.delete_secret(&secret_id(iccsn))?;
                self.note(iccsn, Unlock::Changed, None)?;
                self.unlock_event(card, Unlock::Changed);
            }
            Ok::<(), Failure>(())
        };
        // the change itself has succeeded; at worst the old PIN costs one try
        if let Err(failure) = forget() {
            tracing::warn!(detail = failure.detail(), "stored PIN of an SM-B not forgotten");
        }
    }

    fn unlock_event(&self, card: &Card, state: Unlock) {
        let severity = match state {
            Unlock::Opened | Unlock::Waiting => Severity::Info,
            _ => Severity::Warning,
        };
        let result = serde_json::to_value(state).ok();
        let result = result.as_ref().and_then(|name| name.as_str()).unwrap_or_default();
        let parameters = vec![
            ("CtID", card.ct_id.to_string()),
            ("SlotID", card.slot.to_string()),
            ("Result", result.to_owned()),
        ];
        self.raise(Event {
            severity,
            ..Event::about_card("CARD/SELF_UNLOCK", card, parameters)
        });
    }
}
