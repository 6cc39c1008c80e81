//! The Konnektor's own identities (gSMC-K) and their lifetime extension: new certificates for old keys, proven while the old
//! ones still work, chosen by what is valid, never by a flag (gemF_Laufzeitverlängerung, TUC_KON_410 and 411).
//!
//! * [`Package`]: what the TSP publishes, read as hostile input; [`verify()`]: is it good, and better than what we have?
//! * [`Book`]: all generations of certificates of one gSMC-K and everything that happened to them, as steps that are only ever
//!   appended; an illegal step is refused. [`Ledger`] keeps it in the store.
//! * [`select`]: which certificate serves now, pure; [`plan`]: what should be done next, pure. Whoever has a network carries
//!   it out and enters what came of it: the Konnektor, or a simulated one that lives ten years in a second.
//! * [`calendar`]: everything that can end, in one list, with what stops working and what to do.
//! * [`clock`]: is the time believable?
//!
//! Nothing here calls a clock or a network.

mod book;
pub mod calendar;
pub mod clock;
mod kind;
mod package;
pub mod plan;
pub mod select;
mod verify;

pub use book::{
    Actor, Book, Change, Generation, Held, HeldCvc, Ledger, Outcome, Probe, Signer, Source, Stage, Step,
};
pub use kind::{Algorithm, Family, Kind, Role, required};
pub use package::{PACKAGE, Package, unzip, zip};
pub use verify::{Device, Finding, Found, verify};

/// Why something did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The archive is not what it should be.
    #[error("package refused: {0}")]
    Package(&'static str),
    /// A certificate cannot be read.
    #[error("certificate unreadable: {0}")]
    Certificate(#[from] asn1::Error),
    /// A step that the state does not allow.
    #[error("not allowed now: {0}")]
    Transition(&'static str),
    /// The store failed.
    #[error("{0}")]
    Store(String),
}

impl From<store::StoreError> for Error {
    fn from(error: store::StoreError) -> Self {
        Error::Store(error.to_string())
    }
}

/// Seconds of a day.
pub const DAY: i64 = 86_400;
