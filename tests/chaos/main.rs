//! Chaos: primary, standby, Consul and Everline on hosts of their own, on a network that fails in
//! the ways of networks; clients write all the while, and in the end every row is compared with
//! what its client was told.
//!
//! A few faults in the test; `EVERLINE_CHAOS=all` for each fault with each end that it can have,
//! `EVERLINE_CHAOS=10m` for faults drawn at random for that long. The seed is printed, and
//! `EVERLINE_CHAOS_SEED` has the same faults drawn again.

#[cfg(test)]
mod fault;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod run;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod strike;
