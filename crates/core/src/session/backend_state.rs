//! What we know of one backend connection, between one lease and the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::settings::Settings;
use super::statements::Prepared;
use super::surveyed::Surveyed;
use crate::limits::{PARAMETER_BYTES_MAX, PARAMETERS_MAX};

/// Values that PostgreSQL reports by ParameterStatus, by name.
pub type Parameters = BTreeMap<Box<str>, Box<str>>;

/// The owner of an unnamed statement of which nobody knows whether it is there.
pub const UNKNOWN_OWNER: (u64, u64) = (0, 0);

/// What a backend connection wears and knows; travels with it from client to client.
#[derive(Debug, Default)]
pub struct BackendState {
    /// The settings that it wears.
    pub settings: Arc<Settings>,
    /// The statements that it has.
    pub prepared: Prepared,
    /// What texts that it was sent have told.
    pub surveyed: Surveyed,
    /// What it last reported.
    pub parameters: Arc<Parameters>,
    /// Whose unnamed statement it holds: the session, and which of its unnamed statements.
    pub unnamed_owner: Option<(u64, u64)>,
    /// Nothing may begin on it at this moment: nobody knows whether its leader still is one.
    pub withheld: bool,
    /// It carries something that we cannot name; it must not be lent again.
    pub spoiled: bool,
}

impl BackendState {
    /// A connection fresh from its login.
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters: Arc::new(parameters), ..Self::default() }
    }

    /// Keeps a setting that it reports. False, and nothing is kept, where it is longer than
    /// [`PARAMETER_BYTES_MAX`] or one more than [`PARAMETERS_MAX`].
    #[must_use]
    pub fn reports(&mut self, name: &str, value: &str) -> bool {
        let room = self.parameters.len() < PARAMETERS_MAX || self.parameters.contains_key(name);
        if !room || name.len().saturating_add(value.len()) > PARAMETER_BYTES_MAX {
            return false;
        }
        Arc::make_mut(&mut self.parameters).insert(name.into(), value.into());
        true
    }
}

#[cfg(test)]
#[path = "backend_state_tests.rs"]
mod tests;
