//! Who gets which backend connection: the second machine of the core.

mod demand;
pub mod plan;

pub use plan::{GroupId, Limits, Plan, PoolId, Returned, Verdict};
