use std::time::Duration;

use everline_wire::tag::frontend::{QUERY, TERMINATE};
use everline_wire::{Severity, SqlState};

use super::{Client, render};
use crate::Error;
use crate::fake_backend::{FakeBackend, Script, Step};
use crate::postgres::{
    APP_DATABASE, APP_PASSWORD, APP_USER, CLEARTEXT_USER, Cluster, ClusterOptions, MD5_USER,
    TRUSTED_USER,
};

#[tokio::test]
async fn answers_are_one_line_each() {
    let cluster = match Cluster::start(ClusterOptions::single()).await {
        Err(Error::Skip(reason)) => return println!("skipped: {reason}"),
        other => other.unwrap(),
    };
    let address = cluster.primary().address();
    for user in [APP_USER, MD5_USER, CLEARTEXT_USER, TRUSTED_USER] {
        let mut client = Client::connect(address).await.unwrap();
        let answers = client.login(user, APP_PASSWORD, APP_DATABASE, &[]).await.unwrap();
        assert!(render(&answers).ends_with("R[ok] Z[I]"), "{}", render(&answers));
        assert!(client.key().is_some());
        assert_eq!(client.parameter("client_encoding"), Some("UTF8"));
    }
    let mut client = Client::app(address).await.unwrap();
    for (sql, answers) in [
        ("SELECT 1 AS a, NULL AS b", "T[a,b] D[1,NULL] C[SELECT 1] Z[I]"),
        ("", "I Z[I]"),
        ("BEGIN", "C[BEGIN] Z[T]"),
        ("SELECT 1/0", "E[22012 \"division by zero\"] Z[E]"),
        ("COMMIT", "C[ROLLBACK] Z[I]"),
    ] {
        assert_eq!(client.answers(sql).await.unwrap(), answers, "{sql}");
    }
    cluster
        .primary()
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
        .await
        .ok();
    let heard = client.hears(Duration::from_secs(1)).await.unwrap();
    let words = "terminating connection due to administrator command";
    assert_eq!(heard, format!("E[FATAL 57P01 \"{words}\"] closed"));
}

#[tokio::test]
async fn a_wrong_password_is_an_answer() {
    let cluster = match Cluster::start(ClusterOptions::single()).await {
        Err(Error::Skip(reason)) => return println!("skipped: {reason}"),
        other => other.unwrap(),
    };
    let mut client = Client::connect(cluster.primary().address()).await.unwrap();
    let answers = client.login(APP_USER, "wrong", APP_DATABASE, &[]).await.unwrap();
    assert_eq!(answers.last().unwrap().error_code().unwrap(), "28P01");
    assert_eq!(client.hears(Duration::from_secs(1)).await.unwrap(), "closed");
}

#[tokio::test]
async fn a_fake_backend_says_what_its_script_says() {
    let code = SqlState::from_bytes(b"57P01").unwrap();
    let script = Script::login()
        .hear(QUERY)
        .complete("SELECT 0")
        .hear(QUERY)
        .error(Severity::Fatal, code, "going")
        .step(Step::Close);
    let backend =
        FakeBackend::start(vec![script, Script::login().step(Step::Reset)]).await.unwrap();
    let mut client = Client::app(backend.address()).await.unwrap();
    assert_eq!(client.answers("SELECT 1").await.unwrap(), "C[SELECT 0] Z[I]");
    assert_eq!(client.answers("SELECT 2").await.unwrap(), "E[FATAL 57P01 \"going\"] closed");
    let said: Vec<u8> = backend.heard().iter().map(|heard| heard.tag).collect();
    assert_eq!(said, [0, QUERY, QUERY]);
    let mut client = Client::app(backend.address()).await.unwrap();
    assert_eq!(client.hears(Duration::from_secs(1)).await.unwrap(), "reset");
    assert!(!said.contains(&TERMINATE));
}
