//! What Everline may not do in Consul, and what is not there.

use std::time::Duration;

use everline_lab::consul::{Agent, Kind};
use everline_lab::everline::Everline;
use everline_lab::postgres::ClusterOptions;
use serde_json::Value;

use super::stage::{HOLD, NAME, STEP_MAX, cluster_and_sentinel, launch, run};
use crate::scene::{self, number};
use crate::seat::{ONE, Seat};

/// Lines of the log that say `words` at `level`.
fn said(everline: &Everline, level: &str, words: &str) -> usize {
    let log = everline.log();
    log.lines().filter(|line| line.contains(level) && line.contains(words)).count()
}

#[test]
fn with_a_token_that_may_only_read_it_follows_unregistered_and_says_so_once() {
    run(async {
        let agent = Agent::start(Kind::Guarded).await?;
        let rules = r#"key_prefix "stolon/cluster/" { policy = "read" }"#;
        let token = agent.api().make_token("reader", rules).await?;
        let (mut cluster, sentinel) =
            cluster_and_sentinel(&agent, ClusterOptions::default()).await?;
        let everline = launch(agent.address(), NAME)
            .arguments(HOLD)
            .variable("CONSUL_HTTP_TOKEN", &token)
            .start()
            .await?;
        scene::until(&everline, "leader", scene::is_available).await;
        let mut seat = Seat::app("waiting", everline.address()).await;
        seat.is_served().await;
        assert_eq!(sentinel.proxies().await?, []);
        // Without any proxy the generation grows at every cycle, which is no change.
        let before = scene::status(&everline).await;
        for _ in 0..20 {
            sentinel.cycle().await?;
        }
        seat.is_served().await;
        let after = scene::status(&everline).await;
        assert_eq!(number(&before, "epoch"), number(&after, "epoch"));
        sentinel.pause();
        sentinel.elect(1).await?;
        let is_not = |status: &Value| !scene::is_available(status);
        scene::until(&everline, "end of service", is_not).await;
        seat.say("Q:SELECT 1").await;
        seat.is_silent().await;
        cluster.promote(1).await?;
        sentinel.cycle().await?;
        seat.hears(ONE).await;
        sentinel.resume();
        tokio::time::sleep(Duration::from_secs(4)).await;
        seat.is_served().await;
        assert_eq!(said(&everline, "WARN", "regist"), 1, "{}", everline.log());
        assert!(!everline.log().contains(&token), "the token stands in the log");
        scene::keep_log(&everline);
        Ok(())
    });
}

#[test]
fn it_waits_for_a_cluster_that_is_not_there_yet() {
    run(async {
        let agent = Agent::start(Kind::Forgetful).await?;
        let everline = launch(agent.address(), NAME).arguments(HOLD).start().await?;
        everline.logged("stolon/cluster/lab/clusterdata", STEP_MAX).await?;
        let address = everline.address();
        let waiting = tokio::spawn(async move { Seat::app("early", address).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished(), "a client is not held while there is no cluster");
        let (_cluster, _sentinel) = cluster_and_sentinel(&agent, ClusterOptions::default()).await?;
        let mut seat = tokio::time::timeout(STEP_MAX, waiting).await.unwrap().unwrap();
        seat.is_served().await;
        scene::keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_refused_token_is_said_clearly_and_clients_are_held() {
    run(async {
        let agent = Agent::start(Kind::Guarded).await?;
        let (_cluster, _sentinel) = cluster_and_sentinel(&agent, ClusterOptions::default()).await?;
        let everline = launch(agent.address(), NAME).arguments(HOLD).start().await?;
        everline.logged("403", STEP_MAX).await?;
        let address = everline.address();
        let waiting = tokio::spawn(async move { Seat::app("early", address).await });
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!waiting.is_finished(), "a client is not held while Consul refuses");
        let lines = said(&everline, "", "403");
        assert!(lines <= 10, "{lines} lines of log in three seconds");
        waiting.abort();
        scene::keep_log(&everline);
        Ok(())
    });
}

#[test]
fn data_that_makes_no_sense_stops_service_and_good_data_resumes_it() {
    run(async {
        let stage = super::stage::Stage::start().await?;
        let mut seat = Seat::app("waiting", stage.address()).await;
        seat.is_served().await;
        stage.sentinel.pause();
        let good = stage.sentinel.data().await?;
        let mut other = good.clone();
        other["formatVersion"] = 2.into();
        for bad in ["{", "", "null", "[1]", &other.to_string()] {
            stage.sentinel.overwrite(bad.as_bytes()).await?;
            stage.until_unavailable().await;
            seat.say("Q:SELECT 1").await;
            seat.is_silent().await;
            stage.sentinel.overwrite(good.to_string().as_bytes()).await?;
            seat.hears(ONE).await;
        }
        Ok(())
    });
}
