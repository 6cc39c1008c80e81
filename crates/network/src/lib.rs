//! The network connector. Two rooms, each of use without the other:
//!
//! - **The tunnel.** Where the concentrators of the VPN access service are ([`locate`]), what they are spoken to with ([`Profile`]), the
//!   IKE daemon ([`Charon`], a process of its own, driven over vici: [`Ike`]), and a tunnel that comes up by itself, stays up, and
//!   changes its certificate make-before-break. A newcomer begins with [`Tunnel`]: whoever owns one gives it a [`Directory`]
//!   ([`NameServers`], or fixed places) and a [`Gate`], and hears of every [`Change`]. Nobody else commands charon.
//! - **The router.** What the machine's network shall be like is one value, a [`Plan`]; packet filter (`filter`), routes (`routes`) and
//!   the configurations of unbound, chrony and Kea (`names`, `time`, `dhcp`) follow from it and from nothing else; an address that was
//!   lent to the device itself ([`Lent`]) goes through a plan, too. A [`Machine`] carries it
//!   out and is the only one that needs rights; a [`Helper`] asks one in another process ([`run_helper`]). Both are [`Hands`]. Whoever
//!   adds to a plan adds to [`Plan::check`]: it stands between a process without rights and one with.
//!
//! Nothing here calls the system's clock, but for the time limits of the DNS library.

mod charon;
mod daemon;
mod dhcp;
mod dial;
mod filter;
mod helper;
mod ike;
mod lease;
pub mod locate;
mod machine;
mod names;
mod plan;
mod profile;
mod report;
mod resolve;
mod routes;
mod time;
mod tunnel;

pub use charon::{Charon, DataPath, Setup};
pub use dhcp::{Dhcp, FreeOption, Group, Lease};
pub use dial::{Pause, Reason};
pub use helper::{Hands, Helper, run_helper};
pub use ike::{Concentrator, Credentials, Ike, IkeError, Lies, Sa};
pub use lease::Lent;
pub use machine::{HandsError, Machine, Seen};
pub use names::{Anchor, Forward, Names};
pub use plan::{Adapter, Barred, Internet, Intranet, Legacy, Plan, Standing, Unsound};
pub use profile::{Environment, MTU, Network, Networks, Profile, ProfileError, Suites};
pub use resolve::NameServers;
pub use time::{MOST as MAX_TIME_DIFFERENCE, Measured, TimeService};
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

    /// Name of its interface where the kernel enciphers.
    pub fn interface(self) -> &'static str {
        match self {
            Service::Ti => "vpn_ti",
            Service::Sis => "vpn_sis",
        }
    }

    /// Number of that interface, by which the kernel knows whose packets are whose.
    pub(crate) fn number(self) -> u32 {
        match self {
            Service::Ti => 7,
            Service::Sis => 8,
        }
    }
}
