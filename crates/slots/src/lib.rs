//! Two slots for releases, and what may happen to them.
//!
//! A release lies in slot A or B as a folder with its [`Manifest`]; one file, the [`Pointer`], says which of them is booted.
//! The [`Supervisor`] starts what the pointer names, tries a new release once, and takes it back when it does not show in
//! time that it works: silence is failure. It is a program of its own (`langlauf-supervisor`), which no update replaces, and
//! it alone writes the slots and the pointer; the Konnektor only puts a release into [`INCOMING`] and asks for the trial
//! ([`Note::Try`]). Everything on disk goes through [`Disk`], so that a test can cut the power at every write, and time and
//! processes through [`World`], so that a trial of minutes runs in microseconds.
//!
//! Order of a trial: incoming checked → moved into the idle slot → booked → old release drained → its state copied →
//! one boot → ready → the work seen that was seen before → confirmed. Chapters: update-fleet-reliability 8 and 9;
//! gemSpec_Kon TIP1-A_4832-02 (return, 4184).

mod area;
mod disk;
mod note;
mod pointer;
mod release;
mod supervise;

pub use area::{Area, INCOMING};
pub use disk::{Disk, RealDisk};
pub use note::{Link, Note, Order, Socket};
pub use pointer::{Content, Outcome, Pointer, Reason, Result, Slot, Standing, Trial, Work};
pub use release::{MANIFEST, Manifest, Part, Version};
pub use supervise::{Limits, Start, Supervisor, World};

/// Why something about slots did not work.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The disk.
    #[error("{0}: {1}")]
    Disk(String, std::io::Error),
    /// A release is not what its manifest says.
    #[error("release: {0}")]
    Release(String),
    /// The pointer cannot be read; nothing is guessed from that.
    #[error("pointer: {0}")]
    Pointer(String),
}
