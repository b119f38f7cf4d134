//! Real PostgreSQL: found or fetched, set up once per run, copied for every node.
//!
//! [`Installation`] is where the programs are, [`Node`] one data directory with the postmaster on
//! it, [`Cluster`] a primary with its standbys. Roles and passwords are the constants here.

mod cluster;
mod disk;
mod fetch;
mod install;
mod node;
mod template;

pub use cluster::{Cluster, ClusterOptions};
pub use install::Installation;
pub(crate) use node::rows;
pub use node::{Node, Stop};

/// The superuser; from 127.0.0.0/8 it needs no password.
pub const SUPERUSER: &str = "postgres";
/// An ordinary role that owns [`APP_DATABASE`], with a SCRAM-SHA-256 password.
pub const APP_USER: &str = "app";
/// The password of [`APP_USER`], [`MD5_USER`] and [`CLEARTEXT_USER`].
pub const APP_PASSWORD: &str = "app-secret";
/// The database that clients use.
pub const APP_DATABASE: &str = "app";
/// A role that is asked for an MD5 password.
pub const MD5_USER: &str = "legacy";
/// A role that is asked for its password in the clear.
pub const CLEARTEXT_USER: &str = "clear";
/// An ordinary role that is asked for nothing.
pub const TRUSTED_USER: &str = "trusted";

#[cfg(test)]
#[path = "../postgres_tests.rs"]
mod tests;
