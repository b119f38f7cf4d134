use super::*;

/// What comes of the first bytes in this phase, in a word.
fn read(bytes: &[u8], phase: Phase) -> String {
    match header(bytes, phase) {
        Ok(None) => "more".to_owned(),
        Ok(Some(header)) => format!("{} {}", char::from(header.tag), header.body),
        Err(FrameError::TooShort { .. }) => "short".to_owned(),
        Err(FrameError::Unexpected { .. }) => "unexpected".to_owned(),
        Err(FrameError::TooLong { .. }) => "long".to_owned(),
    }
}

#[test]
fn headers() {
    for (tag, length, handshake, commands) in [
        (b'V', 4_u32, "V 0", "unexpected"),
        (b'V', 0, "short", "unexpected"),
        (b'V', 3, "short", "unexpected"),
        (b'V', 65_540, "V 65536", "unexpected"),
        (b'V', 65_541, "long", "unexpected"),
        (b'p', 9, "p 5", "unexpected"),
        (b'r', 9, "r 5", "unexpected"),
        (b'X', 4, "X 0", "X 0"),
        (b'X', 5, "long", "long"),
        (b'P', 67_108_868, "unexpected", "P 67108864"),
        (b'P', 67_108_869, "unexpected", "long"),
        (b'O', u32::MAX, "unexpected", "long"),
        (b'S', 4, "unexpected", "S 0"),
        (b'S', 8, "unexpected", "long"),
        (b'H', 4, "unexpected", "H 0"),
        (b'>', 100, "unexpected", "> 96"),
        (b'<', 100, "unexpected", "< 96"),
        (b'Q', 100, "unexpected", "unexpected"),
        (0x16, 100, "unexpected", "unexpected"),
    ] {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&length.to_be_bytes());
        let row = format!("{:?} {length}", char::from(tag));
        assert_eq!(read(&bytes, Phase::Handshake), handshake, "{row}");
        assert_eq!(read(&bytes, Phase::Commands), commands, "{row}");
        assert_eq!(read(&bytes[..4], Phase::Commands), "more");
    }
}
