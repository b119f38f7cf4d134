use std::time::Duration;

use super::*;
use crate::descriptor::Descriptor;
use crate::error::{ErrorCode, Place};
use crate::sample::{hex, identifier};
use crate::state;
use crate::types::Type;

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

/// The number in hexadecimal with the zeros of a standard identifier before it.
fn scalar(number: &str) -> String {
    format!("00000000 0000 0000 0000 0000 0000 0{number}")
}

#[test]
fn messages_without_types() {
    for (message, expected) in [
        (written(authentication_ok), "52 00000008 00000000"),
        (
            written(|out| authentication_sasl(out, &["SCRAM-SHA-256"])),
            r#"52 0000001d 0000000a 00000001 0000000d "SCRAM-SHA-256""#,
        ),
        (
            written(|out| authentication_sasl_continue(out, b"ab")),
            r#"52 0000000e 0000000b 00000002 "ab""#,
        ),
        (
            written(|out| parameter_status(out, "suggested_pool_concurrency", b"10")),
            r#"53 00000028 0000001a "suggested_pool_concurrency" 00000002 "10""#,
        ),
        (written(|out| ready(out, Status::Idle)), r#"5a 00000007 0000 "I""#),
        (
            written(|out| CommandDescription::capabilities_only(5).write(out)),
            "54 00000037 0000 0000000000000005 6e 00000000000000000000000000000000 00000000 \
             00000000000000000000000000000000 00000000",
        ),
        (
            written(|out| command_complete(out, 0, "SELECT 1")),
            r#"43 0000002e 0000 0000000000000000 00000008 "SELECT 1"
               00000000000000000000000000000000 00000000"#,
        ),
        (
            written(|out| {
                let message = "Postgres is not available";
                error(out, &Problem::new(ErrorCode::BACKEND_UNAVAILABLE, message));
            }),
            r#"45 00000028 78 08000001 00000019 "Postgres is not available" 0000"#,
        ),
        (
            written(|out| log_message(out, true, "careful")),
            r#"4c 00000016 50 f0000000 00000007 "careful" 0000"#,
        ),
        (written(server_handshake), "76 0000000a 0003 0000 0000"),
    ] {
        assert_eq!(message, hex(expected), "{expected}");
    }
    assert_eq!(written(key_data).len(), 37);
}

#[test]
fn a_record_is_described() {
    let columns = [("x".to_owned(), Type::of(23)), ("y".to_owned(), Type::of(25))];
    let record = Descriptor::sql_record(&columns);
    let description = CommandDescription {
        capabilities: 0,
        cardinality: Cardinality::Many,
        input: Described::NOTHING,
        output: record.described(),
    };
    let id = identifier(&record.id);
    let expected = format!(
        r#"54 000000a6 0000 0000000000000000 6d 00000000000000000000000000000000 00000000 {id} 0000006f
           00000022 03 {} 0000000a "std::int32" 01 0000
           00000020 03 {} 00000008 "std::str" 01 0000
           00000021 0d {id} 0002 00000001 "x" 0000 00000001 "y" 0001"#,
        scalar("104"),
        scalar("101"),
    );
    assert_eq!(written(|out| description.write(out)), hex(&expected));
}

#[test]
fn arguments_are_described() {
    let arguments = Descriptor::arguments(&[Type::of(20), Type::of(1009)]);
    let id = identifier(&arguments.id);
    let array = Descriptor::sql_record(&[(String::new(), Type::of(1009))]);
    let array = identifier(&array.bytes[36 + 5..36 + 21]);
    let expected = format!(
        r#"00000022 03 {} 0000000a "std::int64" 01 0000
           00000020 03 {} 00000008 "std::str" 01 0000
           0000002f 06 {array} 0000000f "array<std::str>" 00 0000 0001 0001 ffffffff
           00000032 01 {id} 01 0000 0002 00000000 6f 00000001 "0" 0000 0000
                                         00000000 6f 00000001 "1" 0002 0000"#,
        scalar("105"),
        scalar("101"),
    );
    assert_eq!(&*arguments.bytes, hex(&expected));
}

#[test]
fn the_systems_configuration() {
    let config = state::system_config(Duration::from_mins(1));
    let id = identifier(&config[4..20]);
    let expected = format!(
        r#"00000074 {id}
             00000025 03 {} 0000000d "std::duration" 01 0000
             00000037 01 {id} 01 0000 0001 00000000 6f 00000014 "session_idle_timeout" 0000 0000
           0000001c 00000001 00000000 00000010 0000000003938700 00000000 00000000"#,
        scalar("10e"),
    );
    assert_eq!(config.to_vec(), hex(&expected));
}

#[test]
fn an_error_says_where() {
    let text = "SELECT\n ä𝄞x";
    let place = Place::of(text, "11");
    let problem = Problem { place, ..Problem::new(ErrorCode::QUERY, "no x") };
    let message = written(|out| error(out, &problem));
    let shown = String::from_utf8_lossy(&message).into_owned();
    assert_eq!(
        place,
        Some(Place { byte: 14, character: 10, line: 2, column_utf16: 4, column: 3 }),
        "{shown}"
    );
    assert_eq!(Place::of(text, "99"), None);
    assert_eq!(Place::of(text, "0"), None);
    assert_eq!(Place::of(text, "x"), None);
    assert_eq!(problem.attributes().len(), 10);
}
