//! Events: one typed catalogue, subscriptions of practice systems, delivery by CETP (TUC_KON_256).

use crate::cards::Card;
use crate::model::{Caller, Model, Target};
use base::id::{CtId, Iccsn, SubscriptionId};
use base::{Severity, Timestamp};
use card::CardKind;
use crypto::tls::Identity;
use serde::{Deserialize, Serialize};
use soap::cetp::CetpEvent;
use soap::{CallContext, Filter};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// An event of the catalogue with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Topic.
    pub topic: String,
    /// `Operation` or `Security`.
    pub kind: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Parameters; personal ones go to subscribers but never into a log.
    pub parameters: Vec<(&'static str, String)>,
    /// The terminal it is about, for the access check.
    pub terminal: Option<CtId>,
    /// The card it is about: who may not use the card is not told of it.
    pub card: Option<(CardKind, Option<Iccsn>)>,
}

/// Parameters that are personal data (TIP1-A_4710).
const PERSONAL: [&str; 3] = ["ICCSN", "CardHolderName", "KVNR"];

impl Event {
    /// An operational event of severity Info.
    pub fn info(topic: &str, terminal: Option<CtId>, parameters: Vec<(&'static str, String)>) -> Self {
        Self {
            topic: topic.into(),
            kind: "Operation",
            severity: Severity::Info,
            parameters,
            terminal,
            card: None,
        }
    }

    /// An error as an event: type and severity are the code's.
    pub fn error(
        topic: &str,
        terminal: Option<CtId>,
        code: base::Code,
        parameters: Vec<(&'static str, String)>,
    ) -> Self {
        let kind = match code.kind() {
            base::ErrorKind::Security => "Security",
            base::ErrorKind::Technical => "Operation",
        };
        Self {
            kind,
            severity: code.severity(),
            ..Self::info(topic, terminal, parameters)
        }
    }

    /// An operational event about a card: who may not use the card is not told.
    pub fn about_card(topic: &str, card: &Card, parameters: Vec<(&'static str, String)>) -> Self {
        Self {
            card: Some((card.found.kind, card.found.iccsn.clone())),
            ..Self::info(topic, Some(card.ct_id.clone()), parameters)
        }
    }

    /// As it goes to a subscriber.
    pub fn message(&self, subscription: &SubscriptionId) -> CetpEvent {
        let parameters = self.parameters.iter();
        CetpEvent {
            topic: self.topic.clone(),
            kind: self.kind.into(),
            severity: self.severity.to_string(),
            subscription: subscription.to_string(),
            parameters: parameters
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect(),
        }
    }

    /// Parameters as JSON without personal data.
    pub fn for_log(&self) -> String {
        let parameters = self.parameters.iter().filter(|(key, _)| !PERSONAL.contains(key));
        let map: serde_json::Map<String, serde_json::Value> = parameters
            .map(|(key, value)| ((*key).to_owned(), value.clone().into()))
            .collect();
        serde_json::Value::Object(map).to_string()
    }
}

/// A subscription (25 hours, TIP1-A_4605).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// Who subscribed.
    pub mandant: String,
    /// Who subscribed.
    pub client_system: String,
    /// Who subscribed.
    pub workplace: String,
    /// `cetp://host:port`.
    pub event_to: String,
    /// Prefix of topics.
    pub topic: String,
    /// Further condition, if any.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// End.
    pub until: Timestamp,
    /// Failed deliveries in a row.
    #[serde(default)]
    pub failures: u32,
}

/// How long a subscription lasts.
pub const LIFETIME: Duration = Duration::from_secs(25 * 3600);
/// Most subscriptions; the specification asks for 999.
pub const MAX_SUBSCRIPTIONS: usize = 2000;
/// How long one delivery may take.
pub const DELIVERY: Duration = Duration::from_secs(5);

/// All subscriptions of an instance. Lost at a restart, as specified (TIP1-A_4613).
#[derive(Default)]
pub struct Subscriptions {
    list: Mutex<HashMap<SubscriptionId, Subscription>>,
}

impl Subscriptions {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<SubscriptionId, Subscription>) -> T) -> T {
        work(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a subscription; an identical one keeps its id and is prolonged. `None` when there are too many.
    pub fn add(&self, new: Subscription, now: Timestamp) -> Option<Subscription> {
        self.with(|list| {
            list.retain(|_, old| old.until > now);
            let same = |old: &&mut Subscription| {
                (
                    &old.mandant,
                    &old.client_system,
                    &old.workplace,
                    &old.event_to,
                    &old.topic,
                    &old.filter,
                ) == (
                    &new.mandant,
                    &new.client_system,
                    &new.workplace,
                    &new.event_to,
                    &new.topic,
                    &new.filter,
                )
            };
            if let Some(old) = list.values_mut().find(same) {
                old.until = new.until;
                return Some(old.clone());
            }
            if list.len() >= MAX_SUBSCRIPTIONS {
                return None;
            }
            list.insert(new.id.clone(), new.clone());
            Some(new)
        })
    }

    /// Ends subscriptions of a caller by id or address; says how many.
    pub fn remove(&self, caller: &Caller, id: Option<&str>, event_to: Option<&str>) -> usize {
        self.with(|list| {
            let before = list.len();
            list.retain(|_, one| {
                let own = one.mandant == caller.mandant.as_str()
                    && one.client_system == caller.client_system.as_str();
                let meant = id.is_some_and(|id| one.id.as_str() == id)
                    || event_to.is_some_and(|to| one.event_to == to);
                !(own && meant)
            });
            before - list.len()
        })
    }

    /// Prolongs a subscription of a caller that has not ended.
    pub fn renew(&self, caller: &Caller, id: &str, until: Timestamp, now: Timestamp) -> bool {
        self.with(|list| {
            let mut own = list.values_mut().filter(|one| {
                one.until > now
                    && one.mandant == caller.mandant.as_str()
                    && one.client_system == caller.client_system.as_str()
            });
            own.find(|one| one.id.as_str() == id)
                .map(|one| one.until = until)
                .is_some()
        })
    }

    /// Subscriptions of a caller; of the whole Mandant if `wide`.
    pub fn of(&self, caller: &Caller, wide: bool, now: Timestamp) -> Vec<Subscription> {
        self.with(|list| {
            let mut found: Vec<Subscription> = list
                .values()
                .filter(|one| one.until > now && one.mandant == caller.mandant.as_str())
                .filter(|one| {
                    wide || (one.client_system == caller.client_system.as_str()
                        && one.workplace == caller.workplace.as_str())
                })
                .cloned()
                .collect();
            found.sort_by(|a, b| a.id.cmp(&b.id));
            found
        })
    }

    /// Who gets this event: topic prefix without regard to case, the right to see what it is about, and the filter. A
    /// filter that fails keeps the event from its own subscription only (4095).
    pub fn matching(&self, event: &Event, model: &Model, now: Timestamp) -> Vec<Subscription> {
        let topic = event.topic.to_lowercase();
        self.with(|list| {
            list.values()
                .filter(|one| one.until > now && topic.starts_with(&one.topic.to_lowercase()))
                .filter(|one| {
                    let context = CallContext {
                        mandant: one.mandant.clone(),
                        client_system: one.client_system.clone(),
                        workplace: one.workplace.clone(),
                        user: None,
                    };
                    let target = match (&event.terminal, &event.card) {
                        (
                            Some(ct_id),
                            Some((kind @ (CardKind::Egk | CardKind::Hba | CardKind::SmcB), iccsn)),
                        ) => Target::Card {
                            kind: *kind,
                            ct_id,
                            iccsn: iccsn.as_ref(),
                            session: false,
                        },
                        (Some(ct_id), _) => Target::Terminal { ct_id, wide: false },
                        (None, _) => Target::Nothing { wide: false },
                    };
                    model.check(&context, None, target).is_ok()
                })
                .filter(|one| match &one.filter {
                    None => true,
                    Some(filter) => filter.passes(&event.message(&one.id)).unwrap_or_else(|error| {
                        tracing::warn!(code = base::Code::XPATH.number(), %error, "filter of a subscription");
                        false
                    }),
                })
                .cloned()
                .collect()
        })
    }

    /// Counts a delivery; after `max` failures in a row the subscription ends (TIP1-A_4611).
    pub fn delivered(&self, id: &SubscriptionId, good: bool, max: u32) {
        self.with(|list| {
            let Some(one) = list.get_mut(id) else { return };
            one.failures = if good { 0 } else { one.failures + 1 };
            if one.failures >= max {
                list.remove(id);
            }
        });
    }
}

/// Sends one event: a connection of its own, TLS with the Konnektor as client (TIP1-A_4595).
pub async fn deliver(event: &Event, to: &Subscription, identity: &Identity) -> std::io::Result<()> {
    let address = to
        .event_to
        .strip_prefix("cetp://")
        .unwrap_or(&to.event_to)
        .trim_end_matches('/');
    let stream = TcpStream::connect(address).await?;
    // practice systems show certificates of their own making: the event is addressed, not secret from its receiver
    let tls = crypto::tls::client_config(Some(identity), std::sync::Arc::new(|_| Ok(())))
        .map_err(std::io::Error::other)?;
    let host = address
        .rsplit_once(':')
        .map_or(address, |(host, _)| host)
        .to_owned();
    let name = rustls::pki_types::ServerName::try_from(host).map_err(std::io::Error::other)?;
    let mut stream = tokio_rustls::TlsConnector::from(tls)
        .connect(name, stream)
        .await?;
    stream.write_all(&event.message(&to.id).encode()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five years of a practice system that renews every day: never a gap. One that stops is gone after 25 hours.
    #[test]
    fn five_years_of_renewals() {
        let start: Timestamp = "2026-01-01T06:00:00Z".parse().unwrap();
        let caller = Caller {
            mandant: "M1".parse().unwrap(),
            client_system: "PVS".parse().unwrap(),
            workplace: "Anmeldung".parse().unwrap(),
            user: None,
        };
        let subscriptions = Subscriptions::default();
        let hour = |count: u64| start.checked_add(Duration::from_secs(3600 * count)).unwrap();
        let new = Subscription {
            id: "1".parse().unwrap(),
            mandant: "M1".into(),
            client_system: "PVS".into(),
            workplace: "Anmeldung".into(),
            event_to: "cetp://127.0.0.1:1".into(),
            topic: String::new(),
            filter: None,
            until: hour(25),
            failures: 0,
        };
        assert!(subscriptions.add(new, start).is_some());
        let alive = |at: u64| subscriptions.of(&caller, false, hour(at)).len() == 1;
        for count in 1..=5 * 365 * 24 {
            assert!(alive(count), "hour {count}");
            if count % 24 == 0 {
                let until = hour(count).checked_add(LIFETIME).unwrap();
                assert!(subscriptions.renew(&caller, "1", until, hour(count)));
            }
        }
        let last = 5 * 365 * 24;
        assert!(alive(last + 24));
        assert!(!alive(last + 25));
        assert!(!subscriptions.renew(&caller, "1", hour(last + 60), hour(last + 26)));
    }

    /// An eGK belongs to the workplace it sits at; a workplace with only remote use of the terminal hears nothing of it.
    #[test]
    fn who_may_not_use_a_card_is_not_told_of_it() {
        let text = r#"
            [[client_systems]]
            id = "PVS"
            [[workplaces]]
            id = "Anmeldung"
            local_terminals = ["KT1"]
            [[workplaces]]
            id = "Zimmer"
            remote_terminals = ["KT1"]
            [[mandants]]
            id = "M1"
            terminals = ["KT1"]
            access = [{ client_system = "PVS", workplace = "Anmeldung" }, { client_system = "PVS", workplace = "Zimmer" }]
        "#;
        let model: Model = toml::from_str(text).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let subscriptions = Subscriptions::default();
        for workplace in ["Anmeldung", "Zimmer"] {
            let new = Subscription {
                id: workplace.parse().unwrap(),
                mandant: "M1".into(),
                client_system: "PVS".into(),
                workplace: workplace.into(),
                event_to: "cetp://127.0.0.1:1".into(),
                topic: "c".into(),
                filter: None,
                until: now.checked_add(LIFETIME).unwrap(),
                failures: 0,
            };
            assert!(subscriptions.add(new, now).is_some());
        }
        let told = |card| {
            let mut event = Event::info("CARD/INSERTED", Some("KT1".parse().unwrap()), Vec::new());
            event.card = card;
            let mut names: Vec<_> = subscriptions
                .matching(&event, &model, now)
                .into_iter()
                .map(|one| one.workplace)
                .collect();
            names.sort();
            names
        };
        assert_eq!(told(Some((CardKind::Egk, None))), ["Anmeldung"]);
        assert_eq!(told(Some((CardKind::Hba, None))), ["Anmeldung", "Zimmer"]);
        // an SM-B that is not managed belongs to nobody
        assert!(told(Some((CardKind::SmcB, None))).is_empty());
        assert_eq!(told(None), ["Anmeldung", "Zimmer"]);
    }
}
