//! Events: one typed catalogue, and subscriptions of practice systems (TUC_KON_256). `delivery` carries them.

use crate::cards::Card;
use crate::model::{Caller, Model, Target};
use base::id::{CtId, Iccsn, SubscriptionId};
use base::{Severity, Timestamp};
use card::CardKind;
use serde::{Deserialize, Serialize};
use soap::cetp::CetpEvent;
use soap::{CallContext, Filter};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{Store, StoreError};

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

    /// An operational event for the log only, which nobody subscribes to.
    pub fn quiet(topic: &str, severity: Severity, parameters: Vec<(&'static str, String)>) -> Self {
        Self {
            severity,
            ..Self::info(topic, None, parameters)
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

    /// As it goes to a subscriber; `subscription` is empty in BOOTUP_COMPLETE.
    pub fn message(&self, subscription: &str) -> CetpEvent {
        let parameters = self.parameters.iter();
        CetpEvent {
            topic: self.topic.clone(),
            kind: self.kind.into(),
            severity: self.severity.to_string(),
            subscription: subscription.to_owned(),
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
}

/// How long a subscription lasts.
pub const LIFETIME: Duration = Duration::from_secs(25 * 3600);
/// Most subscriptions; the specification asks for 999.
pub const MAX_SUBSCRIPTIONS: usize = 2000;
const STORE: &str = "subscription";

type List = HashMap<SubscriptionId, Subscription>;

/// All subscriptions of an instance. They survive a restart, so that no event is lost by it.
pub struct Subscriptions {
    list: Mutex<List>,
    store: Arc<Store>,
}

impl Subscriptions {
    /// Those that were stored. Also the addresses of all, even of those that have ended meanwhile: each is told that the
    /// Konnektor was restarted (TUC_KON_256).
    pub fn open(store: Arc<Store>, now: Timestamp) -> Result<(Self, BTreeSet<String>), StoreError> {
        let mut all = Vec::new();
        for (id, stored) in store.all::<serde_json::Value>(STORE)? {
            // one that cannot be read any more must not hinder the start
            match serde_json::from_value::<Subscription>(stored) {
                Ok(one) => all.push((id, one)),
                Err(error) => {
                    tracing::warn!(%error, id, "stored subscription is dropped");
                    store.delete(STORE, &id)?;
                }
            }
        }
        let addresses = all.iter().map(|(_, one)| one.event_to.clone()).collect();
        let list = all.into_iter().map(|(_, one)| (one.id.clone(), one)).collect();
        let this = Self {
            list: Mutex::new(list),
            store,
        };
        this.change(|list| list.retain(|_, one| one.until > now));
        Ok((this, addresses))
    }

    /// Changes the list, and then what is stored of it. A store that fails costs only what would outlive a restart.
    fn change<T>(&self, work: impl FnOnce(&mut List) -> T) -> T {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let before = list.clone();
        let outcome = work(&mut list);
        let gone = before.keys().filter(|id| !list.contains_key(*id));
        let gone = gone.map(|id| self.store.delete(STORE, id.as_str()));
        let changed = list.values().filter(|one| before.get(&one.id) != Some(*one));
        let changed = changed.map(|one| self.store.put(STORE, one.id.as_str(), one));
        for stored in gone.chain(changed) {
            if let Err(error) = stored {
                tracing::error!(%error, "subscription not stored");
            }
        }
        outcome
    }

    /// Forgets all of them; whoever has emptied the store does that.
    pub(crate) fn clear(&self) {
        self.with(HashMap::clear);
    }

    fn with<T>(&self, work: impl FnOnce(&mut List) -> T) -> T {
        work(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a subscription; an identical one keeps its id and is prolonged. `None` when there are too many.
    pub fn add(&self, new: Subscription, now: Timestamp) -> Option<Subscription> {
        self.change(|list| {
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
        self.change(|list| {
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

    /// Prolongs those subscriptions of a caller that have not ended; says which.
    pub fn renew(&self, caller: &Caller, ids: &[String], until: Timestamp, now: Timestamp) -> Vec<String> {
        let own = |one: &Subscription| {
            one.until > now
                && one.mandant == caller.mandant.as_str()
                && one.client_system == caller.client_system.as_str()
        };
        self.change(|list| {
            let mut renewed = Vec::new();
            for id in ids {
                let found = list
                    .values_mut()
                    .find(|one| one.id.as_str() == id.as_str() && own(one));
                if let Some(one) = found {
                    one.until = until;
                    renewed.push(id.clone());
                }
            }
            renewed
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
        let candidates: Vec<Subscription> = self.with(|list| {
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
                .cloned()
                .collect()
        });
        // expressions are the subscribers': nobody waits for them under the lock
        let passes = |one: &Subscription| match &one.filter {
            None => true,
            Some(filter) => filter
                .passes(&event.message(one.id.as_str()))
                .unwrap_or_else(|error| {
                    tracing::warn!(code = base::Code::XPATH.number(), %error, "filter of a subscription");
                    false
                }),
        };
        candidates.into_iter().filter(passes).collect()
    }

    /// Ends all subscriptions of an address that nobody answers at (TIP1-A_4611).
    pub fn remove_address(&self, event_to: &str) {
        self.change(|list| list.retain(|_, one| one.event_to != event_to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> (tempfile::TempDir, Subscriptions) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let (subscriptions, _) = Subscriptions::open(store, Timestamp::UNIX_EPOCH).unwrap();
        (dir, subscriptions)
    }

    #[test]
    fn subscriptions_survive_a_restart_and_every_address_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let open = |at: Timestamp| {
            let store = Arc::new(Store::open(dir.path()).unwrap());
            Subscriptions::open(store, at).unwrap()
        };
        for (id, hours) in [("short", 1), ("long", 25), ("removed", 25)] {
            let new = Subscription {
                id: id.parse().unwrap(),
                mandant: "M1".into(),
                client_system: "PVS".into(),
                workplace: "Anmeldung".into(),
                event_to: format!("cetp://{id}:1"),
                topic: "CARD".into(),
                filter: Some("//Parameter".parse().unwrap()),
                until: now.checked_add(Duration::from_secs(3600 * hours)).unwrap(),
            };
            assert!(open(now).0.add(new, now).is_some());
        }
        open(now).0.remove_address("cetp://removed:1");
        let store = Store::open(dir.path()).unwrap();
        store.put(STORE, "of a later version", &"?").unwrap();
        drop(store);
        let later = now.checked_add(Duration::from_secs(2 * 3600)).unwrap();
        let (subscriptions, addresses) = open(later);
        assert_eq!(addresses.len(), 2);
        assert_eq!(subscriptions.with(|list| list.len()), 1);
        assert_eq!(open(later).1.len(), 1);
    }

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
        let (_dir, subscriptions) = empty();
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
        };
        assert!(subscriptions.add(new, start).is_some());
        let alive = |at: u64| subscriptions.of(&caller, false, hour(at)).len() == 1;
        for count in 1..=5 * 365 * 24 {
            assert!(alive(count), "hour {count}");
            if count % 24 == 0 {
                let until = hour(count).checked_add(LIFETIME).unwrap();
                assert!(
                    !subscriptions
                        .renew(&caller, &["1".into()], until, hour(count))
                        .is_empty()
                );
            }
        }
        let last = 5 * 365 * 24;
        assert!(alive(last + 24));
        assert!(!alive(last + 25));
        assert!(
            subscriptions
                .renew(&caller, &["1".into()], hour(last + 60), hour(last + 26))
                .is_empty()
        );
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
        let (_dir, subscriptions) = empty();
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
