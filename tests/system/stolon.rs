//! Behind Stolon: Everline as a proxy that Stolon's sentinel waits for.
//!
//! Consul and PostgreSQL are real. The sentinel's part is played by the lab, so that each test
//! decides when the next step comes; [`real`] has Stolon's own programs, where there are any.

mod change;
mod figures;
mod mistakes;
mod moved;
mod outage;
mod real;
mod rights;
mod stage;
mod writers;
