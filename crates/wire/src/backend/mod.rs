//! Messages of the backend: writers of those we speak to clients, and in [`view`] the reading of
//! those that backends send us.

use bytes::{BufMut, BytesMut};

use crate::{
    cursor::{length_field, put_message, put_string},
    tag::backend as tag,
};

pub mod view;

pub use view::{Authentication, DataRow, Mechanisms, Negotiation};

/// Where a session stands, as ReadyForQuery says it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TransactionStatus {
    /// Outside a transaction.
    Idle,
    /// In a transaction.
    InTransaction,
    /// In a transaction that has failed: nothing but its end is accepted.
    Failed,
}

impl TransactionStatus {
    /// The byte that stands for it.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }

    /// What the byte stands for, if it does for something.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }
}

/// A column of a result that we make ourselves; its values are sent as text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// OID of its type (`pg_type.oid`).
    pub type_oid: u32,
    /// Width of its type in bytes (`pg_type.typlen`); -1: it varies.
    pub type_bytes: i16,
}

impl<'a> Column<'a> {
    /// A column of type `text`.
    #[must_use]
    pub const fn text(name: &'a str) -> Self {
        Self { name, type_oid: 25, type_bytes: -1 }
    }

    /// A column of type `int8`.
    #[must_use]
    pub const fn int8(name: &'a str) -> Self {
        Self { name, type_oid: 20, type_bytes: 8 }
    }

    /// A column of type `bool`.
    #[must_use]
    pub const fn bool(name: &'a str) -> Self {
        Self { name, type_oid: 16, type_bytes: 1 }
    }
}

/// Appends `AuthenticationOk`: the login has succeeded.
pub fn authentication_ok(out: &mut BytesMut) {
    put_authentication(out, 0, |_| ());
}

/// Appends a request for the password in clear.
pub fn authentication_cleartext(out: &mut BytesMut) {
    put_authentication(out, 3, |_| ());
}

/// Appends a request for the password hashed with this salt.
pub fn authentication_md5(out: &mut BytesMut, salt: [u8; 4]) {
    put_authentication(out, 5, |out| out.put_slice(&salt));
}

/// Appends the SASL mechanisms on offer, the best first.
pub fn authentication_sasl(out: &mut BytesMut, mechanisms: &[&str]) {
    put_authentication(out, 10, |out| {
        for mechanism in mechanisms {
            put_string(out, mechanism.as_bytes());
        }
        out.put_u8(0);
    });
}

/// Appends a message in the middle of a SASL exchange.
pub fn authentication_sasl_continue(out: &mut BytesMut, data: &[u8]) {
    put_authentication(out, 11, |out| out.put_slice(data));
}

/// Appends the last message of a SASL exchange; [`authentication_ok`] follows.
pub fn authentication_sasl_final(out: &mut BytesMut, data: &[u8]) {
    put_authentication(out, 12, |out| out.put_slice(data));
}

fn put_authentication(out: &mut BytesMut, kind: u32, data: impl FnOnce(&mut BytesMut)) {
    put_message(out, tag::AUTHENTICATION, |out| {
        out.put_u32(kind);
        data(out);
    });
}

/// Appends the value of a parameter.
pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    put_message(out, tag::PARAMETER_STATUS, |out| {
        put_string(out, name.as_bytes());
        put_string(out, value.as_bytes());
    });
}

/// Appends the key with which the client may cancel; the secret has 4 bytes in protocol 3.0 and up
/// to 256 in 3.2.
pub fn key_data(out: &mut BytesMut, process_id: u32, secret: &[u8]) {
    put_message(out, tag::KEY_DATA, |out| {
        out.put_u32(process_id);
        out.put_slice(secret);
    });
}

/// Appends ReadyForQuery.
pub fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    put_message(out, tag::READY_FOR_QUERY, |out| out.put_u8(status.byte()));
}

/// Appends the end of a statement, with its command tag.
pub fn command_complete(out: &mut BytesMut, command: &str) {
    put_message(out, tag::COMMAND_COMPLETE, |out| put_string(out, command.as_bytes()));
}

/// Appends the answer to an empty query.
pub fn empty_query(out: &mut BytesMut) {
    put_message(out, tag::EMPTY_QUERY, |_| ());
}

/// Appends the answer to a Parse.
pub fn parse_complete(out: &mut BytesMut) {
    put_message(out, tag::PARSE_COMPLETE, |_| ());
}

/// Appends the answer to a Bind.
pub fn bind_complete(out: &mut BytesMut) {
    put_message(out, tag::BIND_COMPLETE, |_| ());
}

/// Appends the answer to a Close.
pub fn close_complete(out: &mut BytesMut) {
    put_message(out, tag::CLOSE_COMPLETE, |_| ());
}

/// Appends the answer to a Describe of something that returns no rows.
pub fn no_data(out: &mut BytesMut) {
    put_message(out, tag::NO_DATA, |_| ());
}

/// Appends the answer to an Execute that stopped at its row limit.
pub fn portal_suspended(out: &mut BytesMut) {
    put_message(out, tag::PORTAL_SUSPENDED, |_| ());
}

/// Appends a notification; process 0 is nobody's.
pub fn notification(out: &mut BytesMut, channel: &str, payload: &str) {
    put_message(out, tag::NOTIFICATION, |out| {
        out.put_u32(0);
        put_string(out, channel.as_bytes());
        put_string(out, payload.as_bytes());
    });
}

/// Appends the types of a prepared statement's parameters, as OIDs; at most 65 535 of them.
pub fn parameter_description(out: &mut BytesMut, types: &[u32]) {
    put_message(out, tag::PARAMETER_DESCRIPTION, |out| {
        out.put_u16(count_field(types.len()));
        for oid in types {
            out.put_u32(*oid);
        }
    });
}

/// Appends the columns of a result; at most 65 535 of them.
pub fn row_description(out: &mut BytesMut, columns: &[Column<'_>]) {
    put_message(out, tag::ROW_DESCRIPTION, |out| {
        out.put_u16(count_field(columns.len()));
        for column in columns {
            put_string(out, column.name.as_bytes());
            out.put_u32(0); // of no table
            out.put_u16(0); // nor of a column there
            out.put_u32(column.type_oid);
            out.put_i16(column.type_bytes);
            out.put_i32(-1); // no type modifier
            out.put_u16(0); // as text
        }
    });
}

/// Appends a row; `None` is NULL. At most 65 535 values.
pub fn data_row<'a>(
    out: &mut BytesMut,
    values: impl IntoIterator<Item = Option<&'a [u8]>, IntoIter: ExactSizeIterator>,
) {
    let values = values.into_iter();
    put_message(out, tag::DATA_ROW, |out| {
        out.put_u16(count_field(values.len()));
        for value in values {
            match value {
                None => out.put_i32(-1),
                Some(bytes) => {
                    out.put_i32(length_field(bytes.len()));
                    out.put_slice(bytes);
                }
            }
        }
    });
}

fn count_field(count: usize) -> u16 {
    u16::try_from(count).expect("results of our own have a handful of columns")
}

#[cfg(test)]
#[path = "../backend_tests.rs"]
mod tests;
