//! The failure contract against clients that mean harm, or behave as if they did: floods of cancel
//! requests, clients that leave in crowds, long pipelines and portals across a loss.

use std::net::SocketAddr;
use std::time::Duration;

use everline_lab::Result;
use everline_lab::client::Client;
use everline_lab::postgres::{Cluster, ClusterOptions};
use everline_wire::startup;

use crate::scene::{Fault, Scene, dsn, is_available, keep_log, launch, number, run, status, until};
use crate::seat::{ONE, Seat};

/// Clients whose statements are held.
const HELD: usize = 20;
/// Cancel requests for each of them.
const CANCELS: usize = 15;
/// Segments of a pipeline.
const SEGMENTS: usize = 200;

/// Sends a cancel request and waits until it is taken.
async fn cancel(address: SocketAddr, process_id: u32, secret: Vec<u8>) -> Result<()> {
    let mut client = Client::connect(address).await?;
    client.say(|out| startup::cancel_request(out, process_id, &secret)).await?;
    assert_eq!(client.hears(Duration::from_secs(20)).await?, "closed");
    Ok(())
}

#[test]
fn a_flood_of_cancel_requests_cancels_what_it_may_and_nothing_else() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        cluster.primary().sql("SET ROLE app; CREATE TABLE t (n int)").await?;
        let everline = launch(&dsn("127.0.0.2", cluster.port()))
            .argument("--enable-backend-adaptive-ha")
            .arguments(["--failover-hold", "60s"])
            .start()
            .await?;
        until(&everline, "leader", is_available).await;
        let address = everline.address();
        let mut seats = Vec::new();
        for n in 0..HELD {
            let mut seat = Seat::app(&format!("number {n}"), address).await;
            seat.is_served().await;
            seats.push(seat);
        }
        cluster.primary_mut().kill9();
        until(&everline, "outage", |status| !is_available(status)).await;
        for (n, seat) in seats.iter_mut().enumerate() {
            seat.say(&format!("Q:INSERT INTO t VALUES ({n})")).await;
        }
        let all = u64::try_from(HELD).expect("a small number");
        until(&everline, "all held", |status| number(status, "held") == all).await;

        // Every even one is cancelled, again and again; for every odd one the secret is wrong.
        let mut requests = Vec::new();
        for _ in 0..CANCELS {
            for (n, seat) in seats.iter().enumerate() {
                let (process_id, secret) = seat.client.key().expect("a key").clone();
                let mut secret = secret.to_vec();
                if n % 2 == 1 {
                    for byte in &mut secret {
                        *byte ^= 0xff;
                    }
                }
                requests.push(tokio::spawn(cancel(address, process_id, secret)));
            }
        }
        for request in requests {
            request.await.expect("a cancel request")?;
        }
        until(&everline, "half held", |status| number(status, "held") == all / 2).await;
        for seat in seats.iter_mut().step_by(2) {
            seat.hears("E:cancelled / Z[I]").await;
            seat.is_silent().await; // told once, however often it was asked for
        }
        // Nothing of the flood is left for what they say next.
        for (n, seat) in seats.iter_mut().enumerate().step_by(2) {
            seat.say(&format!("Q:INSERT INTO t VALUES ({})", n + 1000)).await;
        }
        until(&everline, "all held again", |status| number(status, "held") == all).await;
        cluster.primary_mut().start().await?;
        for seat in &mut seats {
            seat.hears("C[INSERT 0 1] / Z[I]").await;
            seat.is_served().await;
        }
        let sum = "SELECT count(*) || ' ' || count(*) FILTER (WHERE n >= 1000 OR n % 2 = 1) FROM t";
        assert_eq!(cluster.primary().value(sum).await?, format!("{HELD} {HELD}"));
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_crowd_that_leaves_while_held_leaves_nothing_behind() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        cluster.primary().sql("SET ROLE app; CREATE TABLE t (n int)").await?;
        let everline = launch(&dsn("127.0.0.2", cluster.port()))
            .argument("--enable-backend-adaptive-ha")
            .arguments(["--failover-hold", "60s", "--held-bytes-max", "200000"])
            .start()
            .await?;
        until(&everline, "leader", is_available).await;
        let mut stays = Seat::app("stays", everline.address()).await;
        stays.is_served().await;
        cluster.primary_mut().kill9();
        until(&everline, "outage", |status| !is_available(status)).await;
        stays.say("Q:INSERT INTO t VALUES (1)").await;
        until(&everline, "one held", |status| number(status, "held") == 1).await;
        let padding = "x".repeat(15_000);
        let all = u64::try_from(HELD).expect("a small number");
        for round in 0..3 {
            let mut crowd = Vec::new();
            for n in 0..HELD {
                let mut seat = Seat::app(&format!("{round}, number {n}"), everline.address()).await;
                let insert = format!("INSERT INTO t VALUES (-1) /*{padding}*/");
                if n % 2 == 0 {
                    seat.say(&format!("Q:{insert}")).await;
                } else {
                    seat.say(&format!("P::{insert} / B:: / E: / S / Q:{insert}")).await;
                }
                crowd.push(seat);
            }
            // What is beyond the bound is refused at once, so not all of them are held.
            until(&everline, "some held", |status| number(status, "held") > 2).await;
            let held = status(&everline).await;
            assert!(number(&held, "held_bytes") <= 200_000, "{held:#}");
            assert!(number(&held, "held") <= all, "{held:#}");
            drop(crowd);
            until(&everline, "one held", |status| number(status, "held") == 1).await;
        }
        cluster.primary_mut().start().await?;
        stays.hears("C[INSERT 0 1] / Z[I]").await;
        stays.ask("Q:SELECT n FROM t", "T[n] / D[1] / C[SELECT 1] / Z[I]").await;
        let after = status(&everline).await;
        assert_eq!(number(&after, "held"), 0, "{after:#}");
        assert_eq!(number(&after, "held_bytes"), 0, "{after:#}");
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_pipeline_of_many_segments_gets_an_answer_for_each() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "30s"]).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let mut flight = Seat::app("in flight", scene.address()).await;
        let mut held = Seat::app("held", scene.address()).await;
        let segments = |from: usize| {
            let insert = |n| format!("P::INSERT INTO t VALUES ({n}) / B:: / E: / S");
            (from..from + SEGMENTS).map(insert).collect::<Vec<_>>().join(" / ")
        };
        let sleeps = "P::SELECT pg_sleep(100) / B:: / E: / S";
        flight.say(&format!("{sleeps} / {}", segments(1000))).await;
        let query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        while scene.cluster.primary().value(query).await? != "1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        scene.strike(Fault::Kill).await?;
        scene.until("an outage", |status| !is_available(status)).await;
        // No error without a Sync of its own, and no Sync without one.
        flight.hears(&vec!["E:unknown / Z[I]"; SEGMENTS + 1].join(" / ")).await;
        held.say(&segments(0)).await;
        scene.until("one held", |status| number(status, "held") == 1).await;
        scene.succeed().await?;
        held.hears(&vec!["1 / 2 / C[INSERT 0 1] / Z[I]"; SEGMENTS].join(" / ")).await;
        for mut seat in [flight, held] {
            seat.is_served().await;
            seat.is_silent().await;
        }
        let rows = "SELECT count(*) || ' ' || max(n) FROM t";
        let expected = format!("{SEGMENTS} {}", SEGMENTS - 1);
        assert_eq!(scene.cluster.primary().value(rows).await?, expected);
        Ok(())
    });
}

#[test]
fn a_portal_ends_with_its_backend() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "30s"]).await?;
        let mut fetches = Seat::app("fetches", scene.address()).await;
        let mut cursor = Seat::app("has a cursor", scene.address()).await;
        let bind = "Q:BEGIN / P::SELECT n FROM generate_series(1, 3) n / B:p: / E:p:1 / S";
        fetches.ask(bind, "C[BEGIN] / Z[T] / 1 / 2 / D[1] / s / Z[T]").await;
        let declare = "Q:BEGIN / Q:DECLARE c CURSOR FOR SELECT 1";
        cursor.ask(declare, "C[BEGIN] / Z[T] / C[DECLARE CURSOR] / Z[T]").await;
        scene.strike(Fault::Kill).await?;
        scene.until("an outage", |status| !is_available(status)).await;
        for seat in [&mut fetches, &mut cursor] {
            seat.is_silent().await;
        }
        fetches.ask("E:p:1 / S", "E:lost / Z[E]").await;
        fetches.ask("C:P:p / D:P:p / S", "3 / n / Z[E]").await;
        cursor.ask("Q:FETCH c", "E:lost / Z[E]").await;
        scene.succeed().await?;
        for seat in [&mut fetches, &mut cursor] {
            seat.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        }
        let unknown = "E[34000 \"portal \\\"p\\\" does not exist\"] / Z[I]";
        fetches.ask("E:p:1 / S", unknown).await;
        cursor.ask("Q:FETCH c", "E[34000 \"cursor \\\"c\\\" does not exist\"] / Z[I]").await;
        let whole = "C[BEGIN] / Z[T] / 1 / 2 / D[1] / s / Z[T] / C[COMMIT] / Z[I]";
        fetches.ask(&format!("{bind} / Q:COMMIT"), whole).await;
        for mut seat in [fetches, cursor] {
            seat.ask("Q:SELECT 1", ONE).await;
            seat.is_silent().await;
        }
        Ok(())
    });
}
