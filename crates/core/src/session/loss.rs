//! What the client is told when its backend connection is lost: the failure contract.

use std::collections::VecDeque;

use bytes::BytesMut;
use everline_wire::backend::{self, TransactionStatus};

use super::conversation::{Conversation, Phase};
use super::pin::Pins;
use super::pipeline::{Effects, Request, Segment};
use super::policy::{LostState, Policy};
use super::transaction::{Prefix, Transaction};
use crate::refusal::{Refusal, Retry};

/// What becomes of one segment whose answer is owed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Its `ErrorResponse` has gone out already; only the end is owed.
    Silent,
    /// It was a ROLLBACK, and the loss has done just that.
    RolledBack,
    /// It is answered with an error.
    Refused(Refusal),
}

/// A segment as it stands when the connection is lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    pub segment: &'a Segment,
    /// Whether its Sync, or the simple query that it is, was forwarded.
    pub closed: bool,
    /// Whether its `ErrorResponse` has gone out already.
    pub failed: bool,
    /// Whether it was answered with an error that has not gone out.
    pub refused: bool,
}

/// Judges every segment, in order; with each verdict the status that follows it.
///
/// Statements of one transaction share their fate: when its COMMIT was forwarded in a later
/// segment, an earlier one must not invite a retry either.
pub(super) fn verdicts(
    segments: &[Standing<'_>],
    start: TransactionStatus,
    policy: &Policy,
) -> Vec<(Verdict, TransactionStatus)> {
    let mut status = start;
    let mut starts = Vec::with_capacity(segments.len());
    for Standing { segment, failed, .. } in segments {
        starts.push(status);
        status = if *failed { after_failure(segment, status) } else { segment.end(status) };
    }
    let mut commit_ahead = false;
    let mut judged = Vec::with_capacity(segments.len());
    for (standing, begins_in) in segments.iter().zip(starts).rev() {
        let Standing { segment, failed, .. } = *standing;
        let flows_on = segment.end(begins_in) == TransactionStatus::InTransaction;
        commit_ahead &= flows_on;
        let unsure = !failed && may_have_taken_effect(standing, begins_in, policy);
        let commits = unsure && segment.effects.has(Effects::COMMITS);
        judged.push(verdict(standing, begins_in, unsure || commit_ahead, commits || commit_ahead));
        let comes_in = begins_in == TransactionStatus::InTransaction;
        commit_ahead = comes_in && (commit_ahead || commits);
    }
    judged.reverse();
    judged
}

fn may_have_taken_effect(
    standing: &Standing<'_>,
    start: TransactionStatus,
    policy: &Policy,
) -> bool {
    let Standing { segment, closed, refused, .. } = *standing;
    if refused && segment.fails_whole() {
        return false;
    }
    let effects = segment.effects;
    match start {
        // What follows the end of the failed transaction is on its own.
        TransactionStatus::Failed => {
            let ends = effects.has(Effects::COMMITS) || effects.has(Effects::ROLLS_BACK);
            ends && effects.has(Effects::WORKS)
        }
        TransactionStatus::InTransaction => {
            effects.has(Effects::COMMITS)
                || (effects.has(Effects::ROLLS_BACK) && effects.has(Effects::WRITES))
        }
        TransactionStatus::Idle if effects.has(Effects::BEGINS) => {
            effects.has(Effects::COMMITS)
                || effects.has(Effects::FREE)
                || (effects.has(Effects::ROLLS_BACK) && effects.has(Effects::WORKS))
        }
        TransactionStatus::Idle => {
            let copies_on = segment.statements == 1 && effects.has(Effects::COPY_OPEN);
            let reads = !effects.has(Effects::WRITES) && policy.in_flight_select_retryable;
            let works = effects.has(Effects::WORKS);
            // A COMMIT ends the implicit transaction of a segment before its Sync does.
            let ends = closed || effects.has(Effects::FREE) || effects.has(Effects::COMMITS);
            works && !copies_on && !reads && ends
        }
    }
}

fn after_failure(segment: &Segment, start: TransactionStatus) -> TransactionStatus {
    let ended = segment.ends_in == Some(TransactionStatus::Idle);
    let outside = start == TransactionStatus::Idle && !segment.effects.has(Effects::BEGINS);
    if ended || outside { TransactionStatus::Idle } else { TransactionStatus::Failed }
}

fn verdict(
    standing: &Standing<'_>,
    start: TransactionStatus,
    unsure: bool,
    commits: bool,
) -> (Verdict, TransactionStatus) {
    let Standing { segment, failed, .. } = *standing;
    let after = after_failure(segment, start);
    if failed {
        return (Verdict::Silent, after);
    }
    if unsure {
        let refusal = if commits { Refusal::CommitLost } else { Refusal::StatementLost };
        return (Verdict::Refused(refusal), after);
    }
    let effects = segment.effects;
    let inside = start != TransactionStatus::Idle;
    if inside && effects.has(Effects::ROLLS_BACK) && segment.statements == 1 {
        return (Verdict::RolledBack, TransactionStatus::Idle);
    }
    let refusal = if inside || effects.has(Effects::BEGINS) {
        Refusal::TransactionLost
    } else {
        Refusal::NeverExecuted
    };
    (Verdict::Refused(refusal), after)
}

/// One segment taken out of the pipeline, with the requests in it that are not answered.
struct Owed {
    requests: Vec<Request>,
    segment: Segment,
    end: End,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    Sync,
    Query,
    Open,
}

fn owed(requests: VecDeque<Request>, open: Option<Segment>) -> Vec<Owed> {
    let mut all = Vec::new();
    let mut unanswered = Vec::new();
    for request in requests {
        match request {
            Request::Sync(segment) => {
                let requests = std::mem::take(&mut unanswered);
                all.push(Owed { requests, segment, end: End::Sync });
            }
            Request::Query(segment) => {
                let requests = std::mem::take(&mut unanswered);
                all.push(Owed { requests, segment, end: End::Query });
            }
            Request::Ours
            | Request::Dress(_)
            | Request::Close { ours: true }
            | Request::Bind { ours: true } => {}
            Request::Parse { .. }
            | Request::ParseAnswered { .. }
            | Request::Bind { ours: false }
            | Request::DescribeStatement
            | Request::DescribePortal
            | Request::Execute(_)
            | Request::Close { ours: false }
            | Request::CloseAnswered(_) => unanswered.push(request),
        }
    }
    if let Some(segment) = open {
        all.push(Owed { requests: unanswered, segment, end: End::Open });
    }
    all
}

impl Conversation {
    /// The leased backend connection is gone: answers everything that is owed.
    ///
    /// Says nothing when nothing is owed; a transaction that was open is then refused at the
    /// client's next statement.
    pub fn backend_lost(&mut self, out: &mut BytesMut) {
        if let Some(reset) = self.lost_reset() {
            drop(self.pipeline.take());
            self.kept.forget();
            self.roll_back_journal();
            self.reset(reset, out);
            return;
        }
        let refused = std::mem::take(&mut self.pipeline.refused);
        let (requests, open, failed) = self.pipeline.take();
        self.kept.forget();
        self.asks_read_only = false;
        if self.torn {
            // Anything said now would be taken for the rest of the message.
            self.phase = Phase::Closed;
            return;
        }
        self.copy_in = false;
        self.gap |= self.listens();
        self.undressed = None;
        self.roll_back_journal();
        self.portals.clear();
        let owed = owed(requests, open);
        let standing: Vec<_> = owed
            .iter()
            .enumerate()
            .map(|(index, owed)| Standing {
                segment: &owed.segment,
                closed: owed.end != End::Open,
                failed: failed && index == 0,
                refused: refused && index == 0,
            })
            .collect();
        let judged = verdicts(&standing, self.transaction.status(), &self.policy);
        let not_carried_out = owed.iter().zip(&judged).filter(|(_, (verdict, _))| match verdict {
            Verdict::Silent | Verdict::Refused(_) => true,
            Verdict::RolledBack => false,
        });
        let undone: Vec<_> = not_carried_out.flat_map(|(owed, _)| &owed.requests).collect();
        self.unsay(undone.into_iter());
        for (owed, (verdict, after)) in owed.iter().zip(judged) {
            self.settle(owed, &verdict, after, out);
        }
        self.transaction.lose();
        if let Some(state) = self.pins.unreplayable() {
            self.pins.remove(Pins::UNREPLAYABLE);
            match self.policy.lost_state {
                LostState::Close => self.phase = Phase::Doomed(Refusal::StateLost { state }),
                LostState::Error if self.transaction == Transaction::None => {
                    self.phase = Phase::Owing(Refusal::TransactionLost);
                }
                // The lost transaction says it already.
                LostState::Error | LostState::Ignore => {}
            }
        }
    }

    /// What was prepared in the transaction is brought to the next connection, as PostgreSQL keeps
    /// it after a ROLLBACK.
    fn roll_back_journal(&mut self) {
        if self.journal.roll_back().is_err() {
            self.pins.add(Pins::UNSEEN_SETTING); // more than can be brought
        }
    }

    fn settle(
        &mut self,
        owed: &Owed,
        verdict: &Verdict,
        after: TransactionStatus,
        out: &mut BytesMut,
    ) {
        match verdict {
            Verdict::Silent => {}
            Verdict::RolledBack => {
                answer_rollback(owed, out);
            }
            Verdict::Refused(refusal) => {
                if owed.end == End::Open && owed.requests.is_empty() {
                    // Nobody waits for an answer: an error would come unasked for.
                    self.phase = Phase::Owing(refusal.clone());
                } else {
                    self.refuse_with(refusal, out);
                }
            }
        }
        self.transaction = match after {
            TransactionStatus::Idle => Transaction::None,
            TransactionStatus::InTransaction | TransactionStatus::Failed => {
                let mut transaction = std::mem::take(&mut self.transaction);
                if transaction == Transaction::None {
                    transaction = Transaction::Lost(Prefix::default());
                }
                transaction.lose();
                transaction
            }
        };
        match owed.end {
            End::Sync | End::Query => backend::ready_for_query(out, after),
            End::Open if matches!(self.phase, Phase::Owing(_)) => {}
            End::Open if *verdict == Verdict::RolledBack => {}
            End::Open => self.phase = Phase::SkipToSync,
        }
    }

    /// Writes a refusal and counts it.
    pub(super) fn refuse_with(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        let (code, _, retry) = refusal.contract(&self.policy.codes);
        self.tally.refuse(code);
        match retry {
            Retry::Safe => self.tally.retryable = self.tally.retryable.saturating_add(1),
            Retry::Unsafe => self.tally.unknown = self.tally.unknown.saturating_add(1),
            Retry::Useless => {}
        }
        refusal.write(&self.policy.codes, out);
    }
}

fn answer_rollback(owed: &Owed, out: &mut BytesMut) {
    for request in &owed.requests {
        match request {
            Request::Parse { name: Some(_), .. } | Request::ParseAnswered { .. } => {
                backend::parse_complete(out);
            }
            Request::Bind { ours: false } => backend::bind_complete(out),
            Request::DescribeStatement => {
                backend::parameter_description(out, &[]);
                backend::no_data(out);
            }
            Request::DescribePortal => backend::no_data(out),
            Request::Execute(_) => backend::command_complete(out, "ROLLBACK"),
            Request::Close { ours: false } | Request::CloseAnswered(_) => {
                backend::close_complete(out);
            }
            Request::Parse { name: None, .. }
            | Request::Bind { ours: true }
            | Request::Close { ours: true }
            | Request::Ours
            | Request::Dress(_)
            | Request::Sync(_)
            | Request::Query(_) => {}
        }
    }
    if owed.end == End::Query {
        backend::command_complete(out, "ROLLBACK");
    }
}

#[cfg(test)]
#[path = "loss_tests.rs"]
mod tests;
