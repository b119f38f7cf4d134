//! The unnamed statement of the extended protocol: of each client one, of each connection one.

use everline_wire::frontend::{self, Target};

use super::backend_state::BackendState;
use super::conversation::{Conversation, Flow, Incoming, Output, Step};
use super::pipeline::Request;
use super::statements::Statement;

impl Conversation {
    /// Parse of the unnamed statement, in the client's own words unless they are `rewritten`.
    pub(super) fn parse_unnamed(
        &mut self,
        statement: Statement,
        rewritten: Option<Vec<u8>>,
        message: &Incoming<'_>,
        backend: &mut BackendState,
        out: &mut Output,
    ) -> Step {
        if let Some(step) = self.make_ready_for_extended(backend, out) {
            return step;
        }
        self.pipeline.open.get_or_insert_default();
        match rewritten {
            Some(sql) => frontend::parse(&mut out.to_backend, b"", &sql, statement.types()),
            None => message.forward(&mut out.to_backend),
        }
        self.renew_unnamed(Some(statement));
        backend.unnamed_owner = Some(self.unnamed_tag());
        self.pipeline.push(Request::Parse { name: Some(Box::default()), id: None });
        Step::Taken(Flow::Forward)
    }

    /// Names what this client's unnamed statement is at the moment.
    pub(super) const fn unnamed_tag(&self) -> (u64, u64) {
        (self.id, self.unnamed_serial)
    }

    /// The unnamed statement is another one, or none that is known here.
    pub(super) fn renew_unnamed(&mut self, statement: Option<Statement>) {
        self.unnamed_serial = self.unnamed_serial.wrapping_add(1);
        self.unnamed = statement;
    }

    /// Sees to it that the unnamed statement of the connection is this client's.
    pub(super) fn ensure_unnamed(&mut self, backend: &mut BackendState, out: &mut Output) {
        if backend.unnamed_owner == Some(self.unnamed_tag()) {
            return;
        }
        let Some(statement) = &self.unnamed else {
            if backend.unnamed_owner.take().is_some() {
                // Another client's, or one that this client has given up: it must not be found.
                frontend::close(&mut out.to_backend, Target::Statement, b"");
                self.pipeline.push(Request::Close { ours: true });
            }
            return;
        };
        frontend::parse(&mut out.to_backend, b"", statement.sql(), statement.types());
        self.pipeline.push(Request::Parse { name: None, id: None });
        backend.unnamed_owner = Some(self.unnamed_tag());
    }
}
