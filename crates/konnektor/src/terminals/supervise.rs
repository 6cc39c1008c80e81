use super::slots::slot_of;
use super::{ANYBODY, COMMAND_TIMEOUT, TerminalRecord, TerminalState, secret_id};
use crate::events::Event;
use crate::state::{self, Condition};
use crate::{Failure, Inner};
use asn1::X509;
use base::id::CtId;
use pki::Purpose;
use std::sync::Arc;
use std::time::Duration;
use terminal::command::sw;
use terminal::wire::Event as Wire;
use terminal::{Session, TerminalError, TerminalEvent, pairing};
use tokio::sync::{Notify, mpsc};
use zeroize::Zeroizing;

/// CTM_TLS_HS_TIMEOUT.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// So many connections may break before another certificate is tried.
const PATIENT: usize = 3;
/// Seconds between attempts to connect.
const BACKOFF: [u64; 5] = [1, 2, 5, 15, 30];

impl Inner {
    /// Who may be a terminal: a valid gSMC-KT, and after pairing only the one that was paired.
    fn judge(self: &Arc<Self>, pinned: Option<String>) -> crypto::tls::Judge {
        // a connection keeps its judge, and the instance its connections: not for ever
        let inner = Arc::downgrade(self);
        Arc::new(move |chain, _| {
            let inner = inner.upgrade().ok_or("switched off")?;
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

    /// TLS and INIT CT SESSION, as anybody (`""`) or as the terminal's administrator; nothing is proven yet.
    pub(super) async fn open(
        self: &Arc<Self>,
        record: &TerminalRecord,
        login: (&str, &str),
        events: mpsc::UnboundedSender<TerminalEvent>,
    ) -> Result<Arc<Session>, TerminalError> {
        let all = self.terminal_identities(record.config.id.as_str());
        let (_, identity) = all
            .first()
            .ok_or_else(|| TerminalError::Connection("no C.SAK.AUT to show".into()))?;
        self.open_as(record, identity, login, events).await
    }

    /// A connection in which the terminal has proven that it knows us. It judges the issuer of our certificate by a list of its
    /// own: if it does not believe the first one, the others are tried (A_22888). A connection that breaks says nothing about
    /// the certificate; but some terminals say no in this way, so after some `failures` the others get their turn, too, and
    /// what the terminal takes by choice stays as it was.
    async fn open_proven(
        self: &Arc<Self>,
        record: &TerminalRecord,
        failures: usize,
    ) -> Result<(Arc<Session>, mpsc::UnboundedReceiver<TerminalEvent>), TerminalError> {
        let id = &record.config.id;
        let mut last = TerminalError::Connection("no C.SAK.AUT to show".into());
        let mut refused = true;
        for (generation, identity) in self.terminal_identities(id.as_str()) {
            let (sender, events) = mpsc::unbounded_channel();
            let opened = async {
                let session = self.open_as(record, &identity, ANYBODY, sender).await?;
                match self.prove(&session, id).await {
                    Ok(()) => Ok(session),
                    Err(error) => {
                        session.close().await;
                        Err(error)
                    }
                }
            };
            match opened.await {
                Ok(session) => {
                    if refused {
                        self.terminal_took(id.as_str(), generation);
                    }
                    return Ok((session, events));
                }
                Err(error) if error.is_about_us() => last = error,
                Err(error) if failures < PATIENT => return Err(error),
                Err(error) => {
                    refused = false;
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Would a terminal that works take this certificate, too? A second connection proves the pairing with it and is closed.
    pub(crate) async fn try_terminal(
        self: &Arc<Self>,
        record: &TerminalRecord,
        identity: &crypto::tls::Identity,
    ) -> Result<(), TerminalError> {
        let (sender, _events) = mpsc::unbounded_channel();
        let session = self.connect_as(record, identity, sender).await?;
        let secret = self.store.secret(&secret_id(&record.config.id)).ok().flatten();
        let proven = match secret {
            Some(secret) => pairing::validate(&session, &secret, COMMAND_TIMEOUT).await,
            None => Err(TerminalError::NotAuthentic(
                "pairing secret is missing: pair again",
            )),
        };
        session.close().await;
        proven
    }

    async fn connect_as(
        self: &Arc<Self>,
        record: &TerminalRecord,
        identity: &crypto::tls::Identity,
        events: mpsc::UnboundedSender<TerminalEvent>,
    ) -> Result<Arc<Session>, TerminalError> {
        let judge = self.judge(record.certificate.clone());
        let tls = crypto::tls::client_config(Some(identity), judge)
            .map_err(|error| TerminalError::Connection(error.to_string()))?;
        Session::connect(
            record.config.address,
            tls,
            TLS_TIMEOUT,
            self.clock.clone(),
            events,
        )
        .await
    }

    async fn open_as(
        self: &Arc<Self>,
        record: &TerminalRecord,
        identity: &crypto::tls::Identity,
        (user, password): (&str, &str),
        events: mpsc::UnboundedSender<TerminalEvent>,
    ) -> Result<Arc<Session>, TerminalError> {
        let session = self.connect_as(record, identity, events).await?;
        let init = terminal::command::init_session(user, password);
        session
            .ask(terminal::command::INIT_SESSION, &init, COMMAND_TIMEOUT)
            .await?;
        Ok(session)
    }

    /// Connects, watches and reconnects until the terminal is removed; `mine` tells it from a later one of the same id.
    pub(super) async fn supervise(self: Arc<Self>, id: CtId, mine: Arc<Notify>) {
        let mut failures = 0usize;
        let mut candidate_failed = false;
        loop {
            let Some(state) = self.terminals.of_task(&id, &mine) else {
                return;
            };
            let wanted = state.is_wanted();
            let TerminalState {
                mut record,
                candidate,
                ..
            } = state;
            if wanted {
                // where it says it is, and then always where it was last: anybody can say anything
                let tried = candidate.filter(|_| !candidate_failed);
                record.config.address = tried.unwrap_or(record.config.address);
                let outcome = self.run_session(&record, &mine, failures).await;
                candidate_failed = tried.is_some() && outcome.is_err();
                match outcome {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        let failure = Failure::new(error.code(), &error);
                        // a claim that was wrong is nobody's trouble
                        if tried.is_none() {
                            self.terminal_error("CT/TLS_ESTABLISHMENT_FAILURE", &id, &failure, true);
                        }
                    }
                }
                if tried.is_some() {
                    self.terminals
                        .change_of_task(&id, &mine, |state| state.candidate = None);
                }
            }
            match self.terminals.of_task(&id, &mine) {
                None => return,
                // only what is in use can be missing
                Some(state) => self.set_available(&id, !state.is_wanted()),
            }
            let pause = BACKOFF.get(failures.min(BACKOFF.len() - 1)).copied();
            tokio::select! {
                () = self.clock.sleep(Duration::from_secs(pause.unwrap_or(30))) => {}
                () = mine.notified() => failures = 0,
            }
        }
    }

    /// An error at a terminal as an event; `tell` is whether subscribers hear of it.
    pub(super) fn terminal_error(&self, topic: &str, id: &CtId, failure: &Failure, tell: bool) {
        let name = self.terminals.get(id).map(|state| state.record.config.name);
        let parameters = vec![
            ("CtID", id.to_string()),
            ("Name", name.unwrap_or_default()),
            ("Error", failure.code().number().to_string()),
            ("Bedeutung", failure.code().text().to_owned()),
        ];
        let event = Event::error(topic, Some(id.clone()), failure.code(), parameters);
        tracing::warn!(terminal = %id, detail = failure.detail(), "{topic}");
        if tell { self.raise(event) } else { self.log(&event) }
    }

    fn set_available(&self, id: &CtId, available: bool) {
        self.set_condition(Condition::CardTerminalNotAvailable(id.clone()), !available);
    }

    /// Is a terminal's certificate near its end? Asked when it connects and then by the calendar.
    pub(crate) fn check_terminal_certificates(&self) {
        for state in self.terminals.all() {
            let certificate = state
                .session
                .and_then(|session| X509::parse(session.certificate()).ok());
            if let Some(certificate) = certificate {
                let soon =
                    state::terminal_certificate_expires_soon(certificate.validity().1, self.clock.now());
                let condition = Condition::CardTerminalCertificateExpiresSoon(state.record.config.id);
                self.set_condition(condition, soon);
            }
        }
    }

    /// The terminal proves that it knows the secret. If it does not know this Konnektor's key, because key or device
    /// were replaced, the secret brings the key into the pairing (maintenance pairing).
    async fn prove(&self, session: &Session, id: &CtId) -> Result<(), TerminalError> {
        let secret = self.store.secret(&secret_id(id)).ok().flatten();
        let secret = secret.ok_or(TerminalError::NotAuthentic(
            "pairing secret is missing: pair again",
        ))?;
        let secret = Zeroizing::new(secret.to_vec());
        match pairing::validate(session, &secret, COMMAND_TIMEOUT).await {
            Err(TerminalError::Refused {
                word: sw::NOT_ALLOWED,
                ..
            }) => {
                tracing::info!(terminal = %id, "terminal does not know this key: maintenance pairing");
                pairing::add(session, &secret, COMMAND_TIMEOUT).await?;
                pairing::validate(session, &secret, COMMAND_TIMEOUT).await
            }
            outcome => outcome,
        }
    }

    /// One connection from TLS to its end.
    async fn run_session(
        self: &Arc<Self>,
        record: &TerminalRecord,
        mine: &Arc<Notify>,
        failures: usize,
    ) -> Result<(), TerminalError> {
        let id = &record.config.id;
        let (session, mut events) = self.open_proven(record, failures).await?;
        let address = session.peer();
        if self
            .terminals
            .of_task(id, mine)
            .is_some_and(|state| state.record.config.address != address)
        {
            let moved = self.change_terminal(id, Some(mine), |record| {
                record.config.address = address;
                Ok(())
            });
            if let Err(failure) = moved {
                tracing::warn!(terminal = %id, detail = failure.detail(), "new address not stored");
            }
        }
        let slots = session.slots(COMMAND_TIMEOUT).await?;
        let product = session.product(COMMAND_TIMEOUT).await.ok();
        self.terminals.change_of_task(id, mine, |state| {
            state.session = Some(session.clone());
            state.slots = slots.len() as u8;
            state.record.product = product.or(state.record.product.take());
        });
        if !self.still_wanted(id, mine, &session) {
            session.close().await;
            return Ok(());
        }
        self.set_available(id, true);
        self.check_terminal_certificates();
        let about = || vec![("CtID", id.to_string()), ("Hostname", record.config.name.clone())];
        self.raise(Event::info("CT/CONNECTED", Some(id.clone()), about()));
        self.open_missed(id, &slots, &session);
        self.terminal_is_back(id);
        let outcome = self.watch_session(id, &session, &mut events, mine).await;
        // in this order, or somebody could see cards in a terminal that is not connected; of one that was replaced they
        // are forgotten already
        if self.terminals.of_task(id, mine).is_some() {
            self.forget_cards(id);
        }
        self.terminals
            .change_of_task(id, mine, |state| state.session = None);
        session.close().await;
        self.raise(Event::info("CT/DISCONNECTED", Some(id.clone()), about()));
        outcome
    }

    /// Is the terminal still in use, at this address? Removed, put out of use or moved, its connection ends.
    fn still_wanted(&self, id: &CtId, mine: &Arc<Notify>, session: &Session) -> bool {
        self.terminals
            .of_task(id, mine)
            .is_some_and(|state| state.is_wanted() && state.record.config.address == session.peer())
    }

    async fn watch_session(
        self: &Arc<Self>,
        id: &CtId,
        session: &Arc<Session>,
        events: &mut mpsc::UnboundedReceiver<TerminalEvent>,
        mine: &Arc<Notify>,
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
                        if let Some(slot) = slot_of(unit) {
                            self.card_removed(id, slot);
                        }
                    }
                    Some(TerminalEvent::Event(_)) => misses = 0,
                },
                () = mine.notified() => {
                    if !self.still_wanted(id, mine, session) {
                        return Ok(());
                    }
                }
                () = self.clock.sleep(interval) => match session.slots(interval).await {
                    Ok(slots) => {
                        misses = 0;
                        self.open_missed(id, &slots, session);
                    }
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
