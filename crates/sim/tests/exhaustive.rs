//! The exhaustive check passes on the machine, and finds machines that break a rule.

use std::time::{Duration, Instant};

use everline_core::ha::{Effect, Event, Machine, Outcome};
use everline_sim::exhaustive::{Seen, Step, modes, search};

#[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
fn searched(step: Step<'_>) -> Result<Seen, String> {
    let mut all = Seen::default();
    for mode in modes() {
        let seen = search(mode, Instant::now(), step)?;
        all.states += seen.states;
        all.steps += seen.steps;
        all.depth = all.depth.max(seen.depth);
    }
    Ok(all)
}

#[test]
fn every_reachable_state_keeps_the_promises() {
    let seen = searched(&|machine, event, now| machine.step(event, now)).unwrap();
    println!("{seen:?}");
    assert!(seen.states > 1000, "{seen:?}");
}

/// A machine whose owner breaks one rule.
type Broken = fn(&mut Machine, Event, Instant) -> Outcome;

const BROKEN: &[(&str, Broken)] = &[
    ("news of a past epoch count", |machine, event, now| {
        let epoch = machine.epoch();
        let broken = matches!(event, Event::PoolBroken { .. });
        machine.step(if broken { Event::PoolBroken { epoch } } else { event }, now)
    }),
    ("retire before refusing", |machine, event, now| {
        let mut outcome = machine.step(event, now);
        outcome.effects.sort_by_key(|effect| !matches!(effect, Effect::Retire(_)));
        outcome
    }),
    ("the end of an epoch is not told", |machine, event, now| {
        let mut outcome = machine.step(event, now);
        outcome.effects.retain(|effect| !matches!(effect, Effect::Retire(_)));
        outcome
    }),
    ("a shutdown notice is ignored", |machine, event, now| {
        let told = matches!(event, Event::ShuttingDown { .. });
        if told { Outcome::default() } else { machine.step(event, now) }
    }),
    ("nobody dials after the system connection broke", |machine, event, now| {
        let mut outcome = machine.step(event, now);
        outcome.effects.retain(|effect| *effect != Effect::DialSystem);
        outcome
    }),
    ("patience is over at once", |machine, event, now| {
        let more = if event == Event::Tick { 9 } else { 0 };
        machine.step(event, now + Duration::from_secs(more))
    }),
    ("time stands still", |machine, event, now| {
        let time = event == Event::Tick;
        if time { Outcome::default() } else { machine.step(event, now) }
    }),
];

#[test]
fn a_broken_rule_is_found() {
    for (name, broken) in BROKEN {
        let found = searched(broken);
        assert!(found.is_err(), "not found: {name}");
    }
}
