//! The bugs of the system that Everline comes from (Gel's backend HA), each as a test that passes
//! here: what it does there in one sentence, and what holds here.
//!
//! Those that a smaller test proves stand beside what they are about; the whole list is in
//! `docs/manual/how-we-test.md`.

use std::time::Duration;

use everline_lab::everline::get;
use tokio::time::{Instant, timeout};

use crate::scene::{Fault, Scene, is_available, number, run};
use crate::seat::{ONE, Seat};

/// Far more than an answer takes that waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(4);

/// How many connections all pools count as `what`.
async fn counted(scene: &Scene, what: &str) -> u64 {
    let status = scene.status().await;
    let pools = status["pools"].as_array().expect("a list of pools");
    pools.iter().map(|pool| number(pool, what)).sum()
}

/// There: a status probe that gives up during an outage takes the lock of the system connection
/// with it, and after the recovery every probe is answered 503 for ever; liveness fails with the
/// backend, and readiness stays "OK" for up to ten seconds of an outage.
#[test]
fn probes_given_up_during_an_outage_leave_nothing_behind() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Freeze, &[]).await?;
        let http = scene.everline.http_address();
        let mut seat = Seat::app("client", scene.address()).await;
        seat.is_served().await;
        scene.strike(Fault::Freeze).await?;
        scene.until("outage", |status| !is_available(status)).await;
        for _ in 0..50 {
            // Given up at every stage of the way.
            drop(timeout(Duration::from_micros(300), get(http, "/server/status/ready")).await);
            let began = Instant::now();
            assert_eq!(get(http, "/server/status/ready").await?.0, 503);
            assert_eq!(get(http, "/server/status/alive").await?.0, 200);
            assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        }
        scene.succeed().await?;
        scene.until_led_by(1).await;
        assert_eq!(get(http, "/server/status/ready").await?.0, 200);
        seat.is_served().await;
        Ok(())
    });
}

/// There: dropping the pool forgets to take the connections in use off its count, so after each
/// failover there is less room; and who waits for a connection at that moment is not woken and
/// hangs until somebody else comes.
#[test]
fn who_waits_for_a_connection_during_a_failover_is_served_and_the_room_is_whole() {
    run(async {
        let arguments = ["--max-backend-connections", "3", "--failover-hold", "20s"];
        let mut scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        for reign in 1..=2 {
            let mut working = Vec::new();
            for who in ["first", "second"] {
                let mut seat = Seat::app(who, scene.address()).await;
                seat.say("Q:SELECT pg_sleep(100)").await;
                working.push(seat);
            }
            let mut waiting = Vec::new();
            for who in ["third", "fourth", "fifth", "sixth"] {
                let mut seat = Seat::app(who, scene.address()).await;
                seat.say("Q:SELECT 1").await;
                waiting.push(seat);
            }
            scene.until("four wait", |status| number(&status["pools"][0], "waiting") == 4).await;
            scene.strike(Fault::Kill).await?;
            for seat in &mut working {
                seat.hears("E:unknown / Z[I]").await;
            }
            if reign == 1 {
                scene.succeed().await?;
            } else {
                scene.cluster.primary_mut().start().await?;
            }
            for seat in &mut waiting {
                seat.hears(ONE).await;
            }
            // Both places are there again: two transactions at the same time.
            for seat in &mut working {
                seat.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
                seat.ask("Q:SELECT 1", &ONE.replace("Z[I]", "Z[T]")).await;
            }
            assert_eq!(counted(&scene, "lent").await, 2);
            for seat in &mut working {
                seat.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
            }
            assert_eq!(counted(&scene, "lent").await, 0);
        }
        Ok(())
    });
}

/// There: the count of backend connections grows by one with every new system connection.
#[test]
fn a_system_connection_that_comes_back_is_not_counted_twice() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let mut seat = Seat::app("client", scene.address()).await;
        let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        for _ in 0..5 {
            seat.is_served().await;
            scene.until("idle", |status| number(&status["pools"][0], "idle") == 1).await;
            let sum = counted(&scene, "idle").await + counted(&scene, "lent").await;
            assert_eq!(sum + counted(&scene, "dialling").await, 1);
            let epoch = number(&scene.status().await, "epoch");
            scene.cluster.primary().sql(all).await?;
            scene
                .until("the leader again", |status| {
                    is_available(status) && number(status, "epoch") > epoch
                })
                .await;
        }
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
        seat.is_served().await;
        let open = scene.cluster.primary().value(sessions).await?;
        assert_eq!(open, "2", "one system connection and one of the pool");
        Ok(())
    });
}

/// There: a role with a connection limit ends the start with a type error.
#[test]
fn a_role_with_a_connection_limit_is_served() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "20s"]).await?;
        scene.cluster.primary().sql("ALTER ROLE app CONNECTION LIMIT 3").await?;
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        let mut seats = Vec::new();
        for _ in 0..6 {
            let mut seat = Seat::app("one of many", scene.address()).await;
            seat.say("Q:SELECT 1 FROM pg_sleep(0.05)").await;
            seats.push(seat);
        }
        for seat in &mut seats {
            seat.hears(ONE).await;
        }
        Ok(())
    });
}
