//! What one client may do next, and what it is told: the third machine of the core.
//!
//! [`Conversation`] reads the client's messages and the backend's, and decides for each whether
//! it is forwarded, answered by us, or refused. It knows no socket and no clock: it is given
//! bytes and writes bytes. The failure contract (what a client sees when the leader goes) is
//! [`Conversation::backend_lost`] and [`Conversation::refuse`].
//!
//! * [`pipeline`]: what was forwarded and is not answered yet, and what its loss means
//! * [`transaction`]: the client's transaction, real, answered by us, or lost
//! * [`statements`]: prepared statements of clients, and which backend connection has them
//! * [`survey`]: what a text of SQL tells before it is run
//! * [`surveyed`]: what texts like it have told
//! * [`settings`]: `SET` and its kin, journalled, replayed, undone with their transaction
//! * `reset`: what pools send to reset a session, while there is no leader
//! * `kept`: a first statement, until it is known that the leader has it
//! * [`pin`]: what ties a session to its backend connection beyond the transaction
//! * [`gel`]: the same for clients of Gel's protocol

pub mod backend_state;
pub mod conversation;
mod deallocate;
mod dress;
mod extended;
mod from_backend;
pub mod gel;
mod here;
mod kept;
mod listening;
mod local;
mod loss;
pub mod pin;
pub mod pipeline;
pub mod policy;
mod portals;
mod reset;
#[cfg(test)]
mod script_tests;
pub mod settings;
mod statement_mode;
pub mod statements;
pub mod survey;
pub mod surveyed;
pub mod transaction;
mod unnamed;

pub use backend_state::BackendState;
pub use conversation::{Conversation, Flow, Incoming, Output, Step, Tally};
pub use from_backend::{Loss, Relayed};
pub use policy::{Lending, LostState, Policy};
