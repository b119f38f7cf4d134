//! The keyword/value form of a DSN, by the rules of libpq's `conninfo_parse`.

use std::iter::Peekable;
use std::str::Chars;

use super::error::DsnError;
use super::read::{Given, Shown};

/// Reads `name = value` pairs separated by white space; values may stand in single quotes, and a
/// backslash makes the next character plain.
///
/// A password with a blank that should have been quoted spills into the words after it, so these
/// messages count parameters instead of repeating them, and names after a password are not shown.
pub(super) fn read(text: &str, given: &mut Given) -> Result<(), DsnError> {
    let mut rest = text.chars().peekable();
    let mut shown = Shown::Name;
    for number in 1.. {
        skip_blanks(&mut rest);
        if rest.peek().is_none() {
            break;
        }
        let place = format!("parameter {number} of the connection string");
        let name = take_while(&mut rest, |c| c != '=' && !c.is_ascii_whitespace());
        skip_blanks(&mut rest);
        if rest.next_if_eq(&'=').is_none() {
            return Err(DsnError::Syntax(format!(
                "{place} has no = after its name; a value with blanks stands in single quotes"
            )));
        }
        skip_blanks(&mut rest);
        let value = value(&mut rest, &place)?;
        given.add(&name, value, shown, &place)?;
        if name == "password" {
            shown = Shown::Place;
        }
    }
    Ok(())
}

fn value(rest: &mut Peekable<Chars<'_>>, place: &str) -> Result<String, DsnError> {
    let quoted = rest.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match rest.next() {
            None if quoted => {
                return Err(DsnError::Syntax(format!("{place} has no closing quote")));
            }
            None => return Ok(value),
            Some('\'') if quoted => return Ok(value),
            Some(blank) if !quoted && blank.is_ascii_whitespace() => return Ok(value),
            Some('\\') => value.extend(rest.next()),
            Some(plain) => value.push(plain),
        }
    }
}

fn skip_blanks(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(char::is_ascii_whitespace).is_some() {}
}

fn take_while(rest: &mut Peekable<Chars<'_>>, belongs: impl Fn(char) -> bool) -> String {
    let mut taken = String::new();
    while let Some(character) = rest.next_if(|character| belongs(*character)) {
        taken.push(character);
    }
    taken
}
