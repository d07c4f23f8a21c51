//! A replica and its disk.
//!
//! What becomes of one depends on nothing but itself and what it is told, and most of a great many states are made of the same
//! few nodes: each step is taken once and then known.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use shoal_consensus::{
    Config, DiskId, Effect, Entry, Epoch, Identity, Incarnation, Input, Millis, Mistakes, Replica,
    Restored, Role, Seq, Settings, Ticket, Timing, Write,
};

use crate::network::Letter;
use crate::shared::{Shared, hash_of};

/// Steps that a thread knows at most; it then forgets all. One takes a few KB.
const KNOWN: usize = 150_000;

pub(crate) type Node = Shared<Inside>;

#[derive(Clone, Debug, Hash)]
pub(crate) struct Inside {
    pub(crate) disk: DiskId,
    run: u64,
    replica: Replica,
    /// What the replica says of itself.
    pub(crate) role: Role,
    pub(crate) leads: Option<Epoch>,
    pub(crate) promised: Epoch,
    pub(crate) commit: Seq,
    /// Number of the last epoch that it led in this run.
    led: u64,
    /// What is durable.
    durable: (Epoch, Vec<Entry>),
    pub(crate) pending: Vec<Pending>,
    applied: Seq,
}

/// A write that is not durable yet. Its ticket is one more than that of the one before it, which is all that matters of it.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    ticket: Ticket,
    write: Write,
}

impl Hash for Pending {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.write.hash(state);
    }
}

/// What comes of a step, outside of the node.
#[derive(Debug)]
pub(crate) enum Outcome {
    Leads(Epoch),
    Sends(Letter),
    /// `None`: what is not durable.
    Applies(Option<Vec<Entry>>),
    Asks(Effect),
}

type Step = (Node, Arc<[Outcome]>);

thread_local! {
    static STEPS: RefCell<HashMap<u64, Step, foldhash::fast::FixedState>> = RefCell::default();
}

impl Node {
    pub(crate) fn blank(disk: DiskId, mistakes: Mistakes) -> Self {
        let durable = (Epoch::NONE, Vec::new());
        Shared::new(Inside {
            disk,
            run: 0,
            replica: replica(disk, 0, &durable, mistakes),
            role: Role::Learner,
            leads: None,
            promised: Epoch::NONE,
            commit: 0,
            led: 0,
            durable,
            pending: Vec::new(),
            applied: 0,
        })
    }

    /// Tells the replica something. With `syncs`, what it writes is durable at once, unless it waits for the register first.
    pub(crate) fn step(&mut self, now: Millis, input: &Input, syncs: bool) -> Arc<[Outcome]> {
        let key = hash_of(&(self.fingerprint(), now, input, syncs));
        let known = STEPS.with_borrow(|steps| steps.get(&key).cloned());
        let (node, outcomes) = known.unwrap_or_else(|| {
            let mut node = self.clone();
            let outcomes = node.change(|inside| inside.step(now, input.clone(), syncs));
            let step = (node, outcomes.into());
            STEPS.with_borrow_mut(|steps| {
                if steps.len() >= KNOWN {
                    steps.clear();
                }
                steps.insert(key, step.clone());
            });
            step
        });
        *self = node;
        outcomes
    }

    /// Makes all durable that was written; what the replica is to be told.
    pub(crate) fn sync(&mut self) -> Option<Input> {
        match self.pending.len() {
            0 => None,
            count => self.change(|inside| inside.sync(count)),
        }
    }

    /// Ends with the first writes durable, and starts again.
    pub(crate) fn restart(&mut self, kept: usize, mistakes: Mistakes) {
        self.change(|inside| {
            inside.sync(kept);
            inside.run += 1;
            inside.pending.clear();
            (inside.applied, inside.led) = (0, 0);
            inside.replica = replica(inside.disk, inside.run, &inside.durable, mistakes);
            inside.look();
        });
    }
}

impl Inside {
    fn step(&mut self, now: Millis, input: Input, syncs: bool) -> Vec<Outcome> {
        let random = self.disk.0 as u64 * 100 + self.run;
        let (mut outcomes, mut next) = (Vec::new(), Some(input));
        while let Some(input) = next.take() {
            let mut asks = false;
            let effects = self.replica.step(now, random, input);
            self.look();
            outcomes.extend(self.leads.map(Outcome::Leads));
            for effect in effects {
                match effect {
                    Effect::Write(ticket, write) => self.pending.push(Pending { ticket, write }),
                    Effect::Send(to, message) => {
                        outcomes.push(Outcome::Sends(Letter::new(to, message)));
                    }
                    Effect::Commit(to) => outcomes.push(Outcome::Applies(self.apply(to))),
                    effect => {
                        asks |= matches!(
                            effect,
                            Effect::ReadRegister | Effect::Swap(..) | Effect::Create(_)
                        );
                        outcomes.push(Outcome::Asks(effect));
                    }
                }
            }
            if syncs && !asks && !self.pending.is_empty() {
                next = self.sync(self.pending.len());
            }
        }
        outcomes
    }

    fn look(&mut self) {
        let status = self.replica.status();
        (self.role, self.leads) = (status.role, status.leads);
        (self.promised, self.commit) = (status.promised, status.commit);
        self.led = status.leads.map_or(self.led, |epoch| epoch.number);
    }

    /// Makes the first writes durable.
    fn sync(&mut self, count: usize) -> Option<Input> {
        let mut last = None;
        for Pending { ticket, write } in self.pending.drain(..count) {
            last = Some(ticket);
            match write {
                Write::Promise(epoch) => self.durable.0 = epoch,
                Write::Append(entries) => self.durable.1.extend(entries),
                Write::Cut(after) => self.durable.1.truncate(after as usize),
            }
        }
        last.map(Input::Durable)
    }

    /// Applies up to a seq; the entries, or `None` if they are not durable.
    fn apply(&mut self, to: Seq) -> Option<Vec<Entry>> {
        let entries = self.durable.1.get(self.applied as usize..to as usize)?.to_vec();
        self.applied = to;
        Some(entries)
    }

    pub(crate) fn config(&self) -> Option<&Config> {
        self.replica.log().config()
    }

    /// What is durable: its promise, its log.
    pub(crate) fn durable(&self) -> &(Epoch, Vec<Entry>) {
        &self.durable
    }

    /// Whether a primary has committed an entry of its own epoch.
    pub(crate) fn is_past_barrier(&self) -> bool {
        let log = self.replica.log();
        self.leads.is_some() && log.epoch_at(self.commit) == self.leads
    }

    /// Whether it led an epoch of this number, in this run.
    pub(crate) fn has_led(&self, number: u64) -> bool {
        self.led >= number
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { disk: self.disk, incarnation: Incarnation(self.run) }
    }
}

/// Times are short, and time stands still except where a timer goes off.
fn replica(disk: DiskId, run: u64, durable: &(Epoch, Vec<Entry>), mistakes: Mistakes) -> Replica {
    let timing = Timing { heartbeat: 1, election: 10, step_down: 10, resend: 1 };
    let settings = Settings { timing, mistakes, ..Settings::default() };
    let restored = Restored { entries: durable.1.clone(), ..Restored::default() };
    let me = Identity { disk, incarnation: Incarnation(run) };
    Replica::new(me, settings, durable.0, restored, 0, 0)
}
