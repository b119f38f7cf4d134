//! One question with one parameter, over a leased connection.

use bytes::{BufMut, BytesMut};
use everline_core::limits::AUTH_QUERY_MAX;
use everline_wire::backend::view;
use everline_wire::fields::Severity;
use everline_wire::frontend;
use everline_wire::tag::backend as tag;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::OwnedFields;
use super::connection::{QueryError, SMALL_MESSAGE_BYTES_MAX, read_message};
use super::lease::Lease;

/// The columns of a row, as text; `None` is NULL.
pub type Row = Vec<Option<Vec<u8>>>;

impl QueryError {
    /// Whether the connection is as good as before: PostgreSQL has refused the statement alone.
    #[must_use]
    pub fn is_of_the_statement(&self) -> bool {
        match self {
            Self::Refused { error, .. } => error.severity() < Severity::Fatal,
            Self::Io(_) | Self::Closed | Self::Timeout | Self::Protocol(_) => false,
        }
    }
}

impl Lease {
    /// Asks `sql` with `parameter` as its `$1`, never as a part of its text: the first row, if
    /// there is one.
    ///
    /// # Errors
    /// [`QueryError`]; see [`QueryError::is_of_the_statement`].
    ///
    /// # Cancel safety
    /// Not safe: the connection has to be given up.
    pub async fn ask(&mut self, sql: &str, parameter: &str) -> Result<Option<Row>, QueryError> {
        let asked = timeout(AUTH_QUERY_MAX, self.converse(sql, parameter)).await;
        asked.unwrap_or(Err(QueryError::Timeout))
    }

    async fn converse(&mut self, sql: &str, parameter: &str) -> Result<Option<Row>, QueryError> {
        let backend = self.backend();
        if !backend.may_dispatch() {
            return Err(QueryError::Closed);
        }
        let mut values = BytesMut::new();
        values.put_u16(0); // all in text
        values.put_u16(1);
        let length = u32::try_from(parameter.len()).map_err(|_| TOO_LONG)?;
        values.put_u32(length);
        values.put_slice(parameter.as_bytes());
        values.put_u16(0);
        let mut out = BytesMut::new();
        frontend::parse(&mut out, b"", sql.as_bytes(), &[]);
        frontend::bind(&mut out, b"", b"", &values, values.len());
        frontend::execute(&mut out, b"", 1);
        frontend::sync(&mut out);
        backend.stream.write_all(&out).await?;
        backend.stream.flush().await?;
        let (mut row, mut refused) = (None, None);
        loop {
            let (stream, read) = (&mut backend.stream, &mut backend.read);
            let message = read_message(stream, read, SMALL_MESSAGE_BYTES_MAX).await?;
            match message.tag {
                tag::DATA_ROW => {
                    let values = view::data_row(&message.body).map_err(|_| MALFORMED)?;
                    row = Some(values.map(|value| value.map(<[u8]>::to_vec)).collect());
                }
                tag::ERROR => {
                    let error = OwnedFields::new(message.body).ok_or(MALFORMED)?;
                    let fatal = error.severity() >= Severity::Fatal;
                    refused = Some(QueryError::Refused { error, notices: Vec::new() });
                    if fatal {
                        return refused.map_or(Ok(None), Err);
                    }
                }
                tag::READY_FOR_QUERY => return refused.map_or(Ok(row), Err),
                _ => {}
            }
        }
    }
}

const MALFORMED: QueryError = QueryError::Protocol("the body of a message is malformed");
const TOO_LONG: QueryError = QueryError::Protocol("the parameter is too long");
