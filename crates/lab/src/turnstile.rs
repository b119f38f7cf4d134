//! A door that counts: a relay in front of a server that knows who ended each connection.
//!
//! What a client's pool does with its connections is seen here, whatever the client says of itself:
//! how many it opened, how many it gave up, and how many the server closed on it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Result, during};

/// How many bytes are passed at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// The message Terminate, with which a client takes leave.
const GOODBYE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// What has passed through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Connections that clients opened.
    pub opened: u64,
    /// Connections that their client ended.
    pub ended_by_client: u64,
    /// Connections that the server ended, or refused.
    pub ended_by_server: u64,
}

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    ended_by_client: AtomicU64,
    ended_by_server: AtomicU64,
}

/// A running turnstile; it ends with all its connections when dropped.
#[derive(Debug)]
pub struct Turnstile {
    address: SocketAddr,
    counts: Arc<Counts>,
    _ends: DropGuard,
}

/// Who ended a connection.
enum End {
    Client,
    Server,
}

impl Turnstile {
    /// Listens at any port of `127.0.0.1` in front of `server`.
    ///
    /// # Errors
    /// [`crate::Error::Io`] when there is no port.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let what = || "listening on 127.0.0.1".to_owned();
        let listener = during(what, TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await)?;
        let address = during(what, listener.local_addr())?;
        let counts = Arc::new(Counts::default());
        let ended = CancellationToken::new();
        let serving = serve(listener, server, counts.clone(), ended.clone());
        tokio::spawn(ended.clone().run_until_cancelled_owned(serving));
        Ok(Self { address, counts, _ends: ended.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has passed so far.
    #[must_use]
    pub fn passed(&self) -> Passed {
        let Counts { opened, ended_by_client, ended_by_server } = &*self.counts;
        Passed {
            opened: opened.load(Ordering::Relaxed),
            ended_by_client: ended_by_client.load(Ordering::Relaxed),
            ended_by_server: ended_by_server.load(Ordering::Relaxed),
        }
    }
}

async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    counts: Arc<Counts>,
    ended: CancellationToken,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        counts.opened.fetch_add(1, Ordering::Relaxed);
        let counts = counts.clone();
        tokio::spawn(ended.clone().run_until_cancelled_owned(async move {
            let count = match pass(client, server).await {
                End::Client => &counts.ended_by_client,
                End::Server => &counts.ended_by_server,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }));
    }
}

async fn pass(client: TcpStream, server: SocketAddr) -> End {
    let Ok(server) = TcpStream::connect(server).await else { return End::Server };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut said_goodbye = false;
    let there = pump(from_client, to_server, |piece| said_goodbye = piece.ends_with(&GOODBYE));
    let back = pump(from_server, to_client, |_| ());
    let first = tokio::select! {
        biased;
        // Both may be seen at once; then the client's end was the reason for the server's.
        () = there => End::Client,
        () = back => End::Server,
    };
    if said_goodbye { End::Client } else { first }
}

/// Passes one direction on until its end, or until the other side takes nothing more.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut look: impl FnMut(&[u8])) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let piece = chunk.get(..length).unwrap_or_default();
        look(piece);
        if to.write_all(piece).await.is_err() {
            // Who takes nothing more has ended; that is seen in the other direction.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
#[path = "turnstile_tests.rs"]
mod tests;
