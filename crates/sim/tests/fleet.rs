//! A fleet of Everlines through one failover, in virtual time.

use std::time::Instant;

use everline_core::limits::DIALS_MAX;
use everline_sim::fleet::{Fleet, Seen, play};

#[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
fn played(fleet: Fleet) -> Seen {
    play(fleet, 1, Instant::now()).expect("a fleet recovers")
}

/// A tenth of the usual fleet.
const SMALL: Fleet =
    Fleet { instances: 5, connections: 500, statements_per_second: 20_000, ..Fleet::USUAL };

/// As many instances as usual, of few clients each.
const MANY: Fleet = Fleet { clients_each: 2_000, ..Fleet::USUAL };

#[test]
fn everybody_is_served_soon_and_nobody_is_refused() {
    for fleet in [SMALL, MANY] {
        let seen = played(fleet);
        assert!(seen.held > fleet.instances * fleet.clients_each / 3, "a storm: {}", seen.held);
        assert_eq!((seen.refused, seen.dials_given_up), (0, 0));
        // Logins are the bottleneck: all connections of all instances at the leader's own pace.
        let logins_ms = fleet.connections * fleet.login_us / fleet.login_cores / 1_000;
        assert!(seen.last_served < 100 + logins_ms, "{}", seen.last_served);
        assert!(seen.last_recovered < 3_000, "{}", seen.last_recovered);
    }
}

#[test]
fn the_new_leader_is_asked_for_a_bounded_number_of_logins_at_once() {
    for fleet in [SMALL, MANY] {
        let most = u64::try_from(DIALS_MAX).unwrap() + 1; // and the system connection
        let seen = played(fleet);
        assert!(seen.logins_at_once <= fleet.instances * most, "{}", seen.logins_at_once);
        assert!(seen.logins_at_once > fleet.login_cores, "its cores are all in use");
    }
}

#[test]
fn no_instance_is_forgotten_beside_the_others() {
    let seen = played(SMALL);
    assert!(seen.evenness > 0.95, "{}", seen.evenness);
    assert!(seen.longest_wait < seen.shortest_longest_wait + 500, "{seen:?}");
}

#[test]
fn a_fleet_plays_the_same_again() {
    assert_eq!(format!("{:?}", played(SMALL)), format!("{:?}", played(SMALL)));
}

#[test]
fn an_outage_longer_than_the_hold_refuses_and_recovers() {
    let seen = played(Fleet { gap_ms: 7_000, ..SMALL });
    assert!(seen.refused > 0);
    assert!(seen.last_recovered < 3_000, "{}", seen.last_recovered);
}
