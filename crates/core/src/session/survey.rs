//! What a text of SQL tells before it is run: transaction control, settings, ties.

use everline_wire::sql::{self, Verb};

use super::pin::Pins;
use super::settings::{Change, Key};
use super::statements::Statement;

/// What a statement does to the transaction it runs in, as far as its text tells.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Control {
    /// Nothing: it stays in the transaction, or is one of its own.
    #[default]
    Bound,
    /// Outside a transaction block it may commit by itself (CALL, VACUUM, …), or we do not know
    /// the word.
    Free,
    /// `BEGIN`.
    Begin,
    /// `COMMIT`, `END`, `PREPARE TRANSACTION`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `ROLLBACK TO name`.
    RollbackTo(Box<str>),
    /// Nothing at all: no statement in the text.
    Blank,
}

/// What one text of SQL, of one statement or several, does.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "findings that do not depend on one another")]
pub struct Survey {
    /// One for each statement; `COMMIT AND CHAIN` counts as two.
    pub controls: Vec<Control>,
    /// Whether every statement surely changes nothing.
    pub read_only: bool,
    /// Settings that it changes.
    pub changes: Vec<Change>,
    /// Savepoints that it makes or releases.
    pub savepoints: Vec<Box<str>>,
    /// Ties that it makes.
    pub pins: Pins,
    /// Whether it drops prepared statements of the session.
    pub discards: bool,
    /// The name that it deallocates, where it does only that; and, once it is known, what the
    /// client means by it.
    pub deallocates: Option<(Box<str>, Option<Box<Statement>>)>,
    /// Whether it holds a procedure or block, which may commit and fail later.
    pub calls: bool,
    /// Whether it is one statement that may be answered without a backend, in some states of the
    /// session.
    pub here: bool,
    /// Whether it is `SELECT 1`, and nothing else.
    pub probe: bool,
    /// Whether one of its statements is a `SELECT` of a whole number and nothing else.
    pub selects_number: bool,
    /// Whether it holds a DO block, which may leave anything on its connection.
    pub hides: bool,
    /// Whether it may make the transaction one that only reads.
    pub asks_read_only: bool,
    /// Whether the text was longer than we look.
    pub cut: bool,
}

impl Survey {
    /// Reads `text`, or its beginning when it is `cut`.
    #[must_use]
    pub fn of(text: &[u8], cut: bool) -> Self {
        let mut survey = Self { read_only: !cut, cut, ..Self::default() };
        for statement in sql::statements(text) {
            survey.read_only &= statement.provably_read_only() || harmless(&statement.verb);
            let sets = statement.sets_config().filter(|name| outlives_transaction(name));
            let mut pins = Pins::of(&statement);
            if let Some(name) = sets {
                pins.remove(Pins::UNSEEN_SETTING);
                let key = Key::Setting(name.into());
                survey.changes.push(Change::Set(key, statement.text.into()));
            }
            survey.pins.add(pins);
            survey.add_control(&statement.verb);
            survey.hides |= matches!(statement.verb, Verb::Do);
            survey.calls |= matches!(statement.verb, Verb::Do | Verb::Call);
            survey.asks_read_only |= asks_read_only(&statement);
            survey.here = !cut && is_for_here(&statement.verb);
            survey.probe = !cut && is_probe(statement.text);
            survey.selects_number |= selects_number(statement.text);
            if let Verb::Savepoint(name) | Verb::Release(name) = &statement.verb {
                survey.savepoints.push((&**name).into());
            }
            if let Some(change) = change(&statement) {
                survey.changes.push(change);
            }
            if let Verb::Deallocate { name: Some(name) } = &statement.verb {
                survey.deallocates = Some(((&**name).into(), None));
            }
            survey.discards |=
                matches!(statement.verb, Verb::DiscardAll | Verb::Deallocate { name: None });
        }
        if survey.controls.len() != 1 {
            survey.deallocates = None;
            survey.here = false;
            survey.probe = false;
        }
        if survey.controls.is_empty() {
            survey.controls.push(if cut { Control::Free } else { Control::Blank });
        }
        survey
    }

    /// Whether it tells nothing in particular: statements that stay in their transaction, and
    /// change and tie nothing. Numbers in the text do not matter to it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let Self { controls, read_only: _, changes, savepoints, pins, discards, .. } = self;
        let Self { deallocates, calls, here, probe, selects_number, hides, .. } = self;
        controls.iter().all(|control| *control == Control::Bound)
            && changes.is_empty()
            && savepoints.is_empty()
            && pins.is_empty()
            && deallocates.is_none()
            && ![*discards, *calls, *here, *probe, *selects_number, *hides].contains(&true)
            && ![self.asks_read_only, self.cut].contains(&true)
    }

    /// Whether there is no statement in it.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.sole() == Some(&Control::Blank)
    }

    /// Whether it holds the end of a transaction.
    #[must_use]
    pub fn ends_a_transaction(&self) -> bool {
        self.controls.iter().any(|c| matches!(c, Control::Commit | Control::Rollback))
    }

    /// The only statement's control, if there is one statement.
    #[must_use]
    pub fn sole(&self) -> Option<&Control> {
        match self.controls.as_slice() {
            [control] if !self.cut => Some(control),
            _ => None,
        }
    }

    /// Whether the only statement leads out of a transaction that is lost, or back in it, as far as
    /// its text is understood: `COMMIT whatever` is a mistake, and PostgreSQL's to say.
    #[must_use]
    pub fn leaves_lost(&self) -> bool {
        let understood = |control: &Control| self.here || *control != Control::Commit;
        self.sole().is_some_and(|control| leads_out(control) && understood(control))
    }

    fn add_control(&mut self, verb: &Verb<'_>) {
        let control = match verb {
            Verb::Begin { .. } => Control::Begin,
            Verb::Commit { .. } | Verb::PrepareTransaction => Control::Commit,
            Verb::Rollback { .. } => Control::Rollback,
            Verb::RollbackTo(name) => Control::RollbackTo((&**name).into()),
            Verb::Call | Verb::Do | Verb::Other | Verb::CommitPrepared | Verb::RollbackPrepared => {
                Control::Free
            }
            Verb::Savepoint(_)
            | Verb::Release(_)
            | Verb::SetTransaction { .. }
            | Verb::SetLocal
            | Verb::Set { .. }
            | Verb::Reset { .. }
            | Verb::ResetAll
            | Verb::DiscardAll
            | Verb::DiscardOther
            | Verb::Listen
            | Verb::Unlisten { .. }
            | Verb::Notify
            | Verb::Prepare { .. }
            | Verb::Execute { .. }
            | Verb::Deallocate { .. }
            | Verb::DeclareCursor { .. }
            | Verb::Fetch
            | Verb::CloseCursor { .. }
            | Verb::Copy { .. }
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
            | Verb::Lock => Control::Bound,
        };
        self.controls.push(control);
        if let Verb::Commit { chain: true, .. } | Verb::Rollback { chain: true } = verb {
            self.controls.push(Control::Begin);
        }
    }
}

/// Whether the text is `SELECT 1`.
pub(super) fn is_probe(text: &[u8]) -> bool {
    let Some((word, rest)) = text.split_at_checked(6) else { return false };
    word.eq_ignore_ascii_case(b"select")
        && rest.first().is_some_and(u8::is_ascii_whitespace)
        && rest.trim_ascii() == b"1"
}

/// Whether the text is a `SELECT` of a whole number, as [`is_probe`] is of one.
fn selects_number(text: &[u8]) -> bool {
    let Some((word, rest)) = text.split_at_checked(6) else { return false };
    word.eq_ignore_ascii_case(b"select") && rest.trim_ascii().iter().all(u8::is_ascii_digit)
}

/// Whether a statement may be answered without a backend, in some states of the session.
fn is_for_here(verb: &Verb<'_>) -> bool {
    matches!(
        verb,
        Verb::Begin { plain: true, .. }
            | Verb::Commit { chain: false, plain: true }
            | Verb::Rollback { chain: false }
            | Verb::SetTransaction { plain: true }
            | Verb::Savepoint(_)
            | Verb::RollbackTo(_)
            | Verb::Release(_)
            | Verb::ResetAll
            | Verb::DiscardAll
            | Verb::Deallocate { name: None }
            | Verb::Unlisten { all: true }
            | Verb::CloseCursor { all: true }
    )
}

/// Statements that change nothing but the session, whose changes are journalled.
fn harmless(verb: &Verb<'_>) -> bool {
    matches!(
        verb,
        Verb::Set { .. }
            | Verb::SetLocal
            | Verb::SetTransaction { .. }
            | Verb::Reset { .. }
            | Verb::ResetAll
            | Verb::DiscardAll
            | Verb::DiscardOther
            | Verb::Listen
            | Verb::Unlisten { .. }
            | Verb::Deallocate { .. }
    )
}

/// Whether a statement may make its transaction one that only reads. Its words are looked for, no
/// more: taken for one by mistake, it costs the client a sight of 25006.
fn asks_read_only(statement: &sql::Statement<'_>) -> bool {
    let sets = matches!(
        statement.verb,
        Verb::Begin { .. } | Verb::SetTransaction { .. } | Verb::SetLocal | Verb::Set { .. }
    );
    (sets || statement.marks.set_config()) && says_read_only(statement.text)
}

/// Whether a text says `READ ONLY`, or `transaction_read_only`.
pub(super) fn says_read_only(text: &[u8]) -> bool {
    let words = text.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut after_read = false;
    words.into_iter().any(|word| {
        let found = after_read && word.eq_ignore_ascii_case(b"only");
        after_read = word.eq_ignore_ascii_case(b"read");
        found
    })
}

/// Whether a setting of this name is one of the session, and not of its transaction alone.
fn outlives_transaction(name: &str) -> bool {
    !name.starts_with("transaction_")
}

/// What follows the first word, without white space around it.
fn after_first_word(text: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(text);
    let rest = text.trim_start().split_once(char::is_whitespace).map_or("", |(_, rest)| rest);
    rest.trim().into()
}

fn change(statement: &sql::Statement<'_>) -> Option<Change> {
    let text = statement.text;
    match &statement.verb {
        Verb::Set { name } if statement.sets_default() => {
            Some(Change::Reset(Key::Setting((&**name).into())))
        }
        Verb::Set { name } => Some(Change::Set(Key::Setting((&**name).into()), text.into())),
        Verb::Reset { name } => Some(Change::Reset(Key::Setting((&**name).into()))),
        Verb::ResetAll => Some(Change::ResetAll),
        Verb::DiscardAll => Some(Change::DiscardAll),
        Verb::Listen => Some(Change::Set(Key::Channel(after_first_word(text)), text.into())),
        Verb::Unlisten { all: true } => Some(Change::UnlistenAll),
        Verb::Unlisten { all: false } => Some(Change::Reset(Key::Channel(after_first_word(text)))),
        Verb::Prepare { name } => Some(Change::Set(Key::Prepared((&**name).into()), text.into())),
        Verb::Deallocate { name: Some(name) } => {
            Some(Change::Reset(Key::Prepared((&**name).into())))
        }
        Verb::Deallocate { name: None } => Some(Change::DeallocateAll),
        Verb::Savepoint(name) => Some(Change::Savepoint((&**name).into())),
        Verb::RollbackTo(name) => Some(Change::RollbackTo((&**name).into())),
        Verb::Begin { .. }
        | Verb::Commit { .. }
        | Verb::Rollback { .. }
        | Verb::Release(_)
        | Verb::PrepareTransaction
        | Verb::CommitPrepared
        | Verb::RollbackPrepared
        | Verb::SetTransaction { .. }
        | Verb::SetLocal
        | Verb::DiscardOther
        | Verb::Notify
        | Verb::Execute { .. }
        | Verb::DeclareCursor { .. }
        | Verb::Fetch
        | Verb::CloseCursor { .. }
        | Verb::Copy { .. }
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
        | Verb::Other => None,
    }
}

/// Whether a statement is accepted in a failed transaction: it ends it, goes back in it, or does
/// nothing.
pub(super) fn leads_out(control: &Control) -> bool {
    match control {
        Control::Commit | Control::Rollback | Control::RollbackTo(_) | Control::Blank => true,
        Control::Bound | Control::Free | Control::Begin => false,
    }
}
