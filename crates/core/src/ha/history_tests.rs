#![expect(clippy::disallowed_methods, reason = "a test may look at the clock")]

use super::*;
use crate::ha::Unavailable;

fn transition(epoch: u64) -> Transition {
    Transition {
        from: Phase::Healthy,
        to: Phase::Unhealthy,
        epoch,
        availability: Availability::Available,
        cause: Cause::PoolBroken,
    }
}

#[test]
fn durations_are_those_of_the_phase_left() {
    let start = Instant::now();
    let mut history = History::new(start);
    let after = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(history.record(transition(1), String::new(), after(5)), Duration::from_secs(5));
    assert_eq!(history.record(transition(1), String::new(), after(7)), Duration::from_secs(2));
    assert_eq!(history.since(), after(7));
    assert_eq!(history.record(transition(1), String::new(), start), Duration::ZERO, "clock");
}

#[test]
fn the_oldest_is_forgotten() {
    let now = Instant::now();
    let mut history = History::new(now);
    for epoch in 0..1000 {
        let _ = history.record(transition(epoch), format!("{epoch}"), now);
    }
    let epochs: Vec<u64> = history.entries().map(|entry| entry.transition.epoch).collect();
    assert_eq!(epochs, (1000 - 256..1000).collect::<Vec<_>>());
}

#[test]
fn a_transition_reads_as_a_sentence() {
    let evidence = Transition {
        from: Phase::Unhealthy,
        to: Phase::Failover,
        epoch: 3,
        availability: Availability::Unavailable(Unavailable::FailingOver),
        cause: Cause::Evidence { broken: 3, baseline: 5 },
    };
    assert_eq!(
        evidence.to_string(),
        "unhealthy -> failover, unavailable (epoch 3): \
         3 of 5 connections broke and the leader does not answer"
    );
}
