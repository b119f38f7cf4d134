//! Messages of the frontend: views of those we read from clients, writers of those we speak to
//! backends.
//!
//! A view borrows from the body and copies nothing. It may be given a prefix of a body whose rest
//! has not come: where the bytes at hand do not suffice the error is [`BodyError::Short`] or
//! [`BodyError::Unterminated`], which with a whole body says that it is malformed.
//! Strings that are written end at their first NUL.

use bytes::{BufMut, BytesMut};
use memchr::memchr;

use crate::{
    cursor::{BodyError, Cursor, length_field, put_message, put_string},
    tag::frontend as tag,
};

/// A simple query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Query<'a> {
    /// The text, or as much of it as has come; no NUL.
    pub sql: &'a [u8],
    /// Whether the NUL at its end was seen. False with a whole body: it is malformed.
    pub complete: bool,
}

impl<'a> Query<'a> {
    /// Reads a body or a prefix of it.
    ///
    /// # Errors
    /// [`BodyError::Trailing`]: bytes follow the text.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let (sql, rest) = text(body);
        match rest {
            None => Ok(Self { sql, complete: false }),
            Some([]) => Ok(Self { sql, complete: true }),
            Some(_) => Err(BodyError::Trailing),
        }
    }
}

/// Prepares a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The text, or as much of it as has come; no NUL.
    pub sql: &'a [u8],
    /// Whether the NUL at the text's end was seen. False with a whole body: it is malformed.
    pub complete: bool,
    /// A count of two bytes and that many OIDs, as the client wrote them: not checked.
    pub types_raw: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads a body or a prefix of it.
    ///
    /// # Errors
    /// [`BodyError::Unterminated`]: the name has no end.
    #[expect(clippy::self_named_constructors, reason = "every view is read by `parse`")]
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let mut cursor = Cursor::new(body);
        let name = cursor.string()?;
        let (sql, rest) = text(cursor.rest);
        let complete = rest.is_some();
        Ok(Self { name, sql, complete, types_raw: rest.unwrap_or_default() })
    }
}

/// Binds parameters to a prepared statement, which makes a portal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bind<'a> {
    /// The portal's name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The statement's name; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Formats and values, or as much of them as has come: not checked.
    pub rest: &'a [u8],
}

impl<'a> Bind<'a> {
    /// Reads a body or a prefix of it.
    ///
    /// # Errors
    /// [`BodyError::Unterminated`]: a name has no end.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let mut cursor = Cursor::new(body);
        let (portal, statement) = (cursor.string()?, cursor.string()?);
        Ok(Self { portal, statement, rest: cursor.rest })
    }
}

/// What Describe and Close are about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

impl Target {
    const fn byte(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }
}

/// Asks what a prepared statement or a portal returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Describe<'a> {
    /// Statement or portal.
    pub kind: Target,
    /// Its name; empty for the unnamed one.
    pub name: &'a [u8],
}

impl<'a> Describe<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// Neither `S` nor `P`, a name without an end, or bytes after it.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        target(body).map(|(kind, name)| Self { kind, name })
    }
}

/// Closes a prepared statement or a portal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Close<'a> {
    /// Statement or portal.
    pub kind: Target,
    /// Its name; empty for the unnamed one.
    pub name: &'a [u8],
}

impl<'a> Close<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// Neither `S` nor `P`, a name without an end, or bytes after it.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        target(body).map(|(kind, name)| Self { kind, name })
    }
}

/// Executes a portal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Execute<'a> {
    /// The portal's name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Most rows to return; zero and less: all of them.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// A name without an end, no count, or bytes after it.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let mut cursor = Cursor::new(body);
        let parsed = Self { portal: cursor.string()?, max_rows: cursor.i32()? };
        cursor.end()?;
        Ok(parsed)
    }
}

/// The first answer of a client in a SASL exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SaslInitial<'a> {
    /// The mechanism that the client chose.
    pub mechanism: &'a [u8],
    /// The first message of that mechanism; `None`: it waits for ours.
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitial<'a> {
    /// Reads the whole body of a `p` message that answers `AuthenticationSASL`. The bodies of those
    /// that follow are the mechanism's messages and nothing else.
    ///
    /// # Errors
    /// A name without an end, or a length that is not that of the rest.
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let mut cursor = Cursor::new(body);
        let mechanism = cursor.string()?;
        let length = cursor.i32()?;
        let data = match usize::try_from(length) {
            Ok(length) => Some(cursor.take(length)?),
            Err(_) if length == -1 => None,
            Err(_) => {
                return Err(BodyError::UnknownValue(u32::from_ne_bytes(length.to_ne_bytes())));
            }
        };
        cursor.end()?;
        Ok(Self { mechanism, data })
    }
}

/// The password in the whole body of a `p` message that answers a request for one.
///
/// # Errors
/// No NUL at the end, or one before it.
pub fn password_view(body: &[u8]) -> Result<&[u8], BodyError> {
    let mut cursor = Cursor::new(body);
    let password = cursor.string()?;
    cursor.end()?;
    Ok(password)
}

/// The bytes up to the first NUL, and those after it; `None` when there is no NUL.
#[inline]
fn text(body: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(0, body).and_then(|end| body.split_at_checked(end)) {
        Some((text, rest)) => (text, rest.get(1..)),
        None => (body, None),
    }
}

#[inline]
fn target(body: &[u8]) -> Result<(Target, &[u8]), BodyError> {
    let mut cursor = Cursor::new(body);
    let kind = match cursor.byte()? {
        b'S' => Target::Statement,
        b'P' => Target::Portal,
        other => return Err(BodyError::UnknownValue(u32::from(other))),
    };
    let name = cursor.string()?;
    cursor.end()?;
    Ok((kind, name))
}

/// Appends a simple query.
pub fn query(out: &mut BytesMut, sql: &[u8]) {
    put_message(out, tag::QUERY, |out| put_string(out, sql));
}

/// Appends a Parse; `types_raw` as in [`Parse::types_raw`], two zero bytes where it is empty.
pub fn parse(out: &mut BytesMut, name: &[u8], sql: &[u8], types_raw: &[u8]) {
    put_message(out, tag::PARSE, |out| {
        put_string(out, name);
        put_string(out, sql);
        out.put_slice(if types_raw.is_empty() { &[0, 0] } else { types_raw });
    });
}

/// Appends a Bind; `rest` as in [`Bind::rest`], whole or the beginning of `rest_total` bytes, of
/// which the caller sends the others after it.
pub fn bind(out: &mut BytesMut, portal: &[u8], statement: &[u8], rest: &[u8], rest_total: usize) {
    out.put_u8(tag::BIND);
    let length_at = out.len();
    out.put_i32(0);
    put_string(out, portal);
    put_string(out, statement);
    let length = length_field(out.len().saturating_sub(length_at).saturating_add(rest_total));
    if let Some(field) = out.get_mut(length_at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *field = length.to_be_bytes();
    }
    out.put_slice(rest.get(..rest_total).unwrap_or(rest));
}

/// Appends a Describe.
pub fn describe(out: &mut BytesMut, kind: Target, name: &[u8]) {
    put_target(out, tag::DESCRIBE, kind, name);
}

/// Appends an Execute; `max_rows` 0: all rows.
pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: i32) {
    put_message(out, tag::EXECUTE, |out| {
        put_string(out, portal);
        out.put_i32(max_rows);
    });
}

/// Appends a Close.
pub fn close(out: &mut BytesMut, kind: Target, name: &[u8]) {
    put_target(out, tag::CLOSE, kind, name);
}

fn put_target(out: &mut BytesMut, tag: u8, kind: Target, name: &[u8]) {
    put_message(out, tag, |out| {
        out.put_u8(kind.byte());
        put_string(out, name);
    });
}

/// Appends a Sync.
pub fn sync(out: &mut BytesMut) {
    put_message(out, tag::SYNC, |_| ());
}

/// Appends a Flush.
pub fn flush(out: &mut BytesMut) {
    put_message(out, tag::FLUSH, |_| ());
}

/// Appends a Terminate.
pub fn terminate(out: &mut BytesMut) {
    put_message(out, tag::TERMINATE, |_| ());
}

/// Appends a password, in clear or hashed as MD5 authentication wants it.
pub fn password(out: &mut BytesMut, password: &[u8]) {
    put_message(out, tag::PASSWORD, |out| put_string(out, password));
}

/// Appends the first message of a SASL exchange.
pub fn sasl_initial(out: &mut BytesMut, mechanism: &str, data: &[u8]) {
    put_message(out, tag::PASSWORD, |out| {
        put_string(out, mechanism.as_bytes());
        out.put_i32(length_field(data.len()));
        out.put_slice(data);
    });
}

/// Appends a further message of a SASL exchange.
pub fn sasl_response(out: &mut BytesMut, data: &[u8]) {
    put_message(out, tag::PASSWORD, |out| out.put_slice(data));
}

/// Appends a `CopyFail` with the reason that the backend is to report.
pub fn copy_fail(out: &mut BytesMut, reason: &str) {
    put_message(out, tag::COPY_FAIL, |out| put_string(out, reason.as_bytes()));
}

#[cfg(test)]
#[path = "frontend_tests.rs"]
mod tests;
