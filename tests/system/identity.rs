//! The leader is elected, and not the first that says that it is writable: an old primary that
//! comes back gets not one write.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use everline_lab::Result;
use everline_lab::everline::Everline;
use everline_lab::faults::Relay;
use everline_lab::postgres::{Cluster, ClusterOptions};
use tokio::time::Instant;

use crate::scene::{
    Fault, NAME, Scene, dsn, is_available, keep_log, launch, leader, number, run, status, until,
};
use crate::seat::Seat;

/// How long is written while two primaries stand, and how often.
const SPLIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Everline that is told of both nodes by their addresses.
async fn of_two_hosts(cluster: &Cluster, arguments: &[&str]) -> Result<Everline> {
    let dsn = dsn("127.0.0.2,127.0.0.3", cluster.port());
    let everline = launch(&format!("{dsn}?target_session_attrs=read-write"))
        .argument("--enable-backend-adaptive-ha")
        .arguments(["--failover-hold", "20s"])
        .arguments(arguments)
        .start()
        .await?;
    until(&everline, "leader", is_available).await;
    Ok(everline)
}

/// Writes for a while and returns how many rows were acknowledged.
async fn write(seats: &mut [Seat], time: Duration) -> u32 {
    let until = Instant::now() + time;
    let mut written = 0;
    while Instant::now() < until {
        for seat in &mut *seats {
            seat.ask("Q:INSERT INTO t VALUES (1)", "C[INSERT 0 1] / Z[I]").await;
            written += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
    written
}

async fn rows(cluster: &Cluster, at: usize) -> Result<u32> {
    let count = cluster.node(at).value("SELECT count(*) FROM t").await?;
    Ok(count.parse().expect("a number"))
}

async fn seats(everline: &Everline) -> Vec<Seat> {
    let mut seats = Vec::new();
    for at in 0..4 {
        seats.push(Seat::app(&format!("writer {at}"), everline.address()).await);
    }
    seats
}

#[test]
fn an_old_primary_that_returns_writable_gets_no_write() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::default()).await?;
        cluster.primary().sql("SET ROLE app; CREATE TABLE t (n int)").await?;
        let quick = ["--heartbeat-interval", "300ms", "--resolve-interval", "500ms"];
        let everline = of_two_hosts(&cluster, &quick).await?;
        let mut seats = seats(&everline).await;
        let mut written = write(&mut seats, Duration::from_millis(300)).await;
        cluster.primary_mut().kill9();
        cluster.promote(1).await?;
        written += write(&mut seats, Duration::from_millis(300)).await;
        let before = status(&everline).await;
        cluster.start_as_old_primary(0).await?;
        let old = rows(&cluster, 0).await?;
        written += write(&mut seats, SPLIT).await;
        let after = status(&everline).await;
        assert_eq!(rows(&cluster, 0).await?, old, "rows have reached the old primary");
        assert_eq!(rows(&cluster, 1).await?, written, "rows are missing at the leader");
        assert_eq!(number(&after, "epoch"), number(&before, "epoch"), "{after:#}");
        assert_eq!(number(&after, "outages_total"), number(&before, "outages_total"));
        assert!(leader(&after).contains("127.0.0.3"), "{after:#}");

        // Nor when every connection to the leader breaks while the old one stands ready.
        let all = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                   WHERE usename = 'app'";
        cluster.node(1).sql(all).await?;
        written += write(&mut seats, Duration::from_secs(1)).await;
        // Nor when there is no other.
        cluster.node_mut(1).kill9();
        until(&everline, "outage", |status| !is_available(status)).await;
        for seat in &mut seats {
            seat.say("Q:INSERT INTO t VALUES (2)").await;
        }
        until(&everline, "four held", |status| number(status, "held") == 4).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.node_mut(1).start().await?;
        for seat in &mut seats {
            seat.hears("C[INSERT 0 1] / Z[I]").await;
            seat.is_silent().await;
        }
        assert_eq!(rows(&cluster, 0).await?, old, "rows have reached the old primary");
        assert_eq!(rows(&cluster, 1).await?, written + 4, "rows are missing at the leader");
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn of_two_primaries_at_the_start_the_higher_timeline_leads() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::default()).await?;
        cluster.primary().sql("SET ROLE app; CREATE TABLE t (n int)").await?;
        cluster.primary_mut().kill9();
        cluster.promote(1).await?;
        cluster.start_as_old_primary(0).await?;
        for _ in 0..3 {
            let everline = of_two_hosts(&cluster, &[]).await?;
            let status = status(&everline).await;
            keep_log(&everline);
            assert!(leader(&status).contains("127.0.0.3"), "{status:#}");
        }
        Ok(())
    });
}

#[test]
fn a_name_that_points_back_to_an_older_timeline_is_refused() {
    run(async {
        let arguments = ["--failover-hold", "2s", "--resolve-interval", "500ms"];
        let mut scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let mut seats = seats(&scene.everline).await;
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        scene.until_led_by(1).await;
        let mut written = write(&mut seats, Duration::from_millis(200)).await;
        let before = number(&scene.status().await, "epoch");
        scene.cluster.start_as_old_primary(0).await?;
        scene.move_name(0);
        written += write(&mut seats, Duration::from_secs(3)).await;
        assert_eq!(number(&scene.status().await, "epoch"), before);
        assert_eq!(rows(&scene.cluster, 0).await?, 0);
        assert_eq!(rows(&scene.cluster, 1).await?, written);
        scene.everline.logged("older timeline (1, the last leader was on 2)", PAUSE * 250).await?;
        // Not even when the leader is gone: better no answer than a lost one.
        scene.cluster.node_mut(1).kill9();
        for seat in &mut seats {
            seat.ask("Q:INSERT INTO t VALUES (1)", "E:held / Z[I]").await;
        }
        assert_eq!(rows(&scene.cluster, 0).await?, 0);
        scene.cluster.node_mut(1).start().await?;
        scene.move_name(1);
        written += write(&mut seats, Duration::from_millis(200)).await;
        assert_eq!(rows(&scene.cluster, 1).await?, written);
        Ok(())
    });
}

#[test]
fn a_name_that_leads_to_both_is_followed_to_the_leader() {
    run(async {
        let arguments = ["--failover-hold", "20s", "--resolve-interval", "300ms"];
        let mut scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let mut seats = seats(&scene.everline).await;
        let both = [scene.ip(0), scene.ip(1)];
        for order in [[0, 1], [1, 0], [0, 1]] {
            scene.dns.set(NAME, &order.map(|at: usize| both[at]));
            write(&mut seats, Duration::from_millis(500)).await;
        }
        assert_eq!(number(&scene.status().await, "epoch"), 1);
        scene.strike(Fault::Kill).await?;
        scene.cluster.promote(1).await?;
        write(&mut seats, Duration::from_millis(200)).await;
        scene.until_led_by(1).await;
        assert_eq!(number(&scene.status().await, "epoch"), 2);
        Ok(())
    });
}

/// Another cluster, to be reached at the port of the first.
async fn stranger(scene: &Scene) -> Result<(Cluster, Relay)> {
    let options = ClusterOptions { own_identifier: true, ..ClusterOptions::single() };
    let other = Cluster::start(options).await?;
    other.primary().sql("SET ROLE app; CREATE TABLE t (n int)").await?;
    let address = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 8).into(), scene.cluster.port());
    let relay = Relay::start(address, other.primary().address()).await?;
    Ok((other, relay))
}

#[test]
fn another_cluster_behind_the_name_is_refused() {
    run(async {
        let arguments = ["--failover-hold", "1s", "--resolve-interval", "300ms"];
        let mut scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let (other, relay) = stranger(&scene).await?;
        let mut seats = seats(&scene.everline).await;
        scene.dns.set(NAME, &[relay.address().ip()]);
        let written = write(&mut seats, Duration::from_secs(2)).await;
        assert_eq!(rows(&scene.cluster, 0).await?, written);
        scene.strike(Fault::Kill).await?;
        for seat in &mut seats {
            seat.ask("Q:INSERT INTO t VALUES (1)", "~E:unknown / ~E:held / Z[I]").await;
        }
        assert_eq!(rows(&other, 0).await?, 0);
        scene.everline.logged("another cluster", Duration::from_secs(5)).await?;
        Ok(())
    });
}

#[test]
fn another_cluster_behind_the_name_is_followed_where_that_is_wanted() {
    run(async {
        let arguments = ["--failover-hold", "20s", "--accept-new-cluster"];
        let mut scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        let (other, relay) = stranger(&scene).await?;
        let mut seats = seats(&scene.everline).await;
        scene.strike(Fault::Kill).await?;
        scene.dns.set(NAME, &[relay.address().ip()]);
        for seat in &mut seats {
            seat.ask("Q:INSERT INTO t VALUES (1)", "C[INSERT 0 1] / Z[I]").await;
        }
        assert_eq!(rows(&other, 0).await?, 4);
        Ok(())
    });
}
