//! What systemd wants to know: ready, reloading, stopping, and that we are alive (`sd_notify`).

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to systemd; none where nobody asked for it.
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    patience: Option<Duration>,
}

impl Notify {
    /// As the environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        let text = |name: &str| std::env::var(name).ok();
        let for_us = text("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let patience = text("WATCHDOG_USEC").filter(|_| for_us).and_then(|us| us.parse().ok());
        Self::new(std::env::var_os("NOTIFY_SOCKET"), patience.map(Duration::from_micros))
    }

    /// To this socket: a path, or a name in the abstract namespace after `@`.
    #[must_use]
    pub fn new(socket: Option<OsString>, patience: Option<Duration>) -> Self {
        let Some(socket) = socket else { return Self::default() };
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&socket),
        };
        let to = UnixDatagram::unbound().and_then(|from| {
            from.set_nonblocking(true)?;
            Ok((from, address?))
        });
        match to {
            Ok(to) => Self { to: Some(to), patience },
            Err(error) => {
                tracing::warn!(%error, "systemd cannot be told anything");
                Self::default()
            }
        }
    }

    /// Tells it something, as `READY=1`.
    pub fn say(&self, what: &str) {
        if let Some((from, to)) = &self.to
            && let Err(error) = from.send_to_addr(what.as_bytes(), to)
        {
            tracing::debug!(%error, what, "systemd was not told");
        }
    }

    /// Tells it that we are alive.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// How often it wants to hear that we are alive, if it does: half of its patience.
    #[must_use]
    pub fn beat(&self) -> Option<Duration> {
        self.to.as_ref().and(self.patience).map(|patience| patience / 2)
    }
}

#[cfg(test)]
#[path = "notify_tests.rs"]
mod tests;
