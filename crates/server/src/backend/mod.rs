//! PostgreSQL's side: from a name to a connection that is ready for its first statement.

pub mod ask;
pub mod connection;
pub mod dial;
mod dns;
mod endpoint;
mod fields;
pub mod knock;
pub mod lease;
mod login;
pub mod pool;
pub mod resolve;
pub mod system;

pub use endpoint::{Address, Endpoint};
pub use fields::OwnedFields;
