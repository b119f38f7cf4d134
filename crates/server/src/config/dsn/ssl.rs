//! Everything `ssl…`.

use std::path::PathBuf;

use super::error::DsnError;
use super::read::{Given, value_error};
use super::{RootCert, SslMode, SslNegotiation, SslSettings, Surroundings, TlsVersion};

/// Reads the parameters that have to do with TLS, and finds libpq's default files.
pub(super) fn settings(
    given: &Given,
    surroundings: &Surroundings<'_>,
) -> Result<SslSettings, DsnError> {
    let root_cert = match given.path("sslrootcert") {
        Some(path) if path.as_os_str() == "system" => RootCert::System,
        Some(path) => RootCert::File(path),
        None => default_file(surroundings, "root.crt").map_or(RootCert::None, RootCert::File),
    };
    let mode = mode(given, &root_cert)?;
    let negotiation = given.word(
        "sslnegotiation",
        &[("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)],
    )?;
    let negotiation = negotiation.unwrap_or(SslNegotiation::Postgres);
    if negotiation == SslNegotiation::Direct && mode < SslMode::Require {
        return Err(DsnError::Conflict("sslnegotiation=direct wants sslmode=require or stronger"));
    }
    let (cert, key) = client_cert(given, surroundings)?;
    let min_version = version(given, "ssl_min_protocol_version")?.unwrap_or(TlsVersion::V1_2);
    let max_version = version(given, "ssl_max_protocol_version")?.unwrap_or(TlsVersion::V1_3);
    if min_version > max_version {
        return Err(DsnError::Conflict(
            "ssl_min_protocol_version is higher than ssl_max_protocol_version",
        ));
    }
    let server_name = given.word("sslsni", &[("1", true), ("0", false)])?.unwrap_or(true);
    Ok(SslSettings {
        mode,
        root_cert,
        cert,
        key,
        min_version,
        max_version,
        negotiation,
        server_name,
    })
}

fn mode(given: &Given, root_cert: &RootCert) -> Result<SslMode, DsnError> {
    let mode = given.word(
        "sslmode",
        &[
            ("disable", SslMode::Disable),
            ("allow", SslMode::Allow),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ],
    )?;
    match (mode, root_cert) {
        // Anybody can have a certificate that some public authority signed: only the name tells.
        (None | Some(SslMode::VerifyFull), RootCert::System) => Ok(SslMode::VerifyFull),
        (Some(_), RootCert::System) => {
            Err(DsnError::Conflict("sslrootcert=system wants sslmode=verify-full"))
        }
        (Some(SslMode::VerifyCa | SslMode::VerifyFull), RootCert::None) => Err(DsnError::Conflict(
            "sslmode=verify-ca and verify-full need sslrootcert, either a file or system",
        )),
        (Some(mode), RootCert::None | RootCert::File(_)) => Ok(mode),
        (None, RootCert::None | RootCert::File(_)) => Ok(SslMode::Prefer),
    }
}

type Pair = (Option<PathBuf>, Option<PathBuf>);

fn client_cert(given: &Given, surroundings: &Surroundings<'_>) -> Result<Pair, DsnError> {
    let used = given.word("sslcertmode", &[("disable", false), ("allow", true)])?;
    if used == Some(false) {
        return Ok((None, None));
    }
    let cert = given.path("sslcert").or_else(|| default_file(surroundings, "postgresql.crt"));
    let Some(cert) = cert else {
        return match given.get("sslkey") {
            Some(_) => Err(DsnError::Conflict("sslkey is given without sslcert")),
            None => Ok((None, None)),
        };
    };
    let key = given.path("sslkey").or_else(|| default_file(surroundings, "postgresql.key"));
    match key {
        Some(key) => Ok((Some(cert), Some(key))),
        None => Err(DsnError::Conflict("sslcert is given without sslkey")),
    }
}

fn default_file(surroundings: &Surroundings<'_>, name: &str) -> Option<PathBuf> {
    let path = surroundings.home.as_ref()?.join(".postgresql").join(name);
    path.exists().then_some(path)
}

/// libpq compares these without case. Versions older than 1.2 are not spoken: as a lower bound
/// they mean 1.2, as an upper bound they leave nothing.
fn version(given: &Given, name: &'static str) -> Result<Option<TlsVersion>, DsnError> {
    let Some(value) = given.get(name) else { return Ok(None) };
    match value.to_ascii_lowercase().as_str() {
        "tlsv1" | "tlsv1.1" if name == "ssl_min_protocol_version" => Ok(Some(TlsVersion::V1_2)),
        "tlsv1.2" => Ok(Some(TlsVersion::V1_2)),
        "tlsv1.3" => Ok(Some(TlsVersion::V1_3)),
        _ => Err(value_error(name, "has to be TLSv1.2 or TLSv1.3".to_owned())),
    }
}
