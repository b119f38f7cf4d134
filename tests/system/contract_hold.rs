//! The failure contract while there is no leader: how long statements and logins wait, and what
//! they hear in the end.

use std::time::Duration;

use everline_lab::Result;
use everline_lab::client::Client;
use everline_lab::everline::Everline;
use everline_lab::ports;
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions, Stop};
use everline_wire::startup;
use tokio::time::{Instant, timeout};

use crate::scene::{dsn, is_available, keep_log, launch, number, run, status, until};
use crate::seat::{ONE, Seat};

/// Far more than an answer given at once takes, and less than the default hold.
const AT_ONCE: Duration = Duration::from_secs(4);

async fn adaptive(port: u16, hold: &str) -> Result<Everline> {
    let everline = launch(&dsn("127.0.0.2", port))
        .argument("--enable-backend-adaptive-ha")
        .arguments(["--failover-hold", hold])
        .start()
        .await?;
    until(&everline, "leader", is_available).await;
    Ok(everline)
}

#[test]
fn a_statement_is_held_for_the_hold_and_then_refused() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        let everline = adaptive(cluster.port(), "2s").await?;
        let mut simple = Seat::app("simple", everline.address()).await;
        let mut extended = Seat::app("extended", everline.address()).await;
        let mut begun = Seat::app("in a transaction", everline.address()).await;
        let mut patient = Seat::app("pipelined", everline.address()).await;
        for seat in [&mut simple, &mut extended, &mut begun, &mut patient] {
            seat.is_served().await;
        }
        cluster.primary_mut().kill9();
        until(&everline, "outage", |status| !is_available(status)).await;
        begun.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
        let since = Instant::now();
        simple.say("Q:SELECT 1").await;
        extended.say("P::SELECT 1 / B:: / E: / S").await;
        begun.say("Q:SELECT 1").await;
        patient.say("P::SELECT 1 / H").await;
        until(&everline, "four held", |status| number(status, "held") == 4).await;
        simple.hears("E:held / Z[I]").await;
        extended.hears("E:held / Z[I]").await;
        begun.hears("E:held / Z[E]").await;
        patient.hears("E:held").await;
        assert!(since.elapsed() >= Duration::from_secs(2), "held for {:?}", since.elapsed());
        patient.ask("B:: / E: / S", "Z[I]").await;
        begun.ask("Q:SELECT 1", "E:lost / Z[E]").await;
        begun.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        cluster.primary_mut().start().await?;
        for mut seat in [simple, extended, begun, patient] {
            seat.is_served().await;
            seat.is_silent().await;
        }
        assert_eq!(number(&status(&everline).await, "retryable_total"), 5);
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn without_a_hold_a_statement_is_refused_at_once() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        let everline = adaptive(cluster.port(), "0s").await?;
        let mut seat = Seat::app("impatient", everline.address()).await;
        seat.is_served().await;
        cluster.primary_mut().kill9();
        until(&everline, "outage", |status| !is_available(status)).await;
        for _ in 0..3 {
            let asked = seat.ask("Q:SELECT 1", "E:held / Z[I]");
            timeout(AT_ONCE, asked).await.expect("refused at once");
            let asked = seat.ask("P::SELECT 1 / B:: / E: / S", "E:held / Z[I]");
            timeout(AT_ONCE, asked).await.expect("refused at once");
        }
        cluster.primary_mut().start().await?;
        until(&everline, "leader", is_available).await;
        seat.is_served().await;
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_held_statement_can_be_cancelled() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        let everline = adaptive(cluster.port(), "20s").await?;
        let mut seat = Seat::app("held", everline.address()).await;
        cluster.primary_mut().kill9();
        until(&everline, "outage", |status| !is_available(status)).await;
        let (process_id, secret) = seat.client.key().expect("a key").clone();
        seat.say("Q:SELECT 1").await;
        until(&everline, "one held", |status| number(status, "held") == 1).await;
        let mut cancel = Client::connect(everline.address()).await?;
        cancel.say(|out| startup::cancel_request(out, process_id, &secret)).await?;
        assert_eq!(cancel.hears(Duration::from_secs(5)).await?, "closed");
        let heard = seat.hears("E:cancelled / Z[I]");
        timeout(AT_ONCE, heard).await.expect("cancelled at once");
        seat.say("Q:SELECT 1").await;
        cluster.primary_mut().start().await?;
        seat.hears(ONE).await;
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn who_leaves_while_held_is_forgotten() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        cluster.primary().sql("SET ROLE app; CREATE TABLE t (n int)").await?;
        let everline = adaptive(cluster.port(), "20s").await?;
        let mut leaves = Seat::app("leaves", everline.address()).await;
        let mut stays = Seat::app("stays", everline.address()).await;
        cluster.primary_mut().kill9();
        until(&everline, "outage", |status| !is_available(status)).await;
        leaves.say("Q:INSERT INTO t VALUES (1)").await;
        stays.say("Q:INSERT INTO t VALUES (2)").await;
        until(&everline, "two held", |status| number(status, "held") == 2).await;
        drop(leaves);
        until(&everline, "one held", |status| number(status, "held") == 1).await;
        cluster.primary_mut().start().await?;
        stays.hears("C[INSERT 0 1] / Z[I]").await;
        stays.ask("Q:SELECT n FROM t", "T[n] / D[2] / C[SELECT 1] / Z[I]").await;
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_login_of_which_nothing_is_known_waits_and_is_turned_away() {
    run(async {
        let nobody = ports::free_address()?;
        let everline = launch(&dsn("127.0.0.1", nobody.port()))
            .argument("--enable-backend-adaptive-ha")
            .arguments(["--failover-hold", "1s"])
            .start()
            .await?;
        let mut client = Client::connect(everline.address()).await?;
        let since = Instant::now();
        let answers = client.login(APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?;
        assert!(since.elapsed() >= Duration::from_secs(1), "waited for {:?}", since.elapsed());
        let heard: Vec<String> = answers.iter().map(crate::seat::heard).collect();
        let login = ["R[SCRAM-SHA-256]", "R[sasl continue]", "R[sasl final]"];
        assert_eq!(heard, [&login[..], &["E:no-leader"]].concat());
        assert_eq!(client.hears(AT_ONCE).await?, "closed");
        let (code, _) = everline.get("/server/status/ready").await?;
        assert_eq!(code, 503);
        let (code, _) = everline.get("/server/status/alive").await?;
        assert_eq!(code, 200);
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_login_before_the_first_leader_waits_for_it() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        cluster.primary_mut().stop(Stop::Fast).await?;
        let everline = launch(&dsn("127.0.0.2", cluster.port()))
            .argument("--enable-backend-adaptive-ha")
            .arguments(["--failover-hold", "20s"])
            .start()
            .await?;
        let address = everline.address();
        let waits = tokio::spawn(async move { Seat::app("early", address).await });
        until(&everline, "one held", |status| number(status, "held") == 1).await;
        cluster.primary_mut().start().await?;
        let mut seat = waits.await.expect("a login");
        seat.is_served().await;
        keep_log(&everline);
        Ok(())
    });
}
