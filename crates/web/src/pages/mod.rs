//! Pages to look at.

pub mod account;
pub mod backup;
pub mod calendar;
pub mod home;
pub mod lifetime;
pub mod logs;
pub mod network;
pub mod runbooks;
pub mod setup;
pub mod updates;
pub mod users;
