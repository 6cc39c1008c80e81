//! The one file that says which slot is booted, and the only changes it can go through.

use crate::{SlotError, Version};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Outcomes that are kept.
const OUTCOMES: usize = 20;
/// Largest pointer, bytes.
const MAX_POINTER: usize = 1 << 20;

/// One of the two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Folder `a`.
    A,
    /// Folder `b`.
    B,
}

impl Slot {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// Name of its folder.
    pub fn folder(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }
}

/// What is known of a release in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Never tried.
    Staged,
    /// Has worked here.
    Confirmed,
    /// Was tried or used, and taken back.
    Failed,
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Which release.
    pub version: Version,
    /// What is known of it.
    pub standing: Standing,
}

/// Real work, counted: what a release had done before it went down, and what its successor has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Work {
    /// Tunnels into the TI that stand.
    pub tunnels: u32,
    /// Status services that have answered.
    pub status: u32,
    /// Terminals that have proven their pairing.
    pub terminals: u32,
    /// Cards of the institution (SMC-B, gSMC-KT) that were read.
    pub cards: u32,
    /// Signatures made and checked.
    pub signatures: u32,
}

impl Work {
    const NAMES: [&str; 5] = ["tunnel", "status service", "terminals", "cards", "signature"];

    fn counts(self) -> [u32; 5] {
        [
            self.tunnels,
            self.status,
            self.terminals,
            self.cards,
            self.signatures,
        ]
    }

    /// What is still missing, in words: `terminals 1 of 3`. Empty when all of `required` was seen.
    pub fn missing(self, required: Work) -> Vec<String> {
        let pairs = Self::NAMES
            .iter()
            .zip(self.counts().into_iter().zip(required.counts()));
        pairs
            .filter(|(_, (seen, wanted))| seen < wanted)
            .map(|(name, (seen, wanted))| format!("{name} {seen} of {wanted}"))
            .collect()
    }
}

/// A trial that was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which release, in the slot that is not confirmed.
    pub version: Version,
    /// What it must show.
    pub required: Work,
    /// It was started; a second start is no trial any more.
    pub booted: bool,
    /// Unix seconds of the order.
    pub ordered: i64,
}

/// Why a release was not taken, or taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "detail", rename_all = "snake_case")]
pub enum Reason {
    /// Its files are not those that it names.
    Damaged(String),
    /// It could not be started.
    NotStarted(String),
    /// It ended by itself.
    Ended(String),
    /// It was not ready in time.
    NotReady,
    /// It stopped answering.
    Hung,
    /// It took more memory than it may; MiB.
    Memory(u64),
    /// The disk filled up.
    Disk,
    /// Its own examination found something.
    SelfTest(String),
    /// It seemed well, and did not do the work that was done before; what is missing.
    NoWork(String),
    /// The power went, or the supervisor was stopped, in the middle of the trial.
    Interrupted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Damaged(what) => write!(f, "damaged: {what}"),
            Reason::NotStarted(what) => write!(f, "could not be started: {what}"),
            Reason::Ended(how) => write!(f, "ended by itself ({how})"),
            Reason::NotReady => f.write_str("was not ready in time"),
            Reason::Hung => f.write_str("stopped answering"),
            Reason::Memory(mib) => write!(f, "took {mib} MiB of memory"),
            Reason::Disk => f.write_str("filled the disk"),
            Reason::SelfTest(what) => write!(f, "its examination failed: {what}"),
            Reason::NoWork(missing) => write!(f, "did not do what was done before: {missing}"),
            Reason::Interrupted => f.write_str("the trial was interrupted"),
        }
    }
}

/// What became of an order or of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Result {
    /// It works, and is booted from now on.
    Confirmed,
    /// It never ran.
    Refused {
        /// Why.
        reason: Reason,
    },
    /// It ran, and its predecessor is back.
    RolledBack {
        /// Why.
        reason: Reason,
    },
    /// It had been confirmed and failed later; its predecessor is back.
    FellBack {
        /// Why.
        reason: Reason,
    },
    /// The state from before the trial was put back, because the release could not live with what its successor left.
    StateRestored {
        /// Why.
        reason: Reason,
    },
    /// Nothing can be booted: the rescue program runs.
    Rescue {
        /// Why.
        reason: Reason,
    },
}

impl Result {
    /// Why, if it was no success.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Result::Confirmed => None,
            Result::Refused { reason }
            | Result::RolledBack { reason }
            | Result::FellBack { reason }
            | Result::StateRestored { reason }
            | Result::Rescue { reason } => Some(reason),
        }
    }
}

/// An entry of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Counts up; never used twice.
    pub number: u64,
    /// Unix seconds.
    pub time: i64,
    /// About which release.
    pub version: Version,
    /// How long it took from the order, or from the start of the failing release, seconds.
    pub seconds: u64,
    /// What became of it.
    #[serde(flatten)]
    pub result: Result,
}

/// The state of the slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// Layout of this file.
    pub format: u32,
    /// The slot that is booted when nothing is on trial.
    pub confirmed: Slot,
    /// What slot A holds.
    pub a: Option<Content>,
    /// What slot B holds.
    pub b: Option<Content>,
    /// What is on trial.
    pub trial: Option<Trial>,
    /// The copy of the state in `before` is complete and belongs to this release.
    pub saved: Option<Version>,
    /// The state is being put back; not finished yet.
    pub restoring: bool,
    /// Until then (Unix seconds) the confirmed release is watched more closely.
    pub probation: Option<i64>,
    /// Numbers of outcomes given so far.
    pub numbers: u64,
    /// What happened, the newest first.
    pub outcomes: Vec<Outcome>,
}

impl Pointer {
    /// The first one: a release that was installed into slot A.
    pub fn first(version: Version) -> Self {
        Self {
            format: 1,
            confirmed: Slot::A,
            a: Some(Content {
                version,
                standing: Standing::Confirmed,
            }),
            b: None,
            trial: None,
            saved: None,
            restoring: false,
            probation: None,
            numbers: 0,
            outcomes: Vec::new(),
        }
    }

    /// Reads a pointer. One that contradicts itself is refused.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, SlotError> {
        if bytes.len() > MAX_POINTER {
            return Err(SlotError::Pointer("larger than 1 MiB".into()));
        }
        let pointer: Self =
            serde_json::from_slice(bytes).map_err(|error| SlotError::Pointer(error.to_string()))?;
        let sound = pointer.format == 1
            && pointer
                .content(pointer.confirmed)
                .is_some_and(|content| content.standing == Standing::Confirmed)
            && pointer.trial.as_ref().is_none_or(|trial| {
                let held = pointer.content(pointer.confirmed.other());
                held.is_some_and(|held| held.version == trial.version)
            });
        match sound {
            true => Ok(pointer),
            false => Err(SlotError::Pointer("contradicts itself".into())),
        }
    }

    /// What a slot holds.
    pub fn content(&self, slot: Slot) -> Option<Content> {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    fn set(&mut self, slot: Slot, content: Option<Content>) {
        match slot {
            Slot::A => self.a = content,
            Slot::B => self.b = content,
        }
    }

    fn stand(&mut self, slot: Slot, standing: Standing) {
        if let Some(content) = self.content(slot) {
            self.set(slot, Some(Content { standing, ..content }));
        }
    }

    /// The release that is booted when nothing is on trial.
    pub fn version(&self) -> Option<Version> {
        self.content(self.confirmed).map(|content| content.version)
    }

    /// Writes something into the record.
    pub(crate) fn note(&mut self, time: i64, version: Version, seconds: u64, result: Result) {
        self.numbers += 1;
        let outcome = Outcome {
            number: self.numbers,
            time,
            version,
            seconds,
            result,
        };
        self.outcomes.insert(0, outcome);
        self.outcomes.truncate(OUTCOMES);
    }

    /// The idle slot is about to be written.
    pub(crate) fn clear_idle(&mut self) {
        self.set(self.confirmed.other(), None);
    }

    /// A release lies in the idle slot and is to be tried.
    pub(crate) fn order(&mut self, version: Version, required: Work, now: i64) {
        let standing = Standing::Staged;
        self.set(self.confirmed.other(), Some(Content { version, standing }));
        self.trial = Some(Trial {
            version,
            required,
            booted: false,
            ordered: now,
        });
    }

    /// The release on trial works.
    pub(crate) fn confirm(&mut self, now: i64, probation: i64) {
        if let Some(trial) = self.trial.take() {
            let slot = self.confirmed.other();
            self.stand(slot, Standing::Confirmed);
            self.confirmed = slot;
            self.probation = Some(now.saturating_add(probation));
            self.note(now, trial.version, since(trial.ordered, now), Result::Confirmed);
        }
    }

    /// The release on trial does not.
    pub(crate) fn take_back(&mut self, now: i64, reason: Reason) {
        if let Some(trial) = self.trial.take() {
            self.stand(self.confirmed.other(), Standing::Failed);
            let seconds = since(trial.ordered, now);
            let result = match trial.booted {
                true => Result::RolledBack { reason },
                false => Result::Refused { reason },
            };
            self.note(now, trial.version, seconds, result);
        }
    }

    /// Is there a release that had worked before the confirmed one?
    pub(crate) fn has_predecessor(&self) -> bool {
        let other = self.content(self.confirmed.other());
        self.trial.is_none() && other.is_some_and(|content| content.standing == Standing::Confirmed)
    }

    /// The confirmed release has failed; is there one that had worked before it? Then that one is confirmed now.
    pub(crate) fn fall_back(&mut self, now: i64, seconds: u64, reason: Reason) -> bool {
        if let (true, Some(version)) = (self.has_predecessor(), self.version()) {
            let other = self.confirmed.other();
            self.stand(self.confirmed, Standing::Failed);
            self.confirmed = other;
            self.probation = None;
            self.note(now, version, seconds, Result::FellBack { reason });
            return true;
        }
        false
    }
}

fn since(begin: i64, now: i64) -> u64 {
    u64::try_from(now.saturating_sub(begin)).unwrap_or_default()
}
