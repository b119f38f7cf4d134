//! Views of the messages that backends send: they borrow from a whole body and copy nothing.

use super::TransactionStatus;
use crate::{
    cursor::{BodyError, Cursor},
    startup::CANCEL_SECRET_BYTES,
};

/// A step of authentication, as the backend asks for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Authentication<'a> {
    /// The login has succeeded.
    Ok,
    /// The password is wanted in clear.
    Cleartext,
    /// The password is wanted hashed with this salt.
    Md5([u8; 4]),
    /// A SASL exchange begins.
    Sasl {
        /// What the backend offers, the best first.
        mechanisms: Mechanisms<'a>,
    },
    /// The next message of the SASL mechanism.
    SaslContinue(&'a [u8]),
    /// The last message of the SASL mechanism.
    SaslFinal(&'a [u8]),
    /// Something we do not speak (GSSAPI, SSPI, Kerberos …), by its number.
    Other(u32),
}

/// Names of SASL mechanisms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mechanisms<'a> {
    list: &'a [u8],
}

impl<'a> Mechanisms<'a> {
    /// The names in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.list.split(|byte| *byte == 0).filter(|name| !name.is_empty())
    }

    /// Whether this one is on offer.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|offered| offered == name.as_bytes())
    }
}

/// Reads an authentication message.
///
/// # Errors
/// The body is malformed.
pub fn authentication(body: &[u8]) -> Result<Authentication<'_>, BodyError> {
    let mut cursor = Cursor::new(body);
    let authentication = match cursor.u32()? {
        0 => Authentication::Ok,
        3 => Authentication::Cleartext,
        5 => Authentication::Md5(cursor.bytes()?),
        10 => {
            let (end, list) = cursor.rest.split_last().ok_or(BodyError::Short)?;
            if *end != 0 || list.last().is_some_and(|byte| *byte != 0) {
                return Err(BodyError::Unterminated);
            }
            return Ok(Authentication::Sasl { mechanisms: Mechanisms { list } });
        }
        11 => return Ok(Authentication::SaslContinue(cursor.rest)),
        12 => return Ok(Authentication::SaslFinal(cursor.rest)),
        other => return Ok(Authentication::Other(other)),
    };
    cursor.end()?;
    Ok(authentication)
}

/// Reads ParameterStatus: a name and its value.
///
/// # Errors
/// The body is malformed or not UTF-8.
pub fn parameter_status(body: &[u8]) -> Result<(&str, &str), BodyError> {
    let mut cursor = Cursor::new(body);
    let pair = (cursor.utf8()?, cursor.utf8()?);
    cursor.end()?;
    Ok(pair)
}

/// Reads `BackendKeyData`: the process number and the secret of 4 to 256 bytes.
///
/// # Errors
/// The body is malformed.
pub fn key_data(body: &[u8]) -> Result<(u32, &[u8]), BodyError> {
    let mut cursor = Cursor::new(body);
    let process_id = cursor.u32()?;
    let bytes = cursor.rest.len();
    if bytes < *CANCEL_SECRET_BYTES.start() {
        return Err(BodyError::Short);
    }
    if bytes > *CANCEL_SECRET_BYTES.end() {
        return Err(BodyError::Trailing);
    }
    Ok((process_id, cursor.rest))
}

/// Reads ReadyForQuery.
///
/// # Errors
/// The body is not one known byte.
#[inline]
pub fn ready_for_query(body: &[u8]) -> Result<TransactionStatus, BodyError> {
    let mut cursor = Cursor::new(body);
    let byte = cursor.byte()?;
    cursor.end()?;
    TransactionStatus::from_byte(byte).ok_or(BodyError::UnknownValue(u32::from(byte)))
}

/// Reads `CommandComplete`: the command tag.
///
/// # Errors
/// The body is not one string.
#[inline]
pub fn command_complete(body: &[u8]) -> Result<&[u8], BodyError> {
    let mut cursor = Cursor::new(body);
    let command = cursor.string()?;
    cursor.end()?;
    Ok(command)
}

/// The values of a row.
#[derive(Clone, Debug)]
pub struct DataRow<'a> {
    /// As many values as `count` says: checked.
    cursor: Cursor<'a>,
    count: u16,
}

impl<'a> Iterator for DataRow<'a> {
    /// A value in the format of its column; `None` is NULL.
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        value(&mut self.cursor).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count.into(), Some(self.count.into()))
    }
}

impl ExactSizeIterator for DataRow<'_> {}

/// Reads `DataRow`.
///
/// # Errors
/// The body does not hold exactly the values that it announces.
pub fn data_row(body: &[u8]) -> Result<DataRow<'_>, BodyError> {
    let mut cursor = Cursor::new(body);
    let count = cursor.u16()?;
    let row = DataRow { cursor, count };
    for _ in 0..count {
        value(&mut cursor)?;
    }
    cursor.end()?;
    Ok(row)
}

fn value<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, BodyError> {
    let length = cursor.i32()?;
    match usize::try_from(length) {
        Ok(length) => cursor.take(length).map(Some),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(BodyError::UnknownValue(u32::from_ne_bytes(length.to_ne_bytes()))),
    }
}

/// A column of a result, as the backend describes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ColumnView<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// OID of its type (`pg_type.oid`).
    pub type_oid: u32,
    /// The format of its values: 0 text, 1 binary. Zero where it is not known yet.
    pub format: i16,
}

/// Reads `RowDescription`.
///
/// # Errors
/// The body does not hold exactly the columns that it announces.
pub fn row_description(body: &[u8]) -> Result<Vec<ColumnView<'_>>, BodyError> {
    let mut cursor = Cursor::new(body);
    let count = cursor.u16()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let name = cursor.string()?;
        cursor.bytes::<6>()?; // its table, and its number there
        let type_oid = cursor.u32()?;
        cursor.bytes::<6>()?; // width and modifier of its type
        let format = i16::from_be_bytes(cursor.bytes()?);
        columns.push(ColumnView { name, type_oid, format });
    }
    cursor.end()?;
    Ok(columns)
}

/// Reads `ParameterDescription`: the types of a statement's parameters, as OIDs.
///
/// # Errors
/// The body does not hold exactly the types that it announces.
pub fn parameter_description(body: &[u8]) -> Result<Vec<u32>, BodyError> {
    let mut cursor = Cursor::new(body);
    let count = cursor.u16()?;
    let mut oids = Vec::new();
    for _ in 0..count {
        oids.push(cursor.u32()?);
    }
    cursor.end()?;
    Ok(oids)
}

/// What the backend says to a protocol version or to options that it does not know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Negotiation<'a> {
    /// Newest minor version of protocol 3 that the backend speaks.
    pub minor: u16,
    list: &'a [u8],
}

impl<'a> Negotiation<'a> {
    /// Names of the options that the backend does not know.
    pub fn options(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.list.split(|byte| *byte == 0).filter(|name| !name.is_empty())
    }
}

/// Reads `NegotiateProtocolVersion`.
///
/// # Errors
/// The body is malformed, or about another protocol than 3.
pub fn negotiate(body: &[u8]) -> Result<Negotiation<'_>, BodyError> {
    let mut cursor = Cursor::new(body);
    let (major, minor) = (cursor.u16()?, cursor.u16()?);
    // Zero: what the manual describes, the bare minor version.
    if !matches!(major, 0 | 3) {
        return Err(BodyError::UnknownValue(u32::from(major)));
    }
    let count = cursor.u32()?;
    let list = cursor.rest;
    for _ in 0..count {
        cursor.string()?; // ends at the first name that is not there, however large the count
    }
    cursor.end()?;
    Ok(Negotiation { minor, list })
}
