//! The loop: events in order of time, what replicas make of them, and what comes of that.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shoal_consensus::{
    Answer, Body, CasOutcome, DiskId, Effect, Entry, Epoch, Identity, Incarnation, Input, Members,
    Message, Register, Replica, Seq, Settings, Version,
};

use crate::check::{Broken, Check, History};
use crate::disk::Disk;
use crate::network::Network;
use crate::plan::{Outcome, Plan};
use crate::register::Store;

/// Simulated ms without faults at the end, in which all has to recover.
const GOOD_MS: u64 = 40_000;

/// Entries that one read of a log gives.
const READ_BACK: usize = 20;

#[derive(Debug)]
pub(crate) enum Event {
    /// For one run of a process alone.
    Step(usize, u64, Input),
    Deliver(DiskId, Message),
    Sync(usize, u64),
    Tick(usize, u64),
    ReadRegister(usize, u64),
    Swap(usize, u64, Version, Register),
    Watch(usize, u64),
    Snapshot {
        from: DiskId,
        epoch: Epoch,
        to: DiskId,
        entries: Vec<Entry>,
    },
    Client,
    Operate,
    Fault,
    Start(usize),
    Crash(usize, u64),
    Join,
    Trim,
    Calm,
}

pub(crate) struct Node {
    pub(crate) disk: Disk,
    pub(crate) replica: Option<Replica>,
    /// Counts its runs.
    pub(crate) run: u64,
    pub(crate) applied: Seq,
    pub(crate) paused: u64,
    pub(crate) syncing: bool,
    /// It wants the snapshot that it was offered.
    pub(crate) wanted: bool,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: StdRng,
    pub(crate) now: u64,
    pub(crate) order: u64,
    pub(crate) events: BTreeMap<(u64, u64), Event>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) store: Store,
    pub(crate) history: History,
    pub(crate) reads: u64,
    pub(crate) disks: u128,
    /// A disk that was lost, and the one that takes its place.
    pub(crate) lost: Option<(DiskId, DiskId)>,
    pub(crate) calm: bool,
    pub(crate) outcome: Outcome,
}

/// Runs one simulation to its end, or to the first check that fails.
pub fn run(plan: Plan) -> Result<Outcome, Broken> {
    let disks: Vec<DiskId> = (1..=plan.replicas as u128).map(DiskId).collect();
    let members = Members::majority(1, disks.clone())
        .map_err(|error| Broken { check: Check::Progress, detail: error.to_string() })?;
    let mut random = StdRng::seed_from_u64(plan.seed);
    let network = Network {
        lost: random.random_range(0..if plan.storm { 40 } else { 10 }),
        doubled: random.random_range(0..10),
        late: *[2, 20, 200].get(random.random_range(0..3)).unwrap_or(&2),
        ..Network::default()
    };
    let mut store = Store::new(Register::first(members));
    store.lost = random.random_range(0..30);
    let node = |&id: &DiskId| Node {
        disk: Disk::blank(id),
        replica: None,
        run: 0,
        applied: 0,
        paused: 0,
        syncing: false,
        wanted: false,
    };
    let mut world = World {
        plan,
        random,
        now: 0,
        order: 0,
        events: BTreeMap::new(),
        nodes: disks.iter().map(node).collect(),
        network,
        store,
        history: History::default(),
        reads: 0,
        disks: plan.replicas as u128,
        lost: None,
        calm: false,
        outcome: Outcome::default(),
    };
    for node in 0..plan.replicas {
        world.after(0, Event::Start(node));
    }
    for event in [Event::Client, Event::Operate, Event::Fault, Event::Trim] {
        world.after(500, event);
    }
    world.after(plan.bad_ms, Event::Calm);
    world.run()
}

impl World {
    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + ms, self.order), event);
    }

    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.random.random_range(least..=most)
    }

    /// Most answers of the register come soon, and some very late.
    fn answer_takes(&mut self, soon: u64, late: u64) -> u64 {
        let is_late = !self.calm && self.random.random_bool(0.2);
        self.between(1, if is_late { late } else { soon })
    }

    fn run(mut self) -> Result<Outcome, Broken> {
        let (end, bad) = (self.plan.bad_ms + GOOD_MS, self.plan.bad_ms);
        let mut acked_late = 0;
        while let Some(((now, _), event)) = self.events.pop_first() {
            if now > end {
                break;
            }
            if now < bad + GOOD_MS / 2 {
                acked_late = self.history.acked();
            }
            self.now = now;
            self.happen(event)?;
        }
        self.recovered(acked_late)?;
        self.outcome.acked = self.history.acked();
        self.outcome.reads = self.history.reads_answered;
        self.outcome.led = self.history.epochs();
        Ok(self.outcome)
    }

    /// With all mended for a while, there is one primary, and every voter has all that it has committed.
    fn recovered(&self, acked_before: u64) -> Result<(), Broken> {
        let stuck = |detail: String| Err(Broken { check: Check::Progress, detail });
        if self.history.acked() <= acked_before {
            let roles: Vec<_> =
                self.nodes.iter().map(|node| node.replica.as_ref().map(Replica::status)).collect();
            return stuck(format!(
                "nothing was acked in the end: {roles:?}, {:?}",
                self.store.read()
            ));
        }
        let primary = self.nodes.iter().filter_map(|node| node.replica.as_ref()).find(|replica| {
            let status = replica.status();
            status.leads.is_some() && status.commit >= self.history.last_acked()
        });
        let Some(config) = primary.and_then(|replica| replica.log().config()) else {
            return stuck("nobody leads in the end".into());
        };
        for (at, node) in self.nodes.iter().enumerate() {
            if config.contains(node.disk.id) {
                let behind = self.history.last_acked().saturating_sub(node.applied);
                if behind > 200 {
                    return stuck(format!("replica {at} is {behind} behind"));
                }
                self.history.holds_all_until(at, &node.disk.log, node.applied)?;
            }
        }
        match self.lost {
            Some(_) => stuck("a lost disk was never replaced".into()),
            None => Ok(()),
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::Step(node, run, input) => self.step(node, run, input),
            Event::Deliver(to, message) => match self.node_of(to) {
                Some(node) => self.step(node, self.nodes[node].run, Input::Received(message)),
                None => Ok(()),
            },
            Event::Sync(node, run) => {
                if self.nodes[node].run != run {
                    return Ok(());
                }
                self.nodes[node].syncing = false;
                match self.nodes[node].disk.sync() {
                    Some(ticket) => self.step(node, run, Input::Durable(ticket)),
                    None => Ok(()),
                }
            }
            Event::Tick(node, run) => {
                if self.nodes[node].run == run {
                    let next = self.between(20, 60);
                    self.after(next, Event::Tick(node, run));
                }
                self.step(node, run, Input::Tick)
            }
            Event::ReadRegister(node, run) => {
                let (_, answered) = self.store.luck(&mut self.random);
                let input = match answered {
                    true => Input::Register { found: Some(self.store.read()), live: true },
                    false => Input::NoRegister,
                };
                let ms = self.answer_takes(20, 1_000);
                self.after(ms, Event::Step(node, run, input));
                Ok(())
            }
            Event::Swap(node, run, version, wanted) => {
                let (done, answered) = self.store.luck(&mut self.random);
                let mut outcome = CasOutcome::Unknown;
                if done {
                    let swapped = self.store.swap(&version, wanted.clone())?;
                    if answered {
                        outcome = swapped;
                    }
                    self.watches();
                }
                let ms = self.answer_takes(50, 1_500);
                self.after(ms, Event::Step(node, run, Input::Swapped { wanted, outcome }));
                Ok(())
            }
            Event::Watch(node, run) => {
                let found = self.store.stale(&mut self.random);
                self.step(node, run, Input::Register { found, live: false })
            }
            Event::Snapshot { from, epoch, to, entries } => self.offer(from, epoch, to, &entries),
            Event::Client => self.client(),
            Event::Operate => self.operate(),
            Event::Fault => self.fault(),
            Event::Crash(node, run) => {
                if self.nodes[node].run == run && !self.calm {
                    self.stop(node, 5);
                }
                Ok(())
            }
            Event::Start(node) => {
                self.start(node);
                Ok(())
            }
            Event::Join => {
                self.network.join();
                Ok(())
            }
            Event::Trim => self.trim(),
            Event::Calm => {
                self.calm = true;
                self.network.mend();
                self.store.lost = 0;
                Ok(())
            }
        }
    }

    pub(crate) fn node_of(&self, disk: DiskId) -> Option<usize> {
        self.nodes.iter().position(|node| node.disk.id == disk)
    }

    pub(crate) fn watches(&mut self) {
        for node in 0..self.nodes.len() {
            let ms = self.between(1, 300);
            self.after(ms, Event::Watch(node, self.nodes[node].run));
        }
    }

    pub(crate) fn identity(&self, node: usize) -> Identity {
        let Node { disk, run, .. } = &self.nodes[node];
        Identity { disk: disk.id, incarnation: Incarnation(*run) }
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].replica.is_some() {
            return;
        }
        self.nodes[node].run += 1 + self.nodes.len() as u64;
        let (me, random) = (self.identity(node), self.random.random());
        let settings = Settings {
            timing: self.plan.timing(),
            mistakes: self.plan.mistakes,
            message_bytes: self.plan.message_bytes(),
        };
        let own = &mut self.nodes[node];
        let (promised, restored) = (own.disk.promised, own.disk.restored());
        own.applied = own.disk.flushed;
        own.syncing = false;
        own.replica = Some(Replica::new(me, settings, promised, restored, self.now, random));
        self.after(1, Event::Tick(node, self.nodes[node].run));
    }

    pub(crate) fn stop(&mut self, node: usize, back: u64) {
        let own = &mut self.nodes[node];
        own.replica = None;
        own.run += 1;
        own.disk.crash(&mut self.random);
        self.after(back, Event::Start(node));
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
        let effects = replica.step(self.now, random, input);
        let leads = replica.status().leads;
        if let Some(epoch) = leads {
            self.history.leads(epoch, self.identity(node))?;
        }
        for effect in effects {
            self.carry_out(node, run, effect)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, node: usize, run: u64, effect: Effect) -> Result<(), Broken> {
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
                if self.plan.storm && !self.calm && self.random.random_bool(doubt) {
                    self.after(1, Event::Crash(node, run));
                }
                if let Some(receiver) = self.node_of(to) {
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
                let snapshot = Event::Snapshot { from, epoch, to, entries };
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
            Effect::Install => self.nodes[node].wanted = true,
            Effect::Commit(to) => self.apply(node, to)?,
            Effect::Answer(op, Answer::Committed(seq)) => self.history.ack(op, seq)?,
            Effect::Answer(_, Answer::Refused(_) | Answer::Unknown) => {}
            Effect::ReadAt(read, seq) => self.history.read_ends(read, seq.ok())?,
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
}
