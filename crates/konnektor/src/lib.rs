//! One Konnektor instance: the services a practice system calls, its state, its administration.
//!
//! A [`Konnektor`] is a value, never a process-wide global. A request goes: TLS ([`server`]) → `soap` decodes by the
//! body's name → access check ([`model`]) → service ([`service`]) → card, trust → answer or [`Failure`] → fault. A card
//! goes: terminal event ([`terminals`]) → recognised → handle → event ([`events`]) to subscribers. Health is one set of
//! conditions ([`state`]). Time: [`lifetime`] extends the own certificates (TUC_KON_410, TUC_KON_411), by the rules of
//! crate `identity`, and tells of everything that ends; `time` says whether the clock can be believed. [`vpn`] keeps the tunnel into
//! the TI and [`net`] makes the machine the practice's router, both by crate `network`, with the networks beside the TI (`legacy`); [`ldap`] lets the directory be read; [`doctor`]
//! walks the whole chain and says whose it is to mend what is broken. [`update`] judges releases, hands them to the supervisor (crate
//! `slots`) and shows it that the one that runs works; [`users`] says who administers, by [`admin`] alone, which pages use, too;
//! [`trust`] fetches and uses lists, which [`judge`] has a process of its own judge first;
//! [`clients`] issues certificates to practice systems; `runbooks` keeps check lists and the walks through them.
//!
//! Chapters: gemSpec_Kon 4.1.1, 4.1.3 to 4.1.10, 4.1.13, VSDM.

pub mod abuse;
pub mod admin;
pub mod backup;
mod card_key;
pub mod cards;
pub mod clients;
pub mod config;
mod delivery;
pub mod doctor;
pub mod events;
pub mod expiry;
mod failure;
pub mod jobs;
pub mod judge;
pub mod ldap;
mod legacy;
pub mod lifetime;
mod maintenance;
pub mod metrics;
pub mod model;
pub mod net;
pub mod password;
pub mod protocol;
mod runbooks;
pub mod server;
mod service;
pub mod state;
pub mod terminals;
mod time;
mod tls_service;
pub mod trust;
pub mod unlock;
pub mod update;
pub mod users;
pub mod vpn;

pub use config::{ClientAuthentication, Config};
pub use failure::Failure;
pub use service::RECEIPT_KEY;

use base::Clock;
use cards::Cards;
use crypto::tls::Identity;
use delivery::Deliveries;
use events::{Event, Subscriptions};
use metrics::Metrics;
use model::Model;
use pki::{Responders, Space, Trust};
use state::{Condition, OperatingState};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use store::Store;
use terminals::Terminals;
use tokio::task::AbortHandle;

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
    /// ID.NK.VPN, if this device builds tunnels.
    pub nk: Option<Identity>,
    /// The same with RSA keys, on a card that has both: a terminal or a concentrator that takes nothing else still gets them as
    /// long as they last; nothing extends them (A_28504).
    pub rsa: Vec<(identity::Role, Identity)>,
    /// The first trust anchor and the roots.
    pub origin: pki::space::Origin,
    /// The gSMC-K's object system, if it is there as software: it enciphers what an HBA signs in a batch.
    pub gsmc_k: Option<card::image::ObjectSystem>,
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
    pub(crate) store: Arc<Store>,
    pub(crate) identities: Identities,
    pub(crate) model: Arc<RwLock<Arc<Model>>>,
    pub(crate) trust: RwLock<Option<Arc<Trust>>>,
    pub(crate) space: RwLock<Arc<Space>>,
    pub(crate) responders: Arc<Responders>,
    pub(crate) cards: Cards,
    pub(crate) terminals: Terminals,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) deliveries: Arc<Deliveries>,
    pub(crate) state: OperatingState,
    pub(crate) metrics: Metrics,
    pub(crate) monitor: abuse::Monitor,
    pub(crate) repeats: protocol::Repeats,
    pub(crate) door: password::Door,
    pub(crate) sessions: users::Sessions,
    pub(crate) jobs: jobs::Jobs,
    /// Requests with large documents: so many at a time as the memory for them allows.
    pub(crate) large: tokio::sync::Semaphore,
    pub(crate) comfort: service::ComfortSessions,
    pub(crate) lifetime: lifetime::Lifetime,
    pub(crate) update: update::Update,
    /// Nobody new is served; what is being served comes to its end.
    pub(crate) closing: tokio::sync::watch::Sender<bool>,
    tasks: Mutex<Vec<AbortHandle>>,
    /// Switched off: nothing begins any more.
    stopped: AtomicBool,
    /// Held while something of the trust space is judged, stored and taken into use.
    adopting: tokio::sync::Mutex<()>,
    /// The program that judges lists in a process of its own.
    judge: std::sync::OnceLock<std::path::PathBuf>,
    /// Services of the TI that were believed lately.
    services: trust::Services,
    /// Held while a stored PIN is sent to a card.
    unlocking: tokio::sync::Mutex<()>,
    /// Held while a step of a runbook is done.
    pub(crate) walking: tokio::sync::Mutex<()>,
    pub(crate) net: Option<Arc<net::Net>>,
    /// What the clock showed when it was believed last, Unix seconds, and when that was.
    last_believed: Mutex<Option<(i64, std::time::Duration)>>,
    pub(crate) vpn: Mutex<vpn::Vpn>,
    /// The tunnel may need another certificate.
    vpn_again: tokio::sync::Notify,
    /// An SM-B was found closed.
    unlock_again: tokio::sync::Notify,
    /// Something has changed that `maintain` should look at now.
    look_again: tokio::sync::Notify,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Konnektor {
    /// Starts the instance that a configuration file describes, for administration only: nothing else could be booted. A state that
    /// cannot be opened stays as it is; then one beside it is used, with a code for coming in in the file that is given back.
    pub fn rescue(path: &Path, clock: Arc<dyn Clock>) -> Result<(Self, Option<std::path::PathBuf>), Failure> {
        let (mut config, identities) = Self::read(path)?;
        config.update.rescue = true;
        config.online = false;
        (config.vpn, config.network, config.ldap) = (None, None, None);
        match Store::open(&config.store) {
            Ok(store) => Ok((Self::start(config, identities, store, clock)?, None)),
            Err(error) => {
                tracing::error!(%error, "the state cannot be opened");
                let folder = config.store.with_extension("rescue");
                let store = Store::open(&folder)?;
                let (code, file) = (users::invite_first(&store)?, folder.join("first-login"));
                // a log is no place for it
                base::file::replace(&file, code.as_bytes()).map_err(|error| {
                    Failure::new(base::Code::INTERNAL, format!("{}: {error}", file.display()))
                })?;
                Ok((Self::start(config, identities, store, clock)?, Some(file)))
            }
        }
    }

    /// A configuration with its paths, and the identities it names.
    fn read(path: &Path) -> Result<(Config, Identities), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(base::Code::INTERNAL, format!("{}: {error}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        let mut config = Config::parse(&text).map_err(|error| failed(&error))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let identities = config.identities.load(folder)?;
        config.store = folder.join(&config.store);
        config.update.root = config.update.root.map(|root| folder.join(root));
        config.update.folder = folder.join(&config.update.folder);
        config.admin_password_file = config.admin_password_file.map(|file| folder.join(file));
        if let Some(vpn) = &mut config.vpn {
            vpn.folder = folder.join(&vpn.folder);
        }
        if let Some(network) = &mut config.network {
            network.folder = folder.join(&network.folder);
        }
        Ok((config, identities))
    }

    /// Starts the instance that a configuration file describes.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let (config, identities) = Self::read(path)?;
        let store = Store::open(&config.store)?;
        let first_password = config.admin_password_file.clone();
        let konnektor = Self::start(config, identities, store, clock)?;
        if let Some(file) = first_password
            && konnektor.inner.users()?.is_empty()
        {
            let text = std::fs::read_to_string(&file).map_err(|error| {
                Failure::new(base::Code::INTERNAL, format!("{}: {error}", file.display()))
            })?;
            konnektor.set_admin_password(text.trim_end())?;
        }
        Ok(konnektor)
    }

    /// Starts an instance: loads what is stored, starts terminals and trust maintenance.
    pub fn start(
        config: Config,
        identities: Identities,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        config
            .check()
            .map_err(|error| Failure::new(base::Code::INTERNAL, error))?;
        let model = store
            .get::<Model>("model", "current")?
            .unwrap_or_else(|| config.model.clone());
        let (store, runtime) = (Arc::new(store), tokio::runtime::Handle::current());
        let (subscriptions, addresses) = Subscriptions::open(store.clone(), clock.now())?;
        let subscriptions = Arc::new(subscriptions);
        let deliveries = Deliveries::new(
            clock.clone(),
            identities.ak_nist.clone(),
            subscriptions.clone(),
            config.event_max_tries,
            runtime.clone(),
        );
        let (space, space_notes) = Inner::open_space(
            &store,
            identities.origin.clone(),
            config.certificates.tsl_grace_days,
        )?;
        let lifetime = lifetime::Lifetime::open(&store, &identities)?;
        let update = update::Update::new(&config.update);
        update::forget_order(&store, &update)?;
        let responders = Arc::new(Responders::new(config.certificates.ocsp()));
        let net = config.network.clone();
        let source = net.as_ref().and_then(|settings| settings.inventory.as_ref());
        let known = legacy::Known::open(&store, source)?;
        let net = net.map(|settings| net::Net::new(settings, config.vpn.clone(), known, clock.clone()));
        let net = net.map(Arc::new);
        let inner = Arc::new(Inner {
            config,
            clock,
            store,
            identities,
            model: Arc::new(RwLock::new(Arc::new(model))),
            lifetime,
            update,
            closing: tokio::sync::watch::Sender::new(false),
            trust: RwLock::default(),
            space: RwLock::new(Arc::new(space.clone())),
            responders,
            cards: Cards::default(),
            terminals: Terminals::default(),
            subscriptions,
            deliveries,
            state: OperatingState::default(),
            metrics: Metrics::default(),
            monitor: abuse::Monitor::default(),
            repeats: protocol::Repeats::default(),
            jobs: jobs::Jobs::default(),
            large: tokio::sync::Semaphore::new(
                base::limits::SOAP_REQUESTS_TOGETHER / base::limits::SOAP_REQUEST_DOCUMENTS,
            ),
            comfort: service::ComfortSessions::default(),
            door: password::Door::new()?,
            sessions: users::Sessions::default(),
            tasks: Mutex::default(),
            stopped: AtomicBool::default(),
            adopting: tokio::sync::Mutex::default(),
            judge: std::sync::OnceLock::new(),
            services: trust::Services::default(),
            unlocking: tokio::sync::Mutex::default(),
            walking: tokio::sync::Mutex::default(),
            net,
            last_believed: Mutex::default(),
            vpn: Mutex::default(),
            vpn_again: tokio::sync::Notify::default(),
            unlock_again: tokio::sync::Notify::default(),
            look_again: tokio::sync::Notify::default(),
            runtime,
        });
        service::make_receipt_key(&inner.store)?;
        for note in space_notes {
            tracing::error!(%note, "trust space");
        }
        inner.restore_conditions();
        inner.install(space);
        inner.show_certificates();
        inner.start_terminals()?;
        inner.spawn(inner.clone().maintain());
        inner.spawn(inner.clone().keep_supervised());
        if let Some(settings) = inner.config.update.ksr.clone().filter(|_| inner.config.online) {
            inner.spawn(inner.clone().keep_ksr());
            inner.spawn(inner.clone().keep_terminals_updated(settings));
        }
        if let Some(net) = inner.net.clone() {
            if net.settings.inventory.is_some() && inner.config.online {
                inner.spawn(inner.clone().keep_legacy());
            }
            inner.spawn(inner.clone().keep_network(net));
        }
        if let Some(settings) = inner.config.ldap.clone() {
            inner.spawn(inner.clone().serve_directory(settings));
        }
        // who may not go online does not dial (MGM_LU_ONLINE)
        if let Some(settings) = inner.config.vpn.clone().filter(|_| inner.config.online) {
            inner.spawn(inner.clone().keep_tunnel(settings));
        }
        let booted = Event::info("BOOTUP/BOOTUP_COMPLETE", None, Vec::new());
        inner.log(&booted);
        for address in addresses {
            inner.deliveries.send(&address, &booted, "");
        }
        Ok(Self { inner })
    }

    /// Ends everything the instance does by itself; what it has stored is complete at every moment.
    pub fn stop(&self) {
        let mut tasks = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // whoever still runs may begin something after this
        self.inner.stopped.store(true, Ordering::Release);
        tasks.drain(..).for_each(|task| task.abort());
        drop(tasks);
        self.inner.let_tunnel_go();
        self.inner.deliveries.stop();
        self.inner.terminals.hang_up();
        self.inner.cards.clear();
    }

    /// Serves nobody new; [`Konnektor::serve`] comes to its end when what is being served has.
    pub fn close(&self) {
        self.inner.closing.send_replace(true);
    }

    /// Where practice systems and administrators are to be served.
    pub fn addresses(&self) -> (std::net::SocketAddr, std::net::SocketAddr) {
        (self.inner.config.listen, self.inner.config.listen_admin)
    }

    /// Where the pages for people are to be served, if they are.
    pub fn pages(&self) -> Option<std::net::SocketAddr> {
        self.inner.config.listen_pages
    }

    /// Has lists from outside judged by a process of this program first, that is told `judge` ([`judge::judge`]). Once.
    pub fn judge_by(&self, program: &Path) {
        let _ = self.inner.judge.set(program.to_owned());
    }

    /// What the parts share.
    pub fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Inner {
    /// Starts something that ends with the instance.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        let task = self.runtime.spawn(work);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        match self.stopped.load(Ordering::Acquire) {
            true => task.abort(),
            false => tasks.push(task.abort_handle()),
        }
        task
    }

    /// The information model as it is now.
    pub fn model(&self) -> Arc<Model> {
        self.model.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The terminals.
    pub fn terminals(&self) -> &Terminals {
        &self.terminals
    }

    /// Where the instance keeps its state.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Replaces the information model: checked, stored, then live.
    pub fn set_model(&self, model: Model) -> Result<(), Failure> {
        model
            .validate()
            .map_err(|error| Failure::new(base::Code::SYNTAX, error))?;
        let _one = self.terminals.changing();
        self.store.put("model", "current", &model)?;
        self.adopt_model(model);
        Ok(())
    }

    /// Uses a model that is stored.
    pub(crate) fn adopt_model(&self, model: Model) {
        *self.model.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(model);
    }

    /// The trust space, once there is one.
    pub fn trust(&self) -> Option<Arc<Trust>> {
        self.trust.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the status services are doing.
    pub fn responders(&self) -> &Responders {
        &self.responders
    }

    /// All conditions with their value and since when it holds.
    pub fn conditions(&self) -> Vec<(Condition, bool, base::Timestamp)> {
        self.state.all()
    }

    /// An event: into the log, then to those who subscribed.
    pub(crate) fn raise(&self, event: Event) {
        self.log(&event);
        let now = self.clock.now();
        for subscription in self.subscriptions.matching(&event, &self.model(), now) {
            self.deliveries
                .send(&subscription.event_to, &event, subscription.id.as_str());
        }
    }
}
