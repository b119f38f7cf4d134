//! Many seeds pass, one seed is always the same, and each broken rule is found.

use std::time::Instant;

use everline_sim::world::{Figures, Mutation, play};

/// Seeds in one run of the tests.
const SEEDS: u64 = 10_000;
/// Seeds within which a broken rule has to be found.
const FOUND_WITHIN: u64 = 1_000;

#[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
fn played(seed: u64, mutation: Option<Mutation>) -> Result<Figures, String> {
    play(seed, mutation, Instant::now())
}

#[test]
fn what_clients_were_told_is_so_whatever_the_seed() {
    let mut all = Figures::default();
    for seed in 0..SEEDS {
        all.add(&played(seed, None).unwrap());
    }
    println!("{all:?}");
    let drawn = [all.faults, all.epochs, all.acknowledged, all.refused, all.unknown];
    assert!(drawn.iter().all(|count| *count > SEEDS / 2), "{all:?}");
    assert!(all.taken_back > 0, "{all:?}");
}

#[test]
fn one_seed_plays_the_same_again() {
    for seed in 0..50 {
        let (once, again) = (played(seed, None).unwrap(), played(seed, None).unwrap());
        assert_eq!(format!("{once:?}"), format!("{again:?}"));
    }
}

#[test]
fn every_broken_rule_is_found() {
    for mutation in Mutation::ALL {
        let found = (0..FOUND_WITHIN).find_map(|seed| played(seed, Some(mutation)).err());
        println!("{}", found.unwrap_or_else(|| panic!("not found: {mutation:?}")));
    }
}
