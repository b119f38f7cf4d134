use super::*;

fn shown(oid: u32) -> String {
    match Type::of(oid) {
        Type::Scalar(scalar, Codec::Same) => scalar.name.to_owned(),
        Type::Scalar(scalar, Codec::Widened) => format!("{} widened", scalar.name),
        Type::Scalar(scalar, Codec::Text) => format!("{} as text", scalar.name),
        Type::Array(scalar, element) => format!("array<{}> of {element}", scalar.name),
        Type::Range(scalar) => format!("range<{}>", scalar.name),
        Type::Multirange(scalar) => format!("multirange<{}>", scalar.name),
    }
}

#[test]
fn oids_as_types() {
    for (oid, expected) in [
        (16, "std::bool"),
        (17, "std::bytes"),
        (20, "std::int64"),
        (26, "std::int64 widened"),
        (28, "std::int64 widened"),
        (5069, "std::int64"),
        (114, "std::pg::json"),
        (3802, "std::json"),
        (1700, "std::decimal"),
        (1184, "std::pg::timestamptz"),
        (1009, "array<std::str> of 25"),
        (1015, "array<std::str> of 1043"),
        (1185, "array<std::pg::timestamptz> of 1184"),
        (199, "array<std::pg::json> of 114"),
        (3904, "range<std::int32>"),
        (3912, "range<std::pg::date>"),
        (4536, "multirange<std::int64>"),
        (869, "std::str as text"),    // inet
        (1028, "std::str as text"),   // oid[]
        (2249, "std::str as text"),   // record
        (2278, "std::str as text"),   // void
        (99_999, "std::str as text"), // somebody's own
    ] {
        assert_eq!(shown(oid), expected, "{oid}");
    }
    assert_eq!(Scalar::PG_INTERVAL.id, *b"\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\x05");
}

#[test]
fn a_column_goes_as_it_is_sent() {
    let scalar = |oid, format| match Type::of_column(oid, format) {
        Type::Scalar(scalar, _) => scalar.name,
        other @ (Type::Array(..) | Type::Range(_) | Type::Multirange(_)) => panic!("{other:?}"),
    };
    assert_eq!(scalar(23, 1), "std::int32");
    assert_eq!(scalar(23, 0), "std::str");
    assert_eq!(scalar(869, 0), "std::str");
    assert_eq!(scalar(869, 1), "std::bytes");
    assert_eq!((Type::of(23).format(), Type::of(869).format()), (1, 0));
}
