//! A Stolon proxy: one task that owns the rules ([`Follow`]) and performs what they say.
//!
//! Two things wait on Consul, each on a connection of its own: a read that is answered when the
//! cluster's data changes, and now and then a write of our registration. Both come back as news.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use everline_core::ha::{Act, Announced, Follow, News, Observation, Publish, Why};
use everline_core::retry::{Backoff, Pace};
use everline_wire::auth;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::complaints::Complaints;
use super::consul::Consul;
use super::registration::{Outcome, Registrar, new_uid};
use super::status::SourceHandle;
use super::stolon::observe;
use super::watch::{Look, LookError, Watcher};
use crate::backend::resolve::Resolver;
use crate::config::dsn::stolon::Stolon;
use crate::config::dsn::{Host, HostPort};
use crate::net::tls::TlsError;
use crate::supervisor::{Control, Fence, Word, boot_time};

/// How long reads wait until the cluster's own interval is known.
const WAIT: Duration = Duration::from_secs(5);

/// The shortest wait that is asked for.
const WAIT_MIN: Duration = Duration::from_millis(50);

/// How often the boot-time clock is looked at: the runtime's own stands still while the machine is
/// suspended.
const CLOCK_LOOKS: Duration = Duration::from_millis(250);

/// How long the closing of every backend connection may take on the way out.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// How long a write that is under way is waited for on the way out.
const LAST_WRITE_MAX: Duration = Duration::from_secs(2);

/// Why there is no source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A certificate or key for Consul cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system has no random numbers.
    #[error(transparent)]
    NoRandom(#[from] auth::NoRandom),
}

/// The task's state. [`Proxy::run`] is the task.
#[derive(Debug)]
pub struct Proxy {
    follow: Follow,
    /// Here while no read is under way, that is, hardly ever.
    watcher: Option<Box<Watcher>>,
    /// Here while no write is under way.
    registrar: Option<Box<Registrar>>,
    again: Arc<Notify>,
    control: Control,
    fence: Fence,
    status: SourceHandle,
    tasks: JoinSet<Done>,
    /// The last document with what it said, for most are the same.
    last: Option<(Bytes, Observation)>,
    /// After a write that failed: not before this instant the next.
    write_at: Instant,
    write_backoff: Backoff,
    /// Why the last write was denied.
    denied: String,
    /// What was said about reads that failed.
    complaints: Complaints,
    /// Since when everything is being closed.
    closing_since: Option<Instant>,
    rng: StdRng,
}

/// What a task came back with.
#[derive(Debug)]
enum Done {
    Looked(Box<Watcher>, Look),
    Wrote(Box<Registrar>, Publish, Outcome),
    Closed,
}

impl Proxy {
    /// A proxy that has not asked anything yet.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn new(
        stolon: &Stolon,
        resolver: &Resolver,
        control: Control,
        fence: Fence,
    ) -> Result<Self, SourceError> {
        let stolon = Arc::new(stolon.clone());
        let uid = new_uid()?;
        let reads = Consul::new(Arc::clone(&stolon), resolver.clone())?;
        let writes = Consul::new(Arc::clone(&stolon), resolver.clone())?;
        let again = Arc::new(Notify::new());
        let watcher = Watcher::new(reads, stolon.key("clusterdata"), Arc::clone(&again));
        let registrar =
            Registrar::new(writes, stolon.key(&format!("proxies/info/{uid}")), uid.clone());
        Ok(Self {
            follow: Follow::new(uid.as_str().into()),
            watcher: Some(Box::new(watcher)),
            registrar: Some(Box::new(registrar)),
            again,
            control,
            status: SourceHandle::new(stolon.cluster.clone(), uid, fence.clone()),
            fence,
            tasks: JoinSet::new(),
            last: None,
            write_at: Instant::now(),
            write_backoff: Backoff::new(Pace::SOURCE),
            denied: String::new(),
            complaints: Complaints::default(),
            closing_since: None,
            rng: StdRng::from_rng(&mut rand::rng()),
        })
    }

    /// What can be seen of it.
    #[must_use]
    pub fn status(&self) -> SourceHandle {
        self.status.clone()
    }

    /// Follows until `withdraw` is cancelled; then closes every backend connection and takes us out
    /// of the sentinel's list, so that it does not wait for us.
    ///
    /// # Panics
    /// When a task of its own has panicked: without a source nothing may be dispatched.
    ///
    /// # Cancel safety
    /// Not safe: run it to its end.
    pub async fn run(mut self, withdraw: CancellationToken) {
        loop {
            self.look();
            self.write();
            let pause = self.pause();
            tokio::select! {
                biased; // asked to go, we go
                () = withdraw.cancelled() => break,
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.done(done).await,
                    Err(error) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic())
                    }
                    Err(_) => {} // nobody aborts them
                },
                () = sleep(pause) => self.step(News::Tick).await,
            }
        }
        self.withdraw().await;
    }

    /// Until the machine, or a write that failed, wants to be looked at again.
    fn pause(&self) -> Duration {
        let deadline = self.follow.deadline();
        let pause = deadline.map_or(CLOCK_LOOKS, |deadline| deadline.since(boot_time()));
        let retry = self.write_at.saturating_duration_since(Instant::now());
        // A deadline that waits for a write under way, or for its retry, is no reason to spin.
        let busy = self.registrar.is_none() || !retry.is_zero();
        let least = if busy { Duration::from_millis(10) } else { Duration::from_millis(1) };
        let pause = if retry.is_zero() { pause } else { pause.min(retry) };
        pause.clamp(least, CLOCK_LOOKS)
    }

    fn look(&mut self) {
        let Some(mut watcher) = self.watcher.take() else { return };
        let wait =
            self.follow.seen().map_or(WAIT, |seen| seen.check_interval.min(seen.timeout / 3));
        self.status.lock().agent = watcher.agent();
        self.tasks.spawn(async move {
            let look = watcher.look(wait.max(WAIT_MIN)).await;
            Done::Looked(watcher, look)
        });
    }

    fn write(&mut self) {
        if Instant::now() < self.write_at {
            return;
        }
        let Some(publish) = self.follow.publish(boot_time()) else { return };
        let Some(mut registrar) = self.registrar.take() else { return };
        self.tasks.spawn(async move {
            let outcome = registrar.write(publish).await;
            Done::Wrote(registrar, publish, outcome)
        });
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Looked(watcher, look) => {
                self.watcher = Some(watcher);
                self.looked(look).await;
            }
            Done::Wrote(registrar, publish, outcome) => {
                self.registrar = Some(registrar);
                self.wrote(publish, outcome).await;
            }
            Done::Closed => {
                if let Some(since) = self.closing_since.take() {
                    let took = since.elapsed();
                    debug!(?took, "every backend connection of the old leader is closed");
                    self.status.lock().last_close_ms = Some(took.as_secs_f64() * 1_000.0);
                }
                self.step(News::Closed).await;
            }
        }
    }

    async fn looked(&mut self, look: Look) {
        match look.value {
            Ok(document) => match self.read(&document) {
                Ok(observation) => {
                    let changed = self.follow.seen() != Some(&observation);
                    {
                        let mut status = self.status.lock();
                        status.reads_total += 1;
                        status.changes_total += u64::from(changed);
                        status.last_read = Some(look.sent);
                        if status.last_error.take().is_some() {
                            info!("Consul answers again");
                            self.complaints.end();
                        }
                    }
                    if changed {
                        debug!(?observation, "the cluster's data has changed");
                    }
                    self.step(News::Read { sent: look.sent, observation }).await;
                }
                Err(problem) => self.complain(problem).await,
            },
            Err(error @ (LookError::Missing(_) | LookError::Denied(_) | LookError::Failed(_))) => {
                self.complain(error.to_string()).await;
            }
        }
    }

    fn read(&mut self, document: &Bytes) -> Result<Observation, String> {
        if let Some((last, observation)) = &self.last
            && last == document
        {
            return Ok(observation.clone());
        }
        let observation = observe(document).map_err(|error| error.to_string())?;
        if let Some(leader) = &observation.leader {
            host_port(leader)?;
        }
        self.last = Some((document.clone(), observation.clone()));
        Ok(observation)
    }

    /// A read that says nothing: the fence stays where it is.
    async fn complain(&mut self, problem: String) {
        if self.complaints.is_news(&problem, Instant::now()) {
            warn!("the cluster's data cannot be read: {problem}");
        }
        {
            let mut status = self.status.lock();
            status.read_errors_total += 1;
            status.last_error = Some(problem);
        }
        self.step(News::Tick).await;
    }

    async fn wrote(&mut self, publish: Publish, outcome: Outcome) {
        let before = self.follow.acknowledged();
        {
            let mut status = self.status.lock();
            match &outcome {
                Outcome::Written(_) => status.writes_total += 1,
                Outcome::Denied(_) | Outcome::SessionLost(_) | Outcome::Failed(_) => {
                    status.write_errors_total += 1;
                }
            }
        }
        let news = match outcome {
            Outcome::Written(written) => {
                if before.is_none() {
                    info!(generation = publish.generation, "registered as a proxy");
                } else if before != Some(publish.generation) {
                    info!(generation = publish.generation, "acknowledged");
                }
                self.write_backoff.reset();
                self.write_at = Instant::now();
                News::Written(written)
            }
            Outcome::Denied(problem) => {
                self.denied = problem;
                News::Denied
            }
            Outcome::SessionLost(problem) => {
                warn!("the session in Consul is lost: {problem}");
                News::SessionLost
            }
            Outcome::Failed(problem) => {
                debug!("the registration was not written: {problem}");
                let wait = self.write_backoff.wait(Duration::ZERO, &mut self.rng);
                self.write_at = Instant::now() + wait;
                News::Tick
            }
        };
        self.step(news).await;
    }

    async fn step(&mut self, news: News) {
        let acts = self.follow.step(news, boot_time());
        for act in acts {
            self.perform(act).await;
        }
        let mut status = self.status.lock();
        status.registered = match (self.follow.is_registered(), self.follow.is_denied()) {
            (true, _) => "yes",
            (false, true) => "denied",
            (false, false) => "no",
        };
        if let Some(seen) = self.follow.seen() {
            status.generation = Some(seen.generation);
            status.master_db_uid = seen.leader.as_ref().map(|leader| leader.uid.to_string());
            status.enabled = seen.enabled.contains(&status.uid);
        }
        status.acknowledged = self.follow.acknowledged();
        status.following = self.follow.leader().map(ToString::to_string);
    }

    async fn perform(&mut self, act: Act) {
        match act {
            Act::Fence(until) => self.fence.set(until),
            Act::Retire(why) => self.retire(&why).await,
            Act::Follow { leader, forget } => match host_port(&leader) {
                Ok(host) => {
                    info!(%leader, "following the announced leader");
                    let why = format!("Stolon announces {leader}");
                    self.control.follow(Word { host: Some(host), forget, why }).await;
                }
                Err(problem) => warn!("{problem}"), // such an observation is not let in
            },
            Act::Prepare(node) => match host_port(&node) {
                Ok(host) => {
                    debug!(%node, "connecting ahead to the node that is elected");
                    self.control.prepare(host).await;
                }
                Err(problem) => debug!("not connecting ahead: {problem}"),
            },
            Act::LookAgain => self.again.notify_one(),
            Act::Unregistered => warn!(
                "following without being registered, so that Stolon's sentinel does not wait for \
                 this proxy before it announces another leader: {}",
                self.denied
            ),
        }
    }

    async fn retire(&mut self, why: &Why) {
        self.closing_since = Some(Instant::now());
        let open = self.close(why.to_string()).await;
        self.tasks.spawn(async move {
            open.wait().await;
            Done::Closed
        });
    }

    async fn close(&mut self, why: String) -> TaskTracker {
        self.control.follow(Word { host: None, forget: false, why }).await
    }

    async fn withdraw(mut self) {
        self.fence.set(everline_core::ha::BootTime::ZERO);
        let open = self.close("this proxy is shutting down".to_owned()).await;
        if timeout(CLOSE_MAX, open.wait()).await.is_err() {
            warn!("backend connections are still open: the sentinel is left to wait");
            return;
        }
        let last_write = async {
            while self.registrar.is_none() {
                match self.tasks.join_next().await {
                    Some(Ok(Done::Wrote(registrar, ..))) => self.registrar = Some(registrar),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        if timeout(LAST_WRITE_MAX, last_write).await.is_err() {
            warn!("Consul does not answer: not deregistered");
        }
        if let Some(mut registrar) = self.registrar.take() {
            registrar.withdraw().await;
        }
    }
}

/// The leader's address as the supervisor takes it.
fn host_port(leader: &Announced) -> Result<HostPort, String> {
    let wrong = |problem: &str| format!("the master's listenAddress {problem}");
    match Host::parse(&leader.host).map_err(wrong)? {
        Host::Unix(_) => Err(wrong("is a directory")),
        host @ (Host::Name(_) | Host::Ip(_)) => Ok(HostPort::new(host, leader.port)),
    }
}
