//! Wiring: everything of Langlauf as roles of one binary, and the demo world that sets them all up on one machine.
//! [`years`] lets a device live through five years in seconds, by the same rules (`langlauf calendar`).

pub mod demo;
pub mod practice;
mod vault;
pub mod world;
pub mod years;
