//! From the settings as written to a checked [`Config`].

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use everline_wire::auth::secret::{Secret, Verifier};

use super::dsn::stolon::{self, Stolon};
use super::dsn::{Dsn, DsnError, Surroundings};
use super::given::{ConfigError, Given, GivenUser, Origin, Value};
use super::value::{self, Zero};
use super::{
    BackendConfig, Config, Credential, Door, GelConfig, GelIsolation, GelUnavailable, HaMode,
    Listen, LogConfig, LogFormat, Percent, ResolverChoice, Source, User, file, hba,
};

impl Config {
    /// Checks everything: the flags over the environment over the file over the defaults.
    ///
    /// # Errors
    /// One sentence that names the flag, the variable or the line.
    pub fn load(
        mut flags: Given,
        path: Option<&Path>,
        surroundings: &Surroundings<'_>,
    ) -> Result<Self, ConfigError> {
        flags.add_environment(surroundings.variable);
        if let Some(path) = path {
            file::read(path, &mut flags)?;
        }
        flags.add_defaults();
        Layers { given: &flags, surroundings }.config()
    }
}

impl Config {
    /// Checks the text of a file alone: no flags, no environment.
    ///
    /// # Errors
    /// One sentence that names the line.
    pub fn of_text(
        path: &Path,
        text: &str,
        surroundings: &Surroundings<'_>,
    ) -> Result<Self, ConfigError> {
        let mut given = Given::default();
        file::parse(path, text, &mut given)?;
        given.add_defaults();
        Layers { given: &given, surroundings }.config()
    }

    /// Where the status page is, whatever else may be missing.
    ///
    /// # Errors
    /// One sentence that names the flag, the variable or the line.
    pub fn http_listen(
        mut flags: Given,
        path: Option<&Path>,
        surroundings: &Surroundings<'_>,
    ) -> Result<Option<SocketAddr>, ConfigError> {
        flags.add_environment(surroundings.variable);
        if let Some(path) = path {
            file::read(path, &mut flags)?;
        }
        flags.add_defaults();
        Layers { given: &flags, surroundings }.http()
    }
}

/// Longest file with a token, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

pub(super) struct Layers<'a> {
    pub(super) given: &'a Given,
    surroundings: &'a Surroundings<'a>,
}

impl Layers<'_> {
    fn config(&self) -> Result<Config, ConfigError> {
        let backend = self.backend()?;
        let takeover = self.given.get("takeover").map(Given::path);
        let frontend = self.frontend(&backend.dsn)?;
        Ok(Config {
            backend,
            frontend,
            pool: self.pool()?,
            failover: self.failover()?,
            gel: self.gel()?,
            http_listen: self.http()?,
            workers: self.number("workers", 0, 1024)?,
            drain: self.duration("drain_timeout", Zero::Allowed)?,
            takeover,
            linger: self.duration("takeover_linger", Zero::Allowed)?,
            given: self.given.clone(),
            log: LogConfig {
                format: self.read("log_format", |text| {
                    value::word(text, &[("human", LogFormat::Human), ("json", LogFormat::Json)])
                })?,
                filter: self
                    .read("log", |text| crate::log::check(text).map(|()| text.to_owned()))?,
            },
        })
    }

    fn http(&self) -> Result<Option<SocketAddr>, ConfigError> {
        self.read("http_listen", |text| match text.trim() {
            "off" => Ok(None),
            text => value::socket_address(text).map(Some),
        })
    }

    fn backend(&self) -> Result<BackendConfig, ConfigError> {
        let Some(given) = self.given.get("backend_dsn") else {
            return Err(ConfigError(
                "no backend is given: write --backend-dsn, EVERLINE_BACKEND_DSN, or backend_dsn in \
                 the file"
                    .to_owned(),
            ));
        };
        let text = given.texts.first().map_or("", String::as_str);
        let (source, dsn) = self.source(text, &given.origin)?;
        let adaptive = self.read("enable_backend_adaptive_ha", value::boolean)?;
        if adaptive && source != Source::Dsn {
            let problem = "adaptive HA has no place beside a stolon DSN: Stolon says who leads";
            return Err(ConfigError::at(
                &self.value("enable_backend_adaptive_ha")?.origin,
                problem,
            ));
        }
        let disconnect_percent = self.read("backend_adaptive_ha_disconnect_percent", |text| {
            let percent = value::number(text, 1..=100).ok();
            let percent = percent.and_then(|percent| Percent::new(u8::try_from(percent).ok()?));
            percent.ok_or_else(|| "has to be a whole percentage from 1 to 100".to_owned())
        })?;
        let unhealthy_min = self.read("backend_adaptive_ha_unhealthy_min_time", value::seconds)?;
        Ok(BackendConfig {
            ha: if adaptive {
                HaMode::Adaptive { disconnect_percent, unhealthy_min }
            } else {
                HaMode::Fixed
            },
            resolver: self.read("resolver", |text| match text.trim() {
                "system" => Ok(ResolverChoice::System),
                text => value::socket_address(text).map(ResolverChoice::Server).map_err(|_| {
                    "has to be system or the ADDRESS:PORT of a name server".to_owned()
                }),
            })?,
            dial_timeout: self.dial_timeout(&dsn)?,
            resolve_interval: self.duration("resolve_interval", Zero::Refused)?,
            heartbeat_interval: self.duration("heartbeat_interval", Zero::Refused)?,
            heartbeat_timeout: self.duration("heartbeat_timeout", Zero::Refused)?,
            accept_new_cluster: self.read("accept_new_cluster", value::boolean)?,
            dsn,
            source,
        })
    }

    fn source(&self, text: &str, origin: &Origin) -> Result<(Source, Dsn), ConfigError> {
        let wrong = |error: DsnError| ConfigError::at(origin, error);
        let Some((mut stolon, dsn)) = Stolon::parse(text, self.surroundings).map_err(wrong)? else {
            return Ok((Source::Dsn, Dsn::parse(text, self.surroundings).map_err(wrong)?));
        };
        if stolon.token.is_none() {
            stolon.token = self.consul_token()?;
        }
        Ok((Source::Stolon(Box::new(stolon)), dsn))
    }

    /// Consul's token from outside the DSN: the file's, else the environment's.
    fn consul_token(&self) -> Result<Option<Secret>, ConfigError> {
        let Some(given) = self.given.get("consul_token_file") else {
            let token = (self.surroundings.variable)("CONSUL_HTTP_TOKEN");
            let token = token.filter(|token| !token.is_empty());
            let token = token.map(|token| stolon::token(&token)).transpose();
            return token.map_err(|error| ConfigError(format!("CONSUL_HTTP_TOKEN: {error}")));
        };
        let path = Given::path(given);
        let wrong = |problem: String| {
            ConfigError::at(&given.origin, format!("{}: {problem}", path.display()))
        };
        let text = file::bounded(&path, TOKEN_FILE_BYTES_MAX).map_err(wrong)?;
        stolon::token(&text).map(Some).map_err(|error| wrong(error.to_string()))
    }

    fn dial_timeout(&self, dsn: &Dsn) -> Result<Duration, ConfigError> {
        let timeout = self.duration("dial_timeout", Zero::Refused)?;
        let is_default = self
            .given
            .get("dial_timeout")
            .is_some_and(|given| matches!(given.origin, Origin::Default(_)));
        Ok(dsn.connect_timeout.filter(|_| is_default).unwrap_or(timeout))
    }

    /// Names of users; none where nothing is given.
    pub(super) fn names(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        let Some(given) = self.given.get(key) else { return Ok(Vec::new()) };
        let names = given.texts.iter().flat_map(|text| text.split(',')).map(str::trim);
        let names: Vec<String> = names.map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            return Err(ConfigError::at(&given.origin, "names a user without a name"));
        }
        Ok(names)
    }

    fn gel(&self) -> Result<Option<GelConfig>, ConfigError> {
        let listen = self.read("gel_listen", |text| match text.trim() {
            "off" => Ok(None),
            text => value::socket_address(text).map(Some),
        })?;
        let edgeql_as_sql = self.read("gel_edgeql_as_sql", value::boolean)?;
        let unavailable = self.read("gel_unavailable_error", |text| {
            let words = [
                ("backend-unavailable", GelUnavailable::BackendUnavailable),
                ("transaction-conflict", GelUnavailable::TransactionConflict),
            ];
            value::word(text, &words)
        })?;
        let isolation = self.read("gel_isolation", |text| {
            let words = [
                ("serializable", GelIsolation::Serializable),
                ("repeatable-read", GelIsolation::RepeatableRead),
                ("read-committed", GelIsolation::ReadCommitted),
                ("server", GelIsolation::Server),
            ];
            value::word(text, &words)
        })?;
        Ok(listen.map(|listen| GelConfig { listen, edgeql_as_sql, unavailable, isolation }))
    }

    pub(super) fn listen(&self) -> Result<Vec<Listen>, ConfigError> {
        let given = self.value("listen")?;
        let mut places: Vec<Listen> = Vec::new();
        for text in given.texts.iter().flat_map(|text| text.split(',')) {
            let place = value::listen(text).map_err(|problem| wrong(given, text, &problem))?;
            if places.contains(&place) {
                return Err(wrong(given, text, "is given twice"));
            }
            places.push(place);
        }
        if places.is_empty() {
            return Err(ConfigError::at(&given.origin, "names no place to listen at"));
        }
        Ok(places)
    }

    pub(super) fn value(&self, key: &str) -> Result<&Value, ConfigError> {
        self.given.get(key).ok_or_else(|| ConfigError(format!("{key} is not given")))
    }

    pub(super) fn read<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let given = self.value(key)?;
        let text = given.texts.first().map_or("", String::as_str);
        parse(text).map_err(|problem| wrong(given, text, &problem))
    }

    pub(super) fn duration(&self, key: &str, zero: Zero) -> Result<Duration, ConfigError> {
        self.read(key, |text| value::duration(text, zero))
    }

    pub(super) fn number(&self, key: &str, min: usize, max: usize) -> Result<usize, ConfigError> {
        self.read(key, |text| value::number(text, min..=max))
    }
}

/// `--failover-hold: "5" has to be …`
pub(super) fn wrong(given: &Value, text: &str, problem: &str) -> ConfigError {
    struct Quoted<'a>(&'a str);
    impl fmt::Display for Quoted<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let shown: String = self.0.chars().take(60).collect();
            let more = if shown.len() < self.0.len() { "…" } else { "" };
            write!(f, "\"{}{more}\"", shown.escape_debug())
        }
    }
    ConfigError::at(&given.origin, format!("{} {problem}", Quoted(text)))
}

pub(super) fn user(given: &GivenUser, door: &Door) -> Result<Option<User>, ConfigError> {
    let Some(secret) = &given.secret else { return Ok(None) };
    let credential = value::credential(secret);
    let credential = credential.map_err(|problem| ConfigError::at(&given.origin, problem))?;
    let md5 = matches!(&credential, Credential::Verifier(Verifier::Md5(_)));
    if md5 && *door == Door::One(hba::Method::Scram) {
        let problem = "an MD5 hash cannot check a SCRAM login: give the password or a \
                       SCRAM-SHA-256 verifier";
        return Err(ConfigError::at(&given.origin, problem));
    }
    Ok(Some(User { name: given.name.clone(), credential }))
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
