//! Finding the end of a statement, and on the way the words that matter.

use super::{
    Marks,
    lexer::{Lexer, Token},
    name::Keyword,
};

/// A statement, by its place in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) marks: Marks,
    /// It ended with a semicolon, not with the text.
    pub(super) ended: bool,
}

/// Reads on to the end of the next statement that is not empty.
#[inline]
pub(super) fn next(lexer: &mut Lexer<'_>) -> Option<Found> {
    let mut start = None;
    let mut end = 0;
    let mut ended = false;
    let mut nesting = Nesting::default();
    let mut marker = Marker::default();
    while let Some(token) = lexer.next_token() {
        if token == Token::Symbol(b';') && nesting.outside() {
            if start.is_some() {
                ended = true;
                break;
            }
            continue;
        }
        start.get_or_insert(lexer.start());
        end = lexer.position();
        nesting.take(token);
        marker.take(token);
    }
    Some(Found { start: start?, end, marks: marker.marks, ended })
}

/// Whether a semicolon ends the statement: not in parentheses (`CREATE RULE`), and not in the body
/// of a routine (`BEGIN ATOMIC … END`).
#[derive(Clone, Copy, Debug, Default)]
struct Nesting {
    parentheses: usize,
    routine: Routine,
}

/// How much of `CREATE [OR REPLACE] {FUNCTION|PROCEDURE} … BEGIN ATOMIC … END` has been read.
#[derive(Clone, Copy, Debug, Default)]
enum Routine {
    #[default]
    Nothing,
    Create,
    Or,
    Replace,
    /// It makes a routine; no body yet.
    Made,
    /// `BEGIN`, and what comes next decides.
    Begin,
    /// In the body, where a statement of it or its end begins.
    BodyStart,
    /// In a statement of the body, where END is that of a CASE, or a name.
    Body,
    /// It makes no routine.
    Other,
}

impl Nesting {
    fn outside(self) -> bool {
        self.parentheses == 0 && !matches!(self.routine, Routine::BodyStart | Routine::Body)
    }

    #[inline]
    fn take(&mut self, token: Token<'_>) {
        match token {
            Token::Symbol(b'(') => self.parentheses = self.parentheses.saturating_add(1),
            Token::Symbol(b')') => self.parentheses = self.parentheses.saturating_sub(1),
            Token::Symbol(_)
            | Token::Word(_)
            | Token::Quoted(_)
            | Token::Unicode
            | Token::Text
            | Token::Number
            | Token::Parameter => {}
        }
        if !matches!(self.routine, Routine::Other) && self.parentheses == 0 {
            self.routine = self.routine.after(token);
        }
    }
}

impl Routine {
    fn after(self, token: Token<'_>) -> Self {
        let word = if let Token::Word(word) = token { word } else { &[] };
        let keyword = Keyword::of(word);
        match (self, keyword.as_bytes()) {
            (Self::Nothing, b"CREATE") => Self::Create,
            (Self::Create, b"OR") => Self::Or,
            (Self::Or, b"REPLACE") => Self::Replace,
            (Self::Create | Self::Replace, b"FUNCTION" | b"PROCEDURE") => Self::Made,
            (Self::Made | Self::Begin, b"BEGIN") => Self::Begin,
            (Self::Begin, b"ATOMIC") => Self::BodyStart,
            (Self::BodyStart, b"END") => Self::Made,
            (Self::BodyStart | Self::Body, _) if token == Token::Symbol(b';') => Self::BodyStart,
            (Self::BodyStart | Self::Body, _) => Self::Body,
            (Self::Made | Self::Begin, _) => Self::Made,
            (Self::Nothing | Self::Create | Self::Or | Self::Replace | Self::Other, _) => {
                Self::Other
            }
        }
    }
}

/// Collects the marks.
#[derive(Clone, Copy, Debug, Default)]
struct Marker<'a> {
    marks: Marks,
    /// The last words, the nearest first; empty for a token that is none.
    before: [&'a [u8]; 2],
    pending: Pending,
}

/// A word that becomes a mark if the right token follows.
#[derive(Clone, Copy, Debug, Default)]
enum Pending {
    #[default]
    Nothing,
    /// `INTO TEMP`, which needs a name: else it is a table of that name.
    IntoTemporary,
    /// `pg_temp`, which needs a dot.
    Schema,
}

impl<'a> Marker<'a> {
    #[inline]
    fn take(&mut self, token: Token<'a>) {
        let word: &[u8] = match token {
            Token::Word(word) => {
                self.resolve(!is(word, b"FROM"), false);
                self.word(word);
                word
            }
            Token::Quoted(inner) => {
                self.resolve(true, false);
                // In capitals it would be another function.
                if !inner.iter().any(u8::is_ascii_uppercase) {
                    self.function(inner);
                }
                &[]
            }
            Token::Unicode => {
                self.resolve(true, false);
                self.marks = self.marks.with(Marks::SESSION_LOCK).with(Marks::SET_CONFIG);
                &[]
            }
            Token::Symbol(symbol) => {
                self.resolve(false, symbol == b'.');
                &[]
            }
            Token::Text | Token::Number | Token::Parameter => {
                self.resolve(false, false);
                &[]
            }
        };
        let [last, _] = self.before;
        self.before = [word, last];
    }

    #[inline]
    fn resolve(&mut self, name: bool, dot: bool) {
        let made = match self.pending {
            Pending::Nothing => return,
            Pending::IntoTemporary => name,
            Pending::Schema => dot,
        };
        self.pending = Pending::Nothing;
        if made {
            self.marks = self.marks.with(Marks::TEMPORARY);
        }
    }

    #[inline]
    fn word(&mut self, word: &'a [u8]) {
        match word {
            [b'p' | b'P' | b's' | b'S', ..] if word.len() >= 7 => self.function(word),
            [b't' | b'T', ..] if is(word, b"TEMP") || is(word, b"TEMPORARY") => self.temporary(),
            _ => {}
        }
    }

    fn temporary(&mut self) {
        let [last, earlier] = self.before;
        let [last, earlier] = [Keyword::of(last), Keyword::of(earlier)];
        match last.as_bytes() {
            b"CREATE" | b"REPLACE" | b"LOCAL" | b"GLOBAL" => {
                self.marks = self.marks.with(Marks::TEMPORARY);
            }
            b"INTO" if !matches!(earlier.as_bytes(), b"INSERT" | b"MERGE") => {
                self.pending = Pending::IntoTemporary;
            }
            _ => {}
        }
    }

    fn function(&mut self, name: &[u8]) {
        const LOCKS: [&[u8]; 4] = [
            b"pg_advisory_lock",
            b"pg_advisory_lock_shared",
            b"pg_try_advisory_lock",
            b"pg_try_advisory_lock_shared",
        ];
        if is(name, b"set_config") {
            self.marks = self.marks.with(Marks::SET_CONFIG);
        } else if is(name, b"pg_temp") {
            self.pending = Pending::Schema;
        } else if name.len() >= 16 && LOCKS.iter().any(|lock| is(name, lock)) {
            self.marks = self.marks.with(Marks::SESSION_LOCK);
        }
    }
}

fn is(word: &[u8], keyword: &[u8]) -> bool {
    word.eq_ignore_ascii_case(keyword)
}
