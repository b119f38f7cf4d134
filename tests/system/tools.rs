//! PostgreSQL's own tools feel no difference: psql and pgbench.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Installation};
use everline_lab::{Error, Result};
use tokio::process::Command;
use tokio::time::timeout;

use crate::scene::{Fault, Scene, number, run};

/// Where a tool is: with the server's programs, or in PATH.
pub(crate) async fn tool(name: &str) -> Result<PathBuf> {
    let installation = Installation::find().await?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(installation.bin().to_owned()).chain(std::env::split_paths(&path));
    let mut found = places.map(|place| place.join(name)).filter(|program| program.exists());
    found.next().ok_or_else(|| Error::Skip(format!("no {name} on this machine")))
}

/// A tool that connects to `address` as the application.
pub(crate) fn command(program: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command
        .env("PGHOST", address.ip().to_string())
        .env("PGPORT", address.port().to_string())
        .env("PGUSER", APP_USER)
        .env("PGPASSWORD", APP_PASSWORD)
        .env("PGDATABASE", APP_DATABASE)
        .env("PGAPPNAME", "tool")
        .env("LC_ALL", "C")
        .env("HOME", "/nonexistent")
        .kill_on_drop(true)
        .stdin(Stdio::null());
    command
}

/// Runs it to its end: whether it succeeded, and all that it said.
pub(crate) async fn said(command: &mut Command) -> Result<(bool, String)> {
    let wrong = |source| Error::Io { what: "running a tool".to_owned(), source };
    let late = Duration::from_mins(1);
    let output = timeout(late, command.stdout(Stdio::piped()).stderr(Stdio::piped()).output());
    let output = output.await.expect("a tool that ends").map_err(wrong)?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// What somebody types into psql.
const SESSION: &str = r"
\conninfo
\encoding
CREATE TABLE typed (id int PRIMARY KEY, word text NOT NULL DEFAULT 'x', at timestamptz);
CREATE INDEX ON typed (word);
\d
\d typed
\d+ typed
\dt *.typed
\di
\df
\dn
\du app
\l app
INSERT INTO typed (id) SELECT * FROM generate_series(1, 5) RETURNING id, word;
SELECT * FROM typed ORDER BY id;
SELECT nonsense;
\x
SELECT count(*) FROM typed;
\x
BEGIN;
UPDATE typed SET word = 'y' WHERE id = 1;
SAVEPOINT a;
SELECT 1/0;
ROLLBACK TO a;
COMMIT;
\set AUTOCOMMIT off
SELECT word FROM typed WHERE id = 1;
ROLLBACK;
\set AUTOCOMMIT on
\copy typed (id, word) FROM PSTDIN
\copy (SELECT id, word FROM typed ORDER BY id) TO STDOUT
PREPARE p AS SELECT $1::int * 2;
EXECUTE p(21);
DEALLOCATE p;
DO $$ BEGIN RAISE NOTICE 'noted'; END $$;
LISTEN news;
SET search_path = pg_catalog;
SHOW search_path;
RESET search_path;
SELECT 'a' AS one, 'b' AS two \gset
\echo :one :two
SELECT $1 || $2 \bind c d \g
\timing off
SELECT generate_series(1, 3) \gexec
\watch c=1 i=0
DROP TABLE typed;
";

#[test]
fn psql_shows_the_same_as_without_us() {
    run(async {
        let psql = tool("psql").await?;
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let mut shown = Vec::new();
        for address in [scene.cluster.primary().address(), scene.address()] {
            let mut session = command(&psql, address);
            session.args(["--no-psqlrc", "--echo-all", "--file"]);
            let script =
                SESSION.replace("FROM PSTDIN", "FROM program 'printf \"7\\ta\\n8\\tb\\n\"'");
            let path = everline_lab::process::run_directory()?.join("session.sql");
            std::fs::write(&path, script)
                .map_err(|source| Error::Io { what: "a script".to_owned(), source })?;
            session.arg(&path);
            let (success, text) = said(&mut session).await?;
            assert!(success, "{text}");
            let place = format!("{}", address.port());
            shown.push(text.replace(&place, "PORT").replace(&address.ip().to_string(), "HOST"));
        }
        assert!(shown[0].contains("typed_pkey"), "{}", shown[0]);
        assert_eq!(shown[0], shown[1]);
        Ok(())
    });
}

#[test]
fn control_c_in_psql_cancels_the_statement() {
    run(async {
        let psql = tool("psql").await?;
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let mut session = command(&psql, scene.address());
        session.args(["--no-psqlrc", "-c", "SELECT pg_sleep(100)", "-c", "SELECT 'goes on'"]);
        let wrong = |source| Error::Io { what: "running psql".to_owned(), source };
        let spawned = session.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = spawned.map_err(wrong)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).expect("a process id");
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        while scene.cluster.primary().value(asleep).await? != "1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
        let output = timeout(Duration::from_secs(20), child.wait_with_output()).await;
        let output = output.expect("psql ends").map_err(wrong)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("ERROR:  canceling statement due to user request"), "{text}");
        assert_eq!(scene.cluster.primary().value(asleep).await?, "0");
        Ok(())
    });
}

#[test]
fn pgbench_runs_over_few_connections_without_an_error() {
    run(async {
        let pgbench = tool("pgbench").await?;
        let arguments = ["--max-backend-connections", "5"];
        let scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        let mut setup = command(&pgbench, scene.address());
        let (success, text) = said(setup.args(["-i", "-q", "-s", "1"])).await?;
        assert!(success, "{text}");
        for mode in ["simple", "extended", "prepared"] {
            for script in ["tpcb-like", "select-only"] {
                let mut bench = command(&pgbench, scene.address());
                // A thread for each client: pgbench prepares with calls that block their thread,
                // and with it the clients there that hold what is waited for.
                bench.args(["-n", "-M", mode, "-c", "16", "-j", "16", "-T", "2", "-b", script]);
                let (success, text) = said(&mut bench).await?;
                assert!(success, "{mode} {script}: {text}");
                assert!(text.contains("number of failed transactions: 0 "), "{mode}: {text}");
                assert!(!text.contains("number of transactions actually processed: 0\n"), "{text}");
            }
        }
        let sums = "SELECT count(DISTINCT sum) FROM (\
                    SELECT sum(abalance) FROM pgbench_accounts UNION ALL \
                    SELECT sum(tbalance) FROM pgbench_tellers UNION ALL \
                    SELECT sum(bbalance) FROM pgbench_branches UNION ALL \
                    SELECT sum(delta) FROM pgbench_history) AS sums";
        assert_eq!(scene.cluster.primary().value(sums).await?, "1");
        let status = scene.status().await;
        assert_eq!(number(&status, "epoch"), 1, "{status:#}");
        assert_eq!(number(&status, "retryable_total"), 0, "{status:#}");
        Ok(())
    });
}

#[test]
fn pgbench_survives_a_failover_by_trying_again() {
    run(async {
        let pgbench = tool("pgbench").await?;
        let arguments = ["--max-backend-connections", "9", "--failover-hold", "20s"];
        let mut scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        scene.prepare("CREATE TABLE t (n int); INSERT INTO t VALUES (0)").await?;
        let script = everline_lab::process::run_directory()?.join("increment.sql");
        // In a transaction every loss before COMMIT is retryable.
        let text = "BEGIN;\nSELECT n FROM t;\n\\sleep 2 ms\nCOMMIT;\n";
        std::fs::write(&script, text)
            .map_err(|source| Error::Io { what: "a script".to_owned(), source })?;
        let mut bench = command(&pgbench, scene.address());
        bench.args(["-n", "-M", "extended", "-c", "8", "-T", "6", "--max-tries", "0", "-f"]);
        bench.arg(&script);
        let running = tokio::spawn(async move { said(&mut bench).await });
        tokio::time::sleep(Duration::from_secs(2)).await;
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        let (_, text) = running.await.expect("a task")?;
        assert!(text.contains("number of failed transactions: 0 "), "{text}");
        // A client is only lost where a COMMIT was in flight, which must not be tried again.
        let aborted = text.lines().filter(|line| line.contains(" aborted in command ")).count();
        let unknown = number(&scene.status().await, "unknown_total");
        assert!(u64::try_from(aborted).unwrap() <= unknown, "{unknown} unknown: {text}");
        Ok(())
    });
}
