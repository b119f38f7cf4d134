//! What a client waits for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use everline_wire_gel::Uuid;
use everline_wire_gel::edgeql::Control;
use everline_wire_gel::state::State;

use super::describe::{Column, Description, Shape};
use super::refuse::{Failure, Refused};
use crate::session::settings::Settings;

/// What is known of a command before PostgreSQL sees it.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub text: Box<str>,
    pub shape: Shape,
    pub capabilities: u64,
    /// It surely only reads.
    pub read_only: bool,
    /// It may leave something on its connection.
    pub leaves: bool,
    pub state: State,
}

/// What Execute asks for beside its command.
#[derive(Clone, Debug)]
pub(super) struct Execution {
    pub arguments: Bytes,
    /// The same, as PostgreSQL's Bind has them.
    pub bound: BytesMut,
    pub input_id: Uuid,
    pub output_id: Uuid,
    /// Most rows; zero: all of them.
    pub limit: i32,
    /// A second row is an error.
    pub at_most_one: bool,
    /// Rows go to the client.
    pub wants_rows: bool,
    /// The client knows nothing of the command, and has to be told before its end.
    pub uninformed: bool,
    /// Rows that came.
    pub rows: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Describe { wants_rows: bool },
    Execute(Box<Execution>),
    Control(Control),
}

/// What one group of the backend's answers belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// A statement of ours.
    Ours,
    /// A question of ours, whose rows are kept.
    Asked,
    /// The description of the client's statement.
    Described,
    /// The client's statement.
    Statement,
}

/// Which flight is in the air. Each ends with one ReadyForQuery.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// None yet.
    Ground,
    /// The connection takes the session's settings; what it wore before.
    Dressing(Arc<Settings>),
    /// The statement is described.
    Describing,
    /// It is asked which types the domains among its parameters have.
    Resolving,
    /// The statement runs.
    Running,
    /// The transaction around a single statement is rolled back.
    Undoing,
}

#[derive(Clone, Debug)]
pub(super) struct Job {
    pub checked: Checked,
    pub kind: Kind,
    pub phase: Phase,
    pub parts: VecDeque<Part>,
    /// The statement stands in a transaction of ours.
    pub wrapped: bool,
    /// Bytes that can have an effect were written.
    pub sent: bool,
    /// What PostgreSQL refused.
    pub refused: Option<Refused>,
    /// What we refuse.
    pub failure: Option<Failure>,
    /// The command tag.
    pub tag: String,
    pub description: Option<Arc<Description>>,
    /// The statement as it is being described.
    pub parameters: Vec<u32>,
    pub columns: Option<Vec<Column>>,
    pub bases: BTreeMap<u32, u32>,
}

impl Job {
    pub(super) fn new(checked: Checked, kind: Kind, description: Option<Arc<Description>>) -> Self {
        Self {
            checked,
            kind,
            phase: Phase::Ground,
            parts: VecDeque::new(),
            wrapped: false,
            sent: false,
            refused: None,
            failure: None,
            tag: String::new(),
            description,
            parameters: Vec::new(),
            columns: None,
            bases: BTreeMap::new(),
        }
    }
}
