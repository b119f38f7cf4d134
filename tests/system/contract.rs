//! The failure contract: one failover, and what each client hears that was doing something
//! when it came. Byte for byte, for each way in which a leader goes.

use std::time::Duration;

use everline_lab::Result;
use everline_lab::postgres::{APP_DATABASE, APP_USER};

use crate::scene::{Fault, Scene, is_available, number, run};
use crate::seat::{ONE, Seat};

/// One client: what it did before, what it was doing, how that ends, what it does afterwards.
struct Lot {
    who: &'static str,
    /// Said and heard while the leader was there.
    before: &'static [(&'static str, &'static str)],
    /// Said when the leader goes, and not answered by it.
    doing: &'static str,
    /// What answers that. A leader that is shut down in order still says what it had ready, and
    /// that is passed on unless its end is heard first: messages with a `~`.
    end: &'static str,
    /// Said and heard afterwards, without any leader.
    after: &'static [(&'static str, &'static str)],
}

/// A transaction that has really begun.
const BEGIN: (&str, &str) =
    ("Q:BEGIN / Q:INSERT INTO t VALUES (-1)", "C[BEGIN] / Z[T] / C[INSERT 0 1] / Z[T]");
const ROLLBACK: (&str, &str) = ("Q:ROLLBACK", "C[ROLLBACK] / Z[I]");
/// How many of [`LOTS`] and of the two that read have a statement at work.
const AT_WORK: &str = "SELECT count(*) = 15 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";

const LOTS: &[Lot] = &[
    Lot { who: "idle", before: &[], doing: "", end: "", after: &[] },
    Lot {
        who: "idle after a statement",
        before: &[("Q:SELECT 1", ONE)],
        doing: "",
        end: "",
        after: &[],
    },
    Lot {
        who: "idle in a transaction, goes on",
        before: &[BEGIN],
        doing: "",
        end: "",
        after: &[
            ("Q:SELECT 1", "E:lost / Z[E]"),
            ("Q:INSERT INTO t VALUES (-1)", "E:lost / Z[E]"),
            ("P::SELECT 1 / B:: / D:P: / E: / S", "E:lost / Z[E]"),
            ("P::SELECT 1 / H", "E:lost"),
            ("B:: / E: / S", "Z[E]"),
            ("S", "Z[E]"),
            ("Q:", "I / Z[E]"),
            ("Q:SAVEPOINT a", "E:lost / Z[E]"),
            ("Q:ROLLBACK TO a", "E:lost / Z[E]"),
            ("Q:SELECT 1; SELECT 2", "E:lost / Z[E]"),
            ROLLBACK,
        ],
    },
    Lot {
        who: "idle in a transaction, rolls back",
        before: &[BEGIN],
        doing: "",
        end: "",
        after: &[ROLLBACK],
    },
    Lot {
        who: "idle in a transaction, commits",
        before: &[BEGIN],
        doing: "",
        end: "",
        after: &[("Q:COMMIT", "E:lost / Z[I]")],
    },
    Lot {
        who: "idle in a transaction, rolls back by the extended protocol",
        before: &[BEGIN],
        doing: "",
        end: "",
        after: &[("P::ROLLBACK / B:: / D:P: / E: / S", "1 / 2 / n / C[ROLLBACK] / Z[I]")],
    },
    Lot {
        who: "idle in a transaction, commits by the extended protocol",
        before: &[BEGIN],
        doing: "",
        end: "",
        after: &[("P::COMMIT / B:: / D:P: / E: / S", "1 / 2 / n / E:lost / Z[I]")],
    },
    Lot {
        who: "idle in a failed transaction",
        before: &[BEGIN, ("Q:SELECT 1/0", "E[22012 \"division by zero\"] / Z[E]")],
        doing: "",
        end: "",
        after: &[("Q:SELECT 1", "E:lost / Z[E]"), ROLLBACK],
    },
    Lot {
        who: "a transaction begun and not yet real",
        before: &[("Q:BEGIN", "C[BEGIN] / Z[T]"), ("Q:SAVEPOINT a", "C[SAVEPOINT] / Z[T]")],
        doing: "",
        end: "",
        after: &[("Q:ROLLBACK TO a", "C[ROLLBACK] / Z[T]"), ("Q:COMMIT", "C[COMMIT] / Z[I]")],
    },
    Lot {
        who: "a transaction with a savepoint before its first statement",
        before: &[
            ("Q:BEGIN", "C[BEGIN] / Z[T]"),
            ("Q:SAVEPOINT restart", "C[SAVEPOINT] / Z[T]"),
            ("Q:INSERT INTO t VALUES (-1)", "C[INSERT 0 1] / Z[T]"),
        ],
        doing: "",
        end: "",
        after: &[
            ("Q:INSERT INTO t VALUES (-1)", "E:lost / Z[E]"),
            ("Q:ROLLBACK TO restart", "C[ROLLBACK] / Z[T]"),
            ROLLBACK,
        ],
    },
    Lot {
        who: "a statement in flight",
        before: &[],
        doing: "Q:SELECT pg_sleep(100)",
        end: "~T[pg_sleep] / E:unknown / Z[I]",
        after: &[],
    },
    Lot {
        who: "a statement in flight by the extended protocol",
        before: &[],
        doing: "P::SELECT pg_sleep(100) / B:: / D:P: / E: / S",
        end: "~1 / ~2 / ~T[pg_sleep] / E:unknown / Z[I]",
        after: &[],
    },
    Lot {
        who: "several statements in one text in flight",
        before: &[],
        doing: "Q:INSERT INTO t VALUES (-1); SELECT pg_sleep(100)",
        end: "~C[INSERT 0 1] / ~T[pg_sleep] / E:unknown / Z[I]",
        after: &[],
    },
    Lot {
        who: "a statement of a transaction in flight",
        before: &[BEGIN],
        doing: "Q:SELECT pg_sleep(100)",
        end: "~T[pg_sleep] / E:lost / Z[E]",
        after: &[("Q:SELECT 1", "E:lost / Z[E]"), ROLLBACK],
    },
    Lot {
        who: "a statement of a transaction in flight by the extended protocol",
        before: &[BEGIN],
        doing: "P::SELECT pg_sleep(100) / B:: / E: / S",
        end: "~1 / ~2 / E:lost / Z[E]",
        after: &[("Q:COMMIT", "E:lost / Z[I]")],
    },
    Lot {
        who: "COMMIT in flight",
        before: &[(
            "Q:BEGIN / Q:INSERT INTO slow_commit VALUES (1)",
            "C[BEGIN] / Z[T] / C[INSERT 0 1] / Z[T]",
        )],
        doing: "Q:COMMIT",
        end: "E:commit-unknown / Z[I]",
        after: &[],
    },
    Lot {
        who: "COMMIT in flight by the extended protocol",
        before: &[(
            "Q:BEGIN / Q:INSERT INTO slow_commit VALUES (1)",
            "C[BEGIN] / Z[T] / C[INSERT 0 1] / Z[T]",
        )],
        doing: "P::COMMIT / B:: / E: / S",
        end: "~1 / ~2 / E:commit-unknown / Z[I]",
        after: &[],
    },
    Lot {
        who: "an implicit COMMIT in flight",
        before: &[],
        doing: "Q:INSERT INTO slow_commit VALUES (1)",
        end: "E:unknown / Z[I]",
        after: &[],
    },
    Lot {
        who: "a pipeline of two segments, and a third without its Sync",
        before: &[],
        doing: "P::SELECT pg_sleep(100) / B:: / E: / S / P::INSERT INTO t VALUES (-1) / B:: / E: / S / \
                P::INSERT INTO t VALUES (-1) / B:: / E:",
        end: "~1 / ~2 / E:unknown / Z[I] / E:unknown / Z[I] / E:lost",
        after: &[("S", "Z[I]")],
    },
    Lot {
        who: "a pipeline within a transaction",
        before: &[BEGIN],
        doing: "P::SELECT pg_sleep(100) / B:: / E: / S / P::INSERT INTO t VALUES (-1) / B:: / E: / S",
        end: "~1 / ~2 / E:lost / Z[E] / E:lost / Z[E]",
        after: &[ROLLBACK],
    },
    Lot {
        who: "a pipeline whose COMMIT is in it",
        before: &[BEGIN],
        doing: "Q:SELECT pg_sleep(100) / Q:COMMIT",
        end: "~T[pg_sleep] / E:commit-unknown / Z[E] / E:commit-unknown / Z[I]",
        after: &[],
    },
    Lot {
        who: "a segment answered, its Sync not sent",
        before: &[("P::INSERT INTO t VALUES (-1) / B:: / E: / H", "1 / 2 / C[INSERT 0 1]")],
        doing: "",
        end: "",
        after: &[("S", "E:lost / Z[I]")],
    },
    Lot {
        who: "a segment at work, its Sync not sent",
        before: &[("P::SELECT pg_sleep(100) / B:: / H", "1 / 2")],
        doing: "E: / H",
        end: "E:lost",
        after: &[("P::SELECT 1 / B:: / E: / S", "Z[I]")],
    },
    Lot {
        who: "COPY IN before its end",
        before: &[("Q:COPY t FROM STDIN", "G")],
        doing: "d:-1 / d:-1",
        end: "E:lost / Z[I]",
        after: &[("d:-1 / d:-1 / c / Q:", "I / Z[I]")],
    },
    Lot {
        who: "COPY IN before its end by the extended protocol",
        before: &[("P::COPY t FROM STDIN / B:: / E: / S", "1 / 2 / G")],
        doing: "d:-1",
        end: "E:lost",
        after: &[("d:-1 / c / S", "Z[I]")],
    },
    Lot {
        who: "COPY IN in a transaction",
        before: &[BEGIN, ("Q:COPY t FROM STDIN", "G")],
        doing: "d:-1",
        end: "E:lost / Z[E]",
        after: &[("f:enough / Q:SELECT 1", "E:lost / Z[E]"), ROLLBACK],
    },
    Lot {
        who: "COPY IN after its end",
        before: &[("Q:COPY slow_copy FROM STDIN", "G")],
        doing: "d:1 / c",
        end: "E:unknown / Z[I]",
        after: &[],
    },
];

/// Tables whose COMMIT or whose COPY takes for ever.
const SCHEMA: &str = "\
    CREATE TABLE t (n int);
    CREATE TABLE slow_commit (n int);
    CREATE TABLE slow_copy (n int);
    CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_sleep(100); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER nap AFTER INSERT ON slow_commit
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nap();
    CREATE TRIGGER nap AFTER INSERT ON slow_copy FOR EACH STATEMENT EXECUTE FUNCTION nap();";

#[test]
fn everybody_hears_what_the_contract_says_when_the_leader_is_killed() {
    run(everybody(Fault::Kill));
}

#[test]
fn everybody_hears_what_the_contract_says_when_the_leader_freezes() {
    run(everybody(Fault::Freeze));
}

#[test]
fn everybody_hears_what_the_contract_says_when_the_network_swallows_all() {
    run(everybody(Fault::BlackHole));
}

#[test]
fn everybody_hears_what_the_contract_says_at_a_switchover() {
    run(everybody(Fault::Switchover));
}

async fn everybody(fault: Fault) -> Result<()> {
    let mut scene =
        Scene::adaptive(fault, &["--max-backend-connections", "60", "--failover-hold", "20s"])
            .await?;
    scene.prepare(SCHEMA).await?;
    let mut seats = take_seats(&scene).await;
    let mut readers = read(&scene).await;
    scene
        .cluster
        .primary_mut()
        .until("all at work", AT_WORK, |rows| rows == [[Some("t".into())]])
        .await?;

    scene.strike(fault).await?;
    scene.until("outage", |status| !is_available(status)).await;
    for (seat, lot) in &mut seats {
        // What was going on ends at once where the connection does, else when the lead has moved.
        if lot.end.is_empty() || !fault.is_loud() {
            seat.is_silent().await;
        } else {
            ends(seat, lot, fault).await;
        }
    }
    for (seat, lot) in seats.iter_mut().filter(|(_, lot)| lot.end.is_empty() && fault.is_loud()) {
        afterwards(seat, lot).await;
    }
    let mut late = come_late(&scene).await;

    scene.succeed().await?;
    scene.until_led_by(1).await;
    for (seat, lot) in &mut seats {
        if !fault.is_loud() {
            ends(seat, lot, fault).await;
        }
    }
    for (reader, what) in &mut readers {
        ends_in_the_middle(reader, *what).await;
    }
    for (seat, answer) in &mut late {
        seat.hears(answer).await;
    }
    let mut all: Vec<Seat> = seats.into_iter().map(|(seat, _)| seat).collect();
    all.extend(readers.into_iter().map(|(seat, _)| seat));
    all.extend(late.into_iter().map(|(seat, _)| seat));
    for seat in &mut all {
        seat.is_served().await;
    }
    for seat in &mut all {
        seat.is_silent().await;
    }
    let status = scene.status().await;
    assert_eq!(number(&status, "clients"), u64::try_from(all.len()).unwrap(), "{status:#}");
    let rows = "SELECT string_agg(n::text, ',' ORDER BY n) FROM t WHERE n <> -1";
    assert_eq!(scene.cluster.primary().value(rows).await?, "1,2,3,4,5");
    let rolled_back = "SELECT count(*) FROM t WHERE n = -1";
    assert_eq!(scene.cluster.primary().value(rolled_back).await?, "0");
    Ok(())
}

async fn take_seats(scene: &Scene) -> Vec<(Seat, &'static Lot)> {
    let mut seats = Vec::new();
    for lot in LOTS {
        let mut seat = Seat::app(lot.who, scene.address()).await;
        for (script, expected) in lot.before {
            seat.ask(script, expected).await;
        }
        if !lot.doing.is_empty() {
            seat.say(lot.doing).await;
        }
        seats.push((seat, lot));
    }
    seats
}

async fn ends(seat: &mut Seat, lot: &Lot, fault: Fault) {
    let in_order = fault == Fault::Switchover;
    let said = lot.end.split(" / ").filter(|message| in_order || !message.starts_with('~'));
    seat.hears(&said.collect::<Vec<_>>().join(" / ")).await;
    afterwards(seat, lot).await;
}

async fn afterwards(seat: &mut Seat, lot: &Lot) {
    for (script, expected) in lot.after {
        seat.ask(script, expected).await;
    }
}

/// Which messages carry what a reader reads.
type Carrier = (&'static str, &'static str);

/// Two that have got some rows of many when the leader goes.
async fn read(scene: &Scene) -> Vec<(Seat, Carrier)> {
    let rows = "SELECT n, CASE WHEN n > 2000 THEN pg_sleep(100)::text END \
                FROM generate_series(1, 3000) AS n";
    let mut readers = Vec::new();
    for (script, carrier) in [
        (format!("Q:{rows}"), ("T[n,pg_sleep]", "D")),
        (format!("Q:COPY ({rows}) TO STDOUT"), ("H", "d")),
    ] {
        let mut seat = Seat::app(&script, scene.address()).await;
        seat.say(&script).await;
        readers.push((seat, carrier));
    }
    readers
}

/// Whole rows, one after the other, then the error.
async fn ends_in_the_middle(reader: &mut Seat, (head, tag): Carrier) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let first = reader.next(deadline).await;
    assert!(first == head || tag == "D" && first.starts_with("T[n"), "{}: {first}", reader.who);
    let mut rows = 0;
    let last = loop {
        let row = reader.next(deadline).await;
        let Some(row) = row.strip_prefix(tag) else { break row };
        rows += 1;
        let values = row.trim_matches(['[', ']', '\n']).replace(['\t', ','], " ");
        let values: Vec<&str> = values.split(' ').collect();
        let null = if tag == "D" { "NULL" } else { "\\N" };
        assert_eq!(values, [rows.to_string().as_str(), null], "{}", reader.who);
    };
    assert!((1..=2000).contains(&rows), "{}: {rows} rows, then {last}", reader.who);
    assert_eq!(last, "E:unknown", "{}", reader.who);
    reader.hears("Z[I]").await;
}

/// Who comes late: its name, what it says and hears at once, what it says then, and what it hears
/// when there is a leader.
type Late = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

const LATE: &[Late] = &[
    ("a statement", &[], "Q:INSERT INTO t VALUES (1)", "C[INSERT 0 1] / Z[I]"),
    (
        "a statement by the extended protocol",
        &[],
        "P::INSERT INTO t VALUES ($1) / B:::2 / E: / S",
        "1 / 2 / C[INSERT 0 1] / Z[I]",
    ),
    (
        "a transaction",
        &[
            ("Q:BEGIN ISOLATION LEVEL SERIALIZABLE", "C[BEGIN] / Z[T]"),
            ("Q:SAVEPOINT restart", "C[SAVEPOINT] / Z[T]"),
        ],
        "Q:INSERT INTO t VALUES (3) / Q:COMMIT",
        "C[INSERT 0 1] / Z[T] / C[COMMIT] / Z[I]",
    ),
    (
        "a transaction by the extended protocol",
        &[
            ("P::BEGIN / B:: / D:P: / E: / S", "1 / 2 / n / C[BEGIN] / Z[T]"),
            ("P:mark:SAVEPOINT restart / D:S:mark / S", "1 / t / n / Z[T]"),
            ("B::mark / E: / S", "2 / C[SAVEPOINT] / Z[T]"),
            (
                "P::SET TRANSACTION ISOLATION LEVEL SERIALIZABLE / B:: / E: / S",
                "1 / 2 / C[SET] / Z[T]",
            ),
            ("P::ROLLBACK TO restart / B:: / E: / S", "1 / 2 / C[ROLLBACK] / Z[T]"),
        ],
        "P::INSERT INTO t VALUES (4) / B:: / E: / S / Q:COMMIT",
        "1 / 2 / C[INSERT 0 1] / Z[T] / C[COMMIT] / Z[I]",
    ),
    (
        "a transaction as pgjdbc begins it, and one that does nothing before it",
        &[(
            "P::BEGIN / B:: / E: / S / P::COMMIT / B:: / E: / S / P::BEGIN / B:: / E: / H",
            "1 / 2 / C[BEGIN] / Z[T] / 1 / 2 / C[COMMIT] / Z[I] / 1 / 2 / C[BEGIN]",
        )],
        "P::INSERT INTO t VALUES (5) / B:: / D:P: / E: / S / P::COMMIT / B:: / E: / S",
        "1 / 2 / n / C[INSERT 0 1] / Z[T] / 1 / 2 / C[COMMIT] / Z[I]",
    ),
    (
        "probes and resets by the extended protocol",
        &[
            ("P:: / B:: / D:P: / E: / S", "1 / 2 / n / I / Z[I]"),
            ("P:ping:-- ping / D:S:ping / S", "1 / t / n / Z[I]"),
            ("B::ping / E: / S / S", "2 / I / Z[I] / Z[I]"),
            ("P::RESET ALL / B:: / E: / S", "1 / 2 / C[RESET] / Z[I]"),
            ("P::UNLISTEN * / B:: / E: / S", "1 / 2 / C[UNLISTEN] / Z[I]"),
            ("P::CLOSE ALL / B:: / E: / S", "1 / 2 / C[CLOSE CURSOR ALL] / Z[I]"),
            ("P::DEALLOCATE ALL / B:: / E: / S", "1 / 2 / C[DEALLOCATE ALL] / Z[I]"),
            ("P::DISCARD ALL / B:: / E: / S", "1 / 2 / C[DISCARD ALL] / Z[I]"),
            ("C:S:ping / S", "3 / Z[I]"),
        ],
        "H / S",
        "Z[I]",
    ),
    (
        "probes and resets",
        &[
            ("Q:", "I / Z[I]"),
            ("Q:;", "I / Z[I]"),
            ("Q:-- ping", "I / Z[I]"),
            ("Q:/* ping */", "I / Z[I]"),
            ("S", "Z[I]"),
            ("Q:RESET ALL", "C[RESET] / Z[I]"),
            ("Q:DISCARD ALL", "C[DISCARD ALL] / Z[I]"),
            ("Q:UNLISTEN *", "C[UNLISTEN] / Z[I]"),
            ("Q:DEALLOCATE ALL", "C[DEALLOCATE ALL] / Z[I]"),
            ("Q:CLOSE ALL", "C[CLOSE CURSOR ALL] / Z[I]"),
        ],
        "S",
        "Z[I]",
    ),
];

/// Those who come or begin while there is no leader; with what they hear when there is one.
async fn come_late(scene: &Scene) -> Vec<(Seat, &'static str)> {
    let mut late = Vec::new();
    for (who, now, script, expected) in LATE {
        let mut seat = Seat::app(who, scene.address()).await;
        for (script, expected) in *now {
            seat.ask(script, expected).await;
        }
        seat.say(script).await;
        late.push((seat, *expected));
    }
    let settings = [("application_name", "newcomer"), ("search_path", "pg_catalog")];
    let who = "a newcomer with settings of its own";
    let mut seat = Seat::login(who, scene.address(), APP_USER, APP_DATABASE, &settings).await;
    assert_eq!(seat.client.parameter("application_name"), Some("newcomer"));
    seat.say("Q:SHOW search_path").await;
    late.push((seat, "T[search_path] / D[pg_catalog] / C[SHOW] / Z[I]"));
    late
}
