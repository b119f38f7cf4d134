//! What can go wrong, and how it ends.

use std::fmt;

/// What goes wrong. "The leader" is the node that leads when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Three of ten packets between Everline and the leader are lost.
    Loss,
    /// The leader's link is slow, and packets wait for up to half a second.
    Slow,
    /// Nothing arrives at the leader from Everline; the other way works.
    ToLeaderLost,
    /// Nothing arrives at Everline from the leader; the other way works.
    FromLeaderLost,
    /// The leader's host reaches neither Everline nor the standby.
    LeaderAlone,
    /// Leader and standby do not reach each other: no commit ends.
    StandbyAlone,
    /// Half of what Everline sends to the leader is answered with a reset.
    Resets,
    /// A firewall forgets the connections that stand: they hang, new ones work.
    Forgotten,
    /// The leader's host loses its power and comes back, and nobody was told: half-open
    /// connections.
    PowerLost,
    /// The leader's disk is full.
    DiskFull,
    /// One backend process is killed for want of memory: PostgreSQL ends all and recovers.
    BackendKilled,
    /// The leader stands still (SIGSTOP) and goes on (SIGCONT).
    Frozen,
    /// The leader dies, and its name does not exist for a while.
    NoSuchName,
    /// The leader dies, and no question about names is answered for a while.
    SilentNames,
    /// The leader dies, and its name leads to where nobody is, then to where nobody listens.
    LyingName,
    /// The leader dies, and its name goes on leading to it for a while.
    StaleName,
    /// The leader dies, and its name leads to nobody, the dead one and the new one.
    SeveralAddresses,
    /// Everline itself is killed and started again.
    EverlineKilled,
    /// Nothing arrives at Consul from Everline.
    ToConsulLost,
    /// Nothing arrives at Everline from Consul.
    FromConsulLost,
    /// Three of ten packets between Everline and Consul are lost.
    ConsulLoss,
    /// What Everline sends to Consul is answered with resets.
    ConsulResets,
    /// A firewall forgets the connections between Everline and Consul.
    ConsulForgotten,
    /// Consul stands still and goes on.
    ConsulFrozen,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// It passes, and the leader leads on.
    Heals,
    /// The standby is promoted while it lasts.
    Succeeds,
}

use End::{Heals, Succeeds};

impl Fault {
    /// Those that need a name to find the leader by.
    pub(crate) const NAMED: [Self; 18] = [
        Self::Loss,
        Self::Slow,
        Self::ToLeaderLost,
        Self::FromLeaderLost,
        Self::LeaderAlone,
        Self::StandbyAlone,
        Self::Resets,
        Self::Forgotten,
        Self::PowerLost,
        Self::DiskFull,
        Self::BackendKilled,
        Self::Frozen,
        Self::NoSuchName,
        Self::SilentNames,
        Self::LyingName,
        Self::StaleName,
        Self::SeveralAddresses,
        Self::EverlineKilled,
    ];

    /// Those that can happen where Consul says who leads.
    pub(crate) const ELECTED: [Self; 14] = [
        Self::ToConsulLost,
        Self::FromConsulLost,
        Self::ConsulLoss,
        Self::ConsulResets,
        Self::ConsulForgotten,
        Self::ConsulFrozen,
        Self::Loss,
        Self::ToLeaderLost,
        Self::FromLeaderLost,
        Self::LeaderAlone,
        Self::Resets,
        Self::PowerLost,
        Self::Frozen,
        Self::EverlineKilled,
    ];

    /// How it can end.
    pub(crate) fn ends(self) -> &'static [End] {
        match self {
            Self::ToLeaderLost
            | Self::FromLeaderLost
            | Self::LeaderAlone
            | Self::Resets
            | Self::PowerLost
            | Self::DiskFull
            | Self::Frozen
            | Self::ToConsulLost
            | Self::FromConsulLost
            | Self::ConsulLoss
            | Self::ConsulResets
            | Self::ConsulForgotten => &[Heals, Succeeds],
            Self::Loss
            | Self::Slow
            | Self::StandbyAlone
            | Self::Forgotten
            | Self::BackendKilled
            | Self::EverlineKilled
            // Nobody is elected without it.
            | Self::ConsulFrozen => &[Heals],
            Self::NoSuchName
            | Self::SilentNames
            | Self::LyingName
            | Self::StaleName
            | Self::SeveralAddresses => &[Succeeds],
        }
    }

    /// Whether it befalls the way to Consul.
    pub(crate) fn is_of_consul(self) -> bool {
        matches!(
            self,
            Self::ToConsulLost
                | Self::FromConsulLost
                | Self::ConsulLoss
                | Self::ConsulResets
                | Self::ConsulForgotten
                | Self::ConsulFrozen
        )
    }

    /// Whether an error with this code is PostgreSQL's own word on it, passed on.
    pub(crate) fn explains(self, code: &str) -> bool {
        // disk_full
        self == Self::DiskFull && code == "53100"
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "packets lost",
            Self::Slow => "slow link",
            Self::ToLeaderLost => "deaf leader",
            Self::FromLeaderLost => "mute leader",
            Self::LeaderAlone => "leader cut off",
            Self::StandbyAlone => "standby cut off",
            Self::Resets => "resets",
            Self::Forgotten => "forgotten connections",
            Self::PowerLost => "power lost",
            Self::DiskFull => "full disk",
            Self::BackendKilled => "backend killed",
            Self::Frozen => "leader frozen",
            Self::NoSuchName => "NXDOMAIN",
            Self::SilentNames => "DNS times out",
            Self::LyingName => "DNS lies",
            Self::StaleName => "stale name",
            Self::SeveralAddresses => "several addresses",
            Self::EverlineKilled => "Everline killed",
            Self::ToConsulLost => "deaf Consul",
            Self::FromConsulLost => "mute Consul",
            Self::ConsulLoss => "Consul: packets lost",
            Self::ConsulResets => "Consul: resets",
            Self::ConsulForgotten => "Consul: forgotten",
            Self::ConsulFrozen => "Consul frozen",
        })
    }
}
