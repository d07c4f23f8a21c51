//! What is simulated, and what came of it.

use shoal_consensus::{Acks, Mistakes, Settings, Timing};
use shoal_shard::fail;

use crate::routers::RouterMistake;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// All choices are drawn from it.
    pub seed: u64,
    /// Replicas, all of them voters at first.
    pub replicas: usize,
    /// Simulated ms in which things go wrong.
    pub bad_ms: u64,
    /// Everything is quick, and goes wrong all the time.
    pub storm: bool,
    /// What goes wrong at a chosen moment, besides what goes wrong at random.
    pub aim: Aim,
    /// When writes are answered.
    pub acks: Acks,
    /// Disks are real ones.
    pub whole: bool,
    /// Clients go through routers.
    pub routed: bool,
    /// Rules that are broken on purpose.
    pub mistakes: Mistakes,
    /// With whole shards: what their disks do wrong on purpose.
    pub disk_mistake: Option<fail::Mistake>,
    /// With routers: what they do wrong on purpose.
    pub router_mistake: Option<RouterMistake>,
}

/// A chain of faults that chance hardly ever brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// None.
    Chance,
    /// Who gave a promise ends and comes back, and hears only of the primary that was cut off before.
    Promise,
    /// Of five, members change very often; some are cut off from the others when a change begins.
    Change,
    /// The register is set back, or deleted, once the new members are in it, and some of them are cut off.
    Unchanged,
    /// The register is set back once somebody is elected, and one who knows nothing of that claims an epoch.
    Twice,
    /// One process alone ever reaches the register; no process ends.
    OneReaches,
}

impl Plan {
    /// What a seed stands for: mostly three replicas, sometimes five or one; every other one is a storm; of 16 seeds two have
    /// writes that are answered early; of 128 half have an aim.
    pub fn of(seed: u64, mistakes: Mistakes) -> Self {
        let replicas = [3, 3, 3, 5, 3, 5, 3, 1].get(seed as usize / 2 % 8).copied().unwrap_or(3);
        let acks = match seed / 2 % 8 {
            6 => Acks::Primary { max_lag: 40 },
            _ => Acks::Quorum,
        };
        let plan = Self {
            seed,
            replicas,
            bad_ms: 20_000,
            storm: seed % 2 == 1,
            aim: Aim::Chance,
            acks,
            whole: false,
            routed: false,
            mistakes,
            disk_mistake: None,
            router_mistake: None,
        };
        match seed / 16 % 10 {
            1 => Self { aim: Aim::Promise, storm: true, replicas: 3, ..plan },
            3 => Self { aim: Aim::Change, storm: true, replicas: 5, ..plan },
            5 => Self { aim: Aim::Unchanged, storm: true, replicas: 5, ..plan },
            7 => Self { aim: Aim::Twice, storm: true, replicas: 3, ..plan },
            9 => Self { aim: Aim::OneReaches, replicas: 3, ..plan },
            _ => plan,
        }
    }

    /// The same with whole shards, for less long: files take their time.
    pub fn whole(seed: u64, mistakes: Mistakes) -> Self {
        Self { whole: true, bad_ms: 8_000, ..Self::of(seed, mistakes) }
    }

    /// With routers between the clients and the shard, which is a whole one in every fourth seed.
    pub fn routed(seed: u64, mistakes: Mistakes) -> Self {
        let plan = match seed % 4 {
            3 => Self::whole(seed / 4, mistakes),
            _ => Self::of(seed, mistakes),
        };
        Self { routed: true, ..plan }
    }

    pub(crate) fn settings(&self) -> Settings {
        let timing = match self.storm {
            false => Timing::default(),
            true => Timing { heartbeat: 20, election: 100, step_down: 300, resend: 60 },
        };
        let message_bytes =
            if self.seed.is_multiple_of(3) { 400 } else { Settings::default().message_bytes };
        Settings { timing, message_bytes, acks: self.acks, mistakes: self.mistakes }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Writes that were acknowledged as committed.
    pub acked: u64,
    /// Times that an op came again.
    pub repeated: u64,
    /// Writes that were acknowledged before they were committed, as `acks: Primary` does.
    pub early: u64,
    /// Of these, how many were lost.
    pub lost: u64,
    /// Strong reads that were answered.
    pub reads: u64,
    /// Epochs in which somebody led.
    pub led: u64,
    /// Things that went wrong.
    pub faults: u64,
    /// Disks that were lost and replaced by others.
    pub replaced: u64,
    /// Snapshots that took the place of a log.
    pub snapshots: u64,
    /// Times that replicas created the register.
    pub created: u64,
    /// With whole shards: crashes at a fail point.
    pub crashed_midway: u64,
    /// Snapshots that were gone on with.
    pub resumed: u64,
    /// With routers: calls that were answered.
    pub routed: u64,
    /// Of these, reads that no replica could answer with what the router was acknowledged.
    pub stale: u64,
    /// Calls that had no answer.
    pub unanswered: u64,
    /// A hash over all that happened, in its order.
    pub trace: u64,
}

impl Outcome {
    /// Adds what came of another plan.
    pub fn add(&mut self, other: &Outcome) {
        self.acked += other.acked;
        self.repeated += other.repeated;
        self.early += other.early;
        self.lost += other.lost;
        self.reads += other.reads;
        self.led += other.led;
        self.faults += other.faults;
        self.replaced += other.replaced;
        self.snapshots += other.snapshots;
        self.created += other.created;
        self.crashed_midway += other.crashed_midway;
        self.resumed += other.resumed;
        self.routed += other.routed;
        self.stale += other.stale;
        self.unanswered += other.unanswered;
        self.trace ^= other.trace;
    }
}
