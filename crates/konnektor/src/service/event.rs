//! EventService: what there is, and who wants to be told (gemSpec_Kon 4.1.6).

use super::{Call, element, target, type_matches};
use crate::Failure;
use crate::cards::Card;
use crate::events::{LIFETIME, Subscription};
use crate::model::{Caller, Target};
use crate::state::Condition;
use crate::terminals::TerminalState;
use base::id::{CtId, SlotId};
use base::{Code, Severity};
use soap::{CallContext, ConnectorState, ErrorState, Filter, Resource, Status, TerminalInfo};
use std::net::SocketAddr;

const CARD_TYPES: [&str; 11] = [
    "EGK", "HBA-qSig", "HBA", "SMC-B", "HSM-B", "SMC-KT", "KVK", "ZOD_2.0", "UNKNOWN", "HBAx", "SM-B",
];

impl Call<'_> {
    pub(super) fn get_cards(
        &self,
        context: &CallContext,
        wide: bool,
        ct_id: Option<String>,
        slot: Option<u8>,
        card_type: Option<String>,
    ) -> Result<String, Failure> {
        let terminal = ct_id.map(|id| self.known_terminal(&id)).transpose()?;
        let caller = match &terminal {
            Some(state) => self.check(
                context,
                Target::Terminal {
                    ct_id: &state.record.config.id,
                    wide,
                },
            )?,
            None => self.check(context, Target::Nothing { wide })?,
        };
        let slot = slot
            .map(|slot| self.known_slot(terminal.as_ref(), slot))
            .transpose()?;
        if let Some(wanted) = card_type.as_deref()
            && !CARD_TYPES.contains(&wanted)
        {
            return Err(Failure::new(Code::SYNTAX, "CardType unknown"));
        }
        let mut cards = self.inner.cards.all();
        cards.retain(|card| {
            terminal
                .as_ref()
                .is_none_or(|state| state.record.config.id == card.ct_id)
                && slot.is_none_or(|slot| slot == card.slot)
                && card_type
                    .as_deref()
                    .is_none_or(|wanted| type_matches(wanted, card.found.kind))
                && self.may_see(&caller, wide, card)
        });
        let cards: Vec<_> = cards.iter().map(|card| element(card)).collect();
        Ok(soap::cards_response(&Status::Ok, &cards))
    }

    /// A card is listed if the caller could use it, from this workplace or from any of its own.
    fn may_see(&self, caller: &Caller, wide: bool, card: &Card) -> bool {
        let seen = match wide {
            true => Target::Terminal {
                ct_id: &card.ct_id,
                wide,
            },
            false => target(card, false),
        };
        self.inner.model().permits(caller, seen).is_ok()
    }

    fn known_terminal(&self, id: &str) -> Result<TerminalState, Failure> {
        let id: Option<CtId> = id.parse().ok();
        id.and_then(|id| self.inner.terminals.get(&id))
            .ok_or_else(|| Code::UNKNOWN_TERMINAL.into())
    }

    fn known_slot(&self, terminal: Option<&TerminalState>, slot: u8) -> Result<SlotId, Failure> {
        let terminal = terminal.ok_or_else(|| Failure::new(Code::SYNTAX, "SlotId without CtId"))?;
        let valid = terminal.slots == 0 || slot <= terminal.slots;
        SlotId::new(slot)
            .ok()
            .filter(|_| valid)
            .ok_or_else(|| Code::BAD_SLOT.into())
    }

    pub(super) fn get_card_terminals(&self, context: &CallContext, wide: bool) -> Result<String, Failure> {
        let caller = self.check(context, Target::Nothing { wide })?;
        let (model, terminals) = (self.inner.model(), self.inner.terminals.all());
        let visible = terminals.iter().filter(|terminal| {
            let ct_id = &terminal.record.config.id;
            model.permits(&caller, Target::Terminal { ct_id, wide }).is_ok()
        });
        let list: Vec<_> = visible.map(|terminal| self.terminal_info(terminal)).collect();
        Ok(soap::terminals_response(&Status::Ok, &list))
    }

    fn terminal_info(&self, terminal: &TerminalState) -> TerminalInfo {
        let config = &terminal.record.config;
        let ipv4 = match config.address {
            SocketAddr::V4(address) => Some(address.ip().to_string()),
            SocketAddr::V6(_) => None,
        };
        let now = self.inner.clock.now();
        // never connected: nothing is known, and the schema wants numbers
        let said = terminal.record.product.clone().unwrap_or_default();
        let (kind_version, hardware, firmware) = (
            said.product_type.to_string(),
            said.hardware.to_string(),
            said.firmware.to_string(),
        );
        let product = soap::Product {
            kind: "KT",
            kind_version: &kind_version,
            vendor: &said.vendor,
            code: &said.model,
            hardware: &hardware,
            firmware: &firmware,
            name: &config.name,
        };
        TerminalInfo {
            product: product.to_xml(now),
            ct_id: config.id.to_string(),
            workplaces: self
                .inner
                .model()
                .workplaces_of(&config.id)
                .iter()
                .map(ToString::to_string)
                .collect(),
            name: config.name.clone(),
            mac: config.mac.to_string(),
            ipv4,
            slots: terminal.slots,
            physical: true,
            connected: terminal.session.is_some(),
        }
    }

    pub(super) fn get_resource_information(
        &self,
        context: &CallContext,
        resource: &Resource,
    ) -> Result<String, Failure> {
        if let Some(handle) = &resource.handle {
            let card = self.inner.cards.by_handle(handle).ok_or(Code::BAD_CARD_HANDLE)?;
            self.check(context, target(&card, false))?;
            return Ok(soap::resource_response(
                &Status::Ok,
                Some(element(&card)),
                None,
                None,
            ));
        }
        if let Some(iccsn) = &resource.iccsn {
            self.check(context, Target::Nothing { wide: false })?;
            let mut cards = self.inner.cards.all().into_iter();
            let found = cards.find(|card| {
                card.found
                    .iccsn
                    .as_ref()
                    .is_some_and(|own| own.to_string() == *iccsn)
            });
            let card = found.ok_or(Code::ICCSN_NOT_FOUND)?;
            self.check(context, target(&card, false))?;
            return Ok(soap::resource_response(
                &Status::Ok,
                Some(element(&card)),
                None,
                None,
            ));
        }
        if let Some(ct_id) = &resource.ct_id {
            let terminal = self.known_terminal(ct_id)?;
            let id = &terminal.record.config.id;
            self.check(
                context,
                Target::Terminal {
                    ct_id: id,
                    wide: false,
                },
            )?;
            let Some(slot) = resource.slot else {
                return Ok(soap::resource_response(
                    &Status::Ok,
                    None,
                    Some(&self.terminal_info(&terminal)),
                    None,
                ));
            };
            let slot = self.known_slot(Some(&terminal), slot)?;
            let card = self.inner.cards.in_slot(id, slot).ok_or(Code::SLOT_EMPTY)?;
            self.check(context, target(&card, false))?;
            return Ok(soap::resource_response(
                &Status::Ok,
                Some(element(&card)),
                None,
                None,
            ));
        }
        self.check(context, Target::Nothing { wide: false })?;
        Ok(soap::resource_response(
            &Status::Ok,
            None,
            None,
            Some(&self.connector_state()),
        ))
    }

    fn connector_state(&self) -> ConnectorState {
        let now = self.inner.clock.now().to_string();
        let mut conditions: Vec<ErrorState> = self
            .inner
            .state
            .all()
            .into_iter()
            .map(|(condition, value, since)| error_state(&condition, value, since.to_string()))
            .collect();
        if conditions.is_empty() {
            // the schema wants at least one
            conditions.push(error_state(
                &Condition::TslUpdateNotSuccessful,
                false,
                now.clone(),
            ));
        }
        ConnectorState {
            vpn_ti: self.inner.reaches_ti(),
            vpn_sis: false,
            since: now,
            conditions,
        }
    }

    pub(super) fn subscribe(
        &self,
        context: &CallContext,
        event_to: String,
        topic: String,
        filter: Option<String>,
    ) -> Result<String, Failure> {
        let caller = self.check(context, Target::Nothing { wide: false })?;
        let filter = filter
            .map(|text| text.parse::<Filter>())
            .transpose()
            .map_err(|error| Failure::new(Code::XPATH, error))?;
        let now = self.inner.clock.now();
        let number: [u8; 16] = crypto::random()?;
        let new = Subscription {
            id: hex::encode(number)
                .parse()
                .map_err(|_| Failure::from(Code::INTERNAL))?,
            mandant: caller.mandant.to_string(),
            client_system: caller.client_system.to_string(),
            workplace: caller.workplace.to_string(),
            event_to,
            topic,
            filter,
            until: now.checked_add(LIFETIME).unwrap_or(now),
        };
        let made = self.inner.subscriptions.add(new, now);
        let made = made.ok_or_else(|| Failure::new(Code::INTERNAL, "too many subscriptions"))?;
        Ok(soap::subscribe_response(
            &Status::Ok,
            made.id.as_str(),
            &made.until.to_string(),
        ))
    }

    pub(super) fn unsubscribe(
        &self,
        context: &CallContext,
        id: Option<&str>,
        event_to: Option<&str>,
    ) -> Result<String, Failure> {
        let caller = self.check(context, Target::Nothing { wide: false })?;
        if self.inner.subscriptions.remove(&caller, id, event_to) == 0 {
            return Err(Code::BAD_SUBSCRIPTION.into());
        }
        Ok(soap::unsubscribe_response(&Status::Ok))
    }

    pub(super) fn renew(&self, context: &CallContext, ids: &[String]) -> Result<String, Failure> {
        let caller = self.check(context, Target::Nothing { wide: false })?;
        let now = self.inner.clock.now();
        let until = now.checked_add(LIFETIME).unwrap_or(now);
        let renewed = self.inner.subscriptions.renew(&caller, ids, until, now);
        let renewed: Vec<_> = renewed.into_iter().map(|id| (id, until.to_string())).collect();
        if renewed.is_empty() {
            return Err(Code::BAD_SUBSCRIPTION.into());
        }
        let status = if renewed.len() == ids.len() {
            Status::Ok
        } else {
            Status::Warning(Failure::from(Code::BAD_SUBSCRIPTION).fault("renew", now))
        };
        Ok(soap::renew_response(&status, &renewed))
    }

    pub(super) fn get_subscription(
        &self,
        context: &CallContext,
        wide: bool,
        id: Option<&str>,
    ) -> Result<String, Failure> {
        let caller = self.check(context, Target::Nothing { wide })?;
        let mut list = self.inner.subscriptions.of(&caller, wide, self.inner.clock.now());
        if let Some(id) = id {
            list.retain(|one| one.id.as_str() == id);
            if list.is_empty() {
                return Err(Code::BAD_SUBSCRIPTION.into());
            }
        }
        let list: Vec<soap::Subscription> = list
            .into_iter()
            .map(|one| soap::Subscription {
                id: one.id.to_string(),
                until: one.until.to_string(),
                event_to: one.event_to,
                topic: one.topic,
                filter: one.filter.map(|filter| filter.to_string()),
            })
            .collect();
        Ok(soap::subscriptions_response(&Status::Ok, &list))
    }
}

fn error_state(condition: &Condition, value: bool, since: String) -> ErrorState {
    let about = condition.describe();
    let severity = match about.severity {
        Severity::Info => "Info",
        Severity::Warning => "Warning",
        Severity::Error => "Error",
        Severity::Fatal => "Fatal",
    };
    ErrorState {
        condition: about.name,
        severity,
        kind: about.kind,
        value,
        since,
    }
}
