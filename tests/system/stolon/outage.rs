//! Consul fails, in each of its ways.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use everline_lab::consul::{Agent, Kind};
use everline_lab::faults::{Direction, How, Mode, Relay};
use everline_lab::postgres::{Cluster, ClusterOptions};
use everline_lab::stolon::{Pace, Sentinel};
use everline_lab::{Result, ports};
use rustix::process::Signal;
use tokio::time::Instant;

use super::stage::{NAME, STEP_MAX, Stage, run};
use super::writers::{Writers, all_there};
use crate::seat::{ONE, Seat};

/// How long a proxy may serve on what it last saw, in these tests.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long everything may take on a busy machine beyond what it has to.
const SLACK: Duration = Duration::from_millis(500);

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// When the last row was written, in seconds since 1970.
async fn last_row(stage: &Stage) -> Result<f64> {
    let asked = "SELECT extract(epoch FROM max(at)) FROM t";
    Ok(stage.cluster.primary().value(asked).await?.parse().unwrap())
}

#[test]
fn a_short_silence_of_consul_is_not_noticed_by_any_client() {
    run(async {
        let mut stage = Stage::start().await?;
        let writers = Writers::start(stage.address(), 2).await?;
        writers.write_on(50).await?;
        stage.agent.pause();
        tokio::time::sleep(Duration::from_secs(1)).await;
        writers.write_on(50).await?;
        stage.agent.resume();
        tokio::time::sleep(Duration::from_secs(4)).await;
        writers.write_on(50).await?;
        let told = writers.stop().await?;
        assert_eq!((told.retryable, told.unknown), (0, 0));
        assert_eq!(stage.status().await["outages_total"], 0);
        all_there(&told, stage.cluster.primary()).await
    });
}

/// How Consul goes, and comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Freeze,
    Kill,
    BlackHole,
    Refuse,
}

#[test]
fn a_frozen_consul_stops_service_at_the_deadline_and_its_return_resumes_it() {
    run(goes(Way::Freeze));
}

#[test]
fn a_killed_consul_stops_service_at_the_deadline_and_its_return_resumes_it() {
    run(goes(Way::Kill));
}

#[test]
fn a_black_holed_consul_stops_service_at_the_deadline_and_its_return_resumes_it() {
    run(goes(Way::BlackHole));
}

#[test]
fn a_refusing_consul_stops_service_at_the_deadline_and_its_return_resumes_it() {
    run(goes(Way::Refuse));
}

/// A stage on which Everline reaches Consul over a relay.
async fn over_relay(kind: Kind) -> Result<(Stage, Relay)> {
    let agent = Agent::start(kind).await?;
    let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports::free_address()?.port());
    let relay = Relay::start(local, agent.address()).await?;
    let consul = relay.address();
    Ok((Stage::over(agent, consul, ClusterOptions::default()).await?, relay))
}

async fn goes(way: Way) -> Result<()> {
    let (mut stage, relay) = over_relay(Kind::Lasting).await?;
    let writers = Writers::start(stage.address(), 2).await?;
    let mut idle = Seat::app("idle", stage.address()).await;
    idle.is_served().await;
    writers.write_on(50).await?;
    let (gone, gone_at) = (Instant::now(), now());
    match way {
        Way::Freeze => stage.agent.pause(),
        Way::Kill => stage.agent.kill(),
        Way::BlackHole => relay.set_mode(Mode::BlackHole),
        Way::Refuse => {
            relay.set_mode(Mode::Refuse);
            relay.cut(How::Rst);
        }
    }
    let gone_for = gone.elapsed();
    stage.until_unavailable().await;
    let stopped = gone.elapsed();
    let until = Instant::now() + STEP_MAX;
    while stage.sockets(0).count() > 0 {
        assert!(Instant::now() < until, "connections stay open past the deadline");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("{way:?}: stopped after {stopped:?}, closed after {:?}", gone.elapsed());
    assert!(stopped <= TIMEOUT + SLACK + gone_for, "{stopped:?}");
    idle.say("Q:SELECT 1").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    idle.is_silent().await;
    // Not one statement reached PostgreSQL after the deadline.
    let last = last_row(&stage).await? - gone_at;
    println!("{way:?}: the last row {last:.3} s after");
    assert!(last <= TIMEOUT.as_secs_f64() + 0.1, "a row {last:.3} s after Consul had gone");

    match way {
        Way::Freeze => stage.agent.resume(),
        Way::Kill => stage.agent.start_again().await?,
        Way::BlackHole | Way::Refuse => relay.set_mode(Mode::Forward),
    }
    let back = Instant::now();
    idle.hears(ONE).await;
    let resumed = back.elapsed();
    println!("{way:?}: served again after {resumed:?}");
    // The wait of a blocking query is at most 1 s here.
    assert!(resumed < Duration::from_secs(1 + 2) + SLACK, "{resumed:?}");
    writers.write_on(50).await?;
    let told = writers.stop().await?;
    all_there(&told, stage.cluster.primary()).await
}

/// A cluster at Stolon's pace, or at the lab's, whose connections to Consul are forgotten by a
/// firewall, twice: each time the connection that has gone silent is replaced before what it said
/// last is too old.
async fn is_forgotten(pace: Pace) -> Result<()> {
    let agent = Agent::start(Kind::Forgetful).await?;
    let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports::free_address()?.port());
    let relay = Relay::start(local, agent.address()).await?;
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let nodes = [cluster.node(0).address(), cluster.node(1).address()];
    let sentinel = Sentinel::start(agent.api(), NAME, &nodes, pace).await?;
    let stage = Stage::of(agent, relay.address(), cluster, sentinel).await?;
    let writers = Writers::start(stage.address(), 2).await?;
    writers.write_on(50).await?;
    // Without a rewrite every answer comes at the end of its wait: the worst case.
    stage.sentinel.pause();
    for _ in 0..2 {
        let accepted = relay.accepted();
        relay.forget();
        let until = Instant::now() + pace.timeout + Duration::from_secs(2);
        while Instant::now() < until {
            writers.write_on(5).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let new = relay.accepted() - accepted;
        assert!((2..=6).contains(&new), "{new} new connections for two that were forgotten");
    }
    assert_eq!(stage.status().await["outages_total"], 0);
    let told = writers.stop().await?;
    assert_eq!((told.retryable, told.unknown), (0, 0));
    all_there(&told, stage.cluster.primary()).await
}

#[test]
fn connections_to_consul_that_go_silent_for_ever_are_replaced_unseen() {
    run(is_forgotten(Pace::default()));
}

#[test]
fn so_are_they_with_stolons_own_intervals() {
    run(is_forgotten(Pace {
        sleep: Duration::from_secs(1),
        check: Duration::from_secs(5),
        timeout: Duration::from_secs(15),
    }));
}

#[test]
fn not_one_byte_reaches_the_leader_after_the_deadline() {
    run(async {
        let agent = Agent::start(Kind::Forgetful).await?;
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        let in_front = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 4).into(), cluster.port());
        let leader = Relay::start(in_front, cluster.node(0).address()).await?;
        let nodes = [leader.address(), cluster.node(1).address()];
        let sentinel = Sentinel::start(agent.api(), NAME, &nodes, Pace::default()).await?;
        let consul = agent.address();
        let mut stage = Stage::of(agent, consul, cluster, sentinel).await?;
        let writers = Writers::start(stage.address(), 4).await?;
        let mut idle = Seat::app("idle", stage.address()).await;
        idle.is_served().await;
        writers.write_on(100).await?;
        stage.agent.pause();
        let silent = Instant::now();
        // Everything Consul has said was asked for before this instant.
        let deadline = silent + TIMEOUT;
        tokio::time::sleep_until(deadline + Duration::from_secs(2)).await;
        idle.say("Q:SELECT 1").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        idle.is_silent().await;
        let passed = leader.passed();
        let before = passed.iter().filter(|one| one.at <= silent + TIMEOUT / 2);
        assert!(before.map(|one| one.bytes).sum::<usize>() > 1_000, "nothing was written at all");
        let to_leader = passed.iter().filter(|one| one.direction == Direction::ToBackend);
        let last = to_leader.map(|one| one.at).max().expect("bytes");
        println!("the last byte {:?} after Consul fell silent", last.duration_since(silent));
        // The relay's own clock: it sees a piece a moment after it was sent.
        assert!(last <= deadline + Duration::from_millis(50), "{:?}", last - deadline);
        assert_eq!(leader.open(), 0, "connections stay open past the deadline");
        stage.agent.resume();
        idle.hears(ONE).await;
        writers.write_on(100).await?;
        let told = writers.stop().await?;
        all_there(&told, stage.cluster.primary()).await
    });
}

/// A machine that was suspended for longer than the deadline: others have gone on without it.
#[test]
fn a_thawed_everline_forwards_nothing_to_the_leader_of_before() {
    run(async {
        let agent = Agent::start(Kind::Forgetful).await?;
        let cluster = Cluster::start(ClusterOptions::default()).await?;
        let in_front = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 4).into(), cluster.port());
        let leader = Relay::start(in_front, cluster.node(0).address()).await?;
        let nodes = [leader.address(), cluster.node(1).address()];
        let sentinel = Sentinel::start(agent.api(), NAME, &nodes, Pace::default()).await?;
        let consul = agent.address();
        let mut stage = Stage::of(agent, consul, cluster, sentinel).await?;
        let writers = Writers::start(stage.address(), 2).await?;
        let mut idle = Seat::app("idle", stage.address()).await;
        let mut amid = Seat::app("amid a transaction", stage.address()).await;
        idle.is_served().await;
        amid.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
        amid.ask("Q:INSERT INTO t VALUES (-1)", "C[INSERT 0 1] / Z[T]").await;
        writers.write_on(50).await?;
        stage.everline.signal(Signal::STOP);
        tokio::time::sleep(Duration::from_millis(200)).await;
        // What clients say meanwhile is there to be read when it goes on.
        amid.say("Q:INSERT INTO t VALUES (-2)").await;
        idle.say("Q:SELECT 1").await;
        stage.sentinel.elect(1).await?;
        stage.cluster.promote(1).await?;
        // It is given up after twice the timeout.
        stage.sentinel.announced(STEP_MAX).await?;
        let thawed = Instant::now();
        stage.everline.signal(Signal::CONT);
        amid.hears("E:lost / Z[E]").await;
        idle.hears(ONE).await;
        writers.write_on(50).await?;
        let passed = leader.passed();
        let after = passed.iter().filter(|one| one.at >= thawed);
        let to_leader = after.filter(|one| one.direction == Direction::ToBackend);
        // Idle connections are closed with a goodbye, which takes five bytes: no statement does.
        let said: Vec<usize> = to_leader.map(|one| one.bytes).filter(|bytes| *bytes > 5).collect();
        assert!(said.is_empty(), "pieces of {said:?} bytes after it went on");
        assert_eq!(leader.open(), 0, "connections to it stay open");
        let told = writers.stop().await?;
        all_there(&told, stage.cluster.node(1)).await
    });
}

#[test]
fn a_partition_from_consul_never_makes_two_writable_leaders() {
    run(async {
        let (mut stage, relay) = over_relay(Kind::Forgetful).await?;
        let writers = Writers::start(stage.address(), 4).await?;
        writers.write_on(100).await?;
        let (gone, gone_at) = (Instant::now(), now());
        relay.set_mode(Mode::BlackHole);
        // The sentinel elects at once, and the new master's keeper promotes at once.
        stage.sentinel.elect(1).await?;
        stage.cluster.promote(1).await?;
        let announced = stage.sentinel.announced(STEP_MAX).await?;
        println!("announced {:?} after the partition", announced.at.duration_since(gone));
        assert_eq!(
            stage.sockets(0).count(),
            0,
            "announced while connections lead to the old leader"
        );
        let asked = "SELECT coalesce(extract(epoch FROM max(at)), 0) FROM t";
        let last: f64 = stage.cluster.node(0).value(asked).await?.parse().unwrap();
        println!("the last row on the old leader {:.3} s after", last - gone_at);
        assert!(last - gone_at < TIMEOUT.as_secs_f64() + 0.1);
        relay.set_mode(Mode::Forward);
        let back = Instant::now();
        writers.write_on(100).await?;
        println!("written again after {:?}", back.elapsed());
        let told = writers.stop().await?;
        println!("{} retried, {} unknown", told.retryable, told.unknown);
        all_there(&told, stage.cluster.node(1)).await
    });
}
