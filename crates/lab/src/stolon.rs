//! A Stolon cluster for tests: the lab in the part of its sentinel, or the real programs.
//!
//! [`Sentinel`] writes `clusterdata` to a real Consul as a sentinel does and checks the registered
//! proxies as a sentinel does. What the keepers would do, promote and demote, is left to the test.
//! [`real`] runs keepers and a sentinel where there are any.
//!
//! Source: Stolon v0.17.0, `cmd/sentinel/cmd/sentinel.go` (`updateCluster`,
//! `activeProxiesInfos`), retold.

mod data;
pub mod real;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::consul::Api;
use crate::{Error, Result};
use data::Clusterdata;

/// How many times a write that met another one is tried.
const TRIES: u8 = 10;

/// How quick a cluster is, and what it asks of its proxies.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Time between two cycles of the sentinel.
    pub sleep: Duration,
    /// How often a proxy shall look.
    pub check: Duration,
    /// How long a proxy may serve on what it last saw.
    pub timeout: Duration,
}

impl Default for Pace {
    /// A fifth of Stolon's own: 1 s, 1 s, 3 s.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { sleep: second, check: second, timeout: Duration::from_secs(3) }
    }
}

/// One proxy as it presents itself under `proxies/info/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyInfo {
    /// Its uid.
    pub uid: String,
    /// New at every write.
    pub info_uid: String,
    /// The generation it says it has carried out.
    pub generation: u64,
    /// How long it serves on what it last saw.
    pub timeout: Duration,
    /// The session that holds the key.
    pub session: Option<String>,
}

/// What was written, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// `proxy.generation`.
    pub generation: u64,
    /// `proxy.spec.masterDbUid`.
    pub master: Option<String>,
    /// When the write was begun: what follows from it cannot have come earlier.
    pub at: Instant,
}

/// The lab in the part of a sentinel. Its cycles end when it is dropped.
#[derive(Debug)]
pub struct Sentinel {
    play: Arc<Play>,
    cycles: JoinHandle<()>,
}

#[derive(Debug)]
struct Play {
    api: Api,
    prefix: String,
    pace: Pace,
    run: watch::Sender<bool>,
    now: Notify,
    written: watch::Sender<Written>,
    /// Whose `infoUID` was first seen when. One cycle at a time holds it.
    seen: Mutex<BTreeMap<String, (String, Instant)>>,
}

impl Sentinel {
    /// Writes the data of a healthy cluster, its first node leading, and goes on with a cycle at
    /// every [`Pace::sleep`]. Node `n` is that of the keeper `keeper<n>`.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn start(api: Api, name: &str, nodes: &[SocketAddr], pace: Pace) -> Result<Self> {
        let data = Clusterdata::new(nodes, pace);
        let at = Instant::now();
        let prefix = format!("stolon/cluster/{name}");
        api.put(&format!("{prefix}/clusterdata"), data.to_bytes()).await?;
        let written = Written { generation: data.generation(), master: data.announced(), at };
        let play = Arc::new(Play {
            api,
            prefix,
            pace,
            run: watch::Sender::new(true),
            now: Notify::new(),
            written: watch::Sender::new(written),
            seen: Mutex::default(),
        });
        let cycles = tokio::spawn(cycle_on(play.clone()));
        Ok(Self { play, cycles })
    }

    /// Elects node `at`: names it in `cluster.status`, makes it the master of its data, and takes
    /// the leader away from the proxies. Its announcement follows with the first cycle that finds
    /// every proxy ready.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn elect(&self, at: usize) -> Result<Written> {
        self.play.change(|data| data.elect(at)).await
    }

    /// Takes the leader away from the proxies and announces it again once they are ready.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn withdraw(&self) -> Result<Written> {
        self.play.change(Clusterdata::withdraw).await
    }

    /// Removes the data of the nodes that do not lead and adds them anew as standbys, with new
    /// uids: what happens after an election when the new master has converged.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn resync(&self) -> Result<Written> {
        self.play.change(Clusterdata::resync).await
    }

    /// Waits until a leader stands announced.
    ///
    /// # Errors
    /// [`Error::Late`].
    pub async fn announced(&self, within: Duration) -> Result<Written> {
        let mut written = self.play.written.subscribe();
        let waiting = written.wait_for(|written| written.master.is_some());
        let late = |_| Error::Late { what: "the announcement of a leader".to_owned(), within };
        let found = tokio::time::timeout(within, waiting).await.map_err(late)?;
        found.map(|found| found.clone()).map_err(|_| ended())
    }

    /// What was written last with another generation or leader.
    #[must_use]
    pub fn written(&self) -> Written {
        self.play.written.borrow().clone()
    }

    /// Stops the cycles, as if the sentinel had gone; [`Sentinel::cycle`] still works.
    pub fn pause(&self) {
        self.play.run.send_replace(false);
    }

    /// Goes on with the cycles.
    pub fn resume(&self) {
        self.play.run.send_replace(true);
    }

    /// One cycle at once.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn cycle(&self) -> Result<Written> {
        self.play.change(|_| ()).await
    }

    /// Has the next cycle of the sentinel come at once.
    pub fn hurry(&self) {
        self.play.now.notify_one();
    }

    /// The proxies that are registered.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn proxies(&self) -> Result<Vec<ProxyInfo>> {
        proxies(&self.play.api, &self.play.prefix).await
    }

    /// Waits until the proxies are as wished, looking every 5 ms, and gives them back.
    ///
    /// # Errors
    /// [`Error::Late`] with what there was; what Consul says.
    pub async fn proxies_until(
        &self,
        within: Duration,
        wish: impl Fn(&[ProxyInfo]) -> bool,
    ) -> Result<Vec<ProxyInfo>> {
        let until = Instant::now() + within;
        loop {
            let proxies = self.proxies().await?;
            if wish(&proxies) {
                return Ok(proxies);
            }
            if Instant::now() >= until {
                return Err(Error::Late {
                    what: format!("proxies as wished: {proxies:?}"),
                    within,
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The cluster's data as Consul has it.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn data(&self) -> Result<Value> {
        Ok(self.play.read().await?.0.into_value())
    }

    /// Writes data of any kind in place of the cluster's.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn overwrite(&self, data: &[u8]) -> Result<()> {
        self.play.api.put(&self.play.key(), data.to_vec()).await
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.cycles.abort();
    }
}

async fn cycle_on(play: Arc<Play>) {
    let mut run = play.run.subscribe();
    loop {
        let waiting = tokio::time::timeout(play.pace.sleep, play.now.notified());
        let _ = waiting.await;
        if run.wait_for(|run| *run).await.is_err() {
            return;
        }
        if let Err(error) = play.change(|_| ()).await {
            tracing::debug!(%error, "a sentinel's cycle failed");
        }
    }
}

impl Play {
    fn key(&self) -> String {
        format!("{}/clusterdata", self.prefix)
    }

    async fn read(&self) -> Result<(Clusterdata, u64)> {
        let pair = self.api.get(&self.key()).await?;
        let pair = pair.ok_or_else(|| failed("there is none".to_owned()))?;
        let data = Clusterdata::read(&pair.value).map_err(|error| failed(error.to_string()))?;
        Ok((data, pair.modify_index))
    }

    /// One cycle, with `change` in it.
    async fn change(&self, change: impl Fn(&mut Clusterdata)) -> Result<Written> {
        let mut seen = self.seen.lock().await;
        for _ in 0..TRIES {
            let (mut data, index) = self.read().await?;
            let proxies = proxies(&self.api, &self.prefix).await?;
            let active = active(&mut seen, proxies, Instant::now());
            data.cycle(&active);
            change(&mut data);
            let at = Instant::now();
            if self.api.cas(&self.key(), data.to_bytes(), index).await? {
                let written =
                    Written { generation: data.generation(), master: data.announced(), at };
                self.written.send_if_modified(|last| {
                    let is_other =
                        (last.generation, &last.master) != (written.generation, &written.master);
                    if is_other {
                        *last = written.clone();
                    }
                    is_other
                });
                return Ok(written);
            }
        }
        Err(failed(format!("written by another one, {TRIES} times")))
    }
}

/// The proxies that count: those whose key stands and whose `infoUID` has changed within twice
/// their own timeout.
fn active(
    seen: &mut BTreeMap<String, (String, Instant)>,
    proxies: Vec<ProxyInfo>,
    now: Instant,
) -> Vec<ProxyInfo> {
    seen.retain(|uid, _| proxies.iter().any(|proxy| proxy.uid == *uid));
    let mut active = proxies;
    active.retain(|proxy| match seen.get(&proxy.uid) {
        Some((info_uid, since)) if *info_uid == proxy.info_uid => {
            now.duration_since(*since) <= 2 * proxy.timeout
        }
        Some(_) | None => {
            seen.insert(proxy.uid.clone(), (proxy.info_uid.clone(), now));
            true
        }
    });
    active
}

async fn proxies(api: &Api, prefix: &str) -> Result<Vec<ProxyInfo>> {
    let pairs = api.list(&format!("{prefix}/proxies/info/")).await?;
    pairs.iter().map(|pair| proxy(&pair.value, pair.session.clone())).collect()
}

/// Reads what a proxy wrote; Stolon's own spelling of the names is asked for.
fn proxy(text: &[u8], session: Option<String>) -> Result<ProxyInfo> {
    let wrong = || failed(format!("this is no ProxyInfo: {}", String::from_utf8_lossy(text)));
    let info: Value = serde_json::from_slice(text).map_err(|_| wrong())?;
    let word = |name| info.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(wrong);
    let number = |name| info.get(name).and_then(Value::as_u64).ok_or_else(wrong);
    Ok(ProxyInfo {
        uid: word("UID")?,
        info_uid: word("infoUID")?,
        generation: number("Generation")?,
        timeout: Duration::from_nanos(number("ProxyTimeout")?),
        session,
    })
}

/// A duration as Go reads it.
fn go_duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn failed(detail: String) -> Error {
    Error::Failed { what: "the cluster's data".to_owned(), detail }
}

fn ended() -> Error {
    failed("the sentinel has ended".to_owned())
}

#[cfg(test)]
#[path = "stolon_tests.rs"]
mod tests;
