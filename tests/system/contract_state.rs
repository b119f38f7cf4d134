//! The failure contract for what belongs to a session, for resets without a leader, and for what
//! an operator sets: codes, and a pause of one database.

use std::time::Duration;

use everline_lab::Result;
use everline_lab::postgres::{Cluster, ClusterOptions};

use crate::console::console;
use crate::scene::{Fault, Scene, dsn, is_available, keep_log, launch, number, run, until};
use crate::seat::{ONE, Seat};

/// What a pool of asyncpg says when a connection comes back.
const RESET: &str = "Q:SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;";
const RESET_DONE: &str = "T[pg_advisory_unlock_all] / D[] / C[SELECT 1] / C[CLOSE CURSOR ALL] / \
                          C[UNLISTEN] / C[RESET] / Z[I]";

#[test]
fn who_a_session_is_and_what_it_set_follow_it() {
    run(state_follows(&["--failover-hold", "20s"]));
}

#[test]
fn who_a_session_is_and_what_it_set_follow_it_in_session_pooling() {
    run(state_follows(&["--failover-hold", "20s", "--pool-mode", "session"]));
}

/// Says something of which parameters may be told, too.
async fn done(seat: &mut Seat, script: &str, tag: &str) {
    seat.say(script).await;
    let heard = seat.client.until_ready().await.expect("an answer");
    let said: Vec<String> =
        heard.iter().filter(|message| message.tag != b'S').map(ToString::to_string).collect();
    assert_eq!(said.join(" / "), format!("C[{tag}] / Z[I]"), "{}: {script}", seat.who);
}

async fn state_follows(arguments: &[&str]) -> Result<()> {
    let mut scene = Scene::adaptive(Fault::Kill, arguments).await?;
    let roles = "CREATE ROLE other; GRANT other TO app; ALTER ROLE app SUPERUSER";
    scene.cluster.primary().sql(roles).await?;
    let came_with = [("search_path", "pg_catalog"), ("statement_timeout", "77s")];
    let address = scene.address();
    let mut role = Seat::login("role", address, "app", "app", &came_with).await;
    let mut identity = Seat::login("identity", address, "app", "app", &came_with).await;
    let mut reset = Seat::login("reset", address, "app", "app", &came_with).await;
    done(&mut role, "Q:SET ROLE other", "SET").await;
    done(&mut identity, "Q:SET SESSION AUTHORIZATION other", "SET").await;
    done(&mut reset, "Q:SET ROLE other", "SET").await;
    done(&mut reset, "Q:SET SESSION AUTHORIZATION other", "SET").await;
    for seat in [&mut role, &mut identity, &mut reset] {
        done(seat, "Q:SET work_mem = '3MB'", "SET").await;
        done(seat, "Q:SET statement_timeout = '5s'", "SET").await;
        done(seat, "Q:PREPARE \"a \"\"name\" AS SELECT 1", "PREPARE").await;
        let begun = "C[BEGIN] / Z[T] / C[SET] / Z[T] / C[SET] / Z[T]";
        let script = "Q:BEGIN / Q:SET work_mem = '9MB' / Q:SET search_path = public";
        seat.ask(script, begun).await;
        seat.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
    }
    done(&mut reset, "Q:RESET SESSION AUTHORIZATION", "RESET").await;
    done(&mut reset, "Q:RESET ROLE", "RESET").await;
    done(&mut reset, "Q:RESET work_mem", "RESET").await;
    done(&mut reset, "Q:SET statement_timeout TO DEFAULT", "SET").await;

    for round in 0..2 {
        let who = "Q:SELECT session_user, current_user";
        let names = "T[session_user,current_user]";
        let what = "Q:SELECT current_setting('search_path'), current_setting('work_mem'), \
                    current_setting('statement_timeout')";
        for (seat, users, settings) in [
            (&mut role, "app,other", "pg_catalog,3MB,5s"),
            (&mut identity, "other,other", "pg_catalog,3MB,5s"),
            (&mut reset, "app,app", "pg_catalog,4MB,77s"),
        ] {
            seat.say(who).await;
            let heard = seat.client.until_ready().await?;
            let said = heard.iter().filter(|message| message.tag != b'S');
            let said: Vec<String> = said.map(ToString::to_string).collect();
            let expected = format!("{names} / D[{users}] / C[SELECT 1] / Z[I]");
            assert_eq!(said.join(" / "), expected, "{}, round {round}", seat.who);
            let names = "T[current_setting,current_setting,current_setting]";
            seat.ask(what, &format!("{names} / D[{settings}] / C[SELECT 1] / Z[I]")).await;
            seat.ask("Q:EXECUTE \"a \"\"name\"", ONE).await;
        }
        if round == 0 {
            scene.strike(Fault::Kill).await?;
            scene.succeed().await?;
            scene.until_led_by(1).await;
        }
    }
    Ok(())
}

async fn adaptive(
    cluster: &Cluster,
    arguments: &[&str],
) -> Result<everline_lab::everline::Everline> {
    let everline = launch(&dsn("127.0.0.2", cluster.port()))
        .argument("--enable-backend-adaptive-ha")
        .arguments(arguments)
        .start()
        .await?;
    until(&everline, "leader", is_available).await;
    Ok(everline)
}

#[test]
fn the_reset_of_a_pool_succeeds_without_a_leader_and_when_it_is_lost() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        let everline = adaptive(&cluster, &["--failover-hold", "2s"]).await?;
        let mut flight = Seat::app("in flight", everline.address()).await;
        let mut without = Seat::app("without a leader", everline.address()).await;
        for seat in [&mut flight, &mut without] {
            seat.ask(RESET, RESET_DONE).await; // PostgreSQL's own answer
            seat.ask("Q:SET work_mem = '3MB'", "C[SET] / Z[I]").await;
        }
        cluster.primary_mut().freeze();
        flight.say(RESET).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        flight.is_silent().await;
        cluster.primary_mut().kill9();
        flight.hears(RESET_DONE).await;
        until(&everline, "outage", |status| !is_available(status)).await;
        without.ask(RESET, RESET_DONE).await;
        cluster.primary_mut().start().await?;
        until(&everline, "leader", is_available).await;
        for seat in [&mut flight, &mut without] {
            seat.ask("Q:SHOW work_mem", "T[work_mem] / D[4MB] / C[SHOW] / Z[I]").await;
            seat.is_silent().await;
        }
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn the_codes_for_rails_are_what_its_clients_hear() {
    run(async {
        let mut cluster = Cluster::start(ClusterOptions::single()).await?;
        let arguments = ["--failover-hold", "0s", "--sqlstate-preset", "rails"];
        let everline = adaptive(&cluster, &arguments).await?;
        let mut transaction = Seat::app("in a transaction", everline.address()).await;
        let mut flight = Seat::app("in flight", everline.address()).await;
        let begun = format!("C[BEGIN] / Z[T] / {}", ONE.replace("Z[I]", "Z[T]"));
        transaction.ask("Q:BEGIN / Q:SELECT 1", &begun).await;
        flight.is_served().await;
        cluster.primary_mut().freeze();
        flight.say("Q:SELECT 2").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.primary_mut().kill9();
        flight.hears("E:unknown / Z[I]").await;
        until(&everline, "outage", |status| !is_available(status)).await;
        let message = "could not serialize access due to backend failover; restart transaction";
        let hint = "The transaction might succeed if retried.";
        let error = |detail: &str| {
            format!(
                "E[40P01 \"{message}\"] {{SERROR}} {{VERROR}} {{C40P01}} {{M{message}}} \
                 {{D{detail}}} {{H{hint}}}"
            )
        };
        let lost = error("The transaction was rolled back with its backend.");
        transaction.ask("Q:SELECT 1", &format!("{lost} / Z[E]")).await;
        transaction.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        let held = error("There was no leader to send the statement to; it was not executed.");
        transaction.ask("Q:SELECT 1", &format!("{held} / Z[I]")).await;
        flight.ask("P::SELECT 1 / B:: / E: / S", &format!("{held} / Z[I]")).await;
        cluster.primary_mut().start().await?;
        until(&everline, "leader", is_available).await;
        transaction.is_served().await;
        flight.is_served().await;
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn one_database_pauses_and_another_is_served() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let admin = console(scene.address()).await;
        let mut paused = Seat::app("paused", scene.address()).await;
        let mut served = Seat::login("served", scene.address(), "app", "postgres", &[]).await;
        admin.simple_query("PAUSE app").await.expect("a pause");
        paused.say("Q:SELECT 1").await;
        scene.until("a statement held", |status| number(status, "held") == 1).await;
        for _ in 0..10 {
            served.is_served().await;
        }
        served.ask("Q:SELECT 1", ONE).await;
        paused.is_silent().await;
        admin.simple_query("RESUME app").await.expect("the end of the pause");
        paused.hears(ONE).await;
        served.is_served().await;
        Ok(())
    });
}

#[test]
fn postgresql_says_what_is_wrong_with_the_end_of_a_transaction() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let mut seat = Seat::app("speaks nonsense", scene.address()).await;
        for text in ["COMMIT nonsense", "ROLLBACK nonsense", "END nonsense"] {
            let error = "E[42601 \"syntax error at or near \\\"nonsense\\\"\"]";
            seat.ask(&format!("Q:{text}"), &format!("{error} / Z[I]")).await;
            seat.ask(&format!("P::{text} / B:: / E: / S"), &format!("{error} / Z[I]")).await;
            seat.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
            seat.ask(&format!("Q:{text}"), &format!("{error} / Z[E]")).await;
            seat.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        }
        Ok(())
    });
}

#[test]
fn what_a_rollback_leaves_is_there_on_the_new_leader() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "30s"]).await?;
        let mut rolled_back = Seat::app("has prepared and rolled back", scene.address()).await;
        let mut lost = Seat::app("has prepared in a transaction", scene.address()).await;
        let mut role = Seat::app("has given its role back", scene.address()).await;
        for seat in [&mut rolled_back, &mut lost] {
            seat.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
            seat.ask("Q:PREPARE p AS SELECT 1", "C[PREPARE] / Z[T]").await;
        }
        rolled_back.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        rolled_back.ask("Q:EXECUTE p", ONE).await;
        done(&mut role, "Q:SET ROLE app", "SET").await;
        done(&mut role, "Q:RESET SESSION AUTHORIZATION", "RESET").await;
        let none = "T[role] / D[none] / C[SHOW] / Z[I]";
        role.ask("Q:SHOW role", none).await;
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        scene.until_led_by(1).await;
        rolled_back.ask("Q:EXECUTE p", ONE).await;
        lost.ask("Q:EXECUTE p", "E:lost / Z[E]").await;
        lost.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        lost.ask("Q:EXECUTE p", ONE).await;
        role.ask("Q:SHOW role", none).await;
        Ok(())
    });
}
