//! Cards: what travels to them, what they are, and a virtual one.
//!
//! * [`Command`], [`Response`]: APDUs, short and extended.
//! * [`Channel`]: anything that takes a command to a card: a terminal's slot, a PC/SC reader, the virtual card.
//! * [`image`]: object systems in gematik's simulator format, read and written.
//! * [`access`]: the rules in them.
//! * [`cos`]: the virtual card, which runs any object system with its real rules and real cryptography.
//! * [`vpcd`]: the virtual card in a PC/SC reader that does not exist.
//! * [`sm`], [`mutual`]: secure messaging and authentication with symmetric keys, both sides.
//! * [`Inspection`], [`CardKind`]: what a Konnektor learns about an inserted card (TUC_KON_001).
//! * [`c2c`], [`TrustedChannel`]: card-to-card authentication (TUC_KON_005); [`LogicalChannel`]: several users of one card.
//! * [`egk`], [`pin`]: the files of an eGK and the states of passwords.
//!
//! Specification: gemSpec_COS, gemSpec_Kon 4.1.5, `cards-and-terminals` digest sections 2 to 4.

pub mod access;
mod apdu;
pub mod c2c;
mod channel;
pub mod cos;
pub mod egk;
pub mod image;
mod inspect;
pub mod mutual;
pub mod pin;
pub mod sm;
mod trusted;
pub mod vpcd;

pub use apdu::{BadApdu, Command, Expect, Response};
pub use channel::{Channel, ChannelError, Counting};
pub use inspect::{AID_ESIGN, CardKind, Inspection, Version, inspect};
pub use trusted::{Introduction, LogicalChannel, SecurityModule, TrustedChannel, UserCard, enter};
