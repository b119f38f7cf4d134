use super::*;
use crate::frame::header;

/// The body of the one message that `write` appends.
fn body(tag: u8, write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::from(&b"before"[..]);
    write(&mut out);
    let message = &out[6..];
    let header = header(message).unwrap().unwrap();
    assert_eq!((header.tag, header.total()), (tag, message.len()));
    message[5..].to_vec()
}

#[test]
fn query_whole_cut_and_malformed() {
    let whole = body(b'Q', |out| query(out, b"SELECT 1"));
    assert_eq!(Query::parse(&whole), Ok(Query { sql: b"SELECT 1", complete: true }));
    assert_eq!(Query::parse(b"SELECT"), Ok(Query { sql: b"SELECT", complete: false }));
    assert_eq!(Query::parse(b"\0"), Ok(Query { sql: b"", complete: true }));
    assert_eq!(Query::parse(b"a\0b"), Err(BodyError::Trailing));
}

#[test]
fn parse_whole_and_cut() {
    let whole = body(b'P', |out| parse(out, b"s", b"SELECT $1", b"\0\x01\0\0\0\x17"));
    let expected =
        Parse { name: b"s", sql: b"SELECT $1", complete: true, types_raw: b"\0\x01\0\0\0\x17" };
    assert_eq!(Parse::parse(&whole), Ok(expected));
    let cut = Parse { name: b"s", sql: b"SEL", complete: false, types_raw: b"" };
    assert_eq!(Parse::parse(&whole[..5]), Ok(cut));
    assert_eq!(Parse::parse(b"s"), Err(BodyError::Unterminated));
    assert_eq!(body(b'P', |out| parse(out, b"", b"x", b"")), b"\0x\0\0\0");
}

#[test]
fn bind_counts_what_is_still_to_come() {
    let whole = body(b'B', |out| bind(out, b"p", b"s", b"\0\0\0\0\0\0", 6));
    let expected = Bind { portal: b"p", statement: b"s", rest: b"\0\0\0\0\0\0" };
    assert_eq!(Bind::parse(&whole), Ok(expected));
    assert_eq!(Bind::parse(b"p\0s"), Err(BodyError::Unterminated));

    let mut out = BytesMut::new();
    bind(&mut out, b"", b"s", b"ab", 10);
    assert_eq!(&out[..], b"B\0\0\0\x11\0s\0ab");
    assert_eq!(header(&out).unwrap().unwrap().total(), out.len() + 8);

    let more = body(b'B', |out| bind(out, b"", b"", b"abc", 2));
    assert_eq!(more, b"\0\0ab", "never more than was announced");
}

#[test]
fn describe_and_close() {
    let whole = body(b'D', |out| describe(out, Target::Statement, b"s"));
    assert_eq!(Describe::parse(&whole), Ok(Describe { kind: Target::Statement, name: b"s" }));
    let whole = body(b'C', |out| close(out, Target::Portal, b""));
    assert_eq!(Close::parse(&whole), Ok(Close { kind: Target::Portal, name: b"" }));
    for (body, expected) in [
        (&b""[..], BodyError::Short),
        (b"X\0", BodyError::UnknownValue(88)),
        (b"Sname", BodyError::Unterminated),
        (b"Sname\0\0", BodyError::Trailing),
    ] {
        assert_eq!(Describe::parse(body), Err(expected), "{body:?}");
        assert_eq!(Close::parse(body), Err(expected), "{body:?}");
    }
}

#[test]
fn execute_has_a_portal_and_a_count() {
    let whole = body(b'E', |out| execute(out, b"p", 7));
    assert_eq!(Execute::parse(&whole), Ok(Execute { portal: b"p", max_rows: 7 }));
    assert_eq!(Execute::parse(&whole[..5]), Err(BodyError::Short));
    assert_eq!(Execute::parse(b"\0\0\0\0\0\0"), Err(BodyError::Trailing));
    assert_eq!(Execute::parse(b"\0\xff\xff\xff\xff").unwrap().max_rows, -1);
}

#[test]
fn passwords_and_sasl() {
    let whole = body(b'p', |out| password(out, b"secret"));
    assert_eq!(password_view(&whole), Ok(&b"secret"[..]));
    assert_eq!(password_view(b"secret"), Err(BodyError::Unterminated));
    assert_eq!(password_view(b"sec\0ret\0"), Err(BodyError::Trailing));

    let whole = body(b'p', |out| sasl_initial(out, "SCRAM-SHA-256", b"n,,n=,r=x"));
    let expected = SaslInitial { mechanism: b"SCRAM-SHA-256", data: Some(b"n,,n=,r=x") };
    assert_eq!(SaslInitial::parse(&whole), Ok(expected));
    assert_eq!(SaslInitial::parse(b"X\0\xff\xff\xff\xff").unwrap().data, None);
    for (body, expected) in [
        (&b"X"[..], BodyError::Unterminated),
        (b"X\0\0\0\0", BodyError::Short),
        (b"X\0\x7f\xff\xff\xffabc", BodyError::Short),
        (b"X\0\0\0\0\x01ab", BodyError::Trailing),
        (b"X\0\xff\xff\xff\xfe", BodyError::UnknownValue(0xffff_fffe)),
    ] {
        assert_eq!(SaslInitial::parse(body), Err(expected), "{body:?}");
    }
    assert_eq!(body(b'p', |out| sasl_response(out, b"c=biws")), b"c=biws");
}

#[test]
fn messages_without_a_body() {
    let mut out = BytesMut::new();
    sync(&mut out);
    flush(&mut out);
    terminate(&mut out);
    copy_fail(&mut out, "no\0 more");
    assert_eq!(&out[..], b"S\0\0\0\x04H\0\0\0\x04X\0\0\0\x04f\0\0\0\x07no\0");
}
