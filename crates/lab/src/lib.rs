//! Real and fake backends for Everline's demo, its tests and its benches.
//!
//! Everything here is loopback only, or on a network of its own ([`network`]). Whatever is started
//! ends by its process id when its owner is dropped, also in a panic; [`process`] says what happens
//! when the whole program is killed. What a machine cannot provide is [`Error::Skip`], which a test
//! reports as skipped.

pub mod client;
pub mod consul;
pub mod dns;
pub mod everline;
pub mod fake_backend;
pub mod fake_consul;
pub mod faults;
pub mod ledger;
mod message;
pub mod network;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod stolon;
pub mod succession;
pub mod turnstile;

use std::io::Write as _;
use std::time::Duration;

/// Why the lab could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine lacks something that the lab cannot bring: a test that meets it is skipped.
    #[error("skipped: {0}")]
    Skip(String),
    /// A socket, file or process could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, in words.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A program ended, or said no, where the lab needed it.
    #[error("{what}: {detail}")]
    Failed {
        /// What was being done, in words.
        what: String,
        /// What the program said, or the end of its log.
        detail: String,
    },
    /// PostgreSQL refused a statement of the lab itself.
    #[error("{what}: {source}")]
    Sql {
        /// The statement, or what it was for.
        what: String,
        /// PostgreSQL's answer, or the connection's end.
        source: tokio_postgres::Error,
    },
    /// Something did not happen in time.
    #[error("{what}: not within {within:?}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
    },
}

/// The lab's results.
pub type Result<T> = std::result::Result<T, Error>;

/// Adds to an I/O error what was being done.
pub(crate) fn during<T>(what: impl FnOnce() -> String, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|source| Error::Io { what: what(), source })
}

/// Says that the test `name` is skipped and why, also to the file that `EVERLINE_SKIPPED_FILE`
/// names.
///
/// # Panics
/// When that file cannot be written.
#[expect(clippy::print_stdout, reason = "what a test says of itself")]
pub fn tell_skipped(name: &str, why: &str) {
    let line = format!("skipped: {name}: {why}");
    println!("{line}");
    let Some(path) = std::env::var_os("EVERLINE_SKIPPED_FILE") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let told = file.and_then(|mut file| writeln!(file, "{line}"));
    told.expect("the file for what was skipped can be written");
}
