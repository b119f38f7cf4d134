//! Bounds: of databases, users and sessions, each with its own word to the client.

use std::time::Duration;

use everline_lab::Result;
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER};

use crate::login::{Front, file, outcome};
use crate::scene::{run, status, until};
use crate::seat::{ONE, Seat};

async fn front(name: &str, config: &str) -> Result<Front> {
    let config = file(name, config)?;
    Front::start(|launch| launch.argument("--config").argument(config)).await
}

/// An error and the end of the connection.
async fn ends(seat: &mut Seat, code: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let heard = seat.next(deadline).await;
    assert!(heard.contains(&format!("E[FATAL {code}")), "{}: {heard}", seat.who);
    let heard = seat.next(deadline).await;
    assert_eq!(heard, "Some(Closed)", "{}", seat.who);
}

#[test]
fn databases_and_users_have_modes_and_bounds_of_their_own() {
    run(async {
        let front = front(
            "own.toml",
            "only_listed_databases = true
             [databases.app]
             [databases.single]
             backend_database = 'app'
             pool_mode = 'statement'
             connections_max = 1
             [databases.whole]
             backend_database = 'app'
             pool_mode = 'session'
             clients_max = 1
             [[users]]
             name = 'app'
             clients_max = 4\n",
        )
        .await?;
        let address = front.address();
        let heard = outcome(address, APP_USER, APP_PASSWORD, "postgres", &[]).await?;
        assert!(
            heard.contains("E[FATAL 3D000 \"database \\\"postgres\\\" does not exist\"]"),
            "{heard}"
        );
        let mut single = Seat::login("single", address, APP_USER, "single", &[]).await;
        let name = "T[current_database] / D[app] / C[SELECT 1] / Z[I]";
        single.ask("Q:SELECT current_database()", name).await;
        let refused = "E[0A000 \"transactions over several statements are not allowed in \
                       statement pooling\"]";
        single.say("Q:BEGIN").await;
        let heard = single.client.until_ready().await?;
        assert_eq!(heard[0].to_string(), refused);
        single.ask("Q:SELECT 1; SELECT 1", &format!("{} / {ONE}", &ONE[..ONE.len() - 7])).await;
        let mut whole = Seat::login("whole", address, APP_USER, "whole", &[]).await;
        let pid = "Q:CREATE TEMP TABLE t ()";
        whole.ask(pid, "C[CREATE TABLE] / Z[I]").await;
        whole.ask("Q:SELECT count(*) FROM t", "T[count] / D[0] / C[SELECT 1] / Z[I]").await;
        let heard = outcome(address, APP_USER, APP_PASSWORD, "whole", &[]).await?;
        let words = "too many connections for database \\\"whole\\\"";
        assert!(heard.contains(&format!("E[FATAL 53300 \"{words}\"]")), "{heard}");
        let _third = Seat::app("third", address).await;
        let _fourth = Seat::app("fourth", address).await;
        let heard = outcome(address, APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?;
        let words = "too many connections for role \\\"app\\\"";
        assert!(heard.contains(&format!("E[FATAL 53300 \"{words}\"]")), "{heard}");
        drop(whole);
        until(&front.everline, "a place", |status| status["clients"] == 3).await;
        Seat::login("whole again", address, APP_USER, "whole", &[]).await.is_served().await;
        Ok(())
    });
}

#[test]
fn a_session_may_be_quiet_for_so_long_and_a_statement_run_for_so_long() {
    run(async {
        let front = front(
            "patience.toml",
            "message_bytes_max = 100000
             [databases.idle]
             backend_database = 'app'
             client_idle_timeout = '400ms'
             [databases.open]
             backend_database = 'app'
             idle_in_transaction_timeout = '400ms'
             [databases.slow]
             backend_database = 'app'
             query_timeout = '400ms'\n",
        )
        .await?;
        let address = front.address();
        let mut idle = Seat::login("idle", address, APP_USER, "idle", &[]).await;
        idle.is_served().await;
        idle.ask("Q:SELECT pg_sleep(0.6)", "T[pg_sleep] / D[] / C[SELECT 1] / Z[I]").await;
        ends(&mut idle, "57P05").await;
        let mut open = Seat::login("open", address, APP_USER, "open", &[]).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        open.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
        open.ask("Q:SELECT 1", &ONE.replace("Z[I]", "Z[T]")).await;
        ends(&mut open, "25P03").await;
        let mut slow = Seat::login("slow", address, APP_USER, "slow", &[]).await;
        slow.say("Q:SELECT pg_sleep(30)").await;
        let heard = slow.client.until_ready().await?;
        let words = "E[57014 \"canceling statement due to user request\"]";
        assert!(heard.iter().any(|message| message.to_string() == words), "{heard:?}");
        slow.is_served().await;
        let mut large = Seat::app("large", address).await;
        large.say(&format!("Q:SELECT '{}'", "x".repeat(200_000))).await;
        ends(&mut large, "08P01").await;
        // What the lost sessions held is free again.
        until(&front.everline, "nothing lent", |status| {
            let pools = status["pools"].as_array().cloned().unwrap_or_default();
            pools.iter().all(|pool| pool["lent"] == 0)
        })
        .await;
        Ok(())
    });
}

#[test]
fn a_pool_is_warm_while_a_client_is_there_and_connections_grow_old() {
    run(async {
        let front = front(
            "warm.toml",
            "pool_size_min = 3
             pool_idle_timeout = '300ms'
             pool_lifetime = '2s'\n",
        )
        .await?;
        let seat = Seat::app("one", front.address()).await;
        let idle =
            |status: &serde_json::Value| status["pools"][0]["idle"].as_u64().unwrap_or_default();
        until(&front.everline, "three warm connections", |status| idle(status) == 3).await;
        let pids = "SELECT string_agg(pid::text, ',') FROM pg_stat_activity
                    WHERE usename = 'app' AND application_name <> 'everline'";
        let before = front.cluster.primary().value(pids).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        until(&front.everline, "three again", |status| idle(status) == 3).await;
        let after = front.cluster.primary().value(pids).await?;
        assert!(before.is_empty() || before.split(',').all(|pid| !after.contains(pid)), "{before}");
        drop(seat);
        until(&front.everline, "none", |status| {
            status["pools"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
        let status = status(&front.everline).await;
        assert_eq!(status["available"], true);
        Ok(())
    });
}
