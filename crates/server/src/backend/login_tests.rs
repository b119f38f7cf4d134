use bytes::Buf;
use everline_wire::backend as say;
use everline_wire::fields::{Report, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::sqlstate::SqlState;
use proptest::prelude::*;

use super::*;

fn login() -> Login {
    Login {
        database: "d".to_owned(),
        user: "u".to_owned(),
        password: Some(Secret::from("p")),
        keys: None,
        parameters: vec![("application_name".to_owned(), "a".to_owned())],
    }
}

fn policy() -> Policy {
    Policy {
        end_point: None,
        tls: false,
        channel_binding: ChannelBinding::Prefer,
        require_auth: AuthMethods::ALL,
    }
}

/// Takes the messages in `script`; what was said, and whether it is ready.
fn run(
    exchange: &mut Exchange<'_>,
    script: impl FnOnce(&mut BytesMut),
) -> Result<(BytesMut, Step), DialError> {
    let (mut messages, mut out) = (BytesMut::new(), BytesMut::new());
    script(&mut messages);
    let mut step = Step::More;
    while let Some(header) = frame::header(&messages).unwrap() {
        let mut message = messages.split_to(header.total()).freeze();
        message.advance(Header::BYTES);
        step = exchange.step(header.tag, message, &mut out)?;
    }
    Ok((out, step))
}

type Script = fn(&mut BytesMut);

fn error(script: impl FnOnce(&mut BytesMut)) -> String {
    error_under(policy(), script)
}

fn error_under(policy: Policy, script: impl FnOnce(&mut BytesMut)) -> String {
    let login = login();
    let mut exchange = Exchange::new(&login, login.password.as_ref(), policy);
    run(&mut exchange, script).map(|(_, step)| step).unwrap_err().to_string()
}

fn finish(out: &mut BytesMut) {
    say::parameter_status(out, "server_version", "15");
    say::key_data(out, 7, b"1234");
    say::ready_for_query(out, TransactionStatus::Idle);
}

#[test]
fn trust_then_parameters_key_and_ready() {
    let login = login();
    let mut exchange = Exchange::new(&login, None, policy());
    let mut out = BytesMut::new();
    exchange.begin(&mut out).unwrap();
    assert!(out.ends_with(b"user\0u\0database\0d\0application_name\0a\0\0"));
    let (said, step) = run(&mut exchange, |out| {
        startup::negotiate_version(out, 0, &["_pq_.x"]);
        say::authentication_ok(out);
        Report::new(Severity::Notice, SqlState::INTERNAL_ERROR, "hello").notice_response(out);
        finish(out);
    })
    .unwrap();
    assert!(said.is_empty());
    assert_eq!(step, Step::Ready);
    let (key, parameters) = exchange.into_parts();
    assert_eq!((key.process_id, &key.secret[..]), (7, &b"1234"[..]));
    assert_eq!(parameters["server_version"], "15");
    assert_eq!(format!("{key:?}"), "BackendKey(7)");
}

#[test]
fn passwords_are_sent_as_they_are_asked_for() {
    let login = login();
    let mut exchange = Exchange::new(&login, login.password.as_ref(), policy());
    let (said, _) = run(&mut exchange, say::authentication_cleartext).unwrap();
    assert_eq!(&said[..], b"p\0\0\0\x06p\0");
    assert_eq!(
        run(&mut exchange, |out| {
            say::authentication_ok(out);
            finish(out);
        })
        .unwrap()
        .1,
        Step::Ready
    );

    let mut exchange = Exchange::new(&login, login.password.as_ref(), policy());
    let (said, _) = run(&mut exchange, |out| say::authentication_md5(out, [1, 2, 3, 4])).unwrap();
    let hash = md5_hash(b"u", b"p", [1, 2, 3, 4]);
    assert_eq!(&said[5..said.len() - 1], hash.as_bytes());

    let mut exchange = Exchange::new(&login, None, policy());
    let none = run(&mut exchange, say::authentication_cleartext).unwrap_err();
    assert!(matches!(none, DialError::NoPassword { .. }));
}

#[test]
fn channel_binding_is_used_where_it_is_offered_and_told_where_it_is_missed() {
    let login = login();
    let first = |policy: Policy, mechanisms: &[&str]| {
        let mut exchange = Exchange::new(&login, login.password.as_ref(), policy);
        let said = run(&mut exchange, |out| say::authentication_sasl(out, mechanisms));
        said.map(|(said, _)| String::from_utf8_lossy(&said[5..]).into_owned())
            .map_err(|error| error.to_string())
    };
    let bound = || Policy { end_point: Some(Bytes::from_static(b"hash")), tls: true, ..policy() };
    let both = [SCRAM_SHA_256_PLUS, SCRAM_SHA_256];
    let said = first(bound(), &both).unwrap();
    assert!(said.starts_with("SCRAM-SHA-256-PLUS\0") && said.contains("p=tls-server-end-point,,"));
    let said = first(bound(), &[SCRAM_SHA_256]).unwrap();
    assert!(said.starts_with("SCRAM-SHA-256\0") && said.contains("y,,"), "{said}");
    let disabled = Policy { channel_binding: ChannelBinding::Disable, ..bound() };
    let said = first(disabled, &both).unwrap();
    assert!(said.starts_with("SCRAM-SHA-256\0") && said.contains("n,,"), "{said}");
    // A certificate without a hash (Ed25519) cannot be bound to.
    let no_hash = Policy { end_point: None, ..bound() };
    assert!(first(no_hash, &both).unwrap().contains("n,,"));
    let required = Policy { channel_binding: ChannelBinding::Require, ..bound() };
    assert!(first(required, &[SCRAM_SHA_256]).unwrap_err().contains("does not bind the login"));
    assert!(first(policy(), &both).unwrap_err().contains("offered where there is no TLS"));
    let error = first(policy(), &["OAUTHBEARER", "X\u{1b}[2J"]).unwrap_err();
    assert_eq!(
        error,
        r"the backend asks for SASL (OAUTHBEARER, X\u{1b}[2J), which is not built in"
    );
}

/// Whoever skips the proof does not know the password.
#[test]
fn a_backend_that_skips_its_proof_is_refused() {
    let sasl = |out: &mut BytesMut| say::authentication_sasl(out, &[SCRAM_SHA_256]);
    let early = error(|out| {
        sasl(out);
        say::authentication_ok(out);
    });
    assert!(early.contains("accepted before SCRAM is over"), "{early}");
    let nonce = error(|out| {
        sasl(out);
        say::authentication_sasl_continue(out, b"r=other,s=AAAA,i=4096");
    });
    assert!(nonce.contains("SCRAM with the backend failed"), "{nonce}");
    let order = error(|out| {
        sasl(out);
        say::authentication_sasl_final(out, b"v=AAAA");
    });
    assert!(order.contains("authentication out of order"), "{order}");
    let again = error(|out| {
        sasl(out);
        say::authentication_cleartext(out);
    });
    assert!(again.contains("authentication out of order"), "{again}");
    let required = Policy { channel_binding: ChannelBinding::Require, ..policy() };
    assert!(error_under(required, say::authentication_ok).contains("does not bind the login"));
    let method = Policy { require_auth: AuthMethods::SCRAM_SHA_256, ..policy() };
    assert!(error_under(method, say::authentication_ok).contains("nothing, which require_auth"));
}

#[test]
fn messages_out_of_place_end_the_login() {
    let cases: [(&str, Script); 8] = [
        ("a message that no login brings", |out| {
            say::ready_for_query(out, TransactionStatus::Idle);
        }),
        ("a message that no login brings", |out| say::parameter_status(out, "a", "b")),
        ("a message that no login brings", |out| say::key_data(out, 1, b"1234")),
        ("a message that no login brings", say::parse_complete),
        ("authentication begins anew", |out| {
            say::authentication_ok(out);
            say::authentication_ok(out);
        }),
        ("a new connection is within a transaction", |out| {
            say::authentication_ok(out);
            say::ready_for_query(out, TransactionStatus::InTransaction);
        }),
        ("the body of a message is malformed", |out| out.extend(b"R\0\0\0\x04")),
        ("reports more settings than there are", |out| {
            say::authentication_ok(out);
            for number in 0..=PARAMETERS_MAX {
                say::parameter_status(out, &number.to_string(), "");
            }
        }),
    ];
    for (expected, script) in cases {
        let met = error(script);
        assert!(met.contains(expected), "{expected}: {met}");
    }
    let gss = error(|out| out.extend(b"R\0\0\0\x08\0\0\0\x07"));
    assert_eq!(gss, "the backend asks for authentication method 7, which is not built in");
}

#[test]
fn the_backends_word_is_kept_whole() {
    let login = login();
    let mut exchange = Exchange::new(&login, None, policy());
    let report = Report {
        detail: Some("why"),
        ..Report::new(Severity::Fatal, SqlState::CANNOT_CONNECT_NOW, "starting up")
    };
    let error = run(&mut exchange, |out| report.error_response(out)).unwrap_err();
    assert_eq!(error.code(), Some(SqlState::CANNOT_CONNECT_NOW));
    assert_eq!(error.to_string(), "FATAL 57P03: starting up");
    let DialError::Refused(fields) = error else { panic!() };
    assert_eq!(fields.detail().as_deref(), Some("why"));
    assert_eq!(fields.hint(), None);
}

#[test]
fn what_cannot_be_said_is_not_sent() {
    let with = |name: &str, value: &str| {
        let mut login = login();
        login.parameters.push((name.to_owned(), value.to_owned()));
        Exchange::new(&login, None, policy()).begin(&mut BytesMut::new()).unwrap_err().to_string()
    };
    assert!(with("a", "b\0user\0root").contains("NUL"));
    assert!(with("a", &"x".repeat(10_000)).contains("longer than 10000 bytes"));
}

proptest! {
    #[test]
    fn no_message_panics(
        messages in prop::collection::vec(
            (prop::sample::select(b"RSKZENvA1CTD".to_vec()), prop::collection::vec(any::<u8>(), 0..40)),
            0..6,
        ),
        kind in 0_u8..13,
    ) {
        let login = login();
        let mut exchange = Exchange::new(&login, login.password.as_ref(), policy());
        let mut out = BytesMut::new();
        for (index, (tag, mut body)) in messages.into_iter().enumerate() {
            if tag == b'R' && index == 0 {
                body.splice(0..0, [0, 0, 0, kind]);
            }
            if exchange.step(tag, Bytes::from(body), &mut out).is_err() {
                break;
            }
        }
    }
}
