//! Reading a body from front to back, and the writing of what it holds.

use bytes::{BufMut, BytesMut};
use memchr::memchr;
use thiserror::Error;

/// Why a body is not what its message type promises. Whoever sent it has broken the protocol.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BodyError {
    /// The body ended in the middle of a field. With a prefix of a body: more of it is needed.
    #[error("insufficient data left in message")]
    Short,
    /// A string has no NUL at its end. With a prefix of a body: more of it is needed.
    #[error("invalid string in message")]
    Unterminated,
    /// Bytes follow where the message should have ended.
    #[error("invalid message format")]
    Trailing,
    /// A byte or a number that must be one of a few is none of them.
    #[error("invalid value {0} in message")]
    UnknownValue(u32),
    /// A string that must be UTF-8 is not.
    #[error("invalid UTF-8 in message")]
    NotUtf8,
}

/// What of a body has not been read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    #[inline]
    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], BodyError> {
        let (first, rest) = self.rest.split_first_chunk::<N>().ok_or(BodyError::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, BodyError> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn i32(&mut self) -> Result<i32, BodyError> {
        self.bytes().map(i32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, BodyError> {
        self.bytes().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, BodyError> {
        self.bytes().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], BodyError> {
        let (first, rest) = self.rest.split_at_checked(count).ok_or(BodyError::Short)?;
        self.rest = rest;
        Ok(first)
    }

    /// The bytes up to the next NUL, which is consumed and not returned.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a [u8], BodyError> {
        let end = memchr(0, self.rest).ok_or(BodyError::Unterminated)?;
        let string = self.take(end)?;
        self.byte()?;
        Ok(string)
    }

    pub(crate) fn utf8(&mut self) -> Result<&'a str, BodyError> {
        str::from_utf8(self.string()?).map_err(|_| BodyError::NotUtf8)
    }

    #[inline]
    pub(crate) const fn end(self) -> Result<(), BodyError> {
        if self.rest.is_empty() { Ok(()) } else { Err(BodyError::Trailing) }
    }
}

/// Appends `bytes` up to their first NUL, and a NUL: what would follow an embedded NUL would be
/// read as the next field.
pub(crate) fn put_string(out: &mut BytesMut, bytes: &[u8]) {
    let string = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    out.put_slice(string);
    out.put_u8(0);
}

/// Appends a message of type `tag` with the body that `body` writes.
pub(crate) fn put_message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    put_counted(out, body);
}

/// Appends a length field that counts itself and what `body` writes after it.
pub(crate) fn put_counted(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    body(out);
    let length = length_field(out.len().saturating_sub(start));
    if let Some(field) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *field = length.to_be_bytes();
    }
}

/// The length field of a message whose body and length field have `bytes` bytes together.
pub(crate) fn length_field(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("what we write is bounded by what we accept: under 1 GiB")
}
