//! The sockets we listen at: taken over from the process before us, handed in by systemd, or bound.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use listenfd::ListenFd;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::backend::pool::Pools;
use crate::config::{Config, Listen};
use crate::net::handover::{self, Sockets, Taken};
use crate::net::listen::{ListenOptions, Listener, adopt_tcp, bind_tcp};

/// Everything that is listened at.
pub(super) struct Places {
    /// Where clients come.
    pub clients: Vec<(Listener, String)>,
    /// Where those come who watch.
    pub http: Option<(TcpListener, SocketAddr)>,
    /// Copies, for who comes after us.
    pub copies: Sockets,
    /// Set when socket files belong to who came after us.
    pub kept: Arc<AtomicBool>,
}

/// Asks the process that runs, if there is one, for its sockets.
pub(super) fn take_over(config: &Config) -> Result<Option<Taken>, RunError> {
    let Some(path) = &config.takeover else { return Ok(None) };
    let taken = handover::take(path).map_err(|source| wrong(&path.display(), source))?;
    if let Some(taken) = &taken {
        tracing::info!(sockets = taken.sockets.len(), "taking over from the process that runs");
    }
    Ok(taken)
}

fn wrong(place: &impl ToString, source: io::Error) -> RunError {
    RunError::Listen { place: place.to_string(), source }
}

impl Places {
    /// Opens every place of the configuration; `given` are sockets that are open already.
    pub(super) fn open(config: &Config, given: &mut Sockets) -> Result<Self, RunError> {
        let kept = Arc::new(AtomicBool::new(false));
        let (mut clients, mut copies) = (Vec::new(), Sockets::new());
        let (socket_mode, reuse_port) = (config.frontend.socket_mode, config.frontend.reuse_port);
        let options = ListenOptions { socket_mode, reuse_port };
        for place in &config.frontend.listen {
            let name = name("clients", place);
            let failed = |source| wrong(place, source);
            let listener = match given.remove(&name) {
                Some(socket) => Listener::adopt(place, socket, &kept).map_err(failed)?,
                None => Listener::bind(place, options, &kept).map_err(failed)?,
            };
            copies.insert(name, listener.copy().map_err(failed)?);
            clients.push((listener, place.to_string()));
        }
        let mut http = None;
        if let Some(address) = config.http_listen {
            let name = name("http", &address);
            let failed = |source| wrong(&address, source);
            let listener = match given.remove(&name) {
                Some(socket) => adopt_tcp(socket).map_err(failed)?,
                None => bind_tcp(address, false).map_err(failed)?,
            };
            copies.insert(name, listener.as_fd().try_clone_to_owned().map_err(failed)?);
            let address = listener.local_addr().map_err(failed)?;
            http = Some((listener, address));
        }
        for place in given.keys() {
            tracing::warn!(place, "a socket was handed in that the configuration does not name");
        }
        Ok(Self { clients, http, copies, kept })
    }

    /// Offers copies to who comes after us. `handed` is cancelled when it accepts; from then on it
    /// has half of the pools' budget, until we have ended.
    pub(super) fn offer(
        copies: Sockets,
        path: &Path,
        handed: CancellationToken,
        pools: Arc<Pools>,
    ) -> Result<impl Future<Output = ()> + use<>, RunError> {
        let offered = handover::offer(path).map_err(|source| wrong(&path.display(), source))?;
        Ok(async move {
            let _after = loop {
                match handover::pass(&offered, &copies).await {
                    Ok(after) => break after,
                    Err(error) => tracing::warn!(%error, "nobody has taken over"),
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            };
            pools.share_budget(true);
            handed.cancel();
            std::future::pending::<()>().await; // the other one sees our end by that of `_after`
        })
    }
}

fn name(kind: &str, place: &impl ToString) -> String {
    format!("{kind} {}", place.to_string())
}

/// The sockets that systemd has opened for us, by the places of the configuration that they are.
pub(super) fn activated(config: &Config) -> Result<Sockets, RunError> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Sockets::new();
    for at in 0..passed.len() {
        let failed = |source| wrong(&format!("socket {at} of systemd"), source);
        if let Ok(Some(listener)) = passed.take_tcp_listener(at) {
            let address = listener.local_addr().map_err(failed)?;
            let http = config.http_listen == Some(address);
            sockets.insert(name(if http { "http" } else { "clients" }, &address), listener.into());
        } else if let Ok(Some(listener)) = passed.take_unix_listener(at) {
            let address = listener.local_addr().map_err(failed)?;
            let path = address.as_pathname().map(Path::to_owned).unwrap_or_default();
            sockets.insert(name("clients", &Listen::Unix(path)), listener.into());
        }
    }
    if !sockets.is_empty() {
        tracing::info!(sockets = sockets.len(), "listening at sockets of systemd");
    }
    Ok(sockets)
}
