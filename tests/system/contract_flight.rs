//! The failure contract where only one connection is lost, and where PostgreSQL itself does not
//! know how a COMMIT ends.

use everline_lab::postgres::Stop;
use everline_lab::{Error, Result};
use tokio::time::Instant;

use crate::scene::{Fault, STATUS_MAX, Scene, is_available, number, run};
use crate::seat::{ONE, Seat};

/// The backend process that serves this client's open transaction.
async fn process(seat: &mut Seat) -> String {
    seat.say("Q:SELECT pg_backend_pid()").await;
    let deadline = Instant::now() + STATUS_MAX;
    assert_eq!(seat.next(deadline).await, "T[pg_backend_pid]");
    let row = seat.next(deadline).await;
    seat.hears("C[SELECT 1] / Z[T]").await;
    row.trim_start_matches("D[").trim_end_matches(']').to_owned()
}

async fn terminate(scene: &Scene, process: &str) -> Result<()> {
    let sql = format!("SELECT pg_terminate_backend({process}, 5000)");
    scene.cluster.primary().sql(&sql).await.map(drop)
}

#[test]
fn the_end_of_one_backend_concerns_its_own_client_alone() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let mut seats = Vec::new();
        for who in ["in flight", "in a transaction", "bystander", "bystander at work", "idle"] {
            seats.push(Seat::app(who, scene.address()).await);
        }
        let [flight, transaction, bystander, at_work, idle] = &mut seats[..] else {
            unreachable!("there are five")
        };
        let insert = "Q:INSERT INTO t VALUES (1)";
        for seat in [&mut *transaction, &mut *bystander] {
            seat.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
            seat.ask(insert, "C[INSERT 0 1] / Z[T]").await;
        }
        idle.is_served().await;
        flight.say("Q:SELECT pg_sleep(100), 'flight'").await;
        at_work.say("Q:SELECT 1 FROM pg_sleep(3)").await;
        let epoch = number(&scene.status().await, "epoch");

        let victim = process(transaction).await;
        terminate(&scene, &victim).await?;
        let query = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%''flight''%' \
                     AND pid <> pg_backend_pid()";
        terminate(&scene, &scene.cluster.primary().value(query).await?).await?;
        flight.hears("T[pg_sleep,?column?] / E:unknown / Z[I]").await;
        transaction.is_silent().await;
        transaction.ask("Q:SELECT 1", "E:lost / Z[E]").await;
        transaction.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        bystander.ask(insert, "C[INSERT 0 1] / Z[T]").await;
        bystander.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
        at_work.hears("T[?column?] / D[1] / C[SELECT 1] / Z[I]").await;
        for seat in &mut seats {
            seat.is_served().await;
            seat.is_silent().await;
        }
        let status = scene.status().await;
        assert!(is_available(&status), "{status:#}");
        assert_eq!(number(&status, "epoch"), epoch, "{status:#}");
        assert_eq!(number(&status, "outages_total"), 0, "{status:#}");
        assert_eq!(scene.cluster.primary().value("SELECT count(*) FROM t").await?, "2");
        Ok(())
    });
}

#[test]
fn the_end_of_an_idle_backend_is_noticed_by_nobody() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let mut seat = Seat::app("idle", scene.address()).await;
        let all = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                   WHERE usename = 'app' AND query = 'SELECT 1'";
        for _ in 0..10 {
            seat.is_served().await;
            scene.cluster.primary().sql(all).await?;
            seat.is_silent().await;
        }
        let status = scene.status().await;
        assert_eq!(number(&status, "epoch"), 1, "{status:#}");
        assert_eq!(number(&status, "retryable_total"), 0, "{status:#}");
        assert_eq!(number(&status, "unknown_total"), 0, "{status:#}");
        // Their last word may be that of a leader that goes, so it was asked.
        let (_, metrics) = scene.everline.get("/metrics").await?;
        assert!(!metrics.contains("\neverline_suspicions_total 0"), "{metrics}");
        Ok(())
    });
}

#[test]
fn a_probe_in_flight_is_answered_by_the_next_leader() {
    run(async {
        let arguments = ["--failover-hold", "30s"];
        let mut scene = Scene::adaptive(Fault::Freeze, &arguments).await?;
        let mut simple = Seat::app("probes", scene.address()).await;
        let mut prepared = Seat::app("probes by a prepared statement", scene.address()).await;
        let mut lost = Seat::app("probes with two statements", scene.address()).await;
        prepared.ask("P:probe:SELECT 1 / S", "1 / Z[I]").await;
        // At the same time, so that there is a connection for each.
        for seat in [&mut simple, &mut prepared, &mut lost] {
            seat.say("Q:SELECT 1 FROM pg_sleep(0.5)").await;
        }
        for seat in [&mut simple, &mut prepared, &mut lost] {
            seat.hears(ONE).await;
        }
        scene.strike(Fault::Freeze).await?;
        // The heartbeat takes a second and more to notice: these are sent.
        simple.say("Q:SELECT 1").await;
        prepared.say("B::probe / E: / S").await;
        lost.say("Q:SELECT 1; SELECT 1").await;
        scene.until("an outage", |status| !is_available(status)).await;
        assert_eq!(number(&scene.status().await, "held"), 0, "they are in flight");
        scene.succeed().await?;
        simple.hears(ONE).await;
        prepared.hears("2 / D[1] / C[SELECT 1] / Z[I]").await;
        lost.hears("E:unknown / Z[I]").await;
        for mut seat in [simple, prepared, lost] {
            seat.is_served().await;
            seat.is_silent().await;
        }
        Ok(())
    });
}

#[test]
fn the_end_of_the_system_connection_is_mended_without_a_client_closed() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let mut seats = Vec::new();
        for at in 0..5 {
            let mut seat = Seat::app(&format!("client {at}"), scene.address()).await;
            seat.is_served().await;
            seats.push(seat);
        }
        let all = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                   WHERE usename = 'app'";
        scene.cluster.primary().sql(all).await?;
        for seat in &mut seats {
            seat.ask("Q:INSERT INTO t VALUES (1)", "C[INSERT 0 1] / Z[I]").await;
            seat.is_silent().await;
        }
        assert_eq!(scene.cluster.primary().value("SELECT count(*) FROM t").await?, "5");
        Ok(())
    });
}

/// What is done to the primary while COMMIT waits for the standby.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    Freeze,
    Shutdown(Stop),
}

#[test]
fn a_commit_that_waits_for_the_standby_is_unknown_when_the_leader_is_killed() {
    run(commit_hangs(Fault::Kill, End::Kill));
}

#[test]
fn a_commit_that_waits_for_the_standby_is_unknown_when_the_leader_freezes() {
    run(commit_hangs(Fault::Freeze, End::Freeze));
}

#[test]
fn a_commit_that_waits_for_the_standby_is_unknown_at_a_fast_shutdown() {
    run(commit_hangs(Fault::Kill, End::Shutdown(Stop::Fast)));
}

#[test]
fn a_commit_that_waits_for_the_standby_is_unknown_at_an_immediate_shutdown() {
    run(commit_hangs(Fault::Kill, End::Shutdown(Stop::Immediate)));
}

async fn commit_hangs(fault: Fault, end: End) -> Result<()> {
    let mut scene = Scene::adaptive(fault, &["--failover-hold", "20s"]).await?;
    scene.prepare("CREATE TABLE t (n int)").await?;
    let mut commits = Seat::app("COMMIT", scene.address()).await;
    let mut extended = Seat::app("extended COMMIT", scene.address()).await;
    let mut implicit = Seat::app("implicit", scene.address()).await;
    let mut piped = Seat::app("implicit, extended", scene.address()).await;
    for (seat, number) in [(&mut commits, 1), (&mut extended, 2)] {
        seat.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
        let insert = format!("Q:INSERT INTO t VALUES ({number})");
        seat.ask(&insert, "C[INSERT 0 1] / Z[T]").await;
    }
    for seat in [&mut implicit, &mut piped] {
        seat.is_served().await;
    }
    scene.cluster.node_mut(1).freeze();
    commits.say("Q:COMMIT").await;
    extended.say("P::COMMIT / B:: / E: / S").await;
    implicit.say("Q:INSERT INTO t VALUES (3)").await;
    piped.say("P::INSERT INTO t VALUES (4) / B:: / E: / S").await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let four = |rows: &[Vec<Option<String>>]| rows == [[Some("4".to_owned())]];
    scene.cluster.primary_mut().until("four that wait", waiting, four).await?;
    match end {
        End::Kill => scene.cluster.primary_mut().kill9(),
        End::Freeze => scene.cluster.primary_mut().freeze(),
        End::Shutdown(how) => scene.cluster.primary_mut().begin_stop(how),
    }
    // A frozen leader's clients hear of it when there is another one.
    if end == End::Freeze {
        scene.cluster.node_mut(1).thaw();
        scene.until("outage", |status| !is_available(status)).await;
        scene.succeed().await?;
    }
    // A shutdown lets backends say what they had ready, unless its own news is faster.
    let ready = if let End::Shutdown(_) = end { "~1 / ~2 / ~C[INSERT 0 1] / " } else { "" };
    commits.hears("E:commit-unknown / Z[I]").await;
    extended.hears(&format!("{ready}E:commit-unknown / Z[I]")).await;
    implicit.hears("E:unknown / Z[I]").await;
    piped.hears(&format!("{ready}E:unknown / Z[I]")).await;
    if end != End::Freeze {
        scene.cluster.primary_mut().kill9();
        scene.cluster.node_mut(1).thaw();
        scene.succeed().await?;
    }
    scene.until_led_by(1).await;
    for mut seat in [commits, extended, implicit, piped] {
        seat.is_served().await;
        seat.is_silent().await;
    }
    // Unknown is the word: each row is there once or not at all.
    let doubled = "SELECT count(*) FROM (SELECT FROM t GROUP BY n HAVING count(*) > 1) AS doubled";
    let doubled = scene.cluster.primary().value(doubled).await?;
    if doubled != "0" {
        let detail = format!("{doubled} rows are there twice");
        return Err(Error::Failed { what: "after the failover".to_owned(), detail });
    }
    assert_eq!(number(&scene.status().await, "unknown_total"), 4);
    Ok(())
}
