//! Compares what was promised with what is there.

use std::collections::BTreeMap;
use std::fmt;

use super::{Entry, Promise};

/// Something that must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Acknowledged, and not there.
    Lost(u64),
    /// There this many times.
    Doubled(u64, u64),
    /// There, although an error said that it is not: a client that repeats it has it twice.
    Kept(u64),
    /// Not there, although others are that were written together with it.
    Half(u64),
    /// There, and nobody wrote it.
    Stray(u64),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(id) => write!(f, "row {id} was acknowledged and is lost"),
            Self::Doubled(id, times) => write!(f, "row {id} is there {times} times"),
            Self::Kept(id) => write!(f, "row {id} was refused and is there"),
            Self::Half(id) => write!(f, "row {id} is missing from those written with it"),
            Self::Stray(id) => write!(f, "row {id} is there and nobody wrote it"),
        }
    }
}

/// What the rows say about the promises.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Rows that were acknowledged.
    pub acknowledged: u64,
    /// Rows that were refused.
    pub refused: u64,
    /// Rows of unknown outcome that are there.
    pub unknown_there: u64,
    /// Rows of unknown outcome that are not there.
    pub unknown_absent: u64,
    /// What must not be, in the order of the entries; strays last.
    pub violations: Vec<Violation>,
}

impl Audit {
    /// Rows lost: acknowledged and not there, and the missing ones of halves.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.count(|one| matches!(one, Violation::Lost(_) | Violation::Half(_)))
    }

    /// Rows doubled: there several times, or there although they were refused or never written.
    #[must_use]
    pub fn doubled(&self) -> u64 {
        let doubled = |one: &Violation| {
            matches!(one, Violation::Doubled(..) | Violation::Kept(_) | Violation::Stray(_))
        };
        self.count(doubled)
    }

    fn count(&self, which: impl Fn(&Violation) -> bool) -> u64 {
        let count = self.violations.iter().filter(|one| which(one)).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// Audits all entries against the rows: how often each id is there.
#[must_use]
pub fn audit(entries: &[Entry], rows: &[(u64, u64)]) -> Audit {
    let mut left: BTreeMap<u64, u64> = rows.iter().copied().collect();
    let mut audit = Audit::default();
    for entry in entries {
        let ids = entry.first..entry.first.saturating_add(entry.count);
        let there: Vec<(u64, u64)> = ids.map(|id| (id, left.remove(&id).unwrap_or(0))).collect();
        let missing = there.iter().filter(|(_, times)| *times == 0).map(|(id, _)| *id);
        let missing: Vec<u64> = missing.collect();
        let absent = u64::try_from(missing.len()).unwrap_or(u64::MAX);
        let present = entry.count.saturating_sub(absent);
        let doubled = there.iter().filter(|(_, times)| *times > 1);
        audit.violations.extend(doubled.map(|(id, times)| Violation::Doubled(*id, *times)));
        match entry.promise {
            Promise::Acknowledged => {
                audit.acknowledged += entry.count;
                audit.violations.extend(missing.into_iter().map(Violation::Lost));
            }
            Promise::Unknown => {
                audit.unknown_there += present;
                audit.unknown_absent += absent;
                // All or nothing: a half is a loss whatever was told.
                if present > 0 {
                    audit.violations.extend(missing.into_iter().map(Violation::Half));
                }
            }
            Promise::Refused => {
                audit.refused += entry.count;
                let kept = there.iter().filter(|(_, times)| *times == 1);
                audit.violations.extend(kept.map(|(id, _)| Violation::Kept(*id)));
            }
        }
    }
    audit.violations.extend(left.into_keys().map(Violation::Stray));
    audit
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
