//! What goes wrong, and when it is put right again.

use rand::Rng;
use rand::rngs::StdRng;
use shoal_consensus::{Body, DiskId, Input, Message};

use crate::check::Broken;
use crate::disk::Disk;
use crate::plan::Aim;
use crate::world::{Event, World};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A process ends at once and starts again after so many ms.
    Crash(u64),
    /// A process stands still for so many ms.
    Pause(u64),
    /// Its disk makes nothing durable for so many ms.
    Hang(u64),
    /// Its clock goes so many ms ahead at once.
    Jump(u64),
    /// What is sent to it, by it, or both, is lost for so many ms.
    Cut { to: bool, from: bool, ms: u64 },
    /// Its disk is gone; it starts on a blank one.
    LoseDisk,
    /// What one other sends to it is lost for so many ms.
    CutLine(u64),
    /// Some hear nothing of the others for so many ms.
    Split(u64),
    /// The primary is asked to let it lead.
    TakeOver,
    /// The register is restored from a backup.
    SetBack,
    /// It is deleted.
    Delete,
}

/// The next fault. In a storm all is short, and much happens at once.
fn draw(storm: bool, random: &mut StdRng) -> Fault {
    let long = if storm { [20, 60, 200, 400] } else { [50, 400, 2_000, 6_000] };
    let ms = long.get(random.random_range(0..4)).copied().unwrap_or(50);
    match random.random_range(0..21) {
        0..4 => Fault::Crash(ms),
        4..6 => Fault::Pause(ms),
        6 => Fault::Cut { to: true, from: true, ms },
        7 => Fault::Cut { to: true, from: false, ms },
        8 => Fault::Cut { to: false, from: true, ms },
        9 => Fault::LoseDisk,
        10 => Fault::SetBack,
        11..13 => Fault::CutLine(ms),
        13..15 => Fault::Split(ms),
        15 => Fault::Delete,
        16 => Fault::Hang(ms),
        17 => Fault::Jump(ms),
        _ => Fault::TakeOver,
    }
}

impl Fault {
    /// Faults that an aim rests on are more frequent, and what would spoil it does not happen.
    fn aimed(self, aim: Aim, random: &mut StdRng) -> Self {
        match (aim, self) {
            (Aim::Promise, _) if random.random_bool(0.5) => {
                Fault::Cut { to: true, from: true, ms: random.random_range(150..350) }
            }
            (Aim::Twice, _) if random.random_bool(0.5) => Fault::TakeOver,
            (Aim::OneReaches, Fault::Crash(ms)) => Fault::CutLine(ms),
            (Aim::OneReaches, Fault::LoseDisk) => Fault::TakeOver,
            (Aim::OneReaches, Fault::Cut { ms, .. }) => Fault::Split(ms),
            (_, fault) => fault,
        }
    }
}

impl World {
    pub(crate) fn fault(&mut self) -> Result<(), Broken> {
        if self.calm {
            return Ok(());
        }
        let next = if self.plan.storm { self.between(10, 400) } else { self.between(200, 4_000) };
        self.after(next, Event::Fault);
        let any = self.random.random_range(0..self.nodes.len());
        let primary = self.some_primary().filter(|_| self.random.random_bool(0.5));
        let node = primary.unwrap_or(any);
        self.outcome.faults += 1;
        let fault = draw(self.plan.storm, &mut self.random);
        match fault.aimed(self.plan.aim, &mut self.random) {
            Fault::Crash(back) => return self.stop(node, back),
            Fault::Pause(ms) => {
                self.nodes[node].paused = self.now + ms;
                self.is_unwell(node, ms);
            }
            Fault::Hang(ms) => self.nodes[node].hung = self.now + ms,
            Fault::Jump(ms) => self.nodes[node].clock += ms,
            Fault::Cut { to, from, ms } => {
                for other in 0..self.nodes.len() {
                    if to {
                        self.network.cut(other, node);
                    }
                    if from {
                        self.network.cut(node, other);
                    }
                }
                self.after(ms, Event::Join);
            }
            Fault::CutLine(ms) => {
                let other = self.random.random_range(0..self.nodes.len());
                self.network.cut(other, node);
                self.after(ms, Event::Join);
            }
            Fault::Split(ms) => {
                let side: Vec<bool> =
                    self.nodes.iter().map(|_| self.random.random_bool(0.5)).collect();
                self.split(&side, ms);
            }
            Fault::LoseDisk if self.lost.is_none() && self.nodes.len() > 1 => {
                return self.lose(node);
            }
            Fault::LoseDisk => {}
            Fault::SetBack => {
                self.store.set_back(&mut self.random);
                self.watches();
            }
            // Before the log says who votes, only the operator could create it again.
            Fault::Delete if self.history.committed() > 2 => self.delete_register(),
            Fault::Delete => {}
            Fault::TakeOver => return self.take_over(node),
        }
        Ok(())
    }

    /// What one side sends does not reach the other, for a while.
    pub(crate) fn split(&mut self, side: &[bool], ms: u64) {
        for (from, here) in side.iter().enumerate() {
            for (to, there) in side.iter().enumerate() {
                if here != there {
                    self.network.cut(from, to);
                }
            }
        }
        self.after(ms, Event::Join);
    }

    /// The primary makes room for another one, or one is told so by a message that is long out of date.
    pub(crate) fn take_over(&mut self, node: usize) -> Result<(), Broken> {
        let Some(primary) = self.some_primary() else { return Ok(()) };
        if self.random.random_bool(0.5) {
            let (target, run) = (self.nodes[node].disk.id, self.nodes[primary].run);
            return self.step(primary, run, Input::StepAside(target));
        }
        let Some(replica) = &self.nodes[node].replica else { return Ok(()) };
        let (body, run) = (Body::TakeOver(replica.status().promised), self.nodes[node].run);
        let message = Message { from: self.identity(primary), body };
        self.step(node, run, Input::Received(message))
    }

    /// Two processes end, and each starts again on the other's disk.
    pub(crate) fn swap_disks(&mut self, one: usize, other: usize) -> Result<(), Broken> {
        if one == other || self.plan.aim == Aim::OneReaches {
            return Ok(());
        }
        for node in [one, other] {
            let back = self.between(20, 300);
            self.stop(node, back)?;
        }
        let (least, most) = (one.min(other), one.max(other));
        let (before, from) = self.nodes.split_at_mut(most);
        let (a, b) = (&mut before[least], &mut from[0]);
        std::mem::swap(&mut a.disk, &mut b.disk);
        std::mem::swap(&mut a.whole, &mut b.whole);
        // No run of a disk has the number of another.
        let run = a.run.max(b.run);
        (a.run, b.run) = (run, run);
        Ok(())
    }

    pub(crate) fn lose(&mut self, node: usize) -> Result<(), Broken> {
        let disk = self.nodes[node].disk.id;
        if !self.store.read().is_some_and(|(_, register)| register.members.contains(disk)) {
            return Ok(());
        }
        self.stop(node, 100)?;
        self.disks += 1;
        let new = DiskId(self.disks);
        self.lost = Some((self.nodes[node].disk.id, new));
        self.nodes[node].disk = Disk::blank(new);
        self.nodes[node].whole = None;
        Ok(())
    }
}
