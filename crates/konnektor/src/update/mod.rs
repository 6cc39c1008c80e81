//! Updates of this Konnektor: a bundle is judged ([`take`](Inner::take_bundle)), looked at from all sides ([`ready`]), handed to
//! the supervisor, and the release that then runs shows it that it works ([`examine`], [`work`]). What becomes of it is the
//! supervisor's to decide (`slots`); here it is told to people. gemSpec_Kon TIP1-A_4829, 4832-02, 5657-02, A_21900.

mod examine;
mod ksr;
mod ready;
pub(crate) mod terminals;
mod view;
mod window;
mod work;

pub use ksr::KsrSettings;
pub use ready::Check;
pub use terminals::{TerminalFirmware, TerminalOutcome};
pub use view::{OfferView, UpdateView};
pub use window::{Day, Window};

use crate::events::Event;
use crate::{Failure, Inner};
use base::{Code, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use slots::{Area, Disk, Link, Note, Order, Pointer, RealDisk, Version};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::Store;

/// Kind of documents about updates.
const STORE: &str = "update";
/// Between two signs of life, and two looks at the work done.
const BEAT: Duration = Duration::from_secs(5);
/// The same on trial: every second of it is one without a predecessor.
const TRIAL_BEAT: Duration = Duration::from_secs(1);
/// So many seconds after an order the supervisor has followed it, or never will.
const FOLLOWED: i64 = 300;
/// Nobody has called for so long: an update that missed its window disturbs nobody.
const QUIET: Duration = Duration::from_secs(3600);

/// Where releases come from, and when they may be put in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateSettings {
    /// File with the first root of the releases' signatures; without it no bundle is taken. Relative to the folder of this file.
    pub root: Option<PathBuf>,
    /// For which device releases are.
    pub product: String,
    /// Folder for what was taken; relative to the folder of this file.
    pub folder: PathBuf,
    /// Folder of the slots; by default the one the supervisor names (`LANGLAUF_SLOTS`).
    pub slots: Option<PathBuf>,
    /// The configuration service of the TI, if releases come from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ksr: Option<KsrSettings>,
    /// Nothing else could be booted: only administration is served.
    #[serde(skip)]
    pub rescue: bool,
    /// Is a newer release put in by itself, in the window?
    pub automatic: bool,
    /// When.
    pub window: Window,
}

impl Default for UpdateSettings {
    fn default() -> Self {
        Self {
            root: None,
            product: format!("langlauf-{}", std::env::consts::ARCH),
            folder: "update".into(),
            slots: None,
            ksr: None,
            rescue: false,
            automatic: true,
            window: Window::default(),
        }
    }
}

impl UpdateSettings {
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.ksr.as_ref().map_or(Ok(()), KsrSettings::check)?;
        self.window.check()
    }

    /// Folder of the slots, if this process has a supervisor.
    fn slots(&self) -> Option<PathBuf> {
        self.slots
            .clone()
            .or_else(|| std::env::var_os("LANGLAUF_SLOTS").map(PathBuf::from))
    }
}

/// How a bundle came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An administrator brought it.
    Administrator,
    /// The configuration service of the TI.
    Ksr,
}

/// A release that was judged and may be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Which.
    pub version: Version,
    /// What it was built from.
    pub source: String,
    /// How it came.
    pub by: Source,
    /// When.
    pub since: Timestamp,
    /// Version of the firmware group it came with.
    pub group: u64,
    /// What that group allows.
    pub allowed: Vec<Version>,
    /// When its metadata end.
    pub expires: Timestamp,
    /// What is new, as its notes say.
    pub notes: String,
    /// It was handed to the supervisor then.
    pub ordered: Option<Timestamp>,
    /// What became of its last trial, if it was tried: not again by itself.
    pub failed: Option<String>,
}

/// The updater's own state.
pub(crate) struct Update {
    /// With whom it talks, and where the slots are.
    link: Option<(Link, PathBuf)>,
    /// One thing at a time.
    busy: tokio::sync::Mutex<()>,
    /// The configuration service is being asked.
    asking: tokio::sync::Mutex<()>,
    /// Terminals that are updated at the same time.
    terminals: tokio::sync::Semaphore,
    /// Which ones.
    following: std::sync::Mutex<std::collections::BTreeSet<base::id::CtId>>,
    /// Seconds of the clock's counter when a practice system called last.
    called: AtomicU64,
}

impl Update {
    pub(crate) fn new(settings: &UpdateSettings) -> Self {
        let link = settings
            .slots()
            .map(|slots| (Link::to(slots.join("notify")), slots));
        Self {
            link,
            busy: tokio::sync::Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            terminals: tokio::sync::Semaphore::new(terminals::TOGETHER),
            following: std::sync::Mutex::default(),
            called: AtomicU64::default(),
        }
    }

    fn area(&self) -> Option<Area<RealDisk>> {
        // the state is the supervisor's business
        let (_, slots) = self.link.as_ref()?;
        Some(Area::new(RealDisk, slots.clone(), PathBuf::new()))
    }

    /// The release that runs: as its slot calls it, without slots as it calls itself.
    fn running(&self) -> Option<Version> {
        match self.pointer() {
            Some(pointer) => match &pointer.trial {
                Some(trial) if trial.booted => Some(trial.version),
                _ => pointer.version(),
            },
            None => crate::VERSION.parse().ok(),
        }
    }

    /// Why this release was taken back when it ran here last, if it was.
    fn taken_back(&self, version: Version) -> Option<String> {
        let pointer = self.pointer()?;
        let last = pointer
            .outcomes
            .iter()
            .find(|outcome| outcome.version == version)?;
        last.result.reason().map(|reason| format!("{version} {reason}"))
    }

    fn pointer(&self) -> Option<Pointer> {
        let pointer = self.area()?.pointer();
        pointer.inspect_err(|error| tracing::error!(%error, "slots")).ok()
    }
}

fn notes_of(folder: &Path) -> String {
    const MOST: usize = 32 * 1024;
    let text = std::fs::read(folder.join("NOTES.md")).unwrap_or_default();
    String::from_utf8_lossy(text.get(..MOST).unwrap_or(&text)).into_owned()
}

impl From<update::Error> for Failure {
    fn from(error: update::Error) -> Self {
        use update::Error as E;
        let code = match error {
            E::Metadata(_) | E::Expired { .. } => Code::UPDATE_INFORMATION,
            E::OtherProduct(_) => Code::FIRMWARE_GROUP,
            E::Archive(_) | E::Release(_) => Code::UPDATE_FILES,
            E::File(..) | E::Key(_) => Code::INTERNAL,
        };
        Failure::new(code, error)
    }
}

impl Inner {
    fn update_settings(&self) -> &UpdateSettings {
        &self.config.update
    }

    /// A practice system calls.
    pub(crate) fn note_call(&self) {
        self.update
            .called
            .store(self.clock.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// The release that may be tried, if there is one.
    pub fn offered(&self) -> Result<Option<Offered>, Failure> {
        Ok(self.store.get(STORE, "offered")?)
    }

    fn offered_folder(&self) -> PathBuf {
        self.update_settings().folder.join("offered")
    }

    /// Judges a bundle; a good one is kept until it is tried or another one comes. Nothing of a bad one remains (4181, 4183, 4185).
    pub async fn take_bundle(&self, bundle: &Path, by: Source) -> Result<Offered, Failure> {
        let settings = self.update_settings();
        let Some(root) = &settings.root else {
            return Err(Failure::new(
                Code::NOT_PERMITTED,
                "update.root is not set in the configuration",
            ));
        };
        let _one = self.update.busy.lock().await;
        if let Some(doubt) = self.doubt() {
            // what has ended cannot be told
            return Err(Failure::new(
                Code::NOT_PERMITTED,
                format!("the clock is not believed: {doubt:?}"),
            ));
        }
        let file = |path: &Path, error: std::io::Error| {
            Failure::new(Code::INTERNAL, format!("{}: {error}", path.display()))
        };
        std::fs::create_dir_all(&settings.folder).map_err(|error| file(&settings.folder, error))?;
        let memory = self
            .update
            .link
            .as_ref()
            .map_or(&settings.folder, |(_, slots)| slots);
        let judge = update::Judge {
            root: std::fs::read(root).map_err(|error| file(root, error))?,
            memory: memory.join("seen-releases.json"),
            product: settings.product.clone(),
        };
        let workspace = settings.folder.join("judging");
        let now = self.clock.now();
        // hashing and unpacking take seconds: other requests go on meanwhile
        let (path, runtime, place) = (bundle.to_owned(), self.runtime.clone(), workspace.clone());
        let judging = move || runtime.block_on(judge.examine(&path, &place, now));
        let judged = tokio::task::spawn_blocking(judging).await;
        let judged = judged.map_err(|error| Failure::new(Code::INTERNAL, error))?;
        let offer = match judged {
            Ok(offer) => offer,
            Err(error) => {
                let _ = RealDisk.remove_tree(&workspace);
                let failure = Failure::from(error);
                self.raise_update_error(&failure);
                return Err(failure);
            }
        };
        let offered = Offered {
            version: offer.manifest.version,
            source: offer.manifest.source.clone(),
            by,
            since: now,
            group: offer.group,
            allowed: offer.allowed,
            expires: offer.expires,
            notes: notes_of(&offer.folder),
            ordered: None,
            failed: self.update.taken_back(offer.manifest.version),
        };
        // the old one goes first: between the two there is none
        self.store.delete(STORE, "offered")?;
        let kept = self.offered_folder();
        let replace = || {
            RealDisk.remove_tree(&kept)?;
            RealDisk.rename(&offer.folder, &kept)?;
            RealDisk.remove_tree(&workspace)
        };
        replace().map_err(|error| file(&kept, error))?;
        self.store.put(STORE, "offered", &offered)?;
        self.show_update_conditions();
        Ok(offered)
    }

    /// Forgets what was offered.
    pub async fn discard_offer(&self) -> Result<(), Failure> {
        let _one = self.update.busy.lock().await;
        self.forget_offer()
    }

    pub(crate) fn forget_offer(&self) -> Result<(), Failure> {
        self.store.delete(STORE, "offered")?;
        RealDisk
            .remove_tree(&self.offered_folder())
            .map_err(|error| Failure::new(Code::INTERNAL, error))?;
        self.show_update_conditions();
        Ok(())
    }

    fn show_update_conditions(&self) {
        let Some(running) = self.update.running() else {
            return;
        };
        let offered = self.offered().ok().flatten();
        let offered = offered.is_some_and(|offered| offered.failed.is_none() && offered.version > running);
        let listed = self.update_settings().ksr.is_some() && ksr::meaning(&self.ksr_list(), running, None)[0];
        let newer = offered || listed || self.check_terminal_firmware();
        self.set_condition(crate::state::Condition::FwUpdateAvailable, newer);
    }

    /// Hands the offered release to the supervisor, after a look from all sides. `accept` names checks that may fail; those that
    /// must not are no matter of opinion.
    pub async fn start_update(self: &Arc<Self>, accept: &[String]) -> Result<(), Failure> {
        let _one = self.update.busy.lock().await;
        let refused = |why: String| Failure::new(Code::UPDATE_FAILED, why);
        let (Some((link, _)), Some(area)) = (&self.update.link, self.update.area()) else {
            return Err(refused(
                "there is no supervisor: this process was not started by langlauf-supervisor".into(),
            ));
        };
        let offered = self.offered()?;
        let mut offered = offered.ok_or_else(|| refused("no release was offered".into()))?;
        let mut checks = self.look_before_update(&offered).await;
        if checks.iter().all(|check| check.good || !check.must) {
            checks.push(self.check_backup().await);
        }
        let open: Vec<String> = checks
            .iter()
            .filter(|check| !check.good && (check.must || !accept.iter().any(|name| name == check.name)))
            .map(|check| format!("{}: {}", check.name, check.en))
            .collect();
        if !open.is_empty() {
            return Err(refused(open.join("; ")));
        }
        let required = self.work(true).await;
        let folder = self.offered_folder();
        let offering = tokio::task::spawn_blocking(move || area.offer(&folder)).await;
        let offering = offering.map_err(|error| Failure::new(Code::INTERNAL, error))?;
        let found = offering.map_err(|error| Failure::new(Code::UPDATE_FILES, error))?;
        if found != offered.version {
            return Err(Failure::new(
                Code::UPDATE_FILES,
                "another version than was offered",
            ));
        }
        offered.ordered = Some(self.clock.now());
        self.store.put(STORE, "offered", &offered)?;
        self.raise(self.update_event("KSR/UPDATE/START", Severity::Info, Vec::new()));
        let order = Order {
            version: offered.version,
            required,
        };
        if let Err(error) = link.say(&Note::Try(order)) {
            offered.ordered = None;
            self.store.put(STORE, "offered", &offered)?;
            return Err(refused(format!("the supervisor does not listen: {error}")));
        }
        Ok(())
    }

    fn update_event(&self, topic: &str, severity: Severity, more: Vec<(&'static str, String)>) -> Event {
        let mut parameters = vec![
            ("Target", "Konnektor".to_owned()),
            ("Name", self.config.hostname.clone()),
        ];
        parameters.extend(more);
        Event {
            kind: "Security",
            severity,
            ..Event::info(topic, None, parameters)
        }
    }

    fn raise_update_error(&self, failure: &Failure) {
        self.raise(self.update_event("KSR/ERROR", failure.code().severity(), failure.parameters()));
    }

    /// Tells people what the supervisor has decided since they were told last.
    fn tell_outcomes(&self, pointer: &Pointer) -> Result<(), Failure> {
        let told: u64 = self.store.get(STORE, "told")?.unwrap_or_default();
        // slots that were made anew count from the beginning
        let told = if told > pointer.numbers { 0 } else { told };
        let mut offered = self.offered()?;
        // an order that nobody has followed is none any more
        if let Some(of) = offered.as_mut().filter(|_| pointer.trial.is_none()) {
            let waits = |since: &Timestamp| self.clock.now().as_second() - since.as_second() > FOLLOWED;
            if of.ordered.take_if(|since| waits(since)).is_some() {
                self.store.put(STORE, "offered", of)?;
            }
        }
        for outcome in pointer
            .outcomes
            .iter()
            .rev()
            .filter(|outcome| outcome.number > told)
        {
            use slots::Result as R;
            let failed = match outcome.result.reason() {
                None => {
                    let parameters = vec![
                        ("NewFirmwareversion", outcome.version.to_string()),
                        ("ConfigurationChanged", "No".to_owned()),
                        ("ManualInputNeeded", "No".to_owned()),
                    ];
                    self.raise(self.update_event("KSR/UPDATE/SUCCESS", Severity::Info, parameters));
                    None
                }
                Some(reason) => Some(format!("{} {reason}", outcome.version)),
            };
            if let Some(reason) = &failed {
                self.raise_update_error(&Failure::new(Code::UPDATE_FAILED, reason));
            }
            if matches!(
                outcome.result,
                R::Confirmed | R::Refused { .. } | R::RolledBack { .. }
            ) {
                self.raise(self.update_event("KSR/UPDATE/END", Severity::Info, Vec::new()));
            }
            match &mut offered {
                Some(of) if of.version == outcome.version && failed.is_some() => {
                    (of.failed, of.ordered) = (failed, None);
                    self.store.put(STORE, "offered", of)?;
                }
                Some(of) if of.version == outcome.version => {
                    self.forget_offer()?;
                    offered = None;
                }
                _ => {}
            }
            self.store.put(STORE, "told", &outcome.number)?;
        }
        self.show_update_conditions();
        Ok(())
    }

    /// Shows the supervisor that this release lives and works, and does what is due, for ever.
    pub(crate) async fn keep_supervised(self: Arc<Self>) {
        self.sweep();
        let Some((link, _)) = self.update.link.clone() else {
            return;
        };
        let say = |note: &Note| {
            if let Err(error) = link.say(note) {
                tracing::warn!(%error, "the supervisor does not listen");
            }
        };
        if self.update_settings().rescue {
            return self.keep_rescuing(&say).await;
        }
        match self.examine().await {
            Ok(()) => say(&Note::Ready),
            Err(reason) => {
                tracing::error!(reason, "this release does not work");
                say(&Note::Failed(reason));
            }
        }
        // signs of life wait for nothing that takes its time
        let (this, beat) = (self.clone(), link.clone());
        self.spawn(async move {
            loop {
                if this.answers().await
                    && let Err(error) = beat.say(&Note::Alive)
                {
                    tracing::warn!(%error, "the supervisor does not listen");
                }
                this.clock.sleep(BEAT).await;
            }
        });
        let mut done = slots::Work::default();
        loop {
            let pointer = self.update.pointer();
            let trial = pointer.as_ref().is_some_and(|pointer| pointer.trial.is_some());
            if trial {
                // what was seen once was seen
                done = most(done, self.work(false).await);
                say(&Note::Work(done));
            } else {
                if let Some(pointer) = &pointer
                    && let Err(failure) = self.tell_outcomes(pointer)
                {
                    tracing::error!(detail = failure.detail(), "outcome of an update not told");
                }
                self.update_by_itself().await;
            }
            self.clock.sleep(if trial { TRIAL_BEAT } else { BEAT }).await;
        }
    }

    /// The rescue program lives, and that is all that is asked of it.
    async fn keep_rescuing(&self, say: &(impl Fn(&Note) + Send + Sync)) {
        say(&Note::Ready);
        loop {
            self.clock.sleep(BEAT).await;
            say(&Note::Alive);
            if let Some(Err(failure)) = self.update.pointer().map(|pointer| self.tell_outcomes(&pointer)) {
                tracing::error!(detail = failure.detail(), "outcome of an update not told");
            }
        }
    }

    /// What a power cut has left of uploads and judgements.
    fn sweep(&self) {
        let folder = &self.update_settings().folder;
        let _ = RealDisk.remove_tree(&folder.join("judging"));
        for (name, _) in RealDisk.list(folder).unwrap_or_default() {
            if name.starts_with("upload-") {
                let _ = std::fs::remove_file(folder.join(name));
            }
        }
    }

    /// Puts in what was offered, when it may be.
    async fn update_by_itself(self: &Arc<Self>) {
        let (Ok(Some(offered)), Some(running)) = (self.offered(), self.update.running()) else {
            return;
        };
        let settings = self.update_settings();
        let wanted = settings.automatic && offered.version > running && offered.failed.is_none();
        if !wanted || offered.ordered.is_some() || self.doubt().is_some() {
            return;
        }
        let now = self.clock.now();
        let quiet = self
            .clock
            .elapsed()
            .saturating_sub(Duration::from_secs(self.update.called.load(Ordering::Relaxed)));
        let missed = settings.window.has_passed(offered.since, now) && quiet >= QUIET;
        if !settings.window.is_open(now) && !missed {
            return;
        }
        // the other way round a terminal would be without a partner it knows (TIP1-A_4839-01)
        let first = settings.ksr.as_ref().is_some_and(|ksr| ksr.terminals);
        if first && !missed && self.terminals_are_due() {
            tracing::info!("update waits for terminals");
            return;
        }
        if let Err(failure) = self.start_update(&[]).await {
            tracing::warn!(detail = failure.detail(), version = %offered.version, "update waits");
        }
    }
}

fn most(one: slots::Work, other: slots::Work) -> slots::Work {
    slots::Work {
        tunnels: one.tunnels.max(other.tunnels),
        status: one.status.max(other.status),
        terminals: one.terminals.max(other.terminals),
        cards: one.cards.max(other.cards),
        signatures: one.signatures.max(other.signatures),
    }
}

/// What an update needs to be told of at the start: an order that never came to a trial is none any more.
pub(crate) fn forget_order(store: &Store, update: &Update) -> Result<(), Failure> {
    let on_trial = update.pointer().is_some_and(|pointer| pointer.trial.is_some());
    if let Some(mut offered) = store.get::<Offered>(STORE, "offered")?
        && !on_trial
        && offered.ordered.take().is_some()
    {
        store.put(STORE, "offered", &offered)?;
    }
    Ok(())
}
