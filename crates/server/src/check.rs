//! `everline check`: connect to every backend that the DSN leads to, and say what is there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use crate::backend::Endpoint;
use crate::backend::connection::Connection;
use crate::backend::dial::{Dialer, Login};
use crate::backend::resolve::Resolver;
use crate::config::dsn::stolon::Stolon;
use crate::config::dsn::{Host, HostPort};
use crate::config::{BackendConfig, ResolverChoice, Source};
use crate::net::tls::TlsError;
use crate::sources::consul::Consul;
use crate::sources::stolon::{nodes, observe};

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// One entry for each host that could not be resolved and for each address.
    pub findings: Vec<Finding>,
}

/// What was found at one place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finding {
    /// A host without an address, or an address without an answer.
    Unreachable {
        /// The host or the endpoint.
        place: String,
        /// Why.
        problem: String,
    },
    /// What a source says.
    Source {
        /// Who was asked.
        place: String,
        /// The cluster it was asked for.
        cluster: String,
        /// What it says.
        says: String,
    },
    /// A node that answered.
    Node {
        /// Where.
        endpoint: Endpoint,
        /// What it said about itself.
        node: Node,
    },
}

/// What a node says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Whether it is in recovery, that is, a standby.
    pub in_recovery: bool,
    /// PostgreSQL's version.
    pub version: String,
    /// The cluster's system identifier.
    pub system_identifier: String,
    /// The timeline it is on.
    pub timeline: String,
    /// Whether the connection was encrypted.
    pub tls: bool,
}

impl Report {
    /// Whether exactly one node leads.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.leaders() == 1
    }

    /// 0 when exactly one node leads, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.is_good())
    }

    fn leaders(&self) -> usize {
        let leads = |finding: &&Finding| match finding {
            Finding::Node { node, .. } => !node.in_recovery,
            Finding::Unreachable { .. } | Finding::Source { .. } => false,
        };
        self.findings.iter().filter(leads).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        match self.leaders() {
            0 => f.write_str("no leader was found"),
            1 => f.write_str("the configuration is good"),
            several => write!(f, "{several} nodes take writes: which one leads is not clear"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { place, problem } => write!(f, "{place}: {problem}"),
            Self::Source { place, cluster, says } => {
                write!(f, "{place}: Stolon cluster {cluster}: {says}")
            }
            Self::Node { endpoint, node } => write!(
                f,
                "{endpoint}: {}, PostgreSQL {}, timeline {}, system identifier {}, {}",
                if node.in_recovery { "standby" } else { "primary" },
                node.version,
                node.timeline,
                node.system_identifier,
                if node.tls { "TLS" } else { "no TLS" },
            ),
        }
    }
}

/// Looks at every address of every host, one after the other.
///
/// # Errors
/// [`TlsError`] when a certificate file that the DSN names cannot be used; everything else is a
/// finding.
///
/// # Cancel safety
/// Safe.
pub async fn check(config: &BackendConfig) -> Result<Report, TlsError> {
    let dialer = Dialer::new(&config.dsn)?;
    let login = Login::from_dsn(&config.dsn);
    let resolver = match config.resolver {
        ResolverChoice::System => Resolver::system(),
        ResolverChoice::Server(server) => Resolver::server(server),
    };
    let mut findings = Vec::new();
    let hosts = match &config.source {
        Source::Dsn => config.dsn.hosts.clone(),
        Source::Stolon(stolon) => {
            let (hosts, finding) = named(stolon, &resolver, config.dial_timeout).await?;
            findings.push(finding);
            hosts
        }
    };
    for host in &hosts {
        let deadline = Instant::now() + config.dial_timeout;
        let endpoints = match resolver.endpoints(host, deadline).await {
            Ok(endpoints) => endpoints,
            Err(error) => {
                let (place, problem) = (host.to_string(), error.to_string());
                findings.push(Finding::Unreachable { place, problem });
                continue;
            }
        };
        for endpoint in endpoints {
            let deadline = Instant::now() + config.dial_timeout;
            findings.push(match look(&dialer, &login, &endpoint, deadline).await {
                Ok(node) => Finding::Node { endpoint, node },
                Err(problem) => Finding::Unreachable { place: endpoint.to_string(), problem },
            });
        }
    }
    Ok(Report { findings })
}

/// The nodes that Stolon's data names, and what is to be said about it.
async fn named(
    stolon: &Stolon,
    resolver: &Resolver,
    within: Duration,
) -> Result<(Vec<HostPort>, Finding), TlsError> {
    let mut consul = Consul::new(Arc::new(stolon.clone()), resolver.clone())?;
    let place = format!("Consul agent {}", consul.agent());
    let nothing = |problem| (Vec::new(), Finding::Unreachable { place: place.clone(), problem });
    let path = format!("/v1/kv/{}?raw&consistent", stolon.key("clusterdata"));
    let asked = consul.ask(&Method::GET, &path, Bytes::new(), Instant::now() + within).await;
    let document = match asked {
        Err(error) => return Ok(nothing(error.to_string())),
        Ok(reply) if reply.status == StatusCode::OK => reply.body,
        Ok(reply) if reply.status == StatusCode::NOT_FOUND => {
            return Ok(nothing(format!("there is no Stolon cluster {}", stolon.cluster)));
        }
        Ok(reply) => return Ok(nothing(reply.problem())),
    };
    let (observation, nodes) = match (observe(&document), nodes(&document)) {
        (Ok(observation), Ok(nodes)) => (observation, nodes),
        (Err(error), _) | (_, Err(error)) => return Ok(nothing(error.to_string())),
    };
    let says = match &observation.leader {
        Some(leader) => format!("the leader is {leader}"),
        None => "there is no leader".to_owned(),
    };
    let hosts = nodes.iter().filter_map(|node| {
        let host = Host::parse(&node.host).ok()?;
        Some(HostPort::new(host, node.port))
    });
    let cluster = stolon.cluster.clone();
    Ok((hosts.collect(), Finding::Source { place, cluster, says }))
}

async fn look(
    dialer: &Dialer,
    login: &Login,
    endpoint: &Endpoint,
    deadline: Instant,
) -> Result<Node, String> {
    let dialled = dialer.dial(endpoint, login, deadline).await;
    let mut connection = dialled.map_err(|error| error.to_string())?;
    let node = ask(&mut connection, deadline).await;
    connection.close(deadline).await;
    node
}

/// A standby has no current WAL position; the timeline it follows is in its control file.
const QUESTION: &str = "SELECT pg_is_in_recovery(), current_setting('server_version'), \
    (SELECT system_identifier FROM pg_control_system()), \
    CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END, \
    (SELECT timeline_id FROM pg_control_checkpoint())";

async fn ask(connection: &mut Connection, deadline: Instant) -> Result<Node, String> {
    let answer = connection.simple_query(QUESTION, deadline).await;
    let reply = answer.map_err(|error| error.to_string())?;
    let texts: Vec<Option<String>> = reply
        .rows
        .into_iter()
        .flatten()
        .map(|value| value.map(|value| String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let [Some(in_recovery), Some(version), Some(identifier), wal, Some(checkpoint)] =
        texts.as_slice()
    else {
        return Err("it does not answer as PostgreSQL does".to_owned());
    };
    let timeline = wal.as_ref().and_then(|name| u32::from_str_radix(name.get(..8)?, 16).ok());
    Ok(Node {
        in_recovery: in_recovery == "t",
        version: version.clone(),
        system_identifier: identifier.clone(),
        timeline: timeline.map_or_else(|| checkpoint.clone(), |timeline| timeline.to_string()),
        tls: connection.stream.is_tls(),
    })
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
