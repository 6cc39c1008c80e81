//! As much of PDF as a signature needs: the objects around it, read one by one from where they lie, within bounds.
//!
//! Not lopdf, which was tried: it reads all objects at once and unpacks object streams without a bound on their sum, so
//! that a file of 400 kB took 23 GB. Here nothing is read that is not asked for ([`File::get`]), what is read, unpacked and
//! kept is bounded as a sum ([`file::WORK`]), and nothing is written but an appended update.

mod file;
mod object;

pub(crate) use file::{File, Update};
pub(crate) use object::{Dict, Object, Parser, text_string};
