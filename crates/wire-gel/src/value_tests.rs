use everline_wire::backend::view::data_row;

use super::*;
use crate::sample::{arguments, hex};

fn bound(given: &[Option<&[u8]>], oids: &[u32], columns: &[i16]) -> Result<Vec<u8>, ArgumentError> {
    let types: Vec<Type> = oids.iter().map(|oid| Type::of(*oid)).collect();
    let mut out = BytesMut::new();
    bind(&mut out, &arguments(given), &types, columns)?;
    Ok(out.to_vec())
}

#[test]
fn rows_are_framed_anew() {
    let body = hex(r#"0004 00000001 "x" ffffffff 00000004 fffffffe 00000000"#);
    let types = [25, 23, 26, 17].map(Type::of);
    let mut out = BytesMut::new();
    row(&mut out, data_row(&body).unwrap(), &types);
    let expected = hex(r#"44 00000037 0001 0000002d 00000004
           00000000 00000001 "x"
           00000000 ffffffff
           00000000 00000008 00000000fffffffe
           00000000 00000000"#);
    assert_eq!(out.to_vec(), expected);
}

#[test]
fn arguments_are_framed_anew() {
    let array = hex("00000001 00000000 00000000 00000000 00000001");
    let given: [Option<&[u8]>; 4] =
        [Some(b"\0\0\0\0\xff\0\0\x01"), None, Some(&array), Some(b"10.0.0.1")];
    let expected = hex(r#"0004 0001 0001 0001 0000 0004
           00000004 ff000001
           ffffffff
           00000014 00000001 00000000 00000019 00000000 00000001
           00000008 "10.0.0.1"
           0002 0001 0000"#);
    assert_eq!(bound(&given, &[26, 23, 1009, 869], &[1, 0]).unwrap(), expected);
}

#[test]
fn no_arguments_need_no_bytes() {
    let mut out = BytesMut::new();
    assert_eq!(bind(&mut out, &[], &[], &[]), Ok(()));
    assert_eq!(out.to_vec(), hex("0000 0000 0000"));
}

#[test]
fn bad_arguments_are_refused() {
    let one: [Option<&[u8]>; 1] = [Some(b"\0\0\0\0\0\0\0")];
    assert_eq!(bound(&one, &[], &[]), Err(ArgumentError::Count { wanted: 0, given: 1 }));
    assert_eq!(bound(&one, &[26], &[]), Err(ArgumentError::Length { index: 0, bytes: 7 }));
    let wide: [Option<&[u8]>; 1] = [Some(b"\0\0\0\x01\0\0\0\0")];
    assert_eq!(bound(&wide, &[26], &[]), Err(ArgumentError::Range { index: 0 }));
    let mut out = BytesMut::new();
    let huge = hex("ffffffff 00000000");
    let counted = bind(&mut out, &huge, &[Type::of(25)], &[]);
    assert_eq!(counted, Err(ArgumentError::Count { wanted: 1, given: u32::MAX }));
    let short = hex("00000001 00000000 00000009 00");
    let malformed = bind(&mut out, &short, &[Type::of(25)], &[]);
    assert_eq!(malformed, Err(ArgumentError::Malformed(BodyError::Short)));
}
