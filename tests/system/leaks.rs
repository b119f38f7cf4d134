//! Whatever a session does to itself stays with it: random sessions swap a few backend connections
//! thousands of times, and after each step see exactly what is theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use everline_lab::Result;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::scene::{Fault, Scene, run_within};
use crate::seat::Seat;

const SESSIONS: usize = 10;
/// One of four is the system connection.
const CONNECTIONS: &str = "4";
/// Sessions that may keep a connection for themselves at the same time, so that one is left.
const KEEPERS: usize = 2;
const STEPS: usize = 400;
const SEEDS: u64 = 6;
const TEST_MAX: Duration = Duration::from_mins(4);

/// Settings that sessions change: the name, its value at the beginning, and two others.
const SETTINGS: &[(&str, &str, [&str; 2])] = &[
    ("work_mem", "4MB", ["5MB", "6MB"]),
    ("search_path", "\"$user\", public", ["pg_catalog", "public"]),
    ("TimeZone", "UTC", ["Asia/Tokyo", "Europe/Berlin"]),
    ("statement_timeout", "0", ["50s", "60s"]),
    ("app.tenant", "", ["one", "two"]),
    ("default_transaction_isolation", "read committed", ["serializable", "repeatable read"]),
    ("role", "none", ["member", "other_member"]),
];

const PREPARE: &str = "
    CREATE ROLE member; CREATE ROLE other_member; GRANT member, other_member TO app;
    ALTER DATABASE app SET TimeZone = 'UTC'";

/// What a session should see.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    settings: BTreeMap<&'static str, &'static str>,
    statements: BTreeMap<&'static str, u32>,
    by_sql: BTreeMap<&'static str, u32>,
    table: bool,
    locks: BTreeSet<u32>,
    /// It has had something for which Everline keeps a connection; DISCARD ALL ends that.
    kept: bool,
}

impl State {
    fn setting(&self, name: &str, usual: &'static str) -> &'static str {
        self.settings.get(name).copied().unwrap_or(usual)
    }
}

struct Session {
    seat: Seat,
    state: State,
    /// What a ROLLBACK brings back; there is a transaction while it is there.
    before: Option<State>,
    number: u32,
}

impl Session {
    async fn new(number: u32, address: SocketAddr) -> Self {
        let seat = Seat::app(&format!("session {number}"), address).await;
        Self { seat, state: State::default(), before: None, number }
    }

    fn keeps(&self) -> bool {
        self.before.is_some() || self.state.kept
    }

    /// Sends SQL by one of the two protocols; the answers up to ReadyForQuery, without what is told
    /// of parameters.
    async fn run(&mut self, sql: &str, rng: &mut StdRng) -> String {
        let script =
            if rng.random() { format!("Q:{sql}") } else { format!("P::{sql} / B:: / E: / S") };
        self.hear(&script).await
    }

    async fn hear(&mut self, script: &str) -> String {
        self.seat.say(script).await;
        let answers = self.seat.client.until_ready().await.expect("an answer");
        let wanted = answers.iter().filter(|message| {
            matches!(message.tag, b'D' | b'C' | b'E' | b'Z' | b'G') && !message.body.is_empty()
        });
        wanted.map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// One random change of its own state.
    async fn step(&mut self, rng: &mut StdRng, may_keep: bool) -> String {
        let (setting, _, values) = SETTINGS[rng.random_range(0..SETTINGS.len())];
        let value = values[rng.random_range(0..2)];
        let name = ["a", "b", "c"][rng.random_range(0..3)];
        let mark = self.number * 1000 + rng.random_range(0..1000);
        match rng.random_range(0..16_u32) {
            0..=3 => {
                self.state.settings.insert(setting, value);
                self.run(&format!("SET {setting} = '{value}'"), rng).await
            }
            4 => {
                self.state.settings.remove(setting);
                self.run(&format!("RESET {setting}"), rng).await
            }
            5 if self.before.is_none() => {
                self.state.settings.retain(|name, _| *name == "role");
                self.run("RESET ALL", rng).await
            }
            6 if self.before.is_none() => {
                self.state = State::default();
                self.hear("Q:DISCARD ALL").await
            }
            7 | 8 => {
                let closed = if self.state.statements.contains_key(name) { "C:S:" } else { "" };
                self.state.statements.insert(name, mark);
                let parse = format!("P:{name}:SELECT {mark} / S");
                let close = format!("{closed}{name} / ");
                let script = if closed.is_empty() { parse } else { format!("{close}{parse}") };
                self.hear(&script).await
            }
            9 => {
                self.state.statements.remove(name);
                self.hear(&format!("C:S:{name} / S")).await
            }
            10 if may_keep && !self.state.by_sql.contains_key(name) => {
                self.state.by_sql.insert(name, mark);
                self.state.kept = true;
                self.hear(&format!("Q:PREPARE q{name} AS SELECT {mark}")).await
            }
            10 if self.state.by_sql.contains_key(name) => {
                self.state.by_sql.remove(name);
                self.hear(&format!("Q:DEALLOCATE q{name}")).await
            }
            other => self.step_that_keeps(other, rng, may_keep).await,
        }
    }

    /// A change for which a connection is kept, or the end of one.
    async fn step_that_keeps(&mut self, drawn: u32, rng: &mut StdRng, may_keep: bool) -> String {
        match drawn {
            11 if self.before.is_none() && may_keep && !self.state.table => {
                self.state.table = true;
                self.state.kept = true;
                self.hear("Q:CREATE TEMP TABLE IF NOT EXISTS mine (n int)").await
            }
            11 | 12 if self.before.is_none() && self.state.table => {
                self.state.table = false;
                self.hear("Q:DISCARD TEMP").await
            }
            13 if self.before.is_none() && may_keep => {
                self.state.locks.insert(self.number);
                self.state.kept = true;
                let lock = format!("SELECT pg_advisory_lock({})", self.number);
                self.hear(&format!("Q:SELECT pg_advisory_unlock_all(); {lock}")).await
            }
            14 if self.before.is_none() && may_keep => {
                self.before = Some(self.state.clone());
                self.hear("Q:BEGIN").await
            }
            14 | 15 if self.before.is_some() => {
                let before = self.before.take().expect("a transaction");
                if rng.random() {
                    return self.run("COMMIT", rng).await;
                }
                // Statements stay, by whichever protocol; settings go back.
                self.state.settings = before.settings;
                self.run("ROLLBACK", rng).await
            }
            _ => String::new(),
        }
    }

    /// Everything that it should see, and nothing else.
    async fn looks(&mut self, seed: u64, done: &str) {
        let who = format!("seed {seed}, {} after {done:?}, {:?}", self.seat.who, self.state);
        let columns: Vec<String> = SETTINGS
            .iter()
            .map(|(name, ..)| format!("coalesce(current_setting('{name}', true), '')"))
            .collect();
        let sql = format!(
            "SELECT {}, to_regclass('pg_temp.mine') IS NOT NULL, (SELECT count(*) FROM pg_locks \
             WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
            columns.join(", ")
        );
        let heard = self.hear(&format!("Q:{sql}")).await;
        let mut expected: Vec<&str> = Vec::new();
        for (name, usual, _) in SETTINGS {
            expected.push(self.state.setting(name, usual));
        }
        let shown = |value: &str| match value {
            "50s" => "50s".to_owned(),
            "60s" => "1min".to_owned(),
            value => value.to_owned(),
        };
        let mut expected: Vec<String> = expected.into_iter().map(shown).collect();
        expected.push(if self.state.table { "t" } else { "f" }.to_owned());
        expected.push(self.state.locks.len().to_string());
        assert!(heard.starts_with(&format!("D[{}] ", expected.join(","))), "{who}: {heard}");
        if self.before.is_some() {
            return; // a statement that is not there would fail the transaction
        }
        let row = |mark: u32| format!("D[{mark}] ");
        for name in ["a", "b", "c"] {
            let by_sql = self.hear(&format!("Q:EXECUTE q{name}")).await;
            match self.state.by_sql.get(name) {
                Some(mark) => assert!(by_sql.starts_with(&row(*mark)), "{who}: {by_sql}"),
                None => assert!(by_sql.starts_with("E[26000 "), "{who}: {by_sql}"),
            }
            let heard = self.hear(&format!("B::{name} / E: / S")).await;
            match self.state.statements.get(name) {
                Some(mark) => assert!(heard.starts_with(&row(*mark)), "{who}: {heard}"),
                None => assert!(heard.starts_with("E[26000 "), "{who}: {heard}"),
            }
        }
    }
}

async fn play(seed: u64, address: SocketAddr) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut sessions = Vec::new();
    for number in 0..u32::try_from(SESSIONS).unwrap() {
        sessions.push(Session::new(number, address).await);
    }
    for _ in 0..STEPS {
        let at = rng.random_range(0..sessions.len());
        let keepers = sessions.iter().filter(|session| session.keeps()).count();
        let session = &mut sessions[at];
        let may_keep = keepers < KEEPERS || session.keeps();
        let done = session.step(&mut rng, may_keep).await;
        assert!(!done.contains("E["), "seed {seed}, {}: {done}", session.seat.who);
        session.looks(seed, &done).await;
        // Some leave in the middle of everything, and others come.
        if rng.random_range(0..40) == 0 {
            let number = session.number;
            *session = Session::new(number, address).await;
        }
    }
    Ok(())
}

#[test]
fn nothing_of_a_session_is_seen_by_another() {
    run_within(TEST_MAX, async {
        let arguments = ["--max-backend-connections", CONNECTIONS];
        let scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        scene.cluster.primary().sql(PREPARE).await?;
        for seed in 0..SEEDS {
            play(seed, scene.address()).await?;
        }
        Ok(())
    });
}
