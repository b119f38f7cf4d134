//! Many clients over few backend connections: what belongs to a session follows it, and nobody
//! else sees it.

use std::time::Duration;

use everline_lab::Result;
use everline_lab::client::Client;
use everline_wire::startup;

use crate::scene::{Fault, Scene, number, run};
use crate::seat::{ONE, Seat};

/// Two connections beside the system connection.
const FEW: &[&str] = &["--max-backend-connections", "3", "--failover-hold", "20s"];

/// Takes a connection out of the pool for as long as it lives.
async fn occupy(scene: &Scene) -> Seat {
    let mut seat = Seat::app("occupies a connection", scene.address()).await;
    seat.ask("Q:BEGIN / Q:SELECT 1", &format!("C[BEGIN] / Z[T] / {}", ONE.replace('I', "T"))).await;
    seat
}

async fn release(mut seat: Seat) {
    seat.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
}

#[test]
fn prepared_statements_follow_their_client() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, FEW).await?;
        let mut first = Seat::app("first", scene.address()).await;
        let mut second = Seat::app("second", scene.address()).await;
        let row = |word: &str| format!("2 / D[{word}] / C[SELECT 1] / Z[I]");
        first.ask("P:a:SELECT 'first' || $1 / S", "1 / Z[I]").await;
        second.ask("P:a:SELECT 'second' || $1 / S", "1 / Z[I]").await;
        for round in 0..3 {
            let occupied = if round == 1 { Some(occupy(&scene).await) } else { None };
            first.ask("B::a:1 / E: / S", &row("first1")).await;
            second.ask("B::a:2 / E: / S", &row("second2")).await;
            if let Some(seat) = occupied {
                release(seat).await;
            }
        }
        // The unnamed one is not where the other client left its own.
        first.ask("P::SELECT 'unnamed first' / S", "1 / Z[I]").await;
        second.ask("P::SELECT 'unnamed second' / S", "1 / Z[I]").await;
        first.ask("B:: / E: / S", &row("unnamed first")).await;
        second.ask("B:: / E: / S", &row("unnamed second")).await;
        first.ask("D:S:a / S", "t / T[?column?] / Z[I]").await;

        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        first.ask("B::a:3 / E: / S", &row("first3")).await;
        second
            .ask("B::a:4 / D:P: / E: / S", &row("second4").replace("2 / ", "2 / T[?column?] / "))
            .await;
        first.ask("B:: / E: / S", &row("unnamed first")).await;
        first.ask("C:S:a / S", "3 / Z[I]").await;
        let gone = "E[26000 \"prepared statement \\\"a\\\" does not exist\"] / Z[I]";
        first.ask("B::a:5 / E: / S", gone).await;
        second.ask("B::a:6 / E: / S", &row("second6")).await;
        Ok(())
    });
}

#[test]
fn settings_follow_their_client_and_nobody_else() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, FEW).await?;
        let mut sets = Seat::app("sets", scene.address()).await;
        let mut plain = Seat::app("plain", scene.address()).await;
        sets.ask("Q:SET application_name = 'mine'", "C[SET] / S[application_name=mine] / Z[I]")
            .await;
        sets.ask("Q:SET TimeZone = 'Asia/Tokyo'", "C[SET] / S[TimeZone=Asia/Tokyo] / Z[I]").await;
        sets.ask("Q:SET search_path = pg_catalog", "C[SET] / Z[I]").await;
        sets.ask("P::SET work_mem = '3MB' / B:: / E: / S", "1 / 2 / C[SET] / Z[I]").await;
        let show = "Q:SELECT current_setting('application_name'), current_setting('TimeZone'), \
                    current_setting('search_path'), current_setting('work_mem')";
        let names = "T[current_setting,current_setting,current_setting,current_setting]";
        let mine = format!("{names} / D[mine,Asia/Tokyo,pg_catalog,3MB] / C[SELECT 1] / Z[I]");
        let zone = plain.client.parameter("TimeZone").expect("a zone").to_owned();
        let others =
            format!("{names} / D[everline,{zone},\"$user\", public,4MB] / C[SELECT 1] / Z[I]");
        for round in 0..3 {
            let occupied = if round == 1 { Some(occupy(&scene).await) } else { None };
            sets.ask(show, &mine).await;
            plain.ask(show, &others).await;
            plain.ask(show, &others).await;
            if let Some(seat) = occupied {
                release(seat).await;
            }
        }
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        sets.ask(show, &mine).await;
        plain.ask(show, &others).await;
        sets.ask("Q:RESET search_path", "C[RESET] / Z[I]").await;
        sets.ask("Q:SHOW search_path", "T[search_path] / D[\"$user\", public] / C[SHOW] / Z[I]")
            .await;
        // What is in force again is said before the client goes on.
        let told = format!("S[TimeZone={zone}] / S[application_name=everline] / ");
        let heard = told_apart(&mut sets, "Q:DISCARD ALL").await;
        assert_eq!(heard, format!("{told}C[DISCARD ALL] / Z[I]"));
        sets.ask(show, &others).await;
        Ok(())
    });
}

/// Says something; what comes, with what is told of parameters sorted.
async fn told_apart(seat: &mut Seat, script: &str) -> String {
    seat.say(script).await;
    let messages = seat.client.until_ready().await.expect("an answer");
    let (mut told, said): (Vec<_>, Vec<_>) = messages.iter().partition(|one| one.tag == b'S');
    told.sort_by_key(ToString::to_string);
    let all = told.into_iter().chain(said);
    all.map(ToString::to_string).collect::<Vec<_>>().join(" / ")
}

#[test]
fn reset_goes_back_to_what_the_client_came_with() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, FEW).await?;
        let came_with = [("search_path", "pg_catalog"), ("application_name", "me")];
        let address = scene.address();
        let mut seat = Seat::login("particular", address, "app", "app", &came_with).await;
        let mut other = Seat::app("other", address).await;
        let path = |path: &str| format!("T[search_path] / D[{path}] / C[SHOW] / Z[I]");
        for reset in
            ["Q:RESET search_path", "Q:RESET ALL", "Q:DISCARD ALL", "P::RESET ALL / B:: / E: / S"]
        {
            seat.ask("Q:SET search_path = public", "C[SET] / Z[I]").await;
            seat.say(reset).await;
            let heard = seat.client.until_ready().await?;
            assert_eq!(heard.last().expect("an answer").to_string(), "Z[I]", "{reset}");
            let heard = told_apart(&mut seat, "Q:SHOW search_path").await;
            assert!(heard.ends_with(&path("pg_catalog")), "after {reset}: {heard}");
            other.ask("Q:SHOW search_path", &path("\"$user\", public")).await;
            assert_eq!(seat.client.parameter("application_name"), Some("me"), "{reset}");
        }
        Ok(())
    });
}

#[test]
fn temporary_tables_keep_their_connection_and_end_the_session_when_it_is_lost() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, FEW).await?;
        let mut owner = Seat::app("owner", scene.address()).await;
        owner.ask("Q:CREATE TEMP TABLE mine (n int)", "C[CREATE TABLE] / Z[I]").await;
        let mut others = Vec::new();
        for at in 0..3 {
            others.push(Seat::app(&format!("other {at}"), scene.address()).await);
        }
        for _ in 0..3 {
            owner.ask("Q:INSERT INTO mine VALUES (1)", "C[INSERT 0 1] / Z[I]").await;
            for other in &mut others {
                other.is_served().await;
                let missing = "E[42P01 \"relation \\\"mine\\\" does not exist\"] / Z[I]";
                other.ask("Q:SELECT * FROM mine", missing).await;
            }
        }
        owner.ask("Q:SELECT count(*) FROM mine", "T[count] / D[3] / C[SELECT 1] / Z[I]").await;
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        scene.until_led_by(1).await;
        owner.is_silent().await;
        owner.ask("Q:SELECT 1", "E:temporary-lost / Some(Closed)").await;
        for other in &mut others {
            other.is_served().await;
        }
        // A session that goes takes its table along.
        let mut owner = Seat::app("another owner", scene.address()).await;
        owner.ask("Q:CREATE TEMP TABLE mine (n int)", "C[CREATE TABLE] / Z[I]").await;
        drop(owner);
        for other in &mut others {
            let missing = "E[42P01 \"relation \\\"mine\\\" does not exist\"] / Z[I]";
            other.ask("Q:SELECT * FROM mine", missing).await;
        }
        Ok(())
    });
}

#[test]
fn state_that_cannot_follow_ends_its_session_and_state_that_can_goes_along() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "20s"]).await?;
        let mut seats = Vec::new();
        for (make, made, lost) in [
            ("CREATE TEMP TABLE mine (n int)", "C[CREATE TABLE]", "E:temporary-lost"),
            (
                "SELECT pg_advisory_lock(1)",
                "T[pg_advisory_lock] / D[] / C[SELECT 1]",
                "E:locks-lost",
            ),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "C[DECLARE CURSOR]", "E:cursor-lost"),
            (
                "SELECT set_config('work_mem', upper('3mb'), false)",
                "T[set_config] / D[3MB] / C[SELECT 1]",
                "E:settings-lost",
            ),
            (
                "SELECT set_config('work_mem', '3MB', false)",
                "T[set_config] / D[3MB] / C[SELECT 1]",
                "",
            ),
            ("PREPARE p AS SELECT 1", "C[PREPARE]", ""),
            ("LISTEN news", "C[LISTEN]", ""),
            ("SELECT pg_advisory_xact_lock(2)", "T[pg_advisory_xact_lock] / D[] / C[SELECT 1]", ""),
        ] {
            let mut seat = Seat::app(make, scene.address()).await;
            seat.ask(&format!("Q:{make}"), &format!("{made} / Z[I]")).await;
            seat.is_served().await;
            seats.push((seat, lost));
        }
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        scene.until_led_by(1).await;
        for (seat, lost) in &mut seats {
            seat.is_silent().await;
            match *lost {
                "" => seat.is_served().await,
                lost => seat.ask("Q:SELECT 1", &format!("{lost} / Some(Closed)")).await,
            }
        }
        let (configured, _) = &mut seats[4];
        configured.ask("Q:SHOW work_mem", "T[work_mem] / D[3MB] / C[SHOW] / Z[I]").await;
        let (prepared, _) = &mut seats[5];
        prepared.ask("Q:EXECUTE p", ONE).await;
        Ok(())
    });
}

#[test]
fn listeners_hear_before_and_after_a_failover() {
    run(async {
        let arguments = ["--max-backend-connections", "6", "--failover-hold", "20s"];
        let mut scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        let mut listener = Seat::app("listener", scene.address()).await;
        let mut speaker = Seat::app("speaker", scene.address()).await;
        listener.ask("Q:LISTEN news", "C[LISTEN] / Z[I]").await;
        speaker.ask("Q:NOTIFY news, 'one'", "C[NOTIFY] / Z[I]").await;
        listener.hears("A[news \"one\"]").await;
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        scene.until_led_by(1).await;
        listener.is_silent().await;
        listener.is_served().await; // with which it listens again
        speaker.ask("Q:NOTIFY news, 'two'", "C[NOTIFY] / Z[I]").await;
        listener.hears("A[news \"two\"]").await;
        listener.ask("Q:UNLISTEN *", "C[UNLISTEN] / Z[I]").await;
        speaker.ask("Q:NOTIFY news, 'three'", "C[NOTIFY] / Z[I]").await;
        listener.is_silent().await;
        Ok(())
    });
}

#[test]
fn a_plan_that_is_out_of_date_is_made_anew() {
    run(async {
        let arguments = ["--max-backend-connections", "5"];
        let scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        scene.prepare("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await?;
        let mut knows = Seat::app("knows the columns", scene.address()).await;
        let mut comes = Seat::app("prepares what others have", scene.address()).await;
        let mut begins = Seat::app("in a transaction", scene.address()).await;
        let prepare = "P:a:SELECT * FROM t / D:S:a / B::a / E: / S";
        let answer = "1 / t / T[n] / 2 / D[1] / C[SELECT 1] / Z[I]";
        for seat in [&mut knows, &mut begins] {
            seat.ask(prepare, answer).await;
        }
        // Every connection has the plan.
        let mut busy = Vec::new();
        for _ in 0..3 {
            busy.push(occupy(&scene).await);
            knows.ask("B::a / E: / S", "2 / D[1] / C[SELECT 1] / Z[I]").await;
        }
        for seat in busy {
            release(seat).await;
        }
        scene.prepare("ALTER TABLE t ADD COLUMN more int").await?;
        let told = "E[0A000 \"cached plan must not change result type\"]";
        begins.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
        begins.ask("B::a / D:P: / E: / S", &format!("{told} / Z[E]")).await;
        begins.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        let answer = "1 / t / T[n,more] / 2 / D[1,NULL] / C[SELECT 1] / Z[I]";
        comes.ask(prepare, answer).await;
        // Who describes the rows that it asks for cannot be misled.
        begins.ask("B::a / D:P: / E: / S", "2 / T[n,more] / D[1,NULL] / C[SELECT 1] / Z[I]").await;
        for _ in 0..5 {
            comes.ask("C:S:a / S", "3 / Z[I]").await;
            comes.ask(prepare, answer).await;
        }
        comes.is_silent().await;
        Ok(())
    });
}

#[test]
fn a_listener_that_says_nothing_listens_on_the_new_leader() {
    run(silent_listener(&[]));
}

#[test]
fn a_listener_that_says_nothing_listens_on_the_new_leader_in_session_pooling() {
    run(silent_listener(&["--pool-mode", "session"]));
}

async fn silent_listener(arguments: &[&str]) -> Result<()> {
    let arguments = [&["--failover-hold", "20s", "--listen-gap", "notify"], arguments].concat();
    let mut scene = Scene::adaptive(Fault::Kill, &arguments).await?;
    let mut listener = Seat::app("listener", scene.address()).await;
    let mut speaker = Seat::app("speaker", scene.address()).await;
    listener.ask("Q:LISTEN news", "C[LISTEN] / Z[I]").await;
    listener.ask("Q:LISTEN \"More News\"", "C[LISTEN] / Z[I]").await;
    speaker.ask("Q:NOTIFY news, 'one'", "C[NOTIFY] / Z[I]").await;
    listener.hears("A[news \"one\"]").await;
    scene.strike(Fault::Kill).await?;
    listener.is_silent().await;
    scene.succeed().await?;
    // It says nothing, and hears that it may have missed something, and then everything.
    let gap = "A[news \"everline:gap\"] / A[More News \"everline:gap\"]";
    listener.hears(gap).await;
    speaker.ask("Q:NOTIFY news, 'two'", "C[NOTIFY] / Z[I]").await;
    listener.hears("A[news \"two\"]").await;
    speaker.ask("Q:NOTIFY \"More News\", 'three'", "C[NOTIFY] / Z[I]").await;
    listener.hears("A[More News \"three\"]").await;
    // One that is lost alone comes back as well.
    let all = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
               WHERE usename = 'app' AND query LIKE '%LISTEN%' AND pid <> pg_backend_pid()";
    scene.cluster.primary().sql(all).await?;
    listener.hears(gap).await;
    listener.is_served().await;
    listener.ask("Q:UNLISTEN *", "C[UNLISTEN] / Z[I]").await;
    listener.is_silent().await;
    Ok(())
}

async fn cancel(scene: &Scene, seat: &Seat, right: bool) -> Result<()> {
    let (process_id, secret) = seat.client.key().expect("a key").clone();
    let mut secret = secret.to_vec();
    if !right {
        secret[0] ^= 1;
    }
    let mut client = Client::connect(scene.address()).await?;
    client.say(|out| startup::cancel_request(out, process_id, &secret)).await?;
    // Nothing is said, whether the key was right or not.
    assert_eq!(client.hears(Duration::from_secs(10)).await?, "closed");
    Ok(())
}

#[test]
fn a_cancel_request_reaches_its_own_statement_alone() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let mut target = Seat::app("target", scene.address()).await;
        let mut bystander = Seat::app("bystander", scene.address()).await;
        bystander.say("Q:SELECT 1 FROM pg_sleep(4)").await;
        for at_work in [
            "Q:SELECT pg_sleep(100)",
            "P::SELECT pg_sleep(100) / B:: / E: / S",
            "Q:BEGIN; SELECT pg_sleep(100)",
        ] {
            target.say(at_work).await;
            let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                          AND query LIKE '%pg_sleep(100)%'";
            while scene.cluster.primary().value(asleep).await? != "1" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            cancel(&scene, &target, false).await?;
            target.is_silent().await;
            cancel(&scene, &target, true).await?;
            let heard = target.client.until_ready().await?;
            let error = heard.iter().find(|message| message.tag == b'E').expect("an error");
            assert_eq!(
                error.to_string(),
                "E[57014 \"canceling statement due to user request\"]",
                "{at_work}"
            );
        }
        target.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        // When nothing is at work there is nothing to cancel.
        cancel(&scene, &target, true).await?;
        target.is_served().await;
        bystander.hears("T[?column?] / D[1] / C[SELECT 1] / Z[I]").await;
        assert_eq!(number(&scene.status().await, "epoch"), 1);
        Ok(())
    });
}
