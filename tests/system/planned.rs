//! Planned work without a single error: pause, restart PostgreSQL or move the lead, resume.

use std::time::Duration;

use everline_lab::Result;
use everline_lab::everline::Everline;
use everline_lab::postgres::{Cluster, ClusterOptions, Stop};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::scene::{STATUS_MAX, dsn, is_available, keep_log, launch, number, run, status, until};
use crate::seat::{ONE, Seat};

/// Longer than [`HOLD`], so that a statement held as in a failover would have failed.
const LONGER: Duration = Duration::from_secs(2);
const HOLD: &str = "500ms";

async fn start(cluster: &Cluster, arguments: &[&str]) -> Result<Everline> {
    let everline = launch(&dsn("127.0.0.2", cluster.port()))
        .argument("--enable-backend-adaptive-ha")
        .arguments(["--failover-hold", HOLD])
        .arguments(arguments)
        .start()
        .await?;
    until(&everline, "leader", is_available).await;
    Ok(everline)
}

fn paused(status: &Value) -> &Value {
    status.get("paused").expect("what is paused")
}

async fn pause(everline: &mut Everline) {
    everline.signal(Signal::USR1);
    until(everline, "a pause", |status| *paused(status) == serde_json::json!(["everything"])).await;
}

async fn resume(everline: &mut Everline) {
    everline.signal(Signal::USR2);
    until(everline, "no pause", |status| *paused(status) == serde_json::json!([])).await;
}

/// Backends of the application beside the system connection.
async fn backends(cluster: &Cluster) -> Result<String> {
    let query = "SELECT count(*) - 1 FROM pg_stat_activity WHERE usename = 'app'";
    cluster.primary().value(query).await
}

#[test]
fn a_restart_under_a_pause_is_seen_by_nobody() {
    run(restart_under_a_pause(&[]));
}

#[test]
fn a_restart_under_a_pause_is_seen_by_nobody_in_session_pooling() {
    run(restart_under_a_pause(&["--pool-mode", "session"]));
}

async fn restart_under_a_pause(arguments: &[&str]) -> Result<()> {
    let mut cluster = Cluster::start(ClusterOptions::single()).await?;
    cluster.primary().sql("SET ROLE app; CREATE TABLE t (n int)").await?;
    let mut everline = start(&cluster, arguments).await?;
    let address = everline.address();
    let mut runs = Seat::app("has a transaction open", address).await;
    let mut idle = Seat::app("idle", address).await;
    let mut sets = Seat::app("has a setting", address).await;
    let mut prepared = Seat::app("has prepared by SQL", address).await;
    let mut begun = Seat::app("has a transaction begun", address).await;
    runs.ask("Q:BEGIN / Q:INSERT INTO t VALUES (1)", "C[BEGIN] / Z[T] / C[INSERT 0 1] / Z[T]")
        .await;
    idle.is_served().await;
    sets.ask("Q:SET work_mem = '3MB'", "C[SET] / Z[I]").await;
    prepared.ask("Q:PREPARE p AS SELECT 1", "C[PREPARE] / Z[I]").await;
    begun.is_served().await;
    begun.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;

    pause(&mut everline).await;
    idle.say("Q:INSERT INTO t VALUES (2)").await;
    sets.say("Q:SHOW work_mem").await;
    prepared.say("Q:EXECUTE p").await;
    begun.say("Q:INSERT INTO t VALUES (3)").await;
    until(&everline, "four held", |status| number(status, "held") == 4).await;
    // Whoever is in a transaction may end it, and only then is everything quiet.
    runs.ask("Q:INSERT INTO t VALUES (4)", "C[INSERT 0 1] / Z[T]").await;
    assert!(!everline.log().contains("pause complete"), "a transaction is open");
    runs.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
    everline.logged("pause complete", STATUS_MAX).await?;
    assert_eq!(backends(&cluster).await?, "0");
    // A newcomer is let in, and waits like everybody.
    let mut late = Seat::app("late", address).await;
    late.ask("Q:", "I / Z[I]").await;
    late.say("Q:SELECT 1").await;
    until(&everline, "five held", |status| number(status, "held") == 5).await;

    cluster.primary_mut().stop(Stop::Fast).await?;
    until(&everline, "outage", |status| !is_available(status)).await;
    sleep(LONGER).await;
    cluster.primary_mut().start().await?;
    until(&everline, "leader", is_available).await;
    for seat in [&mut runs, &mut idle, &mut sets, &mut prepared, &mut begun, &mut late] {
        seat.is_silent().await;
    }
    assert_eq!(backends(&cluster).await?, "0");
    resume(&mut everline).await;
    idle.hears("C[INSERT 0 1] / Z[I]").await;
    sets.hears("T[work_mem] / D[3MB] / C[SHOW] / Z[I]").await;
    prepared.hears(ONE).await;
    begun.hears("C[INSERT 0 1] / Z[T]").await;
    begun.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
    late.hears(ONE).await;
    for mut seat in [runs, idle, sets, prepared, begun, late] {
        seat.is_served().await;
        seat.is_silent().await;
    }
    assert_eq!(cluster.primary().value("SELECT count(*) FROM t").await?, "4");
    let status = status(&everline).await;
    assert_eq!(number(&status, "retryable_total"), 0, "{status:#}");
    assert_eq!(number(&status, "unknown_total"), 0, "{status:#}");
    assert_eq!(number(&status, "held"), 0, "{status:#}");
    keep_log(&everline);
    Ok(())
}

#[test]
fn a_pause_that_is_lifted_before_it_is_complete_leaves_all_as_it_was() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let mut everline = start(&cluster, &[]).await?;
        let mut runs = Seat::app("has a transaction open", everline.address()).await;
        let mut waits = Seat::app("waits", everline.address()).await;
        runs.ask("Q:BEGIN / Q:SELECT 1", &format!("C[BEGIN] / Z[T] / {}", ONE.replace('I', "T")))
            .await;
        pause(&mut everline).await;
        waits.say("Q:SELECT 1").await;
        until(&everline, "one held", |status| number(status, "held") == 1).await;
        resume(&mut everline).await;
        waits.hears(ONE).await;
        everline.logged("resumed before everything was quiet", STATUS_MAX).await?;
        runs.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
        // And once more, to its end.
        pause(&mut everline).await;
        everline.logged("pause complete", STATUS_MAX).await?;
        resume(&mut everline).await;
        waits.is_served().await;
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_pause_waits_for_state_that_cannot_be_moved_and_lets_it_go_on() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let mut everline = start(&cluster, &[]).await?;
        let mut owner = Seat::app("has a temporary table", everline.address()).await;
        owner.ask("Q:CREATE TEMP TABLE mine (n int)", "C[CREATE TABLE] / Z[I]").await;
        pause(&mut everline).await;
        owner.ask("Q:INSERT INTO mine VALUES (1)", "C[INSERT 0 1] / Z[I]").await;
        owner.ask("Q:SELECT n FROM mine", "T[n] / D[1] / C[SELECT 1] / Z[I]").await;
        assert!(!everline.log().contains("pause complete"), "a temporary table is there");
        drop(owner);
        everline.logged("pause complete", STATUS_MAX).await?;
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_forgotten_pause_ends_in_a_retryable_error() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let mut everline = start(&cluster, &["--pause-hold-max", "1s"]).await?;
        let mut seat = Seat::app("waits", everline.address()).await;
        let mut extended = Seat::app("waits by the extended protocol", everline.address()).await;
        seat.is_served().await;
        pause(&mut everline).await;
        let since = Instant::now();
        seat.say("Q:SELECT 1").await;
        extended.say("P::SELECT 1 / B:: / E: / S").await;
        seat.hears("E:paused / Z[I]").await;
        extended.hears("E:paused / Z[I]").await;
        assert!(since.elapsed() >= Duration::from_secs(1), "held for {:?}", since.elapsed());
        resume(&mut everline).await;
        timeout(STATUS_MAX, seat.is_served()).await.expect("served again");
        extended.is_served().await;
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn what_is_sent_after_an_announced_shutdown_waits_longer_than_a_failover_is_waited_for() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        let everline = start(&cluster, &["--shutdown-hold", "30s"]).await?;
        let mut seat = Seat::app("waits", everline.address()).await;
        seat.is_served().await;
        cluster.primary_mut().stop(Stop::Fast).await?;
        until(&everline, "outage", |status| !is_available(status)).await;
        seat.say("Q:SELECT 1").await;
        sleep(LONGER).await;
        seat.is_silent().await;
        cluster.primary_mut().start().await?;
        seat.hears(ONE).await;
        assert_eq!(number(&status(&everline).await, "retryable_total"), 0);
        // A leader that is killed has announced nothing.
        cluster.primary_mut().kill9();
        until(&everline, "outage", |status| !is_available(status)).await;
        seat.ask("Q:SELECT 1", "E:held / Z[I]").await;
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_smart_shutdown_ends_when_the_last_transaction_has_and_nobody_hears_of_it() {
    run(smart_shutdown(&[]));
}

#[test]
fn a_smart_shutdown_is_heard_of_by_nobody_in_session_pooling() {
    run(smart_shutdown(&["--pool-mode", "session"]));
}

#[test]
fn a_smart_shutdown_does_not_wait_for_connections_that_nobody_uses() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        let everline = start(&cluster, &["--shutdown-hold", "60s"]).await?;
        let mut idle = Seat::app("idle", everline.address()).await;
        let mut listens = Seat::app("listens", everline.address()).await;
        idle.is_served().await;
        listens.ask("Q:LISTEN news", "C[LISTEN] / Z[I]").await;
        cluster.primary_mut().begin_stop(Stop::Smart);
        // No client says anything that a connection would be made for: Everline knocks by itself,
        // every 30 s.
        let gone = Instant::now() + 3 * STATUS_MAX;
        while cluster.primary_mut().is_running() {
            assert!(Instant::now() < gone, "PostgreSQL still waits for connections of ours");
            sleep(Duration::from_millis(50)).await;
        }
        idle.say("Q:SELECT 1").await;
        sleep(LONGER).await;
        cluster.primary_mut().start().await?;
        idle.hears(ONE).await;
        listens.is_served().await;
        keep_log(&everline);
        Ok(())
    });
}

async fn smart_shutdown(arguments: &[&str]) -> Result<()> {
    let mut cluster = Cluster::start(ClusterOptions::single()).await?;
    cluster.primary().sql("SET ROLE app; CREATE TABLE t (n int)").await?;
    let arguments = [&["--shutdown-hold", "60s"], arguments].concat();
    let everline = start(&cluster, &arguments).await?;
    let address = everline.address();
    let mut runs = Seat::app("has a transaction open", address).await;
    let mut listens = Seat::app("listens", address).await;
    runs.ask("Q:BEGIN / Q:INSERT INTO t VALUES (1)", "C[BEGIN] / Z[T] / C[INSERT 0 1] / Z[T]")
        .await;
    listens.ask("Q:LISTEN news", "C[LISTEN] / Z[I]").await;
    cluster.primary_mut().begin_stop(Stop::Smart);
    // Nothing says that it has begun, but that nobody is let in any more.
    let mut comes = Seat::app("comes", address).await;
    let mut also = Seat::app("comes too", address).await;
    comes.say("Q:INSERT INTO t VALUES (2)").await;
    also.say("P::INSERT INTO t VALUES (3) / B:: / E: / S").await;
    until(&everline, "outage", |status| !is_available(status)).await;
    until(&everline, "two held", |status| number(status, "held") == 2).await;
    runs.ask("Q:INSERT INTO t VALUES (4)", "C[INSERT 0 1] / Z[T]").await;
    sleep(LONGER).await;
    assert!(cluster.primary_mut().is_running(), "a transaction is open");
    runs.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
    let gone = Instant::now() + STATUS_MAX;
    while cluster.primary_mut().is_running() {
        assert!(Instant::now() < gone, "PostgreSQL still waits for connections of ours");
        sleep(Duration::from_millis(50)).await;
    }
    cluster.primary_mut().start().await?;
    comes.hears("C[INSERT 0 1] / Z[I]").await;
    also.hears("1 / 2 / C[INSERT 0 1] / Z[I]").await;
    for mut seat in [runs, listens, comes, also] {
        seat.is_served().await;
        seat.is_silent().await;
    }
    assert_eq!(cluster.primary().value("SELECT count(*) FROM t").await?, "4");
    let status = status(&everline).await;
    assert_eq!(number(&status, "retryable_total"), 0, "{status:#}");
    assert_eq!(number(&status, "unknown_total"), 0, "{status:#}");
    keep_log(&everline);
    Ok(())
}
