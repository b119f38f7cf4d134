//! Backends that lie, stall and break off.

use std::path::PathBuf;
use std::time::Duration;

use everline_wire::backend as say;
use everline_wire::backend::TransactionStatus;
use everline_wire::sqlstate::SqlState;
use proptest::prelude::*;
use tokio::net::TcpListener;

use super::*;
use crate::config::dsn::Surroundings;

fn dsn(text: &str) -> Dsn {
    let nothing = Surroundings {
        variable: &|_| None,
        home: None,
        user: None,
        socket_directory: PathBuf::from("/tmp"),
    };
    Dsn::parse(text, &nothing).unwrap()
}

/// A backend that says the next of these at each connection, as soon as it has heard anything, and
/// then closes (`Some`) or stays silent (`None`).
async fn fake(scripts: Vec<(Vec<u8>, Option<()>)>) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        for (bytes, close) in scripts {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1000]).await;
            let _ = stream.write_all(&bytes).await;
            match close {
                Some(()) => drop(stream.shutdown().await),
                None => silent.push(stream),
            }
        }
        std::future::pending::<()>().await;
    });
    Endpoint { host: "localhost".into(), address: Address::Tcp(address) }
}

async fn dial(
    parameters: &str,
    endpoint: &Endpoint,
    within: Duration,
) -> Result<Connection, String> {
    let dsn = dsn(&format!("postgres://u:p@localhost/d?{parameters}"));
    let dialer = Dialer::new(&dsn).unwrap();
    let dialled = dialer.dial(endpoint, &Login::from_dsn(&dsn), Instant::now() + within).await;
    dialled.map_err(|error| error.to_string())
}

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

fn welcome() -> Vec<u8> {
    let mut out = BytesMut::new();
    say::authentication_ok(&mut out);
    say::key_data(&mut out, 1, b"1234");
    say::ready_for_query(&mut out, TransactionStatus::Idle);
    out.to_vec()
}

#[tokio::test]
async fn what_a_backend_says_before_tls_is_never_taken_for_its_word() {
    let stuffed = || [b"S".to_vec(), welcome()].concat();
    let endpoint = fake(vec![(stuffed(), None)]).await;
    let error = dial("sslmode=require", &endpoint, LONG).await.unwrap_err();
    assert!(error.starts_with("TLS failed: "), "{error}");
    // prefer goes on in the clear, over a new connection.
    let endpoint = fake(vec![(stuffed(), None), (welcome(), None)]).await;
    let connection = dial("sslmode=prefer", &endpoint, LONG).await.unwrap();
    assert!(!connection.stream.is_tls());

    for (answer, expected) in [
        (&b"E\0\0\0\x08evil"[..], "an error in answer to the request for TLS"),
        (b"X", "neither yes nor no in answer to the request for TLS"),
        (b"", "the connection was lost during the TLS negotiation"),
    ] {
        let endpoint = fake(vec![(answer.to_vec(), Some(()))]).await;
        let error = dial("sslmode=prefer", &endpoint, LONG).await.unwrap_err();
        assert!(error.contains(expected) && !error.contains("evil"), "{error}");
    }
}

#[tokio::test]
async fn one_deadline_covers_every_phase() {
    let cases = [
        ("sslmode=require", &b""[..], "the deadline passed during the TLS negotiation"),
        ("sslmode=require", b"S", "the deadline passed during the TLS negotiation"),
        ("sslmode=disable", b"", "the deadline passed during the login"),
        ("sslmode=disable", b"R\0\0\0\x08\0\0\0\0", "the deadline passed during the login"),
        ("sslmode=disable", b"R\0\0", "the deadline passed during the login"),
    ];
    for (parameters, bytes, expected) in cases {
        let endpoint = fake(vec![(bytes.to_vec(), None)]).await;
        let began = Instant::now();
        let error = dial(parameters, &endpoint, SHORT).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(began.elapsed() < SHORT * 4);
    }
    let endpoint = fake(vec![(vec![], None)]).await;
    let dialer = Dialer::new(&dsn("postgres://u@h?sslmode=disable")).unwrap();
    let cancelled = dialer.cancel(&endpoint, &BackendKey::default(), Instant::now() + SHORT).await;
    assert!(matches!(cancelled.unwrap_err(), DialError::Timeout { .. }));
}

#[tokio::test]
async fn hostile_logins_end_with_one_sentence() {
    let mut endless = Vec::new();
    for _ in 0..=MESSAGES_MAX {
        endless.extend(b"N\0\0\0\x05\0");
    }
    let cases = [
        (vec![], "the connection was lost during the login: unexpected end of file"),
        (b"R\0\0\0\x03".to_vec(), "a message has an impossible length"),
        (b"R\xff\xff\xff\xff".to_vec(), "a message has an impossible length"),
        (b"R\x7f\xff\xff\xff".to_vec(), "a message is longer than it may be"),
        (b"E\0\0\0\x05x".to_vec(), "the body of a message is malformed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "a message is longer than it may be"),
        (endless, "the login does not come to an end"),
    ];
    for (bytes, expected) in cases {
        let endpoint = fake(vec![(bytes, Some(()))]).await;
        let error = dial("sslmode=disable", &endpoint, LONG).await.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn what_comes_behind_ready_for_query_is_kept() {
    let mut bytes = welcome();
    bytes.extend(b"N\0\0");
    let endpoint = fake(vec![(bytes, Some(()))]).await;
    let connection = dial("sslmode=disable", &endpoint, LONG).await.unwrap();
    assert_eq!(&connection.read[..], b"N\0\0");
    assert_eq!(connection.endpoint, endpoint);
}

#[tokio::test]
async fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoint = Endpoint { host: "db.example".into(), address: Address::Tcp(address) };
    let error = dial("", &endpoint, LONG).await.unwrap_err();
    let expected = format!("cannot connect to db.example ({address}): Connection refused");
    assert!(error.starts_with(&expected), "{error}");
    let unix = Endpoint { host: "/x".into(), address: Address::Unix("/x/.s.PGSQL.1".into()) };
    let error = dial("", &unix, LONG).await.unwrap_err();
    assert!(error.starts_with("cannot connect to /x/.s.PGSQL.1: No such file"), "{error}");
}

#[tokio::test]
async fn allow_and_prefer_try_the_other_way_only_where_that_may_help() {
    let refusal = |code: &str| {
        let body = format!("SFATAL\0VFATAL\0C{code}\0Mno\0\0");
        let mut bytes = b"E".to_vec();
        bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend(body.bytes());
        (bytes, Some(()))
    };
    // allow: plain is turned down, TLS is not offered: what the first met is told.
    let endpoint = fake(vec![refusal("28000"), (b"N".to_vec(), Some(()))]).await;
    let error = dial("sslmode=allow", &endpoint, LONG).await.unwrap_err();
    assert_eq!(error, "FATAL 28000: no");
    let code = |error: &str| error.get(6..11).unwrap().parse::<SqlState>().unwrap();
    // A wrong password, a backend that starts: the other way would meet the same.
    for state in [SqlState::INVALID_PASSWORD, SqlState::CANNOT_CONNECT_NOW] {
        let endpoint = fake(vec![refusal(state.as_str()), (welcome(), None)]).await;
        let error = dial("sslmode=allow", &endpoint, LONG).await.unwrap_err();
        assert_eq!(code(&error), state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), ok in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut script = if ok { b"R\0\0\0\x08\0\0\0\0".to_vec() } else { vec![] };
            script.extend(bytes);
            let endpoint = fake(vec![(script, Some(()))]).await;
            let _ = dial("sslmode=disable", &endpoint, LONG).await;
        });
    }
}

/// A newer version is asked for where PostgreSQL is new enough, and never again where somebody in
/// between refuses it.
#[tokio::test]
async fn a_newer_version_is_asked_for_where_it_is_of_use() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let endpoint = Endpoint { host: "localhost".into(), address };
    let welcome = |version: &str| {
        let mut out = BytesMut::new();
        say::authentication_ok(&mut out);
        say::parameter_status(&mut out, "server_version", version);
        say::key_data(&mut out, 7, &[1; 32]);
        say::ready_for_query(&mut out, TransactionStatus::Idle);
        out
    };
    let mut refusal = BytesMut::new();
    everline_wire::fields::Report {
        severity: everline_wire::fields::Severity::Fatal,
        code: SqlState::PROTOCOL_VIOLATION,
        message: "unsupported protocol",
        detail: None,
        hint: None,
    }
    .error_response(&mut refusal);
    let plays = [
        (0, welcome("18.1")),
        (2, welcome("17.5")),
        (0, welcome("18beta1")),
        (2, refusal),
        (0, welcome("18.1")),
        (0, welcome("18.1")),
    ];
    let played = tokio::spawn(async move {
        let mut asked = Vec::new();
        for (_, answer) in &plays {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut packet = [0; 1000];
            let length = stream.read(&mut packet).await.unwrap();
            asked.push(u16::from(packet[7]));
            assert!(length > 8 && packet[4..7] == [0, 3, 0], "{packet:?}");
            stream.write_all(answer).await.unwrap();
        }
        let expected: Vec<u16> = plays.iter().map(|(minor, _)| *minor).collect();
        assert_eq!(asked, expected);
    });
    let dsn = dsn("postgres://u:p@localhost/d?sslmode=disable");
    let dialer = Dialer::new(&dsn).unwrap();
    for _ in 0..5 {
        let dialled = dialer.dial(&endpoint, &Login::from_dsn(&dsn), Instant::now() + LONG).await;
        assert_eq!(dialled.unwrap().key.secret.len(), 32);
    }
    played.await.unwrap();
}
