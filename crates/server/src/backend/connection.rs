//! One backend connection.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use everline_core::limits::PARAMETERS_MAX;
use everline_wire::backend::view;
use everline_wire::fields::Severity;
use everline_wire::tag::backend as tag;
use everline_wire::{frame, frontend};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::{Endpoint, OwnedFields};
use crate::net::stream::Stream;

/// Most bytes that the answer to one [`Connection::simple_query`] may have.
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// Longest body, in bytes, of a message that comes unasked or during the login.
pub const SMALL_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// A logged-in connection to PostgreSQL.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: Stream,
    /// What was read from the socket and not yet looked at. Empty after the login, unless the
    /// backend spoke unasked.
    pub read: BytesMut,
    /// Where this is.
    pub endpoint: Endpoint,
    /// What a cancel request has to name.
    pub key: BackendKey,
    /// The backend's settings as it last reported them (`ParameterStatus`).
    pub parameters: BTreeMap<String, String>,
}

/// The key that the backend gave out for cancel requests.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct BackendKey {
    /// The backend's process.
    pub process_id: u32,
    /// Proof that we may cancel; empty when the backend gave none out.
    pub secret: Bytes,
}

impl fmt::Debug for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendKey({})", self.process_id)
    }
}

/// The answer to a query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The rows of the last statement, as text; `None` is NULL.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
    /// The notices that came meanwhile. A shutdown can be announced by one.
    pub notices: Vec<OwnedFields>,
}

/// Why a query has no answer. Except after [`QueryError::Refused`] with a severity below FATAL the
/// connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The backend closed the connection without a word.
    #[error("the backend closed the connection")]
    Closed,
    /// The deadline passed.
    #[error("the backend did not answer in time")]
    Timeout,
    /// The backend answered with an error.
    #[error("{error}")]
    Refused {
        /// The error.
        error: OwnedFields,
        /// The notices that came before it.
        notices: Vec<OwnedFields>,
    },
    /// The backend said something that it should not.
    #[error("the backend broke the protocol: {0}")]
    Protocol(&'static str),
}

/// Something that came unasked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Incoming {
    /// A notice.
    Notice(OwnedFields),
    /// An error, as a rule the last words before the backend closes the connection.
    Error(OwnedFields),
    /// A setting changed; [`Connection::parameters`] has the new value already.
    Parameter {
        /// The setting.
        name: String,
        /// Its new value.
        value: String,
    },
    /// A message of another type, by its tag: somebody's notification or a late answer.
    Other(u8),
}

/// One message as it came.
#[derive(Debug)]
pub(super) struct Message {
    pub tag: u8,
    pub body: Bytes,
}

impl Connection {
    /// Sends one query by the simple protocol and reads its answer up to `ReadyForQuery`.
    ///
    /// Settings that change meanwhile are in [`Connection::parameters`] afterwards.
    ///
    /// # Errors
    /// [`QueryError`]. A FATAL error is returned at once, without waiting for the end of the
    /// connection that follows it.
    ///
    /// # Cancel safety
    /// Not safe: the answer stays in the socket. Close the connection.
    pub async fn simple_query(
        &mut self,
        sql: &str,
        deadline: Instant,
    ) -> Result<Reply, QueryError> {
        let answer = timeout_at(deadline, self.ask(sql)).await;
        answer.unwrap_or(Err(QueryError::Timeout))
    }

    async fn ask(&mut self, sql: &str) -> Result<Reply, QueryError> {
        let mut out = BytesMut::new();
        frontend::query(&mut out, sql.as_bytes());
        let sent = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        // A backend that is gone may have left its reason: it is read below before the write's
        // own error counts.
        let sent = sent.await;
        let mut collected = Collected::default();
        loop {
            let room = REPLY_BYTES_MAX.saturating_sub(collected.bytes);
            let message = match (self.message(room).await, &sent) {
                (Ok(message), _) => message,
                (Err(QueryError::Closed), Err(error)) => {
                    return Err(io::Error::new(error.kind(), error.to_string()).into());
                }
                (Err(error), _) => return Err(error),
            };
            if let Some(answer) = collected.take(message, &mut self.parameters)? {
                return answer;
            }
        }
    }

    /// Waits for a message that comes unasked: a notice, an error, a changed setting.
    ///
    /// # Errors
    /// [`QueryError::Closed`] and [`QueryError::Io`] when the connection is over,
    /// [`QueryError::Protocol`] for a message that is none.
    ///
    /// # Cancel safety
    /// Safe: half a message waits in [`Connection::read`].
    pub async fn listen(&mut self) -> Result<Incoming, QueryError> {
        let Message { tag, body } = self.message(SMALL_MESSAGE_BYTES_MAX).await?;
        match tag {
            tag::NOTICE => Ok(Incoming::Notice(fields(body)?)),
            tag::ERROR => Ok(Incoming::Error(fields(body)?)),
            tag::PARAMETER_STATUS => {
                let (name, value) = keep_parameter(&body, &mut self.parameters)?;
                Ok(Incoming::Parameter { name, value })
            }
            other => Ok(Incoming::Other(other)),
        }
    }

    async fn message(&mut self, body_max: usize) -> Result<Message, QueryError> {
        read_message(&mut self.stream, &mut self.read, body_max).await
    }

    /// Says goodbye and closes, at the latest at the deadline.
    ///
    /// Best effort: a backend that does not take the word notices the end of the socket.
    pub async fn close(mut self, deadline: Instant) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        let goodbye = async {
            self.stream.write_all(&out).await?;
            self.stream.shutdown().await
        };
        // Nothing to do about a failure: the connection is dropped next.
        let _: Result<_, _> = timeout_at(deadline, goodbye).await;
    }
}

/// Reads one message, from the buffer or from the socket.
///
/// Cancel safe: what has been read stays in the buffer.
pub(super) async fn read_message(
    stream: &mut Stream,
    read: &mut BytesMut,
    body_max: usize,
) -> Result<Message, QueryError> {
    loop {
        let header = frame::header(read)
            .map_err(|_| QueryError::Protocol("a message has an impossible length"))?;
        if let Some(header) = header {
            if header.body > body_max {
                return Err(QueryError::Protocol("a message is longer than it may be"));
            }
            if read.len() >= header.total() {
                let mut message = read.split_to(header.total()).freeze();
                let body = message.split_off(frame::Header::BYTES);
                return Ok(Message { tag: header.tag, body });
            }
        }
        if stream.read_buf(read).await? == 0 {
            return Err(QueryError::Closed);
        }
    }
}

/// An answer under way.
#[derive(Default)]
struct Collected {
    rows: Vec<Vec<Option<Vec<u8>>>>,
    notices: Vec<OwnedFields>,
    error: Option<OwnedFields>,
    bytes: usize,
}

type Answer = Result<Reply, QueryError>;

impl Collected {
    /// Takes one message; the answer once it is complete.
    fn take(
        &mut self,
        Message { tag, body }: Message,
        parameters: &mut BTreeMap<String, String>,
    ) -> Result<Option<Answer>, QueryError> {
        self.bytes += body.len() + frame::Header::BYTES;
        match tag {
            tag::ROW_DESCRIPTION => self.rows.clear(), // of several statements the last one counts
            tag::DATA_ROW => self.rows.push(row(&body)?),
            tag::NOTICE => self.notices.push(fields(body)?),
            tag::PARAMETER_STATUS => drop(keep_parameter(&body, parameters)?),
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY | tag::NOTIFICATION => {}
            tag::ERROR => {
                let error = fields(body)?;
                let fatal = error.severity() >= Severity::Fatal;
                self.error = Some(error);
                if fatal {
                    return Ok(Some(self.answer()));
                }
            }
            tag::READY_FOR_QUERY => {
                view::ready_for_query(&body).map_err(|_| MALFORMED)?;
                return Ok(Some(self.answer()));
            }
            _ => return Err(QueryError::Protocol("a message of a type that no query brings")),
        }
        Ok(None)
    }

    fn answer(&mut self) -> Answer {
        let notices = std::mem::take(&mut self.notices);
        match self.error.take() {
            Some(error) => Err(QueryError::Refused { error, notices }),
            None => Ok(Reply { rows: std::mem::take(&mut self.rows), notices }),
        }
    }
}

const MALFORMED: QueryError = QueryError::Protocol("the body of a message is malformed");

fn row(body: &[u8]) -> Result<Vec<Option<Vec<u8>>>, QueryError> {
    let row = view::data_row(body).map_err(|_| MALFORMED)?;
    Ok(row.map(|value| value.map(<[u8]>::to_vec)).collect())
}

fn fields(body: Bytes) -> Result<OwnedFields, QueryError> {
    OwnedFields::new(body).ok_or(MALFORMED)
}

fn keep_parameter(
    body: &[u8],
    parameters: &mut BTreeMap<String, String>,
) -> Result<(String, String), QueryError> {
    let (name, value) = view::parameter_status(body).map_err(|_| MALFORMED)?;
    if parameters.len() >= PARAMETERS_MAX && !parameters.contains_key(name) {
        return Err(QueryError::Protocol("the backend reports more settings than there are"));
    }
    parameters.insert(name.to_owned(), value.to_owned());
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
