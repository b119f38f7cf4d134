//! Everline, as this program and as other builds that are named.

use std::path::PathBuf;

use everline_lab::Result;
use everline_lab::everline::Launch;
use everline_lab::postgres::APP_DATABASE;

use super::{Kind, Login, Peer, Program, Running, Setup, shown};
use crate::args::Args;
use crate::io;

/// First argument with which this program is Everline.
pub(crate) const SERVER: &str = "everline-server";
/// The system connection is one of those that PostgreSQL is asked for.
const SYSTEM_CONNECTIONS: u16 = 1;

/// This build with one worker and with two, and the builds named, with one.
pub(super) fn peers(args: &Args) -> Result<Vec<Peer>> {
    let this = std::env::current_exe().map_err(|source| io("finding this program", source))?;
    let mut peers = Vec::new();
    for workers in [1, 2] {
        let many = if workers == 1 { "" } else { ", 2 workers" };
        let word = if workers == 1 { "everline" } else { "everline-2" };
        if args.takes_peer(word) {
            peers.push(peer(format!("Everline{many}"), workers, this.clone()));
        }
    }
    for (name, program) in &args.also {
        peers.push(peer(format!("Everline {name}"), 1, program.clone()));
    }
    Ok(peers)
}

fn peer(name: String, workers: u8, program: PathBuf) -> Peer {
    let kind = Kind::Everline(workers);
    Peer { name, kind, program, session_pooling: false, prepares: true }
}

pub(super) async fn start(peer: &Peer, workers: u8, setup: &Setup<'_>) -> Result<Running> {
    let (user, password) = (setup.login.user(), setup.login.password());
    let secret = if password.is_empty() { String::new() } else { format!(":{password}") };
    let hosts: Vec<String> = setup.databases.iter().map(ToString::to_string).collect();
    let hosts = hosts.join(",");
    let dsn = format!("postgres://{user}{secret}@{hosts}/{APP_DATABASE}?sslmode=disable");
    let connections = setup.connections.saturating_add(SYSTEM_CONNECTIONS).to_string();
    let auth = match setup.login {
        Login::Trust => "trust",
        Login::Scram => "scram-sha-256",
    };
    let mut launch = Launch::new(&peer.program);
    if std::env::current_exe().is_ok_and(|this| this == peer.program) {
        launch = launch.argument(SERVER);
    }
    if setup.databases.len() > 1 {
        launch = launch.argument("--enable-backend-adaptive-ha");
    }
    let everline = launch
        .arguments(["--backend-dsn", &dsn, "--max-backend-connections", &connections])
        .arguments(["--auth", auth, "--workers", &workers.to_string(), "--clients-max", "20000"])
        .arguments(["--tls-cert", &shown(&setup.tls.certificate)])
        .arguments(["--tls-key", &shown(&setup.tls.key), "--log", "warn"])
        .start()
        .await?;
    Ok(Running {
        peer: peer.clone(),
        address: everline.address(),
        configuration: PathBuf::new(),
        program: Program::Everline(everline),
    })
}
