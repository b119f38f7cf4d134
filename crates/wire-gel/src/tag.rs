//! The message types, by the byte that begins a message.

/// Messages that a client sends.
pub mod client {
    /// Version and parameters: the first message of a connection.
    pub const HANDSHAKE: u8 = b'V';
    /// The chosen SASL mechanism and its first message.
    pub const SASL_INITIAL: u8 = b'p';
    /// A further message of the SASL mechanism.
    pub const SASL_RESPONSE: u8 = b'r';
    /// Describe a command.
    pub const PARSE: u8 = b'P';
    /// Run a command.
    pub const EXECUTE: u8 = b'O';
    /// End of a batch: what follows an error is read again from here on.
    pub const SYNC: u8 = b'S';
    /// Send what has been answered so far.
    pub const FLUSH: u8 = b'H';
    /// Goodbye.
    pub const TERMINATE: u8 = b'X';
    /// Dump the database.
    pub const DUMP: u8 = b'>';
    /// Restore a dump.
    pub const RESTORE: u8 = b'<';
    /// A piece of a dump.
    pub const RESTORE_BLOCK: u8 = b'=';
    /// The end of a dump.
    pub const RESTORE_EOF: u8 = b'.';
}

/// Messages that a server sends.
pub mod server {
    /// The version that the server speaks.
    pub const HANDSHAKE: u8 = b'v';
    /// Every step of authentication.
    pub const AUTHENTICATION: u8 = b'R';
    /// The key of the connection.
    pub const KEY_DATA: u8 = b'K';
    /// The type of a session's state.
    pub const STATE_DESCRIPTION: u8 = b's';
    /// A parameter has this value.
    pub const PARAMETER_STATUS: u8 = b'S';
    /// The server waits for a command.
    pub const READY: u8 = b'Z';
    /// What a command takes and returns.
    pub const COMMAND_DESCRIPTION: u8 = b'T';
    /// A row.
    pub const DATA: u8 = b'D';
    /// A command has finished.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// An error.
    pub const ERROR: u8 = b'E';
    /// A notice.
    pub const LOG: u8 = b'L';
}
