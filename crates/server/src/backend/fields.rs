//! What a backend said in an `ErrorResponse` or `NoticeResponse`, kept.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use everline_wire::fields::{ErrorFields, Severity};
use everline_wire::sqlstate::SqlState;

/// The fields of one `ErrorResponse` or `NoticeResponse`.
#[derive(Clone, Eq, PartialEq)]
pub struct OwnedFields {
    /// Well formed: parsed once when it was made.
    body: Bytes,
}

impl OwnedFields {
    /// Keeps the body of a message; `None` when it is malformed.
    #[must_use]
    pub fn new(body: Bytes) -> Option<Self> {
        ErrorFields::parse(&body).is_ok().then_some(Self { body })
    }

    /// The fields.
    ///
    /// # Panics
    /// Never: the body was parsed when it was kept.
    #[must_use]
    pub fn view(&self) -> ErrorFields<'_> {
        ErrorFields::parse(&self.body).expect("parsed when it was made")
    }

    /// The severity, never localised.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.view().severity()
    }

    /// The SQLSTATE.
    #[must_use]
    pub fn code(&self) -> SqlState {
        self.view().code()
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> Cow<'_, str> {
        self.view().message()
    }

    /// The detail.
    #[must_use]
    pub fn detail(&self) -> Option<Cow<'_, str>> {
        self.view().detail()
    }

    /// The hint.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'_, str>> {
        self.view().hint()
    }
}

impl fmt::Display for OwnedFields {
    /// `FATAL 57P01: terminating connection due to administrator command`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity(), self.code(), self.message())
    }
}

impl fmt::Debug for OwnedFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
