//! Signed releases: how one is built, how it is published, and how a device judges it.
//!
//! An *artefact* ([`pack`]) is one ZIP file with the program, its bill of materials, its notes and a manifest; the same
//! files give the same bytes. A *repository* ([`Publisher`]) is a folder of plain files with TUF metadata: root and targets
//! need two of three signatures, snapshot and timestamp one, everything ends. A *bundle* is that repository with one artefact
//! in one file, so that the configuration service, a person with a USB stick and a fleet service all bring the same thing.
//! A device ([`Judge`]) believes a root it was delivered with, follows its successors, and remembers what it has seen, so
//! that nothing older is ever taken; what is allowed is listed in the targets, which therefore are the firmware group
//! (GS-A_4865 to 4872). Nothing here starts anything: that is `slots`.
//!
//! The Update Framework's rules are tough's; time is the caller's, for tough would ask the system.

mod archive;
mod artefact;
mod judge;
mod publish;

pub use artefact::{pack, unpack};
pub use judge::{Judge, Offer};
pub use publish::{Lifetimes, Publisher, Role, SignerKeys, is_signed_by, new_root, sign_file};

use base::Timestamp;

/// Why a release was not made, or not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// An archive that is none, or is out of bounds.
    #[error("archive: {0}")]
    Archive(String),
    /// Metadata that are not signed as they must be, or older than what was seen before.
    #[error("metadata: {0}")]
    Metadata(String),
    /// Metadata whose time is over: somebody may be holding newer ones back.
    #[error("{role} ended on {ended}: fetch a newer bundle, and check the clock")]
    Expired {
        /// Which.
        role: &'static str,
        /// When.
        ended: Timestamp,
    },
    /// Signed, but not for this device.
    #[error("nothing in it is for {0}")]
    OtherProduct(String),
    /// The artefact is not the one that was signed, or not what it says.
    #[error("release: {0}")]
    Release(String),
    /// A key.
    #[error("key: {0}")]
    Key(#[from] crypto::Error),
}

impl From<slots::SlotError> for Error {
    fn from(error: slots::SlotError) -> Self {
        Error::Release(error.to_string())
    }
}

pub(crate) fn at(path: &std::path::Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |error| Error::File(path.clone(), error)
}
