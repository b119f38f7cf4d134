//! What a statement of SQL does, in the protocol's bits, and what may be done with it here.

use everline_wire::sql::{self, Statement, Verb};

use crate::edgeql::{Control, Modes};

/// It changes data.
pub const MODIFICATIONS: u64 = 1;
/// It changes the session.
pub const SESSION_CONFIG: u64 = 2;
/// It begins or ends a transaction.
pub const TRANSACTION: u64 = 4;
/// It changes what data there can be.
pub const DDL: u64 = 8;

/// First words of statements that change what data there can be.
const DDL_WORDS: [&str; 19] = [
    "ALTER",
    "ANALYZE",
    "CLUSTER",
    "COMMENT",
    "CREATE",
    "DROP",
    "GRANT",
    "IMPORT",
    "REASSIGN",
    "REFRESH",
    "REINDEX",
    "REVOKE",
    "SECURITY",
    "TRUNCATE",
    "VACUUM",
    "CHECKPOINT",
    "ANALYSE",
    "EXPORT",
    "RENAME",
];

/// What is to be done with a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// PostgreSQL runs it.
    Run,
    /// It is about the transaction.
    Control(Control),
    /// It is not served, for this reason.
    Refuse(&'static str),
}

/// What is known of a command of SQL before it is run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Class {
    /// What it does, in bits.
    pub capabilities: u64,
    /// What is to be done with it.
    pub action: Action,
    /// It can be seen that it only reads.
    pub read_only: bool,
    /// It may leave something on its connection that the next client must not find.
    pub leaves: bool,
}

const SESSION_STATE: &str = "statements that change the session (SET, LISTEN, PREPARE, DECLARE and \
     their kin) are not supported over Gel's protocol: its clients share connections";
const COPY: &str = "COPY is not supported over Gel's protocol: use a PostgreSQL client";
const CHAIN: &str = "two-phase commit and AND CHAIN are not supported over Gel's protocol";

impl Class {
    /// Looks at a command. A text of several statements is left to PostgreSQL, which refuses it.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut statements = sql::statements(text.as_bytes());
        let mut class =
            Self { capabilities: 0, action: Action::Run, read_only: true, leaves: false };
        let first = statements.next();
        let several = statements.next().is_some();
        for statement in sql::statements(text.as_bytes()) {
            class.capabilities |= capabilities(&statement);
            class.read_only &= statement.provably_read_only();
            class.leaves |= !statement.marks.is_empty() || matches!(statement.verb, Verb::Do);
        }
        if let (Some(statement), false) = (first, several) {
            class.action = action(&statement.verb);
        }
        class
    }
}

fn capabilities(statement: &Statement<'_>) -> u64 {
    match &statement.verb {
        Verb::Begin { .. }
        | Verb::Commit { .. }
        | Verb::Rollback { .. }
        | Verb::Savepoint(_)
        | Verb::RollbackTo(_)
        | Verb::Release(_)
        | Verb::PrepareTransaction
        | Verb::CommitPrepared
        | Verb::RollbackPrepared => TRANSACTION,
        Verb::SetTransaction { .. }
        | Verb::Set { .. }
        | Verb::Reset { .. }
        | Verb::ResetAll
        | Verb::DiscardAll
        | Verb::DiscardOther
        | Verb::Listen
        | Verb::Unlisten { .. }
        | Verb::Prepare { .. }
        | Verb::Deallocate { .. }
        | Verb::DeclareCursor { .. }
        | Verb::Fetch
        | Verb::CloseCursor { .. } => SESSION_CONFIG,
        Verb::SetLocal | Verb::Show => 0,
        Verb::Select | Verb::Values | Verb::Table | Verb::With => {
            if statement.names_a_write() {
                MODIFICATIONS
            } else {
                0
            }
        }
        Verb::Explain => {
            let runs = statement.names("ANALYZE") || statement.names("ANALYSE");
            if runs && statement.names_a_write() { MODIFICATIONS } else { 0 }
        }
        Verb::CreateTemporary => DDL,
        Verb::Other => other(statement),
        Verb::Notify
        | Verb::Execute { .. }
        | Verb::Copy { .. }
        | Verb::Insert
        | Verb::Update
        | Verb::Delete
        | Verb::Merge
        | Verb::Call
        | Verb::Do
        | Verb::Lock => MODIFICATIONS,
    }
}

fn other(statement: &Statement<'_>) -> u64 {
    let word: Vec<u8> = statement
        .text
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .map(u8::to_ascii_uppercase)
        .collect();
    if DDL_WORDS.iter().any(|ddl| ddl.as_bytes() == word) {
        DDL
    } else if word == b"LOAD" {
        SESSION_CONFIG
    } else {
        MODIFICATIONS
    }
}

fn action(verb: &Verb<'_>) -> Action {
    match verb {
        Verb::Begin { modes, plain: true, .. } => {
            Action::Control(Control::Start(Modes::from_sql(modes)))
        }
        Verb::Commit { chain: false, plain: true } => Action::Control(Control::Commit),
        Verb::Rollback { chain: false } => Action::Control(Control::Rollback),
        Verb::Savepoint(name) => Action::Control(Control::Savepoint(name.to_string())),
        Verb::RollbackTo(name) => Action::Control(Control::RollbackTo(name.to_string())),
        Verb::Release(name) => Action::Control(Control::Release(name.to_string())),
        Verb::Begin { plain: false, .. }
        | Verb::Commit { .. }
        | Verb::Rollback { chain: true }
        | Verb::PrepareTransaction
        | Verb::CommitPrepared
        | Verb::RollbackPrepared => Action::Refuse(CHAIN),
        Verb::Set { .. }
        | Verb::Reset { .. }
        | Verb::ResetAll
        | Verb::DiscardAll
        | Verb::DiscardOther
        | Verb::Listen
        | Verb::Unlisten { .. }
        | Verb::Prepare { .. }
        | Verb::Execute { .. }
        | Verb::Deallocate { .. }
        | Verb::DeclareCursor { .. }
        | Verb::Fetch
        | Verb::CloseCursor { .. } => Action::Refuse(SESSION_STATE),
        Verb::Copy { .. } => Action::Refuse(COPY),
        Verb::SetTransaction { .. }
        | Verb::SetLocal
        | Verb::Notify
        | Verb::CreateTemporary
        | Verb::Select
        | Verb::Show
        | Verb::Values
        | Verb::Table
        | Verb::With
        | Verb::Insert
        | Verb::Update
        | Verb::Delete
        | Verb::Merge
        | Verb::Explain
        | Verb::Call
        | Verb::Do
        | Verb::Lock
        | Verb::Other => Action::Run,
    }
}

/// What a client that forbids it is told; `None` when nothing of it is forbidden.
///
/// No text here names an isolation level: clients take that for a reason to try again at another.
#[must_use]
pub fn forbidden(capabilities: u64, allowed: u64) -> Option<String> {
    let missing = capabilities & !allowed;
    let words = [
        (TRANSACTION, "transaction control commands"),
        (SESSION_CONFIG, "session configuration queries"),
        (DDL, "DDL commands"),
        (MODIFICATIONS, "data modification queries"),
    ];
    let (_, what) = words.iter().find(|(bit, _)| missing & bit != 0)?;
    Some(format!("cannot execute {what}: disabled by the client"))
}

#[cfg(test)]
#[path = "capability_tests.rs"]
mod tests;
