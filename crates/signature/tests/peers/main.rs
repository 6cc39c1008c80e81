//! The formats against other people's programs: what we make they verify and open, and the other way round.

mod cades;
mod common;
