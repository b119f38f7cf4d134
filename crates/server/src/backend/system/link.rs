//! The system connection as the heartbeat sees it.

use bytes::{Bytes, BytesMut};
use everline_wire::backend::view;
use everline_wire::fields::Severity;
use everline_wire::frontend;
use everline_wire::sqlstate::SqlState;
use everline_wire::tag::backend as tag;
use tokio::io::AsyncWriteExt;

use super::{Heard, Link};
use crate::backend::OwnedFields;
use crate::backend::connection::{Connection, QueryError, SMALL_MESSAGE_BYTES_MAX, read_message};

/// The question of the heartbeat.
const QUESTION: &[u8] = b"SELECT pg_catalog.pg_is_in_recovery()";

/// A connection on which the same small question is asked again and again.
#[derive(Debug)]
pub struct SystemLink {
    connection: Connection,
    /// What of the answer has come before its end.
    answer: Option<Heard>,
}

impl SystemLink {
    /// Takes a connection that is ready for its next statement.
    #[must_use]
    pub const fn new(connection: Connection) -> Self {
        Self { connection, answer: None }
    }

    /// Takes one message; what it means once that is known.
    fn take(&mut self, message_tag: u8, body: Bytes) -> Result<Option<Heard>, QueryError> {
        match message_tag {
            tag::DATA_ROW => {
                let mut row = view::data_row(&body).map_err(|_| MALFORMED)?;
                self.answer = match row.next().flatten() {
                    Some(b"t") => Some(Heard::Standby),
                    Some(b"f") => Some(Heard::Primary),
                    Some(_) | None => return Err(MALFORMED),
                };
                Ok(None)
            }
            tag::READY_FOR_QUERY => Ok(Some(self.answer.take().unwrap_or(Heard::Other))),
            tag::ERROR => self.error(OwnedFields::new(body).ok_or(MALFORMED)?).map(Some),
            tag::NOTICE => {
                let fields = OwnedFields::new(body).ok_or(MALFORMED)?;
                let heard =
                    if is_shutdown(&fields) { Heard::ShuttingDown(fields) } else { Heard::Other };
                Ok(Some(heard))
            }
            tag::PARAMETER_STATUS => {
                let (name, value) = view::parameter_status(&body).map_err(|_| MALFORMED)?;
                let standby = name == "in_hot_standby" && value == "on";
                Ok(Some(if standby { Heard::Standby } else { Heard::Other }))
            }
            tag::ROW_DESCRIPTION | tag::COMMAND_COMPLETE | tag::NOTIFICATION => Ok(None),
            _ => Err(QueryError::Protocol("a message that the heartbeat does not bring")),
        }
    }

    /// An error ends the answer only when `ReadyForQuery` follows it; a fatal one ends everything.
    fn error(&mut self, fields: OwnedFields) -> Result<Heard, QueryError> {
        if is_shutdown(&fields) {
            return Ok(Heard::ShuttingDown(fields));
        }
        if fields.severity() >= Severity::Fatal {
            return Err(QueryError::Refused { error: fields, notices: Vec::new() });
        }
        self.answer = Some(Heard::Error(fields));
        Ok(Heard::Other)
    }
}

const MALFORMED: QueryError = QueryError::Protocol("the body of a message is malformed");

/// Whether a backend says so because its server goes down or comes down with a crash.
///
/// Source: PostgreSQL manual, appendix A; sent as FATAL on a fast shutdown, and as a WARNING notice
/// on an immediate one and when another process has crashed.
fn is_shutdown(fields: &OwnedFields) -> bool {
    [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(&fields.code())
}

impl Link for SystemLink {
    async fn ask(&mut self) -> Result<(), QueryError> {
        let mut out = BytesMut::new();
        frontend::query(&mut out, QUESTION);
        self.connection.stream.write_all(&out).await?;
        self.connection.stream.flush().await?;
        Ok(())
    }

    async fn hear(&mut self) -> Result<Heard, QueryError> {
        loop {
            let Connection { stream, read, .. } = &mut self.connection;
            let message = read_message(stream, read, SMALL_MESSAGE_BYTES_MAX).await?;
            if let Some(heard) = self.take(message.tag, message.body)? {
                return Ok(heard);
            }
        }
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
