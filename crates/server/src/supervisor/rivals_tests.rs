//! Several nodes that say they are primaries.

use super::*;

#[tokio::test(start_paused = true)]
async fn at_the_start_the_grace_lets_the_better_one_answer() {
    bounded(async {
        let world = World::new(&[("db", "ab")], &[('a', PRIMARY), ('b', PRIMARY)]);
        world.node('b', |node| {
            node.lsn = 200;
            node.latency = Duration::from_millis(150);
        });
        let stage = Stage::new(&world, &["db"]);
        stage.until(60.0).await;
        assert_eq!(stage.told(), "0.000 1 - unavailable\n0.150 1 b available\n");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn at_the_start_the_grace_is_not_longer_than_it_is() {
    bounded(async {
        let world = World::new(&[("h1", "a"), ("h2", "b")], &[('a', PRIMARY), ('b', PRIMARY)]);
        world.node('b', |node| node.does = Does::Hangs);
        let stage = Stage::new(&world, &["h1", "h2"]);
        stage.until(60.0).await;
        assert_eq!(stage.told(), "0.000 1 - unavailable\n0.201 1 a available\n");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_higher_timeline_does_not_wait() {
    bounded(async {
        let world = World::new(&[("h1", "a"), ("h2", "b")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["h1", "h2"]);
        stage.until(10.0).await;
        world.cut('a');
        world.node('a', |node| node.does = Does::Hangs);
        world.promote('b', 2);
        stage.until(10.01).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("b available", 2));
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_equal_timeline_waits_for_the_last_leader() {
    bounded(async {
        let world = World::new(&[("h1", "a"), ("h2", "b")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["h1", "h2"]);
        stage.until(10.0).await;
        world.cut('a');
        world.node('a', |node| node.latency = Duration::from_millis(100));
        world.promote('b', 1);
        stage.until(10.05).await;
        assert_eq!(stage.leader(), "a unavailable", "b has answered, a has not");
        stage.until(10.11).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("a available", 1));
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_old_primary_that_returns_writable_gets_nothing() {
    bounded(async {
        let world = World::new(&[("h1", "a"), ("h2", "b")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["h1", "h2"]);
        stage.until(10.0).await;
        world.kill('a');
        stage.until(12.0).await;
        world.promote('b', 2);
        stage.until(13.0).await;
        world.node('a', |node| {
            node.does = Does::Primary;
            node.start = 13;
            node.lsn = 1_000_000;
        });
        stage.until(600.0).await;
        let flips = "1 - unavailable; 1 a available; 1 a unavailable; 2 b available";
        assert_eq!(stage.order(), flips);
        // Neither while the new leader is away.
        world.kill('b');
        stage.until(700.0).await;
        assert_eq!(stage.order(), format!("{flips}; 2 b unavailable; 3 - unavailable"));
        assert!(stage.handle.status.snapshot().counters.refused > 100);
        world.node('b', |node| {
            node.does = Does::Primary;
            node.start = 700;
        });
        stage.until(701.1).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("b available", 3));
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_points_back_to_an_older_timeline_is_refused() {
    bounded(async {
        let world = World::new(&[("db", "b")], &[('a', PRIMARY), ('b', PRIMARY)]);
        world.node('b', |node| node.timeline = 2);
        let stage = Stage::new(&world, &["db"]);
        stage.until(10.0).await;
        world.name("db", Dns::To("a"));
        stage.until(60.0).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("b available", 1));
        let status = stage.handle.status.snapshot();
        assert!(status.last_error.unwrap().contains("refused: older timeline (1"));
        assert!(status.counters.refused > 40, "looked every second while the name leads astray");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_promotion_is_followed_although_the_old_leader_still_answers() {
    bounded(async {
        let world = World::new(&[("h1", "a"), ("h2", "b")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["h1", "h2"]);
        stage.until(11.0).await;
        let before = stage.target();
        world.promote('b', 2);
        stage.until(16.0).await;
        assert!(before.ended.is_cancelled());
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("b available", 2));
        assert!(!stage.told().contains("a unavailable"), "{}", stage.told());
        assert_eq!(world.facts().links[&'a'], 0, "the old system connection is closed");
        stage.until(600.0).await;
        assert_eq!(stage.target().epoch, 2, "and it stays there");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_equal_timeline_never_takes_the_lead_from_a_working_leader() {
    bounded(async {
        let world = World::new(&[("h1", "a"), ("h2", "b")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["h1", "h2"]);
        stage.until(10.0).await;
        world.node('b', |node| {
            node.does = Does::Primary;
            node.start = 10;
            node.lsn = 1_000_000;
        });
        stage.until(600.0).await;
        assert_eq!(stage.order(), "1 - unavailable; 1 a available");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_moves_is_followed_although_the_old_leader_still_answers() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY), ('b', STANDBY)]);
        let stage = Stage::new(&world, &["db"]);
        stage.until(11.0).await;
        world.name("db", Dns::To("b"));
        stage.until(30.0).await;
        assert_eq!(stage.leader(), "a available", "b is a standby yet");
        world.node('b', |node| {
            node.does = Does::Primary;
            node.start = 30;
        });
        stage.until(31.1).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("b available", 2));
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_dial_of_the_pool_looks_at_the_name_at_once() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY), ('b', PRIMARY)]);
        world.node('b', |node| node.timeline = 2);
        let stage = Stage::new(&world, &["db"]);
        stage.until(11.0).await;
        world.name("db", Dns::To("b"));
        let error = crate::backend::dial::DialError::TlsRefused;
        stage.handle.reporter.dial_failed(1, &error);
        stage.until(11.1).await;
        assert_eq!((stage.leader().as_str(), stage.target().epoch), ("b available", 2));
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_server_with_two_addresses_named_in_turns_is_one_reign() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY), ('b', PRIMARY)]);
        let stage = Stage::new(&world, &["db"]);
        for turn in 1..100 {
            stage.until(f64::from(turn) * 7.0).await;
            world.name("db", Dns::To(if turn % 2 == 0 { "a" } else { "b" }));
        }
        assert_eq!(stage.order(), "1 - unavailable; 1 a available");
        stage.end().await;
    })
    .await;
}

/// One address of several in turn, and dials that take longer than a turn.
#[tokio::test(start_paused = true)]
async fn a_name_that_rotates_hides_no_leader() {
    bounded(async {
        let world = World::new(&[("db", "a")], &[('a', PRIMARY), ('b', STANDBY), ('c', STANDBY)]);
        world.node('a', |node| node.latency = Duration::from_millis(300));
        let rotating = world.clone();
        tokio::spawn(async move {
            loop {
                for to in ["b", "c", "a"] {
                    sleep(Duration::from_millis(120)).await;
                    rotating.name("db", Dns::To(to));
                }
            }
        });
        let stage = Stage::new(&world, &["db"]);
        for second in [3, 63, 123] {
            stage.until(f64::from(second)).await;
            assert_eq!((stage.leader().as_str(), stage.target().epoch), ("a available", 1));
            world.cut('a');
        }
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_election_is_dropped_with_the_hosts() {
    bounded(async {
        let names = [("h1", "a"), ("h2", "b"), ("h3", "c")];
        let world = World::new(&names, &[('a', PRIMARY), ('b', PRIMARY), ('c', STANDBY)]);
        world.node('b', |node| node.does = Does::Hangs);
        let stage = Stage::new(&world, &["h1", "h2"]);
        stage.until(0.1).await;
        stage.handle.control.follow(word(Some("h3"))).await;
        stage.until(10.0).await;
        assert_eq!(stage.leader(), "- unavailable");
        world.promote('c', 1);
        stage.until(10.2).await;
        assert_eq!(stage.leader(), "c available");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_cluster_behind_the_name_is_accepted_by_setting_alone() {
    bounded(async {
        for accept in [false, true] {
            let world = World::new(&[("db", "a")], &[('a', PRIMARY), ('b', PRIMARY)]);
            world.node('b', |node| node.system = 8);
            let settings =
                super::super::Settings { accept_new_cluster: accept, ..settings(&["db"]) };
            let stage = Stage::with(&world, settings);
            stage.until(10.0).await;
            world.kill('a');
            world.name("db", Dns::To("b"));
            stage.until(20.0).await;
            let expected = if accept { "b available" } else { "a unavailable" };
            assert_eq!(stage.leader(), expected, "accept_new_cluster = {accept}");
            stage.end().await;
        }
    })
    .await;
}
