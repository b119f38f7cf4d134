//! What the operator has chosen for conversations.

use crate::refusal::Codes;

/// What the operator has chosen for conversations.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "settings, each for itself")]
pub struct Policy {
    /// SQLSTATEs of refusals.
    pub codes: Codes,
    /// Whether a provably read-only statement in flight outside a transaction is answered with
    /// the retryable code (`in_flight_select = retryable`).
    pub in_flight_select_retryable: bool,
    /// What becomes of a session whose state cannot be brought to the next leader
    /// (`unreplayable_state`).
    pub lost_state: LostState,
    /// How long a connection is lent.
    pub lending: Lending,
    /// Whether a COMMIT in a lost transaction answers as in PostgreSQL's own failed transactions,
    /// with the tag ROLLBACK and no error (`commit_in_lost_transaction = rollback`).
    pub silent_rollback: bool,
    /// Whether a lost transaction begins anew at a savepoint that was set before its first real
    /// statement (`restart_savepoint`).
    pub restart_savepoint: bool,
    /// Whether texts without a statement are answered here (`local_probes`).
    pub local_probes: bool,
    /// Whether resets are answered here (`local_resets`).
    pub local_resets: bool,
    /// Whether `SELECT 1` is answered here (`answer_select_1`).
    pub answer_select_1: bool,
    /// Whether a listener is told by one notification a channel that it may have missed some
    /// (`listen_gap = notify`).
    pub tells_of_gaps: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            codes: Codes::default(),
            in_flight_select_retryable: false,
            lost_state: LostState::Close,
            lending: Lending::Transaction,
            silent_rollback: false,
            restart_savepoint: true,
            local_probes: true,
            local_resets: true,
            answer_select_1: false,
            tells_of_gaps: false,
        }
    }
}

/// How long a backend connection is lent to a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Lending {
    /// For a transaction.
    #[default]
    Transaction,
    /// For as long as the session lasts.
    Session,
    /// For a statement; transactions over several are refused.
    Statement,
}

/// What a session is told whose state went with its backend connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LostState {
    /// It ends with FATAL 57P01 at its next message.
    #[default]
    Close,
    /// Its next statement is refused once, with the code for lost transactions.
    Error,
    /// Nothing.
    Ignore,
}
