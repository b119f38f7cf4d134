//! What a pooler must know about SQL, and no more: where statements end, what they begin with, and
//! a few words in them.
//!
//! This is a lexer and not a parser: it never says that a text is wrong, which is for PostgreSQL
//! to say. Where it is not sure it says [`Verb::Other`], which promises nothing.
//!
//! What it cannot see: what functions, operators, views and `DO` blocks do inside, and texts
//! in a client encoding in which a byte under 0x80 may be part of a longer character (SJIS, BIG5,
//! GBK, GB18030, UHC, JOHAB): there a backslash may be misread inside of `E''` strings.

use std::borrow::Cow;

mod call;
mod lexer;
mod name;
mod read_only;
mod scan;
mod verb;

use lexer::{Lexer, Token};

/// What a statement does, by its first words.
///
/// The variants other than [`Verb::Other`] are only given to a statement that is complete as far as
/// they say, with one exception: whatever begins with `COMMIT` or `END` and is not understood is a
/// [`Verb::Commit`], because nothing that might commit may pass for something else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verb<'a> {
    /// `BEGIN`, `START TRANSACTION`.
    Begin {
        /// The text behind those words and an optional `WORK` or `TRANSACTION`.
        modes: &'a [u8],
        /// The transaction is declared `READ ONLY`.
        read_only: bool,
        /// There are transaction modes that PostgreSQL knows, or none, and nothing else.
        plain: bool,
    },
    /// `COMMIT`, `END`.
    Commit {
        /// Another transaction begins at once (`AND CHAIN`).
        chain: bool,
        /// It is understood to its end; else PostgreSQL says what is wrong with it.
        plain: bool,
    },
    /// `ROLLBACK`, `ABORT`.
    Rollback {
        /// Another transaction begins at once (`AND CHAIN`).
        chain: bool,
    },
    /// `SAVEPOINT`, with its name.
    Savepoint(Cow<'a, str>),
    /// `ROLLBACK TO`, with the savepoint's name.
    RollbackTo(Cow<'a, str>),
    /// `RELEASE`, with the savepoint's name.
    Release(Cow<'a, str>),
    /// `PREPARE TRANSACTION`.
    PrepareTransaction,
    /// `COMMIT PREPARED`.
    CommitPrepared,
    /// `ROLLBACK PREPARED`.
    RollbackPrepared,
    /// `SET TRANSACTION`.
    SetTransaction {
        /// There are transaction modes that PostgreSQL knows, and nothing else.
        plain: bool,
    },
    /// `SET LOCAL`: over with the transaction.
    SetLocal,
    /// `SET`, `SET SESSION`.
    Set {
        /// The setting in lower case; `timezone`, `client_encoding`, `search_path`, `role`,
        /// `session_authorization`, `xmloption` and `session characteristics` for those that
        /// have a syntax of their own.
        name: Cow<'a, str>,
    },
    /// `RESET` of one setting.
    Reset {
        /// As in [`Verb::Set`].
        name: Cow<'a, str>,
    },
    /// `RESET ALL`.
    ResetAll,
    /// `DISCARD ALL`.
    DiscardAll,
    /// `DISCARD PLANS`, `SEQUENCES`, `TEMP`.
    DiscardOther,
    /// `LISTEN`; [`Statement::channel`] has the name.
    Listen,
    /// `UNLISTEN`.
    Unlisten {
        /// All channels; else [`Statement::channel`] has the name.
        all: bool,
    },
    /// `NOTIFY`.
    Notify,
    /// `PREPARE` of a statement.
    Prepare {
        /// The prepared statement's name.
        name: Cow<'a, str>,
    },
    /// `EXECUTE`.
    Execute {
        /// The prepared statement's name.
        name: Cow<'a, str>,
    },
    /// `DEALLOCATE`.
    Deallocate {
        /// The prepared statement's name; `None`: all of them.
        name: Option<Cow<'a, str>>,
    },
    /// `DECLARE` of a cursor.
    DeclareCursor {
        /// It outlives the transaction (`WITH HOLD`).
        hold: bool,
    },
    /// `FETCH`, `MOVE`.
    Fetch,
    /// `CLOSE`.
    CloseCursor {
        /// All cursors.
        all: bool,
    },
    /// `COPY`.
    Copy {
        /// Data will come from the client.
        from_stdin: bool,
        /// Data will go to the client.
        to_stdout: bool,
    },
    /// `CREATE TEMPORARY` of whatever.
    CreateTemporary,
    /// `SELECT`, in parentheses or not.
    Select,
    /// `SHOW`.
    Show,
    /// `VALUES`.
    Values,
    /// `TABLE`.
    Table,
    /// `WITH`: may write.
    With,
    /// `INSERT`.
    Insert,
    /// `UPDATE`.
    Update,
    /// `DELETE`.
    Delete,
    /// `MERGE`.
    Merge,
    /// `EXPLAIN`: may run what it explains.
    Explain,
    /// `CALL`: outside a transaction it may commit.
    Call,
    /// `DO`: outside a transaction it may commit.
    Do,
    /// `LOCK`.
    Lock,
    /// Anything else, and whatever we are not sure of.
    Other,
}

/// Words in a statement that tie a session to its backend connection.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Marks(u8);

impl Marks {
    const SESSION_LOCK: u8 = 1;
    const SET_CONFIG: u8 = 2;
    const TEMPORARY: u8 = 4;

    const fn with(self, mark: u8) -> Self {
        Self(self.0 | mark)
    }

    /// A function that takes an advisory lock for the session is named.
    #[must_use]
    pub const fn session_lock(self) -> bool {
        self.0 & Self::SESSION_LOCK != 0
    }

    /// `set_config` is named: a setting may change unseen.
    #[must_use]
    pub const fn set_config(self) -> bool {
        self.0 & Self::SET_CONFIG != 0
    }

    /// Something temporary is made: `CREATE TEMPORARY …`, `SELECT … INTO TEMPORARY …`, or an
    /// object in the schema `pg_temp` is named.
    #[must_use]
    pub const fn temporary(self) -> bool {
        self.0 & Self::TEMPORARY != 0
    }

    /// None of them.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One statement of a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement<'a> {
    /// From its first token to its last: without the white space, comments and semicolons around.
    pub text: &'a [u8],
    /// What it does.
    pub verb: Verb<'a>,
    /// What it names.
    pub marks: Marks,
    /// There is more of it than `text` (the last one of a text that is
    /// [`truncated`](Statements::truncated)), or it ends inside of a string, a quoted name or a
    /// comment. The verb is what is known so far.
    pub cut: bool,
    backslash: bool,
}

impl Statement<'_> {
    /// Whether it can be seen that the statement only reads, so that running it twice does no harm.
    ///
    /// True for `SHOW`, and for queries in which no word could write or lock and which call no
    /// function besides well-known ones of PostgreSQL. Views, operators and types that somebody
    /// has made with side effects are taken on trust.
    #[must_use]
    pub fn provably_read_only(&self) -> bool {
        if self.cut || !self.marks.is_empty() {
            return false;
        }
        match self.verb {
            Verb::Show => true,
            Verb::Select | Verb::Values | Verb::Table | Verb::With => {
                read_only::only_reads(Lexer::new(self.text, self.backslash))
            }
            Verb::Begin { .. }
            | Verb::Commit { .. }
            | Verb::Rollback { .. }
            | Verb::Savepoint(_)
            | Verb::RollbackTo(_)
            | Verb::Release(_)
            | Verb::PrepareTransaction
            | Verb::CommitPrepared
            | Verb::RollbackPrepared
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
            | Verb::Insert
            | Verb::Update
            | Verb::Delete
            | Verb::Merge
            | Verb::Explain
            | Verb::Call
            | Verb::Do
            | Verb::Lock
            | Verb::Other => false,
        }
    }
}

impl<'a> Statement<'a> {
    /// Whether a word that writes is among its words (`INSERT`, `UPDATE`, `DELETE`, `MERGE`,
    /// `INTO`), as in a query that only hides one.
    #[must_use]
    pub fn names_a_write(&self) -> bool {
        let words = ["INSERT", "UPDATE", "DELETE", "MERGE", "INTO"];
        read_only::has_word(Lexer::new(self.text, self.backslash), &words)
    }

    /// Whether this word is among its words, in any case, strings and quoted names aside.
    #[must_use]
    pub fn names(&self, word: &str) -> bool {
        read_only::has_word(Lexer::new(self.text, self.backslash), &[word])
    }

    /// The channel of a `LISTEN`, an `UNLISTEN` of one channel, or a `NOTIFY`.
    #[must_use]
    pub fn channel(&self) -> Option<Cow<'a, str>> {
        if !matches!(self.verb, Verb::Listen | Verb::Unlisten { all: false } | Verb::Notify) {
            return None;
        }
        let mut lexer = Lexer::new(self.text, self.backslash);
        lexer.next_token()?;
        lexer.next_token().and_then(name::identifier)
    }
}

/// The statements of a text, one after the other; see [`statements`].
#[derive(Clone, Debug)]
pub struct Statements<'a> {
    text: &'a [u8],
    lexer: Lexer<'a>,
    truncated: bool,
}

/// The statements of `sql`, as it stands in a Query or Parse message; empty ones are left out.
///
/// One pass over the text; nothing is allocated but for names that are not in lower case.
#[inline]
#[must_use]
pub const fn statements(sql: &[u8]) -> Statements<'_> {
    Statements { text: sql, lexer: Lexer::new(sql, false), truncated: false }
}

/// Whether the first word of `sql` can be seen at a glance to be that of a statement that reads or
/// writes rows.
#[must_use]
pub fn begins_with_work(sql: &[u8]) -> bool {
    const WORDS: [&[u8]; 5] = [b"select", b"insert", b"update", b"delete", b"with"];
    let sql = sql.trim_ascii_start();
    let length = sql.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (word, rest) = sql.split_at(length);
    // A word may go on with a digit, `_`, `$` or a letter beyond ASCII.
    let ends = rest.first().is_some_and(u8::is_ascii_whitespace);
    ends && WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Whether there is nothing in `sql` but white space, comments and semicolons.
#[must_use]
pub fn is_blank(sql: &[u8]) -> bool {
    let mut lexer = Lexer::new(sql, false);
    loop {
        match lexer.next_token() {
            Some(Token::Symbol(b';')) => {}
            Some(_) => return false,
            None => return lexer.cut().is_none(),
        }
    }
}

impl<'a> Statements<'a> {
    /// Says that the text is the beginning of a longer one: the statement that reaches to its end
    /// is then [`cut`](Statement::cut).
    #[must_use]
    pub const fn truncated(mut self) -> Self {
        self.truncated = true;
        self
    }

    /// Says that backslashes escape in plain strings (`standard_conforming_strings = off`).
    #[must_use]
    pub const fn backslash_escapes(mut self) -> Self {
        self.lexer.backslash = true;
        self
    }

    fn statement(&self, found: &scan::Found, cut: bool) -> Statement<'a> {
        let text = self.text.get(found.start..found.end).unwrap_or_default();
        let backslash = self.lexer.backslash;
        let verb = verb::verb(Lexer::new(text, backslash), cut);
        Statement { text, verb, marks: found.marks, cut, backslash }
    }
}

impl<'a> Iterator for Statements<'a> {
    type Item = Statement<'a>;

    #[inline]
    fn next(&mut self) -> Option<Statement<'a>> {
        let already = self.lexer.cut().is_some();
        if let Some(found) = scan::next(&mut self.lexer) {
            let open = self.truncated && !found.ended;
            return Some(self.statement(&found, open || self.lexer.cut().is_some()));
        }
        // A comment without an end is an error in PostgreSQL, and must not pass for nothing.
        let start = self.lexer.cut().filter(|_| !already)?;
        Some(Statement {
            text: self.text.get(start..).unwrap_or_default(),
            verb: Verb::Other,
            marks: Marks::default(),
            cut: true,
            backslash: self.lexer.backslash,
        })
    }
}

#[cfg(test)]
#[path = "sql_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "property_tests.rs"]
mod property_tests;
