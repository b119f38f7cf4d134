//! What a command of the console returns: columns and rows, as text or as PostgreSQL's binary form.

use bytes::{BufMut, Bytes, BytesMut};

/// A column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
}

/// The types that the console speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `text`.
    Text,
    /// `int8`.
    Int,
}

/// A column of type `text`.
#[must_use]
pub const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text }
}

/// A column of type `int8`.
#[must_use]
pub const fn int(name: &'static str) -> Column {
    Column { name, kind: Kind::Int }
}

/// A value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Text.
    Text(String),
    /// A number.
    Int(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Int(number.into())
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Int(yes.into())
    }
}

/// One row.
pub type Row = Vec<Value>;

/// How a value is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// As text.
    Text,
    /// In PostgreSQL's binary form.
    Binary,
}

/// The formats that a client has asked for: none (all text), one for all, or one for each column.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Formats(pub Vec<Format>);

impl Formats {
    fn of(&self, column: usize) -> Format {
        match self.0.as_slice() {
            [] => Format::Text,
            [all] => *all,
            each => each.get(column).copied().unwrap_or(Format::Text),
        }
    }
}

/// Appends `RowDescription`.
pub fn describe(out: &mut BytesMut, columns: &[Column], formats: &Formats) {
    let mut body = BytesMut::new();
    body.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
    for (at, column) in columns.iter().enumerate() {
        body.put_slice(column.name.as_bytes());
        body.put_u8(0);
        body.put_u32(0); // of no table
        body.put_u16(0); // nor of a column there
        let (oid, bytes) = match column.kind {
            Kind::Text => (25, -1),
            Kind::Int => (20, 8),
        };
        body.put_u32(oid);
        body.put_i16(bytes);
        body.put_i32(-1); // no type modifier
        body.put_u16(match formats.of(at) {
            Format::Text => 0,
            Format::Binary => 1,
        });
    }
    out.put_u8(b'T');
    out.put_u32(u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX));
    out.put_slice(&body);
}

/// Appends `DataRow`.
pub fn row(out: &mut BytesMut, row: &[Value], formats: &Formats) {
    let written: Vec<Option<Bytes>> = row
        .iter()
        .enumerate()
        .map(|(at, value)| match (value, formats.of(at)) {
            (Value::Null, _) => None,
            // NUL has no place in text.
            (Value::Text(text), _) => Some(text.replace('\0', "").into()),
            (Value::Int(number), Format::Text) => Some(number.to_string().into()),
            (Value::Int(number), Format::Binary) => {
                Some(Bytes::copy_from_slice(&number.to_be_bytes()))
            }
        })
        .collect();
    everline_wire::backend::data_row(out, written.iter().map(Option::as_deref));
}
