//! One client at work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use everline_wire::frontend;
use everline_wire::tag::backend as tag;
use tokio_util::sync::CancellationToken;

use super::attempt::{Answer, Script, Told, judge, rolled_back};
use super::{Entry, Observer, Outcome, Promise, Shape};
use crate::client::Client;
use crate::dns;
use crate::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER};

/// Pause of a client between two attempts, so that a laptop is not full.
const PAUSE: Duration = Duration::from_millis(10);
/// Pause after a retryable error, and before a new connection.
const BACKOFF: Duration = Duration::from_millis(50);
/// Longest wait for one answer: longer than any run.
const PATIENCE: Duration = Duration::from_hours(1);
/// How long answers are waited for when the run is over.
const GRACE: Duration = Duration::from_secs(10);

/// Where clients connect.
#[derive(Debug, Clone)]
pub enum Door {
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

/// One writing client.
pub struct Writer<O> {
    number: u16,
    shape: Shape,
    door: Door,
    observer: Arc<O>,
    ids: Arc<AtomicU64>,
    stop: CancellationToken,
    client: Option<Client>,
    /// Whether this connection has the prepared statement.
    prepared: bool,
}

impl<O: std::fmt::Debug> std::fmt::Debug for Writer<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Writer");
        shown.field("number", &self.number).field("shape", &self.shape);
        shown.field("door", &self.door).finish_non_exhaustive()
    }
}

impl<O: Observer> Writer<O> {
    /// Client `number`, which draws its ids from `ids` and ends with `stop`.
    pub fn new(
        number: u16,
        shape: Shape,
        door: Door,
        observer: Arc<O>,
        ids: Arc<AtomicU64>,
        stop: CancellationToken,
    ) -> Self {
        Self { number, shape, door, observer, ids, stop, client: None, prepared: false }
    }

    /// Writes until it is told to stop; what it has begun it ends. Says what it was promised.
    pub async fn run(mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while !self.stop.is_cancelled() {
            let (count, times) = self.shape.rows();
            let first = self.ids.fetch_add(count * times, Ordering::Relaxed);
            let mut refused = false;
            let told = self.attempt(first, count).await;
            for (told, first) in told.into_iter().zip((first..).step_by(step(count))) {
                let promise = match told {
                    Told::Success => Promise::Acknowledged,
                    Told::Unknown | Told::Closed | Told::CopyIn => Promise::Unknown,
                    Told::Retryable | Told::Refused => Promise::Refused,
                };
                refused |= told == Told::Retryable;
                entries.push(Entry { first, count, promise });
            }
            tokio::select! {
                () = tokio::time::sleep(if refused { BACKOFF } else { PAUSE }) => {}
                () = self.stop.cancelled() => {}
            }
        }
        if let Some(mut client) = self.client.take() {
            let _ = client.say(frontend::terminate).await;
        }
        entries
    }

    /// Writes new rows once, in its way: what was told of each group that is written together.
    async fn attempt(&mut self, first: u64, count: u64) -> Vec<Told> {
        let number = self.number;
        match self.shape {
            Shape::Simple => {
                let sql = format!("INSERT INTO ledger VALUES ({first}, {number})");
                vec![self.query(&sql, Outcome::Acknowledged(1)).await.told]
            }
            Shape::Extended => {
                let mut script = Script::default();
                script.insert(first, number);
                script.sync();
                vec![self.ask(script, Outcome::Acknowledged(1)).await.told]
            }
            Shape::Prepared => vec![self.prepared(first).await],
            Shape::Transaction => vec![self.transaction(first).await],
            Shape::Pipeline => self.pipeline(first, count).await,
            Shape::PipelinedTransaction => {
                let mut script = Script::default();
                script.statement("BEGIN");
                script.insert(first, number);
                script.insert(first + 1, number);
                script.statement("COMMIT");
                script.sync();
                let answer = self.ask(script, Outcome::Acknowledged(2)).await;
                self.leave(answer).await;
                vec![answer.told]
            }
            Shape::Copy => vec![self.copy(first, count).await],
        }
    }

    async fn prepared(&mut self, id: u64) -> Told {
        // Whether it is prepared is known of the connection that there is.
        self.client = self.connect().await;
        if !self.prepared {
            let mut script = Script::default();
            script.prepare();
            script.sync();
            let told = self.ask(script, Outcome::Done).await.told;
            self.prepared = told == Told::Success;
            if !self.prepared {
                // Nothing was written, whatever became of it.
                return Told::Refused;
            }
        }
        let mut script = Script::default();
        script.insert_prepared(id, self.number);
        script.sync();
        self.ask(script, Outcome::Acknowledged(1)).await.told
    }

    async fn transaction(&mut self, first: u64) -> Told {
        let number = self.number;
        let mut answer = self.query("BEGIN", Outcome::Done).await;
        for id in [first, first + 1] {
            if answer.told == Told::Success {
                let sql = format!("INSERT INTO ledger VALUES ({id}, {number})");
                answer = self.query(&sql, Outcome::Done).await;
            }
        }
        if answer.told == Told::Success {
            answer = self.query("COMMIT", Outcome::Acknowledged(2)).await;
        }
        self.leave(answer).await;
        answer.told
    }

    /// Leaves a transaction in which something has failed.
    async fn leave(&mut self, answer: Answer) {
        if answer.in_transaction && answer.told != Told::Closed {
            self.query("ROLLBACK", Outcome::Done).await;
        }
    }

    async fn pipeline(&mut self, first: u64, count: u64) -> Vec<Told> {
        let (_, times) = self.shape.rows();
        let mut script = Script::default();
        for id in first..first + count * times {
            script.insert(id, self.number);
            if (id - first) % count == count - 1 {
                script.sync();
            }
        }
        let Some(mut client) = self.connect().await else { return vec![Told::Refused] };
        self.observer.asks(self.number);
        let _ = client.send(&script.bytes()).await;
        let mut told = Vec::new();
        for _ in 0..times {
            let answer = self.answer(&mut client, Outcome::Acknowledged(count)).await;
            told.push(answer.told);
            self.observer.asks(self.number); // the next segment's
        }
        self.observer.answered(self.number, Outcome::Done); // there is none
        self.keep(client, &told);
        told
    }

    async fn copy(&mut self, first: u64, count: u64) -> Told {
        let told = self.query("COPY ledger FROM STDIN", Outcome::Done).await.told;
        if told != Told::CopyIn {
            return told;
        }
        let script = Script::copy(first..first + count, self.number);
        self.ask(script, Outcome::Acknowledged(count)).await.told
    }

    async fn query(&mut self, sql: &str, success: Outcome) -> Answer {
        self.ask(Script::query(sql), success).await
    }

    /// Sends something that has one answer, and books it.
    async fn ask(&mut self, script: Script, success: Outcome) -> Answer {
        let Some(mut client) = self.connect().await else {
            return Answer { told: Told::Refused, in_transaction: false };
        };
        self.observer.asks(self.number);
        // Where sending fails, the answer shows that the connection has ended.
        let _ = client.send(&script.bytes()).await;
        let answer = self.answer(&mut client, success).await;
        self.keep(client, &[answer.told]);
        answer
    }

    /// Reads one answer and books it.
    async fn answer(&mut self, client: &mut Client, success: Outcome) -> Answer {
        let ends = |message: &crate::client::Message| {
            message.tag == tag::READY_FOR_QUERY || message.tag == tag::COPY_IN
        };
        let messages = tokio::select! {
            messages = client.until(ends) => messages.unwrap_or_default(),
            () = overdue(&self.stop) => {
                self.observer.answered(self.number, Outcome::Unknown);
                return Answer { told: Told::Unknown, in_transaction: false };
            }
        };
        let mut answer = judge(&messages, |code, text| self.observer.surprise(code, text));
        let commits = matches!(success, Outcome::Acknowledged(_));
        if answer.told == Told::Success && commits && rolled_back(&messages) {
            self.observer.surprise("no error", "a COMMIT was answered with ROLLBACK");
            answer.told = Told::Refused;
        }
        let outcome = match answer.told {
            Told::Success => success,
            Told::CopyIn => Outcome::Done,
            Told::Retryable => Outcome::Retryable,
            Told::Unknown | Told::Closed => Outcome::Unknown,
            Told::Refused => Outcome::Refused,
        };
        self.observer.answered(self.number, outcome);
        answer
    }

    /// Keeps a connection that stands, and tells of one that does not.
    fn keep(&mut self, client: Client, told: &[Told]) {
        if told.contains(&Told::Closed) {
            self.prepared = false;
            self.observer.closed();
        } else {
            self.client = Some(client);
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
            self.prepared = false;
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

/// As a step between ids.
fn step(count: u64) -> usize {
    usize::try_from(count).unwrap_or(1).max(1)
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
