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
        let mut piped = Seat::app("begun and going on in one segment", everline.address()).await;
        for seat in [&mut simple, &mut extended, &mut begun, &mut patient, &mut piped] {
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
        piped.say("P::BEGIN / B:: / E: / P::SELECT 1 / B:: / D:P: / E: / S / S").await;
        piped.hears("1 / 2 / C[BEGIN]").await;
        until(&everline, "five held", |status| number(status, "held") == 5).await;
        simple.hears("E:held / Z[I]").await;
        extended.hears("E:held / Z[I]").await;
        begun.hears("E:held / Z[E]").await;
        patient.hears("E:held").await;
        piped.hears("E:held / Z[E] / Z[E]").await;
        piped.ask("P::SELECT 1 / B:: / E: / S", "E:lost / Z[E]").await;
        piped.ask("P::ROLLBACK / B:: / E: / S", "1 / 2 / C[ROLLBACK] / Z[I]").await;
        assert!(since.elapsed() >= Duration::from_secs(2), "held for {:?}", since.elapsed());
        patient.ask("B:: / E: / S", "Z[I]").await;
        begun.ask("Q:SELECT 1", "E:lost / Z[E]").await;
        begun.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        cluster.primary_mut().start().await?;
        for mut seat in [simple, extended, begun, patient, piped] {
            seat.is_served().await;
            seat.is_silent().await;
        }
        assert_eq!(number(&status(&everline).await, "retryable_total"), 7);
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
        for held in ["Q:SELECT 1", "P::SELECT 1 / B:: / D:P: / E: / S"] {
            seat.say(held).await;
            until(&everline, "one held", |status| number(status, "held") == 1).await;
            let mut cancel = Client::connect(everline.address()).await?;
            cancel.say(|out| startup::cancel_request(out, process_id, &secret)).await?;
            assert_eq!(cancel.hears(Duration::from_secs(5)).await?, "closed");
            let heard = seat.hears("E:cancelled / Z[I]");
            timeout(AT_ONCE, heard).await.expect("cancelled at once");
            until(&everline, "none held", |status| number(status, "held") == 0).await;
        }
        seat.say("Q:SELECT 1").await;
        cluster.primary_mut().start().await?;
        seat.hears(ONE).await;
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn more_statements_than_may_be_held_are_refused_at_once() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        for (bound, most, fills) in [
            ("--held-statements-max", "2", "Q:SELECT 1".to_owned()),
            ("--held-bytes-max", "20000", format!("Q:SELECT 1 /*{}*/", "x".repeat(8_000))),
        ] {
            let everline = launch(&dsn("127.0.0.2", cluster.port()))
                .argument("--enable-backend-adaptive-ha")
                .arguments(["--failover-hold", "20s", bound, most])
                .start()
                .await?;
            until(&everline, "leader", is_available).await;
            let mut seats = Vec::new();
            for who in ["first", "second", "one too many"] {
                let mut seat = Seat::app(who, everline.address()).await;
                seat.is_served().await;
                seats.push(seat);
            }
            cluster.primary_mut().kill9();
            until(&everline, "outage", |status| !is_available(status)).await;
            let [first, second, late] = &mut seats[..] else { unreachable!("there are three") };
            first.say(&fills).await;
            second.say(&fills).await;
            until(&everline, "two held", |status| number(status, "held") == 2).await;
            for _ in 0..3 {
                let refused = late.ask(&fills, "E:too-many-held / Z[I]");
                timeout(AT_ONCE, refused).await.expect("refused at once");
                let extended = fills.replacen("Q:", "P::", 1) + " / B:: / E: / S";
                let refused = late.ask(&extended, "E:too-many-held / Z[I]");
                timeout(AT_ONCE, refused).await.expect("refused at once");
            }
            late.ask("Q:", "I / Z[I]").await;
            assert_eq!(number(&status(&everline).await, "held"), 2);
            cluster.primary_mut().start().await?;
            first.hears(ONE).await;
            second.hears(ONE).await;
            late.is_served().await;
            let status = status(&everline).await;
            assert_eq!(number(&status, "held"), 0, "{status:#}");
            assert_eq!(number(&status, "held_bytes"), 0, "{status:#}");
            keep_log(&everline);
        }
        Ok(())
    });
}

#[test]
fn what_is_held_is_sent_in_the_order_in_which_it_came() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        cluster.primary().sql("SET ROLE app; CREATE TABLE t (at serial, n int)").await?;
        let everline = launch(&dsn("127.0.0.2", cluster.port()))
            .argument("--enable-backend-adaptive-ha")
            .arguments(["--failover-hold", "20s", "--max-backend-connections", "2"])
            .start()
            .await?;
        until(&everline, "leader", is_available).await;
        let mut seats = Vec::new();
        for n in 0..12 {
            let mut seat = Seat::app(&format!("number {n}"), everline.address()).await;
            seat.is_served().await;
            seats.push(seat);
        }
        cluster.primary_mut().kill9();
        until(&everline, "outage", |status| !is_available(status)).await;
        for (n, seat) in (0_u64..).zip(&mut seats) {
            let insert = format!("INSERT INTO t (n) VALUES ({n})");
            if n % 2 == 0 {
                seat.say(&format!("Q:{insert}")).await;
            } else {
                seat.say(&format!("P::{insert} / B:: / E: / S")).await;
            }
            until(&everline, "one more held", |status| number(status, "held") == n + 1).await;
        }
        cluster.primary_mut().start().await?;
        for (n, seat) in (0..).zip(&mut seats) {
            let begin = if n % 2 == 0 { "" } else { "1 / 2 / " };
            seat.hears(&format!("{begin}C[INSERT 0 1] / Z[I]")).await;
        }
        let order = "SELECT string_agg(n::text, ',' ORDER BY at) FROM t";
        assert_eq!(cluster.primary().value(order).await?, "0,1,2,3,4,5,6,7,8,9,10,11");
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
        let mut leaves = Seat::app("leaves by the extended protocol", everline.address()).await;
        leaves.say("P::INSERT INTO t VALUES (3) / B:: / E: / S").await;
        until(&everline, "two held", |status| number(status, "held") == 2).await;
        drop(leaves);
        until(&everline, "one held", |status| number(status, "held") == 1).await;
        cluster.primary_mut().start().await?;
        stays.hears("C[INSERT 0 1] / Z[I]").await;
        stays.ask("Q:SELECT n FROM t", "T[n] / D[2] / C[SELECT 1] / Z[I]").await;
        let status = status(&everline).await;
        assert_eq!(number(&status, "held"), 0, "{status:#}");
        assert_eq!(number(&status, "held_bytes"), 0, "{status:#}");
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
