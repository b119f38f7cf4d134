//! Everline says what PostgreSQL says: the same conversation directly and through Everline, and
//! every byte of the answers compared.
//!
//! What may differ is where an error was raised (file, line, routine), the process id in a
//! notification, the numbers of tables, and by what name a prepared statement is called that is
//! there already: backends know it by another one. The two sides have a database each, one a copy
//! of the other.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use everline_lab::Result;
use everline_lab::client::{Client, Message};
use everline_lab::postgres::{
    APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions, SUPERUSER,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::scene::{dsn, is_available, keep_log, launch, run, until};
use crate::seat::bytes;

/// The database of those who go to PostgreSQL itself.
const DIRECT: &str = "direct";

const SCHEMA: &str = "\
    CREATE TABLE t (n int PRIMARY KEY, word text);
    INSERT INTO t SELECT n, 'word ' || n FROM generate_series(1, 50) AS n;
    CREATE FUNCTION complain(text) RETURNS void LANGUAGE plpgsql
        AS 'BEGIN RAISE NOTICE ''%'', $1; END';
    CREATE PROCEDURE commits() LANGUAGE plpgsql
        AS 'BEGIN UPDATE t SET word = word; COMMIT; UPDATE t SET word = word; END';";

/// Each line is one send; the next waits for the answers. Conversations are separated by an empty
/// line.
const CONVERSATIONS: &str = include_str!("conversations.txt");

/// Two empty queries, which nothing else in these conversations is: PostgreSQL answers them in
/// every state, so what comes before their answers is all that came.
const MARK: &str = "S / Q:SELECT / Q: / Q:";

/// What a client is told of its session and may believe: after a reset that Everline answers by
/// itself it is told at the next statement, hence one in [`MARK`].
const PARAMETERS: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "default_transaction_read_only",
    "in_hot_standby",
    "session_authorization",
    "standard_conforming_strings",
];

/// What a random conversation is made of.
const PIECES: &[&str] = &[
    "Q:SELECT 1",
    "Q:SELECT 1; SELECT 2",
    "Q:SELECT 1; SELECT 1/0",
    "Q:BEGIN",
    "Q:COMMIT",
    "Q:ROLLBACK",
    "Q:BEGIN; SELECT 1",
    "Q:SELECT 1; COMMIT",
    "Q:SAVEPOINT a",
    "Q:ROLLBACK TO a",
    "Q:RELEASE a",
    "Q:SET application_name = 'one'",
    "Q:SET application_name = 'two'",
    "Q:SHOW application_name",
    "Q:RESET ALL",
    "Q:UPDATE t SET word = word WHERE n = 1",
    "Q:SELECT 1/0",
    "Q:COPY t TO STDOUT",
    "Q:COPY t FROM STDIN / c",
    "Q:COPY t FROM STDIN / d:nonsense / c",
    "Q:DEALLOCATE ALL",
    "Q:DISCARD ALL",
    "P::SELECT 1",
    "P::SELECT n FROM t ORDER BY n",
    "P::BEGIN",
    "P::COMMIT",
    "P::ROLLBACK",
    "P::SELECT 1/0",
    "P::SELEKT",
    "P::",
    "P:a:SELECT 'a'",
    "P:b:SELECT 'b'",
    "P:a:UPDATE t SET word = word WHERE n = 2",
    "B::",
    "B::",
    "B::a",
    "B::b",
    "B:x:",
    "B:x:a",
    "D:S:",
    "D:S:a",
    "D:P:",
    "D:P:x",
    "E:",
    "E:",
    "E::2",
    "E:x:1",
    "C:S:a",
    "C:S:",
    "C:P:x",
    "H",
    "S",
    "S",
    "S",
];

/// Those of them that never fail by themselves.
const HARMLESS: &[&str] = &["Q:SELECT 1", "Q:SELECT 1; SELECT 2", "Q:COPY t TO STDOUT", "H", "S"];

/// The same client twice.
pub(crate) struct Pair {
    pub(crate) direct: Client,
    pub(crate) through: Client,
}

/// Where the two are.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) direct: SocketAddr,
    pub(crate) through: SocketAddr,
}

impl Pair {
    async fn login(places: Places) -> Result<Self> {
        Self::login_by(places, 0).await
    }

    /// Logs in by this minor version of protocol 3.
    pub(crate) async fn login_by(places: Places, minor: u16) -> Result<Self> {
        let mut direct = Client::connect(places.direct).await?;
        let mut through = Client::connect(places.through).await?;
        for client in [&mut direct, &mut through] {
            client.set_minor(minor);
        }
        // What sessions of Everline are called when they have no name of their own.
        let named = [("application_name", "everline")];
        direct.login(APP_USER, APP_PASSWORD, DIRECT, &named).await?;
        through.login(APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?;
        for client in [&mut direct, &mut through] {
            client.set_patience(Duration::from_secs(4));
        }
        Ok(Self { direct, through })
    }

    /// Says the same to both; what they answered, if it differs.
    pub(crate) async fn compare(&mut self, said: &str) -> std::result::Result<(), String> {
        let message = bytes(&format!("{said} / {MARK}"));
        let mut direct = answers(&mut self.direct, &message).await;
        let mut through = answers(&mut self.through, &message).await;
        for parameter in PARAMETERS {
            write!(direct, " {parameter}={:?}", self.direct.parameter(parameter)).unwrap();
            write!(through, " {parameter}={:?}", self.through.parameter(parameter)).unwrap();
        }
        if direct == through {
            return Ok(());
        }
        Err(format!("after: {said}\n direct: {direct}\nthrough: {through}"))
    }
}

/// Everything up to the answers to [`MARK`].
async fn answers(client: &mut Client, message: &[u8]) -> String {
    let sent = client.send(message).await;
    let mut all: Vec<String> = Vec::new();
    loop {
        match client.next().await {
            Ok(Some(message)) if message.tag == b'S' => {}
            Ok(Some(message)) => all.push(exact(&message)),
            Ok(None) => break all.push(format!("{:?}", client.end())),
            Err(error) => break all.push(format!("<{error}, {sent:?}>")),
        }
        if let [.., i, a, j, b] = &all[..]
            && i == "I[]"
            && j == i
            && a.starts_with('Z')
            && b == a
        {
            break;
        }
    }
    all.join(" ")
}

/// Every byte, less what says where an error was raised and who notifies.
fn exact(message: &Message) -> String {
    let tag = char::from(message.tag);
    let mut body = message.body.to_vec();
    if matches!(tag, 'E' | 'N') {
        let fields = body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        let kept = fields.filter(|field| !matches!(field[0], b'F' | b'L' | b'R'));
        body = kept.collect::<Vec<_>>().join(&b'|');
        if body.windows(6).any(|field| field == b"C42P05") {
            body = b"a prepared statement of this name exists".to_vec();
        }
    }
    if tag == 'A' {
        body.drain(..4);
    }
    if tag == 'T' {
        hide_tables(&mut body);
    }
    format!("{tag}[{}]", body.escape_ascii())
}

/// Takes the tables' numbers out of a `RowDescription`: after each column's name, 4 of 18 bytes.
fn hide_tables(body: &mut [u8]) {
    let mut at = 2;
    while let Some(end) = body[at..].iter().position(|byte| *byte == 0) {
        body[at + end + 1..at + end + 5].fill(0);
        at += end + 1 + 18;
    }
}

pub(crate) async fn places(
    arguments: &[&str],
) -> Result<(Places, Cluster, everline_lab::everline::Everline)> {
    let cluster = Cluster::start(ClusterOptions::single()).await?;
    let primary = cluster.primary();
    primary.sql(&format!("SET ROLE app; {SCHEMA}")).await?;
    let copy = format!("CREATE DATABASE {DIRECT} TEMPLATE {APP_DATABASE} OWNER {APP_USER}");
    let mut elsewhere = Client::connect(primary.address()).await?;
    elsewhere.login(SUPERUSER, "", "postgres", &[]).await?;
    assert_eq!(elsewhere.answers(&copy).await?, "C[CREATE DATABASE] Z[I]");
    let everline = launch(&dsn("127.0.0.2", cluster.port())).arguments(arguments).start().await?;
    until(&everline, "leader", is_available).await;
    let places = Places { direct: primary.address(), through: everline.address() };
    Ok((places, cluster, everline))
}

#[test]
fn every_conversation_reads_the_same() {
    run(async {
        let (places, _cluster, everline) = places(&[]).await?;
        let mut differences = Vec::new();
        let mut pair = Pair::login(places).await?;
        for said in CONVERSATIONS.lines() {
            if said.is_empty() {
                pair = Pair::login(places).await?;
            } else if let Err(difference) = pair.compare(said).await {
                println!("{difference}");
                differences.push(difference);
                pair = Pair::login(places).await?;
            }
        }
        keep_log(&everline);
        assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n"));
        Ok(())
    });
}

#[test]
fn a_session_begins_with_the_same_words() {
    run(async {
        let (places, _cluster, everline) = places(&[]).await?;
        for parameters in [
            &[("application_name", "me")][..],
            &[("application_name", "me"), ("client_encoding", "LATIN1"), ("TimeZone", "UTC")],
            &[
                ("application_name", ""),
                ("options", "-c datestyle=german -c search_path=pg_catalog"),
            ],
            &[("application_name", "x"), ("extra_float_digits", "3"), ("DateStyle", "ISO, DMY")],
            &[
                ("application_name", "x"),
                ("TimeZone", "UTC"),
                ("options", "-c TimeZone=Asia/Tokyo -c extra_float_digits=2"),
            ],
        ] {
            let mut told = Vec::new();
            for (address, database) in [
                (places.direct, DIRECT),
                (places.through, APP_DATABASE),
                (places.through, APP_DATABASE),
            ] {
                let mut client = Client::connect(address).await?;
                let answers = client.login(APP_USER, APP_PASSWORD, database, parameters).await?;
                let mut statuses: Vec<String> = Vec::new();
                for message in &answers {
                    if message.tag == b'S' {
                        statuses.push(message.to_string());
                    }
                }
                statuses.sort();
                told.push((
                    statuses,
                    client.answers("SHOW search_path; SHOW extra_float_digits").await?,
                ));
            }
            assert_eq!(told[0], told[1], "{parameters:?}: the first login");
            assert_eq!(told[0], told[2], "{parameters:?}: the second login");
        }
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn random_conversations_read_the_same() {
    run(async {
        // Few connections, so that sessions meet those that others have used.
        let (places, _cluster, everline) = places(&["--max-backend-connections", "3"]).await?;
        let mut differences = Vec::new();
        for seed in 0..120 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut pair = Pair::login(places).await?;
            let mut so_far = Vec::new();
            for _ in 0..rng.random_range(3..10) {
                let count = rng.random_range(1..7);
                let mut pieces: Vec<&str> = Vec::new();
                for _ in 0..count {
                    let piece = PIECES[rng.random_range(0..PIECES.len())];
                    // A name for a text that the backend has is given here, also where a failure
                    // that is still in flight would have it refused.
                    let is_named = piece.starts_with("P:a") || piece.starts_with("P:b");
                    // PostgreSQL 15 falls over a portal that a simple query has left in a failed
                    // transaction, so what uses the unnamed one comes after its Bind.
                    let uses_portal = piece.starts_with("E:") || piece == "D:P:";
                    if uses_portal && !pieces.contains(&"B::") {
                        continue;
                    }
                    if !is_named || pieces.iter().all(|piece| HARMLESS.contains(piece)) {
                        pieces.push(piece);
                    }
                }
                pieces.push("H");
                let said = pieces.join(" / ");
                so_far.push(said.clone());
                if let Err(difference) = pair.compare(&said).await {
                    println!("{seed} {difference}");
                    let before = so_far.join("\n   ");
                    differences.push(format!("seed {seed}\n   {before}\n{difference}"));
                    break;
                }
            }
        }
        keep_log(&everline);
        assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n"));
        Ok(())
    });
}
