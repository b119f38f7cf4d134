//! What was forwarded and is not answered yet, in order.
//!
//! A *segment* is what one ReadyForQuery answers: a simple query, or all extended messages up to
//! a Sync. When the backend connection is lost, each segment gets its own verdict.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use everline_wire::backend::TransactionStatus;

use super::settings::{Change, Settings};
use super::statements::{Dropped, Statement, StatementId};
use super::survey::{Control, Survey};

/// One request whose answer is owed.
#[derive(Debug)]
pub enum Request {
    /// Parse; `name` is what the client calls it (empty: unnamed), absent when it is our own.
    Parse {
        /// The client's name for it.
        name: Option<Box<[u8]>>,
        /// Its name on the backend, unless it is the unnamed statement.
        id: Option<StatementId>,
    },
    /// Parse that the backend need not see; we answer it in its turn.
    ParseAnswered {
        /// The client's name for it.
        name: Box<[u8]>,
    },
    /// Bind; `ours` when the client has its answer already.
    Bind {
        /// Whether we sent it for ourselves.
        ours: bool,
    },
    /// Describe of a statement.
    DescribeStatement,
    /// Describe of a portal.
    DescribePortal,
    /// Execute, and the names that its statement gives up.
    Execute(Dropped),
    /// Close of a portal; `ours` when the client knows nothing of it.
    Close {
        /// Whether we sent it for ourselves.
        ours: bool,
    },
    /// Close that the backend need not see; we answer it in its turn. What was closed comes
    /// back when an error before it makes the backend skip the Close.
    CloseAnswered(Option<(Box<[u8]>, Statement)>),
    /// Sync: ends a segment.
    Sync(Segment),
    /// A simple query or a function call: a segment of its own.
    Query(Segment),
    /// A simple query of ours: the replayed beginning of a transaction.
    Ours,
    /// A simple query of ours: settings; what the connection wore before.
    Dress(Arc<Settings>),
}

/// A set of things that a segment may do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Effects(u16);

impl Effects {
    /// It holds a COMMIT, or something of which we do not know that it is none.
    pub const COMMITS: Self = Self(1);
    /// It holds a ROLLBACK.
    pub const ROLLS_BACK: Self = Self(2);
    /// It opens a transaction.
    pub const BEGINS: Self = Self(4);
    /// It holds a statement that is not provably read-only.
    pub const WRITES: Self = Self(8);
    /// Outside a transaction block it may commit before its Sync.
    pub const FREE: Self = Self(16);
    /// It copies data in, and its `CopyDone` was not forwarded: its `CopyFail` may have been.
    pub const COPY_OPEN: Self = Self(32);
    /// It drops prepared statements or session state of the backend connection.
    pub const DISCARDS: Self = Self(64);
    /// It holds a statement that is not transaction control.
    pub const WORKS: Self = Self(128);
    /// It calls what may commit and then fail.
    pub const CALLS: Self = Self(256);
    /// It holds `SELECT 1`.
    pub const PROBES: Self = Self(512);

    /// Adds effects.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Takes effects away.
    pub const fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// Whether one of `other`'s is among these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What is known of one segment.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// What it may do.
    pub effects: Effects,
    /// The status in which its last transaction control statement leaves the session.
    pub ends_in: Option<TransactionStatus>,
    /// Statements in it.
    pub statements: u32,
    /// Settings it changes.
    pub changes: Vec<Change>,
    /// Names of prepared statements that it gives up.
    pub dropped: Dropped,
}

impl Segment {
    /// Adds all that one text does.
    pub fn add_survey(&mut self, survey: &Survey) {
        for control in &survey.controls {
            self.add(control, survey.read_only);
        }
        self.changes.extend(survey.changes.iter().cloned());
        if survey.discards {
            self.effects.add(Effects::DISCARDS);
        }
        if survey.probe {
            self.effects.add(Effects::PROBES);
        }
        if survey.calls || survey.cut {
            self.effects.add(Effects::CALLS);
        }
        if survey.cut {
            self.effects.add(Effects::COMMITS);
            self.effects.add(Effects::FREE);
            self.effects.add(Effects::WRITES);
        }
    }

    /// Adds one statement's part.
    pub fn add(&mut self, control: &Control, read_only: bool) {
        self.statements = self.statements.saturating_add(1);
        if !read_only && matches!(control, Control::Bound | Control::Free) {
            self.effects.add(Effects::WRITES);
        }
        match control {
            Control::Blank => {}
            Control::Bound => self.effects.add(Effects::WORKS),
            Control::RollbackTo(_) => self.effects.add(Effects::WORKS),
            Control::Free => {
                self.effects.add(Effects::WORKS);
                self.effects.add(Effects::FREE);
            }
            Control::Begin => {
                self.effects.add(Effects::BEGINS);
                self.ends_in = Some(TransactionStatus::InTransaction);
            }
            Control::Commit => {
                self.effects.add(Effects::COMMITS);
                self.ends_in = Some(TransactionStatus::Idle);
            }
            Control::Rollback => {
                self.effects.add(Effects::ROLLS_BACK);
                self.ends_in = Some(TransactionStatus::Idle);
            }
        }
    }

    /// Whether an error in it leaves nothing of it behind, wherever in it that was.
    #[must_use]
    pub fn fails_whole(&self) -> bool {
        let splits = [Effects::BEGINS, Effects::COMMITS, Effects::ROLLS_BACK, Effects::FREE];
        let one = self.statements <= 1 || !splits.iter().any(|part| self.effects.has(*part));
        one && !self.effects.has(Effects::CALLS)
    }

    /// Whether it is a pool's question whether its connection works, and nothing else.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.statements == 1 && self.effects.has(Effects::PROBES)
    }

    /// The status after it, when it starts in `start` and nothing fails.
    #[must_use]
    pub fn end(&self, start: TransactionStatus) -> TransactionStatus {
        self.ends_in.unwrap_or(start)
    }
}

impl Request {
    /// The segment that its answer ends.
    #[must_use]
    pub const fn segment(&self) -> Option<&Segment> {
        match self {
            Self::Sync(segment) | Self::Query(segment) => Some(segment),
            Self::Parse { .. }
            | Self::ParseAnswered { .. }
            | Self::Bind { .. }
            | Self::DescribeStatement
            | Self::DescribePortal
            | Self::Execute(_)
            | Self::Close { .. }
            | Self::CloseAnswered(_)
            | Self::Ours
            | Self::Dress(_) => None,
        }
    }
}

/// The requests that are owed, and the segment that no Sync has closed yet.
#[derive(Debug, Default)]
pub struct Pipeline {
    requests: VecDeque<Request>,
    /// The extended messages forwarded since the last Sync.
    pub open: Option<Segment>,
    /// An `ErrorResponse` for the first segment has gone to the client; only its end is owed.
    pub failed: bool,
    /// The first segment was answered with an error that the client has not seen.
    pub refused: bool,
    /// The backend was asked to say what it has ready, since the last request was added.
    pub flushed: bool,
    /// Named statements whose Parse is not answered, and how many segments were closed before it.
    parses: BTreeMap<StatementId, u64>,
    /// Segments closed.
    closed: u64,
}

impl Pipeline {
    /// Whether everything forwarded is answered and every segment closed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.open.is_none()
    }

    /// Whether every request is answered, though a segment may be open.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.requests.is_empty()
    }

    /// How many requests are owed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether nobody can know yet if the backend has this statement: its Parse stands in a segment
    /// that is closed and not answered, and an error before it would have it skipped.
    #[must_use]
    pub fn doubts(&self, id: StatementId) -> bool {
        self.parses.get(&id).is_some_and(|closed| *closed != self.closed)
    }

    /// Forgets of a Parse that it is owed.
    fn is_answered_now(&mut self, request: &Request) {
        if let Request::Parse { id: Some(id), .. } = request {
            self.parses.remove(id);
        }
    }

    /// Adds a request.
    pub fn push(&mut self, request: Request) {
        self.flushed = false;
        match &request {
            Request::Parse { id: Some(id), .. } => drop(self.parses.insert(*id, self.closed)),
            Request::Sync(_) => self.closed = self.closed.saturating_add(1),
            Request::Parse { id: None, .. }
            | Request::ParseAnswered { .. }
            | Request::Bind { .. }
            | Request::DescribeStatement
            | Request::DescribePortal
            | Request::Execute(_)
            | Request::Close { .. }
            | Request::CloseAnswered(_)
            | Request::Query(_)
            | Request::Ours
            | Request::Dress(_) => {}
        }
        self.requests.push_back(request);
    }

    /// The requests that are owed, in order.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter()
    }

    /// The request whose answer comes next.
    #[must_use]
    pub fn first(&self) -> Option<&Request> {
        self.requests.front()
    }

    /// The segment that the backend is working on.
    pub fn current_segment_mut(&mut self) -> Option<&mut Segment> {
        let closed = self.requests.iter_mut().find_map(|request| match request {
            Request::Sync(segment) | Request::Query(segment) => Some(segment),
            Request::Parse { .. }
            | Request::ParseAnswered { .. }
            | Request::Bind { .. }
            | Request::DescribeStatement
            | Request::DescribePortal
            | Request::Execute(_)
            | Request::Close { .. }
            | Request::CloseAnswered(_)
            | Request::Ours
            | Request::Dress(_) => None,
        });
        closed.or(self.open.as_mut())
    }

    /// Takes the first request.
    pub fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.is_answered_now(&request);
        Some(request)
    }

    /// Takes what the backend skips because the first request has failed: all that follows up to a
    /// Sync, simple queries included, unless it was a simple query itself that failed.
    pub fn take_skipped(&mut self) -> Vec<Request> {
        let mut skipped = Vec::new();
        let mut unended = None;
        if matches!(self.first(), Some(Request::Query(_))) {
            return skipped;
        }
        while let Some(request) = self.requests.pop_front_if(|one| !matches!(one, Request::Sync(_)))
        {
            if let Request::Query(segment) = &request {
                unended = Some(segment.clone());
            }
            self.is_answered_now(&request);
            skipped.push(request);
        }
        if self.requests.is_empty() && self.open.is_none() {
            self.open = unended; // the Sync is still to come
        }
        skipped
    }

    /// Drops Syncs that a backend in copy-in mode ignores: all that follow the first request.
    ///
    /// PostgreSQL, "COPY Operations": the backend ignores Flush and Sync during copy-in.
    pub fn drop_syncs_in_copy(&mut self) {
        let simple = matches!(self.first(), Some(Request::Query(_)));
        let mut kept = VecDeque::with_capacity(self.requests.len());
        for request in self.requests.drain(..) {
            match request {
                Request::Sync(_) if simple => {}
                // The segment goes on: its Sync was never heard.
                Request::Sync(segment) => self.open = Some(segment),
                Request::Query(_)
                | Request::Parse { .. }
                | Request::ParseAnswered { .. }
                | Request::Bind { .. }
                | Request::DescribeStatement
                | Request::DescribePortal
                | Request::Execute(_)
                | Request::Close { .. }
                | Request::CloseAnswered(_)
                | Request::Ours
                | Request::Dress(_) => kept.push_back(request),
            }
        }
        self.requests = kept;
    }

    /// Takes everything, closed segments and the open one.
    pub fn take(&mut self) -> (VecDeque<Request>, Option<Segment>, bool) {
        let failed = std::mem::take(&mut self.failed);
        self.parses.clear();
        (std::mem::take(&mut self.requests), self.open.take(), failed)
    }
}
