//! The questions by which a node says who it is.

use everline_core::ha::Identity;
use everline_wire::fields::Severity;
use everline_wire::sqlstate::SqlState;
use tokio::time::Instant;

use crate::backend::connection::{Connection, QueryError};

/// What a node said about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// `transaction_read_only`.
    pub read_only: bool,
    /// Who it is, as far as it says.
    pub identity: Identity,
}

/// The questions, from all that is wanted to what every node answers. The columns are: in recovery,
/// read-only, start of the postmaster in microseconds, system identifier, timeline, position.
///
/// What a standby cannot be asked is guarded by CASE. A role may lack the right to
/// `pg_control_system()`, and not every relative of PostgreSQL has WAL functions; who is not
/// answered asks for less.
const QUESTIONS: [&str; 4] = [
    "SELECT pg_catalog.pg_is_in_recovery(), \
     pg_catalog.current_setting('transaction_read_only'), \
     (EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8, \
     (SELECT system_identifier FROM pg_catalog.pg_control_system()), \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.substr(\
     pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END, \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL \
     ELSE pg_catalog.pg_current_wal_lsn() END",
    "SELECT pg_catalog.pg_is_in_recovery(), \
     pg_catalog.current_setting('transaction_read_only'), \
     (EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8, \
     NULL, \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.substr(\
     pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END, \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL \
     ELSE pg_catalog.pg_current_wal_lsn() END",
    "SELECT pg_catalog.pg_is_in_recovery(), \
     pg_catalog.current_setting('transaction_read_only'), \
     (EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8",
    "SELECT pg_catalog.pg_is_in_recovery(), \
     pg_catalog.current_setting('transaction_read_only')",
];

/// Asks until one of the questions is answered, all by the deadline.
pub(super) async fn ask(
    connection: &mut Connection,
    deadline: Instant,
) -> Result<Answer, QueryError> {
    let mut refusal = QueryError::Protocol("nothing was asked");
    for question in QUESTIONS {
        match connection.simple_query(question, deadline).await {
            Ok(reply) => return read(&reply.rows),
            Err(QueryError::Refused { error, notices }) => {
                let less_may_do = error.severity() < Severity::Fatal && is_about(error.code());
                refusal = QueryError::Refused { error, notices };
                if !less_may_do {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(refusal)
}

/// Whether the error is about the question itself and not about the node's present state: then
/// asking for less may help.
fn is_about(code: SqlState) -> bool {
    // Operator intervention, insufficient resources, a failing system.
    !["57", "53", "58"].contains(&code.class())
}

fn read(rows: &[Vec<Option<Vec<u8>>>]) -> Result<Answer, QueryError> {
    const ODD: QueryError = QueryError::Protocol("an answer of another form than the question's");
    let row = rows.first().ok_or(ODD)?;
    let text = |column: usize| {
        let value = row.get(column)?.as_deref()?;
        std::str::from_utf8(value).ok()
    };
    Ok(Answer {
        in_recovery: parse_bool(text(0)).ok_or(ODD)?,
        read_only: parse_bool(text(1)).ok_or(ODD)?,
        identity: Identity::from_text(text(3), text(4), text(5), text(2)),
    })
}

/// A boolean (`t`, `f`) or a setting (`on`, `off`).
fn parse_bool(text: Option<&str>) -> Option<bool> {
    match text? {
        "t" | "on" => Some(true),
        "f" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
