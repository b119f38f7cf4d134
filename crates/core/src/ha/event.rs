//! What the machine hears, and what it wants done.

use super::history::Transition;
use super::identity::Node;
use std::fmt;

/// News for the machine. An event that names an epoch tells of a connection dialled in that epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A pool connection finished its login at the leader.
    PoolOpened {
        /// The epoch it was dialled in.
        epoch: u64,
    },
    /// A pool connection ended without us.
    PoolBroken {
        /// The epoch it was dialled in.
        epoch: u64,
    },
    /// A pool connection was closed by us for a normal reason.
    PoolClosed {
        /// The epoch it was dialled in.
        epoch: u64,
    },
    /// The elected leader stands on the system connection, and it is not in recovery. While another
    /// system connection stands, this one takes its place.
    SystemConnected {
        /// Where it stands and who answered.
        node: Node,
    },
    /// The system connection ended, or nothing was heard of the leader for too long.
    SystemBroken {
        /// The epoch it belonged to.
        epoch: u64,
    },
    /// The leader's address answered a dial of the system connection with "too many clients" (53300).
    SystemRefused {
        /// The epoch whose leader's address was dialled.
        epoch: u64,
    },
    /// 57P01 or 57P02 on the system connection, as an error or as a notice.
    ShuttingDown {
        /// The epoch it belongs to.
        epoch: u64,
    },
    /// The leader's address refuses connections (57P03) while the system connection stands there: a
    /// smart shutdown, in which what is connected may go on, and nobody else gets in.
    Leaving {
        /// The epoch whose leader's address was dialled.
        epoch: u64,
    },
    /// The system connection's own answer says that its server is in recovery.
    HotStandby {
        /// The epoch it belongs to.
        epoch: u64,
    },
    /// A source, or the operator, says that the leader is no longer where the epoch says.
    LeaderChanged,
    /// A source has taken its word back: nobody may be followed until it names a leader.
    LeaderWithdrawn,
    /// [`Machine::deadline`](super::Machine::deadline) is over.
    Tick,
}

impl Event {
    /// The epoch whose connections it tells of, if it tells of any.
    #[must_use]
    pub const fn epoch(&self) -> Option<u64> {
        match self {
            Self::PoolOpened { epoch }
            | Self::PoolBroken { epoch }
            | Self::PoolClosed { epoch }
            | Self::SystemBroken { epoch }
            | Self::SystemRefused { epoch }
            | Self::ShuttingDown { epoch }
            | Self::Leaving { epoch }
            | Self::HotStandby { epoch } => Some(*epoch),
            Self::SystemConnected { .. }
            | Self::LeaderChanged
            | Self::LeaderWithdrawn
            | Self::Tick => None,
        }
    }
}

/// What must be done about an event, in the order given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Tell the sessions whether they may dispatch.
    Publish(Availability),
    /// Drop every connection of this epoch. The machine's epoch is already the next one.
    Retire(u64),
    /// Dial the system connection at once.
    DialSystem,
}

/// Whether sessions may dispatch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Availability {
    /// The leader of the current epoch stands on the system connection as a primary.
    Available,
    /// Nothing may be dispatched.
    Unavailable(Unavailable),
}

impl Availability {
    /// Whether sessions may dispatch.
    #[must_use]
    pub const fn is_available(self) -> bool {
        matches!(self, Self::Available)
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => f.write_str("available"),
            Self::Unavailable(why) => write!(f, "unavailable: {why}"),
        }
    }
}

/// Why nothing may be dispatched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unavailable {
    /// No leader has been found yet.
    Starting,
    /// The system connection is lost; the leader may or may not be.
    SystemConnectionLost,
    /// The old leader is given up and a new one is looked for.
    FailingOver,
    /// The leader has announced its shutdown: a successor is to be expected.
    ShuttingDown,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "no leader is known yet",
            Self::SystemConnectionLost => "the system connection is lost",
            Self::FailingOver => "the backend is failing over",
            Self::ShuttingDown => "the leader has announced its shutdown",
        })
    }
}

/// What one step led to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// What must be done, in this order.
    pub effects: Vec<Effect>,
    /// For history and log: set when the phase, the epoch or the availability has changed.
    pub transition: Option<Transition>,
}
