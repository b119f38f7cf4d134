//! How pool and sessions tell the supervisor what their connections show. Nothing here ever waits.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use everline_wire::sqlstate::SqlState;
use tokio::sync::{Notify, mpsc};

use crate::backend::dial::DialError;

/// What one pool connection has to tell: at most that it began, and that it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Report {
    /// It stands.
    Opened(u64),
    /// It ended without us.
    Broken(u64),
    /// We closed it.
    Closed(u64),
    /// There was no room in the channel; [`Reports::uncounted`] has the rest.
    Uncounted,
}

/// Tells the supervisor. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub struct Reporter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    reports: mpsc::Sender<Report>,
    /// Reports for which the channel had no room, by epoch: opened, broken, closed.
    uncounted: Mutex<BTreeMap<u64, Uncounted>>,
    /// The newest epoch of which a byte was heard since it was last looked at; 0: none.
    life: AtomicU64,
    /// The newest epoch whose leader is suspected; 0: none.
    suspected: AtomicU64,
    dial_failed: AtomicBool,
    /// The newest epoch whose leader lets nobody in; 0: none.
    leaving: AtomicU64,
    /// The newest epoch whose leader is late with an answer; 0: none.
    doubted: AtomicU64,
    nudge: Notify,
}

/// Counts of reports that found no room.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Uncounted {
    pub opened: u32,
    pub broken: u32,
    pub closed: u32,
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Reports {
    pub queue: mpsc::Receiver<Report>,
    pub reporter: Reporter,
}

/// Both ends. `room` should be twice the number of connections there can be, for each reports at
/// most twice; what finds no room is counted, not lost.
pub(super) fn channel(room: usize) -> (Reporter, Reports) {
    let (sender, queue) = mpsc::channel(room.max(1));
    let shared = Arc::new(Shared {
        reports: sender,
        uncounted: Mutex::default(),
        life: AtomicU64::new(0),
        suspected: AtomicU64::new(0),
        dial_failed: AtomicBool::new(false),
        leaving: AtomicU64::new(0),
        doubted: AtomicU64::new(0),
        nudge: Notify::new(),
    });
    let reporter = Reporter(shared);
    (reporter.clone(), Reports { queue, reporter })
}

impl Reporter {
    /// A reporter to which nobody listens, for tests.
    #[must_use]
    pub fn unheard() -> Self {
        channel(1).0
    }

    /// A pool connection of `epoch` has finished its login.
    #[must_use]
    pub fn opened(&self, epoch: u64) -> Registration {
        self.0.report(Report::Opened(epoch));
        Registration { shared: Arc::clone(&self.0), epoch, ended: false }
    }

    /// A pool connection of `epoch` has seen something (57P01, 25006) for which the system
    /// connection should be asked at once.
    pub fn suspect(&self, epoch: u64) {
        self.0.suspect(epoch);
    }

    /// A dial of the pool in `epoch` has failed: the system connection and the resolver are asked
    /// at once.
    pub fn dial_failed(&self, epoch: u64, error: &DialError) {
        if error.code() == Some(SqlState::CANNOT_CONNECT_NOW) {
            self.0.leaving.fetch_max(epoch, Ordering::Relaxed);
        }
        self.0.dial_failed.store(true, Ordering::Relaxed);
        self.suspect(epoch);
    }

    /// The leader of `epoch` is late with an answer and silent otherwise: the names are asked often
    /// until it is heard again. For the heartbeat alone.
    pub(super) fn doubt(&self, epoch: u64) {
        self.0.doubted.fetch_max(epoch, Ordering::Relaxed);
        self.0.nudge.notify_one();
    }

    /// Takes the doubt: the epoch whose leader is late, if any.
    pub(super) fn take_doubt(&self) -> Option<u64> {
        let epoch = self.0.doubted.swap(0, Ordering::Relaxed);
        (epoch > 0).then_some(epoch)
    }

    /// Something was read from a backend connection of `epoch`. Cheap enough for every read.
    pub fn life(&self, epoch: u64) {
        self.0.life(epoch);
    }

    /// Whether a byte of `epoch` was heard since this was last asked. For the heartbeat alone.
    pub(super) fn take_life(&self, epoch: u64) -> bool {
        self.0.life.swap(0, Ordering::Relaxed) == epoch
    }
}

impl Shared {
    fn suspect(&self, epoch: u64) {
        self.suspected.fetch_max(epoch, Ordering::Relaxed);
        self.nudge.notify_one();
    }

    fn life(&self, epoch: u64) {
        // Only the first sign since the last look writes, so that sessions do not fight over the
        // cache line.
        if self.life.load(Ordering::Relaxed) != epoch {
            self.life.store(epoch, Ordering::Relaxed);
        }
    }

    fn report(&self, report: Report) {
        let Err(mpsc::error::TrySendError::Full(report)) = self.reports.try_send(report) else {
            return; // sent; or nobody listens any more, and nothing has to be counted
        };
        {
            let mut uncounted = self.uncounted.lock().unwrap_or_else(PoisonError::into_inner);
            match report {
                Report::Opened(epoch) => add_one(&mut uncounted.entry(epoch).or_default().opened),
                Report::Broken(epoch) => add_one(&mut uncounted.entry(epoch).or_default().broken),
                Report::Closed(epoch) => add_one(&mut uncounted.entry(epoch).or_default().closed),
                Report::Uncounted => {}
            }
        }
        // Either this finds room, or another report that the supervisor has yet to take is there.
        let _: Result<_, _> = self.reports.try_send(Report::Uncounted);
    }
}

fn add_one(count: &mut u32) {
    *count = count.saturating_add(1);
}

impl Reports {
    /// Takes the counts of the reports that found no room.
    pub(super) fn uncounted(&self) -> BTreeMap<u64, Uncounted> {
        mem::take(&mut *self.reporter.0.uncounted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reporter {
    /// Takes the suspicions: the epoch whose leader is suspected, if any, and whether a dial
    /// failed.
    pub(super) fn take_suspicions(&self) -> (Option<u64>, bool) {
        let epoch = self.0.suspected.swap(0, Ordering::Relaxed);
        let dial_failed = self.0.dial_failed.swap(false, Ordering::Relaxed);
        ((epoch > 0).then_some(epoch), dial_failed)
    }

    /// Takes the epoch whose leader lets nobody in any more, if any.
    pub(super) fn take_leaving(&self) -> Option<u64> {
        let epoch = self.0.leaving.swap(0, Ordering::Relaxed);
        (epoch > 0).then_some(epoch)
    }

    /// Waits until there are suspicions to take.
    ///
    /// Cancel safe.
    pub(super) async fn nudged(&self) {
        self.0.nudge.notified().await;
    }
}

/// One open pool connection. Dropped without a word it says that the connection broke.
#[derive(Debug)]
pub struct Registration {
    shared: Arc<Shared>,
    epoch: u64,
    ended: bool,
}

impl Registration {
    /// The epoch in which the connection was dialled.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Something was read from the connection. Cheap enough for every read.
    pub fn life(&self) {
        self.shared.life(self.epoch);
    }

    /// As [`Reporter::suspect`], for the epoch of the connection.
    pub fn suspect(&self) {
        self.shared.suspect(self.epoch);
    }

    /// The connection is closed by us, for a normal reason.
    pub fn closed(mut self) {
        self.ended = true;
        self.shared.report(Report::Closed(self.epoch));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.report(Report::Broken(self.epoch));
        }
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
