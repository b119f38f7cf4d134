//! What the client is told when its command is refused, or its connection lost.

use bytes::BytesMut;
use everline_wire_gel::edgeql::Control;
use everline_wire_gel::server::{self, CommandDescription};

use super::job::{Job, Kind, Phase};
use super::machine::{Machine, Transaction};
use super::refuse::{Failure, Refused};
use crate::refusal::Refusal;
use crate::session::BackendState;

impl Machine {
    /// PostgreSQL has refused the command.
    pub(super) fn refused(
        &mut self,
        job: &Job,
        refused: &Refused,
        backend: &BackendState,
        out: &mut BytesMut,
    ) {
        let standby = backend.parameters.get("in_hot_standby");
        let writable = standby.is_some_and(|standby| **standby == *"off");
        if matches!(self.transaction, Transaction::Deferred(_)) {
            self.transaction = Transaction::Lost; // it could not be begun
        }
        if refused.is_away(writable) {
            self.doubtful = true;
            let refusal = match self.transaction {
                Transaction::None | Transaction::Deferred(_) => Refusal::NeverExecuted,
                Transaction::Open | Transaction::Failed | Transaction::Lost => {
                    Refusal::TransactionLost
                }
            };
            let mut failure = Failure::of(&refusal, self.policy.unavailable);
            failure.details = Some(refused.message().to_owned());
            self.count_refusal(&refusal);
            return self.fail(job, &failure, out);
        }
        self.fail(job, &refused.failure(&job.checked.text), out);
    }

    /// Answers the job with an error. A client that knows nothing of its command is told what the
    /// command does before it is invited to repeat it: else one repeats what writes, and another
    /// does not repeat what only reads.
    pub(super) fn fail(&mut self, job: &Job, failure: &Failure, out: &mut BytesMut) {
        if let Kind::Execute(execution) = &job.kind
            && execution.uninformed
            && failure.code.invites_retry()
        {
            CommandDescription::capabilities_only(job.checked.capabilities).write(out);
        }
        self.say(failure, out);
    }

    /// There is no connection for the job: nothing of it was sent.
    pub fn refuse(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        let failure = Failure::of(refusal, self.policy.unavailable);
        self.count_refusal(refusal);
        self.refuse_as(&failure, out);
    }

    /// As [`Machine::refuse`], with an error of somebody else's.
    pub fn refuse_as(&mut self, failure: &Failure, out: &mut BytesMut) {
        if self.transaction != Transaction::None {
            self.transaction = Transaction::Lost;
        }
        if let Some(job) = self.job.take() {
            self.fail(&job, failure, out);
        }
    }

    /// The leased connection is gone before anything that can have an effect was sent: the job
    /// waits for another one. False where that is not so.
    pub fn begin_again(&mut self) -> bool {
        let outside = matches!(self.transaction, Transaction::None | Transaction::Deferred(_));
        let Some(job) = self.job.as_mut().filter(|job| outside && !job.sent) else { return false };
        job.phase = Phase::Ground;
        job.parts.clear();
        job.refused = None;
        job.bases.clear();
        true
    }

    /// The leased connection is gone: the client gets the answer that it is owed, if it is.
    pub fn backend_lost(&mut self, out: &mut BytesMut) {
        let before = std::mem::replace(&mut self.transaction, Transaction::Lost);
        let outside = before == Transaction::None;
        if outside {
            self.transaction = Transaction::None;
        }
        let Some(job) = self.job.take() else {
            if let Transaction::Deferred(_) = before {
                self.transaction = before;
            }
            return;
        };
        if let Kind::Control(control) = &job.kind {
            return self.control_lost(&job, control, &before, out);
        }
        if let Some(refused) = &job.refused {
            // It has failed, whatever else happened.
            return self.fail(&job, &refused.failure(&job.checked.text), out);
        }
        let harmless = job.checked.read_only
            || job.checked.capabilities == 0 && self.policy.in_flight_select_retryable;
        let refusal = match before {
            Transaction::None if job.sent && !harmless => Refusal::StatementLost,
            // It had begun there, so every client may repeat it.
            Transaction::Deferred(_) if job.sent => Refusal::TransactionLost,
            Transaction::None | Transaction::Deferred(_) => Refusal::NeverExecuted,
            Transaction::Open | Transaction::Failed | Transaction::Lost => Refusal::TransactionLost,
        };
        let failure = Failure::of(&refusal, self.policy.unavailable);
        self.count_refusal(&refusal);
        self.fail(&job, &failure, out);
    }

    fn control_lost(
        &mut self,
        job: &Job,
        control: &Control,
        before: &Transaction,
        out: &mut BytesMut,
    ) {
        match (control, before) {
            (Control::Rollback, _) => {
                self.transaction = Transaction::None;
                server::command_complete(out, job.checked.capabilities, control.status());
            }
            (Control::Commit, Transaction::Open) if job.sent => {
                self.transaction = Transaction::None;
                self.say_refusal(&Refusal::CommitLost, out);
            }
            (Control::Commit, _) => {
                self.transaction = Transaction::None;
                self.say_refusal(&Refusal::TransactionLost, out);
            }
            (
                Control::Start(_)
                | Control::Savepoint(_)
                | Control::RollbackTo(_)
                | Control::Release(_),
                _,
            ) => {
                self.say_refusal(&Refusal::TransactionLost, out);
            }
        }
    }
}
