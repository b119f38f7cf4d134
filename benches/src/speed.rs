//! Statements by pgbench: without TLS and with it, in pipelines, and with a login for each.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use everline_lab::Result;

use crate::args::{Args, Part};
use crate::database::{self, Database};
use crate::peers::{self, Login, Peer, Running, Setup};
use crate::pgbench::{self, Load};
use crate::record::Record;
use crate::{failed, tell};

/// Backend connections of each peer in transaction pooling.
pub(crate) const CONNECTIONS: u16 = 20;
/// The most clients of a peer that needs one backend connection for each.
const ONE_EACH_MAX: u16 = 64;
/// How much longer logins are measured than statements.
const LOGIN_TIMES: u32 = 3;
/// Clients that log in again and again.
const CONNECT_CLIENTS: u16 = 8;

/// A pipeline of 50 statements in one go.
const PIPELINE: &str = "\\startpipeline\n{}\\endpipeline\n";
const PIPELINE_LINE: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 4321;\n";

/// One thing that is measured.
#[derive(Debug)]
struct Case {
    name: String,
    load: Load,
}

impl Case {
    fn new(protocol: &'static str, clients: u16, tls: bool, time: Duration) -> Self {
        let noun = if clients == 1 { "client" } else { "clients" };
        let name = format!("{protocol}, {clients} {noun}{}", if tls { ", TLS" } else { "" });
        let (login, reconnect, script) = (Login::Trust, false, None);
        Self { name, load: Load { protocol, clients, tls, login, reconnect, script, time } }
    }

    fn is_for(&self, peer: &Peer) -> bool {
        let prepared = self.load.protocol == "prepared";
        let fits = !peer.needs_one_each() || self.load.clients <= ONE_EACH_MAX;
        let has_its_kind =
            if prepared { peer.prepares || peer.session_pooling } else { !peer.session_pooling };
        fits && has_its_kind
    }
}

fn cases(part: Part, args: &Args) -> Result<Vec<Case>> {
    let time = args.time();
    let grid = |protocols: &[&'static str], clients: &[u16], tls| {
        let of = |protocol: &'static str| {
            clients.iter().map(move |clients| Case::new(protocol, *clients, tls, time))
        };
        protocols.iter().flat_map(|protocol| of(protocol)).collect::<Vec<_>>()
    };
    let all = ["simple", "extended", "prepared"];
    let cases = match part {
        Part::Speed if args.quick && args.cases.is_empty() => {
            let mut cases = grid(&["simple"], &[16, 500], false);
            cases.extend(grid(&["extended", "prepared"], &[64], false));
            cases
        }
        Part::Speed => grid(&all, &[1, 16, 64, 500], false),
        Part::Tls => grid(&all, &[16, 500], true),
        Part::Pipeline => {
            let text = PIPELINE.replace("{}", &PIPELINE_LINE.repeat(50));
            let script = database::script("pipeline.sql", &text)?;
            let mut cases = grid(&["extended"], &[16, 64], false);
            for case in &mut cases {
                case.name = format!("pipelines, {} clients", case.load.clients);
                case.load.script = Some(script.clone());
            }
            cases
        }
        Part::Connect => vec![connect(database::script("select.sql", "SELECT 1;\n")?, time)],
        Part::Copy | Part::Memory | Part::Failover => Vec::new(),
    };
    Ok(cases.into_iter().filter(|case| args.takes(&case.name)).collect())
}

fn connect(script: PathBuf, time: Duration) -> Case {
    let mut case = Case::new("simple", CONNECT_CLIENTS, false, time);
    "login, SELECT 1, leave".clone_into(&mut case.name);
    case.load.login = Login::Scram;
    case.load.reconnect = true;
    case.load.time = time * LOGIN_TIMES; // pgbench's own side of SCRAM makes logins few
    case.load.script = Some(script);
    case
}

/// Measures every case of a part: in each round all peers, one after the other.
///
/// # Errors
/// When PostgreSQL, pgbench or Everline fails; a peer that does not start stays out.
pub(crate) async fn run(
    part: Part,
    args: &Args,
    peers: &[Peer],
    database: &Database,
    record: &mut Record,
) -> Result<()> {
    let cases = cases(part, args)?;
    let login = if part == Part::Connect { Login::Scram } else { Login::Trust };
    let running = start_all(peers, login, database).await?;
    let total = cases.len() * usize::from(args.rounds());
    let mut done = 0;
    for case in &cases {
        for round in 1..=args.rounds() {
            done += 1;
            let mut line = format!("{} {done}/{total}: {}, round {round}", part.name(), case.name);
            let mut turn: Vec<&Running> =
                running.iter().filter(|running| case.is_for(&running.peer)).collect();
            // Nobody is always first.
            let shift = usize::from(round) % turn.len().max(1);
            turn.rotate_left(shift);
            for target in turn {
                let measured = match pgbench::run(&database.pgbench, &case.load, target).await {
                    Ok(measured) => measured,
                    Err(error) => {
                        tell(&format!("{error}\n{}", target.log_tail()));
                        continue;
                    }
                };
                let name = target.peer.name.as_str();
                record.add_measured(part, (&case.name, name, round), &measured);
                let _ = write!(
                    line,
                    "; {name} {:.0}/s {:.2} CPU s",
                    measured.per_second, measured.cpu_per_100k
                );
            }
            tell(&line);
        }
        record.save()?;
    }
    Ok(())
}

/// Starts all peers beside one another. One that needs session pooling to keep prepared statements
/// runs a second time in that mode.
///
/// # Errors
/// When none starts.
pub(crate) async fn start_all(
    peers: &[Peer],
    login: Login,
    database: &Database,
) -> Result<Vec<Running>> {
    let databases = [database.cluster.primary().address()];
    let mut setup = Setup {
        databases: &databases,
        connections: CONNECTIONS,
        login,
        tls: &database.tls,
        installation: database.installation,
    };
    let mut running = Vec::new();
    for peer in peers {
        setup.connections = CONNECTIONS;
        start(peer, &setup, &mut running).await;
        if !peer.prepares && login == Login::Trust {
            let mut second = peer.clone();
            second.name.push_str(" (session)");
            second.session_pooling = true;
            setup.connections = ONE_EACH_MAX;
            start(&second, &setup, &mut running).await;
        }
    }
    if running.is_empty() {
        return Err(failed("starting the peers", "none has started"));
    }
    Ok(running)
}

async fn start(peer: &Peer, setup: &Setup<'_>, running: &mut Vec<Running>) {
    match peers::start(peer, setup).await {
        Ok(started) => running.push(started),
        Err(error) => tell(&format!("{} stays out: {error}", peer.name)),
    }
}
