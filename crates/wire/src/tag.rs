//! The message types, by the byte that begins a message.
//!
//! Source: PostgreSQL, src/include/libpq/protocol.h.

/// Messages that a frontend sends.
pub mod frontend {
    /// Bind parameters of a prepared statement, which makes a portal.
    pub const BIND: u8 = b'B';
    /// Close a prepared statement or a portal.
    pub const CLOSE: u8 = b'C';
    /// A piece of COPY data; both directions.
    pub const COPY_DATA: u8 = b'd';
    /// End of COPY data; both directions.
    pub const COPY_DONE: u8 = b'c';
    /// COPY IN is given up.
    pub const COPY_FAIL: u8 = b'f';
    /// Describe a prepared statement or a portal.
    pub const DESCRIBE: u8 = b'D';
    /// Execute a portal.
    pub const EXECUTE: u8 = b'E';
    /// Send what has been answered so far.
    pub const FLUSH: u8 = b'H';
    /// A function call by its OID (the "fast path").
    pub const FUNCTION_CALL: u8 = b'F';
    /// Prepare a statement.
    pub const PARSE: u8 = b'P';
    /// A password, or one of the SASL and GSSAPI responses, which share its byte.
    pub const PASSWORD: u8 = b'p';
    /// A simple query.
    pub const QUERY: u8 = b'Q';
    /// End of a pipeline segment.
    pub const SYNC: u8 = b'S';
    /// Goodbye.
    pub const TERMINATE: u8 = b'X';
}

/// Messages that a backend sends.
pub mod backend {
    /// Every step of authentication.
    pub const AUTHENTICATION: u8 = b'R';
    /// Bind succeeded.
    pub const BIND_COMPLETE: u8 = b'2';
    /// Close succeeded.
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// A statement has finished.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// Both directions of COPY begin (replication only).
    pub const COPY_BOTH: u8 = b'W';
    /// A piece of COPY data; both directions.
    pub const COPY_DATA: u8 = b'd';
    /// End of COPY data; both directions.
    pub const COPY_DONE: u8 = b'c';
    /// COPY IN begins.
    pub const COPY_IN: u8 = b'G';
    /// COPY OUT begins.
    pub const COPY_OUT: u8 = b'H';
    /// A row.
    pub const DATA_ROW: u8 = b'D';
    /// The query was empty.
    pub const EMPTY_QUERY: u8 = b'I';
    /// An error.
    pub const ERROR: u8 = b'E';
    /// Result of a function call.
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    /// Process number and secret with which a query can be cancelled.
    pub const KEY_DATA: u8 = b'K';
    /// The protocol version or options asked for are not all known.
    pub const NEGOTIATE: u8 = b'v';
    /// The statement returns no rows.
    pub const NO_DATA: u8 = b'n';
    /// A notice or warning.
    pub const NOTICE: u8 = b'N';
    /// A NOTIFY of some session.
    pub const NOTIFICATION: u8 = b'A';
    /// Types of a prepared statement's parameters.
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    /// A parameter has this value from here on.
    pub const PARAMETER_STATUS: u8 = b'S';
    /// Parse succeeded.
    pub const PARSE_COMPLETE: u8 = b'1';
    /// Execute stopped at its row limit.
    pub const PORTAL_SUSPENDED: u8 = b's';
    /// The backend waits for a query.
    pub const READY_FOR_QUERY: u8 = b'Z';
    /// Names and types of the columns to come.
    pub const ROW_DESCRIPTION: u8 = b'T';
}
