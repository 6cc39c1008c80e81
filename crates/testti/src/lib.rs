//! The test TI: what a Konnektor needs around it, on one machine.
//!
//! * [`TestPki`]: roots on two curves with cross certificates, all CAs, the trust list, the CV certificate tree.
//! * [`cards`]: the personaliser: complete eGK, HBA, SMC-B, gSMC-KT and gSMC-K under that tree.
//! * [`person`]: insured persons and their data as XML.
//! * [`Publisher`]: trust list, revocation list and trusted list, also with mistakes in them, and new trust anchors.
//! * [`services`]: all that and OCSP over HTTP; responders that are slow, overloaded or lie.
//! * [`tsp`]: the TSP behind the gSMC-K with its download point; good packages and bad ones.
//! * [`registrar`]: the VPN access service's registration server with its daily checks.
//! * [`configuration`]: the configuration service: updates with their packages, and the list of networks beside the TI.
//! * [`vsdm`]: Intermediär, update flags and the services that change an eGK over a true secure channel.
//!
//! Everything is generated; nothing here is ever shipped or trusted outside.

pub mod cards;
pub mod configuration;
mod https;
mod object_system;
pub mod person;
mod pki_tree;
mod publisher;
pub mod registrar;
pub mod services;
pub mod tsp;
pub mod vsdm;

pub use pki_tree::{KonnektorIdentities, ListSigner, SavedKeys, TestPki};
pub use publisher::Publisher;

/// Why the test TI could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key.
    #[error("key: {0}")]
    Crypto(#[from] crypto::Error),
    /// A certificate.
    #[error("certificate: {0}")]
    Issue(#[from] pki::issue::IssueError),
    /// An encoding.
    #[error("encoding: {0}")]
    Asn1(#[from] asn1::Error),
    /// The trust list.
    #[error("trust list: {0}")]
    Tsl(#[from] pki::tsl::TslError),
    /// An access rule of a template.
    #[error("template: {0}")]
    Rule(#[from] card::access::BadRule),
    /// A date outside the calendar.
    #[error("date: {0}")]
    Date(String),
    /// Stored keys that cannot be read.
    #[error("stored: {0}")]
    Stored(String),
}
