//! As much of Consul as a Stolon proxy speaks to, with every way of being unwell: keys with
//! blocking queries, sessions that hold keys, refusals, garbage and silence.
//!
//! Source: Consul's HTTP API for KV and sessions, as the real program was seen to answer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{Result, during};

/// How the fake meets requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Manner {
    /// As Consul does.
    Well,
    /// With this status and body, every request.
    Status(u16, &'static str),
    /// As [`Manner::Status`], but only what writes.
    RefuseWrites(u16, &'static str),
    /// With 200 and this body, without an index.
    Babble(&'static str),
    /// Not at all, for as long as the connection lasts, also when the manner changes.
    Silent,
    /// With 307 to this place; a path that begins with `/again/` is answered well.
    Redirect(&'static str),
}

/// One request as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path with its query.
    pub path: String,
    /// `X-Consul-Token`.
    pub token: Option<String>,
}

#[derive(Clone, Debug)]
struct Key {
    value: Bytes,
    index: u64,
    session: Option<String>,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    index: u64,
    keys: BTreeMap<String, Key>,
    sessions: BTreeMap<String, String>,
    sessions_made: u32,
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    accepted: AtomicUsize,
    stop: CancellationToken,
}

/// A fake Consul; it ends when it is dropped.
#[derive(Debug)]
pub struct FakeConsul {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Drop for FakeConsul {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl FakeConsul {
    /// A fake without keys, on a port of its own.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn start() -> Result<Self> {
        let bound = TcpListener::bind("127.0.0.1:0").await;
        let listener = during(|| "listen as a fake Consul".to_owned(), bound)?;
        let address = listener.local_addr();
        let address = during(|| "the fake Consul's address".to_owned(), address)?;
        let state = State {
            manner: Manner::Well,
            index: 10,
            keys: BTreeMap::new(),
            sessions: BTreeMap::new(),
            sessions_made: 0,
            seen: Vec::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            accepted: AtomicUsize::new(0),
            stop: CancellationToken::new(),
        });
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Meets requests so from here on.
    pub fn behave(&self, manner: Manner) {
        self.change(|state| state.manner = manner);
    }

    /// Writes a key, as somebody else would.
    pub fn put(&self, key: &str, value: impl Into<Bytes>) {
        let value = value.into();
        self.change(|state| {
            state.index += 1;
            let session = state.keys.get(key).and_then(|key| key.session.clone());
            state.keys.insert(key.to_owned(), Key { value, index: state.index, session });
        });
    }

    /// Deletes a key.
    pub fn delete(&self, key: &str) {
        self.change(|state| {
            state.index += 1;
            state.keys.remove(key);
        });
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.lock().keys.get(key).map(|key| key.value.clone())
    }

    /// The keys that begin so.
    #[must_use]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.lock().keys.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// Sets every index back, as a restore does.
    pub fn rewind(&self, index: u64) {
        self.change(|state| {
            state.index = index;
            for key in state.keys.values_mut() {
                key.index = index;
            }
        });
    }

    /// Ends every session, and with it what it holds.
    pub fn end_sessions(&self) {
        self.change(|state| {
            state.index += 1;
            state.sessions.clear();
            state.keys.retain(|_, key| key.session.is_none());
        });
    }

    /// The bodies with which the sessions were made that still stand.
    #[must_use]
    pub fn sessions(&self) -> Vec<String> {
        self.lock().sessions.values().cloned().collect()
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Every request so far, and forgets them.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.lock().seen)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.changed.send_modify(|count| *count += 1);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let stream = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let (answering, stop) = (Arc::clone(&shared), shared.stop.clone());
            let service = service_fn(move |request| {
                let shared = Arc::clone(&answering);
                async move { Ok::<_, Infallible>(answer(&shared, request).await) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                // How a test's connection ends is the test's affair.
                served = connection => drop(served),
            }
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn reply(status: u16, index: Option<u64>, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    if let Some(index) = index {
        response.headers_mut().insert("x-consul-index", index.into());
    }
    response
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Answer {
    let method = request.method().clone();
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let token = request.headers().get("x-consul-token");
    let token = token.and_then(|token| token.to_str().ok()).map(str::to_owned);
    let body = request.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let manner = {
        let mut state = shared.lock();
        state.seen.push(Seen { method: method.to_string(), path: path.clone(), token });
        state.manner.clone()
    };
    match manner {
        Manner::Well => {}
        Manner::Status(status, words) => return reply(status, Some(1), words),
        Manner::RefuseWrites(status, words) if method != Method::GET => {
            return reply(status, None, words);
        }
        Manner::RefuseWrites(..) => {}
        Manner::Babble(words) => return reply(200, None, words),
        Manner::Silent => std::future::pending().await,
        Manner::Redirect(place) if !path.starts_with("/again/") => {
            let mut response = reply(307, None, "");
            if let Ok(place) = place.parse() {
                response.headers_mut().insert("location", place);
            }
            return response;
        }
        Manner::Redirect(_) => {}
    }
    let path = path.strip_prefix("/again").unwrap_or(&path);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let segments: Vec<&str> = path.splitn(5, '/').collect();
    match (&method, segments.as_slice()) {
        (&Method::GET, ["", "v1", "kv", ..]) => read(shared, key(path), query).await,
        (&Method::PUT, ["", "v1", "kv", ..]) => acquire(shared, key(path), query, body),
        (&Method::PUT, ["", "v1", "session", "create"]) => create(shared, &body),
        (&Method::PUT, ["", "v1", "session", "renew", id]) => {
            if shared.lock().sessions.contains_key(*id) {
                reply(200, None, "[]")
            } else {
                reply(404, None, format!("Session id '{id}' not found"))
            }
        }
        (&Method::PUT, ["", "v1", "session", "destroy", id]) => {
            let mut state = shared.lock();
            state.sessions.remove(*id);
            state.keys.retain(|_, key| key.session.as_deref() != Some(*id));
            state.index += 1;
            reply(200, None, "true")
        }
        _ => reply(400, None, "the fake Consul does not know this"),
    }
}

fn key(path: &str) -> &str {
    path.strip_prefix("/v1/kv/").unwrap_or_default()
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

async fn read(shared: &Shared, key: &str, query: &str) -> Answer {
    let index: u64 = parameter(query, "index").and_then(|text| text.parse().ok()).unwrap_or(0);
    let wait = parameter(query, "wait").and_then(|text| text.strip_suffix("ms")?.parse().ok());
    let until = Instant::now() + Duration::from_millis(wait.unwrap_or(300_000));
    let mut changes = shared.changed.subscribe();
    loop {
        let (late, found) = {
            let state = shared.lock();
            if state.manner == Manner::Silent {
                break;
            }
            let found = match state.keys.get(key) {
                Some(key) => (200, key.index, key.value.clone()),
                None => (404, state.index, Bytes::new()),
            };
            (Instant::now() >= until, found)
        };
        let (status, now, value) = found;
        if now > index || late {
            return reply(status, Some(now), value);
        }
        // Woken by a change, by the end of the wait, or because the fake is gone.
        drop(timeout_at(until, changes.changed()).await);
    }
    std::future::pending().await
}

fn acquire(shared: &Shared, key: &str, query: &str, value: Bytes) -> Answer {
    let mut state = shared.lock();
    let session = parameter(query, "acquire").map(str::to_owned);
    if let Some(session) = &session
        && !state.sessions.contains_key(session)
    {
        return reply(500, None, format!("raft apply failed: invalid session \"{session}\""));
    }
    let holder = state.keys.get(key).and_then(|key| key.session.clone());
    if holder.is_some() && holder != session {
        return reply(200, None, "false");
    }
    state.index += 1;
    let index = state.index;
    state.keys.insert(key.to_owned(), Key { value, index, session });
    drop(state);
    shared.changed.send_modify(|count| *count += 1);
    reply(200, None, "true\n")
}

fn create(shared: &Shared, body: &Bytes) -> Answer {
    let mut state = shared.lock();
    state.sessions_made += 1;
    let id = format!("adf4238a-882b-9ddc-4a9d-{:012x}", state.sessions_made);
    state.sessions.insert(id.clone(), String::from_utf8_lossy(body).into_owned());
    reply(200, None, format!("{{\n    \"ID\": \"{id}\"\n}}"))
}
