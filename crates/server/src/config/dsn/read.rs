//! From parameters as text to a checked [`Dsn`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::DsnError;
use super::known::{self, PARAMETERS, Treatment};
use super::{
    AuthMethods, ChannelBinding, DSN_BYTES_MAX, Dsn, HOSTS_MAX, Host, HostPort, Keepalive,
    PassFile, Surroundings, TargetSessionAttrs, keyword, ssl, uri,
};
use everline_wire::auth::secret::Secret;

/// Whether a message may repeat a name that nobody knows.
#[derive(Clone, Copy)]
pub(super) enum Shown {
    Name,
    /// The name may be a piece of a password.
    Place,
}

/// The parameters as they were given; of a repeated one the last counts.
#[derive(Default)]
pub(super) struct Given {
    values: BTreeMap<&'static str, String>,
}

impl Given {
    /// Takes a parameter whose name is known to be known.
    pub(super) fn set(&mut self, name: &'static str, value: String) {
        self.values.insert(name, value);
    }

    /// Takes a parameter back, with its value.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// Takes a parameter by the name that was written.
    pub(super) fn add(
        &mut self,
        name: &str,
        value: String,
        shown: Shown,
        place: &str,
    ) -> Result<(), DsnError> {
        let Some(parameter) = known::find(name) else {
            let word = name.len() <= 63
                && !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b));
            let nearest = known::nearest(name, PARAMETERS.iter().map(|known| known.name));
            let nearest = nearest.map(Cow::Borrowed);
            return Err(match shown {
                Shown::Name if word => DsnError::Unknown { place: name.to_owned(), nearest },
                Shown::Name | Shown::Place => {
                    DsnError::Unknown { place: place.to_owned(), nearest }
                }
            });
        };
        match parameter.treatment {
            Treatment::Read => self.set(parameter.name, value),
            Treatment::Ignored => {}
            Treatment::Refused(reason) => {
                return Err(DsnError::Unsupported { name: parameter.name.into(), reason });
            }
        }
        Ok(())
    }

    /// Fills in from the environment what the DSN left out.
    pub(super) fn add_environment(
        &mut self,
        surroundings: &Surroundings<'_>,
    ) -> Result<(), DsnError> {
        let names_host = self.values.contains_key("host");
        for parameter in PARAMETERS {
            let Some(value) = parameter.variable.and_then(|name| surroundings.get(name)) else {
                continue;
            };
            match parameter.treatment {
                Treatment::Refused(reason) => {
                    let name = parameter.variable.unwrap_or(parameter.name);
                    return Err(DsnError::Unsupported { name: name.into(), reason });
                }
                // An address that belongs to another host's name would be wrong here.
                Treatment::Read if parameter.name == "hostaddr" && names_host => {}
                Treatment::Read => drop(self.values.entry(parameter.name).or_insert(value)),
                Treatment::Ignored => {}
            }
        }
        Ok(())
    }

    /// The value of a parameter that is given and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// A parameter that is one of several words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, DsnError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == value);
        if let Some((_, meaning)) = found {
            Ok(Some(*meaning))
        } else {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(value_error(name, format!("has to be one of {}", words.join(", "))))
        }
    }

    /// A whole number; libpq allows blanks around it.
    fn number(&self, name: &'static str) -> Result<Option<i32>, DsnError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.trim_ascii().parse();
        number.map(Some).map_err(|_| value_error(name, "has to be a whole number".to_owned()))
    }

    /// A number of `unit`s, where 0 and less mean "not set".
    fn duration(&self, name: &'static str, unit: Duration) -> Result<Option<Duration>, DsnError> {
        let number = self.number(name)?.and_then(|number| u32::try_from(number).ok());
        let duration = number.filter(|number| *number > 0).map(|number| unit * number);
        Ok(duration.map(|duration| duration.min(DURATION_MAX)))
    }
}

/// Longer waits are no waits: everything above counts as one day.
const DURATION_MAX: Duration = Duration::from_hours(24);

pub(super) fn value_error(name: &'static str, problem: String) -> DsnError {
    DsnError::Value { name, problem }
}

/// See [`Dsn::parse`].
pub(super) fn dsn(text: &str, surroundings: &Surroundings<'_>) -> Result<Dsn, DsnError> {
    let given = given(text, surroundings)?;
    let hosts = hosts(&given, surroundings)?;
    checked(&given, hosts, surroundings)
}

/// Everything but the hosts.
pub(super) fn checked(
    given: &Given,
    hosts: Vec<HostPort>,
    surroundings: &Surroundings<'_>,
) -> Result<Dsn, DsnError> {
    let user = given.get("user").map(str::to_owned).or_else(|| surroundings.user.clone());
    let user = user.ok_or(DsnError::NoUser)?;
    let ssl = ssl::settings(given, surroundings)?;
    let channel_binding = given.word(
        "channel_binding",
        &[
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ],
    )?;
    given.word("gssencmode", &[("disable", ()), ("prefer", ())])?;
    given.word("min_protocol_version", &[("3.0", ())])?;
    Ok(Dsn {
        hosts,
        password: given.get("password").map(|text| Secret::plain(text.to_owned())),
        passfile: passfile(given, surroundings)?,
        database: given.get("dbname").unwrap_or(&user).to_owned(),
        user,
        ssl,
        channel_binding: channel_binding.unwrap_or(ChannelBinding::Prefer),
        require_auth: require_auth(given)?,
        connect_timeout: given.duration("connect_timeout", Duration::from_secs(1))?,
        target_session_attrs: target(given)?,
        application_name: given
            .get("application_name")
            .or_else(|| given.get("fallback_application_name"))
            .map(str::to_owned),
        settings: settings(given),
        keepalive: keepalive(given)?,
        tcp_user_timeout: given.duration("tcp_user_timeout", Duration::from_millis(1))?,
    })
}

/// What no DSN of any kind may be.
pub(super) fn bounded(text: &str) -> Result<(), DsnError> {
    if text.len() > DSN_BYTES_MAX {
        return Err(DsnError::TooLong { max: DSN_BYTES_MAX });
    }
    if text.contains('\0') {
        return Err(DsnError::Syntax("the backend DSN holds a NUL character".to_owned()));
    }
    Ok(())
}

fn given(text: &str, surroundings: &Surroundings<'_>) -> Result<Given, DsnError> {
    bounded(text)?;
    let mut given = Given::default();
    if let Some(rest) = uri::SCHEMES.into_iter().find_map(|scheme| text.strip_prefix(scheme)) {
        uri::read(rest, &mut given)?;
    } else if let Some(scheme) = other_scheme(text) {
        return Err(DsnError::Scheme { found: Some(scheme) });
    } else if text.contains('=') {
        keyword::read(text, &mut given)?;
    } else {
        return Err(DsnError::Scheme { found: None });
    }
    given.add_environment(surroundings)?;
    Ok(given)
}

fn other_scheme(text: &str) -> Option<String> {
    let (scheme, _) = text.split_once("://")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    (scheme.len() <= 63 && scheme.bytes().all(plain)).then(|| scheme.to_owned())
}

fn hosts(given: &Given, surroundings: &Surroundings<'_>) -> Result<Vec<HostPort>, DsnError> {
    let names: Vec<&str> =
        given.get("host").map_or_else(Vec::new, |list| list.split(',').collect());
    let addresses = addresses(given)?;
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(DsnError::Conflict("host and hostaddr have different numbers of entries"));
    }
    let count = names.len().max(addresses.len()).max(1);
    if count > HOSTS_MAX {
        return Err(value_error("host", format!("names more than {HOSTS_MAX} hosts")));
    }
    let ports = ports(given, count)?;
    let mut hosts = Vec::with_capacity(count);
    for (index, port) in ports.into_iter().enumerate() {
        let address = addresses.get(index).copied().flatten();
        let host = match (names.get(index).filter(|name| !name.is_empty()), address) {
            (Some(name), _) => Host::parse(name).map_err(|problem| {
                value_error("host", format!("(entry {}) {problem}", index + 1))
            })?,
            (None, Some(address)) => Host::Ip(address),
            (None, None) => Host::Unix(surroundings.socket_directory.clone()),
        };
        hosts.push(HostPort { host, port, address });
    }
    Ok(hosts)
}

fn addresses(given: &Given) -> Result<Vec<Option<IpAddr>>, DsnError> {
    let Some(list) = given.get("hostaddr") else { return Ok(Vec::new()) };
    let address = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some),
    };
    let addresses: Result<_, _> = list.split(',').map(address).collect();
    addresses.map_err(|_| value_error("hostaddr", "has to be an IP address".to_owned()))
}

/// One port for each host: as many as there are hosts, or one for all.
fn ports(given: &Given, count: usize) -> Result<Vec<u16>, DsnError> {
    let texts: Vec<&str> =
        given.get("port").map_or_else(Vec::new, |list| list.split(',').collect());
    let mut ports = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        ports.push(port(text, PORT).ok_or_else(|| {
            let entry = index + 1;
            value_error("port", format!(
                "(entry {entry}) has to be a number between 1 and 65535; in a URI a / or @ within \
                 the user or the password is written %2F or %40"
            ))
        })?);
    }
    match ports.as_slice() {
        [] => Ok(vec![PORT; count]),
        [port] => Ok(vec![*port; count]),
        several if several.len() == count => Ok(ports),
        _ => Err(DsnError::Conflict("host and port have different numbers of entries")),
    }
}

pub(super) fn port(text: &str, default: u16) -> Option<u16> {
    match text.trim_ascii() {
        "" => Some(default),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0)
        }
        _ => None,
    }
}

/// PostgreSQL's own port.
const PORT: u16 = 5432;

/// The file that was named must be readable; the one in the home directory may be missing.
fn passfile(given: &Given, surroundings: &Surroundings<'_>) -> Result<PassFile, DsnError> {
    let named = given.path("passfile");
    let default = surroundings.home.as_ref().map(|home| home.join(".pgpass"));
    let Some(path) = named.or(default.filter(|path| path.exists())) else {
        return Ok(PassFile::default());
    };
    PassFile::read(&path).map_err(|problem| DsnError::File { name: "passfile", path, problem })
}

fn require_auth(given: &Given) -> Result<AuthMethods, DsnError> {
    let Some(list) = given.get("require_auth") else { return Ok(AuthMethods::ALL) };
    let refused = list.split(',').filter(|method| method.trim_ascii().starts_with('!')).count();
    if refused > 0 && refused < list.split(',').count() {
        return Err(DsnError::Conflict("require_auth mixes methods with and without a !"));
    }
    let mut methods = if refused > 0 { AuthMethods::ALL } else { AuthMethods(0) };
    for method in list.split(',').map(str::trim_ascii) {
        let one = match method.strip_prefix('!').unwrap_or(method) {
            "none" => AuthMethods::NONE,
            "password" => AuthMethods::PASSWORD,
            "md5" => AuthMethods::MD5,
            "scram-sha-256" => AuthMethods::SCRAM_SHA_256,
            "gss" | "sspi" | "oauth" => AuthMethods(0),
            _ => {
                let expected = "knows the methods none, password, md5 and scram-sha-256";
                return Err(value_error("require_auth", expected.to_owned()));
            }
        };
        methods = if refused > 0 { methods.without(one) } else { methods.with(one) };
    }
    if methods == AuthMethods(0) {
        let problem = "leaves no method that Everline knows";
        return Err(value_error("require_auth", problem.to_owned()));
    }
    Ok(methods)
}

fn target(given: &Given) -> Result<TargetSessionAttrs, DsnError> {
    match given.get("target_session_attrs") {
        None | Some("any") => Ok(TargetSessionAttrs::Any),
        Some("read-write") => Ok(TargetSessionAttrs::ReadWrite),
        Some("primary") => Ok(TargetSessionAttrs::Primary),
        Some("read-only" | "standby" | "prefer-standby") => Err(DsnError::Unsupported {
            name: "target_session_attrs".into(),
            reason: "Everline follows the leader; use any, read-write or primary",
        }),
        Some(_) => Err(value_error(
            "target_session_attrs",
            "has to be one of any, read-write, primary".to_owned(),
        )),
    }
}

fn settings(given: &Given) -> Vec<(String, String)> {
    let encoding = given.get("client_encoding").filter(|encoding| *encoding != "auto");
    [("options", given.get("options")), ("client_encoding", encoding)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect()
}

fn keepalive(given: &Given) -> Result<Keepalive, DsnError> {
    let count = given.number("keepalives_count")?.and_then(|count| u32::try_from(count).ok());
    let on = Keepalive::On {
        idle: given.duration("keepalives_idle", Duration::from_secs(1))?,
        interval: given.duration("keepalives_interval", Duration::from_secs(1))?,
        count: count.filter(|count| (1..=127).contains(count)),
    };
    Ok(if given.number("keepalives")? == Some(0) { Keepalive::Off } else { on })
}
