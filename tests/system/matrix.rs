//! Pool mode × protocol × feature: what PostgreSQL itself answers, Everline answers.
//!
//! With `EVERLINE_TEST_PG_BINS`, directories with the programs of several versions, separated by
//! `:`, each of them is tried; else the one that all tests take.

use std::process::Command;
use std::time::Duration;

use everline_lab::Result;
use everline_wire::startup;

use crate::same::{Pair, Places, places};
use crate::scene::{keep_log, run};
use crate::seat::bytes;

/// Whether it spans statements, so that statement pooling cannot serve it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Spans {
    One,
    Several,
}

use Spans::{One, Several};

/// What is compared: a name, whether it spans statements, and what is said, one send after the
/// other in one session.
const FEATURES: &[(&str, Spans, &[&str])] = &[
    ("simple query", One, &["Q:SELECT 1", "Q:SELECT NULL, '', 'x'", "Q:"]),
    ("error", One, &["Q:SELEKT", "Q:SELECT 1/0", "Q:SELECT 1"]),
    ("several statements in one query", One, &["Q:SELECT 1; SELECT 2; SELECT 3"]),
    ("rows", One, &["Q:SELECT n, repeat('x', n) FROM generate_series(1, 500) AS n"]),
    ("a large row", One, &["Q:SELECT repeat('x', 3000000)"]),
    ("notices", One, &["Q:SELECT complain('hear')", "Q:DO 'BEGIN RAISE WARNING ''w''; END'"]),
    ("unnamed statement", One, &["P::SELECT $1::int + 1 / B:::41 / D:P: / E: / S"]),
    (
        "named statement",
        One,
        &[
            "P:a:SELECT word FROM t WHERE n = $1 / D:S:a / S",
            "B::a:1 / E: / S",
            "B::a:2 / D:P: / E: / S",
            "P:a:SELECT 1 / S",
            "C:S:a / S",
            "B::a:3 / E: / S",
        ],
    ),
    ("a statement that fails to parse", One, &["P:b:SELEKT / S", "B::b / E: / S"]),
    (
        "portals of so many rows",
        Several,
        &["Q:BEGIN", "P::SELECT n FROM t ORDER BY n / B:p: / E:p:3 / E:p:3 / C:P:p / S", "Q:END"],
    ),
    (
        "pipeline",
        One,
        &["P::SELECT 1 / B:: / E: / P::SELECT 2 / B:: / E: / S / P::SELECT 3 / B:: / E: / S"],
    ),
    (
        "pipeline with an error",
        One,
        &["P::SELECT 1/0 / B:: / E: / P::SELECT 2 / B:: / E: / S / P::SELECT 3 / B:: / E: / S"],
    ),
    ("flush", One, &["P::SELECT 1 / D:S: / H / B:: / E: / H / S"]),
    (
        "transaction",
        Several,
        &["Q:BEGIN", "Q:INSERT INTO t VALUES (100, 'x')", "Q:ROLLBACK", "Q:SELECT count(*) FROM t"],
    ),
    (
        "failed transaction",
        Several,
        &["Q:BEGIN", "Q:SELECT 1/0", "Q:SELECT 1", "Q:COMMIT", "Q:SELECT 1"],
    ),
    (
        "savepoints",
        Several,
        &[
            "Q:BEGIN",
            "Q:SAVEPOINT a",
            "Q:SELECT 1/0",
            "Q:ROLLBACK TO a",
            "Q:SELECT 1",
            "Q:RELEASE a",
            "Q:COMMIT",
        ],
    ),
    (
        "kinds of transaction",
        Several,
        &[
            "Q:BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
            "Q:SHOW transaction_isolation",
            "Q:UPDATE t SET n = n",
            "Q:ROLLBACK",
        ],
    ),
    (
        "cursor",
        Several,
        &[
            "Q:BEGIN",
            "Q:DECLARE c CURSOR FOR SELECT n FROM t ORDER BY n",
            "Q:FETCH 2 FROM c",
            "Q:MOVE 3 IN c",
            "Q:FETCH 1 FROM c",
            "Q:CLOSE c",
            "Q:COMMIT",
        ],
    ),
    (
        "cursor WITH HOLD",
        One,
        &[
            "Q:DECLARE c CURSOR WITH HOLD FOR SELECT n FROM t ORDER BY n",
            "Q:FETCH 2 FROM c",
            "Q:FETCH 2 FROM c",
            "Q:CLOSE c",
        ],
    ),
    (
        "COPY",
        One,
        &[
            "Q:COPY t TO STDOUT",
            "Q:COPY t FROM STDIN / d:200\tx / d:201\ty / c",
            "Q:COPY t FROM STDIN / d:nonsense / c",
            "Q:COPY t FROM STDIN / d:202\tz / f:no",
            "Q:DELETE FROM t WHERE n >= 200",
        ],
    ),
    ("COPY by the extended protocol", One, &["P::COPY t TO STDOUT / B:: / E: / S"]),
    (
        "settings",
        One,
        &[
            "Q:SET application_name = 'x'",
            "Q:SHOW application_name",
            "Q:SET TimeZone = 'Asia/Tokyo'; SET work_mem = '5MB'",
            "Q:SHOW work_mem",
            "P::SET search_path = pg_catalog / B:: / E: / S",
            "Q:SHOW search_path",
            "Q:RESET search_path",
            "Q:SHOW search_path",
            "Q:RESET ALL",
            "Q:SHOW work_mem",
        ],
    ),
    (
        "settings of a transaction",
        Several,
        &[
            "Q:BEGIN",
            "Q:SET LOCAL work_mem = '6MB'",
            "Q:SET TimeZone = 'UTC'",
            "Q:ROLLBACK",
            "Q:SHOW work_mem",
            "Q:SHOW TimeZone",
        ],
    ),
    (
        "role",
        One,
        &["Q:SET ROLE pg_monitor", "Q:SET ROLE app", "Q:SELECT current_user", "Q:RESET ROLE"],
    ),
    (
        "statements by SQL",
        One,
        &[
            "Q:PREPARE q (int) AS SELECT $1 * 2",
            "Q:EXECUTE q (21)",
            "Q:DEALLOCATE q",
            "Q:EXECUTE q (21)",
            "Q:PREPARE q AS SELECT 7",
            "Q:DISCARD ALL",
            "Q:EXECUTE q",
        ],
    ),
    (
        "temporary table",
        One,
        &[
            "Q:CREATE TEMP TABLE mine (n int)",
            "Q:INSERT INTO mine VALUES (1), (2)",
            "Q:SELECT sum(n) FROM mine",
            "Q:DISCARD TEMP",
            "Q:SELECT sum(n) FROM mine",
        ],
    ),
    (
        "session locks",
        One,
        &[
            "Q:SELECT pg_advisory_lock(7)",
            "Q:SELECT pg_advisory_unlock(7)",
            "Q:SELECT pg_advisory_unlock(7)",
        ],
    ),
    (
        "resets",
        One,
        &["Q:DISCARD ALL", "Q:DEALLOCATE ALL", "Q:UNLISTEN *", "Q:CLOSE ALL", "Q:DISCARD PLANS"],
    ),
    (
        "procedure with a COMMIT",
        One,
        &["Q:CALL commits()", "Q:SELECT count(*) FROM t WHERE word LIKE 'word%'"],
    ),
    ("DDL", One, &["Q:CREATE TABLE made (n int)", "Q:TRUNCATE made", "Q:DROP TABLE made"]),
    ("outside of transactions", One, &["Q:VACUUM t", "Q:VACUUM t; SELECT 1"]),
    ("not within transactions", Several, &["Q:BEGIN; VACUUM t", "Q:ROLLBACK"]),
    ("locks of a transaction", Several, &["Q:BEGIN", "Q:LOCK TABLE t", "Q:COMMIT"]),
];

/// What a client asks for, beyond its user, and by which minor version of protocol 3.
const PROTOCOLS: [u16; 2] = [0, 2];

async fn pair(places: Places, minor: u16) -> Result<Pair> {
    Pair::login_by(places, minor).await
}

/// All features in one pool mode; what differs.
async fn compare(mode: &str) -> Result<Vec<String>> {
    // Few connections, so that sessions meet those that others have used.
    let arguments = ["--pool-mode", mode, "--max-backend-connections", "4"];
    let (places, _cluster, everline) = places(&arguments).await?;
    let mut differences = Vec::new();
    let mut compared = 0;
    for minor in PROTOCOLS {
        for (name, spans, said) in FEATURES {
            if mode == "statement" && *spans == Several {
                continue;
            }
            let mut pair = pair(places, minor).await?;
            for said in *said {
                compared += 1;
                if let Err(difference) = pair.compare(said).await {
                    differences.push(format!("{mode}, 3.{minor}, {name}: {difference}"));
                    break;
                }
            }
        }
        if let Some(difference) = cancel(pair(places, minor).await?, places).await? {
            differences.push(format!("{mode}, 3.{minor}, cancel: {difference}"));
        }
        if let Some(difference) = listen(pair(places, minor).await?).await? {
            differences.push(format!("{mode}, 3.{minor}, LISTEN: {difference}"));
        }
        if mode == "statement" {
            let mut pair = pair(places, minor).await?;
            let heard = pair.through.answers("BEGIN").await?;
            assert!(heard.starts_with("E[0A000 "), "{heard}");
        }
    }
    println!("{mode}: {compared} answers compared, {} differ", differences.len());
    keep_log(&everline);
    Ok(differences)
}

/// Cancel requests, direct and through.
async fn cancel(mut pair: Pair, places: Places) -> Result<Option<String>> {
    let mut told = Vec::new();
    for (client, address) in
        [(&mut pair.direct, places.direct), (&mut pair.through, places.through)]
    {
        client.send(&bytes("Q:SELECT pg_sleep(60)")).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (process, secret) = client.key().cloned().expect("a key");
        let mut asks = everline_lab::client::Client::connect(address).await?;
        asks.say(|out| startup::cancel_request(out, process, &secret)).await?;
        client.set_patience(Duration::from_secs(20));
        let answers = client.until_ready().await?;
        told.push((client.rendered(&answers), client.answers("SELECT 1").await?));
    }
    let same = told.first() == told.last() && told.iter().all(|one| one.0.contains("57014"));
    Ok((!same).then(|| format!("{told:?}")))
}

/// Notifications come to a session that has nothing else to do.
async fn listen(mut pair: Pair) -> Result<Option<String>> {
    let mut told = Vec::new();
    for client in [&mut pair.direct, &mut pair.through] {
        let mut heard = vec![client.answers("LISTEN news").await?];
        client.send(&bytes("Q:NOTIFY news, 'one'")).await?;
        let notified = client.until(|message| message.tag == b'A').await?;
        heard.push(notified.last().map_or_else(String::new, |last| {
            String::from_utf8_lossy(last.body.get(4..).unwrap_or_default()).into_owned()
        }));
        heard.push(
            client
                .answers("UNLISTEN news")
                .await
                .map(|rest| rest.replace("C[NOTIFY] Z[I] ", ""))?,
        );
        told.push(heard);
    }
    Ok((told.first() != told.last()).then(|| format!("{told:?}")))
}

/// Runs `test` with this PostgreSQL, or once more with each that the environment names.
fn everywhere(name: &str, test: impl FnOnce()) {
    let Some(bins) = std::env::var_os("EVERLINE_TEST_PG_BINS") else { return test() };
    let this = std::env::current_exe().expect("the test's own program");
    for bin in std::env::split_paths(&bins) {
        println!("{}", bin.display());
        let mut again = Command::new(&this);
        again.args(["--exact", name, "--nocapture"]).env("EVERLINE_TEST_PG_BIN", &bin);
        let ended = again.env_remove("EVERLINE_TEST_PG_BINS").status().expect("it starts");
        assert!(ended.success(), "{name} with {}: {ended}", bin.display());
    }
}

fn in_mode(mode: &str) {
    everywhere(&format!("matrix::in_{mode}_pooling"), || {
        run(async {
            let differences = compare(mode).await?;
            assert!(differences.is_empty(), "{}", differences.join("\n"));
            Ok(())
        });
    });
}

#[test]
fn in_transaction_pooling() {
    in_mode("transaction");
}

#[test]
fn in_session_pooling() {
    in_mode("session");
}

#[test]
fn in_statement_pooling() {
    in_mode("statement");
}
