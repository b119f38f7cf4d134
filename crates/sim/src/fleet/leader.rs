//! The leader: logins that share its cores.

use std::collections::VecDeque;

/// A login under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Login {
    /// Who asked for it.
    pub(super) instance: u64,
    /// Which of its dials it is.
    pub(super) dial: u64,
    /// When the share of each login under way, added up, is enough for this one.
    done: u64,
}

/// A node that forks a process for each login at once.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) up: bool,
    cores: u64,
    login_us: u64,
    /// What each login under way has had of the cores since the beginning, in microseconds.
    share: u64,
    /// All cost the same, so they are done in the order in which they came.
    logins: VecDeque<Login>,
    /// Logins completed, in each millisecond.
    completed: Vec<u64>,
}

impl Leader {
    pub(super) const fn new(cores: u64, login_us: u64) -> Self {
        Self {
            up: false,
            cores,
            login_us,
            share: 0,
            logins: VecDeque::new(),
            completed: Vec::new(),
        }
    }

    pub(super) fn dies(&mut self) {
        self.up = false;
        self.logins.clear();
    }

    /// Begins a login, where there is somebody to begin it.
    pub(super) fn dial(&mut self, instance: u64, dial: u64) -> bool {
        if self.up {
            let done = self.share + self.login_us;
            self.logins.push_back(Login { instance, dial, done });
        }
        self.up
    }

    /// Ends a login whose client has gone.
    pub(super) fn give_up(&mut self, instance: u64, dial: u64) {
        self.logins.retain(|login| (login.instance, login.dial) != (instance, dial));
    }

    pub(super) fn under_way(&self) -> u64 {
        u64::try_from(self.logins.len()).unwrap_or(u64::MAX)
    }

    /// A millisecond: the logins that are done with it.
    pub(super) fn step(&mut self) -> Vec<Login> {
        let each = (1_000 * self.cores).checked_div(self.under_way()).unwrap_or(0);
        self.share += each.min(1_000); // a login is one process: it has one core at most
        let mut done = Vec::new();
        while let Some(login) = self.logins.pop_front_if(|login| login.done <= self.share) {
            done.push(login);
        }
        self.completed.push(u64::try_from(done.len()).unwrap_or(u64::MAX));
        done
    }

    pub(super) fn forget_what_was(&mut self) {
        self.completed.clear();
    }

    pub(super) fn most_in_100_ms(&self) -> u64 {
        self.completed.windows(100).map(|window| window.iter().sum()).max().unwrap_or(0)
    }
}
