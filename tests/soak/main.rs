//! The soak: one failover after the other under clients that come, write and leave; memory, file
//! descriptors, threads and tasks must not grow, and the log must say nothing that nobody acts on.
//!
//! A few failovers in the test; `EVERLINE_SOAK=1h` for one each minute, for that long. The seed is
//! printed, and `EVERLINE_SOAK_SEED` has the same faults drawn again.

#[cfg(test)]
mod churn;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod run;
#[cfg(test)]
mod sample;
