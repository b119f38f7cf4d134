//! The frame around every message: one byte of type, four bytes of length that count themselves.

use thiserror::Error;

use crate::tag::client as tag;

/// Longest body of a message of the handshake, in bytes: names and proofs, no data.
pub const HANDSHAKE_BODY_BYTES_MAX: usize = 64 * 1024;

/// Longest body of a Parse or an Execute, in bytes.
///
/// A whole message is kept in memory, because its arguments are rewritten; what is larger does not
/// belong into one statement.
pub const COMMAND_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest body of a message without content, in bytes.
pub const EMPTY_BODY_BYTES_MAX: usize = 0;

/// The first five bytes of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Type of the message, see [`crate::tag`].
    pub tag: u8,
    /// Bytes that follow the header; named by the peer.
    pub body: usize,
}

impl Header {
    /// Bytes of a header.
    pub const BYTES: usize = 5;

    /// Bytes of the whole message, header included.
    #[must_use]
    pub const fn total(self) -> usize {
        self.body.saturating_add(Self::BYTES)
    }
}

/// Why a header is none. The connection cannot be read any further.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FrameError {
    /// The length does not even cover its own four bytes.
    #[error("invalid message length {length} in message type {tag:#04x}")]
    TooShort {
        /// Type of the message.
        tag: u8,
        /// The length as the peer wrote it.
        length: u32,
    },
    /// There is no such type, or not at this point.
    #[error("unexpected message type {tag:#04x}")]
    Unexpected {
        /// Type of the message.
        tag: u8,
    },
    /// The body is longer than its type may be.
    #[error("message type {tag:#04x} with {bytes} bytes is longer than the {most} allowed")]
    TooLong {
        /// Type of the message.
        tag: u8,
        /// Bytes of its body.
        bytes: usize,
        /// Most bytes that it may have.
        most: usize,
    },
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Before the client has logged in.
    Handshake,
    /// After.
    Commands,
}

/// Reads the header at the start of `buffer`; `None` while it holds fewer than five bytes.
///
/// Whatever is too long is refused before it has come.
///
/// # Errors
/// See [`FrameError`].
pub fn header(buffer: &[u8], phase: Phase) -> Result<Option<Header>, FrameError> {
    let [tag, a, b, c, d, ..] = *buffer else { return Ok(None) };
    let most = body_max(tag, phase).ok_or(FrameError::Unexpected { tag })?;
    let length = u32::from_be_bytes([a, b, c, d]);
    let body = length.checked_sub(4).ok_or(FrameError::TooShort { tag, length })?;
    let bytes = usize::try_from(body).unwrap_or(usize::MAX);
    if bytes > most {
        return Err(FrameError::TooLong { tag, bytes, most });
    }
    Ok(Some(Header { tag, body: bytes }))
}

/// The longest body, in bytes, that a message of this type may have; `None` when there is no such
/// type at this point.
#[must_use]
pub const fn body_max(tag: u8, phase: Phase) -> Option<usize> {
    match (phase, tag) {
        (Phase::Handshake, tag::HANDSHAKE | tag::SASL_INITIAL | tag::SASL_RESPONSE) => {
            Some(HANDSHAKE_BODY_BYTES_MAX)
        }
        (Phase::Handshake, tag::TERMINATE) => Some(EMPTY_BODY_BYTES_MAX),
        (Phase::Commands, tag::PARSE | tag::EXECUTE) => Some(COMMAND_BODY_BYTES_MAX),
        (Phase::Commands, tag::SYNC | tag::FLUSH | tag::TERMINATE) => Some(EMPTY_BODY_BYTES_MAX),
        (Phase::Commands, tag::DUMP | tag::RESTORE | tag::RESTORE_BLOCK | tag::RESTORE_EOF) => {
            Some(HANDSHAKE_BODY_BYTES_MAX)
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
