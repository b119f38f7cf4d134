//! The packets that begin a connection: they have a length and a code, and no type byte.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::{
    cursor::{Cursor, put_counted, put_message, put_string},
    tag,
};

/// Longest startup packet accepted, in bytes, its length field included.
///
/// PostgreSQL's own bound (`MAX_STARTUP_PACKET_LENGTH`, src/include/libpq/pqcomm.h).
pub const STARTUP_BYTES_MAX: usize = 10_000;

/// Most parameters in one startup packet.
pub const STARTUP_PARAMETERS_MAX: usize = 256;

/// Shortest and longest secret of a cancel key, in bytes: four in protocol 3.0, up to 256 in 3.2.
pub const CANCEL_SECRET_BYTES: std::ops::RangeInclusive<usize> = 4..=256;

/// Newest minor version of protocol 3 that we speak.
pub const MINOR_MAX: u16 = 2;

const MAJOR: u16 = 3;
const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS_ENCRYPTION: u32 = 80_877_104;

/// The first thing a client says on a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Startup {
    /// Asks for TLS; the answer is one byte, and then another packet comes.
    Tls,
    /// Asks for encryption by GSSAPI; the answer is one byte, and then another packet comes.
    GssEncryption,
    /// Asks that a query of another session be cancelled; nothing is answered.
    Cancel {
        /// As given in that session's key data.
        process_id: u32,
        /// As given in that session's key data: 4 to 256 bytes.
        secret: Bytes,
    },
    /// Begins a session.
    Startup(StartupMessage),
}

/// How a session begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StartupMessage {
    /// The minor version of protocol 3, as asked for: may be one that does not exist yet.
    pub minor: u16,
    /// The role to log in as; not empty.
    pub user: String,
    /// The database; the user's name where none is given.
    pub database: String,
    /// The other parameters in their order, without user, database, replication and `_pq_.*`.
    pub parameters: Vec<(String, String)>,
    /// Names of the protocol options asked for (`_pq_.*`), in their order.
    pub protocol_options: Vec<String>,
    /// Whether a replication connection is wanted: the parameter is there and not false.
    pub replication: bool,
}

/// Why a startup packet is none. Its text may be sent to the client.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum StartupError {
    /// Shorter or longer than such a packet may be.
    #[error("invalid length of startup packet: {length}")]
    Length {
        /// As the peer wrote it.
        length: u32,
    },
    /// Not protocol 3.
    #[error(
        "unsupported frontend protocol {major}.{minor}: everline supports {MAJOR}.0 to \
         {MAJOR}.{MINOR_MAX}"
    )]
    Version {
        /// As the peer wrote it.
        major: u16,
        /// As the peer wrote it.
        minor: u16,
    },
    /// The parameters do not end where the packet ends.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// No user, or an empty one.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// A name or a value is not UTF-8.
    #[error("invalid UTF-8 in startup packet")]
    NotUtf8,
    /// More than [`STARTUP_PARAMETERS_MAX`].
    #[error("too many parameters in startup packet: at most {STARTUP_PARAMETERS_MAX} are accepted")]
    TooManyParameters,
}

/// Reads the startup packet at the start of `buffer`: the bytes it takes, and what it says.
///
/// `None` while it has not come whole; a length that no such packet can have is refused before the
/// rest has come, so a caller never buffers more than [`STARTUP_BYTES_MAX`].
///
/// # Errors
/// See [`StartupError`]; the connection is then of no use.
pub fn parse_startup(buffer: &[u8]) -> Result<Option<(usize, Startup)>, StartupError> {
    let Some(field) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*field);
    let error = StartupError::Length { length };
    let total = usize::try_from(length).map_err(|_| error)?;
    if !(8..=STARTUP_BYTES_MAX).contains(&total) {
        return Err(error);
    }
    let Some(packet) = buffer.get(..total) else { return Ok(None) };
    let mut cursor = Cursor::new(packet);
    let (_, code) = (cursor.u32(), cursor.u32().map_err(|_| error)?);
    let startup = match code {
        TLS if total == 8 => Startup::Tls,
        GSS_ENCRYPTION if total == 8 => Startup::GssEncryption,
        TLS | GSS_ENCRYPTION => return Err(error),
        CANCEL => {
            let process_id = cursor.u32().map_err(|_| error)?;
            if !CANCEL_SECRET_BYTES.contains(&cursor.rest.len()) {
                return Err(error);
            }
            Startup::Cancel { process_id, secret: Bytes::copy_from_slice(cursor.rest) }
        }
        version => Startup::Startup(message(version, cursor)?),
    };
    Ok(Some((total, startup)))
}

fn message(version: u32, mut cursor: Cursor<'_>) -> Result<StartupMessage, StartupError> {
    let [a, b, c, d] = version.to_be_bytes();
    let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if major != MAJOR {
        return Err(StartupError::Version { major, minor });
    }
    let mut message = StartupMessage {
        minor,
        user: String::new(),
        database: String::new(),
        parameters: Vec::new(),
        protocol_options: Vec::new(),
        replication: false,
    };
    let mut count: usize = 0;
    loop {
        let name = string(&mut cursor)?;
        if name.is_empty() {
            break;
        }
        let value = string(&mut cursor)?;
        count = count.saturating_add(1);
        if count > STARTUP_PARAMETERS_MAX {
            return Err(StartupError::TooManyParameters);
        }
        match name {
            "user" => value.clone_into(&mut message.user),
            "database" => value.clone_into(&mut message.database),
            "replication" => message.replication = !is_false(value),
            _ if name.starts_with("_pq_.") => message.protocol_options.push(name.to_owned()),
            _ => message.parameters.push((name.to_owned(), value.to_owned())),
        }
    }
    cursor.end().map_err(|_| StartupError::Layout)?;
    if message.user.is_empty() {
        return Err(StartupError::NoUser);
    }
    if message.database.is_empty() {
        message.database.clone_from(&message.user);
    }
    Ok(message)
}

fn string<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, StartupError> {
    let bytes = cursor.string().map_err(|_| StartupError::Layout)?;
    str::from_utf8(bytes).map_err(|_| StartupError::NotUtf8)
}

/// Whether PostgreSQL reads `value` as false: a unique prefix of a word for it, in any case.
///
/// Source: `parse_bool_with_len`, src/backend/utils/adt/bool.c.
fn is_false(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let prefix_of = |word: &str, least| value.len() >= least && word.starts_with(&value);
    value == "0" || prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2)
}

/// Appends a startup packet for protocol 3.0. Parameters without a name are left out: an empty
/// name would end the packet.
pub fn startup<'a>(
    out: &mut BytesMut,
    user: &'a str,
    database: &'a str,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    startup_of(out, 0, user, database, parameters);
}

/// As [`startup`] for the given minor version of protocol 3.
pub fn startup_of<'a>(
    out: &mut BytesMut,
    minor: u16,
    user: &'a str,
    database: &'a str,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    put_counted(out, |out| {
        out.put_u16(MAJOR);
        out.put_u16(minor);
        let named = [("user", user), ("database", database)].into_iter().chain(parameters);
        for (name, value) in named.filter(|(name, _)| !matches!(name.as_bytes(), [] | [0, ..])) {
            put_string(out, name.as_bytes());
            put_string(out, value.as_bytes());
        }
        out.put_u8(0);
    });
}

/// Appends a request for TLS.
pub fn tls_request(out: &mut BytesMut) {
    put_counted(out, |out| out.put_u32(TLS));
}

/// Appends a request to cancel what the session with this key runs.
pub fn cancel_request(out: &mut BytesMut, process_id: u32, secret: &[u8]) {
    put_counted(out, |out| {
        out.put_u32(CANCEL);
        out.put_u32(process_id);
        out.put_slice(secret);
    });
}

/// Appends a `NegotiateProtocolVersion`: the newest minor version we speak, and the names of those
/// protocol options that we do not.
///
/// The whole version is sent, as PostgreSQL does and libpq expects, although the manual says "minor
/// version" (`SendNegotiateProtocolVersion`, `src/backend/tcop/backend_startup.c`).
pub fn negotiate_version(out: &mut BytesMut, minor: u16, options: &[impl AsRef<str>]) {
    put_message(out, tag::backend::NEGOTIATE, |out| {
        out.put_u16(MAJOR);
        out.put_u16(minor);
        out.put_u32(u32::try_from(options.len()).unwrap_or(u32::MAX));
        for option in options {
            put_string(out, option.as_ref().as_bytes());
        }
    });
}

#[cfg(test)]
#[path = "startup_tests.rs"]
mod tests;
