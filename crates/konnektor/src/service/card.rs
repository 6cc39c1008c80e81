//! CardService: PINs, typed at the terminal and nowhere else (gemSpec_Kon 4.1.5, TUC_KON_012, 019, 021, 022, 027).

use super::Call;
use crate::Failure;
use crate::cards::Card;
use crate::events::Event;
use crate::model::Caller;
use crate::state::Function;
use base::Code;
use base::id::CtId;
use card::c2c::C2cError;
use card::pin::{PinOutcome, PinRef, PinStatus};
use card::{CardKind, SecurityModule, TrustedChannel, UserCard};
use soap::{CardRequest, PinAnswer, PinRequest, Status};
use std::sync::Arc;
use std::time::Duration;
use terminal::Session;
use terminal::command::{PinTemplate, sw};
use terminal::texts::{self, Task};

/// Three entries of at most thirty seconds a key, and the card.
pub(crate) const ENTRY: Duration = Duration::from_secs(300);

/// Where a PIN is typed.
pub(super) struct Place {
    pub ct_id: CtId,
    pub session: Arc<Session>,
    /// The gSMC-KT that enciphers it, if the card sits elsewhere.
    pub module: Option<Arc<Card>>,
}

impl Call<'_> {
    pub(super) async fn pin(&self, request: CardRequest) -> Result<String, Failure> {
        self.inner.state.permit(Function::Pin)?;
        let card = self.card(&request.handle)?;
        let caller = self.enter(&request.context, &card, true)?;
        let pin = permitted(&request, card.found.kind)?;
        if request.kind == PinRequest::Status {
            return self.pin_status(&card, &caller, pin).await;
        }
        if request.kind == PinRequest::Verify && card.is_verified(&caller, pin.name) {
            let guard = card.reserve().await?;
            let status = card.pin_status(pin).await?;
            drop(guard);
            if status == PinStatus::Verified && pin.name != "PIN.QES" {
                return Ok(soap::pin_response(request.operation, &Status::Ok, PinAnswer::Ok));
            }
        }
        let answer = self.at_terminal(&request, &card, &caller, pin).await?;
        Ok(soap::pin_response(request.operation, &Status::Ok, answer))
    }

    async fn pin_status(&self, card: &Card, caller: &Caller, pin: PinRef) -> Result<String, Failure> {
        let _guard = card.reserve().await?;
        let status = match card.pin_status(pin).await? {
            // the card knows one state, the sessions of several callers each their own
            PinStatus::Verified if !card.is_verified(caller, pin.name) => PinStatus::Verifiable(3),
            status => status,
        };
        match status.on_wire() {
            Some((name, tries)) => Ok(soap::pin_status_response(&Status::Ok, name, tries)),
            None => Err(Code::BAD_PIN_REFERENCE.into()),
        }
    }

    /// The terminal asks for the PIN and sends it to the card.
    async fn at_terminal(
        &self,
        request: &CardRequest,
        card: &Card,
        caller: &Caller,
        pin: PinRef,
    ) -> Result<PinAnswer, Failure> {
        let place = self.place(card, caller)?;
        // two prompts one after the other at one display: nobody would know whose PIN is wanted
        let _pad = place
            .session
            .reserve_pad()
            .ok_or_else(|| Failure::new(Code::RESOURCE_BUSY, "somebody is typing at this terminal"))?;
        let guard = card.reserve().await?;
        let before = card.pin_status(pin).await?;
        let (task, template) = match (request.kind, before) {
            (PinRequest::Verify, PinStatus::Blocked) => return Ok(PinAnswer::WasBlocked),
            (PinRequest::Verify, PinStatus::TransportPin | PinStatus::EmptyPin) => {
                return Ok(PinAnswer::TransportPin);
            }
            (_, PinStatus::Unknown(_)) => return Err(Code::BAD_PIN_REFERENCE.into()),
            (PinRequest::Verify | PinRequest::Status, _) => {
                (Task::Verify, PinTemplate::verify(pin.reference))
            }
            (PinRequest::Change, PinStatus::EmptyPin) => {
                (Task::FirstValue, PinTemplate::first_value(pin.reference))
            }
            (PinRequest::Change, PinStatus::TransportPin) => {
                (Task::ChangeTransport, PinTemplate::change(pin.reference))
            }
            (PinRequest::Change, _) => (Task::Change, PinTemplate::change(pin.reference)),
            (PinRequest::Unblock { set_new: true }, _) => {
                (Task::UnblockWithNew, PinTemplate::unblock(pin.reference, true))
            }
            (PinRequest::Unblock { set_new: false }, _) => {
                (Task::Unblock, PinTemplate::unblock(pin.reference, false))
            }
            (PinRequest::Enable, _) => (Task::Enable, PinTemplate::requirement(true, pin.reference)),
            (PinRequest::Disable, _) => (Task::Disable, PinTemplate::requirement(false, pin.reference)),
        };
        let texts = texts::texts(task, pin.kind, pin.name, card.slot.number());
        self.inner.settle_unlock(card, before)?;
        let about = |phase, result| self.pin_event(request.kind, phase, card, pin, &place, result);
        about("STARTED", None);
        let answer = match &place.module {
            None => {
                let command = template.command(card.slot, &texts);
                let answer = place.session.send(0, &command, ENTRY).await;
                answer.map(|answer| answer.sw).map_err(Failure::from)
            }
            Some(module) => {
                self.type_elsewhere(card, pin, &template, texts, &place.session, module)
                    .await
            }
        };
        let outcome = answer.as_ref().ok().map(|word| PinOutcome::from_word(*word));
        about("FINISHED", Some(result_name(outcome)));
        let new_value = matches!(
            request.kind,
            PinRequest::Change | PinRequest::Unblock { set_new: true }
        );
        if new_value && outcome == Some(PinOutcome::Ok) && card.found.kind == CardKind::SmcB {
            self.inner.smb_pin_changed(card);
        }
        drop(guard);
        let word = answer?;
        let failed = |code: Code| Err(Failure::new(code, format!("terminal answered {word:04X}")));
        match word {
            sw::TIMEOUT => return failed(Code::PIN_TIMEOUT),
            sw::CANCELLED => return failed(Code::USER_CANCELLED),
            sw::NEW_PINS_DIFFER => return failed(Code::NEW_PIN_DIFFERS),
            sw::NO_CARD | sw::NOT_POWERED => return failed(Code::CARD_NOT_INSERTED),
            sw::BUSY => return failed(Code::RESOURCE_BUSY),
            _ => {}
        }
        let outcome = PinOutcome::from_word(word);
        match (outcome, request.kind) {
            (PinOutcome::Ok, PinRequest::Verify) => {
                card.set_verified(caller, pin.name);
                // a registration may wait for an SM-B's signature
                if card.found.kind == CardKind::SmcB {
                    self.inner.look_again.notify_one();
                }
            }
            (PinOutcome::Ok, _) => {}
            _ => card.forget_verified(pin.name),
        }
        Ok(match (outcome, request.kind) {
            (PinOutcome::Ok, _) => PinAnswer::Ok,
            (PinOutcome::Rejected(tries), _) => PinAnswer::Rejected(tries),
            (PinOutcome::NowBlocked, _) => PinAnswer::NowBlocked,
            (PinOutcome::WasBlocked, _) => PinAnswer::WasBlocked,
            (PinOutcome::TransportPin, PinRequest::Change | PinRequest::Unblock { .. }) => {
                return failed(Code::NEW_PIN_LENGTH);
            }
            (PinOutcome::TransportPin, _) => PinAnswer::TransportPin,
            (PinOutcome::BadLength, _) => return failed(Code::NEW_PIN_LENGTH),
            (PinOutcome::Refused, _) => return failed(Code::ACCESS_CONDITION),
            (PinOutcome::Failed(_), _) => PinAnswer::Error,
        })
    }

    /// A PIN is typed where the card sits, if that is at the caller's workplace; else at its remote PIN terminal, whose
    /// gSMC-KT enciphers it (TIP1-A_5012).
    pub(super) fn place(&self, card: &Card, caller: &Caller) -> Result<Place, Failure> {
        let model = self.inner.model();
        let workplace = model.workplace(&caller.workplace);
        if workplace.is_some_and(|workplace| workplace.local_terminals.contains(&card.ct_id)) {
            return Ok(Place {
                ct_id: card.ct_id.clone(),
                session: self.inner.terminals.connected(&card.ct_id)?,
                module: None,
            });
        }
        let remote = model.remote_pin_terminal(caller);
        let remote = remote.ok_or(Code::NO_REMOTE_PIN_TERMINAL)?;
        let impossible = |failure: Failure| failure.within(Code::REMOTE_PIN_IMPOSSIBLE);
        if !matches!(card.found.kind, CardKind::Hba | CardKind::SmcB) {
            return Err(Code::REMOTE_PIN_IMPOSSIBLE.into());
        }
        let session = self.inner.terminals.connected(remote).map_err(impossible)?;
        Ok(Place {
            ct_id: remote.clone(),
            session,
            module: Some(self.terminal_module(remote)?),
        })
    }

    /// The gSMC-KT of a terminal.
    pub(super) fn terminal_module(&self, terminal: &CtId) -> Result<Arc<Card>, Failure> {
        let mut cards = self.inner.cards.all().into_iter();
        let module = cards.find(|one| one.ct_id == *terminal && one.found.kind == CardKind::SmcKt);
        module.ok_or_else(|| {
            Failure::new(
                Code::REMOTE_PIN_IMPOSSIBLE,
                format!("no gSMC-KT is known in terminal {terminal}"),
            )
        })
    }

    /// Remote PIN: a trusted channel between the gSMC-KT and the card, the PIN enciphered where it is typed, and the
    /// result shown there. The status word is the card's, or that of a terminal where nobody typed.
    async fn type_elsewhere(
        &self,
        card: &Card,
        pin: PinRef,
        template: &PinTemplate,
        texts: Vec<String>,
        session: &Session,
        module: &Card,
    ) -> Result<u16, Failure> {
        let failed = |error: C2cError| Failure::new(error.code(), error).within(Code::REMOTE_PIN_IMPOSSIBLE);
        let trust = self
            .inner
            .trust()
            .ok_or_else(|| Failure::new(Code::CRITICAL_STATE, "no trust list yet"))?;
        let _module = module.exclusive.lock().await;
        let sender = SecurityModule::of_terminal(&module.channel);
        let user = UserCard::new(&card.channel);
        let channel = TrustedChannel::open(sender, user, trust.cvcs(), pin.application)
            .await
            .map_err(failed)?;
        let entered = self.enter_enciphered(&channel, template, texts, session, module);
        entered
            .await
            .map_err(|failure| failure.within(Code::REMOTE_PIN_IMPOSSIBLE))
    }

    /// A PIN is typed, enciphered by the terminal's module, sent to the user card, and the result shown.
    pub(super) async fn enter_enciphered(
        &self,
        channel: &TrustedChannel<'_>,
        template: &PinTemplate,
        texts: Vec<String>,
        session: &Session,
        module: &Card,
    ) -> Result<u16, Failure> {
        let (good, bad) = (texts.get(1).cloned(), texts.get(2).cloned());
        let command = template.enciphered().command(module.slot, &texts::remote(texts));
        let typed = session.send(0, &command, ENTRY).await?;
        if !typed.is_ok() {
            return Ok(typed.sw);
        }
        let (ins, p1, p2) = template.header();
        let word = channel.send(ins, p1, p2, &typed.data).await;
        let text = match &word {
            Ok(0x9000) => good,
            _ => bad,
        };
        let show = terminal::command::output(&text.unwrap_or_default());
        let limit = Duration::from_secs(self.inner.config.card_timeout_seconds);
        // a display that does not show the result changes nothing about it
        let _ = session.send(0, &show, limit).await;
        word.map_err(|error| Failure::new(error.code(), error))
    }

    /// `result` goes with the end of a verification only.
    pub(super) fn pin_event(
        &self,
        kind: PinRequest,
        phase: &str,
        card: &Card,
        pin: PinRef,
        place: &Place,
        result: Option<&'static str>,
    ) {
        let verb = match kind {
            PinRequest::Change | PinRequest::Unblock { .. } => "CHANGE",
            PinRequest::Enable => "ENABLE",
            PinRequest::Disable => "DISABLE",
            PinRequest::Verify | PinRequest::Status => "VERIFY",
        };
        let mut parameters = vec![
            ("CardHandle", card.handle.to_string()),
            ("CardType", card.found.kind.to_string()),
            ("CtID", card.ct_id.to_string()),
            ("SlotID", card.slot.to_string()),
            ("PinRef", pin.name.to_owned()),
            ("PinInputCtID", place.ct_id.to_string()),
        ];
        parameters.extend(
            card.found
                .iccsn
                .as_ref()
                .map(|iccsn| ("ICCSN", iccsn.to_string())),
        );
        if verb == "VERIFY" {
            parameters.extend(result.map(|result| ("Result", result.to_owned())));
        }
        let topic = format!("CARD/PIN/{verb}_{phase}");
        self.inner.raise(Event::about_card(&topic, card, parameters));
    }
}

/// How a verification ended, in the words of its event.
pub(super) fn result_name(outcome: Option<PinOutcome>) -> &'static str {
    match outcome {
        Some(PinOutcome::Ok) => "OK",
        Some(PinOutcome::Rejected(_)) => "REJECTED",
        Some(PinOutcome::NowBlocked | PinOutcome::WasBlocked) => "BLOCKED",
        _ => "ERROR",
    }
}

/// Which operation may be used on which card and password (table in 4.1.5).
fn permitted(request: &CardRequest, kind: CardKind) -> Result<PinRef, Failure> {
    let supported = match request.kind {
        PinRequest::Verify => matches!(kind, CardKind::Hba | CardKind::SmcB),
        PinRequest::Enable | PinRequest::Disable => kind == CardKind::Egk,
        _ => matches!(kind, CardKind::Egk | CardKind::Hba | CardKind::SmcB),
    };
    if !supported {
        return Err(Code::CARD_TYPE_NOT_SUPPORTED.into());
    }
    let pin = PinRef::find(kind, &request.pin).ok_or(Code::BAD_PIN_REFERENCE)?;
    let switchable = ["MRPIN.NFD", "MRPIN.DPE", "MRPIN.GDD", "MRPIN.AMTS"];
    match request.kind {
        PinRequest::Enable | PinRequest::Disable if !switchable.contains(&pin.name) => {
            Err(Code::BAD_PIN_REFERENCE.into())
        }
        PinRequest::Verify if pin.name == "PIN.QES" => Err(Code::BAD_PIN_REFERENCE.into()),
        _ => Ok(pin),
    }
}
