use super::*;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The bounds within which each of the first waits of an outage of `age` lies.
fn assert_within(age: Duration, expected: &[(u64, u64)]) {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut backoff = Backoff::new(Pace::SYSTEM_DIAL);
        for (n, (low, high)) in expected.iter().enumerate() {
            let wait = backoff.wait(age, &mut rng);
            assert!(
                (millis(*low)..=millis(*high)).contains(&wait),
                "wait {n} of seed {seed} is {wait:?}, not in {low}..={high} ms"
            );
        }
    }
}

#[test]
fn a_young_outage_is_dialled_every_hundred_milliseconds_at_the_slowest() {
    assert_within(Duration::ZERO, &[(25, 50), (50, 100), (50, 100), (50, 100)]);
    assert_within(Duration::from_millis(59_999), &[(25, 50), (50, 100), (50, 100)]);
}

#[test]
fn an_old_outage_is_dialled_once_a_second_at_the_slowest() {
    let expected = [(25, 50), (50, 100), (100, 200), (200, 400), (400, 800), (500, 1000)];
    assert_within(Duration::from_mins(1), &expected);
}

#[test]
fn the_wait_grows_from_the_early_cap_when_the_outage_has_become_old() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut backoff = Backoff::new(Pace::SYSTEM_DIAL);
    for _ in 0..10 {
        let _ = backoff.wait(Duration::ZERO, &mut rng);
    }
    let wait = backoff.wait(Duration::from_mins(2), &mut rng);
    assert!((millis(100)..=millis(200)).contains(&wait), "{wait:?}");
}

#[test]
fn a_reset_starts_over() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut backoff = Backoff::new(Pace::SYSTEM_DIAL);
    for _ in 0..10 {
        let _ = backoff.wait(Duration::from_hours(1), &mut rng);
    }
    backoff.reset();
    assert!(backoff.wait(Duration::from_hours(1), &mut rng) <= millis(50));
}

#[test]
fn jitter_spreads_the_waits() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let mut rng = StdRng::seed_from_u64(seed);
        seen.insert(Backoff::new(Pace::SYSTEM_DIAL).wait(Duration::ZERO, &mut rng));
    }
    assert!(seen.len() > 40, "{} different waits of 50", seen.len());
}

proptest! {
    /// Whatever the pace, a wait overflows nothing and is bounded by the cap in force.
    #[test]
    fn waits_are_bounded_for_ever(
        first in any::<u64>(), cap in any::<u64>(), seed in any::<u64>(), attempts in 1..300_u32,
    ) {
        let cap_late = Duration::from_nanos(cap);
        let pace = Pace {
            first: Duration::from_nanos(first),
            cap_early: cap_late / 3,
            early: Duration::from_secs(1),
            cap_late,
        };
        let mut rng = StdRng::seed_from_u64(seed);
        let mut backoff = Backoff::new(pace);
        for _ in 0..attempts {
            prop_assert!(backoff.wait(Duration::MAX, &mut rng) <= cap_late);
            prop_assert!(backoff.wait(Duration::ZERO, &mut rng) <= cap_late / 3);
        }
    }
}
