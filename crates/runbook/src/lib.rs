//! Check lists of those who look after Konnektors, as data: what a person does, what the machine looks at before and
//! after, what is kept as evidence, and the way back.
//!
//! A [`Runbook`] is read from YAML and says everything about its steps. A [`Run`] is one walk through it: an append-only log of
//! [`Entry`]s, from which everything else is derived ([`Run::standing`], [`Run::current`]), so that it can stop at any line
//! and go on, here or on another device. It carries the text of its runbook: a newer version changes nothing about a
//! walk that has begun. [`record()`] makes a PDF of it, which the Konnektor signs.
//!
//! Nothing here calls anything: what a [`Check`] or an [`Order`] asks for is a call of the administration's REST interface
//! (`docs/admin-api.yaml`), which the caller makes with the rights of who walks. So a runbook can do nothing that its
//! reader could not do by hand. The first set lies in `books/` ([`first_set`]). Chapter: update-fleet-reliability 8.8.

mod book;
mod expect;
mod page;
mod record;
mod run;

pub use book::{
    Check, Input, InputKind, Keep, Method, Order, Runbook, Step, Text, Undo, first_set, is_barred,
};
pub use record::{About, record};
pub use run::{Entry, Event, Finding, Run, Standing};

/// Why a runbook or a run cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not one.
    #[error("runbook: {0}")]
    Book(String),
    /// What was given for an input does not fit.
    #[error("input {0}: {1}")]
    Input(String, &'static str),
    /// It is not that step's turn, or that cannot be done with it now.
    #[error("step {0}: {1}")]
    Turn(String, &'static str),
    /// A run from elsewhere that cannot have come about.
    #[error("run: {0}")]
    Run(&'static str),
}
