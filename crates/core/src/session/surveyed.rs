//! What texts have told, so that one that differs in numbers alone need not be read again.
//!
//! Applications send the same few texts over and over, by the simple protocol with other numbers
//! in them. To a lexer two such texts are the same tokens, and nothing that a [`Survey`] tells
//! depends on what a number says, with one exception: `SELECT 1`.

use std::sync::Arc;

use super::survey::Survey;
use crate::limits::{SURVEYED_BYTES_MAX, SURVEYED_MAX};

/// The last different texts that told nothing in particular, and what they told.
///
/// It belongs to a backend connection and not to a client: there are few of them, and what one
/// client says the next one says too.
#[derive(Debug, Default)]
pub struct Surveyed {
    known: Vec<(Box<[u8]>, Arc<Survey>)>,
    /// Which of them is replaced next.
    next: usize,
}

impl Surveyed {
    /// What [`Survey::of`] says.
    pub fn survey(&mut self, text: &[u8], cut: bool) -> Arc<Survey> {
        if cut || text.len() > SURVEYED_BYTES_MAX {
            return Arc::new(Survey::of(text, cut));
        }
        if let Some((_, survey)) = self.known.iter().find(|(known, _)| alike(known, text)) {
            return Arc::clone(survey);
        }
        let survey = Arc::new(Survey::of(text, cut));
        if survey.is_plain() {
            let entry = (text.into(), Arc::clone(&survey));
            match self.known.get_mut(self.next) {
                Some(place) => *place = entry,
                None => self.known.push(entry),
            }
            self.next = self.next.saturating_add(1);
            if self.next >= SURVEYED_MAX {
                self.next = 0;
            }
        }
        survey
    }
}

/// Whether two texts differ in nothing but the digits of numbers.
///
/// Digits behind a letter, a digit that differs, `_`, `$` or a byte beyond ASCII may be part of a
/// name, a parameter or the tag of a string, and have to be the same.
fn alike(mut left: &[u8], mut right: &[u8]) -> bool {
    loop {
        let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
        if same == left.len() && same == right.len() {
            return true;
        }
        // Where they differ, back to where the number begins.
        let before = left.get(..same).unwrap_or_default();
        let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let begins = same.saturating_sub(digits);
        let (Some(a), Some(b)) = (number(left, begins), number(right, begins)) else {
            return false;
        };
        (left, right) = (a, b);
    }
}

/// What comes after the number that begins at `begins`, if one does.
fn number(text: &[u8], begins: usize) -> Option<&[u8]> {
    let (before, from) = text.split_at_checked(begins)?;
    let of_word = |byte: &u8| byte.is_ascii_alphabetic() || matches!(*byte, b'_' | b'$' | 0x80..);
    let digits = from.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || before.last().is_some_and(of_word) {
        return None;
    }
    from.get(digits..)
}

#[cfg(test)]
#[path = "surveyed_tests.rs"]
mod tests;
