//! The Kartenterminaldienst: one task a terminal that connects, proves the pairing, watches and reconnects
//! (TUC_KON_050, 053, TIP1-A_4536 ff.).

use crate::cards::Card;
use crate::config::TerminalConfig;
use crate::events::Event;
use crate::state::Condition;
use crate::{Failure, Inner};
use asn1::X509;
use base::Code;
use base::id::{CtId, SlotId};
use pki::Purpose;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use terminal::wire::Event as Wire;
use terminal::{Session, SlotChannel, TerminalError, TerminalEvent, pairing};
use tokio::sync::{Notify, mpsc};
use zeroize::Zeroizing;

/// CT.CORRELATION.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correlation {
    /// Seen on the network.
    Bekannt,
    /// Adopted by the administrator.
    Zugewiesen,
    /// Paired.
    Gepairt,
    /// In use.
    Aktiv,
}

/// What is stored of a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalRecord {
    /// Identity and address.
    #[serde(flatten)]
    pub config: TerminalConfig,
    /// How far it has come.
    pub correlation: Correlation,
    /// SHA-256 of the certificate it was paired with.
    #[serde(default)]
    pub certificate: Option<String>,
}

/// A terminal as the services see it.
#[derive(Clone)]
pub struct TerminalState {
    /// What is stored.
    pub record: TerminalRecord,
    /// The proven connection (CT.CONNECTED).
    pub session: Option<Arc<Session>>,
    /// Number of slots.
    pub slots: u8,
    wake: Arc<Notify>,
}

/// All terminals.
#[derive(Default)]
pub struct Terminals {
    list: Mutex<BTreeMap<CtId, TerminalState>>,
}

const STORE: &str = "terminal";
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF: [u64; 5] = [1, 2, 5, 15, 30];
/// Certificates that end sooner are reported (five weeks).
const WARN_SECONDS: i64 = 35 * 86_400;

impl Terminals {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<CtId, TerminalState>) -> T) -> T {
        work(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All terminals.
    pub fn all(&self) -> Vec<TerminalState> {
        self.with(|list| list.values().cloned().collect())
    }

    /// One terminal.
    pub fn get(&self, id: &CtId) -> Option<TerminalState> {
        self.with(|list| list.get(id).cloned())
    }

    /// A terminal that is active and connected.
    pub fn connected(&self, id: &CtId) -> Result<Arc<Session>, Failure> {
        let state = self.get(id).ok_or(Code::UNKNOWN_TERMINAL)?;
        if state.record.correlation != Correlation::Aktiv {
            return Err(Code::TERMINAL_NOT_ACTIVE.into());
        }
        state.session.ok_or_else(|| Code::TERMINAL_NOT_CONNECTED.into())
    }
}

impl Inner {
    /// Loads stored terminals and those of the configuration, and starts their tasks.
    pub(crate) fn start_terminals(self: &Arc<Self>) -> Result<(), Failure> {
        let mut records: BTreeMap<CtId, TerminalRecord> = BTreeMap::new();
        for (_, record) in self.store.all::<TerminalRecord>(STORE)? {
            records.insert(record.config.id.clone(), record);
        }
        for config in &self.config.terminals {
            let record = records
                .entry(config.id.clone())
                .or_insert_with(|| TerminalRecord {
                    config: config.clone(),
                    correlation: Correlation::Zugewiesen,
                    certificate: None,
                });
            // the address may change, the pairing stays
            record.config = config.clone();
        }
        for record in records.into_values() {
            self.watch(record);
        }
        Ok(())
    }

    fn watch(self: &Arc<Self>, record: TerminalRecord) {
        let id = record.config.id.clone();
        let state = TerminalState {
            record,
            session: None,
            slots: 0,
            wake: Arc::default(),
        };
        self.terminals.with(|list| list.insert(id.clone(), state));
        let inner = self.clone();
        tokio::spawn(async move { inner.supervise(id).await });
    }

    /// Adds a terminal by hand (TUC_KON_054).
    pub fn add_terminal(self: &Arc<Self>, config: TerminalConfig) -> Result<(), Failure> {
        if self.terminals.get(&config.id).is_some() {
            return Err(Failure::new(
                Code::TERMINAL_INCONSISTENT,
                "a terminal with this id exists",
            ));
        }
        let record = TerminalRecord {
            config,
            correlation: Correlation::Zugewiesen,
            certificate: None,
        };
        self.store.put(STORE, record.config.id.as_str(), &record)?;
        self.watch(record);
        Ok(())
    }

    /// Removes a terminal with its pairing.
    pub fn remove_terminal(&self, id: &CtId) -> Result<(), Failure> {
        self.store.delete(STORE, id.as_str())?;
        self.store.delete_secret(&secret_id(id))?;
        let gone = self
            .terminals
            .with(|list| list.remove(id))
            .ok_or(Code::UNKNOWN_TERMINAL)?;
        gone.wake.notify_one();
        self.forget_cards(id);
        self.state
            .forget(&Condition::CardTerminalNotAvailable(id.clone()));
        Ok(())
    }

    fn judge(self: &Arc<Self>, pinned: Option<String>) -> crypto::tls::Judge {
        let inner = self.clone();
        Arc::new(move |chain| {
            let der = chain.first().ok_or("no certificate")?;
            let certificate = X509::parse(der).map_err(|error| error.to_string())?;
            if let Some(pinned) = &pinned {
                let shown = hex::encode(crypto::sha256([der]));
                if shown != *pinned {
                    return Err("certificate differs from the one that was paired".into());
                }
            }
            // without a trust list only a terminal that is paired already can be believed
            match (inner.trust(), &pinned) {
                (Some(trust), _) => trust
                    .check_offline(&certificate, &Purpose::TERMINAL, inner.clock.now())
                    .map(|_| ())
                    .map_err(|error| error.to_string()),
                (None, Some(_)) => Ok(()),
                (None, None) => Err("no trust list yet".into()),
            }
        })
    }

    async fn open(
        self: &Arc<Self>,
        record: &TerminalRecord,
        events: mpsc::UnboundedSender<TerminalEvent>,
    ) -> Result<Arc<Session>, TerminalError> {
        let tls =
            crypto::tls::client_config(Some(&self.identities.sak), self.judge(record.certificate.clone()))
                .map_err(|error| TerminalError::Connection(error.to_string()))?;
        let session = Session::connect(
            record.config.address,
            tls,
            TLS_TIMEOUT,
            self.clock.clone(),
            events,
        )
        .await?;
        session
            .ask(
                "INIT CT SESSION",
                &terminal::command::init_session("", ""),
                COMMAND_TIMEOUT,
            )
            .await?;
        Ok(session)
    }

    /// Pairs a terminal (TUC_KON_053). `fingerprint` is what the administrator has compared with the gSMC-KT; without
    /// it the fingerprint is taken as shown.
    pub async fn pair(self: &Arc<Self>, id: &CtId, fingerprint: Option<&str>) -> Result<String, Failure> {
        let mut record = self.terminals.get(id).ok_or(Code::UNKNOWN_TERMINAL)?.record;
        record.certificate = None;
        // the event channel is not needed: the session ends with the pairing
        let (events, _unused) = mpsc::unbounded_channel();
        let connection =
            |error: TerminalError| Failure::new(error.code(), error).within(Code::PAIRING_CONNECTION);
        let session = self.open(&record, events).await.map_err(connection)?;
        let shown = hex::encode(crypto::sha256([session.certificate()]));
        if fingerprint.is_some_and(|expected| !expected.eq_ignore_ascii_case(&shown)) {
            return Err(Failure::new(
                Code::PAIRING_FAILED,
                "fingerprint differs from the one given",
            ));
        }
        let text = format!(
            "KT:{} MIT KON:{} PAIREN OK?",
            record.config.mac.pairing_text(),
            self.config.hostname
        );
        let secret = pairing::create(&session, &text)
            .await
            .map_err(|error| Failure::new(error.code(), error).within(Code::PAIRING_FAILED))?;
        // secret first: a record that says "paired" without a secret would never connect again
        self.store.put_secret(&secret_id(id), &secret)?;
        record.certificate = Some(shown.clone());
        record.correlation = Correlation::Aktiv;
        self.store.put(STORE, id.as_str(), &record)?;
        let wake = self.terminals.with(|list| {
            let state = list.get_mut(id)?;
            state.record = record;
            Some(state.wake.clone())
        });
        let _ = session
            .send(0, &terminal::command::close_session(), COMMAND_TIMEOUT)
            .await;
        drop(session);
        wake.ok_or(Code::UNKNOWN_TERMINAL)?.notify_one();
        Ok(shown)
    }

    /// Connects, watches and reconnects until the terminal is removed.
    async fn supervise(self: Arc<Self>, id: CtId) {
        let mut failures = 0usize;
        loop {
            let Some(TerminalState { record, wake, .. }) = self.terminals.get(&id) else {
                return;
            };
            if record.correlation == Correlation::Aktiv {
                match self.run_session(&record).await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        self.terminal_failed(&record, &error);
                    }
                }
                self.set_available(&id, false);
            }
            let pause = BACKOFF
                .get(failures.min(BACKOFF.len() - 1))
                .copied()
                .unwrap_or(30);
            tokio::select! {
                () = self.clock.sleep(Duration::from_secs(pause)) => {}
                () = wake.notified() => failures = 0,
            }
        }
    }

    fn terminal_failed(&self, record: &TerminalRecord, error: &TerminalError) {
        let parameters = vec![
            ("CtID", record.config.id.to_string()),
            ("Name", record.config.name.clone()),
            ("Error", error.code().number().to_string()),
            ("Bedeutung", error.to_string()),
        ];
        let mut event = Event::info(
            "CT/TLS_ESTABLISHMENT_FAILURE",
            Some(record.config.id.clone()),
            parameters,
        );
        event.severity = error.code().severity();
        self.raise(event);
    }

    fn set_available(&self, id: &CtId, available: bool) {
        self.set_condition(Condition::CardTerminalNotAvailable(id.clone()), !available);
    }

    /// One connection from TLS to its end.
    async fn run_session(self: &Arc<Self>, record: &TerminalRecord) -> Result<(), TerminalError> {
        let id = &record.config.id;
        let secret = self.store.secret(&secret_id(id)).ok().flatten();
        let secret = secret.ok_or(TerminalError::NotAuthentic(
            "pairing secret is missing: pair again",
        ))?;
        let (sender, mut events) = mpsc::unbounded_channel();
        let session = self.open(record, sender).await?;
        pairing::validate(&session, &Zeroizing::new(secret.to_vec()), COMMAND_TIMEOUT).await?;
        let slots = session.slots(COMMAND_TIMEOUT).await?;
        self.terminals.with(|list| {
            if let Some(state) = list.get_mut(id) {
                state.session = Some(session.clone());
                state.slots = slots.len() as u8;
            }
        });
        self.set_available(id, true);
        if let Ok(certificate) = X509::parse(session.certificate()) {
            let soon = certificate.validity().1 - self.clock.now().as_second() < WARN_SECONDS;
            self.set_condition(Condition::CardTerminalCertificateExpiresSoon(id.clone()), soon);
        }
        let about = || vec![("CtID", id.to_string()), ("Hostname", record.config.name.clone())];
        self.raise(Event::info("CT/CONNECTED", Some(id.clone()), about()));
        for (index, occupied) in slots.iter().enumerate() {
            if *occupied && let Ok(slot) = SlotId::new(index as u8 + 1) {
                self.spawn_open_card(id, slot, &session);
            }
        }
        let outcome = self.watch_session(id, &session, &mut events).await;
        self.terminals.with(|list| {
            if let Some(state) = list.get_mut(id) {
                state.session = None;
            }
        });
        self.forget_cards(id);
        self.raise(Event::info("CT/DISCONNECTED", Some(id.clone()), about()));
        outcome
    }

    async fn watch_session(
        self: &Arc<Self>,
        id: &CtId,
        session: &Arc<Session>,
        events: &mut mpsc::UnboundedReceiver<TerminalEvent>,
    ) -> Result<(), TerminalError> {
        let interval = Duration::from_secs(self.config.keep_alive_seconds);
        let mut misses = 0;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    None | Some(TerminalEvent::Closed) | Some(TerminalEvent::Event(Wire::SignOff)) => return Ok(()),
                    Some(TerminalEvent::Event(Wire::CardInserted(unit))) => {
                        if let Some(slot) = slot_of(unit) {
                            self.spawn_open_card(id, slot, session);
                        }
                    }
                    Some(TerminalEvent::Event(Wire::CardRemoved(unit))) => {
                        if let Some(card) = slot_of(unit).and_then(|slot| self.cards.remove(id, slot)) {
                            self.card_event("CARD/REMOVED", &card);
                        }
                    }
                    Some(TerminalEvent::Event(_)) => misses = 0,
                },
                () = self.clock.sleep(interval) => {
                    // a terminal that was removed from the list is left alone
                    if self.terminals.get(id).is_none() {
                        return Ok(());
                    }
                    match session.slots(interval).await {
                        Ok(_) => misses = 0,
                        Err(TerminalError::Timeout(_)) => {
                            misses += 1;
                            if misses >= self.config.keep_alive_tries {
                                return Err(TerminalError::Timeout(interval));
                            }
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    fn spawn_open_card(self: &Arc<Self>, id: &CtId, slot: SlotId, session: &Arc<Session>) {
        let (inner, id, session) = (self.clone(), id.clone(), session.clone());
        tokio::spawn(async move {
            if let Err(failure) = inner.open_card(&id, slot, session).await {
                tracing::warn!(terminal = %id, %slot, code = failure.code().number(), detail = failure.detail(), "card not opened");
            }
        });
    }

    /// TUC_KON_001: powers a card up, recognises it, gives it a handle and tells subscribers.
    pub(crate) async fn open_card(
        &self,
        id: &CtId,
        slot: SlotId,
        session: Arc<Session>,
    ) -> Result<Arc<Card>, Failure> {
        let channel = SlotChannel::new(
            session,
            slot,
            Duration::from_secs(self.config.card_timeout_seconds),
        );
        channel.power_up().await?;
        let found = card::inspect(&channel).await?;
        let card = Arc::new(Card::new(id.clone(), slot, self.clock.now(), found, channel)?);
        if let Some(before) = self.cards.insert(card.clone()) {
            self.card_event("CARD/REMOVED", &before);
        }
        self.card_event("CARD/INSERTED", &card);
        Ok(card)
    }

    pub(crate) fn card_event(&self, topic: &str, card: &Card) {
        let version = card.found.object_system;
        let mut parameters = vec![
            ("CardHandle", card.handle.to_string()),
            ("CardType", card.found.kind.to_string()),
            (
                "CardVersion",
                format!("{}.{}.{}", version.0, version.1, version.2),
            ),
            ("CtID", card.ct_id.to_string()),
            ("SlotID", card.slot.to_string()),
            ("InsertTime", card.inserted.to_string()),
        ];
        parameters.extend(
            card.found
                .iccsn
                .as_ref()
                .map(|iccsn| ("ICCSN", iccsn.to_string())),
        );
        parameters.extend(card.found.holder().map(|name| ("CardHolderName", name)));
        parameters.extend(card.found.kvnr().map(|kvnr| ("KVNR", kvnr)));
        let mut event = Event::info(topic, Some(card.ct_id.clone()), parameters);
        event.card = Some((card.found.kind, card.found.iccsn.clone()));
        self.raise(event);
    }

    fn forget_cards(&self, id: &CtId) {
        for card in self.cards.remove_terminal(id) {
            self.card_event("CARD/REMOVED", &card);
        }
    }
}

fn slot_of(unit: u16) -> Option<SlotId> {
    u8::try_from(unit)
        .ok()
        .and_then(|number| SlotId::new(number).ok())
}

fn secret_id(id: &CtId) -> String {
    format!("pairing/{id}")
}
