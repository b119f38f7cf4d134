//! What the heartbeat of the system connection tells and is told.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::fence::Fence;
use super::report::Reporter;
use super::status::StatusHandle;
use crate::backend::system::{Beat, Watch};

/// The heartbeat's ear and mouth in one epoch.
#[derive(Debug)]
pub(super) struct Pulse {
    epoch: u64,
    reporter: Reporter,
    status: StatusHandle,
    fence: Fence,
    beat: watch::Receiver<Beat>,
}

impl Pulse {
    pub(super) const fn new(
        epoch: u64,
        reporter: Reporter,
        status: StatusHandle,
        fence: Fence,
        beat: watch::Receiver<Beat>,
    ) -> Self {
        Self { epoch, reporter, status, fence, beat }
    }
}

impl Watch for Pulse {
    fn beat(&self) -> Beat {
        *self.beat.borrow()
    }

    fn heard_elsewhere(&self) -> bool {
        self.reporter.take_life(self.epoch)
    }

    fn answered(&self, round_trip: Duration) {
        let mut status = self.status.lock();
        status.last_answer = Some(Instant::now().into_std());
        status.round_trip = Some(round_trip);
        status.counters.heartbeats += 1;
    }

    fn may_ask(&self) -> bool {
        self.fence.holds()
    }

    fn doubtful(&self) {
        self.reporter.doubt(self.epoch);
    }
}
