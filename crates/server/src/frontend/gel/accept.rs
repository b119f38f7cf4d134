//! From an accepted socket to a session: TLS, and a clear word for whoever speaks something else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use everline_core::limits::NEWCOMERS_MAX;
use everline_core::refusal::Refusal;
use everline_core::session::gel::Machine;
use everline_core::session::gel::refuse::Failure;
use everline_wire::fields::{Report, Severity};
use everline_wire::sqlstate::SqlState;
use everline_wire_gel::error::{ErrorCode, Problem};
use everline_wire_gel::server;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::Gel;
use super::login::{self, LoginError};
use super::session::{Ready, Session};
use crate::frontend::login::{close_gently, pool_of};
use crate::frontend::prove::Shown;
use crate::frontend::roster::Newcomer;
use crate::net::stream::Stream;

/// What a browser or another client of HTTP is told.
const HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Connection: close\r\nContent-Length: 95\r\n\r\n\
    This port serves Gel's binary protocol 3.0 (ALPN edgedb-binary). There is nothing here by HTTP.";
const NOT_POSTGRESQL: &str =
    "this port serves Gel's clients; PostgreSQL's connect elsewhere (listen)";
const NO_TLS: &str = "TLS Required";

/// Serves one accepted connection to its end.
///
/// Errors end here: the client is told, the log is told, nobody else is touched.
pub async fn serve(gel: Arc<Gel>, stream: Stream) {
    let metrics = &gel.context.metrics;
    let clients = metrics.clients.fetch_add(1, Ordering::Relaxed);
    metrics.accepted.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(&gel);
    let most = gel.context.live().clients_max;
    if clients >= most.saturating_add(NEWCOMERS_MAX) {
        return; // not even a word: whoever floods us must not keep us writing
    }
    let login_max = gel.context.live().login_max;
    let Ok(opened) = timeout(login_max, open(&gel, stream, clients >= most)).await else {
        tracing::info!("login not finished in {login_max:?}");
        return;
    };
    match opened {
        Ok(Some((stream, ready))) => Session::new(Arc::clone(&gel), stream, ready).run().await,
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "client gone before login"),
    }
}

struct Counted<'a>(&'a Gel);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.context.metrics.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says the last words to a client.
async fn dismiss(mut stream: Stream, words: &[u8]) -> io::Result<()> {
    stream.write_all(words).await?;
    stream.flush().await?;
    close_gently(&mut stream).await;
    Ok(())
}

fn problem(code: ErrorCode, message: &str) -> BytesMut {
    let mut out = BytesMut::new();
    server::error(&mut out, &Problem::new(code, message));
    out
}

/// Everything up to the first Ready; `None` for a client that has been dismissed.
async fn open(gel: &Arc<Gel>, stream: Stream, full: bool) -> io::Result<Option<(Stream, Ready)>> {
    let Some(mut stream) = under_tls(gel, stream).await? else { return Ok(None) };
    if full {
        let words = problem(ErrorCode::AVAILABILITY, "sorry, too many clients already");
        return dismiss(stream, &words).await.map(|()| None);
    }
    let mut input = BytesMut::new();
    let logged_in = match login::authenticate(gel, &mut stream, &mut input).await {
        Ok(logged_in) => logged_in,
        Err(LoginError::Socket(error)) => return Err(error),
        Err(LoginError::Denied { code, message, reason }) => {
            tracing::info!(reason, "login refused");
            return dismiss(stream, &problem(code, &message)).await.map(|()| None);
        }
    };
    let context = &gel.context;
    let key = logged_in.key;
    let live = context.live();
    let bounds = live.sharing.bounds(&key.database, &key.user);
    let place = if context.doors.is_closed(&key.database) {
        Err(Refusal::Disabled { name: key.database.clone() })
    } else if live.sharing.serves(&key.database) {
        context.census.enter(&key.database, &key.user, &bounds)
    } else {
        Err(Refusal::NoSuchDatabase { name: key.database.clone() })
    };
    let place = match place {
        Ok(place) => place,
        Err(refusal) => {
            tracing::info!(%refusal, "login refused");
            let failure = Failure::of(&refusal, gel.policy.unavailable);
            let words = problem(failure.code, &failure.message);
            return dismiss(stream, &words).await.map(|()| None);
        }
    };
    let (pool_key, spec) = pool_of(&key, &Shown::default(), &bounds, &live);
    let pool = context.pools.pool(&pool_key, spec);
    let cancel = context.cancels.register(false).map_err(io::Error::other)?;
    let presence = context.roster.enter(Newcomer {
        database: key.database.clone(),
        user: key.user.clone(),
        application: "gel".to_owned(),
        ends: (stream.peer(), stream.local()),
        tls: true,
        slot: Arc::clone(&cancel.slot),
    });
    stream.write_all(&gel.greeting).await?;
    stream.flush().await?;
    let traffic = context.metrics.databases.of(&key.database);
    let machine = Machine::new(Arc::clone(&gel.policy));
    let known = gel.shelf(&key);
    let ready =
        Ready { input, machine, known, pool, cancel, presence, traffic, bounds, _place: place };
    Ok(Some((stream, ready)))
}

/// Puts TLS over the connection, by whose first byte it is seen what the client speaks.
async fn under_tls(gel: &Gel, stream: Stream) -> io::Result<Option<Stream>> {
    let Stream::Tcp(tcp) = stream else { return Ok(None) };
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    let [first] = first;
    let words = match first {
        0x16 => {
            let plain = Stream::Tcp(tcp).into_plain().map_err(|_| io::ErrorKind::InvalidData)?;
            let stream = gel.tls.accept(plain).await?;
            if matches!(stream.alpn(), Some(b"edgedb-binary" | b"gel-binary")) {
                return Ok(Some(stream));
            }
            tracing::info!("a client did not ask for Gel's protocol (ALPN)");
            return dismiss(stream, HTTP).await.map(|()| None);
        }
        b'V' => problem(ErrorCode::PROTOCOL, NO_TLS),
        0 => {
            let mut out = BytesMut::new();
            let (severity, code) = (Severity::Fatal, SqlState::PROTOCOL_VIOLATION);
            Report::new(severity, code, NOT_POSTGRESQL).error_response(&mut out);
            out
        }
        _ => BytesMut::from(HTTP),
    };
    tracing::info!(first, "a client does not speak Gel's protocol under TLS");
    dismiss(Stream::Tcp(tcp), &words).await.map(|()| None)
}
