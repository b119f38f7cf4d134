//! The core's decisions under every order of events, and under faults drawn from a seed.
//!
//! [`exhaustive`] visits every state that the failover machine can reach in a small universe.
//! [`world`] plays clients, nodes, network and time around the core's machines for as many events
//! as a seed draws, and judges at every step; the same seed plays the same again. Both can have a
//! rule of the core broken on the way ([`world::Mutation`]): the checks are checked by finding
//! each.

pub mod exhaustive;
pub mod fleet;

mod client;
mod dice;
mod faults;
mod owner;
mod postgres;
mod session;
pub mod world;
