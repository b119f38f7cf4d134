//! What was asked for: which faults in which order.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::fault::{End, Fault};

/// About how long one fault with its end takes, for a run of a given length.
const ROUND: Duration = Duration::from_secs(6);
/// Longest run that can be asked for.
const RUN_MAX: Duration = Duration::from_hours(12);

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The few faults of the ordinary tests.
    Sample,
    /// Every fault with every end.
    All,
    /// Faults at random for so long.
    For(Duration),
}

/// A run to come.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rounds: Vec<(Fault, End)>,
    pub(crate) rng: StdRng,
}

impl Plan {
    pub(crate) fn new(
        extent: Extent,
        seed: u64,
        faults: &[Fault],
        sample: &[(Fault, End)],
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut all: Vec<(Fault, End)> =
            faults.iter().flat_map(|fault| fault.ends().iter().map(|end| (*fault, *end))).collect();
        let rounds = match extent {
            Extent::Sample => sample.to_vec(),
            Extent::All => {
                all.shuffle(&mut rng);
                all
            }
            Extent::For(length) => {
                let rounds = length.min(RUN_MAX).as_secs().div_ceil(ROUND.as_secs());
                (0..rounds).map(|_| all[rng.random_range(0..all.len())]).collect()
            }
        };
        Self { seed, rounds, rng }
    }

    pub(crate) fn asked_for(faults: &[Fault], sample: &[(Fault, End)]) -> Self {
        let extent = match std::env::var("EVERLINE_CHAOS").ok().as_deref() {
            None => Extent::Sample,
            Some("all") => Extent::All,
            Some(text) => Extent::For(
                humantime::parse_duration(text).expect("EVERLINE_CHAOS is all or a time, as 10m"),
            ),
        };
        let seed = std::env::var("EVERLINE_CHAOS_SEED").ok();
        let seed = seed.map(|text| text.parse().expect("EVERLINE_CHAOS_SEED is a number"));
        Self::new(extent, seed.unwrap_or_else(some_seed), faults, sample)
    }

    pub(crate) fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..to))
    }
}

/// One that nobody has had yet, short enough to be typed.
fn some_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()))
}

#[test]
fn a_seed_draws_the_same_faults_again_and_all_are_all() {
    let length = Extent::For(Duration::from_mins(10));
    let plan = |extent, seed| Plan::new(extent, seed, &Fault::NAMED, &[]).rounds;
    assert_eq!(plan(length, 7), plan(length, 7));
    assert_ne!(plan(length, 7), plan(length, 8));
    assert_eq!(plan(length, 7).len(), 100);
    let mut all = plan(Extent::All, 7);
    all.sort_unstable();
    all.dedup();
    let ends: usize = Fault::NAMED.iter().map(|fault| fault.ends().len()).sum();
    assert_eq!(all.len(), ends);
}
