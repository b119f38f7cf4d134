//! The workload: clients that write rows and remember what they were told about each.
//!
//! Every row has an id of its own and the table no unique constraint, so a statement that was run
//! twice shows. A third of the clients inserts by simple query, a third in the extended protocol,
//! a third in transactions of two rows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use everline_lab::client::{Client, Message};
use everline_lab::dns;
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER};
use everline_wire::frontend;
use everline_wire::tag::backend as tag;
use tokio_util::sync::CancellationToken;

use crate::board::{Board, Outcome};

/// The table. It has no unique constraint: a statement that was run twice shows.
pub(crate) const TABLE: &str = "CREATE TABLE ledger (id bigint NOT NULL, client int NOT NULL); \
     ALTER TABLE ledger OWNER TO app";

/// Pause of a client between two statements, so that a laptop is not full.
const PAUSE: Duration = Duration::from_millis(10);
/// Pause before a retry, and before a new connection.
const BACKOFF: Duration = Duration::from_millis(50);
/// Longest wait for one answer: longer than any run.
const PATIENCE: Duration = Duration::from_hours(1);
/// How long answers are waited for when the run is over.
const GRACE: Duration = Duration::from_secs(10);

/// Where clients connect.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// To Everline.
    Everline(SocketAddr),
    /// To whatever the name says when they connect.
    Name {
        /// The DNS server.
        server: SocketAddr,
        /// The name.
        name: String,
        /// The port of all nodes.
        port: u16,
    },
}

/// What a client was told about rows that it wrote together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// They are there.
    Acknowledged,
    /// Nobody knows: all of them are there, or none.
    Unknown,
    /// They are not there: the last answer was an error that says so.
    Refused,
}

/// Rows written together: `count` ids from `first` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) promise: Promise,
}

/// One writing client.
pub(crate) struct Writer {
    number: u16,
    door: Door,
    board: Arc<Board>,
    ids: Arc<AtomicU64>,
    stop: CancellationToken,
    client: Option<Client>,
}

/// An answer, as far as the workload cares.
struct Answer {
    told: Told,
    in_transaction: bool,
}

/// What one statement was answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Success,
    Retryable,
    Unknown,
    Refused,
    Closed,
}

impl Writer {
    pub(crate) fn new(
        number: u16,
        door: Door,
        board: Arc<Board>,
        ids: Arc<AtomicU64>,
        stop: CancellationToken,
    ) -> Self {
        Self { number, door, board, ids, stop, client: None }
    }

    /// Writes until it is told to stop; what it has begun it ends. Says what it was promised.
    pub(crate) async fn run(mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while !self.stop.is_cancelled() {
            let count = if self.number % 3 == 2 { 2 } else { 1 };
            let first = self.ids.fetch_add(count, Ordering::Relaxed);
            let promise = self.write(first, count).await;
            entries.push(Entry { first, count, promise });
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.stop.cancelled() => {}
            }
        }
        if let Some(mut client) = self.client.take() {
            let _ = client.say(frontend::terminate).await;
        }
        entries
    }

    /// Writes these rows, again as long as the answer says that it may be repeated.
    async fn write(&mut self, first: u64, count: u64) -> Promise {
        loop {
            let told = match count {
                1 => self.insert(first, Outcome::Acknowledged(1)).await.told,
                _ => self.transaction(first).await,
            };
            match told {
                Told::Success => return Promise::Acknowledged,
                Told::Unknown | Told::Closed => return Promise::Unknown,
                Told::Refused => return Promise::Refused,
                Told::Retryable => tokio::time::sleep(BACKOFF).await,
            }
        }
    }

    async fn transaction(&mut self, first: u64) -> Told {
        let mut answer = self.query("BEGIN", Outcome::Done).await;
        for id in [first, first + 1] {
            if answer.told == Told::Success {
                answer = self.insert(id, Outcome::Done).await;
            }
        }
        if answer.told == Told::Success {
            answer = self.query("COMMIT", Outcome::Acknowledged(2)).await;
        }
        if answer.in_transaction && answer.told != Told::Closed {
            self.query("ROLLBACK", Outcome::Done).await;
        }
        answer.told
    }

    async fn insert(&mut self, id: u64, success: Outcome) -> Answer {
        let client = self.number;
        if client % 3 != 1 {
            let sql = format!("INSERT INTO ledger VALUES ({id}, {client})");
            return self.query(&sql, success).await;
        }
        let mut bytes = bytes::BytesMut::new();
        frontend::parse(&mut bytes, b"", b"INSERT INTO ledger VALUES ($1, $2)", &[0, 0]);
        let (id, client) = (id.to_string(), client.to_string());
        let mut values = bytes::BytesMut::new();
        bytes::BufMut::put_u16(&mut values, 0);
        bytes::BufMut::put_u16(&mut values, 2);
        for value in [&id, &client] {
            let length = u32::try_from(value.len()).unwrap_or(0);
            bytes::BufMut::put_u32(&mut values, length);
            values.extend_from_slice(value.as_bytes());
        }
        bytes::BufMut::put_u16(&mut values, 0);
        frontend::bind(&mut bytes, b"", b"", &values, values.len());
        frontend::execute(&mut bytes, b"", 0);
        frontend::sync(&mut bytes);
        self.ask(&bytes, success).await
    }

    async fn query(&mut self, sql: &str, success: Outcome) -> Answer {
        let mut bytes = bytes::BytesMut::new();
        frontend::query(&mut bytes, sql.as_bytes());
        self.ask(&bytes, success).await
    }

    /// Sends one statement and books its answer.
    async fn ask(&mut self, bytes: &[u8], success: Outcome) -> Answer {
        let Some(mut client) = self.connect().await else {
            return Answer { told: Told::Refused, in_transaction: false };
        };
        let asked = self.board.asks(self.number);
        let answers = async {
            // Where sending fails, the answer shows that the connection has ended.
            let _ = client.send(bytes).await;
            client.until_ready().await.unwrap_or_default()
        };
        let messages = tokio::select! {
            messages = answers => messages,
            () = overdue(&self.stop) => {
                self.board.answered(self.number, asked, Outcome::Unknown);
                return Answer { told: Told::Unknown, in_transaction: false };
            }
        };
        let ready = messages.last().filter(|message| message.tag == tag::READY_FOR_QUERY);
        let in_transaction = ready.is_some_and(|ready| ready.body != b"I"[..]);
        let error = messages.iter().find(|message| message.tag == tag::ERROR);
        let told = match (ready, error) {
            (None, _) => Told::Closed,
            (Some(_), None) if rolled_back(&messages, success) => {
                self.board.surprise("no error", "a COMMIT was answered with ROLLBACK");
                Told::Refused
            }
            (Some(_), None) => Told::Success,
            (Some(_), Some(error)) => self.judge(error),
        };
        let outcome = match told {
            Told::Success => success,
            Told::Retryable => Outcome::Retryable,
            Told::Unknown | Told::Closed => Outcome::Unknown,
            Told::Refused => Outcome::Refused,
        };
        self.board.answered(self.number, asked, outcome);
        if told == Told::Closed {
            self.board.closed();
        } else {
            self.client = Some(client);
        }
        Answer { told, in_transaction }
    }

    fn judge(&self, error: &Message) -> Told {
        let code = error.error_code().unwrap_or_default();
        match code.as_str() {
            "40001" => Told::Retryable,
            "08007" | "40003" => Told::Unknown,
            _ => {
                self.board.surprise(&code, &error.field(b'M').unwrap_or_default());
                Told::Refused
            }
        }
    }

    /// The connection; `None` when told to stop before there was one.
    async fn connect(&mut self) -> Option<Client> {
        loop {
            if let Some(client) = self.client.take() {
                return Some(client);
            }
            if self.stop.is_cancelled() {
                return None;
            }
            self.client = tokio::select! {
                client = log_in(&self.door) => client,
                () = self.stop.cancelled() => None,
            };
            if self.client.is_none() {
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }
}

/// Connects and logs in; `None` when that fails, for whatever reason.
async fn log_in(door: &Door) -> Option<Client> {
    let (address, patience) = match door {
        Door::Everline(address) => (*address, Duration::from_secs(30)),
        Door::Name { server, name, port } => {
            let found = dns::look_up(*server, name).await.ok()?;
            (SocketAddr::new(*found.first()?, *port), Duration::from_secs(2))
        }
    };
    let mut client = Client::connect(address).await.ok()?;
    client.set_patience(patience);
    let parameters = [("application_name", "ledger")];
    let answers = client.login(APP_USER, APP_PASSWORD, APP_DATABASE, &parameters).await.ok()?;
    let is_in = answers.last().is_some_and(|last| last.tag == tag::READY_FOR_QUERY);
    client.set_patience(PATIENCE);
    is_in.then_some(client)
}

/// Ends when an answer is not waited for any longer, because everything else has ended.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Whether a COMMIT was answered with the tag of a ROLLBACK.
fn rolled_back(messages: &[Message], success: Outcome) -> bool {
    success == Outcome::Acknowledged(2)
        && messages.iter().any(|message| message.to_string() == "C[ROLLBACK]")
}
