//! Rows and arguments: the values are PostgreSQL's binary format, in other frames.

use bytes::{BufMut, BytesMut};
use everline_wire::backend::DataRow;
use thiserror::Error;

use crate::cursor::{BodyError, Cursor, length_field, put_counted, put_message};
use crate::tag::server as tag;
use crate::types::{Codec, Type};

/// Why arguments are refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ArgumentError {
    /// They are not what the protocol says.
    #[error("invalid arguments: {0}")]
    Malformed(#[from] BodyError),
    /// Not as many as the statement takes.
    #[error("the statement takes {wanted} arguments, {given} were given")]
    Count {
        /// Parameters of the statement.
        wanted: usize,
        /// Arguments that came.
        given: u32,
    },
    /// One has another length than its type.
    #[error("argument {index} has {bytes} bytes, its type has 8")]
    Length {
        /// Which, from zero.
        index: usize,
        /// Its bytes.
        bytes: usize,
    },
    /// An identifier of PostgreSQL's that has more than 32 bits.
    #[error("argument {index} is out of range for type oid")]
    Range {
        /// Which, from zero.
        index: usize,
    },
}

/// Appends a row as `Data`, its columns going as `types`.
pub fn row(out: &mut BytesMut, row: DataRow<'_>, types: &[Type]) {
    put_message(out, tag::DATA, |out| {
        out.put_u16(1); // one piece
        put_counted(out, |out| {
            out.put_u32(length_field(row.len()));
            let mut types = types.iter();
            for value in row {
                out.put_u32(0); // reserved
                put_value(out, value, types.next());
            }
        });
    });
}

fn put_value(out: &mut BytesMut, value: Option<&[u8]>, kind: Option<&Type>) {
    let Some(bytes) = value else { return out.put_i32(-1) };
    if let (Some(Type::Scalar(_, Codec::Widened)), [_, _, _, _]) = (kind, bytes) {
        out.put_u32(8);
        out.put_u32(0);
        out.put_slice(bytes);
        return;
    }
    out.put_u32(length_field(bytes.len()));
    out.put_slice(bytes);
}

/// Appends what follows the names in PostgreSQL's Bind: the formats and values of `arguments`, a
/// whole body of Execute's, and the formats in which the columns are wanted.
///
/// # Errors
/// See [`ArgumentError`]; `out` holds nothing of use then.
pub fn bind(
    out: &mut BytesMut,
    arguments: &[u8],
    types: &[Type],
    columns: &[i16],
) -> Result<(), ArgumentError> {
    out.put_u16(u16_count(types.len()));
    for kind in types {
        out.put_i16(kind.format());
    }
    let mut cursor = Cursor::new(arguments);
    let given = if arguments.is_empty() { 0 } else { cursor.u32()? };
    if usize::try_from(given).ok() != Some(types.len()) {
        return Err(ArgumentError::Count { wanted: types.len(), given });
    }
    out.put_u16(u16_count(types.len()));
    for (index, kind) in types.iter().enumerate() {
        cursor.u32()?; // reserved
        put_argument(out, index, kind, cursor.value()?)?;
    }
    cursor.end()?;
    out.put_u16(u16_count(columns.len()));
    for format in columns {
        out.put_i16(*format);
    }
    Ok(())
}

fn put_argument(
    out: &mut BytesMut,
    index: usize,
    kind: &Type,
    value: Option<&[u8]>,
) -> Result<(), ArgumentError> {
    let Some(bytes) = value else {
        out.put_i32(-1);
        return Ok(());
    };
    match kind {
        Type::Scalar(_, Codec::Widened) => {
            let Some((high, low)) = bytes.split_first_chunk::<4>() else {
                return Err(ArgumentError::Length { index, bytes: bytes.len() });
            };
            if low.len() != 4 {
                return Err(ArgumentError::Length { index, bytes: bytes.len() });
            }
            if *high != [0; 4] {
                return Err(ArgumentError::Range { index });
            }
            out.put_u32(4);
            out.put_slice(low);
        }
        Type::Array(_, element) => {
            out.put_u32(length_field(bytes.len()));
            let at = out.len();
            out.put_slice(bytes);
            // Dimensions, flags, and the type of the elements, which clients leave out.
            let field = out.get_mut(at..).and_then(|array| array.get_mut(8..12));
            if let Some(field) = field {
                field.copy_from_slice(&element.to_be_bytes());
            }
        }
        Type::Scalar(_, Codec::Same | Codec::Text) | Type::Range(_) | Type::Multirange(_) => {
            out.put_u32(length_field(bytes.len()));
            out.put_slice(bytes);
        }
    }
    Ok(())
}

fn u16_count(count: usize) -> u16 {
    u16::try_from(count).expect("PostgreSQL's own messages hold no more")
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
