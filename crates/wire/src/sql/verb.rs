//! The first words of a statement.
//!
//! Source: PostgreSQL's grammar, src/backend/parser/gram.y.

use std::borrow::Cow;

use super::{
    Verb,
    lexer::{Lexer, Token},
    name::{Keyword, fold, identifier},
};

/// What the statement does, of which `cut` says that its end is missing.
pub(super) fn verb(lexer: Lexer<'_>, cut: bool) -> Verb<'_> {
    let verb = Head { lexer }.verb();
    if !cut {
        return verb;
    }
    match verb {
        Verb::Begin { modes, read_only, .. } => Verb::Begin { modes, read_only, plain: false },
        Verb::SetTransaction { .. } => Verb::SetTransaction { plain: false },
        Verb::Rollback { .. } => Verb::Other, // it may go on: TO, PREPARED
        Verb::Commit { chain, .. } => Verb::Commit { chain, plain: false },
        Verb::Savepoint(_)
        | Verb::RollbackTo(_)
        | Verb::Release(_)
        | Verb::PrepareTransaction
        | Verb::CommitPrepared
        | Verb::RollbackPrepared
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
        | Verb::Call
        | Verb::Do
        | Verb::Lock
        | Verb::Other => verb,
    }
}

/// What of a statement's head has not been read yet.
#[derive(Clone, Copy, Debug)]
struct Head<'a> {
    lexer: Lexer<'a>,
}

impl<'a> Head<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        self.lexer.next_token()
    }

    fn peek(&self) -> Option<Token<'a>> {
        let mut lexer = self.lexer;
        lexer.next_token()
    }

    fn ended(&self) -> bool {
        self.peek().is_none()
    }

    /// The next token as a keyword; an empty one where it is no word.
    fn peek_keyword(&self) -> Keyword {
        match self.peek() {
            Some(Token::Word(word)) => Keyword::of(word),
            Some(_) | None => Keyword::of(&[]),
        }
    }

    fn next_keyword(&mut self) -> Keyword {
        let keyword = self.peek_keyword();
        self.next();
        keyword
    }

    /// Takes the next word if it is this one.
    fn take(&mut self, keyword: &[u8]) -> bool {
        let found = self.peek_keyword().as_bytes() == keyword;
        if found {
            self.next();
        }
        found
    }

    /// Takes the next word if it is this one and not the last: else it is a name.
    fn take_before_name(&mut self, keyword: &[u8]) {
        let mut ahead = *self;
        if ahead.take(keyword) && !ahead.ended() {
            *self = ahead;
        }
    }

    /// The name that is next and last, made into a verb.
    fn last_name(&mut self, verb: impl FnOnce(Cow<'a, str>) -> Verb<'a>) -> Verb<'a> {
        match self.next().and_then(identifier) {
            Some(name) if self.ended() => verb(name),
            Some(_) | None => Verb::Other,
        }
    }

    /// This verb if nothing follows.
    fn last(self, verb: Verb<'a>) -> Verb<'a> {
        if self.ended() { verb } else { Verb::Other }
    }

    fn verb(mut self) -> Verb<'a> {
        let mut parentheses = false;
        while self.peek() == Some(Token::Symbol(b'(')) {
            parentheses = true;
            self.next();
        }
        match self.next_keyword().as_bytes() {
            b"SELECT" => Verb::Select,
            b"VALUES" => Verb::Values,
            b"TABLE" => Verb::Table,
            b"WITH" => Verb::With,
            _ if parentheses => Verb::Other,
            b"INSERT" => Verb::Insert,
            b"UPDATE" => Verb::Update,
            b"DELETE" => Verb::Delete,
            b"BEGIN" => self.begin(),
            b"COMMIT" => self.commit(true),
            b"END" => self.commit(false),
            b"ROLLBACK" => self.rollback(),
            b"ABORT" => self.abort(),
            b"START" if self.take(b"TRANSACTION") => self.modes(),
            b"SAVEPOINT" => self.last_name(Verb::Savepoint),
            b"RELEASE" => {
                self.take_before_name(b"SAVEPOINT");
                self.last_name(Verb::Release)
            }
            b"SET" => self.set(),
            b"RESET" => self.reset(),
            b"SHOW" => Verb::Show,
            b"DISCARD" => self.discard(),
            b"LISTEN" => self.last_name(|_| Verb::Listen),
            b"UNLISTEN" => self.unlisten(),
            b"NOTIFY" => Verb::Notify,
            b"PREPARE" => self.prepare(),
            b"EXECUTE" => {
                self.next().and_then(identifier).map_or(Verb::Other, |name| Verb::Execute { name })
            }
            b"DEALLOCATE" => self.deallocate(),
            b"DECLARE" => self.declare(),
            b"FETCH" | b"MOVE" => Verb::Fetch,
            b"CLOSE" => self.close(),
            b"COPY" => self.copy(),
            b"CREATE" => self.create(),
            b"MERGE" => Verb::Merge,
            b"EXPLAIN" => Verb::Explain,
            b"CALL" => Verb::Call,
            b"DO" => Verb::Do,
            b"LOCK" => Verb::Lock,
            _ => Verb::Other,
        }
    }

    fn begin(mut self) -> Verb<'a> {
        let _ = self.take(b"WORK") || self.take(b"TRANSACTION");
        self.modes()
    }

    fn modes(self) -> Verb<'a> {
        let Modes { plain, read_only, .. } = self.transaction_modes();
        Verb::Begin { modes: self.lexer.rest().trim_ascii_start(), read_only, plain }
    }

    /// Modes to the end, with or without commas between them.
    fn transaction_modes(mut self) -> Modes {
        let mut modes = Modes { plain: true, read_only: false, count: 0 };
        while modes.plain && !self.ended() {
            if modes.count > 0 && self.peek() == Some(Token::Symbol(b',')) {
                self.next();
            }
            match self.mode() {
                Some(Mode::Access { read_only }) => modes.read_only = read_only,
                Some(Mode::Other) => {}
                None => modes.plain = false,
            }
            modes.count = modes.count.saturating_add(1);
        }
        modes
    }

    fn mode(&mut self) -> Option<Mode> {
        let known = match self.next_keyword().as_bytes() {
            b"DEFERRABLE" => true,
            b"NOT" => self.take(b"DEFERRABLE"),
            b"READ" if self.take(b"ONLY") => return Some(Mode::Access { read_only: true }),
            b"READ" if self.take(b"WRITE") => return Some(Mode::Access { read_only: false }),
            b"ISOLATION" if self.take(b"LEVEL") => match self.next_keyword().as_bytes() {
                b"SERIALIZABLE" => true,
                b"REPEATABLE" => self.take(b"READ"),
                b"READ" => self.take(b"COMMITTED") || self.take(b"UNCOMMITTED"),
                _ => false,
            },
            _ => false,
        };
        known.then_some(Mode::Other)
    }

    /// `[WORK|TRANSACTION] [AND [NO] CHAIN]` to the end; `None`: something else.
    fn chain(&mut self) -> Option<bool> {
        let _ = self.take(b"WORK") || self.take(b"TRANSACTION");
        let mut chain = false;
        if self.take(b"AND") {
            chain = !self.take(b"NO");
            if !self.take(b"CHAIN") {
                return None;
            }
        }
        self.ended().then_some(chain)
    }

    fn commit(mut self, may_be_prepared: bool) -> Verb<'a> {
        if may_be_prepared && self.take(b"PREPARED") {
            return Verb::CommitPrepared;
        }
        match self.chain() {
            Some(chain) => Verb::Commit { chain, plain: true },
            None => Verb::Commit { chain: false, plain: false },
        }
    }

    fn abort(mut self) -> Verb<'a> {
        self.chain().map_or(Verb::Other, |chain| Verb::Rollback { chain })
    }

    fn rollback(mut self) -> Verb<'a> {
        if self.take(b"PREPARED") {
            return Verb::RollbackPrepared;
        }
        let mut ahead = self;
        let _ = ahead.take(b"WORK") || ahead.take(b"TRANSACTION");
        if ahead.take(b"TO") {
            ahead.take_before_name(b"SAVEPOINT");
            return ahead.last_name(Verb::RollbackTo);
        }
        self.abort()
    }

    fn set(mut self) -> Verb<'a> {
        if !self.is_plain_setting() {
            if self.take(b"LOCAL") {
                let transaction = self.take(b"TRANSACTION");
                return if transaction {
                    Verb::SetTransaction { plain: false }
                } else {
                    Verb::SetLocal
                };
            }
            if self.take(b"TRANSACTION") {
                let Modes { plain, count, .. } = self.transaction_modes();
                return Verb::SetTransaction { plain: plain && count > 0 };
            }
            if self.take(b"SESSION") {
                let name = match self.peek_keyword().as_bytes() {
                    b"AUTHORIZATION" => "session_authorization",
                    b"CHARACTERISTICS" => "session characteristics",
                    b"TRANSACTION" => return Verb::SetTransaction { plain: false },
                    _ => return self.setting().map_or(Verb::Other, |name| Verb::Set { name }),
                };
                return Verb::Set { name: Cow::Borrowed(name) };
            }
        }
        self.setting().map_or(Verb::Other, |name| Verb::Set { name })
    }

    /// Whether a setting's name is next, though it may look like a keyword (`session.user = 'x'`).
    fn is_plain_setting(mut self) -> bool {
        self.next();
        matches!(self.peek(), Some(Token::Symbol(b'=' | b'.'))) || self.take(b"TO")
    }

    /// The name of a setting, where it has one behind SET or RESET.
    fn setting(&mut self) -> Option<Cow<'a, str>> {
        let plain = self.is_plain_setting();
        let mut ahead = *self;
        let words = (ahead.next_keyword(), ahead.peek_keyword());
        let known = match (words.0.as_bytes(), words.1.as_bytes()) {
            (b"TIME", b"ZONE") => Some("timezone"),
            (b"NAMES", _) if !plain => Some("client_encoding"),
            (b"ROLE", _) if !plain => Some("role"),
            (b"SCHEMA", _) if !plain => Some("search_path"),
            (b"XML", b"OPTION") => Some("xmloption"),
            (_, _) => None,
        };
        if let Some(name) = known {
            *self = ahead;
            return Some(Cow::Borrowed(name));
        }
        let mut name = fold(self.next().and_then(identifier)?);
        while self.peek() == Some(Token::Symbol(b'.')) {
            self.next();
            let part = fold(self.next().and_then(identifier)?);
            name = Cow::Owned(format!("{name}.{part}"));
        }
        Some(name)
    }

    fn reset(mut self) -> Verb<'a> {
        let mut ahead = self;
        let words = (ahead.next_keyword(), ahead.next_keyword());
        let name = match (words.0.as_bytes(), words.1.as_bytes()) {
            (b"ALL", _) => return self.after(1).last(Verb::ResetAll),
            (b"TIME", b"ZONE") => "timezone",
            (b"SESSION", b"AUTHORIZATION") => "session_authorization",
            (b"TRANSACTION", b"ISOLATION") => "transaction_isolation",
            (_, _) => {
                return match self.setting() {
                    Some(name) => self.last(Verb::Reset { name }),
                    None => Verb::Other,
                };
            }
        };
        Verb::Reset { name: Cow::Borrowed(name) }
    }

    fn after(mut self, tokens: usize) -> Self {
        for _ in 0..tokens {
            self.next();
        }
        self
    }

    fn discard(mut self) -> Verb<'a> {
        match self.next_keyword().as_bytes() {
            b"ALL" => self.last(Verb::DiscardAll),
            b"PLANS" | b"SEQUENCES" | b"TEMP" | b"TEMPORARY" => self.last(Verb::DiscardOther),
            _ => Verb::Other,
        }
    }

    fn unlisten(mut self) -> Verb<'a> {
        if self.peek() == Some(Token::Symbol(b'*')) {
            return self.after(1).last(Verb::Unlisten { all: true });
        }
        self.last_name(|_| Verb::Unlisten { all: false })
    }

    fn prepare(mut self) -> Verb<'a> {
        let mut ahead = self;
        if ahead.take(b"TRANSACTION") && matches!(ahead.peek(), Some(Token::Text) | None) {
            return Verb::PrepareTransaction;
        }
        self.next().and_then(identifier).map_or(Verb::Other, |name| Verb::Prepare { name })
    }

    fn deallocate(mut self) -> Verb<'a> {
        self.take_before_name(b"PREPARE");
        if self.peek_keyword().as_bytes() == b"ALL" {
            return self.after(1).last(Verb::Deallocate { name: None });
        }
        self.last_name(|name| Verb::Deallocate { name: Some(name) })
    }

    /// `DECLARE name [options] CURSOR [WITH|WITHOUT HOLD] FOR …`.
    fn declare(mut self) -> Verb<'a> {
        self.next();
        loop {
            match self.next_keyword().as_bytes() {
                b"BINARY" | b"INSENSITIVE" | b"ASENSITIVE" | b"NO" | b"SCROLL" => {}
                b"CURSOR" => break,
                _ => return Verb::Other,
            }
        }
        let hold = self.take(b"WITH") && self.take(b"HOLD");
        Verb::DeclareCursor { hold }
    }

    fn close(mut self) -> Verb<'a> {
        if self.peek_keyword().as_bytes() == b"ALL" {
            return self.after(1).last(Verb::CloseCursor { all: true });
        }
        self.last_name(|_| Verb::CloseCursor { all: false })
    }

    /// The first FROM or TO outside of parentheses, and what follows it.
    fn copy(mut self) -> Verb<'a> {
        let mut depth: usize = 0;
        while let Some(token) = self.next() {
            match token {
                Token::Symbol(b'(') => depth = depth.saturating_add(1),
                Token::Symbol(b')') => depth = depth.saturating_sub(1),
                Token::Word(word) if depth == 0 => {
                    let keyword = Keyword::of(word);
                    let (from, to) = (keyword.as_bytes() == b"FROM", keyword.as_bytes() == b"TO");
                    if from || to {
                        let target = self.next_keyword();
                        let client = matches!(target.as_bytes(), b"STDIN" | b"STDOUT");
                        return Verb::Copy { from_stdin: from && client, to_stdout: to && client };
                    }
                }
                Token::Word(_)
                | Token::Quoted(_)
                | Token::Unicode
                | Token::Text
                | Token::Number
                | Token::Parameter
                | Token::Symbol(_) => {}
            }
        }
        Verb::Other
    }

    fn create(mut self) -> Verb<'a> {
        if self.take(b"OR") {
            self.take(b"REPLACE");
        }
        let _ = self.take(b"LOCAL") || self.take(b"GLOBAL");
        match self.next_keyword().as_bytes() {
            b"TEMP" | b"TEMPORARY" => Verb::CreateTemporary,
            _ => Verb::Other,
        }
    }
}

/// A transaction mode.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Access {
        read_only: bool,
    },
    /// Isolation level, or when to wait.
    Other,
}

/// The transaction modes behind BEGIN or SET TRANSACTION.
#[derive(Clone, Copy, Debug)]
struct Modes {
    plain: bool,
    read_only: bool,
    count: usize,
}
