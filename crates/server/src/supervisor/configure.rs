//! Other settings while it runs.

use everline_core::ha::Event;
use tokio::time::Instant;

use super::{Moved, Settings, Supervisor};
use crate::backend::system::Scout;

impl<S: Scout> Supervisor<S> {
    /// Takes other settings; where they lead elsewhere, goes there.
    pub(super) fn configure(&mut self, new: Settings, moved: Option<Moved>) {
        self.machine.set_mode(new.mode);
        self.election.set_terms(new.election_grace, new.accept_new_cluster);
        self.search.set_pace(new.resolve_interval, new.pace);
        self.beat.send_replace(new.beat);
        let Some(Moved { forget, why }) = moved else {
            let (hosts, fence) = (self.settings.hosts.clone(), self.settings.fence.clone());
            self.settings = Settings { hosts, fence, ..new };
            return;
        };
        if forget {
            self.election.forget();
        }
        self.settings = new;
        self.told.clear();
        self.forget_coming();
        self.current.fence = self.settings.fence.clone();
        self.search.follow(self.settings.hosts.clone(), Instant::now());
        std::mem::take(&mut self.word).cancel();
        self.step(Event::LeaderChanged, why);
        self.publish(); // also where no epoch was retired: the fence is another
    }
}
