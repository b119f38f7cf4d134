//! House rules as tests, and the one command that runs every check (`cargo verify`).
//!
//! The rules themselves are the tests of this package, one `#[test]` each: `sources` (how the code
//! is written), `layering` (who may use whom), `documents` (what is promised in words is there) and
//! `settings` (the manual's page of settings is what the program has). Here is what they share.

pub mod mask;
pub mod tally;
pub mod tree;

use std::fmt::Write as _;

/// What a rule found, each with its place.
#[derive(Debug, Default)]
pub struct Offences(Vec<String>);

impl Offences {
    /// Notes an offence at a line, counted from 1.
    pub fn at(&mut self, file: &tree::File, line: usize, what: impl std::fmt::Display) {
        self.0.push(format!("{}:{line}: {what}", file.path));
    }

    /// Notes an offence of a whole file, or of something that has no line.
    pub fn of(&mut self, whose: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.0.push(format!("{whose}: {what}"));
    }

    /// Asserts that there are none; `rule` is what the reader of a failure is told first.
    ///
    /// # Panics
    /// When there are some.
    pub fn none(self, rule: &str) {
        let mut text = String::new();
        for offence in &self.0 {
            let _ = write!(text, "\n  {offence}"); // a String takes everything
        }
        assert!(self.0.is_empty(), "{rule}{text}\n");
    }
}
