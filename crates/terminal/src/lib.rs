//! Card terminals: the SICCT wire, the Konnektor's side of it, and a virtual eHealth terminal.
//!
//! * [`wire`]: envelopes, events and discovery datagrams: bytes to types and back, pure.
//! * [`command`]: the SICCT commands a Konnektor sends; [`texts`]: what they show (TAB_KON_090).
//! * [`Session`]: a connection to a terminal, with any number of commands on their way; [`SlotChannel`]: a card in it.
//! * [`pairing`]: pairing, proof of pairing, maintenance pairing (TUC_KON_053, TUC_KON_050).
//! * [`firmware`]: a new firmware, block by block (TUC_KON_281).
//! * [`discover`], [`listen`]: asking one address or a network for terminals; hearing those that announce themselves.
//! * [`Product`]: what a terminal says it is (TUC_KON_055).
//! * [`pcsc`]: cards in PC/SC readers as slots of a virtual terminal, for development.
//! * [`simulator`]: the virtual terminal with four slots, display, PIN pad and pairing blocks, and its page.
//!
//! Specification: SICCT 1.3, gemSpec_KT 3.17; `cards-and-terminals` digest section 1.

pub mod command;
mod discover;
pub mod firmware;
pub mod pairing;
pub mod pcsc;
mod product;
mod session;
pub mod simulator;
pub mod texts;
pub mod wire;

pub use discover::{Discovered, discover, listen};
pub use product::{Product, SUPPORTED, Version};
pub use session::{Session, SlotChannel, SlotState, TerminalError, TerminalEvent};
