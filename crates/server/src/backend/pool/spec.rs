//! What a pool is made from: its login and its bounds.

use everline_core::pool::plan::{GroupId, Limits};

use super::{Inner, PoolKey};
use crate::backend::dial::Login;

/// What is between the user and the word of [`PoolKey::asks`]: no startup packet can hold it.
const APART: char = '\0';

impl PoolKey {
    /// The pool over which `auth_query` is asked as `user`: no client ever has it.
    #[must_use]
    pub fn asks(database: &str, user: &str) -> Self {
        let user = format!("{user}{APART}auth_query");
        Self { database: database.to_owned(), user }
    }

    /// As those who watch may see it.
    pub(super) fn shown(&self) -> Self {
        Self { database: self.database.clone(), user: self.user.replace(APART, " ") }
    }
}

/// How a pool logs in, and how many connections it may have.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// How its connections log in.
    pub login: Login,
    /// Connections that are kept ready.
    pub size_min: usize,
    /// Connections that it may have at most.
    pub size_max: Option<usize>,
    /// Connections that all pools of its database may have together.
    pub database_max: Option<usize>,
    /// Connections that all pools of its user may have together.
    pub user_max: Option<usize>,
}

impl PoolSpec {
    /// A pool with no bounds but the budget.
    #[must_use]
    pub const fn unbounded(login: Login) -> Self {
        Self { login, size_min: 0, size_max: None, database_max: None, user_max: None }
    }
}

/// What pools can have in common.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Group {
    Database(String),
    User(String),
}

impl Inner {
    /// The bounds of the pool of `key`. Only configured databases and users make a group, so
    /// there are no more groups than the configuration has names.
    pub(super) fn limits(&mut self, key: &PoolKey, spec: &PoolSpec) -> Limits {
        let database = spec.database_max.map(|most| (Group::Database(key.database.clone()), most));
        let user = spec.user_max.map(|most| (Group::User(key.user.clone()), most));
        let groups = [database, user].map(|group| {
            let (group, most) = group?;
            let next = GroupId(u32::try_from(self.groups.len()).unwrap_or(u32::MAX));
            Some((*self.groups.entry(group).or_insert(next), most))
        });
        Limits { min: spec.size_min, max: spec.size_max.unwrap_or(usize::MAX), groups }
    }
}
