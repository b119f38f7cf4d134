//! The settings as they were written, and where.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use everline_wire::auth::secret::Secret;

use super::settings::{SETTINGS, Setting, Shape};

/// One sentence about one mistake in the configuration, for standard error.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl ConfigError {
    pub(super) fn at(origin: &Origin, problem: impl fmt::Display) -> Self {
        Self(format!("{origin}: {problem}"))
    }
}

/// Where a value was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// On the command line.
    Flag(String),
    /// In an environment variable.
    Variable(String),
    /// In the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// Nowhere: the default.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line, key } => write!(f, "{} line {line}: {key}", path.display()),
            Self::Default(key) => write!(f, "the default of {key}"),
        }
    }
}

/// One setting's values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Value {
    pub origin: Origin,
    /// Exactly one, unless the setting is a list.
    pub texts: Vec<String>,
}

/// A user as the file has it.
#[derive(Clone, Debug)]
pub(super) struct GivenUser {
    pub origin: Origin,
    pub name: String,
    /// A password or a stored verifier.
    pub secret: Option<Secret>,
    pub own: Owned,
}

/// What a user or a database has of its own, by key.
pub(super) type Owned = BTreeMap<&'static str, Value>;

/// A database as the file has it.
#[derive(Clone, Debug)]
pub(super) struct GivenDatabase {
    pub name: String,
    pub own: Owned,
}

/// The settings of all layers; what was added first wins.
#[derive(Clone, Default)]
pub struct Given {
    values: BTreeMap<&'static str, Value>,
    pub(super) users: Vec<GivenUser>,
    pub(super) databases: Vec<GivenDatabase>,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish() // a DSN holds a password
    }
}

impl Given {
    /// Takes a setting unless a layer above has it already.
    pub(super) fn add(&mut self, setting: &'static Setting, origin: Origin, texts: Vec<String>) {
        self.values.entry(setting.key).or_insert(Value { origin, texts });
    }

    /// Takes a flag's values, from the command line.
    pub fn add_flag(&mut self, setting: &'static Setting, texts: Vec<String>) {
        self.add(setting, Origin::Flag(setting.flag()), texts);
    }

    /// Takes what the environment has; an empty variable is not set.
    pub fn add_environment(&mut self, variable: &dyn Fn(&str) -> Option<String>) {
        for setting in SETTINGS {
            let own = setting.variable();
            let others = setting.variables.iter().copied();
            let found = [own.as_str()].into_iter().chain(others).find_map(|name| {
                variable(name).filter(|value| !value.is_empty()).map(|value| (name, value))
            });
            if let Some((name, value)) = found {
                let texts = match setting.shape {
                    Shape::List => value.split(',').map(str::to_owned).collect(),
                    Shape::Text | Shape::Switch => vec![value],
                };
                self.add(setting, Origin::Variable(name.to_owned()), texts);
            }
        }
    }

    /// Fills in the defaults.
    pub(super) fn add_defaults(&mut self) {
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            self.add(setting, Origin::Default(setting.key), vec![setting.default.to_owned()]);
        }
    }

    /// Takes what `other` has for a key, or that it has nothing.
    pub(super) fn keep(&mut self, key: &'static str, other: &Self) {
        match other.values.get(key) {
            Some(value) => drop(self.values.insert(key, value.clone())),
            None => drop(self.values.remove(key)),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A path as written in the file counts from the file's directory, any other from the current
    /// one.
    pub(super) fn path(value: &Value) -> PathBuf {
        let written = value.texts.first().map_or(Path::new(""), Path::new);
        match &value.origin {
            Origin::File { path, .. } => path.parent().unwrap_or(Path::new("")).join(written),
            Origin::Flag(_) | Origin::Variable(_) | Origin::Default(_) => written.to_owned(),
        }
    }
}
