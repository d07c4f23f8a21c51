//! Who uses the shard and who looks after it: clients, and the operator.

use bytes::Bytes;
use rand::Rng;
use shoal_consensus::{Config, DiskId, Input, Members};

use crate::check::Broken;
use crate::world::{Event, Node, World};

impl World {
    /// Somebody who says that it leads, if anybody does.
    pub(crate) fn some_primary(&mut self) -> Option<usize> {
        let leading =
            |node: &Node| node.replica.as_ref().is_some_and(|r| r.status().leads.is_some());
        let all: Vec<usize> =
            (0..self.nodes.len()).filter(|&at| leading(&self.nodes[at])).collect();
        match all.is_empty() {
            true => None,
            false => all.get(self.random.random_range(0..all.len())).copied(),
        }
    }

    pub(crate) fn client(&mut self) -> Result<(), Broken> {
        let next = self.between(5, 60);
        self.after(next, Event::Client);
        let any = self.random.random_range(0..self.nodes.len());
        let node = self.some_primary().unwrap_or(any);
        let run = self.nodes[node].run;
        if self.random.random_bool(0.3) {
            self.reads += 1;
            self.history.read_begins(self.reads);
            return self.step(node, run, Input::Read(self.reads));
        }
        for _ in 0..self.random.random_range(1..4) {
            let id = self.history.propose();
            let body = Bytes::copy_from_slice(&id.to_le_bytes());
            self.step(node, run, Input::Propose { id, client_id: 1, op_id: id, body })?;
        }
        Ok(())
    }

    /// What the operator does about a disk that is gone: adds the new one, then removes the old one.
    pub(crate) fn operate(&mut self) -> Result<(), Broken> {
        self.after(if self.plan.storm { 60 } else { 200 }, Event::Operate);
        let Some((old, new)) = self.lost else { return self.scale() };
        let Some(node) = self.some_primary() else { return Ok(()) };
        let run = self.nodes[node].run;
        let Some(replica) = &self.nodes[node].replica else { return Ok(()) };
        // What the primary says, and not the register: one that was set back names disks that are gone for ever.
        let (status, Some(Config::New(members))) = (replica.status(), replica.log().config())
        else {
            return Ok(());
        };
        let members = members.clone();
        if members.contains(new) && !members.contains(old) {
            if !status.changing && status.commit == status.last {
                self.lost = None;
                self.outcome.replaced += 1;
            }
            return Ok(());
        }
        self.step(node, run, Input::Learners(vec![new]))?;
        let near = status.matched.iter().any(|&(disk, seq)| disk == new && seq + 50 > status.last);
        if !near {
            return Ok(());
        }
        let mut voters: Vec<DiskId> =
            members.voters().iter().copied().filter(|&disk| disk != old).collect();
        voters.push(new);
        match Members::majority(0, voters) {
            Ok(wanted) => self.step(node, run, Input::Change(wanted)),
            Err(_) => Ok(()),
        }
    }

    /// Of five replicas, now these vote and now those, at least three.
    pub(crate) fn scale(&mut self) -> Result<(), Broken> {
        let rest = if self.plan.storm { 0.2 } else { 0.7 };
        if self.nodes.len() < 5 || self.calm || self.random.random_bool(rest) {
            return Ok(());
        }
        let Some(node) = self.some_primary() else { return Ok(()) };
        let mut voters: Vec<DiskId> = self.nodes.iter().map(|node| node.disk.id).collect();
        for _ in 0..self.random.random_range(0..=2) {
            voters.swap_remove(self.random.random_range(0..voters.len()));
        }
        let run = self.nodes[node].run;
        match Members::majority(0, voters) {
            Ok(wanted) => self.step(node, run, Input::Change(wanted)),
            Err(_) => Ok(()),
        }
    }
}
