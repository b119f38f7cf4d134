//! The leader changes: from the election over the acknowledgement to the announcement.

use std::fs;
use std::time::Duration;

use everline_lab::Result;
use everline_lab::consul::Kind;
use everline_lab::postgres::{ClusterOptions, Stop};
use everline_lab::stolon::ProxyInfo;
use tokio::time::Instant;

use super::stage::{HOLD, NAME, STEP_MAX, Sockets, Stage, launch, run};
use super::writers::{Writers, all_there};
use crate::scene::{self, number};
use crate::seat::{ONE, Seat};

#[test]
fn a_change_is_acknowledged_when_all_is_closed_and_served_when_it_is_announced() {
    run(async {
        let mut stage = Stage::start().await?;
        let mut idle = Seat::app("idle", stage.address()).await;
        let mut busy = Seat::app("busy", stage.address()).await;
        let mut waiting = Seat::app("waiting", stage.address()).await;
        idle.is_served().await;
        is_registered(&stage).await?;
        busy.say("Q:INSERT INTO t SELECT 1 FROM pg_sleep(100)").await;
        at_work(&stage, 1).await?;
        stage.sentinel.pause();

        let old = stage.sockets(0);
        assert!(old.count() >= 2, "the system connection and that of the statement: {old:?}");
        let closing = old.closed();
        let elected = stage.sentinel.elect(1).await?;
        let acknowledged_at = stage.acknowledged(&elected, &old).await?;
        let closed_at = closing.await.expect("the connections are closed");
        let after = |at: Instant| at.duration_since(elected.at);
        let (closed_after, acknowledged_after) = (after(closed_at), after(acknowledged_at));
        println!("closed after {closed_after:?}, acknowledged after {acknowledged_after:?}");
        assert!(closed_after < Duration::from_secs(1), "closed after {closed_after:?}");
        busy.hears("E:unknown / Z[I]").await;

        waiting.say("Q:SELECT 1").await;
        stage.cluster.promote(1).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        waiting.is_silent().await;
        assert_eq!(stage.sockets(0).count(), 0, "nothing goes back to the old leader");

        let announced = stage.sentinel.cycle().await?;
        assert_eq!(announced.generation, elected.generation + 1);
        waiting.hears(ONE).await;
        println!("served {:?} after the announcement", announced.at.elapsed());
        stage.sentinel.resume();
        for seat in [&mut idle, &mut busy, &mut waiting] {
            let where_it_is = "Q:SELECT host(inet_server_addr())";
            let there = stage.node(1).ip();
            let answer = format!("T[host] / D[{there}] / C[SELECT 1] / Z[I]");
            seat.ask(where_it_is, &answer).await;
        }
        assert_eq!(stage.sockets(0).count(), 0);
        stage.sentinel.resync().await?;
        stage.sentinel.cycle().await?;
        let before = number(&stage.status().await, "epoch");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(number(&stage.status().await, "epoch"), before, "a resync is no change");
        idle.is_served().await;
        Ok(())
    });
}

/// The registration is what a sentinel waits for and what survives a flap of Consul's agent.
async fn is_registered(stage: &Stage) -> Result<()> {
    let proxies = stage.sentinel.proxies().await?;
    let [proxy] = proxies.as_slice() else { panic!("not one proxy: {proxies:?}") };
    let data = stage.sentinel.data().await?;
    assert_eq!(proxy.uid.len(), 8);
    assert_eq!(data["proxy"]["spec"]["enabledProxies"], serde_json::json!([proxy.uid]));
    assert_eq!(proxy.timeout, Duration::from_secs(3));
    let generation = data["proxy"]["generation"].as_u64().unwrap();
    let current = |proxies: &[ProxyInfo]| proxies.iter().all(|one| one.generation == generation);
    stage.sentinel.proxies_until(STEP_MAX, current).await?;
    let sessions = stage.agent.api().sessions().await?;
    let [session] = sessions.as_slice() else { panic!("not one session: {sessions:?}") };
    assert_eq!(session["ID"].as_str(), proxy.session.as_deref());
    assert_eq!(session["Behavior"], "delete");
    let checks = &session["NodeChecks"];
    assert!(checks.is_null() || *checks == serde_json::json!([]), "{session}");
    let ttl: f64 = session["TTL"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!(ttl >= 10.0, "{session}");
    // It is written anew all the time.
    let first = proxy.info_uid.clone();
    let renewed = |proxies: &[ProxyInfo]| proxies.iter().all(|one| one.info_uid != first);
    stage.sentinel.proxies_until(Duration::from_secs(3), renewed).await.map(drop)
}

/// Waits until the primary has so many statements at work.
async fn at_work(stage: &Stage, count: usize) -> Result<()> {
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let until = Instant::now() + STEP_MAX;
    while stage.cluster.primary().value(asked).await? != count.to_string() {
        assert!(Instant::now() < until, "no {count} statements at work");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[test]
fn a_planned_change_loses_no_acknowledged_row_and_no_client() {
    run(async {
        let mut stage = Stage::start().await?;
        let writers = Writers::start(stage.address(), 4).await?;
        writers.write_on(200).await?;
        // As after `stolonctl failkeeper`: the new master is promoted as soon as its keeper sees
        // the election, and the old one goes on until the new one has converged.
        let elected = stage.sentinel.elect(1).await?;
        stage.cluster.promote(1).await?;
        stage.sentinel.announced(STEP_MAX).await?;
        writers.write_on(200).await?;
        stage.cluster.node_mut(0).stop(Stop::Fast).await?;
        stage.sentinel.resync().await?;
        writers.write_on(200).await?;
        let told = writers.stop().await?;
        println!(
            "{} rows, {} retried, {} unknown; whole change {:?}",
            told.acknowledged.len(),
            told.retryable,
            told.unknown,
            elected.at.elapsed(),
        );
        all_there(&told, stage.cluster.node(1)).await
    });
}

#[test]
fn an_announced_node_in_recovery_gets_no_statement_until_it_is_writable() {
    run(async {
        let mut options = ClusterOptions::default();
        options.settings.push(("log_statement".to_owned(), "all".to_owned()));
        let mut stage = Stage::with(Kind::Forgetful, options).await?;
        let mut seat = Seat::app("waiting", stage.address()).await;
        seat.is_served().await;
        stage.sentinel.elect(1).await?;
        stage.sentinel.announced(STEP_MAX).await?;
        seat.say("Q:SELECT 1 AS marked").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        seat.is_silent().await;
        let log = fs::read_to_string(stage.cluster.node(1).log_path()).unwrap();
        assert!(!log.contains("SELECT 1 AS marked"), "sent to a node in recovery");
        stage.cluster.promote(1).await?;
        let promoted = Instant::now();
        seat.hears("T[marked] / D[1] / C[SELECT 1] / Z[I]").await;
        println!("served {:?} after the promotion was seen", promoted.elapsed());
        let log = fs::read_to_string(stage.cluster.node(1).log_path()).unwrap();
        assert!(log.contains("SELECT 1 AS marked"));
        Ok(())
    });
}

/// Waits until Everline has connected ahead to node 1: its system connection, and those that
/// clients can use.
async fn connected_ahead(stage: &Stage) -> Sockets {
    let until = Instant::now() + STEP_MAX;
    loop {
        let sockets = stage.sockets(1);
        if sockets.count() >= 3 {
            return sockets;
        }
        assert!(Instant::now() < until, "not connected ahead: {sockets:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Has two clients work at once, so that there are as many connections.
async fn two_work(first: &mut Seat, second: &mut Seat) {
    for _ in 0..2 {
        first.say("Q:SELECT 1 FROM pg_sleep(0.1)").await;
        second.say("Q:SELECT 1 FROM pg_sleep(0.1)").await;
        first.hears(ONE).await;
        second.hears(ONE).await;
    }
}

#[test]
fn the_elected_node_is_connected_to_ahead_and_gets_no_statement_before_it_is_announced() {
    run(async {
        let mut options = ClusterOptions::default();
        options.settings.push(("log_statement".to_owned(), "all".to_owned()));
        let mut stage = Stage::with(Kind::Forgetful, options).await?;
        let mut waiting = Seat::app("waiting", stage.address()).await;
        let mut other = Seat::app("other", stage.address()).await;
        two_work(&mut waiting, &mut other).await;
        stage.sentinel.pause();
        let old = stage.sockets(0);
        let elected = stage.sentinel.elect(1).await?;
        stage.acknowledged(&elected, &old).await?;
        waiting.say("Q:SELECT 1 AS marked").await;
        other.say("Q:SELECT 1 AS marked").await;
        let ahead = connected_ahead(&stage).await;
        stage.cluster.promote(1).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        waiting.is_silent().await;
        let said = |words: &str| {
            let log = fs::read_to_string(stage.cluster.node(1).log_path()).unwrap();
            log.lines().filter(|line| line.contains("app@") && line.contains(words)).count()
        };
        assert_eq!(said("marked"), 0, "sent before the announcement");
        assert_eq!(said("statement: "), 0, "nothing at all is asked before it counts");
        let status = stage.status().await;
        assert_eq!(status["leader"], serde_json::Value::Null);
        stage.sentinel.cycle().await?;
        waiting.hears("T[marked] / D[1] / C[SELECT 1] / Z[I]").await;
        other.hears("T[marked] / D[1] / C[SELECT 1] / Z[I]").await;
        assert_eq!(ahead.open(), ahead.count(), "they are those that serve");
        assert!(said("pg_is_in_recovery") >= 3, "each is asked before its first statement");
        Ok(())
    });
}

#[test]
fn another_election_closes_what_is_connected_ahead_before_it_is_acknowledged() {
    run(async {
        let stage = Stage::start().await?;
        let mut waiting = Seat::app("waiting", stage.address()).await;
        let mut other = Seat::app("other", stage.address()).await;
        two_work(&mut waiting, &mut other).await;
        stage.sentinel.pause();
        let old = stage.sockets(0);
        let elected = stage.sentinel.elect(1).await?;
        stage.acknowledged(&elected, &old).await?;
        let ahead = connected_ahead(&stage).await;
        let again = stage.sentinel.elect(0).await?;
        stage.acknowledged(&again, &ahead).await?;
        stage.sentinel.resume();
        stage.sentinel.announced(STEP_MAX).await?;
        waiting.is_served().await;
        assert_eq!(stage.sockets(1).count(), 0);
        Ok(())
    });
}

#[test]
fn the_leader_withdrawn_and_announced_again_costs_no_client() {
    run(async {
        let stage = Stage::start().await?;
        let mut seat = Seat::app("idle", stage.address()).await;
        seat.is_served().await;
        stage.sentinel.pause();
        let old = stage.sockets(0);
        let withdrawn = stage.sentinel.withdraw().await?;
        stage.acknowledged(&withdrawn, &old).await?;
        stage.sentinel.resume();
        stage.sentinel.announced(STEP_MAX).await?;
        seat.is_served().await;
        Ok(())
    });
}

#[test]
fn a_thousand_rewrites_without_news_change_nothing() {
    run(async {
        let stage = Stage::start().await?;
        let mut seat = Seat::app("idle", stage.address()).await;
        seat.is_served().await;
        let writers = Writers::start(stage.address(), 1).await?;
        stage.sentinel.pause();
        stage.sentinel.cycle().await?;
        let before = stage.status().await;
        let backends = "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity \
                        WHERE usename = 'app'";
        writers.write_on(10).await?;
        let stood = stage.cluster.primary().value(backends).await?;
        let memory = resident_kib(stage.everline.id());
        for _ in 0..1_000 {
            stage.sentinel.cycle().await?;
        }
        writers.write_on(10).await?;
        let after = stage.status().await;
        assert_eq!(number(&before, "epoch"), number(&after, "epoch"));
        assert_eq!(number(&before, "outages_total"), number(&after, "outages_total"));
        assert_eq!(stage.cluster.primary().value(backends).await?, stood, "a connection dropped");
        let grown = resident_kib(stage.everline.id()).saturating_sub(memory);
        println!("memory grew by {grown} KiB");
        assert!(grown < 10 * 1024, "{grown} KiB");
        let told = writers.stop().await?;
        assert_eq!((told.retryable, told.unknown), (0, 0));
        seat.is_served().await;
        Ok(())
    });
}

fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_lost_session_closes_everything_and_is_made_anew() {
    run(async {
        let stage = Stage::start().await?;
        let mut seat = Seat::app("idle", stage.address()).await;
        seat.is_served().await;
        let proxies = stage.sentinel.proxies().await?;
        let session = proxies[0].session.clone().unwrap();
        stage.sentinel.pause();
        stage.agent.api().destroy_session(&session).await?;
        stage.sentinel.cycle().await?;
        let lost = Instant::now();
        let is_new = |proxies: &[ProxyInfo]| {
            proxies.first().is_some_and(|proxy| proxy.session.as_ref() != Some(&session))
        };
        stage.sentinel.proxies_until(STEP_MAX, is_new).await?;
        println!("registered again after {:?}", lost.elapsed());
        stage.sentinel.resume();
        stage.until_available().await;
        seat.is_served().await;
        Ok(())
    });
}

#[test]
fn an_ended_everline_leaves_no_registration_behind() {
    run(async {
        let mut stage = Stage::start().await?;
        let status = stage.everline.stop().await?;
        assert!(status.success(), "{status}");
        assert_eq!(stage.sentinel.proxies().await?, []);
        assert!(stage.agent.api().sessions().await?.is_empty());
        // The next change waits for nobody.
        let elected = stage.sentinel.elect(1).await?;
        let announced = stage.sentinel.announced(STEP_MAX).await?;
        assert!(announced.at.duration_since(elected.at) < Duration::from_secs(3));
        Ok(())
    });
}

#[test]
fn several_everlines_are_waited_for() {
    run(async {
        let mut stage = Stage::start().await?;
        let second = launch(stage.agent.address(), NAME).arguments(HOLD).start().await?;
        scene::until(&second, "leader", scene::is_available).await;
        let mut seats = [
            Seat::app("at the first", stage.address()).await,
            Seat::app("at the second", second.address()).await,
        ];
        for seat in &mut seats {
            seat.is_served().await;
        }
        assert_eq!(stage.sentinel.proxies().await?.len(), 2);
        stage.sentinel.elect(1).await?;
        stage.cluster.promote(1).await?;
        stage.sentinel.announced(STEP_MAX).await?;
        for seat in &mut seats {
            seat.is_served().await;
        }
        scene::keep_log(&second);
        Ok(())
    });
}
