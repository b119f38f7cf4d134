//! What one client of Gel's protocol may do next, and what it is told: beside
//! [`Conversation`](super::Conversation), on the same connections and under the same contract.
//!
//! Gel's clients send one command and wait for its answer, so there is no pipeline here: a
//! [`Machine`] has one job at a time, of one or a few flights to the backend. What its clients
//! need beyond PostgreSQL's:
//!
//! * They retry by themselves, by the class of an error's code and by what a statement does. So
//!   the codes are chosen by what is certain: [`refuse`].
//! * A transaction begins here; the backend hears of it with its first statement. `ROLLBACK`
//!   always succeeds, and a failed `COMMIT` ends the transaction: some clients put a connection
//!   back into their pool without another word.
//! * A statement is described before it is run. Descriptions are kept for all sessions
//!   ([`describe`]), so that while there is no leader a client learns at its Execute, which it
//!   retries, and not at its Parse, which not every client does.

mod answer;
pub mod describe;
mod flight;
mod job;
mod lost;
pub mod machine;
pub mod refuse;

#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod script_tests;

pub use describe::Descriptions;
pub use machine::{GelPolicy, Machine, Progress, Step};
