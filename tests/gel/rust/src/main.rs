//! Gel's own Rust client before Everline, with `gel_edgeql_as_sql`: what it can do, and what it
//! does in an outage.
//!
//! `basics` or `load`, with the connection in the environment; says one line of JSON for each
//! finding, and "done" at its end.

use std::env;
use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gel_errors::{AvailabilityError, BackendUnavailableError, ErrorKind as _, UserError};
use gel_tokio::{Builder, Client, Queryable, TlsSecurity};
use serde_json::{Value, json};

#[derive(Debug, Queryable)]
#[expect(dead_code, reason = "read by Debug")]
struct Row {
    id: Option<i64>,
    word: Option<String>,
}

#[derive(Debug, Queryable)]
#[expect(dead_code, reason = "read by Debug")]
struct Types {
    a: Option<i16>,
    b: Option<i32>,
    c: Option<i64>,
    d: Option<f32>,
    e: Option<f64>,
    f: Option<bool>,
    g: Option<String>,
    h: Option<Vec<i64>>,
    i: Option<String>,
    j: Option<i64>,
    k: Option<String>,
}

#[derive(Debug, Queryable)]
#[expect(dead_code, reason = "read by Debug")]
struct Counted {
    n: Option<i64>,
}

fn say(event: &str, more: Value) {
    let mut line = json!({ "event": event });
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    println!("{line}");
}

fn check(name: &str, found: impl std::fmt::Debug, wanted: &str) {
    let found = format!("{found:?}");
    if found == wanted {
        say("ok", json!({ "name": name }));
    } else {
        say("wrong", json!({ "name": name, "found": found, "wanted": wanted }));
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn number(name: &str, otherwise: u64) -> u64 {
    variable(name).parse().unwrap_or(otherwise)
}

async fn connect() -> anyhow::Result<Client> {
    let mut builder = Builder::new()
        .host_string(variable("LAB_HOST"))
        .port(u16::try_from(number("LAB_PORT", 5656))?)
        .user(variable("LAB_USER"))
        .password(variable("LAB_PASSWORD"))
        .branch("__default__".to_owned());
    let ca = variable("LAB_CA");
    builder = if ca.is_empty() {
        builder.tls_security(TlsSecurity::Insecure)
    } else {
        builder.tls_ca_file(&ca)
    };
    Ok(Client::new(&builder.build()?))
}

async fn basics() -> anyhow::Result<()> {
    let client = connect().await?;
    client.execute("DROP TABLE IF EXISTS gel_rust", &()).await?;
    client.execute("CREATE TABLE gel_rust (id int8 PRIMARY KEY, word text)", &()).await?;
    client.execute("INSERT INTO gel_rust VALUES ($1, $2)", &(1_i64, "a")).await?;
    let rows: Vec<Row> = client.query("SELECT id, word FROM gel_rust", &()).await?;
    check("rows", &rows, "[Row { id: Some(1), word: Some(\"a\") }]");
    let one: Option<Counted> =
        client.query_single("SELECT count(*) AS n FROM gel_rust WHERE id = $1", &(1_i64,)).await?;
    check("single", &one, "Some(Counted { n: Some(1) })");
    let types: Vec<Types> = client
        .query(
            "SELECT $1::int2 AS a, $2::int4 AS b, $3::int8 AS c, $4::float4 AS d, $5::float8 AS e,
             $6::bool AS f, $7::text AS g, $8::int8[] AS h, $9::inet AS i, $10::oid AS j,
             NULL::text AS k",
            &(
                -5_i16,
                7_i32,
                1_i64 << 60,
                1.5_f32,
                -2.25_f64,
                true,
                "täxt",
                vec![1_i64, 2],
                "10.0.0.1",
                4_294_967_295_i64,
            ),
        )
        .await?;
    check(
        "types",
        &types,
        "[Types { a: Some(-5), b: Some(7), c: Some(1152921504606846976), d: Some(1.5), \
         e: Some(-2.25), f: Some(true), g: Some(\"täxt\"), h: Some([1, 2]), \
         i: Some(\"10.0.0.1\"), j: Some(4294967295), k: None }]",
    );
    let twice = client.execute("INSERT INTO gel_rust VALUES (1, 'again')", &()).await;
    let known = twice.err().is_some_and(|error| error.is::<gel_errors::ConstraintViolationError>());
    check("constraint", known, "true");
    client
        .transaction(|mut tx| async move {
            tx.execute("INSERT INTO gel_rust VALUES (2, 'tx')", &()).await
        })
        .await?;
    let own = client
        .transaction(|mut tx| async move {
            tx.execute("INSERT INTO gel_rust VALUES (3, 'gone')", &()).await?;
            Err::<(), _>(UserError::with_message("mine"))
        })
        .await;
    check("own error", own.is_err_and(|error| error.is::<UserError>()), "true");
    let rows: Vec<Counted> = client.query("SELECT count(*) AS n FROM gel_rust", &()).await?;
    check("rolled back", &rows, "[Counted { n: Some(2) }]");
    Ok(())
}

#[derive(Default)]
struct Books {
    committed: Vec<u64>,
    unknown: Vec<u64>,
    errors: Vec<String>,
}

async fn load() -> anyhow::Result<()> {
    let (workers, first) = (number("LAB_WORKERS", 8), number("LAB_KEYS", 1));
    let client = connect().await?;
    let books = Arc::new(Mutex::new(Books::default()));
    let (stop, tries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut all = Vec::new();
    for worker in 0..workers {
        let (client, books) = (client.clone(), books.clone());
        let (stop, tries) = (stop.clone(), tries.clone());
        all.push(tokio::spawn(async move {
            let mut key = first + worker;
            // A table of its own, so that nobody conflicts: what fails, fails for the outage.
            let insert = format!("INSERT INTO ledger_{key} (key) VALUES ($1::int8)");
            while !stop.load(Ordering::Relaxed) {
                let value = i64::try_from(key).unwrap_or_default();
                let (tries, insert) = (tries.clone(), insert.clone());
                let done = client
                    .transaction(move |mut tx| {
                        tries.fetch_add(1, Ordering::Relaxed);
                        let insert = insert.clone();
                        async move { tx.execute(&insert, &(value,)).await }
                    })
                    .await;
                let mut books = books.lock().expect("nobody panics here");
                match done {
                    Ok(()) => books.committed.push(key),
                    Err(error)
                        if error.is::<AvailabilityError>()
                            && !error.is::<BackendUnavailableError>() =>
                    {
                        books.unknown.push(key);
                    }
                    Err(error) => books.errors.push(format!("{error:?}")),
                }
                key += workers;
            }
        }));
    }
    say("running", json!({}));
    tokio::task::spawn_blocking(|| {
        let _: Option<_> = std::io::stdin().lock().lines().next();
    })
    .await?;
    stop.store(true, Ordering::Relaxed);
    for one in all {
        one.await?;
    }
    let books = books.lock().expect("nobody panics here");
    let Books { committed, unknown, errors } = &*books;
    let tries = tries.load(Ordering::Relaxed);
    let books =
        json!({ "committed": committed, "unknown": unknown, "errors": errors, "tries": tries });
    say("ledger", books);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match env::args().nth(1).as_deref() {
        Some("basics") => basics().await?,
        Some("load") => load().await?,
        other => anyhow::bail!("basics or load, not {other:?}"),
    }
    say("done", json!({}));
    Ok(())
}
