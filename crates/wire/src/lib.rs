//! PostgreSQL's protocol, version 3: bytes to messages and back.
//!
//! No I/O, no clock, no state that outlives a call. Everything here takes bytes that somebody else
//! has read, and appends bytes that somebody else will send.
//!
//! | module | what it knows |
//! |---|---|
//! | [`frame`], [`tag`] | the five bytes before every message, and how long a message may be |
//! | [`startup`] | the packets that begin a connection |
//! | [`frontend`] | what clients say: views to read it, writers to say it to a backend |
//! | [`backend`] | what backends say: writers to say it to a client, views to read it |
//! | [`fields`], [`sqlstate`] | errors and notices |
//! | [`auth`] | SCRAM, and what passwords are stored as |
//! | [`sql`] | where statements end and what they begin with |
//! | [`digest`] | names made of contents |
//!
//! # What is promised about hostile input
//!
//! Everything that reads may be given any bytes whatsoever:
//!
//! * **It returns.** No input makes it panic, overflow, recurse or loop: each byte is looked at a
//!   number of times that the code fixes, so reading takes time in proportion to the bytes at hand.
//!   (Checking a password takes what the verifier's iterations say, and those are never the
//!   peer's.)
//! * **It allocates nothing that the peer can size.** Views borrow. A length or a count that is
//!   named in a message is compared with the bytes that are there and never reserved. What is owned
//!   is bounded: a startup packet by [`startup::STARTUP_BYTES_MAX`] and
//!   [`startup::STARTUP_PARAMETERS_MAX`], a cancel key by [`startup::CANCEL_SECRET_BYTES`], a SCRAM
//!   exchange by the message that carries it, a name in SQL by 63 bytes.
//! * **It refuses early.** [`frame::header`], [`frame::frontend_body_max`] and
//!   [`startup::parse_startup`] say what is too long before it has come, so that nobody need buffer
//!   it to find out.
//! * **It is strict where PostgreSQL is.** What follows the end of a message's last field is an
//!   error and not ignored; a string without its NUL is an error and does not reach into the next
//!   message.
//!
//! Everything that writes may be given any text: a string ends at its first NUL, because what
//! follows one would be read as the next field. A message of ours must be shorter than 2 GiB, which
//! holds as long as it is made of what [`frame::frontend_body_max`] lets in; a longer one is
//! a defect of the caller and panics.
//!
//! Secrets have a `Debug` that says nothing, and are compared in constant time.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod auth;
pub mod backend;
mod cursor;
pub mod digest;
pub mod fields;
pub mod frame;
pub mod frontend;
pub mod proxy_header;
pub mod sql;
pub mod sqlstate;
pub mod startup;
pub mod tag;

pub use cursor::BodyError;
pub use fields::{ErrorFields, Report, Severity};
pub use frame::{FrameError, Header};
pub use sqlstate::SqlState;

#[cfg(test)]
mod property_tests;
