//! Every bound of the system, its default and its reason.

use std::time::Duration;

/// How much of a client's message is looked at before the rest is passed through, in bytes.
///
/// A statement that is longer is forwarded without having been read to its end; what could
/// stand in the rest is then taken for granted (it may commit, it may leave session state).
pub const INSPECT_BYTES_MAX: usize = 64 * 1024;

/// How much of a first statement is kept until its answer begins, in bytes of messages, so that it
/// can be sent again when its node turns out not to lead.
///
/// Kept for each client, so small; a longer statement is refused with the retryable code.
pub const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Longest named prepared statement that is kept, in bytes.
///
/// A named statement has to be known here whole, so that it can be prepared on the next leader.
pub const PREPARED_STATEMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What one client's prepared statements may hold together, in bytes of text.
pub const PREPARED_BYTES_PER_CLIENT_MAX: usize = 64 * 1024 * 1024;

/// Prepared statements kept on one backend connection; the least recently used is closed.
pub const PREPARED_PER_BACKEND_MAX: usize = 1_000;

/// Texts of which one backend connection remembers what they tell, in number.
pub const SURVEYED_MAX: usize = 16;
/// The longest of them, in bytes: with [`SURVEYED_MAX`] at most 16 KiB for each connection.
pub const SURVEYED_BYTES_MAX: usize = 1024;

/// Longest backend message that is buffered until it is whole, in bytes.
///
/// A longer one (a large row) is passed through in pieces; if its backend is lost in the middle
/// the client's stream is torn and its connection has to be closed.
pub const WHOLE_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Requests of one client that may be unanswered; then its input waits.
///
/// More than a backend can have answered and not yet flushed (8 KiB of five-byte answers), so
/// that waiting for answers always ends.
pub const PIPELINE_REQUESTS_MAX: usize = 16 * 1024;

/// Most settings that a backend may report; PostgreSQL 18 reports fifteen, extensions may add some.
///
/// They are kept for each connection and each client: who reports more is no PostgreSQL, and given
/// up.
pub const PARAMETERS_MAX: usize = 256;
/// Longest of them, name and value, in bytes.
pub const PARAMETER_BYTES_MAX: usize = 64 * 1024;

/// Bytes that wait to be written to one peer before the other side is read no further.
pub const UNWRITTEN_BYTES_MAX: usize = 256 * 1024;

/// Size of one read from a socket, in bytes.
pub const READ_BYTES: usize = 16 * 1024;

/// Session settings that one client may have journalled, in number and in bytes of text.
pub const SETTINGS_MAX: usize = 200;
/// See [`SETTINGS_MAX`].
pub const SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// What is answered here at the beginning of one transaction, in bytes of text; what goes beyond
/// is sent to a backend.
pub const PREFIX_BYTES_MAX: usize = 16 * 1024;

/// Named portals whose statements are remembered for one client's open transaction.
pub const PORTALS_MAX: usize = 1_000;

/// Descriptions of statements that are kept for the Gel sessions of one database and role.
pub const DESCRIPTIONS_MAX: usize = 10_000;
/// As [`DESCRIPTIONS_MAX`], in bytes of texts and descriptors.
pub const DESCRIPTIONS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest text of a statement whose description is kept, in bytes.
pub const DESCRIPTION_TEXT_BYTES_MAX: usize = 64 * 1024;

/// Longest message of a backend that a Gel session takes, in bytes: its rows are framed anew, each
/// as a whole. Rows that go to PostgreSQL's clients pass through in pieces.
pub const GEL_ROW_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Connections beyond `clients_max` that may be at their first packets: a cancel request must get
/// through when every place is taken.
pub const NEWCOMERS_MAX: usize = 256;

/// How long a cancel request may take to reach the backend.
pub const CANCEL_MAX: Duration = Duration::from_secs(5);

/// Backend connections that are dialled at the same time, over all pools.
///
/// After a failover everybody comes at once; PostgreSQL forks and hashes for each of them. As many
/// are made ahead to a node that is elected and not announced.
pub const DIALS_MAX: usize = 16;

/// Cancel requests that are carried to backends and peers at the same time; more are dropped, as
/// PostgreSQL drops what it has no process for.
pub const CANCELS_MAX: usize = 64;

/// Questions of `auth_query` at the same time: whoever tries names must not take the budget.
pub const AUTH_QUERIES_MAX: usize = 4;

/// How long one such question may take.
pub const AUTH_QUERY_MAX: Duration = Duration::from_secs(5);

/// Users whose answer of `auth_query` is kept; the oldest is forgotten.
pub const AUTH_QUERY_USERS_MAX: usize = 10_000;
