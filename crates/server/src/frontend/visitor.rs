//! A client of the console: it has logged in as everybody else does, and leads to no backend.

use bytes::BytesMut;

use crate::net::stream::Stream;

/// The database under which the console is reached.
pub const CONSOLE: &str = "everline";

/// What somebody may do on the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Look.
    Stats,
}

/// A client that has proved who it is and waits for its first words.
#[derive(Debug)]
pub struct Visitor {
    /// Its connection.
    pub stream: Stream,
    /// What it has sent already.
    pub input: BytesMut,
    /// Who it is.
    pub user: String,
    /// What it may do.
    pub role: Role,
}
