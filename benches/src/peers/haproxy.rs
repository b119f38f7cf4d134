//! HAProxy: a relay of TCP, which pools nothing. TLS goes through it to PostgreSQL.

use std::fmt::Write as _;
use std::path::Path;

use everline_lab::postgres::{APP_DATABASE, SUPERUSER};
use everline_lab::{Result, ports};
use everline_wire::{frontend, startup};

use super::{Kind, Peer, Running, Setup, directory, launch, pooling, shown};

pub(super) fn peer(program: &Path) -> Peer {
    pooling("HAProxy", Kind::HaProxy, program, "-v")
}

pub(super) fn start(peer: &Peer, setup: &Setup<'_>) -> Result<Running> {
    let address = ports::free_address()?;
    let directory = directory(setup, "haproxy")?;
    let configuration = directory.join("haproxy.cfg");
    let mut text = format!(
        "global\n  maxconn 2000\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 1h\n  timeout server 1h\nlisten postgres\n  bind {address}\n"
    );
    let several = setup.databases.len() > 1;
    if several {
        text.push_str(&primary_check());
    }
    for (at, database) in setup.databases.iter().enumerate() {
        let check = if several { " check on-marked-down shutdown-sessions" } else { "" };
        let _ = writeln!(text, "  server node{at} {database}{check}"); // a String takes all
    }
    setup.installation.write(&configuration, &text)?;
    launch(peer, setup, address, configuration.clone(), &["-db", "-f", &shown(&configuration)])
}

/// Only a primary is up: each server is logged in to and asked whether it is in recovery, every
/// second. What HAProxy's users do who have no agent that answers over HTTP.
fn primary_check() -> String {
    let mut login = bytes::BytesMut::new();
    startup::startup(&mut login, SUPERUSER, APP_DATABASE, []);
    let mut question = bytes::BytesMut::new();
    frontend::query(&mut question, b"SELECT pg_is_in_recovery()");
    let answer = b"D\0\0\0\x0b\0\x01\0\0\0\x01f"; // one row of one column: f
    format!(
        "  option tcp-check\n  tcp-check connect\n  tcp-check send-binary {}\n  \
         tcp-check expect binary {}\n  tcp-check send-binary {}\n  tcp-check expect binary {}\n  \
         default-server inter 1s fall 2 rise 1\n",
        hex(&login),
        hex(b"Z\0\0\0\x05I"),
        hex(&question),
        hex(answer),
    )
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // a String takes all
    }
    text
}
