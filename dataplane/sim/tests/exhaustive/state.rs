//! A shard, and what becomes of it: what replicas want done is carried out, and checked against what must hold.

use std::collections::VecDeque;

use shoal_consensus::{
    Answer, CasOutcome, DiskId, Effect, Epoch, Identity, Input, Members, Millis, Mistakes, Phase,
    Register, Version,
};

use crate::checks::Checks;
use crate::network::Network;
pub(crate) use crate::node::Node;
use crate::node::Outcome;
use crate::shared::{Shared, hash_of};

/// A swap of the register that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Swap {
    pub(crate) by: Identity,
    /// `None`: it is to be created.
    pub(crate) from: Option<Version>,
    pub(crate) wanted: Register,
}

/// See the file's comment.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct State {
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) register: Shared<Option<Register>>,
    pub(crate) swaps: Vec<Swap>,
    /// How much happened already, in the order of [`Bounds`](crate::bounds::Bounds).
    pub(crate) used: Used,
    pub(crate) checks: Shared<Checks>,
    /// Whose process may end. Of the others it makes no difference when they sync, as all that waits for it may be late anyway.
    pub(crate) mortal: Option<usize>,
    /// Nothing more becomes durable there until it ends.
    pub(crate) hung: bool,
    pub(crate) terms: Terms,
    /// What must not be.
    pub(crate) broken: Option<&'static str>,
}

/// What is the same in all states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    /// The last number of an epoch that is claimed.
    pub(crate) epochs: u64,
    /// Times that the register is lost.
    pub(crate) losses: u64,
    /// Whether the register gets to the end of an election as soon as that is asked for.
    pub(crate) seats: bool,
    /// And to the begin of one, once it is lost no more.
    pub(crate) claims: bool,
    /// Who may end syncs at once, until its disk hangs.
    pub(crate) syncs: bool,
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
    /// Blank disks and the register of their voters; with `spare`, a disk more that does not vote.
    pub(crate) fn blank(voters: u128, spare: bool, mistakes: Mistakes, terms: Terms) -> Self {
        let all = voters + u128::from(spare);
        let mut state = Self {
            nodes: (1..=all).map(|id| Node::blank(DiskId(id), mistakes)).collect(),
            network: Network::default(),
            register: Shared::new(Some(first(voters))),
            swaps: Vec::new(),
            used: Used::default(),
            checks: Shared::new(Checks::default()),
            mortal: None,
            hung: false,
            terms,
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
        Some((self.version(), (*self.register).clone()?))
    }

    /// Of the register. It never says the same twice, but for after a loss.
    fn version(&self) -> Version {
        Version(format!("{}-{:x}", self.used.losses, self.register.fingerprint()))
    }

    /// What each disk holds, with what is committed.
    pub(crate) fn disks(&self) -> impl Iterator<Item = u64> {
        let committed = self.checks.entries();
        self.nodes.iter().map(move |node| hash_of(&(committed, node.disk, node.durable())))
    }

    /// Tells a replica what happened and carries out what it wants. It reads the register at once.
    pub(crate) fn step(&mut self, at: usize, now: Millis, input: Input) {
        let syncs = self.mortal != Some(at) || (self.terms.syncs && !self.hung);
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let outcomes = self.nodes[at].step(now, &input, syncs && inputs.is_empty());
            for outcome in outcomes.iter() {
                match outcome {
                    Outcome::Asks(effect) => inputs.extend(self.carry_out(at, effect)),
                    Outcome::Leads(epoch) => self.leads(*epoch, self.nodes[at].identity()),
                    Outcome::Sends(letter) => self.network.send(letter.clone()),
                    Outcome::Applies(entries) => self.apply(entries.as_deref()),
                }
            }
            if syncs && inputs.is_empty() {
                inputs.extend(self.nodes[at].sync());
            }
        }
    }

    /// What the replica is to be told of it at once.
    fn carry_out(&mut self, at: usize, effect: &Effect) -> Option<Input> {
        let by = self.nodes[at].identity();
        match effect {
            Effect::ReadRegister => {
                return Some(Input::Register { found: self.found(), live: true });
            }
            Effect::Swap(version, wanted) => {
                let from = Some(version.clone());
                return self.swap(Swap { by, from, wanted: wanted.clone() });
            }
            Effect::Create(wanted) => {
                return self.swap(Swap { by, from: None, wanted: wanted.clone() });
            }
            Effect::Answer(op, Answer::Committed(seq)) => {
                if !self.checks.has(*op, *seq) {
                    self.broken = Some("an op is acknowledged that is not committed");
                } else if self.checks.acked < *seq {
                    self.checks.change(|checks| checks.acked = *seq);
                }
            }
            Effect::Answer(_, Answer::Durable(_)) => self.broken = Some("an early answer"),
            Effect::Answer(_, Answer::Refused(_) | Answer::Unknown) => {}
            Effect::ReadAt(id, seq) => {
                let least = self.checks.change(|checks| checks.read_ends(*id));
                if seq.ok().zip(least).is_some_and(|(seq, least)| seq < least) {
                    self.broken = Some("a read does not see what was acknowledged before");
                }
            }
            Effect::Quarantine(_) => self.broken = Some("a log contradicts what was committed"),
            Effect::ReadLog { .. } | Effect::SendSnapshot { .. } | Effect::Install => {
                self.broken = Some("logs are whole here");
            }
            Effect::Write(..) | Effect::Send(..) | Effect::Commit(_) => {
                self.broken = Some("a node does this itself here");
            }
        }
        None
    }

    /// A number beyond the bounds is claimed by nobody.
    fn swap(&mut self, swap: Swap) -> Option<Input> {
        if swap.wanted.epoch.number > self.terms.epochs {
            return None;
        }
        if self.is_decided(&swap) {
            let outcome = self.decide(&swap);
            return Some(Input::Swapped { wanted: swap.wanted, outcome });
        }
        if !self.swaps.contains(&swap) {
            self.swaps.push(swap);
        }
        None
    }

    /// Whether the register gets to a swap at once: not if that creates it or changes its members.
    fn is_decided(&self, swap: &Swap) -> bool {
        let leads = || self.nodes.iter().any(|node| node.leads == Some(swap.wanted.epoch));
        swap.from.is_some()
            && match swap.wanted.phase {
                Phase::Electing => self.terms.claims && self.used.losses == self.terms.losses,
                Phase::Stable { .. } => self.terms.seats && !leads(),
            }
    }

    /// The register gets to a swap. It says what may follow what.
    pub(crate) fn decide(&mut self, swap: &Swap) -> CasOutcome {
        let follows = match (&*self.register, &swap.from) {
            (None, None) => true,
            (Some(was), Some(from)) if *from == self.version() => match swap.wanted.phase {
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
        self.register = Shared::new(Some(swap.wanted.clone()));
        CasOutcome::Done(self.version())
    }

    pub(crate) fn read(&mut self, at: usize) {
        self.used.reads += 1;
        let (read, by) = (self.used.reads, self.nodes[at].identity());
        self.checks.change(|checks| checks.read_begins(read, by));
        self.step(at, 0, Input::Read(read));
    }

    fn leads(&mut self, epoch: Epoch, who: Identity) {
        match self.checks.leader(epoch) {
            Some(known) if known == who => {}
            Some(_) => self.broken = Some("two lead one epoch"),
            None => self.checks.change(|checks| checks.leads(epoch, who)),
        }
    }

    fn apply(&mut self, entries: Option<&[shoal_consensus::Entry]>) {
        let Some(entries) = entries else {
            self.broken = Some("what is not durable is applied");
            return;
        };
        for entry in entries {
            match self.checks.committed(entry.at.seq) {
                Some(known) if known == entry => {}
                Some(_) => {
                    self.broken = Some("what is committed here is not what is committed there");
                }
                None if self.checks.is_twice(entry) => {
                    self.broken = Some("an op is committed twice");
                }
                None => self.checks.change(|checks| checks.commits(entry)),
            }
        }
    }
}

/// What the register says at first.
pub(crate) fn first(voters: u128) -> Register {
    let all = (1..=voters).map(DiskId).collect();
    Register::first(Members::majority(1, all).expect("some vote"))
}
