//! One Konnektor instance: the services a practice system calls, its state, its administration.
//!
//! A [`Konnektor`] is a value, never a process-wide global. A request goes: TLS ([`server`]) → `soap` decodes by the
//! body's name → access check ([`model`]) → service ([`service`]) → card, trust → answer or [`Failure`] → fault. A card
//! goes: terminal event ([`terminals`]) → recognised → handle → event ([`events`]) to subscribers. Health is one set of
//! conditions ([`state`]).
//!
//! Chapters: gemSpec_Kon 4.1.1, 4.1.3 to 4.1.6, 4.1.9, VSDM.

pub mod admin;
pub mod cards;
pub mod config;
pub mod events;
mod failure;
pub mod metrics;
pub mod model;
pub mod password;
pub mod server;
mod service;
pub mod state;
pub mod terminals;

pub use config::{ClientAuthentication, Config};
pub use failure::Failure;
pub use service::RECEIPT_KEY;

use asn1::X509;
use base::{Clock, Severity};
use cards::Cards;
use crypto::tls::Identity;
use events::{Event, Subscriptions};
use metrics::Metrics;
use model::Model;
use pki::Trust;
use pki::tsl::Tsl;
use state::{Condition, OperatingState};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use store::Store;
use terminals::Terminals;

/// Version of the product.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The instance's own identities (gSMC-K).
#[derive(Debug, Clone)]
pub struct Identities {
    /// ID.AK.AUT on brainpoolP256r1.
    pub ak_brainpool: Identity,
    /// ID.AK.AUT on P-256.
    pub ak_nist: Identity,
    /// ID.SAK.AUT.
    pub sak: Identity,
    /// The trust anchor: the CA that certifies signers of trust lists.
    pub trust_anchor: X509,
    /// Serial number of the gSMC-K.
    pub iccsn: String,
}

/// An instance. Cheap to share; all clones are the same instance.
#[derive(Clone)]
pub struct Konnektor {
    inner: Arc<Inner>,
}

/// What the parts of an instance share.
pub struct Inner {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Store,
    pub(crate) identities: Identities,
    pub(crate) model: RwLock<Arc<Model>>,
    pub(crate) trust: RwLock<Option<Arc<Trust>>>,
    pub(crate) cards: Cards,
    pub(crate) terminals: Terminals,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) state: OperatingState,
    pub(crate) metrics: Metrics,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Konnektor {
    /// Starts an instance: loads what is stored, starts terminals and trust maintenance.
    pub fn start(
        config: Config,
        identities: Identities,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let model = store
            .get::<Model>("model", "current")?
            .unwrap_or_else(|| config.model.clone());
        let inner = Arc::new(Inner {
            config,
            clock,
            store,
            identities,
            model: RwLock::new(Arc::new(model)),
            trust: RwLock::default(),
            cards: Cards::default(),
            terminals: Terminals::default(),
            subscriptions: Arc::default(),
            state: OperatingState::default(),
            metrics: Metrics::default(),
            runtime: tokio::runtime::Handle::current(),
        });
        if let Some(list) = inner.store.get::<String>("tsl", "current")?
            && let Err(error) = inner.adopt_list(&list)
        {
            tracing::error!(%error, "stored trust list not usable");
        }
        inner.start_terminals()?;
        tokio::spawn(inner.clone().maintain_trust());
        inner.raise(Event::info("BOOTUP/BOOTUP_COMPLETE", None, Vec::new()));
        Ok(Self { inner })
    }

    /// What the parts share.
    pub fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Inner {
    /// The information model as it is now.
    pub fn model(&self) -> Arc<Model> {
        self.model.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the information model: checked, stored, then live.
    pub fn set_model(&self, model: Model) -> Result<(), Failure> {
        model
            .validate()
            .map_err(|error| Failure::new(base::Code::SYNTAX, error))?;
        self.store.put("model", "current", &model)?;
        *self.model.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(model);
        Ok(())
    }

    /// The trust space, once there is one.
    pub fn trust(&self) -> Option<Arc<Trust>> {
        self.trust.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Verifies a trust list against the anchor and uses it, unless it is older than the one in use (TUC_KON_032).
    pub fn adopt_list(&self, xml: &str) -> Result<u64, pki::tsl::TslError> {
        let list = Tsl::verify(xml, &self.identities.trust_anchor, self.clock.now())?;
        let sequence = list.sequence;
        let mut trust = self.trust.write().unwrap_or_else(PoisonError::into_inner);
        if trust
            .as_ref()
            .is_some_and(|current| current.list().sequence > sequence)
        {
            return Err(pki::tsl::TslError::Format(
                "sequence number: older than the list in use",
            ));
        }
        *trust = Some(Arc::new(Trust::new(
            list,
            Duration::from_secs(600),
            Duration::from_secs(10),
        )));
        Ok(sequence)
    }

    /// Downloads the list daily, sooner after a failure, and keeps the conditions about it true.
    async fn maintain_trust(self: Arc<Self>) {
        loop {
            let mut pause = Duration::from_secs(86_400);
            if let Some(url) = self.config.tsl_url.clone().filter(|_| self.config.online) {
                let fetching = pki::http::fetch("GET", &url, None, Vec::new(), base::limits::TSL);
                let fetched = self.clock.timeout(Duration::from_secs(30), fetching).await;
                let outcome = match fetched {
                    Some(Ok(bytes)) => String::from_utf8(bytes)
                        .map_err(|e| e.to_string())
                        .and_then(|xml| {
                            self.adopt_list(&xml).map_err(|error| error.to_string())?;
                            self.store
                                .put("tsl", "current", &xml)
                                .map_err(|error| error.to_string())
                        }),
                    Some(Err(error)) => Err(error.to_string()),
                    None => Err("no answer in 30 s".into()),
                };
                if let Err(reason) = &outcome {
                    tracing::warn!(reason, "trust list not updated");
                    pause = Duration::from_secs(if self.trust().is_some() { 3600 } else { 2 });
                }
                self.set_condition(Condition::TslUpdateNotSuccessful, outcome.is_err());
            }
            if let Some(trust) = self.trust() {
                let anchor_end = self.identities.trust_anchor.validity().1;
                let now = self.clock.now();
                for (condition, value) in
                    state::trust_list_conditions(trust.list().next_update, anchor_end, now)
                {
                    self.set_condition(condition, value);
                }
            }
            self.clock.sleep(pause).await;
        }
    }

    /// Sets a condition and tells everybody if that changed it.
    pub(crate) fn set_condition(&self, condition: Condition, value: bool) {
        if !self.state.set(condition.clone(), value, self.clock.now()) {
            return;
        }
        let (name, severity, kind) = condition.describe();
        let topic = format!("OPERATIONAL_STATE/{name}");
        let parameters = vec![("Value", value.to_string()), ("Bedeutung", name)];
        self.raise(Event {
            topic,
            kind,
            severity,
            parameters,
            terminal: None,
            card: None,
        });
    }

    /// An event: into the log, then to those who subscribed.
    pub(crate) fn raise(&self, event: Event) {
        let now = self.clock.now();
        if event.severity >= Severity::Warning || !event.topic.starts_with("CARD/PIN/") {
            let stored = self
                .store
                .log(now, &event.topic, &event.severity.to_string(), &event.for_log());
            if let Err(error) = stored {
                tracing::error!(%error, "log not writable");
                self.state.set(Condition::SecurityLogNotWritable, true, now);
            }
        }
        tracing::info!(topic = event.topic, severity = %event.severity, parameters = event.for_log(), "event");
        for subscription in self.subscriptions.matching(&event, &self.model(), now) {
            let (event, identity) = (event.clone(), self.identities.ak_nist.clone());
            let (clock, max, list) = (
                self.clock.clone(),
                self.config.event_max_tries,
                self.subscriptions.clone(),
            );
            self.runtime.spawn(async move {
                let sent = clock
                    .timeout(
                        events::DELIVERY,
                        events::deliver(&event, &subscription, &identity),
                    )
                    .await;
                list.delivered(&subscription.id, matches!(sent, Some(Ok(()))), max);
            });
        }
    }
}
