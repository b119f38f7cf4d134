//! What can be seen of a source.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use everline_core::ha::BootTime;
use serde::Serialize;

use crate::supervisor::{Fence, boot_time};

/// A source at one moment. Holds no secret.
#[derive(Clone, Debug, Serialize)]
pub struct SourceStatus {
    /// `stolon+consul`.
    pub kind: &'static str,
    /// The cluster's name.
    pub cluster: String,
    /// The agent that was asked last.
    pub agent: String,
    /// Our name among Stolon's proxies.
    pub uid: String,
    /// `yes`: the sentinel waits for us; `no`: not yet, or not any more; `denied`: the token may
    /// not write, and the sentinel does not know of us.
    pub registered: &'static str,
    /// `proxy.spec.masterDbUid` as last read.
    pub master_db_uid: Option<String>,
    /// Whether we are among `enabledProxies` as last read.
    pub enabled: bool,
    /// `proxy.generation` as last read.
    pub generation: Option<u64>,
    /// The generation that we acknowledged last.
    pub acknowledged: Option<u64>,
    /// The node that is followed.
    pub following: Option<String>,
    /// How long statements may still be dispatched without further word of the source, in
    /// milliseconds.
    pub fence_remaining_ms: u64,
    /// How long ago the last good read was sent, in milliseconds.
    pub last_read_ago_ms: Option<u64>,
    /// What last went wrong; empty once a read has succeeded again.
    pub last_error: Option<String>,
    /// Reads that were answered.
    pub reads_total: u64,
    /// Reads that failed.
    pub read_errors_total: u64,
    /// Reads whose answer was another than the one before, in what matters.
    pub changes_total: u64,
    /// Writes of our registration.
    pub writes_total: u64,
    /// Writes that failed.
    pub write_errors_total: u64,
    /// How long the last closing of every backend connection took, in milliseconds.
    pub last_close_ms: Option<f64>,
    #[serde(skip)]
    pub(super) last_read: Option<BootTime>,
}

/// Shares the status. Cheap to clone; the lock is held for a copy and never across a wait.
#[derive(Clone, Debug)]
pub struct SourceHandle {
    status: Arc<Mutex<SourceStatus>>,
    fence: Fence,
}

/// The source at this moment, if there is one: a reload may bring another.
#[derive(Debug, Default)]
pub struct CurrentSource(Mutex<Option<SourceHandle>>);

impl CurrentSource {
    /// The source.
    #[must_use]
    pub fn get(&self) -> Option<SourceHandle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There is another one from here on, or none.
    pub fn set(&self, source: Option<SourceHandle>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }
}

impl SourceHandle {
    pub(super) fn new(cluster: String, uid: String, fence: Fence) -> Self {
        let status = SourceStatus {
            kind: "stolon+consul",
            cluster,
            agent: String::new(),
            uid,
            registered: "no",
            master_db_uid: None,
            enabled: false,
            generation: None,
            acknowledged: None,
            following: None,
            fence_remaining_ms: 0,
            last_read_ago_ms: None,
            last_error: None,
            reads_total: 0,
            read_errors_total: 0,
            changes_total: 0,
            writes_total: 0,
            write_errors_total: 0,
            last_close_ms: None,
            last_read: None,
        };
        Self { status: Arc::new(Mutex::new(status)), fence }
    }

    /// A copy of what is so.
    #[must_use]
    pub fn snapshot(&self) -> SourceStatus {
        let mut status = self.lock().clone();
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        status.fence_remaining_ms = self.fence.remaining().map_or(0, millis);
        status.last_read_ago_ms = status.last_read.map(|at| millis(boot_time().since(at)));
        status
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SourceStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
