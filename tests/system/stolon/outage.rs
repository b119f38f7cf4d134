//! Consul fails, in each of its ways.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use everline_lab::consul::{Agent, Kind};
use everline_lab::faults::{How, Mode, Relay};
use everline_lab::postgres::ClusterOptions;
use everline_lab::{Result, ports};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::stage::{STEP_MAX, Stage, run};
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

/// Forwards to Consul, and can have the connections that stand go silent for ever while new ones
/// work: a firewall that forgot them.
struct Forgetter {
    address: SocketAddr,
    forgotten: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Forgetter {
    async fn start(consul: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
        let address = listener.local_addr().expect("its address");
        let forgotten = watch::Sender::new(0);
        let news = forgotten.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut news = news.clone();
                news.mark_unchanged();
                tokio::spawn(async move {
                    let mut consul = TcpStream::connect(consul).await.expect("Consul");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut consul) => {}
                        _ = news.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, forgotten, task }
    }
}

impl Drop for Forgetter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[test]
fn connections_to_consul_that_go_silent_for_ever_are_replaced() {
    run(async {
        let agent = Agent::start(Kind::Forgetful).await?;
        let way = Forgetter::start(agent.address()).await;
        let stage = Stage::over(agent, way.address, ClusterOptions::default()).await?;
        let writers = Writers::start(stage.address(), 2).await?;
        writers.write_on(50).await?;
        for _ in 0..2 {
            way.forgotten.send_modify(|times| *times += 1);
            // The wait of a blocking query is at most 1 s here, and 2 s are left to notice.
            tokio::time::sleep(Duration::from_secs(1 + 2) + SLACK).await;
            let since = Instant::now();
            writers.write_on(50).await?;
            println!("50 rows in {:?}", since.elapsed());
            assert!(since.elapsed() < Duration::from_secs(2));
        }
        println!("{} outages", stage.status().await["outages_total"]);
        let told = writers.stop().await?;
        all_there(&told, stage.cluster.primary()).await
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
