//! Whole-system tests: one binary, a module per promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)] // tests

mod a_thousand_days;
mod access_by_password;
mod administration;
mod an_unchanged_practice_system;
mod backup_and_reset;
mod bad_input;
mod cards_that_misbehave;
mod chromium;
mod directory;
mod doctor;
mod doctors_sign;
mod documents_are_hostile;
mod documents_meet_other_programs;
mod events_arrive;
mod institutions_sign;
mod lifetime;
mod many_terminals;
mod pages;
mod pcsc_readers;
mod remote_pin;
mod runbooks;
mod smb_opens_by_itself;
mod soak;
mod terminal_page;
mod terminals_are_updated;
mod terminals_come_and_go;
mod tls_peers;
mod trust_space;
mod updates_by_itself;
