//! The processes of replicas: they start and stop, are told what happens, and what they want done is carried out.

use rand::Rng;
use shoal_consensus::{
    Acks, Answer, Body, DiskId, Effect, Identity, Incarnation, Input, Replica, Seq,
};

use crate::check::{Broken, Check};
use crate::disk::Disk;
use crate::plan::Aim;
use crate::whole::Whole;
use crate::world::{Event, World};

/// Entries that one read of a log gives.
const READ_BACK: usize = 20;

pub(crate) struct Node {
    pub(crate) disk: Disk,
    /// Where disks are real, this one's; the other is blank, and tells the id.
    pub(crate) whole: Option<Whole>,
    pub(crate) replica: Option<Replica>,
    /// Counts its runs.
    pub(crate) run: u64,
    pub(crate) applied: Seq,
    pub(crate) paused: u64,
    /// No sync ends before.
    pub(crate) hung: u64,
    /// How much later it is by its clock.
    pub(crate) clock: u64,
    pub(crate) syncing: bool,
    /// It wants the snapshot that it was offered.
    pub(crate) wanted: bool,
}

impl Node {
    pub(crate) fn blank(id: DiskId) -> Self {
        Self {
            disk: Disk::blank(id),
            whole: None,
            replica: None,
            run: 0,
            applied: 0,
            paused: 0,
            hung: 0,
            clock: 0,
            syncing: false,
            wanted: false,
        }
    }
}

impl World {
    pub(crate) fn identity(&self, node: usize) -> Identity {
        let Node { disk, run, .. } = &self.nodes[node];
        Identity { disk: disk.id, incarnation: Incarnation(*run) }
    }

    pub(crate) fn start(&mut self, node: usize) -> Result<(), Broken> {
        if self.nodes[node].replica.is_some() {
            return Ok(());
        }
        self.nodes[node].run += 1 + self.nodes.len() as u64;
        let (promised, restored) = match self.plan.whole {
            false => (self.nodes[node].disk.promised, self.nodes[node].disk.restored()),
            true => match self.open_whole(node)? {
                Some(opened) => opened,
                None => return Ok(()),
            },
        };
        let (me, random) = (self.identity(node), self.random.random());
        let settings = self.plan.settings();
        let own = &mut self.nodes[node];
        if !self.plan.whole {
            own.applied = restored.base.seq;
        }
        own.syncing = false;
        let now = self.now + own.clock;
        own.replica = Some(Replica::new(me, settings, promised, restored, now, random));
        self.is_unwell(node, 0);
        let run = self.nodes[node].run;
        self.after(1, Event::Tick(node, run));
        if self.plan.whole {
            self.after(50, Event::Flush(node, run));
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self, node: usize, back: u64) -> Result<(), Broken> {
        let own = &mut self.nodes[node];
        own.replica = None;
        own.run += 1;
        own.disk.crash(&mut self.random);
        self.after(back, Event::Start(node));
        self.is_unwell(node, back);
        self.routers_lose(node);
        self.crash_whole(node)
    }

    pub(crate) fn step(&mut self, node: usize, run: u64, input: Input) -> Result<(), Broken> {
        let own = &mut self.nodes[node];
        if own.run != run {
            return Ok(());
        }
        if own.paused > self.now {
            let ms = own.paused - self.now;
            self.after(ms, Event::Step(node, run, input));
            return Ok(());
        }
        let Some(replica) = &mut own.replica else { return Ok(()) };
        let random = self.random.random();
        let effects = replica.step(self.now + own.clock, random, input);
        let leads = replica.status().leads;
        if let Some(epoch) = leads {
            self.history.leads(epoch, self.identity(node))?;
        }
        for effect in effects {
            // A disk may crash while it does what it is told.
            if self.nodes[node].run == run {
                self.carry_out(node, run, effect)?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, node: usize, run: u64, effect: Effect) -> Result<(), Broken> {
        let effect = match self.plan.whole {
            false => effect,
            true => match self.carry_out_whole(node, run, effect)? {
                Some(effect) => effect,
                None => return Ok(()),
            },
        };
        match effect {
            Effect::Write(ticket, write) => {
                self.nodes[node].disk.write(ticket, write);
                if !self.nodes[node].syncing {
                    self.nodes[node].syncing = true;
                    let ms = self.between(1, 30);
                    self.after(ms, Event::Sync(node, run));
                }
            }
            Effect::Send(to, message) => {
                // What is said and then forgotten is what most rules are about.
                let doubt = match message.body {
                    Body::Promise(_) => 0.3,
                    Body::Appended { .. } => 0.003,
                    _ => 0.0,
                };
                let ends = self.plan.storm && self.plan.aim != Aim::OneReaches;
                if ends && !self.calm && self.random.random_bool(doubt) {
                    self.after(1, Event::Crash(node, run));
                }
                if let Some(receiver) = self.node_of(to) {
                    if let Body::Promise(_) = message.body {
                        self.aim_at_promise(node, receiver);
                    }
                    for ms in self.network.delays(node, receiver, &mut self.random) {
                        self.after(ms, Event::Deliver(to, message.clone()));
                    }
                }
            }
            Effect::ReadLog { peer, from } => {
                let log = &self.nodes[node].disk.log;
                let some = log.iter().skip(from as usize - 1).take(READ_BACK);
                let input = Input::LogRead { peer, entries: some.cloned().collect() };
                self.after(2, Event::Step(node, run, input));
            }
            Effect::SendSnapshot { to, epoch } => {
                let own = &self.nodes[node];
                let entries = own.disk.log.get(..own.disk.flushed as usize).unwrap_or_default();
                let (from, entries) = (own.disk.id, entries.to_vec());
                let recent = own.disk.recent.clone();
                let snapshot = Event::Snapshot { from, epoch, to, entries, recent };
                let ms = self.between(5, 500);
                self.after(ms, snapshot);
            }
            Effect::ReadRegister => {
                let ms = self.between(1, 20);
                self.after(ms, Event::ReadRegister(node, run));
            }
            Effect::Swap(version, wanted) => {
                let ms = self.between(1, 50);
                self.after(ms, Event::Swap(node, run, version, wanted));
            }
            Effect::Create(wanted) => {
                let ms = self.between(1, 50);
                self.after(ms, Event::Create(node, run, wanted));
            }
            Effect::Install => self.nodes[node].wanted = true,
            Effect::Commit(to) => self.apply(node, to)?,
            Effect::Answer(id, answer) => self.answered(node, id, answer)?,
            Effect::ReadAt(read, seq) => {
                self.history.read_ends(read, seq.ok())?;
                self.routed_read(read, seq);
            }
            Effect::Quarantine(why) => {
                let detail = format!("replica {node}: {why}");
                return Err(Broken { check: Check::NoQuarantine, detail });
            }
        }
        Ok(())
    }

    fn apply(&mut self, node: usize, to: Seq) -> Result<(), Broken> {
        for seq in self.nodes[node].applied + 1..=to {
            match self.nodes[node].disk.log.get(seq as usize - 1) {
                Some(entry) => self.history.apply(node, entry)?,
                None => {
                    let detail =
                        format!("replica {node} applies {seq}, which is not durable there");
                    return Err(Broken { check: Check::CommittedAgree, detail });
                }
            }
        }
        self.nodes[node].applied = self.nodes[node].applied.max(to);
        Ok(())
    }

    fn answered(&mut self, node: usize, id: u64, answer: Answer) -> Result<(), Broken> {
        let Some(op) = self.clients.op_of(id) else { return Ok(()) };
        self.routed_answer(id, answer, true);
        match (answer, self.plan.acks) {
            (Answer::Committed(seq), _) => self.history.ack(op, seq)?,
            (Answer::Durable(seq), Acks::Primary { max_lag }) => {
                let status = self.nodes[node].replica.as_ref().map(Replica::status);
                let commit = status.map_or(seq, |status| status.commit);
                // A change of members may add its two entries.
                if seq > commit + max_lag + 2 {
                    let detail = format!("op {op} is answered at {seq}, committed is {commit}");
                    return Err(Broken { check: Check::LagBounded, detail });
                }
                self.history.ack_early(op);
            }
            (Answer::Durable(seq), Acks::Quorum) => {
                let detail = format!("op {op} is answered at {seq} before it is committed");
                return Err(Broken { check: Check::NoAckLost, detail });
            }
            (Answer::Refused(_) | Answer::Unknown, _) => return Ok(()),
        }
        self.clients.is_done(op);
        Ok(())
    }
}
