//! `DEALLOCATE` by SQL of what the protocol has prepared: backends know it by another name.

use std::sync::Arc;

use everline_wire::frontend;

use super::backend_state::BackendState;
use super::conversation::{Conversation, Output};
use super::pipeline::Request;
use super::survey::Survey;
use super::transaction::Transaction;

impl Conversation {
    /// `DEALLOCATE` of a name given by protocol: looks up what the client means by it, and returns
    /// the text that says so to a backend.
    pub(super) fn mean_by_deallocate(&self, survey: &mut Arc<Survey>) -> Option<Vec<u8>> {
        survey.deallocates.as_ref()?;
        let (name, meant) = Arc::make_mut(survey).deallocates.as_mut()?;
        let statement = self.names.get(name.as_bytes())?.clone();
        let text = format!("DEALLOCATE \"{}\"", statement.id());
        *meant = Some(Box::new(statement));
        Some(text.into_bytes())
    }

    /// Sees to it that what a simple query deallocates has its name on the connection.
    ///
    /// What is prepared under it is empty: a Parse ahead of a simple query must not fail, or the
    /// query would be skipped and never be answered.
    pub(super) fn have_something_to_deallocate(
        &mut self,
        survey: &Survey,
        backend: &mut BackendState,
        out: &mut Output,
    ) {
        let Some((_, Some(statement))) = &survey.deallocates else { return };
        // In a failed transaction it is refused, whether it has its name or not.
        let failed = matches!(self.transaction, Transaction::Failed(_));
        if failed || backend.prepared.touch(statement.id()) {
            return;
        }
        frontend::parse(&mut out.to_backend, statement.id().name().as_bytes(), b"", &[0, 0]);
        self.pipeline.push(Request::Parse { name: None, id: None });
    }

    /// Sees to it that the connection has what is about to be deallocated on it.
    pub(super) fn ensure_deallocated(
        &mut self,
        survey: &Survey,
        backend: &mut BackendState,
        out: &mut Output,
    ) {
        let failed = matches!(self.transaction, Transaction::Failed(_));
        if let Some((_, Some(statement))) = survey.deallocates.as_ref().filter(|_| !failed) {
            self.ensure_prepared(statement, backend, out);
        }
    }
}
