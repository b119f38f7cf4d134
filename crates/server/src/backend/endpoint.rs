//! One place where a backend may be.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// Where a socket can be connected to.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket (`…/.s.PGSQL.5432`).
    Unix(PathBuf),
}

impl Address {
    /// The IP address, where it is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A backend at one address, with the name by which the DSN knows it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    /// The host as the DSN has it, without the port: what certificates and password files are
    /// checked for.
    pub host: Arc<str>,
    /// Where it is.
    pub address: Address,
}

impl Endpoint {
    /// The port; for a Unix socket the number at the end of its path.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp(address) => address.port(),
            Address::Unix(path) => {
                path.extension().and_then(|port| port.to_str()?.parse().ok()).unwrap_or_default()
            }
        }
    }
}

impl fmt::Display for Endpoint {
    /// `db.example.com (10.0.0.5:5432)`; the address alone where it says the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => path.display().fmt(f),
            Address::Tcp(address) if *address.ip().to_string() == *self.host => address.fmt(f),
            Address::Tcp(address) => write!(f, "{} ({address})", self.host),
        }
    }
}
