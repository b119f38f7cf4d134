use proptest::prelude::*;

use super::{NoProxyHeader, Proxied, parse};

fn from(address: &str) -> Proxied {
    Proxied::From(address.parse().unwrap())
}

#[test]
fn lines_of_version_one() {
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.9 40000 5432\r\nrest";
    assert_eq!(parse(line), Ok(Some((43, from("192.0.2.1:40000")))));
    let line = b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n";
    assert_eq!(parse(line), Ok(Some((line.len(), from("[2001:db8::1]:1")))));
    assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Some((15, Proxied::Itself))));
    for end in 0..43 {
        assert_eq!(
            parse(&b"PROXY TCP4 192.0.2.1 192.0.2.9 40000 5432\r\n"[..end]),
            Ok(None),
            "{end}"
        );
    }
    for wrong in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\0\0\0\x08",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        &[b'P'; 200],
        &[&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(),
    ] {
        assert_eq!(parse(wrong), Err(NoProxyHeader), "{wrong:?}");
    }
}

#[test]
fn headers_of_version_two() {
    let header = |command: u8, family: u8, body: &[u8]| {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &length, body].concat()
    };
    let body = [192, 0, 2, 1, 192, 0, 2, 9, 0x9c, 0x40, 0x15, 0x38];
    let whole = header(1, 0x11, &body);
    assert_eq!(parse(&whole), Ok(Some((28, from("192.0.2.1:40000")))));
    for end in 0..28 {
        assert_eq!(parse(&whole[..end]), Ok(None), "{end}");
    }
    let mut body = vec![0; 36];
    body[15] = 1;
    body[33] = 7;
    assert_eq!(parse(&header(1, 0x21, &body)), Ok(Some((52, from("[::1]:7")))));
    assert_eq!(parse(&header(0, 0, b"")), Ok(Some((16, Proxied::Itself))));
    assert_eq!(parse(&header(1, 0x31, &[0; 216])), Ok(Some((232, Proxied::Itself))));
    assert_eq!(parse(&header(1, 0x11, &[0; 8])), Err(NoProxyHeader));
    assert_eq!(parse(&header(2, 0x11, &[0; 12])), Err(NoProxyHeader));
    assert_eq!(parse(&header(1, 0x11, &[0; 2000])), Err(NoProxyHeader));
}

proptest! {
    #[test]
    fn nothing_panics_and_little_is_asked_for(
        bytes in prop::collection::vec(any::<u8>(), 0..1200)
    ) {
        for bytes in [bytes.clone(), [b"PROXY ", &bytes[..]].concat(),
            [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &bytes[..]].concat()]
        {
            match parse(&bytes) {
                Ok(Some((used, _))) => prop_assert!(used <= bytes.len()),
                Ok(None) => prop_assert!(bytes.len() < 1100),
                Err(NoProxyHeader) => {}
            }
        }
    }
}
