//! Many Everlines before one cluster, in virtual time: what a failover costs the new leader, and
//! who is served when.
//!
//! Each instance decides by the core's own pace ([`Backoff`]) and pool plan
//! ([`everline_core::pool::plan`]); the leader is a machine whose cores are shared by the logins
//! that are under way, as PostgreSQL forks a process for each at once. Clients are counted, not
//! played one by one, so a million of them take seconds. Time goes in steps of a millisecond.
//!
//! [`Backoff`]: everline_core::retry::Backoff

mod instance;
mod leader;

use std::time::Instant;

use crate::dice::Dice;
use instance::Instance;
use leader::Leader;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// Everlines.
    pub instances: u64,
    /// Clients of each.
    pub clients_each: u64,
    /// Backend connections of all together, shared evenly; at least two for each.
    pub connections: u64,
    /// Statements that all clients together would send in a second if none had to wait.
    pub statements_per_second: u64,
    /// How long a statement keeps a connection, in milliseconds.
    pub kept_ms: u64,
    /// Cores that the leader has for logins.
    pub login_cores: u64,
    /// What one login costs of a core, in microseconds.
    pub login_us: u64,
    /// How long nobody leads, in milliseconds.
    pub gap_ms: u64,
    /// The longest that a dial may take, in milliseconds.
    pub dial_max_ms: u64,
    /// How long a statement is held for a leader, in milliseconds.
    pub hold_ms: u64,
}

impl Fleet {
    /// Fifty instances of twenty thousand clients before five thousand connections.
    pub const USUAL: Self = Self {
        instances: 50,
        clients_each: 20_000,
        connections: 5_000,
        statements_per_second: 200_000,
        kept_ms: 10,
        login_cores: 32,
        login_us: 5_000,
        gap_ms: 3_000,
        dial_max_ms: 5_000,
        hold_ms: 5_000,
    };
}

/// What was seen; times in milliseconds since the new leader was ready.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Most logins that the leader completed in a tenth of a second.
    pub logins_per_100_ms: u64,
    /// Most logins that were under way at the leader at the same time.
    pub logins_at_once: u64,
    /// Dials that were given up, their login being too slow.
    pub dials_given_up: u64,
    /// When the first instance had a statement answered.
    pub first_served: u64,
    /// When the last instance had.
    pub last_served: u64,
    /// When the first instance had no more statement waiting than before the failover.
    pub first_recovered: u64,
    /// When the last instance had none.
    pub last_recovered: u64,
    /// The longest that a statement waited, the gap included.
    pub longest_wait: u64,
    /// The longest wait of the luckiest instance.
    pub shortest_longest_wait: u64,
    /// Statements held when the leader was ready.
    pub held: u64,
    /// Statements that were refused since their hold was over.
    pub refused: u64,
    /// How evenly the first second was shared, or less of it where all was over sooner: 1 for all
    /// alike, 1 / instances for one alone
    /// (Jain's index over statements answered).
    pub evenness: f64,
}

/// The failover comes when the fleet has warmed up.
const WARM_MS: u64 = 10_000;
/// At most so long is looked for the recovery.
const RECOVERY_MAX_MS: u64 = 120_000;

/// Plays one failover of `fleet`; the same seed plays the same again.
///
/// # Errors
/// What did not recover within two minutes, or broke a bound.
pub fn play(fleet: Fleet, seed: u64, began: Instant) -> Result<Seen, String> {
    let mut leader = Leader::new(fleet.login_cores, fleet.login_us);
    let mut instances: Vec<_> = (0..fleet.instances)
        .map(|at| Instance::new(&fleet, Dice::new(seed ^ (at << 32))))
        .collect();
    let mut told = Seen::default();
    let ready = WARM_MS + fleet.gap_ms;
    leader.up = true;
    for now in 0..ready + RECOVERY_MAX_MS {
        if now == WARM_MS {
            leader.dies();
            for instance in &mut instances {
                instance.loses(now);
            }
        }
        if now == ready {
            leader.up = true;
            told.held = instances.iter().map(Instance::waiting).sum();
        }
        for login in leader.step() {
            let at = usize::try_from(login.instance).unwrap_or(usize::MAX);
            if let Some(instance) = instances.get_mut(at) {
                instance.logged_in(login);
            }
        }
        for (at, instance) in (0..).zip(&mut instances) {
            instance.step(at, now, began, &mut leader);
        }
        if now >= ready {
            told.logins_at_once = told.logins_at_once.max(leader.under_way());
            let over = instances.iter().all(Instance::is_recovered);
            if now == ready + 1_000 || (over && now < ready + 1_000) {
                told.evenness = evenness(instances.iter().map(Instance::served));
            }
            if over {
                break;
            }
        } else if now == ready - 1 {
            for instance in &mut instances {
                instance.forget_what_was();
            }
            leader.forget_what_was();
        }
    }
    told.logins_per_100_ms = leader.most_in_100_ms();
    gather(&mut told, &instances, ready)?;
    Ok(told)
}

fn gather(told: &mut Seen, instances: &[Instance], ready: u64) -> Result<(), String> {
    let since = |at: Option<u64>| at.map(|at| at.saturating_sub(ready)).ok_or("never recovered");
    told.first_served = u64::MAX;
    told.first_recovered = u64::MAX;
    told.shortest_longest_wait = u64::MAX;
    for instance in instances {
        let (served, recovered) = (since(instance.first_served)?, since(instance.recovered)?);
        told.first_served = told.first_served.min(served);
        told.last_served = told.last_served.max(served);
        told.first_recovered = told.first_recovered.min(recovered);
        told.last_recovered = told.last_recovered.max(recovered);
        told.longest_wait = told.longest_wait.max(instance.longest_wait);
        told.shortest_longest_wait = told.shortest_longest_wait.min(instance.longest_wait);
        told.refused += instance.refused;
        told.dials_given_up += instance.given_up;
    }
    Ok(())
}

/// Jain's index.
fn evenness(counts: impl Iterator<Item = u64>) -> f64 {
    let (mut number, mut sum, mut squares) = (0_u32, 0.0, 0.0);
    for count in counts {
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        number += 1;
        sum += count;
        squares += count * count;
    }
    if squares == 0.0 { 0.0 } else { sum * sum / (f64::from(number) * squares) }
}
