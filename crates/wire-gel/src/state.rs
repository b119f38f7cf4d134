//! The state that clients send along with each command, and what they are told at connect.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use crate::cursor::{BodyError, Cursor, put_counted};
use crate::descriptor::{Builder, Descriptor};
use crate::edgeql::{Access, Isolation, Modes};
use crate::types::Scalar;

/// Longest timeout that PostgreSQL takes: milliseconds in 31 bits.
const TIMEOUT_MILLISECONDS_MAX: u64 = 0x7fff_ffff;

/// Position of the configuration among the state's elements.
const CONFIG: u32 = 2;

/// The elements of the configuration, in their order.
const ISOLATION: u32 = 0;
const ACCESS: u32 = 1;
const DEFERRABLE: u32 = 2;
const QUERY_TIMEOUT: u32 = 3;
const IDLE_TIMEOUT: u32 = 4;

/// What a client's state asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// How transactions are to be, where they do not say it themselves.
    pub modes: Modes,
    /// `query_execution_timeout` in milliseconds, for PostgreSQL's `statement_timeout`.
    pub query_timeout: Option<u64>,
    /// `session_idle_transaction_timeout` in milliseconds, for PostgreSQL's
    /// `idle_in_transaction_session_timeout`.
    pub idle_timeout: Option<u64>,
}

/// The type of the state. Every client looks up the four elements by their names.
#[must_use]
pub fn descriptor() -> Descriptor {
    let mut builder = Builder::default();
    let text = builder.scalar(&Scalar::STR);
    let alias = builder.tuple(&[text, text], "tuple<std::str, std::str>");
    let aliases = builder.array(alias, "tuple<std::str, std::str>");
    let isolation =
        builder.enumeration("sys::TransactionIsolation", &["RepeatableRead", "Serializable"]);
    let access = builder.enumeration("sys::TransactionAccessMode", &["ReadOnly", "ReadWrite"]);
    let deferrable =
        builder.enumeration("sys::TransactionDeferrability", &["Deferrable", "NotDeferrable"]);
    let duration = builder.scalar(&Scalar::DURATION);
    let config = builder.input(&[
        ("default_transaction_isolation", isolation),
        ("default_transaction_access_mode", access),
        ("default_transaction_deferrable", deferrable),
        ("query_execution_timeout", duration),
        ("session_idle_transaction_timeout", duration),
    ]);
    let globals = builder.input(&[]);
    builder.input(&[
        ("module", text),
        ("aliases", aliases),
        ("config", config),
        ("globals", globals),
    ]);
    builder.finish()
}

impl State {
    /// Reads a state that is written by [`descriptor`]. Modules and aliases mean nothing to SQL and
    /// are passed over unread.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(state: &[u8]) -> Result<Self, BodyError> {
        let mut parsed = Self::default();
        sparse(state, |index, value| match index {
            CONFIG => sparse(value, |index, value| parsed.setting(index, value)),
            _ => Ok(()),
        })?;
        Ok(parsed)
    }

    fn setting(&mut self, index: u32, value: &[u8]) -> Result<(), BodyError> {
        match index {
            ISOLATION => self.modes.isolation = Some(word(value, &ISOLATIONS)?),
            ACCESS => self.modes.access = Some(word(value, &ACCESSES)?),
            DEFERRABLE => self.modes.deferrable = Some(word(value, &DEFERRABLES)?),
            QUERY_TIMEOUT => self.query_timeout = Some(milliseconds(value)?),
            IDLE_TIMEOUT => self.idle_timeout = Some(milliseconds(value)?),
            other => return Err(BodyError::UnknownValue(other)),
        }
        Ok(())
    }
}

const ISOLATIONS: [(&str, Isolation); 2] =
    [("RepeatableRead", Isolation::RepeatableRead), ("Serializable", Isolation::Serializable)];
const ACCESSES: [(&str, Access); 2] =
    [("ReadOnly", Access::ReadOnly), ("ReadWrite", Access::ReadWrite)];
const DEFERRABLES: [(&str, bool); 2] = [("Deferrable", true), ("NotDeferrable", false)];

fn word<T: Copy>(value: &[u8], words: &[(&str, T)]) -> Result<T, BodyError> {
    let found = words.iter().find(|(word, _)| word.as_bytes() == value);
    found.map(|(_, meaning)| *meaning).ok_or(BodyError::UnknownValue(0))
}

/// A `std::duration`: microseconds, and no days or months. What is not positive means: no limit.
fn milliseconds(value: &[u8]) -> Result<u64, BodyError> {
    let mut cursor = Cursor::new(value);
    let microseconds = i64::from_be_bytes(cursor.array()?);
    cursor.u64()?;
    cursor.end()?;
    let microseconds = u64::try_from(microseconds).unwrap_or(0);
    Ok(microseconds.div_ceil(1000).min(TIMEOUT_MILLISECONDS_MAX))
}

/// Gives each element of a sparse object to `each`.
fn sparse<'a>(
    object: &'a [u8],
    mut each: impl FnMut(u32, &'a [u8]) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    if object.is_empty() {
        return Ok(());
    }
    let mut cursor = Cursor::new(object);
    let count = cursor.u32()?;
    for _ in 0..count {
        let index = cursor.u32()?;
        if let Some(value) = cursor.value()? {
            each(index, value)?;
        }
    }
    cursor.end()
}

/// The value of the parameter `system_config`: after how long a session that does nothing might be
/// closed, so that clients ask beforehand whether it still is there.
#[must_use]
pub fn system_config(session_idle_timeout: Duration) -> BytesMut {
    let mut builder = Builder::default();
    let duration = builder.scalar(&Scalar::DURATION);
    builder.object(&[("session_idle_timeout".to_owned(), duration)]);
    let descriptor = builder.finish();
    let mut out = BytesMut::new();
    put_counted(&mut out, |out| {
        out.put_slice(&descriptor.id);
        out.put_slice(&descriptor.bytes);
    });
    put_counted(&mut out, |out| {
        out.put_u32(1); // element
        out.put_u32(0); // reserved
        put_counted(out, |out| {
            let microseconds = i64::try_from(session_idle_timeout.as_micros()).unwrap_or(i64::MAX);
            out.put_i64(microseconds);
            out.put_u64(0); // no days, no months
        });
    });
    out
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
