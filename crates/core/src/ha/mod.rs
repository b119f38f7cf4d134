//! Is the leader alive, who is it, and may sessions dispatch?
//!
//! [`Machine`] answers the first and the last, [`Election`] the second; [`History`] remembers. None
//! of them waits, asks or sends: `now` is an argument, news are arguments, and what is to be done
//! is the answer.
//!
//! # Words
//!
//! The *leader* is the node that is written to. An *epoch* is our number for one reign of one
//! leader; every backend connection has the epoch it was dialled in. The *system connection* is the
//! one backend connection kept to learn about the leader; it is never lent. *Retiring* an epoch
//! drops every connection of it.
//!
//! # States
//!
//! * *starting*: nothing has answered yet.
//! * *healthy*: the leader answers and nothing has broken since.
//! * *unhealthy*: something broke; evidence is being collected. Only in adaptive mode.
//! * *failover*: the old leader is given up; a primary is looked for.
//!
//! # Rules
//!
//! 1. Healthy becomes unhealthy at the first connection that ends without us. The connections that
//!    exist then, the broken one and the system connection included, are the baseline.
//! 2. Unhealthy becomes failover when at least 60 % of the baseline have broken, *and* 30 s have
//!    passed since the first, *and* the system connection is down. Both numbers are settings.
//! 3. A connection that we close ourselves lowers the baseline, never below one. A connection
//!    opened since is no part of the evidence.
//! 4. Unhealthy becomes healthy when a connection to a primary succeeds: the system connection, or
//!    a pool connection while the system connection stands. While it is down, a pool connection
//!    proves nothing.
//! 5. A shutdown notice on the system connection (57P01 or 57P02, as an error or as a notice), or
//!    its answer that the server is in recovery, is a failover at once. The same words on any other
//!    connection are a reason to ask the system connection, no more.
//! 6. Failover becomes healthy when the system connection stands on a primary again.
//! 7. If the system connection comes to stand on *another* server (another address, system
//!    identifier, timeline or postmaster start), the old epoch is retired at once, in whatever
//!    state.
//! 8. News of an epoch that is over changes nothing.
//! 9. Sessions may dispatch only while the leader of the current epoch stands on the system
//!    connection as a primary. One exception: if the leader's address refuses the system connection
//!    for want of a slot (53300) and other connections of the epoch are open and none broke since,
//!    sessions go on, for [`REFUSED_GRACE`] after each such answer, and the leader is not given up.
//! 10. Sessions are told to refuse before anything is retired, and to dispatch only after
//!     everything else is done. An epoch is retired exactly once.
//! 11. A fixed leader ([`Mode::Fixed`]) is never given up by evidence: rules 1 to 4 do not apply,
//!     all others do.
//! 12. A leader whose address refuses connections (57P03) while its system connection stands is in
//!     a smart shutdown: nothing new is dispatched, what runs may end, and when no pool connection
//!     is left it is given up, so that it can end.
//!
//! Which primary becomes the leader is told at [`Election`]; where another program names the
//! leader, at [`Follow`].

mod election;
mod event;
mod fence;
mod follow;
mod history;
mod identity;
mod machine;
mod mode;

pub use election::{CANDIDATES_MAX, Candidate, Election, Offer, Refused};
pub use event::{Availability, Effect, Event, Outcome, Unavailable};
pub use fence::{BootTime, Vouched};
pub use follow::{
    Act, Announced, DENIED_INTERVAL, Follow, News, Observation, Publish, Why, Written,
};
pub use history::{Cause, Entry, HISTORY_MAX, History, Transition};
pub use identity::{Identity, Lsn, Node, parse_lsn, parse_system_identifier, parse_timeline};
pub use machine::{Machine, Phase, REFUSED_GRACE, State};
pub use mode::{Mode, Percent, UnhealthyMin};

#[cfg(test)]
#[path = "properties_tests.rs"]
mod properties;
