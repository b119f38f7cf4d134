//! Views of what clients say: they borrow from a whole body and copy nothing.

use crate::cursor::{BodyError, Cursor, Uuid};

/// Most parameters in one handshake.
pub const HANDSHAKE_PARAMETERS_MAX: u16 = 64;

/// The first message of a connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Handshake<'a> {
    /// The protocol version that the client asks for.
    pub version: (u16, u16),
    /// Role that wants to log in.
    pub user: Option<&'a str>,
    /// The older name of the branch.
    pub database: Option<&'a str>,
    /// The branch, which is PostgreSQL's database.
    pub branch: Option<&'a str>,
}

impl<'a> Handshake<'a> {
    /// Reads a whole body. Parameters that we do not know are passed over.
    ///
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let mut cursor = Cursor::new(body);
        let mut handshake = Self { version: (cursor.u16()?, cursor.u16()?), ..Self::default() };
        let count = cursor.u16()?;
        if count > HANDSHAKE_PARAMETERS_MAX {
            return Err(BodyError::TooMany("parameters"));
        }
        for _ in 0..count {
            let (name, value) = (cursor.string()?, cursor.string()?);
            match name {
                "user" => handshake.user = Some(value),
                "database" => handshake.database = Some(value),
                "branch" => handshake.branch = Some(value),
                _ => {}
            }
        }
        let extensions = cursor.u16()?;
        for _ in 0..extensions {
            cursor.string()?;
            cursor.annotations()?;
        }
        cursor.end()?;
        Ok(handshake)
    }
}

/// The first message of a SASL exchange: the mechanism and its data.
///
/// # Errors
/// The body is malformed.
pub fn sasl_initial(body: &[u8]) -> Result<(&str, &[u8]), BodyError> {
    let mut cursor = Cursor::new(body);
    let read = (cursor.string()?, cursor.counted()?);
    cursor.end()?;
    Ok(read)
}

/// A further message of a SASL exchange: the mechanism's data.
///
/// # Errors
/// The body is malformed.
pub fn sasl_response(body: &[u8]) -> Result<&[u8], BodyError> {
    let mut cursor = Cursor::new(body);
    let data = cursor.counted()?;
    cursor.end()?;
    Ok(data)
}

/// In which language a command is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Language {
    /// `EdgeQL`.
    EdgeQl,
    /// SQL.
    Sql,
    /// Another, by its byte.
    Other(u8),
}

/// In which format the result is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Binary.
    Binary,
    /// Not at all.
    None,
    /// JSON or another, by its byte.
    Other(u8),
}

/// How many rows the client expects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Any number.
    Many,
    /// One or none.
    AtMostOne,
    /// Something else, by its byte.
    Other(u8),
}

/// What Parse and Execute have in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Command<'a> {
    /// What the client lets the command do: see [`crate::capability`].
    pub allowed: u64,
    /// Most rows to return; zero: all of them.
    pub limit: u64,
    /// The command's language.
    pub language: Language,
    /// The result's format.
    pub format: Format,
    /// How many rows are expected.
    pub expected: Expected,
    /// The command.
    pub text: &'a str,
    /// The descriptor that `state` is written by.
    pub state_id: Uuid,
    /// The session's state, not looked at yet.
    pub state: &'a [u8],
}

/// Describe a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parse<'a> {
    /// The command.
    pub command: Command<'a>,
}

/// Run a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Execute<'a> {
    /// The command.
    pub command: Command<'a>,
    /// The descriptor that the arguments are written by.
    pub input_id: Uuid,
    /// The descriptor that the client will read the result by.
    pub output_id: Uuid,
    /// The arguments, not looked at yet.
    pub arguments: &'a [u8],
}

impl Execute<'_> {
    /// Whether the client knows nothing of this command: it has never had it described.
    #[must_use]
    pub fn is_first_shot(&self) -> bool {
        self.input_id == [0; 16] && self.output_id == [0; 16] && self.arguments.is_empty()
    }
}

impl<'a> Parse<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// The body is malformed.
    #[expect(clippy::self_named_constructors, reason = "every view is read by `parse`")]
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let mut cursor = Cursor::new(body);
        let command = Command::read(&mut cursor)?;
        cursor.end()?;
        Ok(Self { command })
    }
}

impl<'a> Execute<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, BodyError> {
        let mut cursor = Cursor::new(body);
        let command = Command::read(&mut cursor)?;
        let (input_id, output_id) = (cursor.array()?, cursor.array()?);
        let arguments = cursor.counted()?;
        cursor.end()?;
        Ok(Self { command, input_id, output_id, arguments })
    }
}

impl<'a> Command<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, BodyError> {
        cursor.annotations()?;
        let allowed = cursor.u64()?;
        cursor.u64()?; // compilation flags: about EdgeQL's objects
        let limit = cursor.u64()?;
        let language = match cursor.u8()? {
            b'E' => Language::EdgeQl,
            b'S' => Language::Sql,
            other => Language::Other(other),
        };
        let format = match cursor.u8()? {
            b'b' => Format::Binary,
            b'n' => Format::None,
            other => Format::Other(other),
        };
        let expected = match cursor.u8()? {
            b'm' => Expected::Many,
            b'o' => Expected::AtMostOne,
            other => Expected::Other(other),
        };
        let text = cursor.string()?;
        let state_id = cursor.array()?;
        let state = cursor.counted()?;
        Ok(Self { allowed, limit, language, format, expected, text, state_id, state })
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
