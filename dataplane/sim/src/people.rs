//! Who uses the shard and who looks after it: clients, and the operator.

use std::collections::VecDeque;

use bytes::Bytes;
use rand::Rng;
use shoal_consensus::{Config, DiskId, Input, Members};

use crate::check::Broken;
use crate::plan::Aim;
use crate::process::Node;
use crate::whole::encoded;
use crate::world::{Event, World};

/// Ops that clients go on to repeat.
const MAX_OPEN: usize = 100;

/// What clients know.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// The op of each proposal.
    attempts: Vec<u64>,
    /// Ops that had no good answer yet.
    open: VecDeque<u64>,
}

impl Clients {
    pub(crate) fn op_of(&self, proposal: u64) -> Option<u64> {
        self.attempts.get(proposal as usize).copied()
    }

    /// The number of a new proposal of an op.
    pub(crate) fn proposes(&mut self, op: u64) -> u64 {
        self.attempts.push(op);
        self.attempts.len() as u64 - 1
    }

    pub(crate) fn is_done(&mut self, op: u64) {
        self.open.retain(|&open| open != op);
    }
}

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
        if self.is_quiet() {
            return Ok(());
        }
        let next = self.between(5, 60);
        self.after(next, Event::Client);
        if self.plan.routed {
            self.call();
            return Ok(());
        }
        if self.plan.whole {
            let node = self.random.random_range(0..self.nodes.len());
            self.read_some(node)?;
        }
        if self.random.random_bool(0.3) {
            let node = self.asked();
            let run = self.nodes[node].run;
            self.reads += 1;
            self.history.read_begins(self.reads);
            return self.step(node, run, Input::Read(self.reads));
        }
        for _ in 0..self.random.random_range(1..4) {
            let op = self.some_op();
            // Some send it twice at once, and not to the same.
            for _ in 0..if self.random.random_bool(0.05) { 2 } else { 1 } {
                self.propose(op)?;
            }
        }
        Ok(())
    }

    /// Whom a client turns to.
    fn asked(&mut self) -> usize {
        let any = self.random.random_range(0..self.nodes.len());
        self.some_primary().unwrap_or(any)
    }

    /// A new op, or one that had no good answer yet, or one whose answer did not arrive.
    fn some_op(&mut self) -> u64 {
        let proposed = self.history.proposed();
        let op = match self.random.random_range(0..100) {
            0..25 if !self.clients.open.is_empty() => {
                let at = self.random.random_range(0..self.clients.open.len());
                self.clients.open.get(at).copied()
            }
            25..30 if proposed > 0 => {
                Some(self.random.random_range(proposed.saturating_sub(300).max(1)..=proposed))
            }
            _ => None,
        };
        self.outcome.repeated += u64::from(op.is_some());
        op.unwrap_or_else(|| {
            let op = self.history.propose();
            self.clients.open.push_back(op);
            if self.clients.open.len() > MAX_OPEN {
                self.clients.open.pop_front();
            }
            op
        })
    }

    fn propose(&mut self, op: u64) -> Result<(), Broken> {
        let node = self.asked();
        let (run, id) = (self.nodes[node].run, self.clients.proposes(op));
        let body = match self.plan.whole {
            false => Bytes::copy_from_slice(&op.to_le_bytes()),
            true => Bytes::from(encoded(op)),
        };
        self.step(node, run, Input::Propose { id, client_id: 1 + op % 3, op_id: op, body })
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
        let rest = match (self.plan.aim, self.plan.storm) {
            (Aim::Change | Aim::Unchanged, _) => 0.0,
            (_, true) => 0.2,
            (_, false) => 0.7,
        };
        if self.nodes.len() < 5 || self.calm || self.random.random_bool(rest) {
            return Ok(());
        }
        let Some(node) = self.some_primary() else { return Ok(()) };
        let mut voters: Vec<DiskId> = self.nodes.iter().map(|node| node.disk.id).collect();
        for _ in 0..self.random.random_range(0..=2) {
            voters.swap_remove(self.random.random_range(0..voters.len()));
        }
        let run = self.nodes[node].run;
        let Ok(wanted) = Members::majority(0, voters) else { return Ok(()) };
        self.aim_at_change(node, &wanted);
        self.step(node, run, Input::Change(wanted))
    }
}
