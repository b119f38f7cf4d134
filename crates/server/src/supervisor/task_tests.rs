#[path = "world_tests.rs"]
mod world;

use std::time::Duration;

use everline_core::ha::{Mode, Phase};
use everline_wire::sqlstate::SqlState;
use tokio::time::{Instant, sleep};

use super::super::{Registration, Word};
use super::{Done, Supervisor};
use crate::backend::system::LinkEnd;
use world::{Dns, Does, PRIMARY, STANDBY, Stage, World, bounded, settings};

#[path = "rivals_tests.rs"]
mod rivals;

#[path = "ahead_tests.rs"]
mod ahead;

#[tokio::test(start_paused = true)]
async fn the_leader_is_found_at_the_start() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(60.0).await;
        assert_eq!(stage.told(), "0.000 1 - unavailable\n0.001 1 a available\n");
        let status = stage.handle.status.snapshot();
        assert_eq!(status.counters.heartbeats, 59);
        assert_eq!(status.round_trip, Some(Duration::from_millis(1)));
        assert_eq!(status.counters.outages, 0, "the start is no outage");
        assert_eq!(world.facts().dials[&'a'], 1, "the leader is not dialled again");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_followed_to_where_its_name_moves() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        world.kill('a');
        stage.until(12.0).await;
        world.promote('b', 2);
        world.name("db", Dns::To("b"));
        stage.until(20.0).await;
        let expected = "1 - unavailable; 1 a available; 1 a unavailable; 2 b available";
        assert_eq!(stage.order(), expected);
        assert!(stage.last_at() < 12.11, "{}", stage.told());
        let status = stage.handle.status.snapshot();
        assert_eq!(status.counters.outages, 1);
        assert!(status.counters.last_outage.unwrap() < Duration::from_millis(2110));
        assert_eq!((status.counters.retired, status.phase()), (1, Phase::Healthy));
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_leader_is_noticed_after_interval_and_timeout() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.01).await; // the tenth heartbeat has just been answered
        world.node('a', |node| node.does = Does::Hangs);
        stage.until(60.0).await;
        assert!(stage.told().contains("\n14.001 1 a unavailable\n"), "{}", stage.told());
        assert!(stage.told().ends_with("\n44.001 2 - unavailable\n"), "{}", stage.told());
        let status = stage.handle.status.snapshot();
        assert_eq!(status.phase(), Phase::Failover, "only the system connection existed");
        assert_eq!(status.counters.outages, 1);
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_outweigh_a_late_heartbeat() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.01).await;
        world.node('a', |node| node.does = Does::Hangs);
        for tenth in 101..400 {
            stage.until(f64::from(tenth) / 10.0).await;
            stage.handle.reporter.life(1);
            assert_eq!(stage.leader(), "a available");
        }
        // The last sign came at 39.9 s and was seen at most half a second later.
        stage.until(42.8).await;
        assert_eq!(stage.leader(), "a available");
        stage.until(43.5).await;
        assert_eq!(stage.leader(), "a unavailable");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn life_of_another_epoch_is_no_sign() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.01).await;
        world.node('a', |node| node.does = Does::Hangs);
        for tenth in 101..145 {
            stage.until(f64::from(tenth) / 10.0).await;
            stage.handle.reporter.life(7);
        }
        assert!(stage.told().contains("\n14.001 1 a unavailable\n"), "{}", stage.told());
        stage.end().await;
    })
    .await;
}

/// In Gel a name that has no answer ends the reconnect loop for ever.
#[tokio::test(start_paused = true)]
async fn a_name_without_an_answer_does_not_end_the_search() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        world.kill('a');
        world.name("db", Dns::Fails);
        let before = world.facts().resolves;
        stage.until(70.0).await;
        let first_minute = world.facts().resolves - before;
        assert!((600..=1200).contains(&first_minute), "{first_minute} questions");
        stage.until(610.0).await;
        let others = world.facts().resolves - before - first_minute;
        assert!((540..=1100).contains(&others), "{others} questions in nine minutes");
        world.promote('b', 2);
        world.name("db", Dns::To("b"));
        stage.until(611.1).await;
        assert_eq!(stage.leader(), "b available");
        assert!(stage.handle.status.snapshot().counters.resolves_failed > 1000);
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_is_down_does_not_hide_a_leader_that_came_back() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        world.name("db", Dns::Fails);
        world.cut('a');
        stage.until(10.2).await;
        assert_eq!(stage.leader(), "a available");
        assert_eq!(stage.target().epoch, 1);
        world.name("db", Dns::Hangs);
        world.cut('a');
        stage.until(15.3).await;
        assert_eq!(stage.leader(), "a available");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_hangs_does_not_hide_the_new_leader() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        world.cut('a');
        world.node('a', |node| node.does = Does::Hangs);
        stage.until(11.0).await;
        assert_eq!(world.facts().dials[&'a'], 2, "one hangs, no second one is begun");
        world.promote('b', 2);
        world.name("db", Dns::To("b"));
        stage.until(11.11).await;
        assert_eq!(stage.leader(), "b available");
        // The old leader thaws; its answer to the dial of the outage changes nothing.
        world.node('a', |node| node.does = Does::Primary);
        stage.until(100.0).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("b available", 2));
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_primary_to_which_no_name_leads_any_more_is_not_elected() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        world.cut('a');
        world.node('a', |node| node.does = Does::Hangs);
        stage.until(11.0).await;
        world.name("db", Dns::To("b"));
        stage.until(12.5).await;
        world.node('a', |node| node.does = Does::Primary); // its dial hangs since 10 s
        stage.until(13.5).await;
        assert_eq!(stage.leader(), "a unavailable");
        world.promote('b', 2);
        stage.until(13.7).await;
        assert_eq!(stage.leader(), "b available");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hung_address_is_dialled_again_after_its_deadline() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        world.cut('a');
        world.node('a', |node| node.does = Does::Hangs);
        stage.until(70.0).await;
        let dials = world.facts().dials[&'a'];
        assert!((12..=13).contains(&dials), "{dials} dials in a minute, 5 s each");
        world.node('a', |node| node.does = Does::Primary);
        stage.until(70.1).await;
        assert_eq!(stage.leader(), "a available");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_notice_retires_the_epoch_at_once() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        let before = stage.target();
        world.shut_down('a');
        stage.until(10.001).await;
        assert!(before.ended.is_cancelled());
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("- unavailable", 2));
        world.node('a', |node| {
            node.does = Does::Primary;
            node.start = 11;
        });
        stage.until(11.2).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("a available", 2));
        let status = stage.handle.status.snapshot();
        assert_eq!(status.counters.failovers.get("shutting_down"), Some(&1));
        let words: Vec<String> =
            status.history.entries().map(|entry| entry.detail.clone()).collect();
        assert_eq!(words[1], "FATAL 57P01: as told");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_at_the_same_address_is_another_reign() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        world.cut('a'); // the connection alone
        stage.until(20.0).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("a available", 1));
        world.kill('a');
        stage.until(21.0).await;
        world.node('a', |node| {
            node.does = Does::Primary;
            node.start = 21;
        });
        stage.until(21.2).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("a available", 2));
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_turns_out_to_be_a_standby_is_left() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.5).await;
        world.node('a', |node| node.does = Does::Standby);
        stage.handle.reporter.suspect(1); // 25006 on a pooled connection
        stage.until(10.6).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("- unavailable", 2));
        stage.until(20.0).await;
        assert_eq!(stage.leader(), "- unavailable");
        world.promote('b', 2);
        world.name("db", Dns::To("b"));
        stage.until(20.2).await;
        assert_eq!(stage.leader(), "b available");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_free_slot_stays_available() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(9.0).await;
        let pool: Vec<Registration> = (0..5).map(|_| stage.handle.reporter.opened(1)).collect();
        stage.until(10.0).await;
        world.node('a', |node| node.does = Does::Refuses(SqlState::TOO_MANY_CONNECTIONS));
        world.cut('a');
        stage.until(10.1).await;
        for second in 11..300 {
            stage.until(f64::from(second)).await;
            assert_eq!(stage.leader(), "a available", "at {second} s");
        }
        world.node('a', |node| node.does = Does::Primary);
        stage.until(302.0).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("a available", 1));
        assert_eq!(stage.handle.status.snapshot().phase(), Phase::Healthy);
        drop(pool);
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_refuses_for_another_reason_is_not_available() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(9.0).await;
        let pool: Vec<Registration> = (0..5).map(|_| stage.handle.reporter.opened(1)).collect();
        stage.until(10.0).await;
        world.node('a', |node| node.does = Does::Refuses(SqlState::CANNOT_CONNECT_NOW));
        world.cut('a');
        stage.until(20.0).await;
        assert!(stage.told().ends_with("10.000 1 a unavailable\n"), "{}", stage.told());
        drop(pool);
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn suspicions_of_a_past_epoch_are_dropped() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(9.2).await;
        stage.handle.control.reconnect().await;
        stage.until(9.7).await;
        let before = stage.handle.status.snapshot().counters.heartbeats;
        stage.handle.reporter.suspect(1);
        stage.until(9.8).await;
        assert_eq!(stage.handle.status.snapshot().counters.heartbeats, before);
        stage.handle.reporter.suspect(2);
        stage.until(9.9).await;
        let status = stage.handle.status.snapshot();
        assert_eq!((status.counters.heartbeats, status.counters.suspicions), (before + 1, 1));
        stage.end().await;
    })
    .await;
}

/// A connection that ended in the instant in which another took its place.
#[tokio::test(start_paused = true)]
async fn the_end_of_an_earlier_system_connection_is_no_news() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let (mut supervisor, handle) = Supervisor::new(settings(&["db"]), world);
        while supervisor.link.is_none() {
            supervisor.begin_round();
            let done = supervisor.tasks.join_next().await.unwrap().unwrap();
            supervisor.done(done);
            supervisor.decide();
        }
        let broken = || LinkEnd::Broken(String::new());
        supervisor.done(Done::LinkEnded(supervisor.links - 1, broken()));
        assert!(handle.target.borrow().is_available());
        supervisor.done(Done::LinkEnded(supervisor.links, broken()));
        assert!(!handle.target.borrow().is_available());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn evidence_from_the_pool_is_a_failover_after_thirty_seconds() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(9.0).await;
        let mut pool: Vec<Registration> = (0..9).map(|_| stage.handle.reporter.opened(1)).collect();
        stage.until(10.0).await;
        world.node('a', |node| node.does = Does::Hangs);
        world.cut('a');
        stage.until(20.0).await;
        pool.truncate(4); // five of nine break, with the system connection six of ten
        stage.until(39.999).await;
        let status = stage.handle.status.snapshot();
        assert_eq!((status.phase(), status.pooled), (Phase::Unhealthy, 4));
        stage.until(40.001).await;
        let status = stage.handle.status.snapshot();
        assert_eq!((status.phase(), status.epoch), (Phase::Failover, 2));
        assert_eq!(status.counters.failovers.get("evidence"), Some(&1));
        pool.clear(); // of an epoch that is over
        stage.until(41.0).await;
        assert_eq!(stage.handle.status.snapshot().phase(), Phase::Failover);
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_fixed_leader_is_dialled_for_ever_and_never_given_up() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::with(&world, super::Settings { mode: Mode::Fixed, ..settings(&["db"]) });
        stage.until(10.0).await;
        world.kill('a');
        stage.until(3600.0).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("a unavailable", 1));
        world.node('a', |node| node.does = Does::Primary);
        stage.until(3601.1).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("a available", 1));
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_at_once_is_not_dialled_without_a_pause() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        let before = world.facts().dials[&'a'];
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            world.cut('a');
            sleep(Duration::from_millis(1)).await;
        }
        let dials = world.facts().dials[&'a'] - before;
        assert!(dials < 10 * 25, "{dials} dials in ten seconds");
        stage.end().await;
    })
    .await;
}

fn word(host: Option<&str>) -> Word {
    let host = host.and_then(|name| settings(&[name]).hosts.pop());
    Word { host, forget: false, why: "a test".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn commands_retire_the_epoch_and_move_the_search() {
    bounded(async {
        let world = World::new(&[("db", "a"), ("other", "b")], &[('a', PRIMARY), ('b', PRIMARY)]);
        world.node('b', |node| node.timeline = 2);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        stage.handle.control.reconnect().await;
        stage.until(10.1).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("a available", 2));
        stage.handle.control.follow(word(Some("other"))).await;
        stage.until(10.2).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("b available", 3));
        let open = stage.target().open.clone();
        let pooled = open.token();
        let before = stage.handle.control.follow(word(None)).await;
        assert!(before.is_closed() && !before.is_empty());
        tokio::task::yield_now().await;
        stage.until(10.3).await;
        assert_eq!(before.len(), 1, "the system connection is closed, the pool's is not");
        assert!(stage.target().open.is_empty(), "what is opened next counts anew");
        drop(pooled);
        before.wait().await;
        stage.until(100.0).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("- unavailable", 4));
        stage.handle.control.follow(word(Some("db"))).await;
        stage.until(110.0).await;
        assert_eq!(stage.leader(), "- unavailable", "an older timeline");
        stage.handle.control.reconnect_to_anyone().await;
        stage.until(111.1).await;
        assert_eq!(stage.leader(), "a available");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reports_for_which_there_is_no_room_are_not_lost() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY)]);
        let settings = super::Settings { connections_max: 1, ..settings(&["db"]) };
        let stage = Stage::with(&world, settings);
        stage.until(1.0).await;
        let mut pool: Vec<Registration> =
            (0..500).map(|_| stage.handle.reporter.opened(1)).collect();
        stage.until(2.0).await;
        assert_eq!(stage.handle.status.snapshot().pooled, 500);
        pool.drain(..100).for_each(Registration::closed);
        stage.until(3.0).await;
        assert_eq!(stage.handle.status.snapshot().pooled, 400);
        drop(pool);
        stage.until(4.0).await;
        let status = stage.handle.status.snapshot();
        assert_eq!((status.pooled, status.phase()), (0, Phase::Unhealthy));
        stage.end().await;
    })
    .await;
}
