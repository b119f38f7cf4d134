//! Statements that are the call of one function and nothing else.

use super::lexer::{Lexer, Token};
use super::{Statement, Verb};

impl Statement<'_> {
    /// The setting, in lower case, that the statement gives a value for the session: where it is
    /// `SELECT set_config('name', 'value', false)`, all arguments literals, and nothing else.
    #[must_use]
    pub fn sets_config(&self) -> Option<String> {
        if !self.marks.set_config() {
            return None;
        }
        let mut call = Call::of(self, b"set_config")?;
        let name = call.plain_text()?;
        call.symbol(b',')?;
        call.text()?;
        call.symbol(b',')?;
        call.falsehood()?;
        call.end()?;
        Some(name)
    }

    /// Whether it is `SELECT pg_advisory_unlock_all()` and nothing else.
    #[must_use]
    pub fn unlocks_all(&self) -> bool {
        Call::of(self, b"pg_advisory_unlock_all").and_then(|mut call| call.end()).is_some()
    }

    /// Whether a `SET` gives its setting back the value that the session began with: `TO DEFAULT`
    /// and its like. `SET SESSION AUTHORIZATION DEFAULT`, which resets the role too, is none.
    #[must_use]
    pub fn sets_default(&self) -> bool {
        let mut lexer = Lexer::new(self.text, self.backslash);
        let (mut before, mut last) = (None, None);
        while let Some(token) = lexer.next_token() {
            before = last.replace(token);
        }
        let introduces = |token: Token<'_>| {
            let words: [&[u8]; 3] = [b"TO", b"ZONE", b"NAMES"];
            token == Token::Symbol(b'=') || words.iter().any(|word| is_word(token, word))
        };
        !self.cut
            && matches!(self.verb, Verb::Set { .. })
            && last.is_some_and(|token| is_word(token, b"DEFAULT"))
            && before.is_some_and(introduces)
    }
}

/// The arguments of a call, one token after the other.
struct Call<'a> {
    text: &'a [u8],
    lexer: Lexer<'a>,
}

impl<'a> Call<'a> {
    /// Behind `SELECT function(`, or `SELECT pg_catalog.function(`.
    fn of(statement: &Statement<'a>, function: &[u8]) -> Option<Self> {
        if statement.cut || statement.verb != Verb::Select {
            return None;
        }
        let lexer = Lexer::new(statement.text, statement.backslash);
        let mut call = Self { text: statement.text, lexer };
        call.word(b"select")?;
        let first = call.lexer.next_token()?;
        if is_word(first, b"pg_catalog") {
            call.symbol(b'.')?;
            call.word(function)?;
        } else if !is_word(first, function) {
            return None;
        }
        call.symbol(b'(')?;
        Some(call)
    }

    fn word(&mut self, expected: &[u8]) -> Option<()> {
        self.lexer.next_token().filter(|token| is_word(*token, expected)).map(drop)
    }

    fn symbol(&mut self, expected: u8) -> Option<()> {
        self.lexer.next_token().filter(|token| *token == Token::Symbol(expected)).map(drop)
    }

    /// A string constant, as it is written.
    fn text(&mut self) -> Option<&'a [u8]> {
        match self.lexer.next_token()? {
            Token::Text if self.lexer.cut().is_none() => {
                self.text.get(self.lexer.start()..self.lexer.position())
            }
            Token::Text
            | Token::Word(_)
            | Token::Quoted(_)
            | Token::Unicode
            | Token::Number
            | Token::Parameter
            | Token::Symbol(_) => None,
        }
    }

    /// What a string constant of letters, digits, `_` and `.` says, in lower case.
    fn plain_text(&mut self) -> Option<String> {
        let inner = self.text()?.strip_prefix(b"'")?.strip_suffix(b"'")?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        if inner.is_empty() || !inner.iter().all(plain) {
            return None;
        }
        Some(String::from_utf8_lossy(inner).to_ascii_lowercase())
    }

    /// `false`, as a word or in quotes.
    fn falsehood(&mut self) -> Option<()> {
        match self.lexer.next_token()? {
            Token::Word(word) => word.eq_ignore_ascii_case(b"false").then_some(()),
            Token::Text => {
                let written = self.text.get(self.lexer.start()..self.lexer.position())?;
                let known: [&[u8]; 2] = [b"'false'", b"'f'"];
                known.iter().any(|one| written.eq_ignore_ascii_case(one)).then_some(())
            }
            Token::Quoted(_)
            | Token::Unicode
            | Token::Number
            | Token::Parameter
            | Token::Symbol(_) => None,
        }
    }

    /// `)`, and nothing behind it.
    fn end(&mut self) -> Option<()> {
        self.symbol(b')')?;
        self.lexer.next_token().is_none().then_some(())
    }
}

fn is_word(token: Token<'_>, expected: &[u8]) -> bool {
    matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(expected))
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
