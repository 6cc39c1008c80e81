//! Trust: who may be believed, for what, at which moment.
//!
//! * [`Space`]: what trust rests on, in two generations: anchor, trust list, revocation list, trusted list for qualified
//!   signatures, DNSSEC anchors; what is offered to it is judged and makes the next space (TUC_PKI_001, 013, 021, 036).
//! * [`Trust`]: the space put to use; [`Trust::check`] judges a certificate for a [`Purpose`] and returns a [`Verdict`]
//!   with its evidence (TUC_PKI_018, TUC_PKI_030 and those they use).
//! * [`tsl`], [`vl`], [`crl`]: the lists, read and verified; [`tsl`] also writes them for the test TI.
//! * [`status`]: one OCSP answer, judged or made; [`Responders`]: asking, remembering, leaving alone (TUC_PKI_006).
//! * [`Past`]: what earlier lists have said, for signatures made then ([`Trust::check_signer`]).
//! * [`CvcTrust`]: roots and cross certificates of the card world (TUC_KON_042).
//! * [`issue`]: a certification authority, for the test TI and for self-made server certificates.
//!
//! Flow: list → verified against the anchor → CAs and responders → chain, purpose, time, status → verdict.
//! Nothing here calls a clock: the moment is always a parameter.

mod check;
pub mod crl;
mod cvc;
pub mod detached;
pub mod http;
pub mod issue;
mod past;
mod responders;
mod signer;
pub mod space;
pub mod status;
pub mod tsl;
pub mod vl;

pub use check::{CheckError, Purpose, StatusCheck, StatusEvidence, Trust, Use, Verdict, signed_by};
pub use crl::Crl;
pub use cvc::{CvcAuthority, CvcError, CvcTrust, day_of};
pub use past::Past;
pub use responders::{Health, Responders, Settings};
pub use space::{How, Space};
pub use vl::TrustedList;
