use super::*;
use crate::sample::{Sample, arguments, handshake};

#[test]
fn handshakes() {
    let body = handshake((3, 0), &[("user", "ann"), ("database", "d"), ("secret_key", "")]);
    let read = Handshake::parse(&body).unwrap();
    assert_eq!((read.version, read.user), ((3, 0), Some("ann")));
    assert_eq!((read.database, read.branch), (Some("d"), None));
    for end in 0..body.len() {
        assert_eq!(Handshake::parse(&body[..end]), Err(BodyError::Short), "{end}");
    }
    let many = vec![("x", "y"); 65];
    assert_eq!(Handshake::parse(&handshake((3, 0), &many)), Err(BodyError::TooMany("parameters")));
    let mut trailing = body.clone();
    trailing.extend_from_slice(&[0]);
    assert_eq!(Handshake::parse(&trailing), Err(BodyError::Trailing));
}

#[test]
fn commands() {
    let sample = Sample { limit: 101, ..Sample::sql("SELECT 1") };
    let body = sample.parse();
    let Parse { command } = Parse::parse(&body).unwrap();
    assert_eq!(command.text, "SELECT 1");
    assert_eq!((command.allowed, command.limit), (!6, 101));
    assert_eq!(command.language, Language::Sql);
    assert_eq!(command.format, Format::Binary);
    assert_eq!(command.expected, Expected::Many);
    for end in 0..body.len() {
        assert_eq!(Parse::parse(&body[..end]), Err(BodyError::Short), "{end}");
    }
    let body = Sample { bytes: *b"Gjo", ..sample }.parse();
    let Parse { command } = Parse::parse(&body).unwrap();
    assert_eq!(command.language, Language::Other(b'G'));
    assert_eq!(command.format, Format::Other(b'j'));
    assert_eq!(command.expected, Expected::AtMostOne);
}

#[test]
fn executes() {
    let sample = Sample::sql("SELECT $1");
    let body = sample.execute([0; 16], [0; 16], &[]);
    assert!(Execute::parse(&body).unwrap().is_first_shot());
    let given = arguments(&[Some(b"x")]);
    for body in [
        sample.execute([1; 16], [0; 16], &[]),
        sample.execute([0; 16], [1; 16], &[]),
        sample.execute([0; 16], [0; 16], &given),
    ] {
        assert!(!Execute::parse(&body).unwrap().is_first_shot());
    }
    let mut trailing = body;
    trailing.extend_from_slice(&[0]);
    assert_eq!(Execute::parse(&trailing), Err(BodyError::Trailing));
    let not_utf8 = Sample::sql("\u{0}\u{0}").parse();
    let mut bytes = not_utf8.to_vec();
    let at = bytes.windows(3).position(|three| three == b"Sbm").unwrap() + 7;
    bytes[at] = 0xff;
    assert_eq!(Parse::parse(&bytes), Err(BodyError::NotUtf8));
}

#[test]
fn sasl() {
    assert_eq!(sasl_initial(b"\0\0\0\x01M\0\0\0\x02ab"), Ok(("M", &b"ab"[..])));
    assert_eq!(sasl_initial(b"\0\0\0\x01M\0\0\0\x03ab"), Err(BodyError::Short));
    assert_eq!(sasl_response(b"\0\0\0\x02ab"), Ok(&b"ab"[..]));
    assert_eq!(sasl_response(b"\0\0\0\x02abc"), Err(BodyError::Trailing));
}
