//! Our place among the proxies that Stolon's sentinel waits for: a key in Consul, held by a
//! session.
//!
//! The sentinel takes every key below `proxies/info/` for a proxy: it waits for its `Generation`
//! before it announces a leader, and gives it up when the key is gone, or when `infoUID` has not
//! changed for twice the `ProxyTimeout` that it holds.
//!
//! The session has no node checks: with Consul's default a hiccup of the local agent would delete
//! the key at once, while we may hold connections for the whole timeout.

use std::time::Duration;

use bytes::Bytes;
use everline_core::ha::{BootTime, Publish, Written};
use everline_wire::auth;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::consul::{Consul, Reply};
use crate::supervisor::boot_time;

/// How long one request may take, at most.
const REQUEST_MAX: Duration = Duration::from_secs(2);

/// The shortest time that one request is given.
const REQUEST_MIN: Duration = Duration::from_millis(250);

/// Consul's bounds on a session's TTL.
const TTL_MIN: Duration = Duration::from_secs(10);
const TTL_MAX: Duration = Duration::from_hours(24);

/// libkv's mark on a key that is locked (`LockFlagValue` of Consul's own client).
const FLAGS: u64 = 3_304_740_253_564_472_344;

/// What became of a write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It stands.
    Written(Written),
    /// The token may not write.
    Denied(String),
    /// The session is gone, and the key with it.
    SessionLost(String),
    /// It may or may not stand; try again.
    Failed(String),
}

/// Writes our registration.
#[derive(Debug)]
pub struct Registrar {
    consul: Consul,
    /// Of the key, percent-encoded.
    key: String,
    uid: String,
    session: Option<Session>,
    request_max: Duration,
}

#[derive(Clone, Debug)]
struct Session {
    id: String,
    ttl: Duration,
    /// When its last renewal was sent. Consul's clock goes on while this machine is suspended.
    renewed_at: BootTime,
    /// Whether the key was written in this session.
    used: bool,
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "ID")]
    id: String,
}

/// Eight hexadecimal digits, as Stolon's own uids are.
///
/// # Errors
/// When the system has no random numbers.
pub fn new_uid() -> Result<String, auth::NoRandom> {
    Ok(format!("{:08x}", u32::from_be_bytes(auth::random::<4>()?)))
}

impl Registrar {
    /// Registers the proxy `uid` under `key`, which is percent-encoded.
    #[must_use]
    pub const fn new(consul: Consul, key: String, uid: String) -> Self {
        Self { consul, key, uid, session: None, request_max: REQUEST_MAX }
    }

    /// Writes what is to be published, in a session that is made or renewed first where that is
    /// due.
    ///
    /// Not cancel safe: run it to its end, which comes within a few seconds.
    pub async fn write(&mut self, publish: Publish) -> Outcome {
        match self.try_write(publish).await {
            Ok(written) => Outcome::Written(written),
            Err(outcome) => {
                match &outcome {
                    Outcome::SessionLost(_) => self.session = None,
                    Outcome::Failed(_) => self.consul.turn_away(),
                    Outcome::Denied(_) | Outcome::Written(_) => {}
                }
                outcome
            }
        }
    }

    async fn try_write(&mut self, publish: Publish) -> Result<Written, Outcome> {
        // A write comes after a third of the timeout. A quarter for a connection that has gone
        // silent leaves time for the next one before what was written last is too old.
        self.request_max = (publish.timeout / 4).clamp(REQUEST_MIN, REQUEST_MAX);
        let session = match self.session.clone() {
            Some(session) if boot_time().since(session.renewed_at) >= session.ttl / 4 => {
                self.renew(session).await?
            }
            Some(session) => session,
            None => self.create(publish.timeout).await?,
        };
        // A longer timeout than what is left of the session's life, at the least, would promise
        // what Consul does not keep.
        let timeout = publish.timeout.min(session.ttl / 4 * 3);
        let info_uid = new_uid().map_err(|error| Outcome::Failed(error.to_string()))?;
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let info = json!({
            "infoUID": info_uid,
            "UID": self.uid,
            "Generation": publish.generation,
            "ProxyTimeout": nanos,
        });
        let path = format!("/v1/kv/{}?acquire={}&flags={FLAGS}", self.key, session.id);
        let sent = boot_time();
        let reply = self.put(&path, info.to_string()).await?;
        if reply.status == StatusCode::OK && reply.body.trim_ascii() == b"true" {
            let first = !session.used;
            self.session = Some(Session { used: true, ..session });
            return Ok(Written { sent, generation: publish.generation, timeout, first });
        }
        let problem = reply.problem();
        Err(match reply.status {
            StatusCode::OK => Outcome::Failed("the key is locked by another session".to_owned()),
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Outcome::Denied(problem),
            _ if problem.contains("invalid session") => Outcome::SessionLost(problem),
            _ => Outcome::Failed(problem),
        })
    }

    async fn create(&mut self, timeout: Duration) -> Result<Session, Outcome> {
        let ttl = (timeout * 2).clamp(TTL_MIN, TTL_MAX);
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let body = json!({
            "Name": format!("everline {}", self.uid),
            "TTL": format!("{seconds}s"),
            "Behavior": "delete",
            "LockDelay": "1ms",
            "NodeChecks": [],
        });
        let renewed_at = boot_time();
        let reply = self.put("/v1/session/create", body.to_string()).await?;
        match reply.status {
            StatusCode::OK => {
                let created: Created = serde_json::from_slice(&reply.body)
                    .map_err(|error| Outcome::Failed(format!("no session: {error}")))?;
                if !created.id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
                    return Err(Outcome::Failed("the session's id is none".to_owned()));
                }
                let session = Session { id: created.id, ttl, renewed_at, used: false };
                self.session = Some(session.clone());
                Ok(session)
            }
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                Err(Outcome::Denied(reply.problem()))
            }
            _ => Err(Outcome::Failed(reply.problem())),
        }
    }

    async fn renew(&mut self, session: Session) -> Result<Session, Outcome> {
        let renewed_at = boot_time();
        let path = format!("/v1/session/renew/{}", session.id);
        let reply = self.put(&path, String::new()).await?;
        match reply.status {
            StatusCode::OK => {
                let session = Session { renewed_at, ..session };
                self.session = Some(session.clone());
                Ok(session)
            }
            StatusCode::NOT_FOUND => Err(Outcome::SessionLost(reply.problem())),
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                Err(Outcome::Denied(reply.problem()))
            }
            _ => Err(Outcome::Failed(reply.problem())),
        }
    }

    /// Ends the session, and with it the key: the sentinel does not wait for us any more. Call it
    /// when everything is closed.
    pub async fn withdraw(&mut self) {
        let Some(session) = self.session.take() else { return };
        let path = format!("/v1/session/destroy/{}", session.id);
        match self.put(&path, String::new()).await {
            Ok(reply) if reply.status == StatusCode::OK => {}
            Ok(reply) => tracing::warn!("not deregistered: {}", reply.problem()),
            Err(outcome) => tracing::warn!("not deregistered: {outcome:?}"),
        }
    }

    async fn put(&mut self, path: &str, body: String) -> Result<Reply, Outcome> {
        let deadline = Instant::now() + self.request_max;
        let asked = self.consul.ask(&Method::PUT, path, Bytes::from(body), deadline).await;
        asked.map_err(|error| Outcome::Failed(error.to_string()))
    }
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
