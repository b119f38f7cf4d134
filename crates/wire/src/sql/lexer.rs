//! SQL's tokens, as PostgreSQL's lexer cuts them (src/backend/parser/scan.l).
//!
//! Only the cutting is needed, so strings and numbers have no value here, and an operator is so
//! many single symbols.

use memchr::{memchr, memchr2, memmem};

/// A piece of SQL that is neither white space nor comment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Token<'a> {
    /// A keyword or an identifier without quotes.
    Word(&'a [u8]),
    /// What stands between the quotes of an identifier; a quote in it is doubled.
    Quoted(&'a [u8]),
    /// An identifier with Unicode escapes (`U&"…"`): what it says is not read.
    Unicode,
    /// A string constant of whichever kind.
    Text,
    /// The digits that begin a number.
    Number,
    /// `$1` and its like.
    Parameter,
    /// Any other byte.
    Symbol(u8),
}

/// Where in a text the next token is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    rest: &'a [u8],
    start: usize,
    /// Where the token or comment began that has no end.
    cut: Option<usize>,
    /// Backslashes escape in plain strings too (`standard_conforming_strings = off`).
    pub(super) backslash: bool,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a [u8], backslash: bool) -> Self {
        Self { text, rest: text, start: 0, cut: None, backslash }
    }

    /// Where the last token began.
    pub(super) const fn start(&self) -> usize {
        self.start
    }

    /// Where the last token ended.
    pub(super) const fn position(&self) -> usize {
        self.text.len().saturating_sub(self.rest.len())
    }

    /// What comes after the last token.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Where the token or comment began in which the text ended, if it ended in one.
    pub(super) const fn cut(&self) -> Option<usize> {
        self.cut
    }

    #[inline]
    pub(super) fn next_token(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        self.start = self.position();
        let (first, after) = self.rest.split_first()?;
        let second = after.first().copied().unwrap_or_default();
        Some(match *first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => match (first | 0x20, second) {
                (b'e', b'\'') => self.string(2, true),
                (b'b' | b'n' | b'x', b'\'') => self.string(2, self.backslash),
                (b'u', b'&') if after.get(1) == Some(&b'\'') => self.string(3, false),
                (b'u', b'&') if after.get(1) == Some(&b'"') => {
                    self.quoted(3);
                    Token::Unicode
                }
                _ => Token::Word(self.take_while(is_word)),
            },
            b'\'' => self.string(1, self.backslash),
            b'"' => Token::Quoted(self.quoted(1)),
            b'0'..=b'9' => {
                self.take_while(|byte| byte.is_ascii_digit());
                Token::Number
            }
            b'$' if second.is_ascii_digit() => {
                self.advance(1);
                self.take_while(|byte| byte.is_ascii_digit());
                Token::Parameter
            }
            b'$' => self.dollar(),
            symbol => {
                self.advance(1);
                Token::Symbol(symbol)
            }
        })
    }

    fn skip_blank(&mut self) {
        loop {
            match self.rest {
                [byte, ..] if is_space(*byte) => self.advance(1),
                [b'-', b'-', ..] => self.line_comment(),
                [b'/', b'*', ..] => self.block_comment(),
                _ => return,
            }
        }
    }

    fn line_comment(&mut self) {
        self.advance(memchr2(b'\n', b'\r', self.rest).unwrap_or(self.rest.len()));
    }

    fn block_comment(&mut self) {
        let start = self.position();
        let mut depth: usize = 0;
        while let Some(next) = memchr2(b'/', b'*', self.rest) {
            self.advance(next);
            match self.rest {
                [b'/', b'*', ..] => {
                    depth = depth.saturating_add(1);
                    self.advance(2);
                }
                [b'*', b'/', ..] => {
                    depth = depth.saturating_sub(1);
                    self.advance(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.advance(1),
            }
        }
        self.end(start);
    }

    /// A string whose opening, quote included, has `opening` bytes.
    fn string(&mut self, opening: usize, backslash: bool) -> Token<'a> {
        self.advance(opening);
        loop {
            let next =
                if backslash { memchr2(b'\'', b'\\', self.rest) } else { memchr(b'\'', self.rest) };
            let Some(next) = next else {
                self.end(self.start);
                return Token::Text;
            };
            self.advance(next);
            match self.rest {
                [b'\\'] => self.advance(1), // and then the end, which is the wrong one
                [b'\\', ..] | [b'\'', b'\'', ..] => self.advance(2),
                _ => {
                    self.advance(1);
                    if backslash && let Some(bytes) = self.continuation() {
                        self.advance(bytes);
                    } else {
                        return Token::Text;
                    }
                }
            }
        }
    }

    /// How many bytes lie between a string's end and its continuation on another line, opening
    /// quote included. What follows is read by the rules of the first part, backslashes included.
    fn continuation(&self) -> Option<usize> {
        let mut ahead = *self;
        let mut newline = false;
        loop {
            match ahead.rest {
                [b'\n' | b'\r', ..] => {
                    newline = true;
                    ahead.advance(1);
                }
                [byte, ..] if is_space(*byte) => ahead.advance(1),
                [b'-', b'-', ..] => ahead.line_comment(),
                [b'\'', ..] if newline => {
                    ahead.advance(1);
                    return self.rest.len().checked_sub(ahead.rest.len());
                }
                _ => return None,
            }
        }
    }

    /// What a quoted identifier holds; its opening, quote included, has `opening` bytes.
    fn quoted(&mut self, opening: usize) -> &'a [u8] {
        self.advance(opening);
        let whole = self.rest;
        while let Some(next) = memchr(b'"', self.rest) {
            self.advance(next);
            if let [b'"', b'"', ..] = self.rest {
                self.advance(2);
            } else {
                let length = whole.len().saturating_sub(self.rest.len());
                self.advance(1);
                return whole.get(..length).unwrap_or_default();
            }
        }
        self.end(self.start);
        whole
    }

    /// A string between `$tag$`s, or a dollar sign alone.
    fn dollar(&mut self) -> Token<'a> {
        let whole = self.rest;
        self.advance(1);
        let tag = self.take_while(|byte| is_word(byte) && byte != b'$');
        let delimiter = tag.len().checked_add(2).and_then(|length| whole.get(..length));
        match delimiter {
            Some(delimiter)
                if self.rest.first() == Some(&b'$')
                    && !tag.first().is_some_and(u8::is_ascii_digit) =>
            {
                self.advance(1);
                match memmem::find(self.rest, delimiter) {
                    Some(end) => self.advance(end.saturating_add(delimiter.len())),
                    None => self.end(self.start),
                }
                Token::Text
            }
            Some(_) | None => {
                self.rest = whole;
                self.advance(1);
                Token::Symbol(b'$')
            }
        }
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest;
        let length = rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.advance(length);
        rest.get(..length).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// The text has ended in what began at `start`.
    fn end(&mut self, start: usize) {
        self.rest = &[];
        self.cut = Some(start);
    }
}

const fn is_word(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'$' | 0x80..)
}

/// The vertical tab is white space since PostgreSQL 16 and an error before.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
#[path = "lexer_tests.rs"]
mod tests;
