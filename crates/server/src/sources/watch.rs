//! Reads one key of Consul's again and again, by blocking queries: Consul answers when the key
//! changes, so nothing waits for an interval of ours.
//!
//! A blocking query vouches for the moment it was sent, and a server that has been cut off lets it
//! hang until its wait is over. So waits are short, and each read has a deadline. A connection that
//! has gone silent is not waited for so long: when an answer is late the same is asked on a second
//! connection, and whichever answers first counts. So one dead connection does not cost the time
//! for which the last answer is good.
//!
//! Source: Consul's HTTP API, "Blocking Queries" and "Consistency Modes".

use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use everline_core::ha::BootTime;
use everline_core::retry::{Backoff, Pace};
use hyper::{Method, StatusCode};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::consul::{Consul, ConsulError, Reply};
use crate::supervisor::boot_time;

/// What an answer may take beyond the wait that was asked for.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// When an answer is late: a quarter of the wait that was asked for, within these bounds, after its
/// end. With waits of a third of the proxy timeout, two waits and this leave time for the second
/// connection before what was read last is too old.
const LATE_MIN: Duration = Duration::from_millis(100);
const LATE_MAX: Duration = Duration::from_secs(1);

/// Between two reads in the long run: a key that is rewritten more often than this is looked at
/// this often, at most so late.
const PACE: Duration = Duration::from_millis(50);

/// How far the pace may be outrun: what comes in quick succession is seen at once.
const BURST: Duration = Duration::from_secs(1);

/// One read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Look {
    /// When the question was sent.
    pub sent: BootTime,
    /// The key's value.
    pub value: Result<Bytes, LookError>,
}

/// Why a read says nothing about the key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LookError {
    /// There is no such key.
    #[error("there is no key {0} in Consul")]
    Missing(String),
    /// The token may not read.
    #[error("{0}")]
    Denied(String),
    /// No answer, or one that does not help.
    #[error("{0}")]
    Failed(String),
}

/// Reads one key.
#[derive(Debug)]
pub struct Watcher {
    consul: Consul,
    key: String,
    index: u64,
    again: Arc<Notify>,
    backoff: Backoff,
    /// Not before this instant is Consul asked again.
    next_at: Instant,
    /// Up to when the pace has been used up.
    paced: Instant,
    rng: StdRng,
}

impl Watcher {
    /// Reads `key`, which is percent-encoded. Whoever notifies `again` has the read under way
    /// given up and another one sent at once.
    #[must_use]
    pub fn new(consul: Consul, key: String, again: Arc<Notify>) -> Self {
        let now = Instant::now();
        Self {
            consul,
            key,
            index: 0,
            again,
            backoff: Backoff::new(Pace::SOURCE),
            next_at: now,
            paced: now,
            rng: StdRng::from_rng(&mut rand::rng()),
        }
    }

    /// The agent that is asked.
    #[must_use]
    pub fn agent(&self) -> String {
        self.consul.agent().to_string()
    }

    /// Reads once: returns when the key has changed, `wait` is over, or the read has failed. After
    /// a failure the next read waits first, a little longer each time.
    ///
    /// Not cancel safe: notify `again` instead.
    pub async fn look(&mut self, wait: Duration) -> Look {
        let again = Arc::clone(&self.again);
        loop {
            let pause = self.next_at.max(self.pause());
            tokio::select! {
                biased; // whoever wants news does not wait
                () = again.notified() => self.index = 0,
                () = sleep_until(pause) => {}
            }
            tokio::select! {
                biased; // an answer in hand is one
                look = self.read(wait) => return look,
                () = again.notified() => {
                    self.consul.hang_up();
                    self.index = 0;
                }
            }
        }
    }

    /// When the pace allows the next read.
    fn pause(&mut self) -> Instant {
        let now = Instant::now();
        self.paced = self.paced.max(now) + PACE;
        self.paced.checked_sub(BURST).unwrap_or(now)
    }

    async fn read(&mut self, wait: Duration) -> Look {
        let mut path = format!("/v1/kv/{}?raw&consistent", self.key);
        let mut may_take = ANSWER_MAX;
        if self.index > 0 {
            // A String takes everything.
            let _ = write!(path, "&index={}&wait={}ms", self.index, wait.as_millis());
            may_take += wait + wait / 16;
        }
        let late = (wait / 4).clamp(LATE_MIN, LATE_MAX);
        let late_at = Instant::now() + may_take.saturating_sub(ANSWER_MAX) + late;
        let deadline = Instant::now() + may_take;
        let (sent, reply) = self.ask(&path, late_at, deadline).await;
        let value = self.judge(reply);
        match &value {
            Ok(_) => self.backoff.reset(),
            // The index blocks until the key is there.
            Err(LookError::Missing(_)) if self.index > 0 => self.backoff.reset(),
            Err(_) => {
                self.index = 0;
                self.consul.turn_away();
                let wait = self.backoff.wait(Duration::ZERO, &mut self.rng);
                self.next_at = Instant::now() + wait;
            }
        }
        Look { sent, value }
    }

    /// The answer, and when the question was sent: on the connection that stands, or, when that is
    /// late, on a new one without blocking. A new one that answers takes the place of the other.
    async fn ask(
        &mut self,
        path: &str,
        late_at: Instant,
        deadline: Instant,
    ) -> (BootTime, Result<Reply, ConsulError>) {
        let mut spare = self.consul.another();
        let sent = boot_time();
        let (sent_again, reply) = {
            let mut first = pin!(self.consul.ask(&Method::GET, path, Bytes::new(), deadline));
            if let Ok(reply) = timeout_at(late_at.min(deadline), &mut first).await {
                return (sent, reply);
            }
            let plain = format!("/v1/kv/{}?raw&consistent", self.key);
            let sent_again = boot_time();
            let mut second = pin!(spare.ask(&Method::GET, &plain, Bytes::new(), deadline));
            let again = tokio::select! {
                biased; // whoever is heard of, the elder first
                reply = &mut first => return (sent, reply),
                reply = &mut second => reply,
            };
            match again {
                Ok(reply) if reply.status == StatusCode::OK => (sent_again, reply),
                Ok(_) | Err(_) => return (sent, first.await),
            }
        };
        tracing::debug!("Consul was late, and answers on a new connection");
        self.index = 0;
        self.consul = spare;
        (sent_again, Ok(reply))
    }

    fn judge(&mut self, reply: Result<Reply, ConsulError>) -> Result<Bytes, LookError> {
        let reply = reply.map_err(|error| LookError::Failed(error.to_string()))?;
        match (reply.status, reply.index) {
            (StatusCode::OK | StatusCode::NOT_FOUND, None) => {
                Err(LookError::Failed("the answer has no index: this is no Consul".to_owned()))
            }
            (StatusCode::OK, Some(index)) => {
                self.index = next_index(self.index, index);
                Ok(reply.body)
            }
            (StatusCode::NOT_FOUND, Some(index)) => {
                self.index = next_index(self.index, index);
                Err(LookError::Missing(self.key.clone()))
            }
            (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => {
                Err(LookError::Denied(reply.problem()))
            }
            (_, _) => Err(LookError::Failed(reply.problem())),
        }
    }
}

/// The index to ask for after this answer: Consul's rules for clients. Backwards means that Consul
/// was restored or reset, and then only a query that does not block says what there is.
#[must_use]
pub const fn next_index(asked: u64, answered: u64) -> u64 {
    if answered == 0 {
        1
    } else if answered < asked {
        0
    } else {
        answered
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
