//! The configuration file: TOML, every key known, every mistake with its line.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::dsn::nearest;
use super::given::{ConfigError, Given, Origin};
use super::settings::{self, SETTINGS, Shape};
use super::tables;

/// Longest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a file into the layer below those that `given` holds already.
///
/// # Errors
/// One sentence with the file, the line and the key.
pub fn read(path: &Path, given: &mut Given) -> Result<(), ConfigError> {
    let text = bounded(path, FILE_BYTES_MAX)
        .map_err(|problem| ConfigError(format!("{}: {problem}", path.display())))?;
    parse(path, &text, given)
}

pub(super) fn bounded(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(bytes_max + 1).read_to_string(&mut text);
    let read = read.map_err(|error| error.to_string())?;
    if u64::try_from(read).is_ok_and(|read| read > bytes_max) {
        return Err(format!("is longer than {bytes_max} bytes"));
    }
    Ok(text)
}

/// Reads a file's text.
pub(super) fn parse(path: &Path, text: &str, given: &mut Given) -> Result<(), ConfigError> {
    let source = Source { path, text };
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| source.line(&span));
        ConfigError(format!("{} line {line}: {}", path.display(), error.message()))
    })?;
    for (key, value) in table.get_ref() {
        let origin = source.origin(key);
        match key.get_ref().as_ref() {
            "users" => {
                given.users = tables::users(&source, &origin, value)?;
                continue;
            }
            "databases" => {
                given.databases = tables::databases(&source, &origin, value)?;
                continue;
            }
            _ => {}
        }
        let Some(setting) = settings::find(key.get_ref()) else {
            let known = SETTINGS.iter().map(|setting| setting.key).chain(["users", "databases"]);
            return Err(unknown(&origin, key.get_ref(), "setting", known));
        };
        let texts = texts(value.get_ref(), setting.shape)
            .map_err(|problem| ConfigError::at(&origin, problem))?;
        given.add(setting, origin, texts);
    }
    Ok(())
}

pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn origin<T: AsRef<str>>(&self, key: &Spanned<T>) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: self.line(&key.span()),
            key: key.get_ref().as_ref().to_owned(),
        }
    }
}

pub(super) fn unknown<'a>(
    origin: &Origin,
    key: &str,
    what: &str,
    known: impl Iterator<Item = &'a str>,
) -> ConfigError {
    let hint = nearest(key, known).map(|name| format!("; did you mean {name}?"));
    ConfigError::at(origin, format!("there is no such {what}{}", hint.unwrap_or_default()))
}

fn texts(value: &DeValue<'_>, shape: Shape) -> Result<Vec<String>, String> {
    if let (DeValue::Array(array), Shape::List) = (value, shape) {
        let texts = array.iter().map(|value| text(value.get_ref(), Shape::List));
        return texts.collect();
    }
    text(value, shape).map(|text| vec![text])
}

pub(super) fn text(value: &DeValue<'_>, shape: Shape) -> Result<String, String> {
    match (value, shape) {
        (DeValue::Boolean(value), Shape::Switch) => Ok(value.to_string()),
        (DeValue::String(value), Shape::Text | Shape::List) => Ok(value.to_string()),
        (DeValue::Integer(value), Shape::Text) if value.radix() == 10 => {
            Ok(value.as_str().replace('_', ""))
        }
        (other, Shape::Switch) => Err(format!("wants true or false, found {}", other.type_str())),
        (other, Shape::Text | Shape::List) => {
            Err(format!("wants text in quotes, found {}", other.type_str()))
        }
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
