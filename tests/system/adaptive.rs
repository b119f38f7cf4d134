//! Adaptive HA as a whole: the leader is found by its name, its loss is noticed, and what is no
//! outage does not become one.

use std::time::Duration;

use everline_lab::Result;
use everline_lab::dns::Mode;
use everline_lab::everline::Launch;
use everline_lab::postgres::{Cluster, ClusterOptions, Stop};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::scene::{
    Fault, NAME, STATUS_MAX, Scene, dsn, is_available, keep_log, launch, leader, number, run,
    status, until,
};
use crate::seat::{ONE, Seat};

/// Heartbeat interval and timeout by default, together: what the noticing of a frozen leader may
/// take.
const NOTICED: Duration = Duration::from_secs(4);
/// What a loaded machine may add to it.
const MARGIN: Duration = Duration::from_secs(4);

#[test]
fn a_frozen_leader_is_noticed_without_any_traffic() {
    run(silence_is_noticed(Fault::Freeze));
}

#[test]
fn a_swallowing_network_is_noticed_without_any_traffic() {
    run(silence_is_noticed(Fault::BlackHole));
}

async fn silence_is_noticed(fault: Fault) -> Result<()> {
    let mut scene = Scene::with(ClusterOptions::default(), fault, &[]).await?;
    let mut seat = Seat::app("idle", scene.address()).await;
    scene.strike(fault).await?;
    let struck = Instant::now();
    scene.until("outage", |status| !is_available(status)).await;
    let noticed = struck.elapsed();
    assert!(noticed <= NOTICED + MARGIN, "noticed after {noticed:?}");
    let (code, _) = scene.everline.get("/server/status/ready").await?;
    assert_eq!(code, 503);
    scene.succeed().await?;
    scene.until_led_by(1).await;
    let (code, _) = scene.everline.get("/server/status/ready").await?;
    assert_eq!(code, 200);
    seat.is_served().await;
    seat.is_silent().await;
    Ok(())
}

#[test]
fn a_leader_that_comes_back_is_the_leader_again() {
    run(async {
        // Frozen for longer than the heartbeat waits, and nobody promoted.
        let mut scene = Scene::adaptive(Fault::Freeze, &["--failover-hold", "20s"]).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let mut seat = Seat::app("patient", scene.address()).await;
        seat.is_served().await;
        let mut flight = Seat::app("in flight", scene.address()).await;
        let mut transaction = Seat::app("in a transaction", scene.address()).await;
        transaction.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
        transaction.ask("Q:LOCK TABLE t IN SHARE MODE", "C[LOCK TABLE] / Z[T]").await;
        flight.say("Q:SELECT 1 FROM pg_sleep(2)").await;
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        let one = |rows: &[Vec<Option<String>>]| rows == [[Some("1".to_owned())]];
        scene.cluster.primary_mut().until("one at work", asleep, one).await?;
        scene.strike(Fault::Freeze).await?;
        scene.until("outage", |status| !is_available(status)).await;
        seat.say("Q:INSERT INTO t VALUES (1)").await;
        scene.until("one held", |status| number(status, "held") == 1).await;
        scene.cluster.primary_mut().thaw();
        // What had begun goes on where it was: it is the same leader.
        flight.hears(ONE).await;
        transaction.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
        seat.hears("C[INSERT 0 1] / Z[I]").await;
        scene.until_led_by(0).await;
        assert_eq!(number(&scene.status().await, "unknown_total"), 0);
        assert_eq!(scene.cluster.primary().value("SELECT count(*) FROM t").await?, "1");
        Ok(())
    });
}

#[test]
fn a_name_that_leads_to_a_standby_is_not_followed_until_it_is_promoted() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "20s"]).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let mut seat = Seat::app("writer", scene.address()).await;
        scene.move_name(1);
        for _ in 0..30 {
            seat.ask("Q:INSERT INTO t VALUES (1)", "C[INSERT 0 1] / Z[I]").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(number(&scene.status().await, "epoch"), 1);
        scene.strike(Fault::Kill).await?;
        scene.until("outage", |status| !is_available(status)).await;
        seat.say("Q:INSERT INTO t VALUES (2)").await;
        scene.until("one held", |status| number(status, "held") == 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        scene.cluster.promote(1).await?;
        seat.hears("C[INSERT 0 1] / Z[I]").await;
        scene.until_led_by(1).await;
        assert_eq!(scene.cluster.primary().value("SELECT count(*) FROM t").await?, "31");
        Ok(())
    });
}

#[test]
fn a_name_server_that_fails_is_no_outage_and_no_obstacle() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "30s"]).await?;
        let mut seat = Seat::app("client", scene.address()).await;
        for mode in [Mode::ServerFailure, Mode::NameError, Mode::Silence] {
            scene.dns.set_mode(mode);
            for _ in 0..10 {
                seat.is_served().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let calm = scene.status().await;
        assert_eq!((number(&calm, "outages_total"), number(&calm, "epoch")), (0, 1), "{calm:#}");
        // The leader comes back where it was, and nobody knows its name.
        scene.cluster.primary_mut().kill9();
        scene.until("outage", |status| !is_available(status)).await;
        scene.cluster.primary_mut().start().await?;
        seat.is_served().await;
        // The lead moves while names cannot be asked; it is followed when they can.
        scene.dns.set_mode(Mode::ServerFailure);
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        seat.say("Q:SELECT 1").await;
        scene.until("one held", |status| number(status, "held") == 1).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        seat.is_silent().await;
        scene.dns.set_mode(Mode::Table);
        seat.hears(ONE).await;
        scene.until_led_by(1).await;
        Ok(())
    });
}

#[test]
fn the_name_is_asked_again_and_a_moved_lead_is_followed_before_anything_breaks() {
    run(async {
        let arguments = ["--resolve-interval", "500ms", "--failover-hold", "20s"];
        let mut scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let mut seat = Seat::app("writer", scene.address()).await;
        seat.is_served().await;
        // Both are up: the old leader does not even know that it is one no more.
        scene.succeed().await?;
        scene.until_led_by(1).await;
        seat.ask("Q:INSERT INTO t VALUES (1)", "C[INSERT 0 1] / Z[I]").await;
        assert_eq!(scene.cluster.node(1).value("SELECT count(*) FROM t").await?, "1");
        assert_eq!(scene.cluster.node(0).value("SELECT count(*) FROM t").await?, "0");
        seat.is_silent().await;
        Ok(())
    });
}

#[test]
fn no_free_slot_for_the_system_connection_is_no_outage() {
    run(async {
        let options = ClusterOptions { max_connections: 10, ..ClusterOptions::single() };
        let quick = ["--heartbeat-interval", "300ms", "--heartbeat-timeout", "1s"];
        let scene = Scene::with(options, Fault::Kill, &quick).await?;
        let oldest = "SELECT pid FROM pg_stat_activity WHERE usename = 'app' \
                      ORDER BY backend_start LIMIT 1";
        let system: i32 = scene.cluster.primary().value(oldest).await?.parse().expect("a pid");
        let system = Pid::from_raw(system).expect("a pid");
        let mut seat = Seat::app("client", scene.address()).await;
        seat.is_served().await;
        // Others take what is left: 10 less 3 for the superuser, the system connection, the pool's.
        let mut others = Vec::new();
        for at in 0..5 {
            let address = scene.cluster.primary().address();
            others.push(Seat::app(&format!("other {at}"), address).await);
        }
        kill_process(system, Signal::STOP).expect("a signal");
        let until = Instant::now() + Duration::from_secs(6);
        while Instant::now() < until {
            seat.ask("Q:SELECT 1", ONE).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        kill_process(system, Signal::CONT).expect("a signal");
        let status = scene.status().await;
        assert!(is_available(&status), "{status:#}");
        assert_eq!(number(&status, "outages_total"), 0, "{status:#}");
        assert_eq!(number(&status, "epoch"), 1, "{status:#}");
        assert_eq!(number(&status, "retryable_total"), 0, "{status:#}");
        drop(others);
        seat.is_served().await;
        Ok(())
    });
}

#[test]
fn one_fixed_leader_is_dialled_again_after_a_restart() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        cluster.primary().sql("SET ROLE app; CREATE TABLE t (n int)").await?;
        let fixed: Launch = launch(&dsn("127.0.0.2", cluster.port()));
        let everline = fixed.arguments(["--failover-hold", "20s"]).start().await?;
        until(&everline, "leader", is_available).await;
        let mut idle = Seat::app("idle", everline.address()).await;
        let mut flight = Seat::app("in flight", everline.address()).await;
        let mut held = Seat::app("held", everline.address()).await;
        idle.is_served().await;
        for how in [Some(Stop::Fast), Some(Stop::Immediate), None] {
            flight.say("Q:SELECT pg_sleep(100)").await;
            let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            let one = |rows: &[Vec<Option<String>>]| rows == [[Some("1".to_owned())]];
            cluster.primary_mut().until("one at work", asleep, one).await?;
            match how {
                Some(how) => {
                    cluster.primary_mut().stop(how).await?;
                }
                None => cluster.primary_mut().kill9(),
            }
            flight.hears("~T[pg_sleep] / E:unknown / Z[I]").await;
            until(&everline, "outage", |status| !is_available(status)).await;
            held.say("Q:INSERT INTO t VALUES (1)").await;
            until(&everline, "one held", |status| number(status, "held") == 1).await;
            cluster.primary_mut().start().await?;
            held.hears("C[INSERT 0 1] / Z[I]").await;
            for seat in [&mut idle, &mut flight, &mut held] {
                seat.is_served().await;
                seat.is_silent().await;
            }
        }
        assert_eq!(cluster.primary().value("SELECT count(*) FROM t").await?, "3");
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn told_to_stop_it_lets_transactions_end_and_says_goodbye() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &[]).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let mut idle = Seat::app("idle", scene.address()).await;
        let mut busy = Seat::app("busy", scene.address()).await;
        busy.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
        busy.ask("Q:INSERT INTO t VALUES (1)", "C[INSERT 0 1] / Z[T]").await;
        scene.everline.signal(Signal::TERM);
        idle.hears("E:stopping / Some(Closed)").await;
        busy.ask("Q:INSERT INTO t VALUES (2)", "C[INSERT 0 1] / Z[T]").await;
        busy.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
        busy.hears("E:stopping / Some(Closed)").await;
        let since = Instant::now();
        while scene.everline.status().is_none() {
            assert!(since.elapsed() < STATUS_MAX, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(scene.everline.status().is_some_and(|status| status.success()));
        assert_eq!(scene.cluster.primary().value("SELECT count(*) FROM t").await?, "2");
        let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
        let none = |rows: &[Vec<Option<String>>]| rows == [[Some("0".to_owned())]];
        scene.cluster.primary_mut().until("no connection left", left, none).await
    });
}

#[test]
fn the_status_tells_what_has_happened() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "20s"]).await?;
        let mut seat = Seat::app("client", scene.address()).await;
        seat.is_served().await;
        scene.strike(Fault::Kill).await?;
        scene.until("outage", |status| !is_available(status)).await;
        let during = scene.status().await;
        assert!(during["reason"].is_string(), "{during:#}");
        seat.say("Q:SELECT 1").await;
        scene.until("one held", |status| number(status, "held") == 1).await;
        scene.succeed().await?;
        seat.hears(ONE).await;
        scene.until_led_by(1).await;
        let after = status(&scene.everline).await;
        assert_eq!(after["state"], "healthy");
        assert_eq!(after["leader"]["timeline"], 2);
        assert!(leader(&after).starts_with(NAME), "{after:#}");
        assert_eq!(number(&after, "epoch"), 2);
        assert_eq!(number(&after, "held_total"), 1);
        assert_eq!(number(&after, "outages_total"), 1);
        assert!(after["history"].as_array().is_some_and(|history| history.len() >= 3));
        let (code, page) = scene.everline.get("/").await?;
        assert!(code == 200 && page.contains("<html"), "{code} {page}");
        Ok(())
    });
}
