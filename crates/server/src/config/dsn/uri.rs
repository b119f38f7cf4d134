//! The URI form of a DSN, by the rules of libpq's `conninfo_uri_parse`.

use super::error::DsnError;
use super::read::{Given, Shown};

/// The two spellings of the scheme.
pub(super) const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Reads what follows the scheme.
///
/// A `/` or `@` that should have been percent-encoded in a password moves the borders of the
/// parts, so none of these messages repeats what it found.
pub(super) fn read(rest: &str, given: &mut Given) -> Result<(), DsnError> {
    let rest = user_info(rest, given)?;
    let shown = if rest.contains('@') { Shown::Place } else { Shown::Name };
    let rest = hosts(rest, given)?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let database = path.strip_prefix('/').unwrap_or(path);
    if !database.is_empty() {
        given.set("dbname", decode(database, "the database in the URI")?);
    }
    query.map_or(Ok(()), |query| parameters(query, shown, given))
}

pub(super) fn user_info<'a>(rest: &'a str, given: &mut Given) -> Result<&'a str, DsnError> {
    let Some(at) = rest.find(['@', '/']).filter(|at| rest.get(*at..).is_some_and(is_at)) else {
        return Ok(rest);
    };
    let (info, rest) = rest.split_at_checked(at).unwrap_or((rest, ""));
    let (user, password) = match info.split_once(':') {
        Some((user, password)) => (user, password),
        None => (info, ""),
    };
    if !user.is_empty() {
        given.set("user", decode(user, "the user in the URI")?);
    }
    if !password.is_empty() {
        given.set("password", decode(password, "the password in the URI")?);
    }
    Ok(rest.strip_prefix('@').unwrap_or(rest))
}

fn is_at(text: &str) -> bool {
    text.starts_with('@')
}

pub(super) fn hosts<'a>(mut rest: &'a str, given: &mut Given) -> Result<&'a str, DsnError> {
    let mut hosts: Vec<String> = Vec::new();
    let mut ports: Vec<String> = Vec::new();
    loop {
        let (host, after) = host(rest)?;
        let (port, after) = match after.strip_prefix(':') {
            Some(after) => split_before(after, &['/', '?', ',']),
            None => ("", after),
        };
        hosts.push(decode(host, "a host in the URI")?);
        ports.push(decode(port, "a port in the URI")?);
        if let Some(after) = after.strip_prefix(',') {
            rest = after;
        } else {
            rest = after;
            break;
        }
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        given.set("host", hosts.join(","));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        given.set("port", ports.join(","));
    }
    Ok(rest)
}

fn host(rest: &str) -> Result<(&str, &str), DsnError> {
    let Some(inner) = rest.strip_prefix('[') else {
        return Ok(split_before(rest, &[':', '/', '?', ',']));
    };
    let Some((address, after)) = inner.split_once(']') else {
        return Err(syntax("an IPv6 address in the URI has no closing bracket"));
    };
    if address.is_empty() {
        return Err(syntax("an IPv6 address in the URI is empty"));
    }
    if !(after.is_empty() || after.starts_with([':', '/', '?', ','])) {
        return Err(syntax(
            "after the closing bracket of an IPv6 address the URI may go on with : / ? or , only",
        ));
    }
    Ok((address, after))
}

fn split_before<'a>(text: &'a str, ends: &[char]) -> (&'a str, &'a str) {
    text.find(ends).and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

fn parameters(query: &str, shown: Shown, given: &mut Given) -> Result<(), DsnError> {
    if query.is_empty() {
        return Ok(());
    }
    for (index, pair) in query.split('&').enumerate() {
        let place = format!("parameter {} of the URI's query", index + 1);
        let Some((name, value)) = pair.split_once('=') else {
            return Err(DsnError::Syntax(format!("{place} has no ="))); // its text may be a secret
        };
        if value.contains('=') {
            return Err(DsnError::Syntax(format!(
                "{place} has more than one =; within a value it is written %3D"
            )));
        }
        let name = decode(name, &place)?;
        let value = decode(value, &place)?;
        // JDBC's spelling, which libpq takes too.
        if (name.as_str(), value.as_str()) == ("ssl", "true") {
            given.set("sslmode", "require".to_owned());
        } else {
            given.add(&name, value, shown, &place)?;
        }
    }
    Ok(())
}

/// Undoes percent-encoding. A `+` stays a plus.
pub(super) fn decode(text: &str, place: &str) -> Result<String, DsnError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let byte = match (digit(), digit()) {
            (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or_default(),
            (Some(_) | None, Some(_) | None) => {
                return Err(DsnError::Syntax(format!(
                    "{place} has a % without two hexadecimal digits after it; a % is written %25"
                )));
            }
        };
        if byte == 0 {
            return Err(DsnError::Syntax(format!("{place} holds %00, which no value may hold")));
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes)
        .map_err(|_| DsnError::Syntax(format!("{place} is not UTF-8 once it is decoded")))
}

fn syntax(problem: &str) -> DsnError {
    DsnError::Syntax(problem.to_owned())
}
