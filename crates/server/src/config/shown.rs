//! The settings as they are in force, for those who look.

use super::settings::{self, SETTINGS};
use super::{Config, Given, Source};

/// One setting. Holds no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// Its key.
    pub key: &'static str,
    /// What it is.
    pub value: String,
    /// What it would be if nothing were said; empty: nothing.
    pub default: &'static str,
    /// Whether a reload changes it.
    pub changeable: bool,
}

impl Config {
    /// Every setting, in the order of the help.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let shown = |setting: &settings::Setting| Shown {
            key: setting.key,
            value: match setting.key {
                // It holds a password, and perhaps more of them in its parameters.
                "backend_dsn" => self.place(),
                key => self.given.texts(key).join(", "),
            },
            default: setting.default,
            changeable: !settings::needs_restart(setting.key),
        };
        SETTINGS.iter().map(shown).collect()
    }

    /// Where the backends are and who logs in there: the DSN without what may be secret.
    fn place(&self) -> String {
        let dsn = &self.backend.dsn;
        let (user, database) = (&dsn.user, &dsn.database);
        match &self.backend.source {
            Source::Dsn => {
                let hosts: Vec<String> = dsn.hosts.iter().map(ToString::to_string).collect();
                format!("postgres://{user}@{}/{database}", hosts.join(","))
            }
            Source::Stolon(stolon) => {
                format!("stolon+consul: cluster {}, {user} in {database}", stolon.cluster)
            }
        }
    }

    /// The new configuration, with what needs a restart as it is here.
    #[must_use]
    pub fn with_changeable(&self, new: Self) -> Self {
        let mut given = new.given;
        for setting in SETTINGS.iter().filter(|setting| settings::needs_restart(setting.key)) {
            given.keep(setting.key, &self.given);
        }
        let mut frontend = new.frontend;
        frontend.listen.clone_from(&self.frontend.listen);
        frontend.socket_mode = self.frontend.socket_mode;
        frontend.reuse_port = self.frontend.reuse_port;
        frontend.peers.clone_from(&self.frontend.peers);
        let mut log = new.log;
        log.format = self.log.format;
        Self {
            frontend,
            gel: self.gel,
            http_listen: self.http_listen,
            workers: self.workers,
            takeover: self.takeover.clone(),
            given,
            log,
            ..new
        }
    }
}

impl Given {
    /// The keys whose values differ, in the order of the help.
    #[must_use]
    pub fn changed(&self, other: &Self) -> Vec<&'static str> {
        let differs = |key: &&str| self.texts(key) != other.texts(key);
        SETTINGS.iter().map(|setting| setting.key).filter(differs).collect()
    }

    /// What was given for a key; nothing, when nothing was.
    #[must_use]
    pub fn texts(&self, key: &str) -> &[String] {
        self.get(key).map(|value| value.texts.as_slice()).unwrap_or_default()
    }
}
