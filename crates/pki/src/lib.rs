//! Trust: who may be believed, for what, at which moment.
//!
//! * [`Trust`]: the trust space made of a trust list; [`Trust::check`] judges a certificate for a [`Purpose`] and
//!   returns a [`Verdict`] with its evidence (TUC_PKI_018 and those it uses).
//! * [`tsl`]: the trust list, read, verified and (for the test TI) written.
//! * [`status`]: OCSP, asked and answered.
//! * [`CvcTrust`]: roots and cross certificates of the card world (TUC_KON_042).
//! * [`issue`]: a certification authority, for the test TI and for self-made server certificates.
//!
//! Flow: list → verified against the anchor → CAs and responders → chain, purpose, time, status → verdict.
//! Nothing here calls a clock: the moment is always a parameter.

mod check;
mod cvc;
pub mod http;
pub mod issue;
pub mod status;
pub mod tsl;

pub use check::{CheckError, Purpose, StatusEvidence, Trust, Verdict, signed_by};
pub use cvc::{CvcAuthority, CvcError, CvcTrust};
