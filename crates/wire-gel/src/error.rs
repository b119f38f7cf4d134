//! Error codes, SQLSTATEs as such, and where in a text an error stands.
//!
//! Whether a client repeats what failed is decided in the client, by the class of the code: only
//! codes that every client library knows by their exact number are named here.

use everline_wire::sqlstate::SqlState;

/// A code of Gel's table of errors.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Something that cannot happen did.
    pub const INTERNAL: Self = Self(0x0100_0000);
    /// It exists in Gel and not here.
    pub const UNSUPPORTED: Self = Self(0x0200_0000);
    /// The client broke the protocol.
    pub const PROTOCOL: Self = Self(0x0301_0000);
    /// The client speaks another version.
    pub const PROTOCOL_VERSION: Self = Self(0x0301_0001);
    /// The arguments cannot be read.
    pub const INPUT_DATA: Self = Self(0x0302_0000);
    /// The arguments are written by another descriptor.
    pub const PARAMETER_TYPES: Self = Self(0x0302_0100);
    /// The state is written by another descriptor.
    pub const STATE: Self = Self(0x0302_0200);
    /// More rows than the client asked for.
    pub const CARDINALITY: Self = Self(0x0303_0000);
    /// The client does not let the command do what it does.
    pub const CAPABILITY: Self = Self(0x0304_0200);
    /// The statement is wrong.
    pub const QUERY: Self = Self(0x0400_0000);
    /// The statement is not in its language.
    pub const SYNTAX: Self = Self(0x0401_0100);
    /// The statement took too long.
    pub const QUERY_TIMEOUT: Self = Self(0x0406_0200);
    /// The session was idle in a transaction for too long.
    pub const IDLE_TRANSACTION_TIMEOUT: Self = Self(0x0406_0A01);
    /// The statement failed while it ran.
    pub const EXECUTION: Self = Self(0x0500_0000);
    /// A value is none.
    pub const INVALID_VALUE: Self = Self(0x0501_0000);
    /// Division by zero.
    pub const DIVISION_BY_ZERO: Self = Self(0x0501_0001);
    /// A number is too large for its type.
    pub const NUMERIC_RANGE: Self = Self(0x0501_0002);
    /// The role may not do that.
    pub const ACCESS_POLICY: Self = Self(0x0501_0003);
    /// The data must not become like that.
    pub const INTEGRITY: Self = Self(0x0502_0000);
    /// A constraint forbids it.
    pub const CONSTRAINT: Self = Self(0x0502_0001);
    /// The transaction is not in the state for that.
    pub const TRANSACTION: Self = Self(0x0503_0000);
    /// The transaction lost against others. Clients repeat it.
    pub const TRANSACTION_CONFLICT: Self = Self(0x0503_0100);
    /// As [`Self::TRANSACTION_CONFLICT`].
    pub const SERIALIZATION: Self = Self(0x0503_0101);
    /// As [`Self::TRANSACTION_CONFLICT`].
    pub const DEADLOCK: Self = Self(0x0503_0102);
    /// The client is not who it says.
    pub const AUTHENTICATION: Self = Self(0x0701_0000);
    /// What was asked for may or may not have been done.
    pub const AVAILABILITY: Self = Self(0x0800_0000);
    /// The backend is away, and nothing was done. Clients repeat what only reads.
    pub const BACKEND_UNAVAILABLE: Self = Self(0x0800_0001);
    /// PostgreSQL's own trouble.
    pub const BACKEND: Self = Self(0x0900_0000);

    /// Whether clients take it for an invitation to repeat (`SHOULD_RETRY`).
    #[must_use]
    pub const fn invites_retry(self) -> bool {
        matches!(
            self,
            Self::TRANSACTION_CONFLICT
                | Self::SERIALIZATION
                | Self::DEADLOCK
                | Self::BACKEND_UNAVAILABLE
                | Self::STATE
        )
    }

    /// The code for an error that PostgreSQL itself reports.
    #[must_use]
    pub fn of(state: SqlState) -> Self {
        match state.as_str() {
            "0A000" => Self::UNSUPPORTED,
            "22012" => Self::DIVISION_BY_ZERO,
            "22003" => Self::NUMERIC_RANGE,
            "25P03" => Self::IDLE_TRANSACTION_TIMEOUT,
            "40001" => Self::SERIALIZATION,
            "40P01" => Self::DEADLOCK,
            "42501" => Self::ACCESS_POLICY,
            "42601" => Self::SYNTAX,
            "57014" => Self::QUERY_TIMEOUT,
            "40003" => Self::AVAILABILITY,
            "XX000" | "XX001" | "XX002" => Self::BACKEND,
            _ => Self::of_class(state.class()),
        }
    }

    fn of_class(class: &str) -> Self {
        match class {
            "22" => Self::INVALID_VALUE,
            "23" => Self::CONSTRAINT,
            "25" => Self::TRANSACTION,
            "28" => Self::AUTHENTICATION,
            "40" => Self::TRANSACTION_CONFLICT,
            "42" => Self::QUERY,
            "53" | "54" | "55" | "58" => Self::EXECUTION,
            _ => Self::EXECUTION,
        }
    }
}

/// An error as a client gets it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem<'a> {
    /// For programs.
    pub code: ErrorCode,
    /// For people: one line.
    pub message: &'a str,
    /// For people: what to do.
    pub hint: Option<&'a str>,
    /// For people: more of the same.
    pub details: Option<&'a str>,
    /// Where in the command it stands.
    pub place: Option<Place>,
}

/// Where in a text an error stands. All counts begin at zero but the line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// In bytes.
    pub byte: usize,
    /// In characters.
    pub character: usize,
    /// Its line, from one.
    pub line: usize,
    /// In its line, in UTF-16 units.
    pub column_utf16: usize,
    /// In its line, in characters.
    pub column: usize,
}

impl Place {
    /// The place of PostgreSQL's field `P`, which counts characters from one; `None` when that is
    /// not in the text.
    #[must_use]
    pub fn of(text: &str, position: &str) -> Option<Self> {
        let character = position.parse::<usize>().ok()?.checked_sub(1)?;
        let mut place = Self { byte: 0, character: 0, line: 1, column_utf16: 0, column: 0 };
        for c in text.chars().take(character) {
            place.byte = place.byte.saturating_add(c.len_utf8());
            place.character = place.character.saturating_add(1);
            place.column = place.column.saturating_add(1);
            place.column_utf16 = place.column_utf16.saturating_add(c.len_utf16());
            if c == '\n' {
                place.line = place.line.saturating_add(1);
                (place.column, place.column_utf16) = (0, 0);
            }
        }
        (place.character == character).then_some(place)
    }
}

impl<'a> Problem<'a> {
    /// An error of one line.
    #[must_use]
    pub const fn new(code: ErrorCode, message: &'a str) -> Self {
        Self { code, message, hint: None, details: None, place: None }
    }

    /// The attributes of the message, by their keys.
    pub(crate) fn attributes(&self) -> Vec<(u16, String)> {
        let mut attributes = Vec::new();
        for (key, text) in [(1, self.hint), (2, self.details)] {
            if let Some(text) = text {
                attributes.push((key, text.to_owned()));
            }
        }
        if let Some(place) = self.place {
            let Place { byte, character, line, column_utf16, column } = place;
            let values = [
                (0xFFF1, byte),
                (0xFFF2, byte),
                (0xFFF3, line),
                (0xFFF4, column.saturating_add(1)),
                (0xFFF5, column_utf16),
                (0xFFF6, line),
                (0xFFF7, column.saturating_add(1)),
                (0xFFF8, column_utf16),
                (0xFFF9, character),
                (0xFFFA, character),
            ];
            attributes.extend(values.map(|(key, value)| (key, value.to_string())));
        }
        attributes
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
