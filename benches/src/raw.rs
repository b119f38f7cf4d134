//! A client that does next to nothing: it reads into one large buffer and looks at headers alone,
//! so that what is measured is the way to it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use everline_lab::Result;
use everline_lab::postgres::{APP_DATABASE, TRUSTED_USER};
use everline_wire::tag::{backend as tag, frontend as sent};
use everline_wire::{ErrorFields, Header, frame, frontend, startup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{failed, io};

/// Bytes read at a time, at most.
const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes of one CopyData message that we send.
const COPY_BYTES: usize = 64 * 1024;
/// Longest time for one exchange: a GiB on a slow machine.
const PATIENCE: Duration = Duration::from_mins(5);

/// One connection without TLS, of the user who needs no password.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Where we are in the backend's messages, across reads.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes of the present message that are still to come and not looked at.
    skip: usize,
    /// The beginning of a header, or a message that has to be seen whole.
    kept: BytesMut,
    error: Option<String>,
    ready: bool,
    copying: bool,
}

impl Scan {
    fn take(&mut self, mut bytes: &[u8]) {
        let passed = self.skip.min(bytes.len());
        self.skip -= passed;
        bytes = bytes.get(passed..).unwrap_or_default();
        if !self.kept.is_empty() {
            self.kept.extend_from_slice(bytes);
            let kept = std::mem::take(&mut self.kept);
            return self.messages(&kept);
        }
        self.messages(bytes);
    }

    fn messages(&mut self, mut bytes: &[u8]) {
        while let Ok(Some(header)) = frame::header(bytes) {
            let body = bytes.get(Header::BYTES..).unwrap_or_default();
            let whole = body.get(..header.body);
            if whole.is_none() && matches!(header.tag, tag::ERROR | tag::READY_FOR_QUERY) {
                break;
            }
            if let Some(whole) = whole.filter(|_| header.tag == tag::ERROR) {
                let fields = ErrorFields::parse(whole).ok();
                self.error = fields.map(|fields| fields.message().into_owned());
            }
            self.ready |= header.tag == tag::READY_FOR_QUERY;
            self.copying |= header.tag == tag::COPY_IN;
            let Some(next) = body.get(header.body..) else {
                self.skip = header.body - body.len();
                return;
            };
            bytes = next;
        }
        self.kept.extend_from_slice(bytes);
    }
}

impl Raw {
    /// Connects and logs in.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.map_err(|e| io("connecting", e))?;
        stream.set_nodelay(true).map_err(|e| io("connecting", e))?;
        let mut raw = Self { stream, buffer: vec![0; BUFFER_BYTES] };
        let mut out = BytesMut::new();
        startup::startup(&mut out, TRUSTED_USER, APP_DATABASE, []);
        raw.send(&out).await?;
        raw.until(|scan| scan.ready).await?;
        Ok(raw)
    }

    /// A statement, and its whole answer; how many bytes that had.
    ///
    /// # Errors
    /// When it fails, or the connection ends.
    pub(crate) async fn ask(&mut self, sql: &str) -> Result<u64> {
        self.say(sql).await?;
        self.until(|scan| scan.ready).await
    }

    /// A COPY … FROM STDIN with so many bytes of `line`, over and over.
    ///
    /// # Errors
    /// As [`Raw::ask`].
    pub(crate) async fn copy_in(&mut self, sql: &str, line: &[u8], bytes: u64) -> Result<u64> {
        self.say(sql).await?;
        self.until(|scan| scan.copying || scan.ready).await?;
        let lines = line.repeat(COPY_BYTES.div_ceil(line.len()));
        let mut chunk = vec![sent::COPY_DATA];
        let length = u32::try_from(lines.len() + 4).unwrap_or(u32::MAX);
        chunk.extend_from_slice(&length.to_be_bytes());
        chunk.extend_from_slice(&lines);
        let mut gone = 0;
        while gone < bytes {
            self.send(&chunk).await?;
            gone += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        }
        self.send(&[sent::COPY_DONE, 0, 0, 0, 4]).await?;
        self.until(|scan| scan.ready).await?;
        Ok(gone)
    }

    async fn say(&mut self, sql: &str) -> Result<()> {
        let mut out = BytesMut::new();
        frontend::query(&mut out, sql.as_bytes());
        self.send(&out).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sending = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        let sent = sending.map_err(|_| failed("sending", "nobody reads"))?;
        sent.map_err(|e| io("sending", e))
    }

    /// Reads until it is enough; how many bytes that were.
    async fn until(&mut self, enough: impl Fn(&Scan) -> bool) -> Result<u64> {
        let mut scan = Scan::default();
        let mut total = 0;
        while !enough(&scan) {
            let reading = timeout(PATIENCE, self.stream.read(&mut self.buffer)).await;
            let read = reading.map_err(|_| failed("reading", "no answer"))?;
            let read = read.map_err(|e| io("reading", e))?;
            if read == 0 {
                let told = scan.error.unwrap_or_else(|| "the connection was closed".to_owned());
                return Err(failed("reading", &told));
            }
            scan.take(self.buffer.get(..read).unwrap_or_default());
            total += u64::try_from(read).unwrap_or(u64::MAX);
        }
        match scan.error {
            Some(error) => Err(failed("a statement", &error)),
            None => Ok(total),
        }
    }
}

#[cfg(test)]
#[path = "raw_tests.rs"]
mod tests;
