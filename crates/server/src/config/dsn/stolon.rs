//! `stolon+consul+http(s)://`: the leader is named by Stolon's sentinel, by way of Consul.
//!
//! ```text
//! stolon+consul+http://USER:PASSWORD@AGENT:8500,AGENT:8500/CLUSTER?pgdatabase=app&token=…
//! ```
//!
//! | part | meaning |
//! |---|---|
//! | scheme | `stolon+consul` and `stolon+consul+http`: in the clear; `stolon+consul+https`: TLS |
//! | user, password | of PostgreSQL, not of Consul |
//! | agents | Consul's, asked in turn; `127.0.0.1` and port 8500 by default, with https as well |
//! | path | the name of the Stolon cluster, percent-encoded; required |
//! | `pg…=` | a parameter of the leader's DSN: `pguser`, `pgdatabase`, `pgsslmode`, …; of a repeated one the last counts |
//! | `prefix=` | Stolon's `--store-prefix`; `stolon/cluster` by default |
//! | `token=` | Consul's ACL token |
//! | `cacert=` | the root certificates for Consul, PEM; the system's by default |
//! | `cert=`, `key=` | our certificate for Consul and its key, PEM |
//! | `servername=` | the name in Consul's certificate, where it is not the agent's |
//!
//! `pghost` and `pgport` are refused: the leader's address is what Stolon says.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::error::DsnError;
use super::host::{Host, HostPort};
use super::known::{self, nearest};
use super::read::{self, Given, Shown};
use super::{Dsn, HOSTS_MAX, Surroundings, uri};
use everline_wire::auth::secret::Secret;
use rustls_pki_types::ServerName;

/// Where Stolon keeps the cluster's data, and how it is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stolon {
    /// Consul's agents; never empty.
    pub agents: Vec<HostPort>,
    /// How agents are spoken to over TLS; `None`: in the clear.
    pub tls: Option<ConsulTls>,
    /// Stolon's store prefix, without slashes at its ends.
    pub prefix: String,
    /// The cluster's name.
    pub cluster: String,
    /// Consul's ACL token.
    pub token: Option<Secret>,
}

/// TLS towards Consul.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConsulTls {
    /// Root certificates, PEM; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name to look for in the agent's certificate; `None`: the agent's host.
    pub server_name: Option<String>,
}

/// Consul's port for HTTP, and Gel's default for both schemes.
const PORT: u16 = 8500;

/// Stolon's default of `--store-prefix`.
const PREFIX: &str = "stolon/cluster";

/// Longest name of a cluster and longest prefix, in bytes.
const NAME_BYTES_MAX: usize = 256;

impl Stolon {
    /// Reads a DSN whose scheme begins with `stolon`: where the cluster's data is, and the leader's
    /// DSN without its host. `None`: another scheme.
    ///
    /// # Errors
    /// One sentence that names the part which is wrong, and never shows a password or token.
    pub fn parse(
        text: &str,
        surroundings: &Surroundings<'_>,
    ) -> Result<Option<(Self, Dsn)>, DsnError> {
        read::bounded(text)?;
        let Some((scheme, rest)) = text.split_once("://") else {
            return if ["stolon+", "stolon:"].iter().any(|start| text.starts_with(start)) {
                Err(DsnError::Syntax(
                    "a stolon DSN begins with stolon+consul+http:// or stolon+consul+https://"
                        .to_owned(),
                ))
            } else {
                Ok(None)
            };
        };
        if scheme != "stolon" && !scheme.starts_with("stolon+") {
            return Ok(None);
        }
        let mut stolon = Self {
            agents: Vec::new(),
            tls: tls(scheme)?,
            prefix: PREFIX.to_owned(),
            cluster: String::new(),
            token: None,
        };
        let mut given = Given::default();
        let rest = uri::user_info(rest, &mut given)?;
        let shown = if rest.contains('@') { Shown::Place } else { Shown::Name };
        let rest = uri::hosts(rest, &mut given)?;
        stolon.agents = agents(given.take("host"), given.take("port"), shown)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        stolon.cluster = cluster(path)?;
        let mut pair = [None, None];
        for (index, parameter) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            if !parameter.is_empty() {
                stolon.parameter(index, parameter, shown, &mut pair, &mut given)?;
            }
        }
        stolon.identity(pair)?;
        stolon.names_fit_certificates()?;
        given.add_environment(surroundings)?;
        for elsewhere in ["host", "hostaddr", "port"] {
            drop(given.take(elsewhere)); // PGHOST and its like speak of other servers
        }
        let dsn = read::checked(&given, Vec::new(), surroundings)?;
        Ok(Some((stolon, dsn)))
    }

    fn parameter(
        &mut self,
        index: usize,
        text: &str,
        shown: Shown,
        pair: &mut [Option<PathBuf>; 2],
        given: &mut Given,
    ) -> Result<(), DsnError> {
        let place = format!("parameter {} of the URI's query", index + 1);
        let Some((name, value)) = text.split_once('=') else {
            return Err(DsnError::Syntax(format!("{place} has no ="))); // its text may be a secret
        };
        let (name, value) = (uri::decode(name, &place)?, uri::decode(value, &place)?);
        match (name.as_str(), name.strip_prefix("pg")) {
            ("pghost" | "pgport" | "pghostaddr", _) => Err(DsnError::Conflict(
                "pghost and pgport have no place in a stolon DSN: the leader's address is what \
                 Stolon says",
            )),
            (_, Some(parameter)) if known::find(parameter).is_some() => {
                given.add(parameter, value, shown, &place).map_err(with_prefix)
            }
            ("prefix", _) => {
                self.prefix = prefix(&value)?;
                Ok(())
            }
            ("token", _) => {
                self.token = Some(token(&value)?);
                Ok(())
            }
            ("cacert", _) => {
                self.with_tls("cacert")?.ca = Some(file("cacert", value)?);
                Ok(())
            }
            ("cert", _) => {
                self.with_tls("cert")?;
                pair[0] = Some(file("cert", value)?);
                Ok(())
            }
            ("key", _) => {
                self.with_tls("key")?;
                pair[1] = Some(file("key", value)?);
                Ok(())
            }
            ("servername", _) => {
                self.with_tls("servername")?.server_name = Some(value);
                Ok(())
            }
            (_, _) => Err(unknown(&name, place, shown)),
        }
    }

    fn with_tls(&mut self, name: &'static str) -> Result<&mut ConsulTls, DsnError> {
        let problem = || "is of use with stolon+consul+https:// only".to_owned();
        self.tls.as_mut().ok_or_else(|| DsnError::Value { name, problem: problem() })
    }

    fn identity(&mut self, pair: [Option<PathBuf>; 2]) -> Result<(), DsnError> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        tls.identity = match pair {
            [Some(cert), Some(key)] => Some((cert, key)),
            [None, None] => None,
            [Some(_), None] | [None, Some(_)] => {
                return Err(DsnError::Conflict(
                    "cert and key in the stolon DSN belong together: give both or neither",
                ));
            }
        };
        Ok(())
    }

    /// What is looked for in a certificate has to be what can stand in one.
    fn names_fit_certificates(&self) -> Result<(), DsnError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        let fits = |name: &str| ServerName::try_from(name).is_ok();
        match &tls.server_name {
            Some(name) if !fits(name) => Err(DsnError::Value {
                name: "servername",
                problem: "has to be a host name or an address, as in Consul's certificate"
                    .to_owned(),
            }),
            None if !self.agents.iter().all(|agent| fits(&agent.host.to_string())) => {
                Err(DsnError::Conflict(
                    "a Consul agent in the stolon DSN has a name that no certificate can hold: say \
                     with servername= which name to look for",
                ))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The path of a key of this cluster below Consul's `/v1/kv/`, percent-encoded.
    ///
    /// The name is one segment of the path whatever it holds; `key` is one of ours.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        let mut path = String::new();
        for segment in self.prefix.split('/').chain([self.cluster.as_str()]) {
            for byte in segment.bytes() {
                if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                    path.push(char::from(byte));
                } else {
                    let _ = write!(path, "%{byte:02X}"); // a String takes everything
                }
            }
            path.push('/');
        }
        path.push_str(key);
        path
    }
}

fn tls(scheme: &str) -> Result<Option<ConsulTls>, DsnError> {
    let wrong = |problem: &str| Err(DsnError::Syntax(problem.to_owned()));
    let mut parts = scheme.split('+').skip(1);
    if parts.next() != Some("consul") {
        return wrong("Stolon's store has to be consul: stolon+consul+http:// or …+https://");
    }
    match (parts.next(), parts.next()) {
        (None | Some("http"), None) => Ok(None),
        (Some("https"), None) => Ok(Some(ConsulTls::default())),
        (_, _) => wrong("Consul is spoken to by stolon+consul+http:// or stolon+consul+https://"),
    }
}

fn agents(
    hosts: Option<String>,
    ports: Option<String>,
    shown: Shown,
) -> Result<Vec<HostPort>, DsnError> {
    let hosts = hosts.unwrap_or_default();
    let hosts: Vec<&str> = hosts.split(',').collect();
    if hosts.len() > HOSTS_MAX {
        return Err(DsnError::Conflict("the stolon DSN names more than 64 Consul agents"));
    }
    let ports = ports.unwrap_or_default();
    let ports = ports.split(',').chain(std::iter::repeat(""));
    let mut agents = Vec::with_capacity(hosts.len());
    for (index, (host, port)) in hosts.iter().zip(ports).enumerate() {
        let entry =
            if hosts.len() > 1 { format!("(number {}) ", index + 1) } else { String::new() };
        let wrong = |problem: &str| DsnError::Value {
            name: "the Consul agent in the stolon DSN",
            problem: format!("{entry}{problem}"),
        };
        let host = match *host {
            "" if hosts.len() > 1 => return Err(wrong("is empty")),
            "" => "127.0.0.1",
            host if host.contains('@') => {
                return Err(wrong("holds an @; within the user or the password it is written %40"));
            }
            host => host,
        };
        let host = Host::parse(host).map_err(wrong)?;
        if matches!(host, Host::Unix(_)) {
            return Err(wrong("is a directory; Consul is asked over TCP"));
        }
        agents.push(HostPort::new(host, self::port(port, shown).map_err(wrong)?));
    }
    Ok(agents)
}

fn port(text: &str, shown: Shown) -> Result<u16, &'static str> {
    read::port(text, PORT).ok_or(match shown {
        Shown::Place => {
            "has a port that is no number between 1 and 65535; a / or @ within the user or the \
             password is written %2F or %40"
        }
        Shown::Name if text.contains(':') => {
            "has more than one colon; an IPv6 address is written in brackets: [::1]:8500"
        }
        Shown::Name => "has a port that is no number between 1 and 65535",
    })
}

fn cluster(path: &str) -> Result<String, DsnError> {
    let wrong = |problem: &str| Err(DsnError::Syntax(problem.to_owned()));
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.contains('@') {
        return wrong(
            "the stolon DSN has an @ in the cluster's name, where it is written %40; so it is, and \
             a / is written %2F, within the user or the password",
        );
    }
    let name = uri::decode(path.strip_suffix('/').unwrap_or(path), "the cluster's name")?;
    if name.is_empty() {
        return wrong(
            "the stolon DSN wants the cluster's name as its path: \
             stolon+consul+http://localhost:8500/my-cluster",
        );
    }
    if name.len() > NAME_BYTES_MAX {
        return wrong("the cluster's name in the stolon DSN is longer than 256 bytes");
    }
    if !is_segment(&name) {
        return wrong(
            "the cluster's name in the stolon DSN may not hold / or control characters, nor be . \
             or ..",
        );
    }
    Ok(name)
}

fn file(name: &'static str, value: String) -> Result<PathBuf, DsnError> {
    if value.is_empty() {
        let problem = "has to be the path of a PEM file".to_owned();
        return Err(DsnError::Value { name, problem });
    }
    Ok(PathBuf::from(value))
}

fn prefix(value: &str) -> Result<String, DsnError> {
    let prefix = value.trim_matches('/');
    if prefix.len() > NAME_BYTES_MAX || !prefix.split('/').all(is_segment) {
        let problem = "has to be a path such as stolon/cluster".to_owned();
        return Err(DsnError::Value { name: "prefix", problem });
    }
    Ok(prefix.to_owned())
}

/// Whether this can be one segment of a path: Consul would resolve dots.
fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text.len() <= NAME_BYTES_MAX
        && !text.chars().any(|c| c == '/' || c.is_control())
}

/// Reads a token.
///
/// # Errors
/// One sentence when it cannot be sent in a header.
pub fn token(value: &str) -> Result<Secret, DsnError> {
    let token = value.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = "has to be Consul's secret id: letters, digits and dashes".to_owned();
        return Err(DsnError::Value { name: "token", problem });
    }
    Ok(Secret::plain(token.to_owned()))
}

/// A parameter that is refused, by the name that it has here.
fn with_prefix(mut error: DsnError) -> DsnError {
    if let DsnError::Unsupported { name, .. } = &mut error {
        *name = format!("pg{name}").into();
    }
    error
}

fn unknown(name: &str, place: String, shown: Shown) -> DsnError {
    const OWN: [&str; 6] = ["prefix", "token", "cacert", "cert", "key", "servername"];
    let word = name.len() <= 63
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
    let place = match shown {
        Shown::Name if word => name.to_owned(),
        Shown::Name | Shown::Place => place,
    };
    // PostgreSQL's own names are the likeliest mistake: they want their prefix here.
    let places = ["host", "hostaddr", "port"];
    let parameters = known::PARAMETERS.iter().map(|known| known.name).chain(["database"]);
    let parameters = parameters.filter(|name| !places.contains(name));
    let parameters: Vec<String> = parameters.map(|name| format!("pg{name}")).collect();
    let parameters = || parameters.iter().map(String::as_str);
    let bare = parameters().find(|known| known.strip_prefix("pg") == Some(name));
    let nearest = bare.or_else(|| nearest(name, OWN.into_iter().chain(parameters())));
    DsnError::Unknown { place, nearest: nearest.map(|name| name.to_owned().into()) }
}

#[cfg(test)]
#[path = "stolon_tests.rs"]
mod tests;
