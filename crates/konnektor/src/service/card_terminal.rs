//! CardTerminalService: asking for a card, and giving it back (TUC_KON_056, 057).

use super::{Call, element, type_matches};
use crate::Failure;
use crate::model::Target;
use crate::state::Function;
use base::Code;
use base::id::{CtId, SlotId};
use soap::{CallContext, EjectTarget, Slot, Status};
use std::time::Duration;
use terminal::command::{self, sw};
use terminal::texts;

const DEFAULT_SECONDS: u64 = 20;

impl Call<'_> {
    fn slot(&self, slot: &Slot) -> Result<(CtId, SlotId), Failure> {
        let id: CtId = slot
            .ct_id
            .parse()
            .map_err(|_| Failure::from(Code::UNKNOWN_TERMINAL))?;
        let terminal = self.inner.terminals.get(&id).ok_or(Code::UNKNOWN_TERMINAL)?;
        let number = SlotId::new(slot.slot).map_err(|_| Failure::from(Code::BAD_SLOT))?;
        if terminal.slots != 0 && slot.slot > terminal.slots {
            return Err(Code::BAD_SLOT.into());
        }
        Ok((id, number))
    }

    pub(super) async fn request_card(
        &self,
        context: &CallContext,
        slot: &Slot,
        card_type: Option<&str>,
        message: Option<&str>,
        seconds: Option<u64>,
    ) -> Result<String, Failure> {
        self.inner.state.permit(Function::Terminal)?;
        let (id, slot) = self.slot(slot)?;
        self.check(
            context,
            Target::Terminal {
                ct_id: &id,
                wide: false,
            },
        )?;
        if card_type.is_some_and(|wanted| !["EGK", "KVK", "HBAx", "HBA", "SM-B", "SMC-B"].contains(&wanted)) {
            return Err(Code::NOT_PERMITTED.into());
        }
        let session = self.inner.terminals.connected(&id)?;
        let already = self.inner.cards.in_slot(&id, slot);
        let card = match &already {
            Some(card) => card.clone(),
            None => {
                let seconds = seconds.unwrap_or(DEFAULT_SECONDS).clamp(1, 255);
                let text = message
                    .map(str::to_owned)
                    .unwrap_or_else(|| texts::insert_card(card_type, slot.number()));
                let request = command::request_card(slot, Some(&text), seconds as u8);
                let answer = session
                    .send(0, &request, Duration::from_secs(seconds + 5))
                    .await?;
                match answer.sw {
                    0x9000 | sw::ASYNCHRONOUS | sw::ALREADY_INSERTED => {}
                    sw::NO_CARD_IN_TIME => return Err(Code::REQUEST_CARD_TIMEOUT.into()),
                    word => {
                        return Err(Failure::new(
                            Code::TERMINAL_ACCESS,
                            format!("REQUEST ICC: {word:04X}"),
                        ));
                    }
                }
                match self.inner.cards.in_slot(&id, slot) {
                    // the terminal's event was faster
                    Some(card) => card,
                    None => self.inner.open_card(&id, slot, session).await?,
                }
            }
        };
        if card_type.is_some_and(|wanted| !type_matches(wanted, card.found.kind)) {
            return Err(Failure::new(
                Code::WRONG_CARD_TYPE,
                format!("a {} is inserted", card.found.kind),
            ));
        }
        // who may use the terminal may still not see whose card this is
        let shown = self.check(context, super::target(&card, false)).is_ok();
        Ok(soap::request_card_response(
            &Status::Ok,
            Some(already.is_some()),
            shown.then(|| element(&card)),
        ))
    }

    pub(super) async fn eject_card(
        &self,
        context: &CallContext,
        target: &EjectTarget,
        message: Option<&str>,
        milliseconds: Option<u64>,
    ) -> Result<String, Failure> {
        self.inner.state.permit(Function::Terminal)?;
        let (id, slot) = match target {
            EjectTarget::Slot(slot) => self.slot(slot)?,
            EjectTarget::Handle(handle) => {
                let card = self.inner.cards.by_handle(handle).ok_or(Code::BAD_CARD_HANDLE)?;
                (card.ct_id.clone(), card.slot)
            }
        };
        self.check(
            context,
            Target::Terminal {
                ct_id: &id,
                wide: false,
            },
        )?;
        let session = self.inner.terminals.connected(&id)?;
        let card = self.inner.cards.in_slot(&id, slot);
        let _guard = match &card {
            Some(card) => Some(
                card.exclusive
                    .clone()
                    .try_lock_owned()
                    .map_err(|_| Code::CARD_RESERVED)?,
            ),
            None => None,
        };
        let seconds = milliseconds
            .map_or(DEFAULT_SECONDS, |ms| ms.div_ceil(1000))
            .clamp(1, 255);
        let text = message.map(str::to_owned).unwrap_or_else(|| {
            texts::remove_card(card.as_ref().map(|card| card.found.kind.as_str()), slot.number())
        });
        // the command is sent even if the slot is believed to be empty
        let command = command::eject_card(slot, Some(&text), seconds as u8);
        let answer = session
            .send(0, &command, Duration::from_secs(seconds + 5))
            .await?;
        match answer.sw {
            0x9000 | sw::ASYNCHRONOUS => Ok(soap::eject_response(&Status::Ok)),
            sw::NO_CARD_IN_TIME => Err(Code::CARD_NOT_REMOVED.into()),
            word => Err(Failure::new(
                Code::TERMINAL_ACCESS,
                format!("EJECT ICC: {word:04X}"),
            )),
        }
    }
}
