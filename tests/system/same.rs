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
const CONVERSATIONS: &str = "
Q:SELECT 1
Q:SELECT 1; SELECT 2; SELECT 3
Q:SELECT 1; SELECT 1/0; SELECT 3
Q:
Q:;;
Q:-- nothing
Q:/* nothing */ ;
Q:SELEKT
Q:SELECT * FROM nowhere
Q:SELECT n, word FROM t ORDER BY n
Q:SELECT NULL, '', 1.5, true, ARRAY[1,2], now() IS NULL
Q:SELECT complain('something')
Q:VALUES (1, 'a'), (2, 'b')
Q:TABLE t LIMIT 2
Q:SELECT 1 / Q:SELECT 2 / Q:SELECT 1/0 / Q:SELECT 4

Q:BEGIN
Q:SELECT 1
Q:COMMIT
Q:START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY
Q:SHOW transaction_isolation
Q:INSERT INTO t VALUES (100, 'x')
Q:SELECT 1
Q:COMMIT
Q:begin work
Q:INSERT INTO t VALUES (100, 'x')
Q:ROLLBACK
Q:BEGIN; SELECT 1
Q:SELECT 2; COMMIT
Q:BEGIN
Q:BEGIN
Q:ABORT
Q:COMMIT
Q:ROLLBACK
Q:END
Q:BEGIN / Q:SELECT 1 / Q:COMMIT

Q:BEGIN
Q:SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
Q:SAVEPOINT a
Q:SELECT 1/0
Q:SELECT 1
Q:ROLLBACK TO SAVEPOINT a
Q:SELECT 1
Q:RELEASE a
Q:SELECT 1
Q:COMMIT

Q:BEGIN
Q:SAVEPOINT a
Q:SAVEPOINT b
Q:ROLLBACK TO a
Q:ROLLBACK TO b
Q:COMMIT
Q:BEGIN
Q:RELEASE nothing
Q:COMMIT
Q:SAVEPOINT a
Q:ROLLBACK TO a
Q:SET TRANSACTION READ ONLY
Q:SET LOCAL work_mem = '1MB'

Q:BEGIN
Q:COMMIT AND CHAIN
Q:SELECT 1
Q:ROLLBACK AND CHAIN
Q:ROLLBACK
Q:BEGIN READ ONLY
Q:SHOW transaction_read_only
Q:COMMIT
Q:BEGIN NONSENSE
Q:BEGIN ISOLATION LEVEL NONSENSE
Q:BEGIN; SELECT 1/0; COMMIT
Q:COMMIT
Q:CALL commits()
Q:BEGIN
Q:CALL commits()
Q:ROLLBACK

Q:SET application_name = 'a'
Q:SHOW application_name
Q:SET TimeZone TO 'UTC'
Q:SET TIME ZONE 'Asia/Tokyo'
Q:SHOW timezone
Q:SET client_encoding TO 'LATIN1'
Q:SET NAMES 'UTF8'
Q:SET DateStyle = German
Q:SET nonsense = 1
Q:SET work_mem = 'nonsense'
Q:BEGIN
Q:SET application_name = 'b'
Q:SET search_path = pg_catalog
Q:ROLLBACK
Q:SHOW application_name
Q:SHOW search_path
Q:BEGIN
Q:SET application_name = 'c'
Q:SAVEPOINT s
Q:SET application_name = 'd'
Q:ROLLBACK TO s
Q:COMMIT
Q:SHOW application_name
Q:SET LOCAL application_name = 'e'
Q:BEGIN; SET LOCAL application_name = 'e'; COMMIT
Q:RESET application_name
Q:SHOW application_name
Q:SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
Q:INSERT INTO t VALUES (200, 'x')
Q:RESET ALL
Q:SHOW application_name
Q:SHOW timezone
Q:DISCARD ALL
Q:SHOW default_transaction_read_only
Q:SELECT set_config('application_name', 'f', false)
Q:SHOW application_name

Q:PREPARE p AS SELECT $1::int + 1
Q:EXECUTE p(1)
Q:EXECUTE p(2)
Q:PREPARE p AS SELECT 1
Q:DEALLOCATE p
Q:EXECUTE p(3)
Q:DEALLOCATE p
Q:DEALLOCATE ALL
Q:SELECT name FROM pg_prepared_statements

Q:BEGIN
Q:DECLARE c CURSOR FOR SELECT n FROM t ORDER BY n
Q:FETCH 3 FROM c
Q:MOVE 2 IN c
Q:FETCH c
Q:CLOSE c
Q:FETCH c
Q:ROLLBACK
Q:DECLARE h CURSOR WITH HOLD FOR SELECT n FROM t ORDER BY n
Q:FETCH 2 FROM h
Q:FETCH 2 FROM h
Q:CLOSE h

Q:LISTEN here
Q:NOTIFY here, 'one'
Q:SELECT 1
Q:BEGIN
Q:NOTIFY here, 'two'
Q:COMMIT
Q:UNLISTEN here
Q:NOTIFY here, 'three'
Q:UNLISTEN *

Q:CREATE TEMP TABLE tt (n int)
Q:INSERT INTO tt VALUES (1), (2)
Q:SELECT * FROM tt
Q:DROP TABLE tt
Q:SELECT pg_advisory_lock(1)
Q:SELECT pg_advisory_unlock(1)
Q:CREATE TABLE made (a int, b text DEFAULT 'x')
Q:ALTER TABLE made ADD c numeric(5,2)
Q:INSERT INTO made (a, c) VALUES (1, 2.5) RETURNING *
Q:UPDATE made SET a = 2
Q:DELETE FROM made
Q:TRUNCATE made
Q:DROP TABLE made
Q:VACUUM t
Q:EXPLAIN (COSTS OFF) SELECT * FROM t WHERE n = 1
Q:DO 'BEGIN RAISE WARNING ''w''; END'
Q:SELECT pg_sleep(0.01)
Q:LOCK TABLE t
Q:BEGIN; LOCK TABLE t; COMMIT

Q:COPY (SELECT n, word FROM t ORDER BY n LIMIT 5) TO STDOUT
Q:COPY t TO STDOUT (FORMAT csv, HEADER)
Q:COPY nowhere TO STDOUT
Q:CREATE TABLE k (n int)
Q:COPY k FROM STDIN / d:1 / d:2 / d:3 / c
Q:SELECT count(*) FROM k
Q:COPY k FROM STDIN / d:1 / f:changed my mind
Q:COPY k FROM STDIN / d:nonsense / d:1 / c
Q:COPY nowhere FROM STDIN
Q:BEGIN
Q:COPY k FROM STDIN / d:4 / c
Q:COMMIT
Q:SELECT count(*) FROM k
P::COPY k FROM STDIN / B:: / E: / d:5 / c / S
P::COPY k FROM STDIN / B:: / E: / d:5 / f:no / S
P::COPY k FROM STDIN / B:: / E: / S / d:6 / c / S
P::COPY (SELECT 1) TO STDOUT / B:: / D:P: / E: / S
Q:COPY k FROM STDIN; SELECT 1 / d:7 / c
Q:DROP TABLE k

P::SELECT 1 / B:: / D:P: / E: / S
P::SELECT $1::int, $2::text / D:S: / B:::7,seven / D:P: / E: / S
P:a:SELECT n FROM t WHERE n = $1 / D:S:a / S
B::a:3 / E: / S
B::a:4 / D:P: / E: / S
P:a:SELECT 2 / S
B::a:5 / E: / S
C:S:a / S
B::a:6 / E: / S
C:S:a / S
D:S:a / S
P:a:SELECT 'again' / B::a / E: / S
P:b:SELEKT / S
B::b / E: / S
P:b:SELECT 1/0 / B::b / E: / P:c:SELECT 3 / S
B::c / S
P:c:SELECT 3 / B::c / E: / S
D:P:nowhere / S
E:nowhere / S
B::nowhere / S
C:P:nowhere / S
S
S / S / S
H
P:: / B:: / D:P: / E: / S
P::;  / B:: / E: / S

P::SELECT n FROM t ORDER BY n / B:: / E::3 / E::2 / E: / S
P::SELECT n FROM t ORDER BY n / B:x: / E:x:3 / S
E:x:3 / S
Q:BEGIN
P::SELECT n FROM t ORDER BY n / B:x: / E:x:3 / S
E:x:3 / S
Q:SELECT 'between'
E:x:2 / C:P:x / S
E:x:2 / S
Q:ROLLBACK
P::BEGIN / B:: / D:P: / E: / S
P::INSERT INTO t VALUES (300, 'x') / B:: / D:P: / E: / S
P::SAVEPOINT a / B:: / E: / S
P::SELECT 1/0 / B:: / D:P: / E: / S
P::SELECT 1 / B:: / E: / S
P::ROLLBACK TO a / B:: / E: / S
P::SELECT 1 / B:: / E: / S
P::ROLLBACK / B:: / E: / S
P::COMMIT / B:: / E: / S
P::ROLLBACK / B:: / E: / S

P::SELECT 1 / B:: / E: / S / P::SELECT 2 / B:: / E: / S / P::SELECT 1/0 / B:: / E: / S / P::SELECT 4 / B:: / E: / S
P::SELECT 1 / B:: / E: / P::SELECT 1/0 / B:: / E: / P::SELECT 3 / B:: / E: / S
P::INSERT INTO t VALUES (400, 'x') / B:: / E: / P::SELECT 1/0 / B:: / E: / S
Q:SELECT count(*) FROM t WHERE n = 400
P::SELECT 1 / B:: / E: / Q:SELECT 2
P::SELECT 1 / B:: / Q:SELECT 2 / E: / S
P::SELECT 5 / S
B:: / E: / S
Q:SELECT 1
B:: / E: / S
P:s:SELECT 1 / C:S:s / B::s / E: / S
P:s:SELECT 1 / B::s / C:S:s / E: / S
P:s:SELECT 1 / P:s:SELECT 2 / S
Q:DEALLOCATE s
P::PREPARE q AS SELECT 9 / B:: / E: / S
B::q / E: / S
Q:EXECUTE q
P:w:SELECT 10 / S
Q:DEALLOCATE w
B::w / E: / S
P::SET application_name = 'x' / B:: / E: / S
P::SHOW application_name / B:: / E: / S
P::DISCARD ALL / B:: / E: / S
P::DEALLOCATE ALL / B:: / E: / S
P:z:SELECT 11 / S
Q:DEALLOCATE ALL
B::z / E: / S
P:z:SELECT 12 / S
Q:DISCARD ALL
B::z / E: / S
";

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
struct Pair {
    direct: Client,
    through: Client,
}

/// Where the two are.
#[derive(Clone, Copy)]
struct Places {
    direct: SocketAddr,
    through: SocketAddr,
}

impl Pair {
    async fn login(places: Places) -> Result<Self> {
        let mut direct = Client::connect(places.direct).await?;
        let mut through = Client::connect(places.through).await?;
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
    async fn compare(&mut self, said: &str) -> std::result::Result<(), String> {
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

async fn places(arguments: &[&str]) -> Result<(Places, Cluster, everline_lab::everline::Everline)> {
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
        for said in CONVERSATIONS.lines().skip(1) {
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
