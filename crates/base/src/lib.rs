//! What every other room needs and nothing more.
//!
//! * [`Clock`]: the only source of time. Wall clock, monotonic time and timers come from it, so that a test can
//!   drive years in seconds ([`VirtualClock`]).
//! * [`Code`]: one table of the error codes of the specification (gemSpec_Kon annex, VSDM, PKI).
//! * [`id`]: newtypes for the identifiers that travel between rooms.
//! * [`file`]: small files that are replaced whole.
//! * [`limits`]: the size limits of every parser that sees foreign bytes, in one place; [`xml`] counts before one parses.

mod clock;
mod code;
pub mod file;
pub mod id;
pub mod limits;
pub mod xml;

pub use clock::{Clock, SystemClock, Timestamp, VirtualClock};
pub use code::{Code, ErrorKind, Severity};
