//! PgBouncer's file as its own reader takes it: sections, `key = value`, `%include`.
//!
//! Source: PgBouncer's manual page of its configuration, "File Format" and "Section \[databases\]".

use std::path::Path;

use crate::config::ConfigError;

/// Files that may be read for one import, the first one included.
const FILES_MAX: usize = 100;

/// Files that may include one another.
const DEPTH_MAX: usize = 10;

/// Lines of all files together that say something.
const ENTRIES_MAX: usize = 100_000;

/// `key = value`, and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub section: String,
    pub key: String,
    pub value: String,
    /// `pgbouncer.ini line 3`.
    pub place: String,
}

impl Entry {
    /// A mistake at this entry.
    pub(super) fn wrong(&self, problem: &str) -> ConfigError {
        ConfigError(format!("{}: {}: {problem}", self.place, self.key))
    }
}

/// Reads a file, and those that it includes, through `read`.
pub(super) fn parse(
    path: &Path,
    read: &mut dyn FnMut(&Path) -> Result<String, String>,
) -> Result<Vec<Entry>, ConfigError> {
    let mut reader = Reader { read, files: 0, section: String::new(), entries: Vec::new() };
    reader.file(path, 0).map_err(ConfigError)?;
    Ok(reader.entries)
}

struct Reader<'a> {
    read: &'a mut dyn FnMut(&Path) -> Result<String, String>,
    files: usize,
    /// An included file goes on in the section in which it is included, and may leave another.
    section: String,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        self.files += 1;
        if depth > DEPTH_MAX || self.files > FILES_MAX {
            return Err(format!("{}: too many files include one another", path.display()));
        }
        let text = (self.read)(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for (index, line) in text.lines().enumerate() {
            let place = format!("{} line {}", path.display(), index + 1);
            self.line(line.trim(), &place, depth).map_err(|problem| match problem {
                Problem::Here(problem) => format!("{place}: {problem}"),
                Problem::There(problem) => problem,
            })?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, place: &str, depth: usize) -> Result<(), Problem> {
        let here = |problem: &str| Problem::Here(problem.to_owned());
        if line.is_empty() || line.starts_with([';', '#']) {
            return Ok(());
        }
        if let Some(file) = line.strip_prefix("%include") {
            let file = file.trim();
            if file.is_empty() {
                return Err(here("%include wants a file"));
            }
            return self.file(Path::new(file), depth + 1).map_err(Problem::There);
        }
        if let Some(section) = line.strip_prefix('[') {
            let section = section.strip_suffix(']').ok_or_else(|| here("a ] is missing"))?;
            section.trim().clone_into(&mut self.section);
            return Ok(());
        }
        let (key, rest) = key(line).ok_or_else(|| here("wants a key"))?;
        let value = rest.trim_start().strip_prefix('=').ok_or_else(|| here("wants a ="))?;
        if self.section.is_empty() {
            return Err(here("stands before the first [section]"));
        }
        if self.entries.len() >= ENTRIES_MAX {
            return Err(here("there is too much of it"));
        }
        self.entries.push(Entry {
            section: self.section.clone(),
            key,
            value: value.trim().to_owned(),
            place: place.to_owned(),
        });
        Ok(())
    }
}

enum Problem {
    /// On this line.
    Here(String),
    /// In a file that it includes, whose name it has.
    There(String),
}

/// The key with which a line begins, in quotes where it is an unusual name, and the rest.
fn key(line: &str) -> Option<(String, &str)> {
    if line.starts_with('"') {
        return quoted(line, '"');
    }
    let end = line.find(|c: char| !(c.is_alphanumeric() || "_.-*".contains(c)));
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    (!key.is_empty()).then(|| (key.to_owned(), rest))
}

/// Text in quotes, of which one within is written twice, and what follows.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix(quote)?;
    let mut read = String::new();
    loop {
        let (part, after) = rest.split_once(quote)?;
        read.push_str(part);
        match after.strip_prefix(quote) {
            Some(more) => {
                read.push(quote);
                rest = more;
            }
            None => return Some((read, after)),
        }
    }
}

/// The pairs of a database's or a user's line: `host=h port=5433 password='it''s'`.
pub(super) fn pairs(entry: &Entry) -> Result<Vec<(String, String)>, ConfigError> {
    let mut pairs = Vec::new();
    let mut rest = entry.value.trim_start();
    while !rest.is_empty() {
        let (name, after) =
            rest.split_once('=').ok_or_else(|| entry.wrong("wants pairs of name=value"))?;
        let after = after.trim_start();
        let (value, after) = if after.starts_with('\'') {
            quoted(after, '\'').ok_or_else(|| entry.wrong("a quote is not closed"))?
        } else {
            let end = after.find(char::is_whitespace).unwrap_or(after.len());
            let (value, after) = after.split_at(end);
            (value.to_owned(), after)
        };
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(entry.wrong("wants pairs of name=value"));
        }
        pairs.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}
