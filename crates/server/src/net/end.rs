//! The end of something, as one task waits for it again and again.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Waits for a token to be cancelled, over many polls of one task or of several in turn.
///
/// A wait that is begun anew for each poll puts its waker on the token's list and takes it off
/// again each time, under a lock that all sessions of an epoch share. This one stays on the list
/// for as long as the same task asks.
#[derive(Debug)]
pub struct End {
    token: CancellationToken,
    wait: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Who is on the list.
    waker: Option<Waker>,
}

impl End {
    /// The end that `token` tells of.
    #[must_use]
    pub fn of(token: &CancellationToken) -> Self {
        let wait = Box::pin(token.clone().cancelled_owned());
        Self { token: token.clone(), wait, waker: None }
    }

    /// Ready when it has come. The task that asked last is woken by it.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return if self.token.is_cancelled() { Poll::Ready(()) } else { Poll::Pending };
        }
        let polled = self.wait.as_mut().poll(context);
        if polled.is_pending() {
            self.waker = Some(context.waker().clone());
        }
        polled
    }
}

#[cfg(test)]
#[path = "end_tests.rs"]
mod tests;
