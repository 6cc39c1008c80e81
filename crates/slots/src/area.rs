//! The folder of the slots on a disk: taking a release in, keeping a copy of the state, putting it back.
//!
//! ```text
//! slots/pointer.json   what is booted
//! slots/a, slots/b     releases
//! slots/incoming       a release somebody wants to have tried
//! slots/before         the state as it was before the last trial
//! state                the state; state.broken is what was put aside when `before` was put back
//! ```

use crate::pointer::{Pointer, Slot};
use crate::{Disk, Manifest, Order, SlotError, Version};
use std::io;
use std::path::{Path, PathBuf};

/// Where a release is put that somebody wants to have tried.
pub const INCOMING: &str = "incoming";
const POINTER: &str = "pointer.json";
const BEFORE: &str = "before";

/// The folder of the slots, and the state that belongs to them.
#[derive(Debug, Clone)]
pub struct Area<D> {
    /// The disk.
    pub disk: D,
    root: PathBuf,
    state: PathBuf,
}

impl<D: Disk> Area<D> {
    /// Slots below `root`, state in `state`; both are folders, neither needs to be there yet.
    pub fn new(disk: D, root: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Self {
            disk,
            root: root.into(),
            state: state.into(),
        }
    }

    /// A path below the slots.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Folder of a slot.
    pub fn slot(&self, slot: Slot) -> PathBuf {
        self.path(slot.folder())
    }

    /// The pointer.
    pub fn pointer(&self) -> Result<Pointer, SlotError> {
        let path = self.path(POINTER);
        let bytes = self.disk.read(&path).map_err(|error| at(&path, error))?;
        Pointer::parse(&bytes)
    }

    /// Makes a pointer the one that counts.
    pub fn save(&self, pointer: &Pointer) -> Result<(), SlotError> {
        let path = self.path(POINTER);
        let json = serde_json::to_vec_pretty(pointer).map_err(|e| SlotError::Pointer(e.to_string()))?;
        self.disk.replace(&path, &json).map_err(|error| at(&path, error))
    }

    /// Puts the first release into slot A; where there is a pointer already nothing happens. Whether something did.
    pub fn install(&self, release: &Path) -> Result<bool, SlotError> {
        if self.disk.exists(&self.path(POINTER)) {
            return Ok(false);
        }
        let manifest = Manifest::verify(&self.disk, release)?;
        if !self.disk.exists(&self.root) {
            self.disk
                .make_folder(&self.root)
                .map_err(|error| at(&self.root, error))?;
        }
        let slot = self.slot(Slot::A);
        self.put(release, &slot)?;
        self.save(&Pointer::first(manifest.version))?;
        Ok(true)
    }

    /// Installs what lies in `incoming`, where the pointer cannot be read any more.
    pub(crate) fn begin_again(&self, order: &Order) -> Result<Pointer, SlotError> {
        let manifest = self.incoming(order)?;
        self.put(&self.path(INCOMING), &self.slot(Slot::A))?;
        let pointer = Pointer::first(manifest.version);
        self.save(&pointer)?;
        Ok(pointer)
    }

    /// What lies in `incoming`, if it is whole and what was ordered.
    fn incoming(&self, order: &Order) -> Result<Manifest, SlotError> {
        let manifest = Manifest::verify(&self.disk, &self.path(INCOMING))?;
        match manifest.version == order.version {
            true => Ok(manifest),
            false => Err(SlotError::Release(format!(
                "{INCOMING} holds {} and not {}",
                manifest.version, order.version
            ))),
        }
    }

    /// Puts a release where an [`Order`] looks for it.
    pub fn offer(&self, release: &Path) -> Result<Version, SlotError> {
        let manifest = Manifest::verify(&self.disk, release)?;
        self.put(release, &self.path(INCOMING))?;
        Ok(manifest.version)
    }

    /// Replaces a folder by a copy of another one. The name is given last: what has it is complete.
    fn put(&self, from: &Path, to: &Path) -> Result<(), SlotError> {
        let next = to.with_extension("next");
        let work = || {
            self.disk.remove_tree(&next)?;
            self.disk.copy_tree(from, &next)?;
            self.disk.remove_tree(to)?;
            self.disk.rename(&next, to)?;
            self.disk.sync(to.parent().unwrap_or(to))
        };
        work().map_err(|error| at(to, error))
    }

    /// Moves what lies in `incoming` into the idle slot and writes the order down. On an error the pointer is as it was, or
    /// says that the idle slot is empty.
    pub(crate) fn take_in(&self, pointer: &mut Pointer, order: &Order, now: i64) -> Result<(), SlotError> {
        self.incoming(order)?;
        let incoming = self.path(INCOMING);
        pointer.clear_idle();
        self.save(pointer)?;
        let slot = self.slot(pointer.confirmed.other());
        let work = || {
            self.disk.remove_tree(&slot)?;
            self.disk.rename(&incoming, &slot)?;
            self.disk.sync(&self.root)
        };
        work().map_err(|error| at(&slot, error))?;
        pointer.order(order.version, order.required, now);
        self.save(pointer)
    }

    /// Copies the state. Nobody may be using it.
    pub(crate) fn keep_state(&self, pointer: &mut Pointer) -> Result<(), SlotError> {
        if pointer.saved.take().is_some() {
            self.save(pointer)?;
        }
        if self.disk.exists(&self.state) {
            self.put(&self.state, &self.path(BEFORE))?;
            pointer.saved = pointer.version();
        }
        Ok(())
    }

    /// Puts the copied state back; as often as needed until the pointer says that it is done.
    pub(crate) fn restore_state(&self, pointer: &mut Pointer) -> Result<(), SlotError> {
        let (next, broken) = (
            self.state.with_extension("next"),
            self.state.with_extension("broken"),
        );
        let above = self.state.parent().unwrap_or(&self.state);
        let work = || -> io::Result<()> {
            self.disk.remove_tree(&next)?;
            self.disk.copy_tree(&self.path(BEFORE), &next)?;
            if self.disk.exists(&self.state) {
                self.disk.remove_tree(&broken)?;
                self.disk.rename(&self.state, &broken)?;
            }
            self.disk.rename(&next, &self.state)?;
            self.disk.sync(above)
        };
        work().map_err(|error| at(&self.state, error))?;
        pointer.restoring = false;
        pointer.saved = None;
        self.save(pointer)
    }

    /// The copied state is not needed any more.
    pub(crate) fn forget_state(&self, pointer: &mut Pointer) -> Result<(), SlotError> {
        pointer.saved = None;
        self.save(pointer)?;
        self.tidy(pointer)
    }

    /// Removes what was put aside when the state was put back: it has been there for whoever wanted to look at it.
    pub(crate) fn forget_broken(&self) -> Result<(), SlotError> {
        let broken = self.state.with_extension("broken");
        self.disk.remove_tree(&broken).map_err(|error| at(&broken, error))
    }

    /// Removes a copy of the state that nobody needs: there are secrets in it.
    pub(crate) fn tidy(&self, pointer: &Pointer) -> Result<(), SlotError> {
        let before = self.path(BEFORE);
        match pointer.saved {
            Some(_) => Ok(()),
            None => self.disk.remove_tree(&before).map_err(|error| at(&before, error)),
        }
    }
}

fn at(path: &Path, error: io::Error) -> SlotError {
    SlotError::Disk(path.display().to_string(), error)
}
