//! The frame around every message after startup: one byte of type, four bytes of length.

use thiserror::Error;

use crate::tag::frontend as tag;

/// Longest body of a message that may carry user data, in bytes: just under 1 GiB.
///
/// PostgreSQL's own bound (`PQ_LARGE_MESSAGE_LIMIT`, src/include/libpq/libpq.h), which counts the
/// length field too.
pub const LARGE_BODY_BYTES_MAX: usize = 0x3fff_fffe - 4;

/// Longest body of a message that carries names only, in bytes.
///
/// PostgreSQL's own bound (`PQ_SMALL_MESSAGE_LIMIT`, src/include/libpq/libpq.h).
pub const SMALL_BODY_BYTES_MAX: usize = 10_000 - 4;

/// Longest body of a password or SASL response, in bytes.
///
/// PostgreSQL's own bound is one byte less (`PG_MAX_AUTH_TOKEN_LENGTH`, src/include/libpq/auth.h).
pub const PASSWORD_BODY_BYTES_MAX: usize = 65_536;

/// The first five bytes of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Type of the message, see [`crate::tag`].
    pub tag: u8,
    /// Bytes that follow the header; at most `i32::MAX - 4`, and named by the peer.
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
    /// The length does not even cover its own four bytes, or is negative.
    #[error("invalid message length {length} in message type {tag:#04x}")]
    LengthTooShort {
        /// Type of the message.
        tag: u8,
        /// The length as the peer wrote it.
        length: i32,
    },
}

/// Reads the header at the start of `buffer`; `None` while it holds fewer than five bytes.
///
/// Says nothing about whether the body has arrived or how long it may be:
/// [`frontend_body_max`].
///
/// # Errors
/// [`FrameError::LengthTooShort`]: what follows cannot be told apart any more.
#[inline]
pub fn header(buffer: &[u8]) -> Result<Option<Header>, FrameError> {
    let [tag, a, b, c, d, ..] = *buffer else { return Ok(None) };
    let length = i32::from_be_bytes([a, b, c, d]);
    let body = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    match body {
        Some(body) => Ok(Some(Header { tag, body })),
        None => Err(FrameError::LengthTooShort { tag, length }),
    }
}

/// The longest body, in bytes, that a frontend message of this type may have after startup; `None`
/// when there is no such type.
///
/// Source: PostgreSQL, `SocketBackend` in src/backend/tcop/postgres.c.
#[inline]
#[must_use]
pub const fn frontend_body_max(tag: u8) -> Option<usize> {
    match tag {
        tag::QUERY | tag::PARSE | tag::BIND | tag::COPY_DATA | tag::FUNCTION_CALL => {
            Some(LARGE_BODY_BYTES_MAX)
        }
        tag::CLOSE
        | tag::COPY_DONE
        | tag::COPY_FAIL
        | tag::DESCRIBE
        | tag::EXECUTE
        | tag::FLUSH
        | tag::SYNC
        | tag::TERMINATE => Some(SMALL_BODY_BYTES_MAX),
        tag::PASSWORD => Some(PASSWORD_BODY_BYTES_MAX),
        _ => None,
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
