use std::path::PathBuf;
use std::time::Duration;

use everline_core::ha::Identity;
use everline_lab::fake_backend::{FakeBackend, Script, Step};
use everline_wire::Report;
use everline_wire::backend::{
    Column, TransactionStatus, command_complete, data_row, parameter_status, ready_for_query,
    row_description,
};
use everline_wire::tag::frontend as frontend_tag;
use tokio::time::{Instant, timeout};

use super::*;
use crate::backend::dial::{Dialer, Login};
use crate::backend::resolve::Resolver;
use crate::backend::system::{AskError, Found, Scout, SystemScout};
use crate::config::dsn::{Dsn, Surroundings, TargetSessionAttrs};

/// Answers one query with one row.
fn row(script: Script, values: &[Option<&str>]) -> Script {
    script.hear(frontend_tag::QUERY).say(|out| {
        let columns: Vec<Column<'_>> = values.iter().map(|_| Column::text("c")).collect();
        row_description(out, &columns);
        data_row(out, values.iter().map(|value| value.map(str::as_bytes)));
        command_complete(out, "SELECT 1");
        ready_for_query(out, TransactionStatus::Idle);
    })
}

/// Answers one query with an error.
fn refusal(script: Script, code: SqlState) -> Script {
    script.hear(frontend_tag::QUERY).error(Severity::Error, code, "no").say(|out| {
        ready_for_query(out, TransactionStatus::Idle);
    })
}

const PRIMARY: [Option<&str>; 6] =
    [Some("f"), Some("off"), Some("1000"), Some("7"), Some("00000002"), Some("0/10")];

async fn ask_as(
    script: Script,
    wanted: TargetSessionAttrs,
) -> (FakeBackend, Result<Found<SystemLink>, AskError>) {
    let backend = FakeBackend::start(vec![script]).await.unwrap();
    let dsn = format!("postgres://app@{}/app?sslmode=disable", backend.address());
    let surroundings = Surroundings {
        variable: &|_| None,
        home: None,
        user: Some("app".to_owned()),
        socket_directory: PathBuf::from("/tmp"),
    };
    let dsn = Dsn::parse(&dsn, &surroundings).unwrap();
    let dialer = Dialer::new(&dsn).unwrap();
    let scout = SystemScout::new(Resolver::system(), dialer, Login::from_dsn(&dsn), wanted);
    let deadline = Instant::now() + Duration::from_secs(10);
    let endpoint = scout.resolve(&dsn.hosts[0], deadline).await.unwrap().remove(0);
    let answer = scout.ask(&endpoint, deadline).await;
    (backend, answer)
}

async fn ask(script: Script) -> (FakeBackend, Result<Found<SystemLink>, AskError>) {
    ask_as(script, TargetSessionAttrs::Any).await
}

async fn hear(link: &mut SystemLink) -> Result<Heard, QueryError> {
    timeout(Duration::from_secs(10), link.hear()).await.expect("nothing is heard")
}

#[tokio::test]
async fn a_primary_says_who_it_is() {
    let (_backend, answer) = ask(row(Script::login(), &PRIMARY)).await;
    let found = answer.unwrap();
    let expected = Identity {
        system_identifier: Some(7),
        timeline: Some(2),
        lsn: Some(16),
        postmaster_start: Some(1000),
    };
    assert_eq!(found.identity, expected);
    assert_eq!(found.parameters.get("server_version").map(String::as_str), Some("17.0"));
}

#[tokio::test]
async fn a_role_that_may_not_ask_everything_asks_for_less() {
    let without_control = [Some("f"), Some("off"), Some("5"), None, Some("00000001"), Some("0/1")];
    let script = row(refusal(Script::login(), SqlState::INSUFFICIENT_PRIVILEGE), &without_control);
    let (_backend, answer) = ask(script).await;
    let identity = answer.unwrap().identity;
    assert_eq!((identity.system_identifier, identity.timeline), (None, Some(1)));

    let mut script = Script::login();
    for _ in 0..3 {
        script = refusal(script, SqlState::FEATURE_NOT_SUPPORTED);
    }
    let (_backend, answer) = ask(row(script, &[Some("f"), Some("off")])).await;
    assert_eq!(answer.unwrap().identity, Identity::default());
}

#[tokio::test]
async fn who_is_refused_for_another_reason_asks_no_further() {
    let (_backend, answer) = ask(refusal(Script::login(), SqlState::QUERY_CANCELED)).await;
    assert!(matches!(answer, Err(AskError::Query(QueryError::Refused { .. }))), "{answer:?}");
}

#[tokio::test]
async fn a_standby_and_a_read_only_node_are_not_taken() {
    let standby = [Some("t"), Some("on"), Some("5"), Some("7"), None, None];
    let (_backend, answer) = ask(row(Script::login(), &standby)).await;
    assert!(matches!(answer, Err(AskError::Standby)), "{answer:?}");
    let mut read_only = PRIMARY;
    read_only[1] = Some("on");
    let (_backend, answer) = ask(row(Script::login(), &read_only)).await;
    assert!(answer.is_ok(), "nobody has asked for read-write");
    let script = row(Script::login(), &read_only);
    let (_backend, answer) = ask_as(script, TargetSessionAttrs::ReadWrite).await;
    assert!(matches!(answer, Err(AskError::ReadOnly)), "{answer:?}");
}

#[tokio::test]
async fn a_node_without_a_free_slot_is_recognised() {
    let script = Script::new().step(Step::HearStartup).error(
        Severity::Fatal,
        SqlState::TOO_MANY_CONNECTIONS,
        "sorry, too many clients already",
    );
    let (_backend, answer) = ask(script).await;
    assert!(answer.unwrap_err().is_full());
}

#[tokio::test]
async fn a_fatal_refusal_is_the_last_word() {
    let script = Script::login()
        .hear(frontend_tag::QUERY)
        .error(Severity::Fatal, SqlState::INSUFFICIENT_PRIVILEGE, "out")
        .step(Step::Close);
    let (_backend, answer) = ask(script).await;
    let error = answer.unwrap_err();
    assert_eq!(error.to_string(), "the node did not say who it is: FATAL 42501: out");
}

/// Starts a link whose backend goes on with `script` after it has said that it is a primary.
async fn link(script: impl FnOnce(Script) -> Script) -> (FakeBackend, SystemLink) {
    let (backend, answer) = ask(script(row(Script::login(), &PRIMARY))).await;
    (backend, answer.unwrap().link)
}

#[tokio::test]
async fn the_heartbeat_is_answered() {
    let (_backend, mut link) = link(|script| {
        let script = row(row(script, &[Some("f")]), &[Some("t")]);
        refusal(script, SqlState::QUERY_CANCELED)
    })
    .await;
    link.ask().await.unwrap();
    assert_eq!(hear(&mut link).await.unwrap(), Heard::Primary);
    link.ask().await.unwrap();
    assert_eq!(hear(&mut link).await.unwrap(), Heard::Standby);
    link.ask().await.unwrap();
    assert_eq!(hear(&mut link).await.unwrap(), Heard::Other, "the error's own message");
    let Heard::Error(fields) = hear(&mut link).await.unwrap() else { panic!("no error") };
    assert_eq!(fields.code(), SqlState::QUERY_CANCELED);
}

#[tokio::test]
async fn shutdown_is_heard_as_an_error_and_as_a_notice() {
    for code in [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN] {
        let (_backend, mut as_error) =
            link(|script| script.error(Severity::Fatal, code, "down").step(Step::Close)).await;
        let (_backend, mut as_notice) = link(|script| {
            let severity = Severity::Warning;
            let report = Report { severity, code, message: "down", detail: None, hint: None };
            script.say(|out| report.notice_response(out)).step(Step::Close)
        })
        .await;
        for link in [&mut as_error, &mut as_notice] {
            let heard = hear(link).await.unwrap();
            let Heard::ShuttingDown(fields) = heard else { panic!("{heard:?}") };
            assert_eq!(fields.code(), code);
        }
    }
}

#[tokio::test]
async fn other_words_and_the_end_are_heard() {
    let (_backend, mut link) = link(|script| {
        let severity = Severity::Notice;
        let code = SqlState::QUERY_CANCELED;
        let report = Report { severity, code, message: "by the way", detail: None, hint: None };
        script
            .say(|out| {
                report.notice_response(out);
                parameter_status(out, "TimeZone", "UTC");
                parameter_status(out, "in_hot_standby", "off");
                parameter_status(out, "is_superuser", "on");
                parameter_status(out, "in_hot_standby", "on");
            })
            .error(Severity::Fatal, SqlState::QUERY_CANCELED, "idle for too long")
            .step(Step::Close)
    })
    .await;
    for expected in [Heard::Other, Heard::Other, Heard::Other, Heard::Other, Heard::Standby] {
        assert_eq!(hear(&mut link).await.unwrap(), expected);
    }
    let end = hear(&mut link).await.unwrap_err();
    assert_eq!(end.to_string(), "FATAL 57014: idle for too long");
    let end = hear(&mut link).await.unwrap_err();
    assert!(matches!(end, QueryError::Closed), "{end}");
}

/// Half a message stays where it is when the wait for it is given up.
#[tokio::test]
async fn hearing_is_cancel_safe() {
    let (_backend, mut link) = link(|script| {
        let mut whole = BytesMut::new();
        data_row(&mut whole, [Some(b"t".as_slice())]);
        ready_for_query(&mut whole, TransactionStatus::Idle);
        let rest = whole.split_off(7);
        script
            .say(|out| out.extend_from_slice(&whole))
            .wait(Duration::from_millis(200))
            .say(|out| out.extend_from_slice(&rest))
    })
    .await;
    let given_up = timeout(Duration::from_millis(50), link.hear()).await;
    assert!(given_up.is_err());
    assert_eq!(hear(&mut link).await.unwrap(), Heard::Standby);
}

#[tokio::test]
async fn what_a_heartbeat_does_not_bring_ends_it() {
    let (_backend, mut odd) =
        link(|script| script.say(|out| out.extend_from_slice(b"G\0\0\0\x07\0\0\0"))).await;
    assert!(matches!(hear(&mut odd).await, Err(QueryError::Protocol(_))));
    let (_backend, mut huge) =
        link(|script| script.say(|out| out.extend_from_slice(b"N\x7f\0\0\0"))).await;
    assert!(matches!(hear(&mut huge).await, Err(QueryError::Protocol(_))));
    let (_backend, mut null) = link(|script| row(script, &[None])).await;
    null.ask().await.unwrap();
    assert!(matches!(hear(&mut null).await, Err(QueryError::Protocol(_))));
}
