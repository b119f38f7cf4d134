use std::time::Duration;

use everline_wire::backend::{self as say, TransactionStatus};
use everline_wire::fields::Report;
use everline_wire::sqlstate::SqlState;
use tokio::net::UnixStream;

use super::*;
use crate::backend::Address;

fn pair() -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let connection = Connection {
        stream: Stream::Unix(ours),
        read: BytesMut::new(),
        endpoint: Endpoint { host: "/".into(), address: Address::Unix("/".into()) },
        key: BackendKey::default(),
        parameters: BTreeMap::new(),
    };
    (connection, theirs)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

/// Asks a backend that says these bytes and closes.
async fn ask(script: impl FnOnce(&mut BytesMut)) -> Result<Reply, QueryError> {
    let (mut connection, mut backend) = pair();
    let mut bytes = BytesMut::new();
    script(&mut bytes);
    let said = async {
        // What is too long is not read to its end.
        let _ = backend.write_all(&bytes).await;
        let _ = backend.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = connection.simple_query("SELECT 1", soon()) => answer,
        () = said => unreachable!(),
    }
}

fn report(severity: Severity, code: SqlState) -> Report<'static> {
    Report::new(severity, code, "words")
}

#[tokio::test]
async fn a_fatal_error_is_the_answer_without_ready_for_query() {
    let error = ask(|out| {
        report(Severity::Warning, SqlState::ADMIN_SHUTDOWN).notice_response(out);
        report(Severity::Fatal, SqlState::CRASH_SHUTDOWN).error_response(out);
    });
    let QueryError::Refused { error, notices } = error.await.unwrap_err() else { panic!() };
    assert_eq!(error.code(), SqlState::CRASH_SHUTDOWN);
    assert_eq!(notices[0].code(), SqlState::ADMIN_SHUTDOWN);
}

#[tokio::test]
async fn hostile_answers_are_refused() {
    let protocol = |answer: Result<Reply, QueryError>| {
        assert!(matches!(answer.unwrap_err(), QueryError::Protocol(_)));
    };
    protocol(ask(|out| out.extend(b"D\0\0\0\x03")).await);
    protocol(ask(|out| out.extend(b"D\x7f\0\0\0")).await);
    protocol(ask(|out| out.extend(b"D\0\0\0\x06\0\x09")).await);
    protocol(ask(|out| out.extend(b"Z\0\0\0\x05X")).await);
    protocol(ask(|out| out.extend(b"G\0\0\0\x07\0\0\0")).await);
    protocol(ask(say::authentication_ok).await);
    assert!(matches!(ask(|_| {}).await.unwrap_err(), QueryError::Closed));
    let rows = ask(|out| {
        for _ in 0..3 {
            say::data_row(out, [Some(&vec![b'x'; REPLY_BYTES_MAX / 2][..])]);
        }
    });
    protocol(rows.await);
}

/// The reason of a backend that is gone is read although writing to it fails.
#[tokio::test]
async fn last_words_are_heard_by_who_asks_too_late() {
    let (mut connection, mut backend) = pair();
    let mut bytes = BytesMut::new();
    report(Severity::Fatal, SqlState::ADMIN_SHUTDOWN).error_response(&mut bytes);
    backend.write_all(&bytes).await.unwrap();
    drop(backend);
    let error = connection.simple_query("SELECT 1", soon()).await.unwrap_err();
    let QueryError::Refused { error, .. } = error else { panic!("{error}") };
    assert_eq!(error.code(), SqlState::ADMIN_SHUTDOWN);
    assert!(connection.simple_query("SELECT 1", soon()).await.is_err());
}

#[tokio::test]
async fn listening_can_be_given_up_at_any_byte() {
    let (mut connection, mut backend) = pair();
    let mut bytes = BytesMut::new();
    say::parameter_status(&mut bytes, "in_hot_standby", "on");
    report(Severity::Notice, SqlState::ADMIN_SHUTDOWN).notice_response(&mut bytes);
    bytes.extend(b"A\0\0\0\x04");
    let mut heard = Vec::new();
    for byte in bytes {
        backend.write_all(&[byte]).await.unwrap();
        let shortly = Instant::now() + Duration::from_millis(1);
        if let Ok(incoming) = timeout_at(shortly, connection.listen()).await {
            heard.push(incoming.unwrap());
        }
    }
    while heard.len() < 3 {
        heard.push(timeout_at(soon(), connection.listen()).await.unwrap().unwrap());
    }
    assert!(matches!(&heard[0], Incoming::Parameter { name, .. } if name == "in_hot_standby"));
    assert!(
        matches!(&heard[1], Incoming::Notice(words) if words.code() == SqlState::ADMIN_SHUTDOWN)
    );
    assert_eq!(heard[2], Incoming::Other(tag::NOTIFICATION));
    assert_eq!(connection.parameters["in_hot_standby"], "on");
    drop(backend);
    assert!(matches!(connection.listen().await.unwrap_err(), QueryError::Closed));
}

#[tokio::test]
async fn closing_says_goodbye() {
    let (connection, mut backend) = pair();
    connection.close(soon()).await;
    let mut heard = Vec::new();
    backend.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"X\0\0\0\x04");
}

#[tokio::test]
async fn settings_are_bounded() {
    let too_many = ask(|out| {
        for number in 0..=PARAMETERS_MAX {
            say::parameter_status(out, &number.to_string(), "");
        }
        say::ready_for_query(out, TransactionStatus::Idle);
    });
    assert!(matches!(too_many.await.unwrap_err(), QueryError::Protocol(_)));
}
