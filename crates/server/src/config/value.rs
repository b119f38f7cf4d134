//! From the text of one value to its checked type. Errors are the end of a sentence.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use everline_wire::auth::secret::{Secret, Verifier};
use everline_wire::sqlstate::SqlState;

use super::{Credential, Listen};

/// The shortest duration that is not zero.
const DURATION_MIN: Duration = Duration::from_millis(1);
/// The longest duration; an instant that far ahead can still be represented.
const DURATION_MAX: Duration = Duration::from_hours(24);

/// Whether a duration may be zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

pub(super) fn duration(text: &str, zero: Zero) -> Result<Duration, String> {
    let Ok(duration) = humantime::parse_duration(text.trim()) else {
        return Err("has to be a time with its unit, such as 5s or 500ms".to_owned());
    };
    match (duration.is_zero(), zero) {
        (true, Zero::Allowed) => Ok(duration),
        (true, Zero::Refused) => Err("has to be longer than nothing".to_owned()),
        (false, _) if duration < DURATION_MIN => Err("has to be 1ms at least".to_owned()),
        (false, _) if duration > DURATION_MAX => Err("has to be one day at most".to_owned()),
        (false, _) => Ok(duration),
    }
}

/// As [`duration`], and a plain number counts seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let digits = text.trim();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return duration(&format!("{digits}s"), Zero::Allowed);
    }
    duration(text, Zero::Allowed)
}

pub(super) fn number(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let digits = text.trim();
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|number| plain && range.contains(number));
    number.ok_or_else(|| format!("has to be a number from {} to {}", range.start(), range.end()))
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("has to be true or false".to_owned()),
    }
}

pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text.trim());
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("has to be {}", words.join(" or "))
    })
}

/// `ADDRESS:PORT`, where `localhost` and `*` are written out for convenience.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let spelled = text.rsplit_once(':').and_then(|(host, port)| {
        let ip = match host {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port.parse().ok()?))
    });
    spelled.ok_or_else(|| {
        "has to be an IP address with a port, such as 127.0.0.1:6432 or [::1]:6432".to_owned()
    })
}

/// The port in the name of a Unix socket that was given by its directory.
const UNIX_PORT: u16 = 6432;

/// Longest path of a Unix socket: `sun_path` has 108 bytes, the last one a NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// `ADDRESS:PORT`, `unix:DIRECTORY`, or `unix:` with the whole path of a `.s.PGSQL.PORT`.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    let Some(path) = text.trim().strip_prefix("unix:") else {
        return socket_address(text).map(Listen::Tcp);
    };
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err("has to have an absolute path after unix:".to_owned());
    }
    let named = path.file_name().and_then(|name| name.to_str());
    let whole = named.is_some_and(|name| name.starts_with(".s.PGSQL."));
    let path: PathBuf =
        if whole { path.to_owned() } else { path.join(format!(".s.PGSQL.{UNIX_PORT}")) };
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err("has a path that is too long for a Unix socket".to_owned());
    }
    Ok(Listen::Unix(path))
}

pub(super) fn sqlstate(text: &str) -> Result<SqlState, String> {
    let state: SqlState = text
        .trim()
        .parse()
        .map_err(|_| "has to be an SQLSTATE: five digits or capitals".to_owned())?;
    if matches!(state.class(), "00" | "01" | "02") {
        return Err("is not the code of an error".to_owned());
    }
    Ok(state)
}

/// What is known of a user whose secret is a password, or what PostgreSQL stores in its place.
pub(super) fn credential(secret: &Secret) -> Result<Credential, &'static str> {
    let text = secret.reveal();
    match text.parse::<Verifier>() {
        Ok(verifier) => Ok(Credential::Verifier(verifier)),
        Err(_) if text.starts_with("SCRAM-SHA-256$") => {
            Err("the SCRAM-SHA-256 verifier is malformed")
        }
        Err(_) => Ok(Credential::Password(secret.clone())),
    }
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
