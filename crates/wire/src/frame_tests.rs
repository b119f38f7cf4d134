use super::*;

#[test]
fn a_header_is_five_bytes() {
    for (bytes, expected) in [
        (&b""[..], Ok(None)),
        (b"Z\0\0\0", Ok(None)),
        (b"Z\0\0\0\x05", Ok(Some(Header { tag: b'Z', body: 1 }))),
        (b"S\0\0\0\x04Q\0", Ok(Some(Header { tag: b'S', body: 0 }))),
        (b"d\x7f\xff\xff\xff", Ok(Some(Header { tag: b'd', body: 0x7fff_fffb }))),
        (b"Q\0\0\0\x03", Err(FrameError::LengthTooShort { tag: b'Q', length: 3 })),
        (b"Q\0\0\0\0", Err(FrameError::LengthTooShort { tag: b'Q', length: 0 })),
        (b"Q\x80\0\0\0", Err(FrameError::LengthTooShort { tag: b'Q', length: i32::MIN })),
        (b"Q\xff\xff\xff\xff", Err(FrameError::LengthTooShort { tag: b'Q', length: -1 })),
    ] {
        assert_eq!(header(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn total_counts_the_header() {
    assert_eq!(Header { tag: b'Z', body: 1 }.total(), 6);
}

#[test]
fn every_frontend_message_has_a_bound_and_nothing_else_has() {
    let bounded: String =
        (0..=u8::MAX).filter(|tag| frontend_body_max(*tag).is_some()).map(char::from).collect();
    assert_eq!(bounded, "BCDEFHPQSXcdfp");
    assert_eq!(frontend_body_max(b'Q'), Some(1_073_741_818));
    assert_eq!(frontend_body_max(b'X'), Some(9_996));
    assert_eq!(frontend_body_max(b'p'), Some(65_536));
}
