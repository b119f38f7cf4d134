//! The fields of `ErrorResponse` and `NoticeResponse`: reading them and writing our own.
//!
//! Source: PostgreSQL's manual, "Error and Notice Message Fields".

use std::{borrow::Cow, fmt};

use bytes::{BufMut, BytesMut};

use crate::{
    cursor::{BodyError, Cursor, put_message, put_string},
    sqlstate::SqlState,
    tag::backend as tag,
};

/// How bad it is. From [`Severity::Fatal`] on the connection ends.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// For developers.
    Debug,
    /// For the log.
    Log,
    /// Asked for by the client.
    Info,
    /// May help the client.
    Notice,
    /// Probably not what the client wanted.
    Warning,
    /// The statement failed, the session goes on.
    Error,
    /// The session ends.
    Fatal,
    /// All sessions end.
    Panic,
}

impl Severity {
    /// As it stands in the `V` field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Log => "LOG",
            Self::Info => "INFO",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Panic => "PANIC",
        }
    }

    fn from_field(field: &[u8]) -> Option<Self> {
        Some(match field {
            b"DEBUG" | b"DEBUG1" | b"DEBUG2" | b"DEBUG3" | b"DEBUG4" | b"DEBUG5" => Self::Debug,
            b"LOG" => Self::Log,
            b"INFO" => Self::Info,
            b"NOTICE" => Self::Notice,
            b"WARNING" => Self::Warning,
            b"ERROR" => Self::Error,
            b"FATAL" => Self::Fatal,
            b"PANIC" => Self::Panic,
            _ => return None,
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A view of the body of an `ErrorResponse` or `NoticeResponse` that is well formed.
#[derive(Clone, Copy, Debug)]
pub struct ErrorFields<'a> {
    body: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    /// Checks a whole body; nothing is copied.
    ///
    /// # Errors
    /// A field without its NUL, no NUL at the end, or bytes after it.
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let mut cursor = Cursor::new(body);
        while cursor.byte()? != 0 {
            cursor.string()?;
        }
        cursor.end()?;
        Ok(Self { body })
    }

    /// The fields in their order: the byte that says which, and its bytes without the NUL.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut cursor = Cursor::new(self.body);
        std::iter::from_fn(move || match cursor.byte() {
            Ok(0) | Err(_) => None,
            Ok(field) => cursor.string().ok().map(|value| (field, value)),
        })
    }

    /// The first field of this kind, in the client's encoding.
    #[must_use]
    pub fn get(&self, field: u8) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == field).map(|(_, value)| value)
    }

    /// Severity: the `V` field, which is never translated; else `S` where that is English;
    /// [`Severity::Error`] where neither says.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let read = |field| self.get(field).and_then(Severity::from_field);
        read(b'V').or_else(|| read(b'S')).unwrap_or(Severity::Error)
    }

    /// SQLSTATE; [`SqlState::INTERNAL_ERROR`] where there is none.
    #[must_use]
    pub fn code(&self) -> SqlState {
        self.get(b'C').and_then(SqlState::from_bytes).unwrap_or(SqlState::INTERNAL_ERROR)
    }

    /// The message, for people; what is not UTF-8 in it is replaced.
    #[must_use]
    pub fn message(&self) -> Cow<'a, str> {
        self.text(b'M').unwrap_or_default()
    }

    /// The detail, if there is one.
    #[must_use]
    pub fn detail(&self) -> Option<Cow<'a, str>> {
        self.text(b'D')
    }

    /// The hint, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'a, str>> {
        self.text(b'H')
    }

    fn text(&self, field: u8) -> Option<Cow<'a, str>> {
        self.get(field).map(String::from_utf8_lossy)
    }
}

/// An error or a notice of our own.
///
/// Texts end at their first NUL: the protocol has no way to send one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Report<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// For programs.
    pub code: SqlState,
    /// For people: one line.
    pub message: &'a str,
    /// For people: more of the same.
    pub detail: Option<&'a str>,
    /// For people: what to do.
    pub hint: Option<&'a str>,
}

impl<'a> Report<'a> {
    /// A report without detail and hint.
    #[must_use]
    pub const fn new(severity: Severity, code: SqlState, message: &'a str) -> Self {
        Self { severity, code, message, detail: None, hint: None }
    }

    /// Appends it as an `ErrorResponse`.
    pub fn error_response(&self, out: &mut BytesMut) {
        self.put(out, tag::ERROR);
    }

    /// Appends it as a `NoticeResponse`.
    pub fn notice_response(&self, out: &mut BytesMut) {
        self.put(out, tag::NOTICE);
    }

    fn put(&self, out: &mut BytesMut, tag: u8) {
        let fields = [
            (b'S', Some(self.severity.as_str())),
            (b'V', Some(self.severity.as_str())),
            (b'C', Some(self.code.as_str())),
            (b'M', Some(self.message)),
            (b'D', self.detail),
            (b'H', self.hint),
        ];
        put_message(out, tag, |out| {
            for (field, value) in fields {
                if let Some(value) = value {
                    out.put_u8(field);
                    put_string(out, value.as_bytes());
                }
            }
            out.put_u8(0);
        });
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
