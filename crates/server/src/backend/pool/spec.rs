//! What a pool is made from: its login and its bounds.

use std::collections::{BTreeMap, BTreeSet};

use everline_core::pool::plan::{GroupId, Limits};

use super::PoolKey;
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
enum Group {
    Database(String),
    User(String),
}

/// The groups of the pools that there are. A setting for all databases makes one of each name that
/// a client thinks of, so a group goes with its last pool.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: BTreeMap<Group, (GroupId, BTreeSet<PoolKey>)>,
    next: u32,
}

impl Groups {
    /// The bounds of the pool of `key`, which is in its groups from then on.
    pub(super) fn limits(&mut self, key: &PoolKey, spec: &PoolSpec) -> Limits {
        let database = spec.database_max.map(|most| (Group::Database(key.database.clone()), most));
        let user = spec.user_max.map(|most| (Group::User(key.user.clone()), most));
        let groups = [database, user].map(|group| {
            let (group, most) = group?;
            let next = &mut self.next;
            let (id, keys) = self.by_name.entry(group).or_insert_with(|| {
                let id = GroupId(*next);
                *next = next.wrapping_add(1);
                (id, BTreeSet::new())
            });
            keys.insert(key.clone());
            Some((*id, most))
        });
        Limits { min: spec.size_min, max: spec.size_max.unwrap_or(usize::MAX), groups }
    }

    /// Takes the pool of `key` out of its groups.
    pub(super) fn forget(&mut self, key: &PoolKey) {
        let groups = [Group::Database(key.database.clone()), Group::User(key.user.clone())];
        for group in groups {
            let Some((_, keys)) = self.by_name.get_mut(&group) else { continue };
            keys.remove(key);
            if keys.is_empty() {
                self.by_name.remove(&group);
            }
        }
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
