//! The formats against other people's programs: what we make they verify and open, and the other way round.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used
)]
mod cades;
mod common;
mod encryption;
mod pades;
#[path = "../../../../tests/e2e/src/pdf.rs"]
mod pdf;
mod smime;
mod xades;
