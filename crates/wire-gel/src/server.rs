//! Writers of what a server says. Each appends one whole message.

use bytes::{BufMut, BytesMut};

use crate::cursor::{NIL, Uuid, length_field, put_bytes, put_message};
use crate::error::Problem;
use crate::tag::server as tag;

/// The protocol version that is spoken here.
pub const VERSION: (u16, u16) = (3, 0);

/// Where a session stands, as Ready says it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Status {
    /// Outside a transaction.
    Idle,
    /// In a transaction.
    InTransaction,
    /// In a transaction that has failed: nothing but its end is accepted.
    Failed,
}

impl Status {
    /// The byte that stands for it.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// How many rows a command returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cardinality {
    /// It returns nothing.
    None,
    /// One or none.
    AtMostOne,
    /// Any number.
    Many,
}

impl Cardinality {
    const fn byte(self) -> u8 {
        match self {
            Self::None => b'n',
            Self::AtMostOne => b'o',
            Self::Many => b'm',
        }
    }
}

/// A type descriptor with its identifier; [`Described::NOTHING`] where there is no value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Described<'a> {
    /// The identifier: a function of the descriptor's structure alone.
    pub id: Uuid,
    /// The descriptor.
    pub bytes: &'a [u8],
}

impl Described<'_> {
    /// No value.
    pub const NOTHING: Self = Self { id: NIL, bytes: &[] };
}

/// What a command does, takes and returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CommandDescription<'a> {
    /// What it does: see [`crate::capability`].
    pub capabilities: u64,
    /// How many rows it returns.
    pub cardinality: Cardinality,
    /// What it takes.
    pub input: Described<'a>,
    /// What it returns.
    pub output: Described<'a>,
}

impl CommandDescription<'_> {
    /// What a command does, and nothing else.
    #[must_use]
    pub const fn capabilities_only(capabilities: u64) -> Self {
        Self {
            capabilities,
            cardinality: Cardinality::None,
            input: Described::NOTHING,
            output: Described::NOTHING,
        }
    }

    /// Appends `CommandDataDescription`.
    pub fn write(&self, out: &mut BytesMut) {
        put_message(out, tag::COMMAND_DESCRIPTION, |out| {
            out.put_u16(0); // annotations
            out.put_u64(self.capabilities);
            out.put_u8(self.cardinality.byte());
            for described in [&self.input, &self.output] {
                out.put_slice(&described.id);
                put_bytes(out, described.bytes);
            }
        });
    }
}

/// Appends the version that we speak, for a client that asked for a newer one.
pub fn server_handshake(out: &mut BytesMut) {
    put_message(out, tag::HANDSHAKE, |out| {
        out.put_u16(VERSION.0);
        out.put_u16(VERSION.1);
        out.put_u16(0);
    });
}

/// Appends `AuthenticationOK`.
pub fn authentication_ok(out: &mut BytesMut) {
    put_message(out, tag::AUTHENTICATION, |out| out.put_u32(0));
}

/// Appends the SASL mechanisms on offer, the best first.
pub fn authentication_sasl(out: &mut BytesMut, mechanisms: &[&str]) {
    put_message(out, tag::AUTHENTICATION, |out| {
        out.put_u32(10);
        out.put_u32(length_field(mechanisms.len()));
        for mechanism in mechanisms {
            put_bytes(out, mechanism.as_bytes());
        }
    });
}

/// Appends a message in the middle of a SASL exchange.
pub fn authentication_sasl_continue(out: &mut BytesMut, data: &[u8]) {
    put_sasl(out, 11, data);
}

/// Appends the last message of a SASL exchange; [`authentication_ok`] follows.
pub fn authentication_sasl_final(out: &mut BytesMut, data: &[u8]) {
    put_sasl(out, 12, data);
}

fn put_sasl(out: &mut BytesMut, status: u32, data: &[u8]) {
    put_message(out, tag::AUTHENTICATION, |out| {
        out.put_u32(status);
        put_bytes(out, data);
    });
}

/// Appends the connection's key: zeros, for there is no message that would use it.
pub fn key_data(out: &mut BytesMut) {
    put_message(out, tag::KEY_DATA, |out| out.put_slice(&[0; 32]));
}

/// Appends the type of the state that clients send along.
pub fn state_description(out: &mut BytesMut, state: Described<'_>) {
    put_message(out, tag::STATE_DESCRIPTION, |out| {
        out.put_slice(&state.id);
        put_bytes(out, state.bytes);
    });
}

/// Appends the value of a parameter.
pub fn parameter_status(out: &mut BytesMut, name: &str, value: &[u8]) {
    put_message(out, tag::PARAMETER_STATUS, |out| {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value);
    });
}

/// Appends `ReadyForCommand`.
pub fn ready(out: &mut BytesMut, status: Status) {
    put_message(out, tag::READY, |out| {
        out.put_u16(0); // annotations
        out.put_u8(status.byte());
    });
}

/// Appends the end of a command, with its command tag.
pub fn command_complete(out: &mut BytesMut, capabilities: u64, status: &str) {
    put_message(out, tag::COMMAND_COMPLETE, |out| {
        out.put_u16(0); // annotations
        out.put_u64(capabilities);
        put_bytes(out, status.as_bytes());
        out.put_slice(&NIL); // the state has not changed
        put_bytes(out, &[]);
    });
}

/// How bad what an error or a notice says is.
const SEVERITY_ERROR: u8 = 120;
/// As [`SEVERITY_ERROR`], for a warning.
const SEVERITY_WARNING: u8 = 80;
/// As [`SEVERITY_ERROR`], for what may help.
const SEVERITY_NOTICE: u8 = 60;
/// The code of a notice that is about nothing in particular.
const LOG_MESSAGE: u32 = 0xF000_0000;

/// Appends an error.
pub fn error(out: &mut BytesMut, problem: &Problem<'_>) {
    put_message(out, tag::ERROR, |out| {
        out.put_u8(SEVERITY_ERROR);
        out.put_u32(problem.code.0);
        put_bytes(out, problem.message.as_bytes());
        let attributes = problem.attributes();
        out.put_u16(count_field(attributes.len()));
        for (key, value) in attributes {
            out.put_u16(key);
            put_bytes(out, value.as_bytes());
        }
    });
}

fn count_field(count: usize) -> u16 {
    u16::try_from(count).expect("there are a dozen kinds of attributes")
}

/// Appends a notice; `warning` where it is more than that.
pub fn log_message(out: &mut BytesMut, warning: bool, text: &str) {
    put_message(out, tag::LOG, |out| {
        out.put_u8(if warning { SEVERITY_WARNING } else { SEVERITY_NOTICE });
        out.put_u32(LOG_MESSAGE);
        put_bytes(out, text.as_bytes());
        out.put_u16(0); // annotations
    });
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
