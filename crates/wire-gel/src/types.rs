//! Types of PostgreSQL, by OID, as types of Gel.
//!
//! Their binary formats are the same but for the few that [`Codec`] names. A type that is not in
//! the table goes as text, both ways.

use crate::cursor::Uuid;

/// A scalar type of Gel: its name and its identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scalar {
    /// Its full name.
    pub name: &'static str,
    /// Its identifier, known to every client.
    pub id: Uuid,
}

/// An identifier of the standard library: zeros, and four bytes at the end.
const fn standard(number: u32) -> Uuid {
    let [a, b, c, d] = number.to_be_bytes();
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
}

macro_rules! scalars {
    ($($(#[$doc:meta])* $constant:ident = $number:literal $name:literal;)*) => {
        impl Scalar {
            $($(#[$doc])* pub const $constant: Self = Self { name: $name, id: standard($number) };)*
        }
    };
}

scalars! {
    /// Identifiers.
    UUID = 0x100 "std::uuid";
    /// Text.
    STR = 0x101 "std::str";
    /// Bytes.
    BYTES = 0x102 "std::bytes";
    /// 16 bits.
    INT16 = 0x103 "std::int16";
    /// 32 bits.
    INT32 = 0x104 "std::int32";
    /// 64 bits.
    INT64 = 0x105 "std::int64";
    /// 32 bits, floating.
    FLOAT32 = 0x106 "std::float32";
    /// 64 bits, floating.
    FLOAT64 = 0x107 "std::float64";
    /// Any number of digits.
    DECIMAL = 0x108 "std::decimal";
    /// Truth.
    BOOL = 0x109 "std::bool";
    /// A time of day.
    LOCAL_TIME = 0x10D "std::cal::local_time";
    /// A duration.
    DURATION = 0x10E "std::duration";
    /// JSON, as `jsonb` has it.
    JSON = 0x10F "std::json";
    /// JSON, as `json` has it.
    PG_JSON = 0x0100_0001 "std::pg::json";
    /// An instant.
    PG_TIMESTAMPTZ = 0x0100_0002 "std::pg::timestamptz";
    /// A date and a time of day.
    PG_TIMESTAMP = 0x0100_0003 "std::pg::timestamp";
    /// A date.
    PG_DATE = 0x0100_0004 "std::pg::date";
    /// Months, days and time.
    PG_INTERVAL = 0x0100_0005 "std::pg::interval";
}

/// In what a value's encoding differs from PostgreSQL's binary format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Codec {
    /// In nothing.
    Same,
    /// PostgreSQL has four bytes without a sign, Gel eight.
    Widened,
    /// It goes as text.
    Text,
}

/// A type of Gel that a type of PostgreSQL goes as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Type {
    /// A scalar.
    Scalar(Scalar, Codec),
    /// An array; with the OID of its elements, which clients leave out.
    Array(Scalar, u32),
    /// A range.
    Range(Scalar),
    /// A multirange.
    Multirange(Scalar),
}

impl Type {
    /// What `oid` goes as, in either direction.
    #[must_use]
    pub fn of(oid: u32) -> Self {
        if let Some(scalar) = scalar(oid) {
            let codec = if matches!(oid, 26 | 28 | 29) { Codec::Widened } else { Codec::Same };
            return Self::Scalar(scalar, codec);
        }
        if let Some((scalar, element)) = element(oid).and_then(|oid| Some((scalar(oid)?, oid))) {
            return Self::Array(scalar, element);
        }
        match oid {
            3904 => Self::Range(Scalar::INT32),
            3926 => Self::Range(Scalar::INT64),
            3906 => Self::Range(Scalar::DECIMAL),
            3908 => Self::Range(Scalar::PG_TIMESTAMP),
            3910 => Self::Range(Scalar::PG_TIMESTAMPTZ),
            3912 => Self::Range(Scalar::PG_DATE),
            4451 => Self::Multirange(Scalar::INT32),
            4536 => Self::Multirange(Scalar::INT64),
            4532 => Self::Multirange(Scalar::DECIMAL),
            4533 => Self::Multirange(Scalar::PG_TIMESTAMP),
            4534 => Self::Multirange(Scalar::PG_TIMESTAMPTZ),
            4535 => Self::Multirange(Scalar::PG_DATE),
            _ => Self::Scalar(Scalar::STR, Codec::Text),
        }
    }

    /// Whether its type of PostgreSQL is in the table.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !matches!(self, Self::Scalar(_, Codec::Text))
    }

    /// The format code with which PostgreSQL is to send or read it: 1 binary, 0 text.
    #[must_use]
    pub const fn format(&self) -> i16 {
        if self.is_known() { 1 } else { 0 }
    }

    /// What a column goes as that PostgreSQL sends in this format: a description may have become
    /// stale, the row's own format has not.
    #[must_use]
    pub fn of_column(oid: u32, format: i16) -> Self {
        let known = Self::of(oid);
        match (format, known.is_known()) {
            (0, _) => Self::Scalar(Scalar::STR, Codec::Text),
            (_, true) => known,
            (_, false) => Self::Scalar(Scalar::BYTES, Codec::Same),
        }
    }
}

/// The scalar that a type of PostgreSQL goes as.
///
/// Source: PostgreSQL, `src/include/catalog/pg_type.dat`.
const fn scalar(oid: u32) -> Option<Scalar> {
    Some(match oid {
        16 => Scalar::BOOL,
        17 => Scalar::BYTES,
        20 => Scalar::INT64,
        21 => Scalar::INT16,
        23 => Scalar::INT32,
        700 => Scalar::FLOAT32,
        701 => Scalar::FLOAT64,
        1700 => Scalar::DECIMAL,
        // "char", name, text, pg_node_tree, bpchar, varchar
        18 | 19 | 25 | 194 | 1042 | 1043 => Scalar::STR,
        2950 => Scalar::UUID,
        3802 => Scalar::JSON,
        114 => Scalar::PG_JSON,
        1184 => Scalar::PG_TIMESTAMPTZ,
        1114 => Scalar::PG_TIMESTAMP,
        1082 => Scalar::PG_DATE,
        1186 => Scalar::PG_INTERVAL,
        1083 => Scalar::LOCAL_TIME,
        // oid, xid, cid, xid8
        26 | 28 | 29 | 5069 => Scalar::INT64,
        _ => return None,
    })
}

/// The OID of an array's elements.
const fn element(oid: u32) -> Option<u32> {
    Some(match oid {
        1000 => 16,
        1001 => 17,
        1003 => 19,
        1005 => 21,
        1007 => 23,
        1009 => 25,
        1014 => 1042,
        1015 => 1043,
        1016 => 20,
        1021 => 700,
        1022 => 701,
        1115 => 1114,
        1182 => 1082,
        1183 => 1083,
        1185 => 1184,
        1187 => 1186,
        1231 => 1700,
        2951 => 2950,
        3807 => 3802,
        199 => 114,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
