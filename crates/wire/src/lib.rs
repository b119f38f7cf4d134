//! PostgreSQL's protocol, version 3: bytes to messages and back.
//!
//! No I/O, no clock, no state that outlives a call. Everything here takes bytes that somebody else
//! has read, and appends bytes that somebody else will send.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod auth;
pub mod backend;
mod cursor;
pub mod digest;
pub mod fields;
pub mod frame;
pub mod frontend;
pub mod sql;
pub mod sqlstate;
pub mod startup;
pub mod tag;

pub use cursor::BodyError;
pub use fields::{ErrorFields, Report, Severity};
pub use frame::{FrameError, Header};
pub use sqlstate::SqlState;
