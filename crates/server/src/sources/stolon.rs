//! Stolon's `clusterdata`, as far as a proxy needs it: pure reading.
//!
//! Source: Stolon `internal/cluster/cluster.go`. Go's durations are text (`1m0s`), ports are text,
//! and false, zero and empty are absent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use everline_core::ha::{Announced, Observation};
use serde::Deserialize;

/// Longest document that is read, in bytes; Consul stores no value beyond half of it.
pub const CLUSTERDATA_BYTES_MAX: usize = 1024 * 1024;

/// The one format that is understood.
const FORMAT_VERSION: u64 = 1;

/// Longest `DBUID` or `listenAddress` that is taken, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Stolon's defaults where the cluster's specification says nothing.
const PROXY_CHECK_INTERVAL: Duration = Duration::from_secs(5);
const PROXY_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest interval or timeout that is taken at its word.
const DURATION_MAX: Duration = Duration::from_hours(24);

/// Why a document cannot be used: nothing in it counts.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// It is longer than [`CLUSTERDATA_BYTES_MAX`].
    #[error("clusterdata is longer than {CLUSTERDATA_BYTES_MAX} bytes")]
    TooLong,
    /// It is no JSON, or not of its form.
    #[error("clusterdata is not what Stolon writes: {0}")]
    Malformed(String),
    /// Another version of Stolon has written it.
    #[error("clusterdata has format version {0}, and only {FORMAT_VERSION} is known")]
    Version(u64),
    /// A part that matters holds nonsense.
    #[error("clusterdata: {0}")]
    Nonsense(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClusterData {
    #[serde(default)]
    format_version: u64,
    cluster: Option<Cluster>,
    dbs: Option<BTreeMap<String, Db>>,
    proxy: Option<Proxy>,
}

#[derive(Default, Deserialize)]
struct Cluster {
    uid: Option<String>,
    spec: Option<ClusterSpec>,
    status: Option<ClusterStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClusterSpec {
    proxy_check_interval: Option<String>,
    proxy_timeout: Option<String>,
}

#[derive(Default, Deserialize)]
struct ClusterStatus {
    master: Option<String>,
}

#[derive(Deserialize)]
struct Db {
    status: Option<DbStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DbStatus {
    listen_address: Option<String>,
    port: Option<String>,
}

#[derive(Default, Deserialize)]
struct Proxy {
    #[serde(default)]
    generation: u64,
    spec: Option<ProxySpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProxySpec {
    master_db_uid: Option<String>,
    enabled_proxies: Option<Vec<String>>,
}

/// Reads the document.
///
/// A leader that the proxies are to follow but that is not among the nodes is no leader, as it is
/// to stolon-proxy.
///
/// # Errors
/// [`Unusable`]: the document is as good as not read at all.
pub fn observe(document: &[u8]) -> Result<Observation, Unusable> {
    let data = read(document)?;
    let cluster = data.cluster.unwrap_or_default();
    let spec = cluster.spec.unwrap_or_default();
    let check_interval = interval(spec.proxy_check_interval.as_deref(), PROXY_CHECK_INTERVAL)
        .ok_or(Unusable::Nonsense("proxyCheckInterval is no duration"))?;
    let timeout = interval(spec.proxy_timeout.as_deref(), PROXY_TIMEOUT)
        .ok_or(Unusable::Nonsense("proxyTimeout is no duration"))?;
    if check_interval >= timeout {
        return Err(Unusable::Nonsense("proxyCheckInterval has to be below proxyTimeout"));
    }
    let dbs = data.dbs.unwrap_or_default();
    let proxy = data.proxy.unwrap_or_default();
    let proxy_spec = proxy.spec.unwrap_or_default();
    let named = |uid: Option<&str>| match uid.filter(|uid| !uid.is_empty()) {
        Some(uid) => dbs.get(uid).map(|db| announced(uid, db)).transpose(),
        None => Ok(None),
    };
    let leader = named(proxy_spec.master_db_uid.as_deref())?;
    let elected = cluster.status.unwrap_or_default().master;
    Ok(Observation {
        cluster: cluster.uid.unwrap_or_default().into(),
        generation: proxy.generation,
        leader,
        // Nothing depends on it, so nothing of the rest falls with it.
        elected: named(elected.as_deref()).ok().flatten(),
        enabled: proxy_spec.enabled_proxies.unwrap_or_default(),
        check_interval,
        timeout,
    })
}

/// Every node with an address, for those who look at all of them.
///
/// # Errors
/// As [`observe`].
pub fn nodes(document: &[u8]) -> Result<Vec<Announced>, Unusable> {
    let dbs = read(document)?.dbs.unwrap_or_default();
    Ok(dbs.iter().filter_map(|(uid, db)| announced(uid, db).ok()).collect())
}

fn read(document: &[u8]) -> Result<ClusterData, Unusable> {
    if document.len() > CLUSTERDATA_BYTES_MAX {
        return Err(Unusable::TooLong);
    }
    let data: ClusterData =
        serde_json::from_slice(document).map_err(|error| Unusable::Malformed(error.to_string()))?;
    if data.format_version == FORMAT_VERSION {
        Ok(data)
    } else {
        Err(Unusable::Version(data.format_version))
    }
}

fn announced(uid: &str, db: &Db) -> Result<Announced, Unusable> {
    const NO_ADDRESS: Unusable = Unusable::Nonsense("the master has no address and port");
    let status = db.status.as_ref().ok_or(NO_ADDRESS)?;
    let (Some(host), Some(port)) = (&status.listen_address, &status.port) else {
        return Err(NO_ADDRESS);
    };
    let port = port.parse().ok().filter(|port: &u16| *port > 0).ok_or(NO_ADDRESS)?;
    if host.is_empty() || host.len() > NAME_BYTES_MAX {
        return Err(NO_ADDRESS);
    }
    // It goes into the log.
    if uid.len() > NAME_BYTES_MAX || uid.chars().any(char::is_control) {
        return Err(Unusable::Nonsense("the master's uid is none of Stolon's"));
    }
    Ok(Announced { uid: Arc::from(uid), host: Arc::from(host.as_str()), port })
}

fn interval(text: Option<&str>, default: Duration) -> Option<Duration> {
    let duration = match text {
        None | Some("") => default,
        Some(text) => go_duration(text)?,
    };
    (Duration::from_millis(1)..=DURATION_MAX).contains(&duration).then_some(duration)
}

/// A duration as Go writes it: `300ms`, `1m0s`, `1.5h`; nothing negative.
///
/// Source: Go `time.ParseDuration`.
fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("\u{b5}s", 1_000),  // the micro sign
        ("\u{3bc}s", 1_000), // the Greek letter
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| !(c.is_ascii_digit() || c == '.'));
        let (unit, after) = split(after, |c| c.is_ascii_digit() || c == '.');
        let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        let mut place = scale;
        for digit in fraction.chars() {
            place /= 10;
            let digit = digit.to_digit(10)?;
            total = total.checked_add(place.checked_mul(u64::from(digit))?)?;
        }
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_nanos(total))
}

fn split(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.find(ends).and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

#[cfg(test)]
#[path = "stolon_tests.rs"]
mod tests;
