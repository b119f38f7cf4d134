use super::*;

fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + rest.len()).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes()[..], rest].concat()
}

fn message_of(parameters: &[u8]) -> Result<StartupMessage, StartupError> {
    match parse_startup(&packet(3 << 16, parameters)) {
        Ok(Some((_, Startup::Startup(message)))) => Ok(message),
        Ok(other) => panic!("not a startup message: {other:?}"),
        Err(error) => Err(error),
    }
}

#[test]
fn requests_without_parameters() {
    assert_eq!(parse_startup(&packet(TLS, b"")), Ok(Some((8, Startup::Tls))));
    assert_eq!(parse_startup(&packet(GSS_ENCRYPTION, b"")), Ok(Some((8, Startup::GssEncryption))));
    let mut more = packet(TLS, b"");
    more.extend(b"the next packet");
    assert_eq!(parse_startup(&more), Ok(Some((8, Startup::Tls))));
    let error = Err(StartupError::Length { length: 9 });
    assert_eq!(parse_startup(&packet(TLS, b"x")), error);
    assert_eq!(parse_startup(&packet(GSS_ENCRYPTION, b"x")), error);
}

#[test]
fn a_cancel_request_has_a_secret_of_4_to_256_bytes() {
    for (secret, valid) in [(3, false), (4, true), (32, true), (256, true), (257, false)] {
        let secret = vec![7; secret];
        let mut out = BytesMut::new();
        cancel_request(&mut out, 42, &secret);
        let expected = Startup::Cancel { process_id: 42, secret: Bytes::from(secret.clone()) };
        match parse_startup(&out) {
            Ok(parsed) if valid => assert_eq!(parsed, Some((out.len(), expected))),
            Err(StartupError::Length { .. }) if !valid => {}
            other => panic!("{} bytes: {other:?}", secret.len()),
        }
    }
    assert!(parse_startup(&packet(CANCEL, b"")).is_err());
}

#[test]
fn a_length_no_packet_can_have_is_refused_before_the_rest_has_come() {
    for (length, expected) in [
        (0_u32, Err(())),
        (7, Err(())),
        (8, Ok(None)),
        (10_000, Ok(None)),
        (10_001, Err(())),
        (u32::MAX, Err(())),
    ] {
        let parsed = parse_startup(&length.to_be_bytes());
        assert_eq!(parsed.map_err(|_| ()), expected, "{length}");
    }
    for few in 0..4 {
        assert_eq!(parse_startup(&[0; 4][..few]), Ok(None));
    }
}

#[test]
fn parameters_are_sorted_out() {
    let message = message_of(
        b"user\0ann\0application_name\0psql\0_pq_.test\0on\0client_encoding\0UTF8\0\
          database\0app\0options\0-c geqo=off\0\0",
    )
    .unwrap();
    let expected = StartupMessage {
        minor: 0,
        user: "ann".into(),
        database: "app".into(),
        parameters: vec![
            ("application_name".into(), "psql".into()),
            ("client_encoding".into(), "UTF8".into()),
            ("options".into(), "-c geqo=off".into()),
        ],
        protocol_options: vec!["_pq_.test".into()],
        replication: false,
    };
    assert_eq!(message, expected);
}

#[test]
fn the_database_defaults_to_the_user() {
    assert_eq!(message_of(b"user\0ann\0\0").unwrap().database, "ann");
    assert_eq!(message_of(b"database\0\0user\0ann\0\0").unwrap().database, "ann");
}

#[test]
fn replication_is_wanted_unless_the_value_is_false() {
    for (value, wanted) in [
        ("true", true),
        ("database", true),
        ("1", true),
        ("on", true),
        ("o", true),
        ("", true),
        ("false", false),
        ("F", false),
        ("no", false),
        ("OFF", false),
        ("of", false),
        ("0", false),
    ] {
        let parameters = format!("user\0a\0replication\0{value}\0\0");
        let message = message_of(parameters.as_bytes()).unwrap();
        assert_eq!(message.replication, wanted, "{value:?}");
        assert!(message.parameters.is_empty());
    }
}

#[test]
fn malformed_messages_are_refused_in_postgresqls_words() {
    for (parameters, expected) in [
        (&b""[..], "invalid startup packet layout: expected terminator as last byte"),
        (b"user", "invalid startup packet layout: expected terminator as last byte"),
        (b"user\0a", "invalid startup packet layout: expected terminator as last byte"),
        (b"user\0a\0", "invalid startup packet layout: expected terminator as last byte"),
        (b"user\0a\0\0x", "invalid startup packet layout: expected terminator as last byte"),
        (b"\0", "no PostgreSQL user name specified in startup packet"),
        (b"user\0\0\0", "no PostgreSQL user name specified in startup packet"),
        (b"database\0a\0\0", "no PostgreSQL user name specified in startup packet"),
        (b"user\0\xff\0\0", "invalid UTF-8 in startup packet"),
    ] {
        assert_eq!(message_of(parameters).unwrap_err().to_string(), expected, "{parameters:?}");
    }
}

#[test]
fn at_most_256_parameters() {
    let parameters = |count| [b"user\0a\0".as_slice(), &b"x\0\0".repeat(count), b"\0"].concat();
    assert_eq!(message_of(&parameters(255)).unwrap().parameters.len(), 255);
    assert_eq!(message_of(&parameters(256)).unwrap_err(), StartupError::TooManyParameters);
}

#[test]
fn versions() {
    let parsed = parse_startup(&packet(0x0003_270f, b"user\0a\0\0"));
    let Ok(Some((_, Startup::Startup(message)))) = parsed else { panic!("{parsed:?}") };
    assert_eq!(message.minor, 9999);
    let refused = |code| parse_startup(&packet(code, b"\0")).unwrap_err().to_string();
    assert_eq!(refused(2 << 16), "unsupported frontend protocol 2.0: everline supports 3.0 to 3.2");
    assert!(refused(80_877_000).contains("1234.5576"));
    assert!(refused(0x1603_0102).contains("5635.258"), "a TLS hello is no startup packet");
}

#[test]
fn what_we_write_reads_back() {
    let mut out = BytesMut::new();
    startup(
        &mut out,
        "ann",
        "app",
        [("a", "1"), ("", "dropped"), ("\0", "dropped"), ("b", "2\0x")],
    );
    let Ok(Some((total, Startup::Startup(message)))) = parse_startup(&out) else { panic!() };
    assert_eq!(total, out.len());
    assert_eq!((message.user.as_str(), message.database.as_str()), ("ann", "app"));
    let expected = [("a", "1"), ("b", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(message.parameters, expected);
    let mut out = BytesMut::new();
    tls_request(&mut out);
    assert_eq!(&out[..], b"\0\0\0\x08\x04\xd2\x16\x2f");
    let mut out = BytesMut::new();
    negotiate_version(&mut out, 2, &["_pq_.x"]);
    assert_eq!(&out[..], b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0");
}
