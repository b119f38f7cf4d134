//! `/events`: the status as server-sent events, for the page.
//!
//! One task makes the event, however many look on: twice a second, and at once when the target
//! changes. A reader that is slow misses events and sees the newest; it holds nobody else up.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guests::Guest;
use super::status::Observer;

/// How often there is an event while nothing changes.
const EVERY: Duration = Duration::from_millis(500);

/// Transitions that an event holds; `/status.json` has all.
const HISTORY_MAX: usize = 50;

/// Makes the events.
#[derive(Debug)]
pub struct Feed {
    latest: watch::Sender<Bytes>,
    observer: Arc<Observer>,
}

impl Feed {
    /// A feed that nobody reads yet.
    #[must_use]
    pub fn new(observer: Arc<Observer>) -> Self {
        Self { latest: watch::Sender::new(Bytes::new()), observer }
    }

    /// Makes events until `stop` is cancelled, while somebody reads them.
    pub async fn run(&self, stop: CancellationToken) {
        let mut targets = self.observer.targets.clone();
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased; // news before the clock
                () = stop.cancelled() => return,
                changed = targets.changed() => if changed.is_err() { return },
                _ = every.tick() => {}
            }
            if self.latest.receiver_count() > 0 {
                self.latest.send_replace(self.event());
            }
        }
    }

    fn event(&self) -> Bytes {
        let mut status = self.observer.status();
        status.history.truncate(HISTORY_MAX);
        match serde_json::to_string(&status) {
            Ok(json) => format!("retry: 1000\ndata: {json}\n\n").into(),
            Err(error) => {
                tracing::error!(%error, "the status cannot be written as JSON");
                Bytes::new()
            }
        }
    }

    /// The body of one reader's answer, which ends when `guest` has to leave.
    #[must_use]
    pub fn read(&self, guest: Guest, tasks: &TaskTracker) -> Answer {
        let mut latest = self.latest.subscribe();
        let (sender, events) = mpsc::channel(1);
        let first = self.event();
        tasks.spawn(async move {
            let leaves = guest.leaves();
            let reading = async {
                let mut event = first;
                while sender.send(event).await.is_ok() && latest.changed().await.is_ok() {
                    event = latest.borrow_and_update().clone();
                }
            };
            tokio::select! {
                biased; // sent away, it goes
                () = leaves.cancelled() => {}
                () = sender.closed() => {}
                () = reading => {}
            }
        });
        Answer::Events(events)
    }
}

/// The body of an HTTP answer.
#[derive(Debug)]
pub enum Answer {
    /// All of it.
    Whole(Option<Bytes>),
    /// One event after the other.
    Events(mpsc::Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => {
                events.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Self::Events(_) => SizeHint::default(),
        }
    }
}
