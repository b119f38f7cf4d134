//! Options of TCP sockets: how soon a dead peer is noticed.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::config::dsn::{Dsn, Keepalive};

/// Idle time before the first keepalive probe, where nothing else is set.
const IDLE: Duration = Duration::from_secs(15);
/// Time between two keepalive probes, where nothing else is set.
const INTERVAL: Duration = Duration::from_secs(5);
/// Keepalive probes without an answer, where nothing else is set: with [`IDLE`] and [`INTERVAL`]
/// a peer that vanished is noticed after half a minute.
const COUNT: u32 = 3;
/// How long sent bytes may go unacknowledged, where nothing else is set. Long, because the time
/// also runs against a peer that lives and does not read (tcp(7)): a client that pauses in a large
/// result, a backend behind a lock. The leader's loss is noticed by its heartbeat, an idle client's
/// by keepalive.
const USER_TIMEOUT: Duration = Duration::from_mins(15);

/// Linux refuses longer times (`MAX_TCP_KEEPIDLE`, include/net/tcp.h).
const PROBE_MAX: Duration = Duration::from_secs(32_767);

/// What is set on a TCP socket, besides `TCP_NODELAY`, which is always set: messages are written
/// whole, so there is nothing to collect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SocketOptions {
    /// Probes on an idle socket; `None` sends none.
    pub keepalive: Option<Probes>,
    /// `TCP_USER_TIMEOUT`: the longest time for which sent bytes may stay unacknowledged.
    pub user_timeout: Duration,
}

/// Keepalive probes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Probes {
    /// Idle time before the first, whole seconds.
    pub idle: Duration,
    /// Time between two, whole seconds.
    pub interval: Duration,
    /// How many may go unanswered.
    pub count: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        let keepalive = Some(Probes { idle: IDLE, interval: INTERVAL, count: COUNT });
        Self { keepalive, user_timeout: USER_TIMEOUT }
    }
}

impl SocketOptions {
    /// The options that a DSN asks for, with Everline's defaults for the rest.
    #[must_use]
    pub fn from_dsn(dsn: &Dsn) -> Self {
        let keepalive = match dsn.keepalive {
            Keepalive::Off => None,
            Keepalive::On { idle, interval, count } => Some(Probes {
                idle: idle.unwrap_or(IDLE).min(PROBE_MAX),
                interval: interval.unwrap_or(INTERVAL).min(PROBE_MAX),
                count: count.unwrap_or(COUNT),
            }),
        };
        Self { keepalive, user_timeout: dsn.tcp_user_timeout.unwrap_or(USER_TIMEOUT) }
    }

    /// Sets the options on a connected socket.
    ///
    /// # Errors
    /// The operating system's, when it refuses one of them.
    pub fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        match self.keepalive {
            None => socket.set_keepalive(false)?,
            Some(probes) => socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(probes.idle)
                    .with_interval(probes.interval)
                    .with_retries(probes.count),
            )?,
        }
        socket.set_tcp_user_timeout(Some(self.user_timeout))
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
