//! What goes wrong, what the operator does about it, and what must be true in the end.

use std::collections::BTreeSet;

use crate::owner::Owner;
use crate::world::{FAULTS_END, News, World};

impl World {
    /// One fault, and the time of the next.
    pub(crate) fn fault(&mut self) {
        if self.now > FAULTS_END {
            return;
        }
        self.figures.faults += 1;
        let leader = self.leader;
        let pause = self.dice.between(200, 8_000);
        match self.dice.below(12) {
            0 | 1 => self.crash(leader, false, pause),
            2 => self.crash(leader, true, pause),
            3 | 4 => {
                // Frozen, or in a black hole.
                let now = self.now;
                let silent = self.node_mut(leader);
                if !silent.mute {
                    silent.mute_since = now;
                }
                silent.mute = true;
                self.plan(pause, News::Thaw(leader));
                self.succeed(leader, pause);
            }
            5 => self.demote(leader, pause),
            6 => self.cut(leader, false),
            7 => {
                self.cut(leader, true);
                self.end_link(leader, false);
            }
            8 => {
                self.slow = true;
                self.plan(pause, News::Fast);
            }
            9 => {
                self.name_fails = true;
                self.plan(pause, News::NameAnswers);
            }
            10 => self.asleep_until = self.asleep_until.max(self.now + pause),
            _ => {
                // The name lies for a while.
                self.name = 1 - leader;
                self.plan(pause, News::Name(leader));
            }
        }
        let next = self.dice.between(300, 6_000);
        self.plan(next, News::Fault);
    }

    /// The system connection to `node` ends, after a word about it or without.
    fn end_link(&mut self, node: usize, told: bool) {
        if let Some((link, at, _)) = self.link
            && at == node
        {
            let latency = self.latency();
            self.plan(latency, News::LinkEnded { link, told });
        }
    }

    fn crash(&mut self, node: usize, told: bool, pause: u64) {
        self.end_link(node, told);
        self.cut(node, true);
        let fallen = self.node_mut(node);
        fallen.up = false;
        fallen.incarnation += 1;
        if self.succeed(node, pause) {
            let alone = self.dice.once_in(2);
            self.plan(pause + 500, News::Return { node, alone });
        } else {
            self.plan(pause, News::Restart(node));
        }
    }

    /// The leader becomes a standby while its connections live on.
    fn demote(&mut self, node: usize, pause: u64) {
        if self.succeed(node, pause / 4) {
            self.node_mut(node).primary = false;
            self.plan(pause + 500, News::Return { node, alone: false });
        }
    }

    /// Has the standby take over, if it can.
    fn succeed(&mut self, fallen: usize, pause: u64) -> bool {
        let other = 1 - fallen;
        let able = self.node(other).up && self.node(other).synced && !self.dice.once_in(4);
        if able {
            // From here on it takes nothing from the fallen leader.
            self.node_mut(other).synced = false;
            self.node_mut(fallen).synced = false;
            self.leader = other;
            let wait = self.dice.between(0, pause / 2);
            self.plan(wait, News::Promote(other));
        }
        able
    }

    pub(crate) fn promote(&mut self, node: usize) {
        if node != self.leader {
            return;
        }
        let timeline = self.nodes.iter().map(|node| node.timeline).max().unwrap_or(1) + 1;
        let next = self.node_mut(node);
        if !next.primary {
            next.primary = true;
            next.timeline = timeline;
        }
        let wait = self.dice.between(0, 1_000);
        self.plan(wait, News::Name(node));
    }

    /// A node that nobody took over from is started again.
    pub(crate) fn restart(&mut self, node: usize) {
        if node == self.leader {
            self.node_mut(node).up = true;
        } else {
            self.come_back(node, false);
        }
    }

    /// An old leader returns: as a standby, or writable, on its old timeline and without a standby.
    pub(crate) fn come_back(&mut self, node: usize, alone: bool) {
        if node == self.leader {
            self.node_mut(node).up = true;
            return;
        }
        // Before anybody has met its successor, nothing tells an old leader from the present one.
        let known = self.led >= self.node(self.leader).timeline && self.node(self.leader).primary;
        let is_old = !self.node(node).synced && self.node(node).timeline < self.led;
        if alone && is_old && known && self.now < FAULTS_END {
            let old = self.node_mut(node);
            old.up = true;
            old.primary = true;
            old.alone = true;
            if self.dice.once_in(2) {
                self.name = node;
            }
            let (leader, wait) = (self.leader, self.dice.between(100, 3_000));
            self.plan(wait, News::Name(leader));
            self.plan(wait + 500, News::Return { node, alone: false });
            return;
        }
        self.rejoin(node);
    }

    fn rejoin(&mut self, node: usize) {
        self.cut(node, true);
        self.end_link(node, false);
        let leader = self.node(self.leader);
        let (rows, timeline) = (leader.rows.clone(), leader.timeline);
        let promoted = leader.primary;
        let back = self.node_mut(node);
        back.incarnation += 1;
        back.up = true;
        back.mute = false;
        back.primary = false;
        back.alone = false;
        back.rows = rows;
        back.timeline = timeline;
        back.synced = promoted;
    }

    pub(crate) fn repair(&mut self) {
        let leader = self.leader;
        for node in 0..self.nodes.len() {
            self.node_mut(node).mute = false;
        }
        self.rejoin(1 - leader);
        self.node_mut(leader).up = true;
        self.promote(leader);
        self.name_fails = false;
        self.slow = false;
    }

    /// Judges what the clients were told by the rows of the last leader.
    pub(crate) fn settle(&mut self, owner: &Owner) -> Result<(), String> {
        let rows = &self.node(self.leader).rows;
        if let Some((row, times)) = rows.iter().find(|(_, times)| **times > 1) {
            return Err(format!("row {row} is there {times} times"));
        }
        let there: BTreeSet<u64> = rows.keys().copied().collect();
        for session in &owner.sessions {
            let ledger = &session.client.ledger;
            if let Some(row) = ledger.acknowledged.difference(&there).next() {
                return Err(format!("row {row} was acknowledged and is lost"));
            }
            if let Some(row) = ledger.refused.intersection(&there).next() {
                return Err(format!("row {row} was refused and is there"));
            }
            let count = |rows: &BTreeSet<u64>| u64::try_from(rows.len()).unwrap_or(u64::MAX);
            self.figures.acknowledged += count(&ledger.acknowledged);
            self.figures.refused += count(&ledger.refused);
            self.figures.unknown += count(&ledger.unknown);
        }
        Ok(())
    }
}
