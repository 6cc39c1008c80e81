//! The Konnektor's way into the TI: where the concentrators of the VPN access service are ([`locate`]), what they are spoken to
//! with ([`Profile`]), the IKE daemon ([`Charon`], a process of its own with the rights of its own, driven over vici:
//! [`Ike`]), and a tunnel that comes up by itself, stays up, and changes its certificate make-before-break ([`Tunnel`]).
//!
//! A newcomer begins with [`Tunnel`]: whoever owns one gives it a [`Directory`] ([`NameServers`], or fixed places) and a [`Gate`],
//! and hears of every [`Change`]. Nobody else speaks with charon. Networks and MTU of a profile, and what lies behind a
//! concentrator ([`locate::Inside`]), are read and used by nobody yet: routes and name service come later.
//!
//! Nothing here calls the system's clock, but for the time limits of the DNS library.

mod charon;
mod dial;
mod ike;
pub mod locate;
mod profile;
mod report;
mod resolve;
mod tunnel;

pub use charon::{Charon, DataPath, Setup};
pub use dial::{Pause, Reason};
pub use ike::{Concentrator, Credentials, Ike, IkeError, Sa};
pub use profile::{Profile, ProfileError, Suites};
pub use resolve::NameServers;
pub use tunnel::{
    Attempt, Change, Directory, DirectoryError, Gate, Later, Place, Places, Trust, Tunnel, TunnelOrder,
    TunnelState,
};

/// A service of the VPN access provider that tunnels lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The TI.
    Ti,
    /// The secure Internet service.
    Sis,
}

impl Service {
    /// Name in connections, events and logs.
    pub fn name(self) -> &'static str {
        match self {
            Service::Ti => "ti",
            Service::Sis => "sis",
        }
    }
}
