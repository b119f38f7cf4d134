//! The configuration file: TOML, every key known, every mistake with its line.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use everline_wire::auth::secret::Secret;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::dsn::nearest;
use super::given::{ConfigError, Given, GivenUser, Origin};
use super::settings::{self, SETTINGS, Shape};

/// Longest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Most users that one file may name.
const USERS_MAX: usize = 10_000;

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
        if key.get_ref() == "users" {
            given.users = users(&source, &origin, value)?;
            continue;
        }
        let Some(setting) = settings::find(key.get_ref()) else {
            let known = SETTINGS.iter().map(|setting| setting.key).chain(["users"]);
            return Err(unknown(&origin, key.get_ref(), "setting", known));
        };
        let texts = texts(value.get_ref(), setting.shape)
            .map_err(|problem| ConfigError::at(&origin, problem))?;
        given.add(setting, origin, texts);
    }
    Ok(())
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    fn origin<T: AsRef<str>>(&self, key: &Spanned<T>) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: self.line(&key.span()),
            key: key.get_ref().as_ref().to_owned(),
        }
    }
}

fn unknown<'a>(
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

fn text(value: &DeValue<'_>, shape: Shape) -> Result<String, String> {
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

fn users(
    source: &Source<'_>,
    origin: &Origin,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<GivenUser>, ConfigError> {
    let wrong = || ConfigError::at(origin, "users are written as [[users]] tables");
    let array = value.get_ref().as_array().ok_or_else(wrong)?;
    if array.iter().count() > USERS_MAX {
        return Err(ConfigError::at(origin, format!("names more than {USERS_MAX} users")));
    }
    let mut users: Vec<GivenUser> = Vec::new();
    for entry in array {
        let table = entry.get_ref().as_table().ok_or_else(wrong)?;
        let at = Origin::File {
            path: source.path.to_owned(),
            line: source.line(&entry.span()),
            key: "users".to_owned(),
        };
        let user = user(source, at, table)?;
        if users.iter().any(|other| other.name == user.name) {
            return Err(ConfigError::at(&user.origin, "this user is named twice"));
        }
        users.push(user);
    }
    Ok(users)
}

fn user(source: &Source<'_>, at: Origin, table: &DeTable<'_>) -> Result<GivenUser, ConfigError> {
    const KEYS: [&str; 3] = ["name", "password", "password_file"];
    let mut found: [Option<String>; 3] = [None, None, None];
    for (key, value) in table {
        let origin = source.origin(key);
        let slot = KEYS.iter().zip(&mut found).find(|(name, _)| *name == key.get_ref());
        let Some((_, slot)) = slot else {
            return Err(unknown(&origin, key.get_ref(), "key of a user", KEYS.into_iter()));
        };
        let text = value.get_ref().as_str().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| ConfigError::at(&origin, "wants text in quotes"))?;
        *slot = Some(text.to_owned());
    }
    let [name, password, password_file] = found;
    let name = name.ok_or_else(|| ConfigError::at(&at, "a user has no name"))?;
    let secret = match (password, password_file) {
        (Some(password), None) => password,
        (None, Some(file)) => {
            let path = source.path.parent().unwrap_or(Path::new("")).join(file);
            let text = bounded(&path, 4096).map_err(|problem| {
                ConfigError::at(&at, format!("password_file {}: {problem}", path.display()))
            })?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        (Some(_), Some(_)) | (None, None) => {
            let problem = "a user wants either password or password_file";
            return Err(ConfigError::at(&at, problem));
        }
    };
    if secret.is_empty() {
        return Err(ConfigError::at(&at, "the password of a user is empty"));
    }
    Ok(GivenUser { origin: at, name, secret: Secret::plain(secret) })
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
