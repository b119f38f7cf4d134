//! What Everline is doing, and what a person should do about it, in a sentence each.

use std::time::Duration;

use everline_core::ha::Phase;

use crate::backend::pool::Scope;

/// What the sentences are about.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The failover machine's phase.
    pub phase: Phase,
    /// Why nothing is dispatched; `None`: it is.
    pub reason: Option<&'a str>,
    /// What an administrator has paused.
    pub paused: &'a [String],
    /// The server is on its way out.
    pub draining: bool,
    /// Where the leader is, or was.
    pub leader: Option<&'a str>,
    /// Statements held.
    pub held: usize,
    /// How long a statement is held.
    pub hold: Duration,
    /// Whether a source names the leader.
    pub announced: bool,
    /// Backend connections that may be lent are all lent, and sessions wait.
    pub exhausted: bool,
}

/// The sentences.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Words {
    /// What is being done.
    pub doing: String,
    /// What to do about it.
    pub advice: String,
}

impl Situation<'_> {
    /// Both sentences.
    #[must_use]
    pub fn words(&self) -> Words {
        let (doing, advice) = if self.draining {
            Self::drains()
        } else if !self.paused.is_empty() {
            self.pauses()
        } else {
            match (self.phase, self.reason) {
                (Phase::Starting, _) => self.starts(),
                (Phase::Healthy, None) => self.serves(),
                (Phase::Healthy, Some(why)) => self.distrusts(why),
                (Phase::Unhealthy, None) => self.doubts(),
                (Phase::Unhealthy, Some(_)) => self.misses(),
                (Phase::Failover, _) => self.fails_over(),
            }
        };
        Words { doing, advice }
    }

    fn leader(&self) -> &str {
        self.leader.unwrap_or("The leader")
    }

    fn held(&self) -> String {
        let hold = humantime::format_duration(self.hold);
        match (self.held, self.hold.is_zero()) {
            (_, true) => "New statements fail at once with a retryable error.".to_owned(),
            (0, false) => {
                format!("New statements wait up to {hold}, then fail with a retryable error.")
            }
            (1, false) => format!("1 statement waits, up to {hold} for a new leader."),
            (many, false) => format!("{many} statements wait, up to {hold} for a new leader."),
        }
    }

    fn drains() -> (String, String) {
        let doing = "Told to stop: nobody new is let in, open transactions may finish.";
        (doing.to_owned(), "Nothing to do; it ends by itself.".to_owned())
    }

    fn pauses(&self) -> (String, String) {
        let moves = Scope::Move.to_string();
        if self.paused.iter().all(|what| *what == moves) {
            let doing = "A reload has brought another backend_dsn: open transactions may finish, \
                         new statements wait, and then go there.";
            return (doing.to_owned(), "Nothing to do; it takes a few seconds.".to_owned());
        }
        let what = self.paused.join("; ");
        let doing = format!("Paused by an administrator: {what}. Statements wait for RESUME.");
        let advice = "When the work on the database is done, say RESUME on the console, or send \
                      SIGUSR2.";
        (doing, advice.to_owned())
    }

    fn starts(&self) -> (String, String) {
        let doing = format!("No primary has answered since the start. {}", self.held());
        let advice = "If this lasts, look at the last error below: is PostgreSQL up, is the DSN \
                      right? everline check tells more.";
        (doing, advice.to_owned())
    }

    fn serves(&self) -> (String, String) {
        let doing = format!("Statements go to {}.", self.leader.unwrap_or("the leader"));
        let advice = if self.exhausted {
            "All backend connections are lent and clients wait for one: if this is often so, \
             raise max_backend_connections or look for long transactions."
        } else {
            "Nothing to do."
        };
        (doing, advice.to_owned())
    }

    fn distrusts(&self, why: &str) -> (String, String) {
        let doing = format!("{} answers, but {why}. {}", self.leader(), self.held());
        let advice = "Look at Consul and at Stolon's sentinel: nothing is sent to a leader that \
                      they do not vouch for.";
        (doing, advice.to_owned())
    }

    fn doubts(&self) -> (String, String) {
        let leader = self.leader();
        let doing = format!("{leader} serves and answers; a connection to it broke.");
        (doing, "Nothing to do unless this lasts for minutes.".to_owned())
    }

    fn misses(&self) -> (String, String) {
        let doing = format!("{} does not answer. {}", self.leader(), self.held());
        let advice = format!(
            "See whether PostgreSQL at {} runs and can be reached. If a standby is promoted \
             Everline follows by itself.",
            self.leader.unwrap_or("the leader's address")
        );
        (doing, advice)
    }

    fn fails_over(&self) -> (String, String) {
        let doing = format!(
            "{} is given up; the next leader is looked for. {}",
            self.leader(),
            self.held()
        );
        let advice = if self.announced {
            "If this lasts for more than a minute: see whether Stolon has elected a keeper, and \
             whether the agent of Consul can be reached."
        } else {
            "If this lasts for more than a minute: see that a standby was promoted, and that the \
             name in the DSN leads to it."
        };
        (doing, advice.to_owned())
    }
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
