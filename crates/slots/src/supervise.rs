//! Starts what the pointer names, watches it, tries what was ordered, and takes it back.

use crate::pointer::{Pointer, Reason, Result as Outcome, Work};
use crate::{Area, Disk, Manifest, Note, Order, SlotError, Version};
use std::path::PathBuf;
use std::time::Duration;

/// How long things may take, and how much.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the start until a release is ready.
    pub ready: Duration,
    /// From the start of a trial until everything required was seen.
    pub trial: Duration,
    /// Between two signs of life.
    pub silence: Duration,
    /// From the order to go down until the end, for requests that are being served.
    pub drain: Duration,
    /// From the order to go down until the end for a release that is taken back.
    pub patience: Duration,
    /// How long a confirmed release is still watched for leaks, seconds.
    pub probation: i64,
    /// A release on trial or probation may grow by so many bytes after it was ready.
    pub growth: u64,
    /// The state may grow by so many bytes while a release is on trial or probation.
    pub disk_use: u64,
    /// The least that must be free, bytes.
    pub disk_free: u64,
    /// So many failures in a row and something else is booted.
    pub failures: u32,
    /// After so long without failure old ones are forgotten.
    pub steady: Duration,
    /// Between a failure and the next start.
    pub pause: Duration,
    /// So long the rescue program runs before the confirmed release gets another chance.
    pub rescue: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ready: Duration::from_secs(60),
            trial: Duration::from_secs(130),
            silence: Duration::from_secs(20),
            drain: Duration::from_secs(30),
            patience: Duration::from_secs(5),
            probation: 24 * 3600,
            growth: 1 << 30,
            disk_use: 512 << 20,
            disk_free: 64 << 20,
            failures: 3,
            steady: Duration::from_secs(600),
            pause: Duration::from_secs(1),
            rescue: Duration::from_secs(3600),
        }
    }
}

/// What is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The program of a release.
    Release(PathBuf),
    /// The rescue program.
    Rescue,
}

/// Processes, time and the machine, as the supervisor sees them. One child at a time.
pub trait World {
    /// Unix seconds.
    fn now(&self) -> i64;
    /// Time since some fixed point.
    fn elapsed(&self) -> Duration;
    /// Starts a child.
    fn start(&mut self, what: &Start) -> std::io::Result<()>;
    /// Asks the child to end.
    fn end(&mut self);
    /// Ends the child.
    fn kill(&mut self);
    /// How the child has ended, once.
    fn ended(&mut self) -> Option<String>;
    /// What the child has said; waits a moment when it has said nothing.
    fn heard(&mut self) -> Vec<Note>;
    /// Memory of the child, bytes.
    fn memory(&self) -> u64;
    /// Free bytes where the state lies.
    fn free(&self) -> u64;
    /// Bytes of the state.
    fn used(&self) -> u64;
    /// The supervisor itself is to end.
    fn is_stopping(&self) -> bool;
    /// For the log.
    fn say(&self, what: &str);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Trial,
    Confirmed,
    Rescue,
}

/// A child that runs.
#[derive(Debug)]
struct Run {
    role: Role,
    version: Option<Version>,
    started: Duration,
    ready: Option<Duration>,
    alive: Duration,
    work: Work,
    /// Memory when it was ready.
    memory: u64,
    /// Free disk, and the size of the state, when it was started.
    free: u64,
    used: u64,
    /// It was asked to end, and may take its time until then. After that it is killed.
    ending: Option<Duration>,
    killed: bool,
}

/// The supervisor. [`Supervisor::step`] until it says that it is over.
pub struct Supervisor<D, W> {
    area: Area<D>,
    world: W,
    limits: Limits,
    pointer: Option<Pointer>,
    run: Option<Run>,
    failures: u32,
    not_before: Duration,
    rescue: bool,
    /// Since when the rescue program is what runs, whether it can or not.
    rescue_since: Duration,
    /// The pointer on the disk is older than the one here: the disk refused it.
    unsaved: bool,
}

impl<D: Disk, W: World> Supervisor<D, W> {
    /// Reads the pointer. Where it cannot be read the rescue program runs: nothing is guessed.
    pub fn new(area: Area<D>, world: W, limits: Limits) -> Self {
        let pointer = area.pointer();
        if let Err(error) = &pointer {
            world.say(&format!("{error}; rescue"));
        }
        Self {
            rescue: pointer.is_err(),
            pointer: pointer.ok(),
            area,
            world,
            limits,
            run: None,
            failures: 0,
            not_before: Duration::ZERO,
            rescue_since: Duration::ZERO,
            unsaved: false,
        }
    }

    /// The pointer as it is.
    pub fn pointer(&self) -> Option<&Pointer> {
        self.pointer.as_ref()
    }

    /// The world.
    pub fn world(&mut self) -> &mut W {
        &mut self.world
    }

    /// One look at everything. False when the supervisor was told to end and its child has.
    pub fn step(&mut self) -> bool {
        for note in self.world.heard() {
            self.on_note(note);
        }
        let stopping = self.world.is_stopping();
        if let Some(how) = self.world.ended() {
            self.on_end(&how);
        }
        if self.unsaved {
            self.save();
        }
        match &self.run {
            None if stopping => return false,
            None if self.world.elapsed() >= self.not_before => self.boot(),
            None => {}
            Some(_) if stopping => self.finish(self.limits.drain),
            Some(_) => self.watch(),
        }
        if let Some(run) = &mut self.run
            && run.ending.is_some_and(|until| self.world.elapsed() >= until)
            && !run.killed
        {
            run.killed = true;
            self.world.kill();
        }
        true
    }

    /// Writes the pointer down. A full disk must not keep the last good release from being booted: every change made before
    /// a failed write leads there from the older pointer, too.
    fn save(&mut self) {
        if let Some(pointer) = &self.pointer {
            let saved = self.area.save(pointer);
            if let (Err(error), false) = (&saved, self.unsaved) {
                self.world.say(&format!("{error}; it is tried again"));
            }
            self.unsaved = saved.is_err();
        }
    }

    fn on_note(&mut self, note: Note) {
        let now = self.world.elapsed();
        let memory = self.world.memory();
        let Some(run) = &mut self.run else { return };
        run.alive = now;
        match note {
            Note::Ready if run.ready.is_none() => {
                run.ready = Some(now);
                run.memory = memory;
            }
            Note::Ready | Note::Alive => {}
            Note::Work(work) => run.work = work,
            Note::Failed(what) => {
                if run.role == Role::Trial && run.ending.is_none() {
                    self.take_back(Reason::SelfTest(what));
                }
            }
            Note::Try(order) => {
                if run.role != Role::Trial && run.ending.is_none() {
                    self.on_order(&order);
                }
            }
        }
    }

    fn on_order(&mut self, order: &Order) {
        let (now, version) = (self.world.now(), order.version);
        let taken = match &mut self.pointer {
            Some(pointer) => self.area.take_in(pointer, order, now),
            // there is nothing to return to: it is installed
            None => self
                .area
                .begin_again(order)
                .map(|pointer| self.pointer = Some(pointer)),
        };
        match (taken, &mut self.pointer) {
            (Ok(()), _) => {
                self.world.say(&format!("{version} goes on trial"));
                self.rescue = false;
                self.finish(self.limits.drain);
            }
            (Err(error), pointer) => {
                let reason = Reason::Damaged(error.to_string());
                self.world.say(&format!("{version} refused: {reason}"));
                if let Some(pointer) = pointer {
                    pointer.note(now, version, 0, Outcome::Refused { reason });
                    self.save();
                }
            }
        }
    }

    /// Starts what is to run now.
    fn boot(&mut self) {
        let now = self.world.now();
        // whether the rescue program can run or not: what kept the release from running may have passed
        if self.rescue && self.pointer.is_some() && self.rescue_is_over() {
            self.rescue = false;
            self.failures = self.limits.failures.saturating_sub(1);
        }
        if let Some(pointer) = self.pointer.as_mut().filter(|_| !self.rescue) {
            if pointer.restoring
                && let Err(error) = self.area.restore_state(pointer)
            {
                self.world.say(&format!("{error}; rescue"));
                self.rescue = true;
                self.rescue_since = self.world.elapsed();
            }
            if pointer.trial.as_ref().is_some_and(|trial| trial.booted) {
                pointer.take_back(now, Reason::Interrupted);
                self.save();
            }
        }
        let Some(pointer) = self.pointer.as_mut().filter(|_| !self.rescue) else {
            return self.start(Role::Rescue, None, &Start::Rescue);
        };
        if let Err(error) = self.area.tidy(pointer) {
            self.world.say(&error.to_string());
        }
        let (role, slot) = match &pointer.trial {
            Some(_) => (Role::Trial, pointer.confirmed.other()),
            None => (Role::Confirmed, pointer.confirmed),
        };
        let folder = self.area.slot(slot);
        let checked = Manifest::verify(&self.area.disk, &folder);
        let checked = checked.and_then(|manifest| match pointer.content(slot) {
            Some(held) if held.version == manifest.version => Ok(manifest),
            _ => Err(SlotError::Release("not the version in the pointer".into())),
        });
        let manifest = match checked {
            Ok(manifest) => manifest,
            Err(error) => return self.on_failure(role, Reason::Damaged(error.to_string())),
        };
        if role == Role::Trial {
            // without a copy of the state, and without a note that it was started, there is no trial
            let prepared = self.area.keep_state(pointer).and_then(|()| {
                if let Some(trial) = &mut pointer.trial {
                    trial.booted = true;
                }
                self.area.save(pointer)
            });
            if let Err(error) = prepared {
                return self.on_failure(role, Reason::NotStarted(error.to_string()));
            }
        }
        let start = Start::Release(folder.join(&manifest.program));
        self.start(role, Some(manifest.version), &start);
    }

    fn start(&mut self, role: Role, version: Option<Version>, what: &Start) {
        if let Err(error) = self.world.start(what) {
            return self.on_failure(role, Reason::NotStarted(error.to_string()));
        }
        let now = self.world.elapsed();
        let name = version.map(|version| version.to_string()).unwrap_or_default();
        self.world.say(&format!("{role:?} {name} started"));
        self.run = Some(Run {
            role,
            version,
            started: now,
            ready: None,
            alive: now,
            work: Work::default(),
            memory: 0,
            free: self.world.free(),
            used: self.world.used(),
            ending: None,
            killed: false,
        });
    }

    /// Asks the child to end, and lets it have so much time.
    fn finish(&mut self, patience: Duration) {
        let until = self.world.elapsed() + patience;
        if let Some(run) = self.run.as_mut().filter(|run| run.ending.is_none()) {
            run.ending = Some(until);
            self.world.end();
        }
    }

    fn on_end(&mut self, how: &str) {
        if let Some(run) = self.run.take_if(|run| run.ending.is_some()) {
            self.world.say(&format!("{:?} ended", run.role));
        } else if let Some(run) = &self.run {
            let (role, seconds) = (
                run.role,
                self.world.elapsed().saturating_sub(run.started).as_secs(),
            );
            self.world
                .say(&format!("{role:?} ended by itself after {seconds} s ({how})"));
            self.on_failure(role, Reason::Ended(how.to_owned()));
            self.run = None;
        }
    }

    /// Is everything in time?
    fn watch(&mut self) {
        let (now, wall) = (self.world.elapsed(), self.world.now());
        let Some(run) = self.run.as_ref().filter(|run| run.ending.is_none()) else {
            return;
        };
        let age = now.saturating_sub(run.started);
        if run.role == Role::Rescue {
            if self.pointer.is_some() && self.rescue_is_over() {
                self.finish(self.limits.patience);
            }
            return;
        }
        let close = run.role == Role::Trial
            || self
                .pointer
                .as_ref()
                .and_then(|pointer| pointer.probation)
                .is_some_and(|until| wall < until);
        let grown = self.world.memory().saturating_sub(run.memory);
        let (free, used) = (self.world.free(), self.world.used().saturating_sub(run.used));
        let wrong = match run.ready {
            None if age > self.limits.ready => Some(Reason::NotReady),
            Some(_) if now.saturating_sub(run.alive) > self.limits.silence => Some(Reason::Hung),
            Some(_) if close && grown > self.limits.growth => Some(Reason::Memory(self.world.memory() >> 20)),
            _ if close && used > self.limits.disk_use => Some(Reason::Disk),
            _ if close && free < self.limits.disk_free => {
                // a disk that was full before is not this release's doing
                (run.free > self.limits.disk_free).then_some(Reason::Disk)
            }
            _ => None,
        };
        if let Some(reason) = wrong {
            return self.on_wrong(reason, close);
        }
        match run.role {
            Role::Trial => self.watch_trial(age),
            _ => self.watch_confirmed(age),
        }
    }

    fn rescue_is_over(&self) -> bool {
        self.world.elapsed().saturating_sub(self.rescue_since) > self.limits.rescue
    }

    /// A child that still runs must not.
    fn on_wrong(&mut self, reason: Reason, close: bool) {
        let Some(run) = &self.run else { return };
        if run.role == Role::Trial {
            return self.take_back(reason);
        }
        self.world.say(&format!("confirmed release {reason}"));
        // whoever does not answer does not tidy up either
        let patience = match reason {
            Reason::Memory(_) | Reason::Disk => self.limits.drain,
            _ => Duration::ZERO,
        };
        let greedy = matches!(reason, Reason::Memory(_) | Reason::Disk);
        let predecessor = self.pointer.as_ref().is_some_and(Pointer::has_predecessor);
        if greedy && predecessor {
            // what shows in the first day is the new release's doing
            self.failures = self.limits.failures;
            self.on_failure(Role::Confirmed, reason);
        } else if greedy || (!close && reason == Reason::Hung) {
            // whoever has worked for days is started again: what stops it now no other release would mend
            self.not_before = self.world.elapsed() + self.limits.pause;
        } else {
            self.on_failure(Role::Confirmed, reason);
        }
        self.finish(patience);
    }

    fn watch_trial(&mut self, age: Duration) {
        let (Some(run), Some(pointer)) = (&self.run, &mut self.pointer) else {
            return;
        };
        let required = pointer
            .trial
            .as_ref()
            .map(|trial| trial.required)
            .unwrap_or_default();
        let missing = run.work.missing(required);
        if run.ready.is_none() || !missing.is_empty() {
            if age > self.limits.trial {
                self.take_back(Reason::NoWork(missing.join(", ")));
            }
            return;
        }
        let version = run.version.map(|version| version.to_string()).unwrap_or_default();
        let mut confirmed = pointer.clone();
        confirmed.confirm(self.world.now(), self.limits.probation);
        // what is not written down did not happen
        if let Err(error) = self.area.save(&confirmed) {
            return self.take_back(Reason::NotStarted(error.to_string()));
        }
        *pointer = confirmed;
        self.unsaved = false;
        self.world.say(&format!("{version} confirmed"));
        if let Some(run) = &mut self.run {
            run.role = Role::Confirmed;
        }
        self.failures = 0;
    }

    fn watch_confirmed(&mut self, age: Duration) {
        let (Some(run), Some(pointer)) = (&self.run, &mut self.pointer) else {
            return;
        };
        if run.ready.is_none() || age < self.limits.steady {
            return;
        }
        self.failures = 0;
        // a clock that was far ahead and is right again must not make probation last for years
        let now = self.world.now();
        if pointer
            .probation
            .is_some_and(|until| until.saturating_sub(now) > self.limits.probation)
        {
            pointer.probation = Some(now.saturating_add(self.limits.probation));
            self.unsaved = true;
        }
        let over = pointer.probation.is_none_or(|until| now >= until);
        if let (true, Err(error)) = (over, self.area.forget_broken()) {
            self.world.say(&error.to_string());
        }
        if over && (pointer.probation.is_some() || pointer.saved.is_some()) {
            // the release lives with its state: the copy has served
            pointer.probation = None;
            if let Err(error) = self.area.forget_state(pointer) {
                self.world.say(&error.to_string());
                self.unsaved = true;
            }
        }
    }

    /// The trial has failed: written down first, so that the reason survives whatever comes.
    fn take_back(&mut self, reason: Reason) {
        self.world.say(&format!("trial taken back: {reason}"));
        let patience = match reason {
            Reason::Hung => Duration::ZERO,
            _ => self.limits.patience,
        };
        if let Some(pointer) = &mut self.pointer {
            pointer.take_back(self.world.now(), reason);
            self.save();
        }
        self.failures = 0;
        self.finish(patience);
    }

    /// What was to run has failed, or never began.
    fn on_failure(&mut self, role: Role, reason: Reason) {
        match role {
            Role::Trial => self.take_back(reason),
            Role::Rescue => self.not_before = self.world.elapsed() + self.limits.pause,
            Role::Confirmed => {
                self.failures += 1;
                // a damaged release does not mend by being started again
                let hopeless = matches!(reason, Reason::Damaged(_));
                if self.failures >= self.limits.failures || hopeless {
                    self.failures = 0;
                    self.give_up(reason);
                } else {
                    self.not_before = self.world.elapsed() + self.limits.pause * self.failures;
                }
            }
        }
    }

    /// The confirmed release cannot run: the state from before its trial, else its predecessor, else rescue.
    fn give_up(&mut self, reason: Reason) {
        let (now, elapsed) = (self.world.now(), self.world.elapsed());
        let started = self.run.as_ref().map_or(elapsed, |run| run.started);
        let seconds = elapsed.saturating_sub(started).as_secs();
        let Some(pointer) = &mut self.pointer else { return };
        let version = pointer.version();
        let damaged = matches!(reason, Reason::Damaged(_));
        if pointer.saved.is_some() && pointer.saved == version && !damaged {
            self.world.say("the state from before is put back");
            pointer.restoring = true;
            if let Some(version) = version {
                pointer.note(now, version, seconds, Outcome::StateRestored { reason });
            }
        } else if pointer.fall_back(now, seconds, reason.clone()) {
            self.world.say("back to the release before");
        } else {
            self.world
                .say(&format!("nothing can be booted ({reason}): rescue"));
            self.rescue = true;
            self.rescue_since = elapsed;
            if let Some(version) = version {
                pointer.note(now, version, seconds, Outcome::Rescue { reason });
            }
        }
        self.save();
    }
}
