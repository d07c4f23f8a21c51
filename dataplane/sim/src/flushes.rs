//! Logs get shorter, and snapshots take their place.

use rand::Rng;
use shoal_consensus::{DiskId, Entry, Epoch, Input, Recent};

use crate::check::Broken;
use crate::world::{Event, World};

impl World {
    pub(crate) fn offer(
        &mut self,
        from: DiskId,
        epoch: Epoch,
        to: DiskId,
        entries: &[Entry],
        recent: Vec<Recent>,
    ) -> Result<(), Broken> {
        let (Some(node), Some(last)) = (self.node_of(to), entries.last()) else { return Ok(()) };
        let (run, at) = (self.nodes[node].run, last.at);
        if self.nodes[node].paused > self.now {
            return Ok(());
        }
        self.nodes[node].wanted = false;
        self.step(node, run, Input::Offered { from, epoch, at })?;
        if !std::mem::take(&mut self.nodes[node].wanted) {
            return Ok(());
        }
        let durable = self.nodes[node].disk.sync();
        let own = &mut self.nodes[node];
        own.disk.install(entries, &recent);
        own.applied = at.seq;
        self.outcome.snapshots += 1;
        let config = own.disk.config(entries.len()).map(|(_, config)| config);
        self.step(node, run, Input::Installed { at, config, recent })?;
        match durable {
            Some(ticket) => self.step(node, run, Input::Durable(ticket)),
            None => Ok(()),
        }
    }

    /// Flushes some of what is applied.
    pub(crate) fn trim(&mut self) -> Result<(), Broken> {
        let next = self.between(100, 2_000);
        self.after(next, Event::Trim);
        if self.plan.whole {
            return Ok(());
        }
        let node = self.random.random_range(0..self.nodes.len());
        let applied = self.nodes[node].applied;
        let own = &mut self.nodes[node];
        if own.replica.is_none() || own.paused > self.now || applied <= own.disk.flushed {
            return Ok(());
        }
        own.disk.flush(self.random.random_range(own.disk.flushed..=applied));
        let to = own.disk.position(own.disk.flushed);
        let run = own.run;
        self.step(node, run, Input::Trimmed(to))
    }
}
