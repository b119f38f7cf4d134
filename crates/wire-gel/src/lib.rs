//! Gel's binary protocol, version 3.0, as far as SQL needs it: bytes to messages and back.
//!
//! No I/O, no clock, no state that outlives a call; a sibling of `everline-wire`, under the same
//! promises about hostile input: everything that reads returns, whatever it is given, in time
//! proportional to the bytes at hand; a length or a count named by the peer is compared with the
//! bytes that are there and never reserved; what is too long is refused before it has come.
//!
//! | module | what it knows |
//! |---|---|
//! | [`frame`], [`tag`] | the five bytes before every message, and how long a message may be |
//! | [`client`] | views of what clients say |
//! | [`server`] | writers of what a server says |
//! | [`types`], [`descriptor`] | types of PostgreSQL as types of Gel, and their descriptors |
//! | [`value`] | rows and arguments: PostgreSQL's binary format in other frames |
//! | [`state`] | the state that clients send along, and what they are told at connect |
//! | [`edgeql`] | the few statements of `EdgeQL` that every client sends |
//! | [`capability`] | what a statement of SQL does, in the protocol's bits |
//! | [`error`] | error codes, and SQLSTATEs as such |

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod capability;
pub mod client;
mod cursor;
pub mod descriptor;
pub mod edgeql;
pub mod error;
pub mod frame;
pub mod server;
pub mod state;
pub mod tag;
pub mod types;
pub mod value;

pub use cursor::{BodyError, NIL, Uuid};
pub use error::ErrorCode;
pub use frame::{FrameError, Header, Phase};

#[cfg(test)]
mod property_tests;
#[cfg(test)]
#[path = "sample_tests.rs"]
mod sample;
