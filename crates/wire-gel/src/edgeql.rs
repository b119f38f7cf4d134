//! The few statements of `EdgeQL` that every client sends: where a transaction begins and ends.

use std::fmt::Write as _;

/// How a transaction sees others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Isolation {
    /// As if they ran one after the other.
    Serializable,
    /// What it has seen once stays.
    RepeatableRead,
    /// Each statement sees what is committed.
    ReadCommitted,
}

/// What a transaction may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// How a transaction is to be; what is `None` is as the server has it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Modes {
    /// How it sees others.
    pub isolation: Option<Isolation>,
    /// What it may do.
    pub access: Option<Access>,
    /// Whether it may wait for a snapshot that needs no check.
    pub deferrable: Option<bool>,
}

impl Modes {
    /// These modes, and those of `other` where these do not say.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            isolation: self.isolation.or(other.isolation),
            access: self.access.or(other.access),
            deferrable: self.deferrable.or(other.deferrable),
        }
    }

    /// Whether they say nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The statement of SQL that begins such a transaction.
    #[must_use]
    pub fn begin(self) -> String {
        let isolation = self.isolation.map(|isolation| match isolation {
            Isolation::Serializable => "ISOLATION LEVEL SERIALIZABLE",
            Isolation::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
            Isolation::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
        });
        let access = self.access.map(|access| match access {
            Access::ReadOnly => "READ ONLY",
            Access::ReadWrite => "READ WRITE",
        });
        let deferrable =
            self.deferrable.map(|yes| if yes { "DEFERRABLE" } else { "NOT DEFERRABLE" });
        let mut sql = "BEGIN".to_owned();
        for mode in [isolation, access, deferrable].into_iter().flatten() {
            write!(sql, " {mode}").expect("a String takes everything");
        }
        sql
    }

    /// Reads transaction modes as SQL writes them; only for a text that is known to hold no others.
    #[must_use]
    pub fn from_sql(modes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(modes).to_uppercase();
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
        let text = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let has = |what: &str| text.contains(what);
        let isolation = if has("SERIALIZABLE") {
            Some(Isolation::Serializable)
        } else if has("REPEATABLE READ") {
            Some(Isolation::RepeatableRead)
        } else if has("READ COMMITTED") || has("READ UNCOMMITTED") {
            Some(Isolation::ReadCommitted)
        } else {
            None
        };
        let access = if has("READ ONLY") {
            Some(Access::ReadOnly)
        } else if has("READ WRITE") {
            Some(Access::ReadWrite)
        } else {
            None
        };
        let deferrable = has("DEFERRABLE").then(|| !has("NOT DEFERRABLE"));
        Self { isolation, access, deferrable }
    }
}

/// A statement about the transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Control {
    /// `START TRANSACTION`.
    Start(Modes),
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
    /// `DECLARE SAVEPOINT`.
    Savepoint(String),
    /// `ROLLBACK TO SAVEPOINT`.
    RollbackTo(String),
    /// `RELEASE SAVEPOINT`.
    Release(String),
}

impl Control {
    /// Its name, which is what clients are told when it has been carried out.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Start(_) => "START TRANSACTION",
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
            Self::Savepoint(_) => "DECLARE SAVEPOINT",
            Self::RollbackTo(_) => "ROLLBACK TO SAVEPOINT",
            Self::Release(_) => "RELEASE SAVEPOINT",
        }
    }

    /// Reads a command; `None` when it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = Words { rest: text };
        let control = match words.keyword()?.as_str() {
            "START" => {
                words.expect("TRANSACTION")?;
                return words.modes().map(Self::Start);
            }
            "COMMIT" => Self::Commit,
            "ROLLBACK" if words.ended() => Self::Rollback,
            "ROLLBACK" => {
                words.expect("TO")?;
                words.expect("SAVEPOINT")?;
                Self::RollbackTo(words.name()?)
            }
            "DECLARE" => {
                words.expect("SAVEPOINT")?;
                Self::Savepoint(words.name()?)
            }
            "RELEASE" => {
                words.expect("SAVEPOINT")?;
                Self::Release(words.name()?)
            }
            _ => return None,
        };
        words.ended().then_some(control)
    }
}

/// Longest name of a savepoint, in bytes; PostgreSQL's own bound on names.
const NAME_BYTES_MAX: usize = 63;

/// What is still to be read of a command.
#[derive(Clone, Copy, Debug)]
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// Passes over white space and comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest.trim_start();
            let Some(comment) = rest.strip_prefix('#') else {
                self.rest = rest;
                return;
            };
            self.rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn word(&mut self) -> Option<&'a str> {
        self.skip();
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        let end = self.rest.find(|c: char| !in_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// The next word in capitals.
    fn keyword(&mut self) -> Option<String> {
        self.word().map(str::to_ascii_uppercase)
    }

    fn expect(&mut self, keyword: &str) -> Option<()> {
        (self.keyword()? == keyword).then_some(())
    }

    /// A name, in backquotes or not.
    fn name(&mut self) -> Option<String> {
        self.skip();
        let name = if let Some(quoted) = self.rest.strip_prefix('`') {
            let (name, rest) = quoted.split_once('`')?;
            self.rest = rest;
            name
        } else {
            self.word()?
        };
        let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains('\0');
        fits.then(|| name.to_owned())
    }

    /// Whether nothing follows but a semicolon.
    fn ended(&self) -> bool {
        let mut rest = *self;
        rest.skip();
        rest.rest = rest.rest.strip_prefix(';').unwrap_or(rest.rest);
        rest.skip();
        rest.rest.is_empty()
    }

    /// `opt {"," opt}` to the end.
    fn modes(&mut self) -> Option<Modes> {
        let mut modes = Modes::default();
        if self.ended() {
            return Some(modes);
        }
        loop {
            self.mode(&mut modes)?;
            if self.ended() {
                return Some(modes);
            }
            self.skip();
            self.rest = self.rest.strip_prefix(',')?;
        }
    }

    fn mode(&mut self, modes: &mut Modes) -> Option<()> {
        match self.keyword()?.as_str() {
            "ISOLATION" => {
                modes.isolation = Some(match self.keyword()?.as_str() {
                    "SERIALIZABLE" => Isolation::Serializable,
                    "REPEATABLE" => {
                        self.expect("READ")?;
                        Isolation::RepeatableRead
                    }
                    _ => return None,
                });
            }
            "READ" => {
                modes.access = Some(match self.keyword()?.as_str() {
                    "ONLY" => Access::ReadOnly,
                    "WRITE" => Access::ReadWrite,
                    _ => return None,
                });
            }
            "NOT" => {
                self.expect("DEFERRABLE")?;
                modes.deferrable = Some(false);
            }
            "DEFERRABLE" => modes.deferrable = Some(true),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
#[path = "edgeql_tests.rs"]
mod tests;
