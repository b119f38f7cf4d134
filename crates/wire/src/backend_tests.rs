use super::*;
use crate::{cursor::BodyError, frame::header};

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
fn authentication_reads_back() {
    let read = |write: &dyn Fn(&mut BytesMut)| {
        let body = body(b'R', write);
        format!("{:?}", view::authentication(&body).unwrap())
    };
    assert_eq!(read(&authentication_ok), "Ok");
    assert_eq!(read(&authentication_cleartext), "Cleartext");
    assert_eq!(read(&|out| authentication_md5(out, [1, 2, 3, 4])), "Md5([1, 2, 3, 4])");
    assert_eq!(read(&|out| authentication_sasl_continue(out, b"r")), "SaslContinue([114])");
    assert_eq!(read(&|out| authentication_sasl_final(out, b"v")), "SaslFinal([118])");

    let sasl = body(b'R', |out| authentication_sasl(out, &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]));
    let Ok(Authentication::Sasl { mechanisms }) = view::authentication(&sasl) else { panic!() };
    let names: Vec<_> = mechanisms.iter().collect();
    assert_eq!(names, [&b"SCRAM-SHA-256-PLUS"[..], b"SCRAM-SHA-256"]);
    assert!(mechanisms.contains("SCRAM-SHA-256") && !mechanisms.contains("SCRAM-SHA"));
    assert_eq!(view::authentication(b"\0\0\0\x07"), Ok(Authentication::Other(7)));
}

#[test]
fn malformed_authentication_is_refused() {
    for (body, expected) in [
        (&b""[..], BodyError::Short),
        (b"\0\0\0", BodyError::Short),
        (b"\0\0\0\0x", BodyError::Trailing),
        (b"\0\0\0\x05abc", BodyError::Short),
        (b"\0\0\0\x05abcde", BodyError::Trailing),
        (b"\0\0\0\x0a", BodyError::Short),
        (b"\0\0\0\x0aSCRAM", BodyError::Unterminated),
        (b"\0\0\0\x0aSCRAM\0", BodyError::Unterminated),
    ] {
        assert_eq!(view::authentication(body), Err(expected), "{body:?}");
    }
}

#[test]
fn parameters_and_keys() {
    let status = body(b'S', |out| parameter_status(out, "TimeZone", "UTC"));
    assert_eq!(view::parameter_status(&status), Ok(("TimeZone", "UTC")));
    assert_eq!(view::parameter_status(b"a\0b"), Err(BodyError::Unterminated));
    assert_eq!(view::parameter_status(b"a\0b\0c"), Err(BodyError::Trailing));
    assert_eq!(view::parameter_status(b"a\0\xff\0"), Err(BodyError::NotUtf8));

    let key = body(b'K', |out| key_data(out, 7, &[9; 32]));
    assert_eq!(view::key_data(&key), Ok((7, &[9; 32][..])));
    assert_eq!(view::key_data(&key[..7]), Err(BodyError::Short));
    let long = body(b'K', |out| key_data(out, 7, &[9; 257]));
    assert_eq!(view::key_data(&long), Err(BodyError::Trailing));
}

#[test]
fn ready_for_query_says_where_the_session_stands() {
    for status in
        [TransactionStatus::Idle, TransactionStatus::InTransaction, TransactionStatus::Failed]
    {
        let ready = body(b'Z', |out| ready_for_query(out, status));
        assert_eq!(view::ready_for_query(&ready), Ok(status));
    }
    let mut out = BytesMut::new();
    ready_for_query(&mut out, TransactionStatus::Failed);
    assert_eq!(&out[..], b"Z\0\0\0\x05E");
    assert_eq!(view::ready_for_query(b""), Err(BodyError::Short));
    assert_eq!(view::ready_for_query(b"II"), Err(BodyError::Trailing));
    assert_eq!(view::ready_for_query(b"X"), Err(BodyError::UnknownValue(88)));
}

#[test]
fn rows_read_back() {
    let row = body(b'D', |out| data_row(out, [Some(&b"a"[..]), None, Some(b"")]));
    let values: Vec<_> = view::data_row(&row).unwrap().collect();
    assert_eq!(values, [Some(&b"a"[..]), None, Some(b"")]);
    assert_eq!(view::data_row(&row).unwrap().len(), 3);
    for (body, expected) in [
        (&b"\0"[..], BodyError::Short),
        (b"\0\x01", BodyError::Short),
        (b"\xff\xff\0\0\0\0", BodyError::Short),
        (b"\0\x01\0\0\0\x02a", BodyError::Short),
        (b"\0\x01\xff\xff\xff\xfe", BodyError::UnknownValue(0xffff_fffe)),
        (b"\0\0x", BodyError::Trailing),
    ] {
        assert_eq!(view::data_row(body).unwrap_err(), expected, "{body:?}");
    }
}

#[test]
fn descriptions() {
    let columns = [Column::text("name"), Column::int8("n"), Column::bool("b")];
    let description = body(b'T', |out| row_description(out, &columns));
    let tail = |oid: u8, bytes: &[u8]| {
        [b"\0\0\0\0\0\0\0\0\0\0".as_slice(), &[oid], bytes, b"\xff\xff\xff\xff\0\0"].concat()
    };
    let expected = [
        b"\0\x03name".to_vec(),
        tail(25, b"\xff\xff"),
        b"n".to_vec(),
        tail(20, b"\0\x08"),
        b"b".to_vec(),
        tail(16, b"\0\x01"),
    ];
    assert_eq!(description, expected.concat());
    assert_eq!(body(b't', |out| parameter_description(out, &[23])), b"\0\x01\0\0\0\x17");
}

#[test]
fn completions() {
    let complete = body(b'C', |out| command_complete(out, "ROLLBACK"));
    assert_eq!(view::command_complete(&complete), Ok(&b"ROLLBACK"[..]));
    assert_eq!(view::command_complete(b"x"), Err(BodyError::Unterminated));
    assert_eq!(view::command_complete(b"x\0y"), Err(BodyError::Trailing));
    let mut out = BytesMut::new();
    for write in
        [empty_query, parse_complete, bind_complete, close_complete, no_data, portal_suspended]
    {
        write(&mut out);
    }
    let tags: Vec<_> = out.chunks(5).map(|message| message[0]).collect();
    assert_eq!(tags, b"I123ns");
}

#[test]
fn negotiation() {
    let mut out = BytesMut::new();
    crate::startup::negotiate_version(&mut out, 2, &["_pq_.a", "_pq_.b"]);
    let negotiation = view::negotiate(&out[5..]).unwrap();
    assert_eq!(negotiation.minor, 2);
    assert_eq!(negotiation.options().collect::<Vec<_>>(), [&b"_pq_.a"[..], b"_pq_.b"]);
    assert_eq!(view::negotiate(b"\0\0\0\0\0\0\0\0").unwrap().minor, 0);
    assert_eq!(view::negotiate(b"\0\x03\0\0\xff\xff\xff\xffa\0"), Err(BodyError::Unterminated));
    assert_eq!(view::negotiate(b"\0\x03\0\0\0\0\0\0a\0"), Err(BodyError::Trailing));
    assert_eq!(view::negotiate(b"\0\x04\0\0\0\0\0\0"), Err(BodyError::UnknownValue(4)));
}

#[test]
fn descriptions_are_read_back() {
    let mut out = BytesMut::new();
    row_description(&mut out, &[Column::int8("n"), Column::text("t")]);
    let body = out.split_off(5);
    let columns = view::row_description(&body).unwrap();
    let columns: Vec<_> = columns.iter().map(|c| (c.name, c.type_oid, c.format)).collect();
    assert_eq!(columns, [(&b"n"[..], 20, 0), (&b"t"[..], 25, 0)]);
    let mut out = BytesMut::new();
    parameter_description(&mut out, &[23, 25]);
    let oids = out.split_off(5);
    assert_eq!(view::parameter_description(&oids), Ok(vec![23, 25]));
    for end in 0..body.len() {
        assert!(view::row_description(&body[..end]).is_err(), "{end}");
    }
    for end in 0..oids.len() {
        assert!(view::parameter_description(&oids[..end]).is_err(), "{end}");
    }
}
