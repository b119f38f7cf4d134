//! Who a node is: what it answered about itself, read from the text form PostgreSQL sends.

use std::fmt;
use std::sync::Arc;

/// What one node says about itself. A field that the login's role may not ask, or that the server
/// does not know, is `None`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// `(pg_control_system()).system_identifier`: the same on every node of one cluster.
    pub system_identifier: Option<u64>,
    /// The timeline it writes on; a promotion raises it.
    pub timeline: Option<u32>,
    /// `pg_current_wal_lsn()` when it was asked, in bytes.
    pub lsn: Option<u64>,
    /// `pg_postmaster_start_time()` in microseconds since 1970.
    pub postmaster_start: Option<i64>,
}

impl Identity {
    /// Reads the probe's answers; an answer that is NULL or not of its form becomes `None`.
    ///
    /// `system_identifier` and `postmaster_start` are decimal (`bigint`), `timeline` is the eight
    /// hexadecimal digits that begin a WAL file's name, `lsn` is a `pg_lsn`.
    #[must_use]
    pub fn from_text(
        system_identifier: Option<&str>,
        timeline: Option<&str>,
        lsn: Option<&str>,
        postmaster_start: Option<&str>,
    ) -> Self {
        Self {
            system_identifier: system_identifier.and_then(parse_system_identifier),
            timeline: timeline.and_then(parse_timeline),
            lsn: lsn.and_then(parse_lsn),
            postmaster_start: postmaster_start.and_then(|text| text.parse().ok()),
        }
    }

    /// Whether both are known to be nodes of different clusters.
    #[must_use]
    pub fn is_other_cluster(&self, other: &Self) -> bool {
        differ(self.system_identifier, other.system_identifier)
    }

    /// Whether both certainly are one running postmaster, whatever address each was asked at.
    #[must_use]
    pub fn is_same_postmaster(&self, other: &Self) -> bool {
        let known = self.system_identifier.is_some()
            && self.timeline.is_some()
            && self.postmaster_start.is_some();
        known && self.without_lsn() == other.without_lsn()
    }

    fn without_lsn(&self) -> Self {
        Self { lsn: None, ..*self }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.timeline {
            Some(timeline) => write!(f, "timeline {timeline}")?,
            None => f.write_str("timeline unknown")?,
        }
        if let Some(lsn) = self.lsn {
            write!(f, " at {}", Lsn(lsn))?;
        }
        if let Some(system_identifier) = self.system_identifier {
            write!(f, " of system {system_identifier}")?;
        }
        Ok(())
    }
}

/// A node as it was met: the address it answered at, and who it says it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// The address itself (IP and port, or socket path), not the name that led to it.
    pub address: Arc<str>,
    /// Who it says it is.
    pub identity: Identity,
}

impl Node {
    /// Whether this is the same reign of the same server: same address, and the same system
    /// identifier, timeline and postmaster start. A restart or a promotion makes another.
    ///
    /// A field that only one of them knows counts as a difference: a needless epoch costs a few
    /// dials, a missed one leaves connections on a server that is no longer the leader.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.address == other.address && self.identity.without_lsn() == other.identity.without_lsn()
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.identity)
    }
}

/// Shows a WAL position as PostgreSQL does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

/// A `pg_lsn` such as `16/B374D848`, in bytes.
///
/// Source: PostgreSQL manual, 8.20 "`pg_lsn` Type".
#[must_use]
pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from(parse_hex(high)?) << 32 | u64::from(parse_hex(low)?))
}

/// The timeline from the first eight digits of a WAL file's name, which are hexadecimal.
#[must_use]
pub fn parse_timeline(text: &str) -> Option<u32> {
    if text.len() == 8 { parse_hex(text).filter(|timeline| *timeline > 0) } else { None }
}

/// A system identifier; PostgreSQL shows the 64 unsigned bits as a signed `bigint`.
#[must_use]
pub fn parse_system_identifier(text: &str) -> Option<u64> {
    text.parse::<i64>().map(i64::cast_unsigned).ok()
}

/// One to eight hexadecimal digits and nothing else (`from_str_radix` alone accepts a sign).
fn parse_hex(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u32::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

/// Whether both are known and different.
fn differ<T: PartialEq>(left: Option<T>, right: Option<T>) -> bool {
    matches!((left, right), (Some(left), Some(right)) if left != right)
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
