use std::sync::Arc;

use super::{Newcomer, Roster};

fn newcomer(user: &str) -> Newcomer {
    Newcomer {
        database: "d".to_owned(),
        user: user.to_owned(),
        application: String::new(),
        ends: (None, None),
        tls: false,
        slot: Arc::default(),
    }
}

#[test]
fn a_client_is_there_until_it_leaves() {
    let roster = Arc::new(Roster::default());
    let (first, second) = (roster.enter(newcomer("a")), roster.enter(newcomer("b")));
    let users = |roster: &Roster| {
        roster.clients().iter().map(|client| client.user.clone()).collect::<Vec<_>>()
    };
    assert_eq!(users(&roster), ["a", "b"]);
    drop(first);
    assert_eq!(users(&roster), ["b"]);
    assert!(roster.client(1).is_none());
    let client = roster.client(2).expect("it is there");
    assert!(client.waits().is_none());
    let waiting = second.waiting();
    assert!(client.waits().is_some());
    drop(waiting);
    assert!(client.waits().is_none());
    assert!(!second.killed().is_cancelled());
    client.kill();
    assert!(second.killed().is_cancelled());
}
