//! Chains of faults that chance hardly ever brings about: each lies in wait for its moment.

use rand::Rng;
use shoal_consensus::{Body, Epoch, Input, Members, Message, Phase, Register};

use crate::check::Broken;
use crate::plan::Aim;
use crate::world::{Event, World};

/// What follows a while after the moment.
#[derive(Debug)]
pub(crate) enum Trick {
    /// The register is set back to this.
    SetBack(Register),
    /// It is deleted.
    Delete,
    /// A process is told to take over.
    TakeOver(usize),
}

/// An election that is to be undone in the register.
#[derive(Debug)]
pub(crate) struct Twice {
    epoch: Epoch,
    /// The register before it.
    before: Register,
    /// Who is to know nothing of it.
    left_out: usize,
}

impl World {
    fn aims(&mut self, aim: Aim, often: f64) -> bool {
        self.plan.aim == aim && !self.calm && self.random.random_bool(often)
    }

    /// A promise leaves for whoever asked for it.
    pub(crate) fn aim_at_promise(&mut self, from: usize, to: usize) {
        if from == to || !self.aims(Aim::Promise, 0.5) {
            return;
        }
        let Some(primary) = self.some_primary().filter(|&at| at != from && at != to) else {
            return;
        };
        self.after(0, Event::Crash(from, self.nodes[from].run));
        self.network.join();
        self.network.cut(primary, to);
        self.network.cut(to, primary);
        self.after(400, Event::Join);
    }

    /// A change of members is about to begin.
    pub(crate) fn aim_at_change(&mut self, primary: usize, wanted: &Members) {
        if !self.aims(Aim::Change, 0.5) {
            return;
        }
        let side = match self.random.random_range(0..3) {
            0 => self.quorum_of(primary, wanted),
            1 => self.added(primary, wanted),
            _ => {
                let ms = self.between(5, 200);
                return self.after(ms, Event::Crash(primary, self.nodes[primary].run));
            }
        };
        let ms = self.between(100, 900);
        self.split(&side, ms);
    }

    /// A primary, and as many others of these members as make a write quorum.
    fn quorum_of(&mut self, primary: usize, members: &Members) -> Vec<bool> {
        let mut side: Vec<bool> = (0..self.nodes.len()).map(|at| at == primary).collect();
        let mut missing = members.write_quorum();
        missing -= usize::from(members.contains(self.nodes[primary].disk.id)).min(missing);
        let first = self.random.random_range(0..side.len());
        for at in (first..side.len()).chain(0..first) {
            if missing > 0 && at != primary && members.contains(self.nodes[at].disk.id) {
                side[at] = true;
                missing -= 1;
            }
        }
        side
    }

    /// A primary, and those who do not vote yet.
    fn added(&self, primary: usize, wanted: &Members) -> Vec<bool> {
        let config = self.nodes[primary].replica.as_ref().and_then(|r| r.log().config());
        let is_new =
            |disk| wanted.contains(disk) && config.is_some_and(|config| !config.contains(disk));
        let nodes = self.nodes.iter().enumerate();
        nodes.map(|(at, node)| at == primary || is_new(node.disk.id)).collect()
    }

    /// New members are in the register. True if that is not to be answered, and the primary is left with those that are removed.
    pub(crate) fn aim_at_answer(&mut self, primary: usize, wanted: &Register) -> bool {
        if !self.aims(Aim::Change, 0.3) {
            return false;
        }
        let removed = |disk| !wanted.members.contains(disk);
        let nodes = self.nodes.iter().enumerate();
        let side: Vec<bool> =
            nodes.map(|(at, node)| at == primary || removed(node.disk.id)).collect();
        self.split(&side, 700);
        true
    }

    /// The register was swapped.
    pub(crate) fn aim_at_swap(&mut self, node: usize, before: &Register, wanted: &Register) {
        if wanted.members.generation() > before.members.generation()
            && self.aims(Aim::Unchanged, 0.6)
        {
            let side = self.quorum_of(node, &wanted.members);
            self.split(&side, 700);
            let trick = match self.random.random_bool(0.5) {
                true => Trick::SetBack(before.clone()),
                false => Trick::Delete,
            };
            let ms = self.between(40, 200);
            self.after(ms, Event::Trick(trick));
        }
        match wanted.phase {
            Phase::Electing if self.aims(Aim::Twice, 0.6) => {
                let left_out = (node + self.random.random_range(1..3)) % self.nodes.len();
                let side: Vec<bool> = (0..self.nodes.len()).map(|at| at == left_out).collect();
                self.network.join();
                self.split(&side, 400);
                let before = before.clone();
                self.twice = Some(Twice { epoch: wanted.epoch, before, left_out });
            }
            Phase::Electing => {}
            Phase::Stable { primary } => {
                self.elect_again(wanted.epoch, primary == self.identity(node))
            }
        }
    }

    /// Somebody was elected, and the register forgets it at once.
    fn elect_again(&mut self, epoch: Epoch, by_itself: bool) {
        let Some(twice) = self.twice.take().filter(|twice| twice.epoch == epoch && by_itself)
        else {
            return;
        };
        let Some(elected) = self.store.read().and_then(|(_, register)| register.primary()) else {
            return;
        };
        let Some(elected) = self.node_of(elected.disk) else { return };
        self.store.restore(twice.before);
        self.network.join();
        let side: Vec<bool> = (0..self.nodes.len()).map(|at| at == elected).collect();
        let ms = self.between(120, 280);
        self.split(&side, ms);
        self.after(1, Event::Trick(Trick::TakeOver(twice.left_out)));
    }

    pub(crate) fn trick(&mut self, trick: Trick) -> Result<(), Broken> {
        match trick {
            _ if self.calm => {}
            Trick::SetBack(register) => {
                self.store.restore(register);
                self.watches();
            }
            Trick::Delete => self.delete_register(),
            Trick::TakeOver(node) => {
                let Some(replica) = &self.nodes[node].replica else { return Ok(()) };
                let body = Body::TakeOver(replica.status().promised);
                let message = Message { from: self.identity(node), body };
                return self.step(node, self.nodes[node].run, Input::Received(message));
            }
        }
        Ok(())
    }
}
