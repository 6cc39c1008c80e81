//! Wiring: everything of Langlauf as roles of one binary, and the demo world that sets them all up on one machine.

pub mod demo;
pub mod practice;
mod vault;
pub mod world;
pub mod years;
