//! The backend's answers to a job.

use std::sync::Arc;

use bytes::BytesMut;
use everline_wire::backend::view;
use everline_wire::tag::backend as tag;
use everline_wire_gel::error::ErrorCode;
use everline_wire_gel::{NIL, value};

use super::describe::{Column, Descriptions};
use super::job::{Job, Kind, Part, Phase};
use super::machine::{Progress, describe};
use super::refuse::Failure;

impl Job {
    /// One message of the backend that answers this job.
    pub(super) fn answer(
        &mut self,
        tag: u8,
        body: &[u8],
        known: &mut Descriptions,
        out: &mut BytesMut,
    ) -> Progress {
        if let Phase::Dressing(_) | Phase::Undoing = self.phase {
            return Progress::More; // simple queries, whose answers say nothing new
        }
        let Some(part) = self.parts.front().copied() else { return Progress::Lost };
        let read = match (tag, part) {
            (tag::PARSE_COMPLETE | tag::BIND_COMPLETE, _) => Some(()),
            (tag::PARAMETER_DESCRIPTION, Part::Described) => {
                view::parameter_description(body).map(|oids| self.parameters = oids).ok()
            }
            (tag::NO_DATA, Part::Described) => {
                self.parts.pop_front();
                Some(())
            }
            (tag::ROW_DESCRIPTION, Part::Described) => {
                self.parts.pop_front();
                columns(body).map(|columns| self.columns = Some(columns))
            }
            (tag::NO_DATA, Part::Statement) => {
                self.begin_rows(None, known, out);
                Some(())
            }
            (tag::ROW_DESCRIPTION, Part::Statement) => {
                columns(body).map(|columns| self.begin_rows(Some(columns), known, out))
            }
            (tag::DATA_ROW, Part::Statement) => self.row(body, out),
            (tag::DATA_ROW, Part::Asked) => self.asked(body),
            (tag::COMMAND_COMPLETE, _) => view::command_complete(body).ok().map(|command| {
                let ends = self.parts.pop_front();
                if ends == Some(Part::Statement) || !matches!(self.kind, Kind::Execute(_)) {
                    self.tag = String::from_utf8_lossy(command).into_owned();
                }
            }),
            (tag::EMPTY_QUERY, _) => self.parts.pop_front().map(drop),
            (tag::PORTAL_SUSPENDED, Part::Statement) => {
                if let Kind::Execute(execution) = &self.kind {
                    self.tag = format!("SELECT {}", execution.rows);
                }
                self.parts.pop_front().map(drop)
            }
            (_, Part::Ours | Part::Asked | Part::Described | Part::Statement) => None,
        };
        read.map_or(Progress::Lost, |()| Progress::More)
    }

    /// The portal stands: its columns are what will come, whatever was described before.
    fn begin_rows(
        &mut self,
        columns: Option<Vec<Column>>,
        known: &mut Descriptions,
        out: &mut BytesMut,
    ) {
        let Kind::Execute(execution) = &mut self.kind else { return };
        let Some(description) = &self.description else { return };
        let stale = description.returns_rows != columns.is_some()
            || columns.as_ref().is_some_and(|columns| *columns != description.columns);
        let mut description = Arc::clone(description);
        if stale {
            let fresh = Arc::make_mut(&mut description);
            fresh.returns_rows = columns.is_some();
            fresh.set_columns(columns.unwrap_or_default(), self.checked.shape);
            known.remove(self.checked.shape, &self.checked.text);
        }
        let output = if execution.wants_rows { description.output.id } else { NIL };
        if execution.uninformed || output != execution.output_id {
            describe(&self.checked, &description, execution.wants_rows, out);
            execution.uninformed = false;
        }
        self.description = Some(description);
    }

    fn row(&mut self, body: &[u8], out: &mut BytesMut) -> Option<()> {
        let Kind::Execute(execution) = &mut self.kind else { return None };
        let row = view::data_row(body).ok()?;
        execution.rows = execution.rows.saturating_add(1);
        if execution.at_most_one && execution.rows > 1 {
            let message = "the statement returned more than one row";
            self.failure = Some(Failure::new(ErrorCode::CARDINALITY, message));
            return Some(());
        }
        if execution.wants_rows {
            let types = self.description.as_ref().map(|d| d.column_types.as_slice());
            value::row(out, row, types.unwrap_or_default());
        }
        Some(())
    }

    /// A domain and its base.
    fn asked(&mut self, body: &[u8]) -> Option<()> {
        let mut row = view::data_row(body).ok()?;
        let mut number = || str::from_utf8(row.next()??).ok()?.parse::<u32>().ok();
        let (oid, base) = (number()?, number()?);
        self.bases.insert(oid, base);
        Some(())
    }
}

fn columns(body: &[u8]) -> Option<Vec<Column>> {
    let columns = view::row_description(body).ok()?;
    Some(columns.iter().map(Column::from).collect())
}
