//! One host of a DSN.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a backend is, as the DSN says it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Host {
    /// A name that the resolver has to be asked for.
    Name(Arc<str>),
    /// An address.
    Ip(IpAddr),
    /// The directory of a Unix socket.
    Unix(PathBuf),
}

impl Host {
    /// Reads a host as libpq does: a leading `/` makes it a directory.
    ///
    /// # Errors
    /// What is wrong with it, fit for the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with('/') {
            return if text.len() > SOCKET_DIRECTORY_BYTES_MAX {
                Err("is a socket directory whose path is too long for a Unix socket")
            } else {
                Ok(Self::Unix(PathBuf::from(text)))
            };
        }
        if text.starts_with('@') {
            return Err("begins with @: abstract Unix sockets are not supported");
        }
        // A scope (`fe80::1%eth0`) belongs to the machine; the resolver would have to be asked.
        let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = address.unwrap_or(text).parse() {
            return Ok(Self::Ip(ip));
        }
        if text.is_empty() {
            return Err("is empty");
        }
        if text.len() > NAME_BYTES_MAX {
            return Err("is longer than a host name may be");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || "/?#[]@:,".contains(c)) {
            return Err("holds a character that no host name has");
        }
        Ok(Self::Name(text.into()))
    }
}

/// Longest host name in bytes (RFC 1035 allows 253; one more for a closing dot).
const NAME_BYTES_MAX: usize = 254;

/// Longest directory: `sun_path` has 108 bytes, `/.s.PGSQL.65535` and a NUL take 16.
const SOCKET_DIRECTORY_BYTES_MAX: usize = 92;

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
            Self::Unix(directory) => directory.display().fmt(f),
        }
    }
}

/// One host of a DSN with its port.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct HostPort {
    /// The host as written: the name that certificates and password files are checked against.
    pub host: Host,
    /// The port; never 0.
    pub port: u16,
    /// `hostaddr`: the address to go to without asking the resolver for `host`.
    pub address: Option<IpAddr>,
}

impl HostPort {
    /// A host with its port, to be looked up by its own name.
    #[must_use]
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port, address: None }
    }

    /// The path of the Unix socket, where the host is a directory.
    #[must_use]
    pub fn socket_path(directory: &Path, port: u16) -> PathBuf {
        directory.join(format!(".s.PGSQL.{port}"))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Name(_) | Host::Ip(IpAddr::V4(_)) => write!(f, "{}:{}", self.host, self.port),
            Host::Unix(directory) => Self::socket_path(directory, self.port).display().fmt(f),
        }
    }
}
