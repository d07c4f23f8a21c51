//! A replica and its disk.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use shoal_consensus::{
    Config, DiskId, Effect, Entry, Epoch, Identity, Incarnation, Input, Millis, Mistakes, Replica,
    Restored, Role, Seq, Settings, Ticket, Timing, Write,
};

/// Nothing of it changes, except through [`Node::change`]: states share what they have in common, and its hash is known.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    inside: Arc<Inside>,
    hash: u64,
}

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
    pub(crate) pending: Vec<(Ticket, Write)>,
    pub(crate) applied: Seq,
}

impl Deref for Node {
    type Target = Inside;

    fn deref(&self) -> &Inside {
        &self.inside
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl Node {
    pub(crate) fn blank(disk: DiskId, mistakes: Mistakes) -> Self {
        let durable = (Epoch::NONE, Vec::new());
        let replica = replica(disk, 0, &durable, mistakes);
        let inside = Inside {
            disk,
            run: 0,
            replica,
            role: Role::Learner,
            leads: None,
            promised: Epoch::NONE,
            commit: 0,
            led: 0,
            durable,
            pending: Vec::new(),
            applied: 0,
        };
        let mut node = Self { inside: Arc::new(inside), hash: 0 };
        node.change(|_| {});
        node
    }

    fn change<T>(&mut self, how: impl FnOnce(&mut Inside) -> T) -> T {
        let inside = Arc::make_mut(&mut self.inside);
        let result = how(inside);
        let status = inside.replica.status();
        (inside.role, inside.leads) = (status.role, status.leads);
        (inside.promised, inside.commit) = (status.promised, status.commit);
        inside.led = status.leads.map_or(inside.led, |epoch| epoch.number);
        let mut hasher = DefaultHasher::new();
        inside.hash(&mut hasher);
        self.hash = hasher.finish();
        result
    }

    pub(crate) fn step(&mut self, now: Millis, input: Input) -> Vec<Effect> {
        self.change(|inside| {
            let random = inside.disk.0 as u64 * 100 + inside.run;
            inside.replica.step(now, random, input)
        })
    }

    pub(crate) fn write(&mut self, ticket: Ticket, write: Write) {
        self.change(|inside| inside.pending.push((ticket, write)));
    }

    /// Makes the first writes durable; the ticket of the last of them.
    pub(crate) fn sync(&mut self, count: usize) -> Option<Ticket> {
        self.change(|inside| {
            let mut last = None;
            for (ticket, write) in inside.pending.drain(..count) {
                last = Some(ticket);
                match write {
                    Write::Promise(epoch) => inside.durable.0 = epoch,
                    Write::Append(entries) => inside.durable.1.extend(entries),
                    Write::Cut(after) => inside.durable.1.truncate(after as usize),
                }
            }
            last
        })
    }

    /// Ends with the first writes durable, and starts again.
    pub(crate) fn restart(&mut self, kept: usize, mistakes: Mistakes) {
        self.sync(kept);
        self.change(|inside| {
            inside.run += 1;
            inside.pending.clear();
            (inside.applied, inside.led) = (0, 0);
            inside.replica = replica(inside.disk, inside.run, &inside.durable, mistakes);
        });
    }

    /// Applies up to a seq; the entries, or `None` if they are not durable.
    pub(crate) fn apply(&mut self, to: Seq) -> Option<Vec<Entry>> {
        let entries = self.durable.1.get(self.applied as usize..to as usize)?.to_vec();
        self.change(|inside| inside.applied = to);
        Some(entries)
    }

    pub(crate) fn config(&self) -> Option<&Config> {
        self.replica.log().config()
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
