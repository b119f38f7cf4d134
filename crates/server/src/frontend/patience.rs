//! How long a session may be quiet, and how long a statement of it may run.

use std::time::Duration;

use everline_core::limits::CANCEL_MAX;
use everline_core::session::Conversation;
use tokio::time::Instant;

use crate::config::sharing::Bounds;

/// What a session does at this moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Doing {
    Nothing,
    NothingInTransaction,
    Statement,
}

/// What has gone on for too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Overdue {
    /// The client says nothing.
    Idle,
    /// The client says nothing, in a transaction.
    IdleInTransaction,
    /// A statement runs: it is to be cancelled.
    Statement,
    /// It was cancelled and runs even so.
    Cancelled,
}

/// The bounds of one session, and since when it does what it does.
#[derive(Debug)]
pub(super) struct Patience {
    idle: Duration,
    idle_in_transaction: Duration,
    query: Duration,
    doing: Doing,
    since: Instant,
    cancelled: bool,
}

impl Patience {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let (idle, query) = (bounds.client_idle, bounds.query);
        let idle_in_transaction = bounds.idle_in_transaction;
        let (doing, since) = (Doing::Nothing, Instant::now());
        Self { idle, idle_in_transaction, query, doing, since, cancelled: false }
    }

    fn bounds_nothing(&self) -> bool {
        [self.idle, self.idle_in_transaction, self.query].iter().all(Duration::is_zero)
    }

    /// Notes what the session does; `moved` when the client has spoken or a statement was
    /// answered since the last look.
    pub(super) fn look(&mut self, conversation: &Conversation, moved: bool) {
        let (awaits, inside) = (conversation.awaits_backend(), conversation.in_transaction());
        self.note(awaits, inside, moved);
    }

    /// As [`Patience::look`]: whether a backend's answer is awaited, and whether a transaction is
    /// open.
    pub(super) fn note(&mut self, awaits: bool, inside: bool, moved: bool) {
        if self.bounds_nothing() {
            return;
        }
        let doing = if awaits {
            Doing::Statement
        } else if inside {
            Doing::NothingInTransaction
        } else {
            Doing::Nothing
        };
        if doing != self.doing || moved {
            self.doing = doing;
            self.since = Instant::now();
            self.cancelled = false;
        }
    }

    /// When something is overdue.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let most = match (self.doing, self.cancelled) {
            (Doing::Nothing, _) => self.idle,
            (Doing::NothingInTransaction, _) => self.idle_in_transaction,
            (Doing::Statement, false) => self.query,
            (Doing::Statement, true) => return Some(self.since + CANCEL_MAX),
        };
        (!most.is_zero()).then(|| self.since + most)
    }

    /// What is overdue at the deadline. A statement is to be cancelled once.
    pub(super) fn overdue(&mut self) -> Overdue {
        match (self.doing, self.cancelled) {
            (Doing::Nothing, _) => Overdue::Idle,
            (Doing::NothingInTransaction, _) => Overdue::IdleInTransaction,
            (Doing::Statement, true) => Overdue::Cancelled,
            (Doing::Statement, false) => {
                self.cancelled = true;
                self.since = Instant::now();
                Overdue::Statement
            }
        }
    }
}
