//! Statement pooling: a connection is lent for one statement, so a transaction over several is
//! refused before it begins.

use bytes::BytesMut;
use everline_wire::fields::{Report, Severity};
use everline_wire::sql::{self, Verb};
use everline_wire::sqlstate::SqlState;
use everline_wire::tag::frontend as tag;

use super::conversation::{Conversation, Flow, Incoming, Step};
use super::policy::Lending;

impl Conversation {
    /// Refuses a message that would begin a transaction where only statements are lent for.
    pub(super) fn refuse_transaction(
        &mut self,
        message: &Incoming<'_>,
        out: &mut BytesMut,
    ) -> Option<Step> {
        if self.policy.lending != Lending::Statement || !begins(message) {
            return None;
        }
        if self.awaits_backend() {
            return Some(Step::Wait); // what was asked before is answered first
        }
        Report {
            severity: Severity::Error,
            code: SqlState::FEATURE_NOT_SUPPORTED,
            message: "transactions over several statements are not allowed in statement pooling",
            detail: None,
            hint: Some("Send the statements in one query, or use transaction pooling."),
        }
        .error_response(out);
        self.end_refused(message.tag, out);
        Some(Step::Taken(Flow::Discard))
    }
}

/// Whether a statement of the message begins a transaction.
fn begins(message: &Incoming<'_>) -> bool {
    let text = match message.tag {
        tag::QUERY => message.body,
        tag::PARSE => {
            let mut parts = message.body.splitn(2, |byte| *byte == 0);
            parts.nth(1).unwrap_or_default()
        }
        _ => return false,
    };
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    sql::statements(text).any(|statement| matches!(statement.verb, Verb::Begin { .. }))
}

#[cfg(test)]
#[path = "statement_mode_tests.rs"]
mod tests;
