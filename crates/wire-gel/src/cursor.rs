//! Reading a body from front to back, and the writing of what it holds.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

/// Why a body is not what its message type promises. Whoever sent it has broken the protocol.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BodyError {
    /// The body ended in the middle of a field.
    #[error("insufficient data left in message")]
    Short,
    /// Bytes follow where the message should have ended.
    #[error("trailing data in message")]
    Trailing,
    /// A byte or a number that must be one of a few is none of them.
    #[error("invalid value {0} in message")]
    UnknownValue(u32),
    /// A string that must be UTF-8 is not.
    #[error("invalid UTF-8 in message")]
    NotUtf8,
    /// More of something than one message may hold.
    #[error("too many {0} in message")]
    TooMany(&'static str),
}

/// An identifier of 16 bytes.
pub type Uuid = [u8; 16];

/// The identifier that stands for nothing.
pub const NIL: Uuid = [0; 16];

/// What of a body has not been read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], BodyError> {
        let (first, rest) = self.rest.split_first_chunk::<N>().ok_or(BodyError::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, BodyError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, BodyError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, BodyError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, BodyError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, BodyError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], BodyError> {
        let (first, rest) = self.rest.split_at_checked(count).ok_or(BodyError::Short)?;
        self.rest = rest;
        Ok(first)
    }

    pub(crate) fn counted(&mut self) -> Result<&'a [u8], BodyError> {
        let count = usize::try_from(self.u32()?).map_err(|_| BodyError::Short)?;
        self.take(count)
    }

    pub(crate) fn string(&mut self) -> Result<&'a str, BodyError> {
        str::from_utf8(self.counted()?).map_err(|_| BodyError::NotUtf8)
    }

    /// A value with its length before it; `None` is -1.
    pub(crate) fn value(&mut self) -> Result<Option<&'a [u8]>, BodyError> {
        let length = self.i32()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length).map(Some),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(BodyError::UnknownValue(length.cast_unsigned())),
        }
    }

    /// Key and value pairs; returns how many there were.
    pub(crate) fn annotations(&mut self) -> Result<u16, BodyError> {
        let count = self.u16()?;
        for _ in 0..count {
            self.string()?;
            self.string()?;
        }
        Ok(count)
    }

    pub(crate) const fn end(self) -> Result<(), BodyError> {
        if self.rest.is_empty() { Ok(()) } else { Err(BodyError::Trailing) }
    }
}

/// Appends a message of type `tag` with the body that `body` writes.
pub(crate) fn put_message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    body(out);
    fill_length(out, start, out.len().saturating_sub(start));
}

/// Appends a length field that does not count itself, and what `body` writes after it.
pub(crate) fn put_counted(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    let from = out.len();
    body(out);
    fill_length(out, start, out.len().saturating_sub(from));
}

fn fill_length(out: &mut BytesMut, at: usize, bytes: usize) {
    let length = length_field(bytes);
    if let Some(field) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *field = length.to_be_bytes();
    }
}

/// Appends bytes with their length before them.
pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(length_field(bytes.len()));
    out.put_slice(bytes);
}

/// The length field of something that we write.
pub(crate) fn length_field(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("what we write is bounded by what we accept: under 4 GiB")
}
