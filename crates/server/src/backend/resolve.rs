//! From a host's name to its addresses, asked anew each time.
//!
//! The name of a highly available backend moves with the leader, so nothing is remembered here;
//! what nscd, systemd-resolved or a name server remember is theirs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{Address, Endpoint, dns};
use crate::config::dsn::{Host, HostPort};

/// Most addresses of one name that are tried.
pub const ADDRESSES_MAX: usize = 64;

/// Finds the addresses of hosts. Cheap to clone; the clones share their questions.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    via: Via,
    /// The questions under way.
    flights: Mutex<BTreeMap<Arc<str>, Flight>>,
}

#[derive(Clone, Copy, Debug)]
enum Via {
    System,
    Server(SocketAddr),
}

type Answer = Result<Vec<IpAddr>, ResolveError>;
type Flight = watch::Receiver<Option<Answer>>;

/// Why a name has no address. Asking again may help in every case.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot resolve {name}: {problem}")]
pub struct ResolveError {
    /// The name.
    pub name: Arc<str>,
    /// What went wrong.
    pub problem: Problem,
}

/// What went wrong with a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// There is no such name, or it has no address.
    NotFound,
    /// No answer came before the deadline.
    Timeout,
    /// The resolver or the name server said something else.
    Failed(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("it has no address"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Failed(problem) => f.write_str(problem),
        }
    }
}

impl Resolver {
    /// The operating system's resolver (`getaddrinfo`): what `psql` on the same machine would be
    /// told.
    #[must_use]
    pub fn system() -> Self {
        Self::via(Via::System)
    }

    /// One name server, asked directly; `/etc/hosts` and search domains do not count.
    #[must_use]
    pub fn server(server: SocketAddr) -> Self {
        Self::via(Via::Server(server))
    }

    fn via(via: Via) -> Self {
        Self(Arc::new(Inner { via, flights: Mutex::default() }))
    }

    /// The addresses of a host, in the order in which they should be tried; never empty, at most
    /// [`ADDRESSES_MAX`]. Addresses and Unix sockets answer themselves.
    ///
    /// One question per name is under way at a time: `getaddrinfo` cannot be cancelled and holds
    /// a thread while it hangs, so who asks meanwhile waits for the same answer.
    ///
    /// # Errors
    /// [`ResolveError`].
    ///
    /// # Cancel safety
    /// Safe: the question goes on for others.
    pub async fn addresses(
        &self,
        host: &HostPort,
        deadline: Instant,
    ) -> Result<Vec<Address>, ResolveError> {
        let tcp = |ip| Address::Tcp(SocketAddr::new(ip, host.port));
        if let Some(address) = host.address {
            return Ok(vec![tcp(address)]);
        }
        match &host.host {
            Host::Ip(ip) => Ok(vec![tcp(*ip)]),
            Host::Unix(directory) => {
                Ok(vec![Address::Unix(HostPort::socket_path(directory, host.port))])
            }
            Host::Name(name) => {
                let addresses = self.ask(name, deadline).await?;
                Ok(addresses.into_iter().map(tcp).collect())
            }
        }
    }

    /// [`Resolver::addresses`] as endpoints.
    ///
    /// # Errors
    /// [`ResolveError`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn endpoints(
        &self,
        host: &HostPort,
        deadline: Instant,
    ) -> Result<Vec<Endpoint>, ResolveError> {
        let name: Arc<str> = host.host.to_string().into();
        let addresses = self.addresses(host, deadline).await?;
        let endpoint = |address| Endpoint { host: Arc::clone(&name), address };
        Ok(addresses.into_iter().map(endpoint).collect())
    }

    async fn ask(&self, name: &Arc<str>, deadline: Instant) -> Answer {
        let error = |problem| ResolveError { name: Arc::clone(name), problem };
        loop {
            let mut flight = self.flight(name, deadline);
            let answered = timeout_at(deadline, flight.wait_for(Option::is_some)).await;
            match answered.map(|answer| answer.map(|answer| answer.clone())) {
                // It was asked for somebody who had less time.
                Ok(Ok(Some(Err(ResolveError { problem: Problem::Timeout, .. })))) => {
                    if Instant::now() >= deadline {
                        return Err(error(Problem::Timeout));
                    }
                }
                Ok(Ok(Some(answer))) => return answer,
                Ok(Ok(None) | Err(_)) => {
                    return Err(error(Problem::Failed("the question was given up".to_owned())));
                }
                Err(_) => return Err(error(Problem::Timeout)),
            }
        }
    }

    /// Joins the question about this name or asks it.
    fn flight(&self, name: &Arc<str>, deadline: Instant) -> Flight {
        let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // A question whose asker has gone without an answer is asked anew.
        if let Some(flight) = flights.get(name).filter(|flight| flight.has_changed().is_ok()) {
            return flight.clone();
        }
        let (sender, flight) = watch::channel(None);
        flights.insert(Arc::clone(name), flight.clone());
        drop(flights);
        let (resolver, name) = (self.clone(), Arc::clone(name));
        tokio::spawn(async move {
            let answer = match resolver.0.via {
                Via::System => system(&name).await,
                Via::Server(server) => dns::ask(server, &name, deadline).await,
            };
            let answer = answer.map_err(|problem| ResolveError { name: name.clone(), problem });
            // Before it is given out: who comes later asks anew.
            resolver.0.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            sender.send_replace(Some(answer));
        });
        flight
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the module that bounds and times it")]
async fn system(name: &str) -> Result<Vec<IpAddr>, Problem> {
    match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.map(|address| address.ip()).take(ADDRESSES_MAX) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            if addresses.is_empty() { Err(Problem::NotFound) } else { Ok(addresses) }
        }
        // The standard library has no kind for EAI_NONAME; its text is the C library's.
        Err(error) => Err(Problem::Failed(error.to_string())),
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
