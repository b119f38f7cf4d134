//! A ledger: clients that write rows and remember what they were told about each, and the audit
//! that compares that with what is there.
//!
//! Every row has an id of its own, and every attempt rows of its own; the table has no unique
//! constraint, so a statement that was run twice shows.

mod attempt;
mod audit;
mod tally;
mod writer;

pub use attempt::Shape;
pub use audit::{Audit, Violation, audit};
pub use tally::{Counts, Tally};
pub use writer::{Door, Writer};

use crate::Result;
use crate::postgres::Node;

/// Makes the table, as the superuser, for the application's user.
pub const TABLE: &str = "CREATE TABLE ledger (id bigint NOT NULL, client int NOT NULL); \
     ALTER TABLE ledger OWNER TO app";

/// What a client was told about rows that it wrote together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// They are there.
    Acknowledged,
    /// Nobody knows: all of them are there, or none.
    Unknown,
    /// They are not there: the answer was an error that says so.
    Refused,
}

/// Rows written together: `count` ids from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The first id.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// What was told.
    pub promise: Promise,
}

/// How one statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded, and nothing is durable by it alone.
    Done,
    /// It succeeded, and with it this many rows are promised.
    Acknowledged(u64),
    /// 40001: nothing has happened, the client may repeat it.
    Retryable,
    /// 08007, 40003, or a connection that ended: it may have happened or not.
    Unknown,
    /// Another error: nothing has happened.
    Refused,
}

/// Who watches the clients at work.
pub trait Observer: Send + Sync {
    /// A client sends something and waits for an answer.
    fn asks(&self, client: u16);
    /// A client has its answer.
    fn answered(&self, client: u16, outcome: Outcome);
    /// A client's connection ended although the client had not ended it.
    fn closed(&self);
    /// A client got an error that nobody expects, or no error where one was due.
    fn surprise(&self, code: &str, text: &str);
}

/// How often each id is in the ledger of a node.
///
/// # Errors
/// See [`Node::sql`].
pub async fn rows(node: &Node) -> Result<Vec<(u64, u64)>> {
    let rows = node.sql("SELECT id, count(*) FROM ledger GROUP BY id").await?;
    let number = |value: Option<&Option<String>>| value?.as_ref()?.parse().ok();
    let pair = |row: &Vec<Option<String>>| Some((number(row.first())?, number(row.get(1))?));
    Ok(rows.iter().filter_map(pair).collect())
}
