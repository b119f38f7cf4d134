//! What is written reads back, and what is not ours is read without harm.

use bytes::BytesMut;
use proptest::prelude::*;

use crate::{
    auth::{ScramVerifier, Verifier, scram},
    backend::{self, TransactionStatus, view},
    fields::{ErrorFields, Report, Severity},
    frame::{Header, header},
    frontend::{self, Bind, Close, Describe, Execute, Parse, Query, SaslInitial, Target},
    sqlstate::SqlState,
    startup::{self, STARTUP_BYTES_MAX, Startup, StartupError, parse_startup},
};

fn many() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) }
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

/// Bytes that a string of the protocol can hold.
fn text(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1..=u8::MAX, 0..max)
}

/// The body of the one message in `out`.
fn body(out: &BytesMut, tag: u8) -> &[u8] {
    let header = header(out).unwrap().unwrap();
    assert_eq!((header.tag, header.total()), (tag, out.len()));
    &out[Header::BYTES..]
}

fn written(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![Just(Target::Statement), Just(Target::Portal)]
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn a_header_says_what_its_bytes_say(input in bytes(12)) {
        match header(&input) {
            Ok(None) => prop_assert!(input.len() < 5),
            Ok(Some(header)) => {
                let length = u32::try_from(header.body + 4).unwrap().to_be_bytes();
                prop_assert_eq!(&input[..5], &[&[header.tag], &length[..]].concat()[..]);
            }
            Err(_) => prop_assert!(input[1] >= 0x80 || input[1..4] == [0; 3] && input[4] < 4),
        }
    }

    #[test]
    fn views_take_any_bytes(input in bytes(64)) {
        let _ = (Query::parse(&input), Parse::parse(&input), Bind::parse(&input));
        let _ = (Describe::parse(&input), Close::parse(&input), Execute::parse(&input));
        let _ = (SaslInitial::parse(&input), frontend::password_view(&input));
        let _ = (view::key_data(&input), view::parameter_status(&input));
        let _ = (view::ready_for_query(&input), view::command_complete(&input));
        let _ = view::negotiate(&input).map(|negotiation| negotiation.options().count());
        if let Ok(row) = view::data_row(&input) {
            prop_assert_eq!(row.len(), row.count());
        }
        if let Ok(backend::Authentication::Sasl { mechanisms }) = view::authentication(&input) {
            prop_assert!(mechanisms.iter().all(|name| !name.is_empty()));
        }
        if let Ok(fields) = ErrorFields::parse(&input) {
            let _ = (fields.severity(), fields.code(), fields.message(), fields.hint());
        }
    }

    #[test]
    fn scram_takes_any_bytes(first in bytes(64), last in bytes(128), bare in "[ -~]{0,20}") {
        let verifier = ScramVerifier::mock(&[0; 32], "u", std::num::NonZeroU32::MIN);
        let _ = scram::Server::new(None).first(b"SCRAM-SHA-256", &first);
        let first = format!("n,,n=,r=x{bare}");
        if let Ok(first) = scram::Server::new(None).first(b"SCRAM-SHA-256", first.as_bytes()) {
            prop_assert!(first.challenge(&verifier, &[0; 18]).last(&last).is_err());
        }
        let _ = str::from_utf8(&last).map(str::parse::<Verifier>);
    }

    #[test]
    fn statements_and_portals_read_back(
        name in text(20),
        sql in text(80),
        rest in bytes(40),
        kind in target(),
        rows in any::<i32>(),
    ) {
        let out = written(|out| frontend::query(out, &sql));
        prop_assert_eq!(Query::parse(body(&out, b'Q')), Ok(Query { sql: &sql, complete: true }));

        let out = written(|out| frontend::parse(out, &name, &sql, &rest));
        let types_raw = if rest.is_empty() { &[0, 0] } else { &rest[..] };
        let expected = Parse { name: &name, sql: &sql, complete: true, types_raw };
        prop_assert_eq!(Parse::parse(body(&out, b'P')), Ok(expected));

        let out = written(|out| frontend::bind(out, &name, &name, &rest, rest.len()));
        let expected = Bind { portal: &name, statement: &name, rest: &rest };
        prop_assert_eq!(Bind::parse(body(&out, b'B')), Ok(expected));

        let out = written(|out| frontend::describe(out, kind, &name));
        prop_assert_eq!(Describe::parse(body(&out, b'D')), Ok(Describe { kind, name: &name }));

        let out = written(|out| frontend::close(out, kind, &name));
        prop_assert_eq!(Close::parse(body(&out, b'C')), Ok(Close { kind, name: &name }));

        let out = written(|out| frontend::execute(out, &name, rows));
        let expected = Execute { portal: &name, max_rows: rows };
        prop_assert_eq!(Execute::parse(body(&out, b'E')), Ok(expected));
    }

    #[test]
    fn a_prefix_of_a_body_says_less_and_nothing_else(
        name in text(10), sql in text(30), rest in bytes(20), at in 0..70_usize,
    ) {
        let out = written(|out| frontend::parse(out, &name, &sql, &rest));
        let whole = body(&out, b'P');
        if let Ok(cut) = Parse::parse(&whole[..at.min(whole.len())]) {
            prop_assert_eq!(cut.name, &name[..]);
            prop_assert!(sql.starts_with(cut.sql));
            prop_assert!(!cut.complete || cut.sql == &sql[..]);
        }
        let out = written(|out| frontend::bind(out, &name, &sql, &rest, rest.len()));
        let whole = body(&out, b'B');
        if let Ok(cut) = Bind::parse(&whole[..at.min(whole.len())]) {
            prop_assert_eq!((cut.portal, cut.statement), (&name[..], &sql[..]));
            prop_assert!(rest.starts_with(cut.rest));
        }
    }

    #[test]
    fn what_backends_say_reads_back(
        name in "[^\0]{0,20}", value in "[^\0]{0,20}", pid in any::<u32>(), secret in bytes(300),
        row in prop::collection::vec(prop::option::of(bytes(10)), 0..10),
    ) {
        let out = written(|out| backend::parameter_status(out, &name, &value));
        prop_assert_eq!(view::parameter_status(body(&out, b'S')), Ok((&name[..], &value[..])));

        let out = written(|out| backend::key_data(out, pid, &secret));
        let read = view::key_data(body(&out, b'K'));
        prop_assert_eq!(read.is_ok(), (4..=256).contains(&secret.len()));
        prop_assert!(read.is_err() || read == Ok((pid, &secret[..])));

        let out = written(|out| backend::command_complete(out, &value));
        prop_assert_eq!(view::command_complete(body(&out, b'C')), Ok(value.as_bytes()));

        let out = written(|out| backend::data_row(out, row.iter().map(Option::as_deref)));
        let read: Vec<_> = view::data_row(body(&out, b'D')).unwrap().collect();
        prop_assert_eq!(read, row.iter().map(Option::as_deref).collect::<Vec<_>>());
    }

    #[test]
    fn reports_read_back(
        code in "[0-9A-Z]{5}", message in "\\PC{0,20}", detail in prop::option::of("[^\0]{0,20}"),
        hint in prop::option::of("[^\0]{0,20}"),
    ) {
        let code: SqlState = code.parse().unwrap();
        let (detail, hint) = (detail.as_deref(), hint.as_deref());
        let report =
            Report { detail, hint, ..Report::new(Severity::Warning, code, &message) };
        let out = written(|out| report.notice_response(out));
        let fields = ErrorFields::parse(body(&out, b'N')).unwrap();
        prop_assert_eq!((fields.severity(), fields.code()), (Severity::Warning, code));
        prop_assert_eq!(fields.message(), message);
        let (read_detail, read_hint) = (fields.detail(), fields.hint());
        prop_assert_eq!((read_detail.as_deref(), read_hint.as_deref()), (detail, hint));
    }

    #[test]
    fn startup_packets_read_back(
        user in "[^\0]{1,10}", database in "[^\0]{1,10}",
        parameters in prop::collection::vec(("[a-z]{1,3}", "[^\0]{0,10}"), 0..10), more in bytes(9),
    ) {
        let pairs = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut out = written(|out| startup::startup(out, &user, &database, pairs));
        let total = out.len();
        for cut in 0..total {
            prop_assert_eq!(parse_startup(&out[..cut]), Ok(None));
        }
        out.extend_from_slice(&more);
        let Ok(Some((read, Startup::Startup(message)))) = parse_startup(&out) else { panic!() };
        prop_assert_eq!(read, total);
        prop_assert_eq!((message.user, message.database), (user, database));
        prop_assert_eq!(message.parameters, parameters);
    }

    #[test]
    fn startup_takes_any_bytes(
        length in prop_oneof![Just(8_u32), 0..300_u32, 9_990..10_010_u32, any::<u32>()],
        code in prop_oneof![Just(196_608_u32), 80_877_102..80_877_105_u32, any::<u32>()],
        rest in bytes(300),
    ) {
        let input = [&length.to_be_bytes()[..], &code.to_be_bytes(), &rest].concat();
        match parse_startup(&input) {
            Ok(None) => {
                let length = usize::try_from(length).unwrap();
                prop_assert!((input.len()..=STARTUP_BYTES_MAX).contains(&length));
            }
            Ok(Some((read, _))) => prop_assert_eq!(read, usize::try_from(length).unwrap()),
            Err(StartupError::Length { length: named }) => prop_assert_eq!(named, length),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn every_status_reads_back() {
    for byte in 0..=u8::MAX {
        let status = TransactionStatus::from_byte(byte);
        assert!(status.is_none_or(|status| status.byte() == byte));
        assert_eq!(view::ready_for_query(&[byte]).ok(), status);
    }
}
