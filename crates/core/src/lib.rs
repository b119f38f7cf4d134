//! Everline's decisions, and nothing else: a functional core.
//!
//! Three machines of one shape, `(&mut self, input) -> output`, know no socket, no clock and no
//! runtime, so that every decision can be tested as a table and repeated to the byte:
//!
//! * [`ha`]: is the leader alive, and who is it?
//! * [`pool`]: who gets which backend connection?
//! * [`session`]: what may this client do next, and what is it told when its backend is gone?
//!
//! [`refusal`] is the contract with drivers, [`limits`] every bound of the system.

pub mod ha;
pub mod limits;
pub mod pool;
pub mod refusal;
pub mod retry;
pub mod session;
