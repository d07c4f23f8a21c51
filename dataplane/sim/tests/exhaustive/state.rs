//! A shard, and what becomes of it: what replicas want done is carried out, and checked against what must hold.

use std::collections::{BTreeMap, VecDeque};

use shoal_consensus::{
    Answer, CasOutcome, DiskId, Effect, Entry, Epoch, Identity, Input, Members, Millis, Mistakes,
    Phase, Register, Seq, Version, What,
};

use crate::network::Network;
pub(crate) use crate::node::Node;

/// A swap of the register that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Swap {
    pub(crate) by: Identity,
    /// `None`: it is to be created.
    pub(crate) from: Option<u64>,
    pub(crate) wanted: Register,
}

/// See the file's comment.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct State {
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) register: Option<Register>,
    pub(crate) version: u64,
    pub(crate) swaps: Vec<Swap>,
    /// How much happened already, in the order of [`Bounds`](crate::bounds::Bounds).
    pub(crate) used: Used,
    /// What somebody has applied, by seq.
    committed: Vec<Entry>,
    /// Where each op is that was acknowledged.
    pub(crate) acked: BTreeMap<u64, Seq>,
    /// Reads that wait, each with the last seq that was acknowledged before it.
    reads: BTreeMap<u64, Seq>,
    led: BTreeMap<(u64, u64), Identity>,
    /// Whose process may end. Of the others it makes no difference when they sync, as all that waits for it may be late anyway.
    pub(crate) mortal: Option<usize>,
    /// What must not be.
    pub(crate) broken: Option<&'static str>,
}

/// How much happened already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Used {
    pub(crate) writes: u64,
    pub(crate) repeats: u64,
    pub(crate) reads: u64,
    pub(crate) crashes: u64,
    pub(crate) unknown: u64,
    pub(crate) timers: u64,
    pub(crate) changes: u64,
    pub(crate) losses: u64,
}

impl State {
    /// Blank disks and the register of their voters; a disk more that does not vote.
    pub(crate) fn blank(voters: u128, mistakes: Mistakes) -> Self {
        let all = (1..=voters).map(DiskId).collect();
        let members = Members::majority(1, all).expect("some vote");
        let mut state = Self {
            nodes: (1..=voters + 1).map(|id| Node::blank(DiskId(id), mistakes)).collect(),
            network: Network::default(),
            register: Some(Register::first(members)),
            version: 1,
            swaps: Vec::new(),
            used: Used::default(),
            committed: Vec::new(),
            acked: BTreeMap::new(),
            reads: BTreeMap::new(),
            led: BTreeMap::new(),
            mortal: None,
            broken: None,
        };
        for node in 0..state.nodes.len() {
            state.step(node, 0, Input::NoRegister);
        }
        state
    }

    pub(crate) fn with_mortal(self, at: usize) -> Self {
        Self { mortal: Some(at), ..self }
    }

    pub(crate) fn node_of(&self, disk: DiskId) -> Option<usize> {
        self.nodes.iter().position(|node| node.disk == disk)
    }

    /// The greatest number of an epoch that anybody knows of.
    pub(crate) fn epoch(&self) -> u64 {
        let registered = self.register.as_ref().map_or(0, |register| register.epoch.number);
        let wanted = self.swaps.iter().map(|swap| swap.wanted.epoch.number);
        let promised = self.nodes.iter().map(|node| node.promised.number);
        wanted.chain(promised).max().unwrap_or(0).max(registered)
    }

    pub(crate) fn found(&self) -> Option<(Version, Register)> {
        Some((Version(self.version.to_string()), self.register.clone()?))
    }

    /// Tells a replica what happened and carries out what it wants. It reads the register at once.
    pub(crate) fn step(&mut self, at: usize, now: Millis, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let effects = self.nodes[at].step(now, input);
            if let Some(epoch) = self.nodes[at].leads {
                self.leads(epoch, self.nodes[at].identity());
            }
            for effect in effects {
                match effect {
                    Effect::ReadRegister => {
                        inputs.push_back(Input::Register { found: self.found(), live: true });
                    }
                    effect => self.carry_out(at, effect),
                }
            }
            if self.mortal != Some(at) && inputs.is_empty() {
                inputs.extend(self.sync(at));
            }
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        let by = self.nodes[at].identity();
        match effect {
            Effect::Write(ticket, write) => self.nodes[at].write(ticket, write),
            Effect::Send(to, message) => self.network.send(to, message),
            Effect::Swap(version, wanted) => {
                self.swap(Swap { by, from: version.0.parse().ok(), wanted });
            }
            Effect::Create(wanted) => self.swap(Swap { by, from: None, wanted }),
            Effect::Commit(to) => match self.nodes[at].apply(to) {
                Some(entries) => entries.iter().for_each(|entry| self.commit(entry)),
                None => self.broken = Some("what is not durable is applied"),
            },
            Effect::Answer(op, Answer::Committed(seq)) => self.ack(op, seq),
            Effect::Answer(_, Answer::Durable(_)) => self.broken = Some("an early answer"),
            Effect::Answer(_, Answer::Refused(_) | Answer::Unknown) => {}
            Effect::ReadAt(id, seq) => {
                let least = self.reads.remove(&id);
                if seq.ok().zip(least).is_some_and(|(seq, least)| seq < least) {
                    self.broken = Some("a read does not see what was acknowledged before");
                }
            }
            Effect::Quarantine(_) => self.broken = Some("a log contradicts what was committed"),
            Effect::ReadRegister
            | Effect::ReadLog { .. }
            | Effect::SendSnapshot { .. }
            | Effect::Install => {
                self.broken = Some("logs are whole here");
            }
        }
    }

    /// Makes all durable that a replica wrote; what it is to be told.
    pub(crate) fn sync(&mut self, at: usize) -> Option<Input> {
        match self.nodes[at].pending.len() {
            0 => None,
            count => self.nodes[at].sync(count).map(Input::Durable),
        }
    }

    fn swap(&mut self, swap: Swap) {
        if !self.swaps.contains(&swap) {
            self.swaps.push(swap);
        }
    }

    /// The register gets to a swap. It says what may follow what.
    pub(crate) fn decide(&mut self, swap: &Swap) -> CasOutcome {
        let follows = match (&self.register, swap.from) {
            (None, None) => true,
            (Some(was), Some(from)) if from == self.version => match swap.wanted.phase {
                Phase::Electing => was.epoch.is_before(swap.wanted.epoch),
                Phase::Stable { primary } => {
                    was.epoch == swap.wanted.epoch
                        && was.primary().is_none_or(|before| before == primary)
                }
            },
            _ => return CasOutcome::Conflict,
        };
        if !follows {
            self.broken = Some("the register goes back");
        }
        self.put(Some(swap.wanted.clone()));
        CasOutcome::Done(Version(self.version.to_string()))
    }

    pub(crate) fn put(&mut self, register: Option<Register>) {
        self.version += 1;
        self.register = register;
    }

    pub(crate) fn read(&mut self, at: usize) {
        self.used.reads += 1;
        let least = self.acked.values().max().copied().unwrap_or(0);
        self.reads.insert(self.used.reads, least);
        self.step(at, 0, Input::Read(self.used.reads));
    }

    fn leads(&mut self, epoch: Epoch, who: Identity) {
        if *self.led.entry((epoch.number, epoch.nonce)).or_insert(who) != who {
            self.broken = Some("two lead one epoch");
        }
    }

    fn commit(&mut self, entry: &Entry) {
        match self.committed.get(entry.at.seq as usize - 1) {
            Some(known) if known == entry => {}
            Some(_) => self.broken = Some("what is committed here is not what is committed there"),
            None if self.is_twice(entry) => self.broken = Some("an op is committed twice"),
            None => self.committed.push(entry.clone()),
        }
    }

    fn is_twice(&self, entry: &Entry) -> bool {
        matches!(entry.what, What::Op { .. }) && self.committed.iter().any(|e| e.what == entry.what)
    }

    fn ack(&mut self, op: u64, seq: Seq) {
        self.acked.insert(op, seq);
        match self.committed.get(seq as usize - 1).map(|entry| &entry.what) {
            Some(What::Op { op_id, .. }) if *op_id == op => {}
            _ => self.broken = Some("an op is acknowledged that is not committed"),
        }
    }
}
