//! One client with what it says and hears written down in short.
//!
//! What is said: messages separated by ` / `, of `Q:sql P:name:sql B:portal:statement[:a,b]
//! D:S:name D:P:name E:portal[:rows] C:S:name S H d:line c f:reason X`.
//! What is heard: messages as [`Message`] shows them, separated by ` / `. `E:word` is one of our
//! own errors, byte for byte; [`WORDS`] has them. A `~` before a message: it may come or not.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use everline_lab::client::{Client, Message};
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER};
use everline_wire::frontend::{self, Target};
use tokio::time::Instant;

/// Longest time for an answer: more than any hold in these tests.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long each client listens in order to hear nothing; whoever asks has waited before.
pub(crate) const SILENCE: Duration = Duration::from_millis(3);
/// The answer to `Q:SELECT 1`.
pub(crate) const ONE: &str = "T[?column?] / D[1] / C[SELECT 1] / Z[I]";

/// The errors that Everline says in its own words: name, severity, SQLSTATE, message, detail, hint.
const WORDS: &[[&str; 6]] = &[
    [
        "held",
        "ERROR",
        "40001",
        "could not serialize access due to backend failover; restart transaction",
        "There was no leader to send the statement to; it was not executed.",
        "The transaction might succeed if retried.",
    ],
    [
        "lost",
        "ERROR",
        "40001",
        "could not serialize access due to backend failover; restart transaction",
        "The transaction was rolled back with its backend.",
        "The transaction might succeed if retried.",
    ],
    [
        "unknown",
        "ERROR",
        "08007",
        "transaction resolution unknown: the backend was lost while the statement was in flight",
        "The statement was sent and not answered; it may or may not have taken effect.",
        "Look whether the statement took effect before you repeat it.",
    ],
    [
        "commit-unknown",
        "ERROR",
        "08007",
        "transaction resolution unknown: the backend was lost while COMMIT was in flight",
        "COMMIT was sent and not answered; it may or may not have taken effect.",
        "Look whether the transaction took effect before you repeat it.",
    ],
    [
        "no-leader",
        "FATAL",
        "57P03",
        "the database system is not yet accepting connections",
        "There is no leader, and nothing is known yet about this database.",
        "Try again in a few seconds.",
    ],
    [
        "temporary-lost",
        "FATAL",
        "57P01",
        "session ended by backend failover, which its state cannot follow: temporary tables",
        "",
        "Connect again.",
    ],
    [
        "locks-lost",
        "FATAL",
        "57P01",
        "session ended by backend failover, which its state cannot follow: session advisory locks",
        "",
        "Connect again.",
    ],
    [
        "cursor-lost",
        "FATAL",
        "57P01",
        "session ended by backend failover, which its state cannot follow: cursors WITH HOLD",
        "",
        "Connect again.",
    ],
    [
        "settings-lost",
        "FATAL",
        "57P01",
        "session ended by backend failover, which its state cannot follow: settings made by set_config()",
        "",
        "Connect again.",
    ],
    [
        "too-many-held",
        "ERROR",
        "40001",
        "could not serialize access: too many statements wait for a leader; restart transaction",
        "The statement was not executed.",
        "The transaction might succeed if retried.",
    ],
    [
        "paused",
        "ERROR",
        "40001",
        "could not serialize access: the database is paused; restart transaction",
        "The statement was not executed.",
        "The transaction might succeed if retried.",
    ],
    ["cancelled", "ERROR", "57014", "canceling statement due to user request", "", ""],
    ["stopping", "FATAL", "57P01", "the server is shutting down", "", ""],
    ["too-many", "FATAL", "53300", "sorry, too many clients already", "", ""],
];

/// The body of an error: its fields in order, each as type, text, NUL; a NUL at the end.
fn body(word: &[&str; 6]) -> Vec<u8> {
    let [_, severity, code, message, detail, hint] = word;
    let mut body = Vec::new();
    for (field, text) in
        [("S", severity), ("V", severity), ("C", code), ("M", message), ("D", detail), ("H", hint)]
    {
        if !text.is_empty() {
            body.extend_from_slice(field.as_bytes());
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    body
}

/// A message as a test writes it: an error of ours by its name, another one with all its fields
/// that say where it is from left out.
pub(crate) fn heard(message: &Message) -> String {
    if message.tag != b'E' {
        return message.to_string();
    }
    let ours = WORDS.iter().find(|word| body(word) == *message.body);
    if let Some([name, ..]) = ours {
        return format!("E:{name}");
    }
    message.to_string()
}

/// As [`heard`], with every field of an error.
fn heard_in_full(message: &Message) -> String {
    let mut text = heard(message);
    if matches!(message.tag, b'E' | b'N') && !text.starts_with("E:") {
        let fields = message.body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        for field in fields {
            write!(text, " {{{}}}", String::from_utf8_lossy(field)).unwrap();
        }
    }
    text
}

/// The bytes of what is said.
pub(crate) fn bytes(script: &str) -> BytesMut {
    let mut out = BytesMut::new();
    for message in script.split(" / ") {
        let (tag, rest) = message.split_once(':').unwrap_or((message, ""));
        let mut parts = rest.splitn(3, ':');
        let mut part = || parts.next().unwrap_or_default().as_bytes();
        match tag {
            "Q" => frontend::query(&mut out, rest.as_bytes()),
            "P" => {
                let (name, sql) = rest.split_once(':').expect("P:name:sql");
                frontend::parse(&mut out, name.as_bytes(), sql.as_bytes(), &[]);
            }
            "B" => {
                let (portal, statement, values) = (part(), part(), part());
                let rest = parameters(values);
                frontend::bind(&mut out, portal, statement, &rest, rest.len());
            }
            "D" => frontend::describe(&mut out, target(part()), part()),
            "C" => frontend::close(&mut out, target(part()), part()),
            "E" => {
                let portal = part();
                let rows = std::str::from_utf8(part()).unwrap().parse().unwrap_or(0);
                frontend::execute(&mut out, portal, rows);
            }
            "S" => frontend::sync(&mut out),
            "H" => frontend::flush(&mut out),
            "X" => frontend::terminate(&mut out),
            "d" => put(&mut out, b'd', format!("{rest}\n").as_bytes()),
            "c" => put(&mut out, b'c', b""),
            "f" => frontend::copy_fail(&mut out, rest),
            _ => panic!("no such message: {message}"),
        }
    }
    out
}

fn put(out: &mut BytesMut, tag: u8, body: &[u8]) {
    out.put_u8(tag);
    out.put_u32(u32::try_from(body.len() + 4).unwrap());
    out.put_slice(body);
}

fn target(kind: &[u8]) -> Target {
    if kind == b"S" { Target::Statement } else { Target::Portal }
}

/// What follows the names in a Bind: all in text, values separated by commas.
fn parameters(values: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u16(0);
    let values: Vec<&[u8]> =
        values.split(|byte| *byte == b',').filter(|value| !value.is_empty()).collect();
    out.put_u16(u16::try_from(values.len()).unwrap());
    for value in values {
        out.put_u32(u32::try_from(value.len()).unwrap());
        out.put_slice(value);
    }
    out.put_u16(0);
    out
}

/// One logged-in client of a test.
pub(crate) struct Seat {
    pub(crate) who: String,
    pub(crate) client: Client,
}

impl Seat {
    /// Logs in as the application.
    pub(crate) async fn app(who: &str, address: SocketAddr) -> Self {
        Self::login(who, address, APP_USER, APP_DATABASE, &[]).await
    }

    /// Logs in with [`APP_PASSWORD`].
    pub(crate) async fn login(
        who: &str,
        address: SocketAddr,
        user: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Self {
        let mut client = Client::connect(address).await.expect("a connection");
        client.set_patience(PATIENCE);
        let answers = client.login(user, APP_PASSWORD, database, parameters).await;
        let answers = answers.unwrap_or_else(|error| panic!("{who}: {error}"));
        let last = answers.last().map(heard);
        assert_eq!(last.as_deref(), Some("Z[I]"), "{who}: login: {}", client.rendered(&answers));
        Self { who: who.to_owned(), client }
    }

    /// Says something and leaves.
    pub(crate) async fn say(&mut self, script: &str) {
        let sent = self.client.send(&bytes(script)).await;
        sent.unwrap_or_else(|error| panic!("{}: {script}: {error}", self.who));
    }

    /// Says something and hears exactly this.
    pub(crate) async fn ask(&mut self, script: &str, expected: &str) {
        self.say(script).await;
        self.hears_after(script, expected).await;
    }

    /// Hears exactly this, as the answer to what was said before.
    pub(crate) async fn hears(&mut self, expected: &str) {
        self.hears_after("", expected).await;
    }

    async fn hears_after(&mut self, script: &str, expected: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut got = Vec::new();
        let mut expects = expected.split(" / ").filter(|one| !one.is_empty());
        let mut at = 0;
        while let Some(mut wanted) = expects.next() {
            let next = self.next(deadline).await;
            while let Some(maybe) = wanted.strip_prefix('~') {
                wanted = maybe;
                if next == wanted {
                    break;
                }
                wanted = expects.next().expect("something certain is expected last");
            }
            let is_it = next == wanted;
            got.push(next);
            at += 1;
            if !is_it {
                self.drain(&mut got).await;
                panic!(
                    "{}: after {script:?} message {at} differs\nwanted: {expected}\n   got: {}",
                    self.who,
                    got.join(" / "),
                );
            }
        }
    }

    /// The next message as [`heard`] shows it, or how there was none.
    pub(crate) async fn next(&mut self, deadline: Instant) -> String {
        match self.client.next_until(deadline).await {
            Ok(Some(message)) if matches!(message.tag, b'E' | b'N') => {
                let short = heard(&message);
                if short.starts_with("E:") || message.field(b'R').is_some() {
                    short
                } else {
                    heard_in_full(&message)
                }
            }
            Ok(Some(message)) => heard(&message),
            Ok(None) => format!("{:?}", self.client.end()),
            Err(error) => format!("<{error}>"),
        }
    }

    /// What else comes within a moment, for the report of a failure.
    async fn drain(&mut self, got: &mut Vec<String>) {
        let deadline = Instant::now() + Duration::from_millis(300);
        for _ in 0..20 {
            match self.client.next_until(deadline).await {
                Ok(Some(message)) => got.push(heard_in_full(&message)),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Nothing has come unasked, and the connection stands.
    pub(crate) async fn is_silent(&mut self) {
        let heard = self.client.hears(SILENCE).await;
        let heard = heard.unwrap_or_else(|error| error.to_string());
        assert_eq!(heard, "", "{}: heard this unasked", self.who);
        assert_eq!(self.client.end(), None, "{}: was closed", self.who);
    }

    /// A statement is served.
    pub(crate) async fn is_served(&mut self) {
        self.ask("Q:SELECT 1", ONE).await;
    }
}
