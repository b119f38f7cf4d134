//! Who gets which backend connection: the second machine of the core.

pub mod plan;

pub use plan::{Plan, PoolId, Verdict};
