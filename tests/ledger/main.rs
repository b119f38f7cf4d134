//! The ledger: forty clients of mixed shapes write while the leader fails every ten seconds, in
//! ways drawn at random, there and back between two nodes; then every row is compared with what
//! its client was told.
//!
//! Every fault once in the test; `EVERLINE_LEDGER=3m` for that long. The seed is printed, and
//! `EVERLINE_LEDGER_SEED` has the same faults drawn again.

#[cfg(test)]
mod run;
#[cfg(test)]
mod spoil;
