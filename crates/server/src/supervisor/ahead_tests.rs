use std::time::Duration;

use tokio::time::timeout;

use super::word;
use super::world::{Dns, Does, PRIMARY, STANDBY, Stage, World, bounded, settings};
use crate::config::dsn::HostPort;

fn host(name: &str) -> HostPort {
    settings(&[name]).hosts.pop().unwrap()
}

fn coming(stage: &Stage) -> Option<String> {
    stage.target().coming.as_ref().map(|endpoint| endpoint.host.to_string())
}

/// Followed `db` at a; told that nobody leads, and that b will.
async fn prepared(world: &World) -> Stage {
    let stage = Stage::with(world, settings(&[]));
    stage.handle.control.follow(word(Some("db"))).await;
    stage.until(1.0).await;
    assert_eq!(stage.leader(), "a available");
    stage.handle.control.follow(word(None)).await;
    stage.handle.control.prepare(host("next")).await;
    stage.until(2.0).await;
    assert_eq!(
        (stage.leader().as_str(), coming(&stage).as_deref()),
        ("- unavailable", Some("next"))
    );
    stage
}

fn world() -> World {
    let world = World::new(&[("db", "a"), ("next", "b")], &[('a', PRIMARY), ('b', PRIMARY)]);
    world.node('b', |node| node.timeline = 2);
    world
}

#[tokio::test(start_paused = true)]
async fn a_node_connected_to_ahead_leads_only_when_it_is_named() {
    bounded(async {
        let world = world();
        let stage = prepared(&world).await;
        stage.until(60.0).await;
        assert_eq!(stage.leader(), "- unavailable");
        assert!(!world.facts().dials.contains_key(&'b'), "nothing was asked");
        let ahead = stage.target().open.clone();
        assert_eq!(ahead.len(), 1, "it counts as open");
        let before = stage.handle.control.follow(word(Some("next"))).await;
        assert!(before.is_empty() && before.is_closed(), "nothing has to be closed first");
        stage.until(60.1).await;
        assert_eq!((stage.leader().as_str(), coming(&stage)), ("b available", None));
        assert_eq!(world.facts().dials[&'b'], 1, "asked once, on the connection that stood");
        assert_eq!(stage.target().open.len(), 1, "the system connection");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_word_closes_what_was_made_ahead() {
    bounded(async {
        for other in [None, Some("db")] {
            let stage = prepared(&world()).await;
            let before = stage.handle.control.follow(word(other)).await;
            assert_eq!(coming(&stage), None, "the pools are told");
            let closed = timeout(Duration::from_millis(1), before.wait()).await;
            assert!(closed.is_ok(), "it is closed for {other:?}");
            stage.end().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_reached_yet_is_tried_again_and_ends_with_the_next_word() {
    bounded(async {
        let world = world();
        world.name("next", Dns::Fails);
        let stage = Stage::with(&world, settings(&[]));
        stage.handle.control.follow(word(None)).await;
        stage.handle.control.prepare(host("next")).await;
        stage.until(5.0).await;
        assert_eq!(coming(&stage), None);
        let tries = world.facts().resolves;
        assert!((40..=60).contains(&tries), "{tries} tries in five seconds");
        world.name("next", Dns::To("b"));
        stage.until(5.2).await;
        assert_eq!(coming(&stage).as_deref(), Some("next"));
        world.name("next", Dns::Fails);
        stage.handle.control.prepare(host("next")).await;
        let before = stage.handle.control.follow(word(None)).await;
        before.wait().await;
        let tries = world.facts().resolves;
        stage.until(60.0).await;
        assert_eq!(world.facts().resolves, tries, "nobody tries any more");
        stage.end().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_still_in_recovery_is_no_leader_though_it_was_connected_to() {
    bounded(async {
        let world = World::new(&[("db", "a"), ("next", "b")], &[('a', PRIMARY), ('b', STANDBY)]);
        world.node('b', |node| node.timeline = 2);
        let stage = prepared(&world).await;
        stage.handle.control.follow(word(Some("next"))).await;
        stage.until(4.0).await;
        assert_eq!(stage.leader(), "- unavailable");
        world.node('b', |node| node.does = Does::Primary);
        stage.until(5.0).await;
        assert_eq!(stage.leader(), "b available");
        stage.end().await;
    })
    .await;
}
