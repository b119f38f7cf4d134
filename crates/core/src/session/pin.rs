//! What ties a session to its backend connection beyond the transaction.

use everline_wire::sql::{Statement, Verb};

/// A set of reasons. Empty: the connection goes back to the pool after each transaction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pins(u8);

impl Pins {
    /// Temporary tables and their kin live in the backend's memory.
    pub const TEMPORARY: Self = Self(1);
    /// `pg_advisory_lock` without a transaction.
    pub const SESSION_LOCK: Self = Self(2);
    /// A cursor WITH HOLD.
    pub const HELD_CURSOR: Self = Self(4);
    /// `LISTEN`: notifications come to this backend connection.
    pub const LISTEN: Self = Self(8);
    /// SQL-level `PREPARE`: the name is known to this backend connection alone.
    pub const PREPARE: Self = Self(16);
    /// `set_config()` and the like: settings changed in a way that the journal did not see.
    pub const UNSEEN_SETTING: Self = Self(32);
    /// Session pooling: tied by configuration, nothing is lost with the connection.
    pub const SESSION_MODE: Self = Self(64);

    /// All that cannot be brought to another leader.
    pub const UNREPLAYABLE: Self = Self(
        Self::TEMPORARY.0 | Self::SESSION_LOCK.0 | Self::HELD_CURSOR.0 | Self::UNSEEN_SETTING.0,
    );

    /// All that a session does to its connection; `DISCARD ALL` undoes it.
    pub const ALL_BUT_MODE: Self = Self(!Self::SESSION_MODE.0);

    /// Nothing ties.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds reasons.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Takes reasons away.
    pub const fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// Whether one of `other`'s reasons is among these.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the connection may be lent to somebody else afterwards, were it not for the ties.
    ///
    /// Only session pooling leaves nothing behind; all else is state that we do not undo.
    #[must_use]
    pub const fn leaves_state(self) -> bool {
        self.0 & !Self::SESSION_MODE.0 != 0
    }

    /// What cannot be brought to another leader, in words for the client.
    #[must_use]
    pub const fn unreplayable(self) -> Option<&'static str> {
        if self.intersects(Self::TEMPORARY) {
            Some("temporary tables")
        } else if self.intersects(Self::SESSION_LOCK) {
            Some("session advisory locks")
        } else if self.intersects(Self::HELD_CURSOR) {
            Some("cursors WITH HOLD")
        } else if self.intersects(Self::UNSEEN_SETTING) {
            Some("settings made by set_config()")
        } else {
            None
        }
    }

    /// The set as a number, for [`Pins::from_bits`].
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set of that number.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Each tie in words for an administrator.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        let all = [
            (Self::TEMPORARY, "temporary tables"),
            (Self::SESSION_LOCK, "session advisory locks"),
            (Self::HELD_CURSOR, "cursors WITH HOLD"),
            (Self::LISTEN, "LISTEN"),
            (Self::PREPARE, "PREPARE"),
            (Self::UNSEEN_SETTING, "set_config()"),
            (Self::SESSION_MODE, "session pooling"),
        ];
        let there = all.into_iter().filter(|(tie, _)| self.intersects(*tie));
        there.map(|(_, words)| words).collect()
    }

    /// The ties that `statement` makes when it succeeds; taken at forwarding, to be cautious.
    #[must_use]
    pub fn of(statement: &Statement<'_>) -> Self {
        let mut pins = Self::default();
        if statement.marks.temporary() {
            pins.add(Self::TEMPORARY);
        }
        if statement.marks.session_lock() {
            pins.add(Self::SESSION_LOCK);
        }
        if statement.marks.set_config() {
            pins.add(Self::UNSEEN_SETTING);
        }
        // Settings, LISTEN and PREPARE that the journal keeps need no tie to be replayed, but
        // notifications arrive only here, and a name prepared by SQL exists only here.
        if let Verb::Listen = statement.verb {
            pins.add(Self::LISTEN);
        }
        if let Verb::Prepare { .. } = statement.verb {
            pins.add(Self::PREPARE);
        }
        if let Verb::DeclareCursor { hold: true } = statement.verb {
            pins.add(Self::HELD_CURSOR);
        }
        pins
    }
}
