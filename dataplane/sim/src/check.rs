//! What must hold, whatever fails.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use shoal_consensus::{Entry, Epoch, Identity, Position, Recent, Restored, Seq, What};

use crate::plan::Outcome;

/// What was found broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// What one replica has committed, another has not, or has otherwise.
    CommittedAgree,
    /// An op that was acknowledged is not at its place in what is committed.
    NoAckLost,
    /// What is committed was proposed, and once.
    NoPhantom,
    /// The register goes from epoch to later epoch, and nobody is seated in one where another is.
    RegisterGoesOn,
    /// In an epoch one replica leads, in one run.
    OnePrimary,
    /// A strong read sees all that was acknowledged before it began.
    ReadsSeeAcks,
    /// Once nothing fails any more, writes are acknowledged and all replicas have them.
    Progress,
    /// No more is acknowledged before it is committed than was said.
    LagBounded,
    /// No replica finds its own log contradicted.
    NoQuarantine,
    /// A write and a strong read take effect between their call and their answer.
    InTime,
    /// A router's reads see what that router was acknowledged, or say that they may not.
    SessionSees,
    /// No read fails while one replica lives.
    ReadsAnswered,
    /// What a crash leaves of a disk opens again.
    Opens,
    /// What is told to be durable was synced.
    Durable,
    /// A disk remembers of what it dropped from its log the members, and the ops that are recognised.
    Remembers,
    /// A replica has the points that what it applied makes, and its log what it applied.
    Contents,
    /// A snapshot that nobody spoilt is restored and opens.
    Snapshots,
    /// In the end all replicas have the same, by their digests.
    Same,
}

/// A check that failed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub check: Check,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.check, self.detail)
    }
}

fn broken<T>(check: Check, detail: String) -> Result<T, Broken> {
    Err(Broken { check, detail })
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// What some replica has applied, by seq from 1 on.
    committed: Vec<Entry>,
    /// The ops in it.
    places: HashMap<u64, Seq>,
    acked: BTreeMap<Seq, u64>,
    /// Ops that were acknowledged before they were committed.
    acked_early: HashSet<u64>,
    proposed: u64,
    /// Ops that are the same as an earlier one.
    again: HashMap<u64, u64>,
    primaries: HashMap<Epoch, Identity>,
    /// For each strong read, the last seq that was acknowledged when it began.
    reads: HashMap<u64, Seq>,
    reads_answered: u64,
}

impl History {
    /// The number of a new op.
    pub(crate) fn propose(&mut self) -> u64 {
        self.proposed += 1;
        self.proposed
    }

    /// The number of an op that is the same as an earlier one, and is not to be told from a new one.
    pub(crate) fn propose_again(&mut self, op: u64) -> u64 {
        let again = self.propose();
        let first = self.again.get(&op).copied().unwrap_or(op);
        self.again.insert(again, first);
        again
    }

    /// Ops that were acknowledged, one way or the other.
    pub(crate) fn answered(&self) -> u64 {
        (self.acked.len() + self.acked_early.len()) as u64
    }

    /// Ops that were proposed.
    pub(crate) fn proposed(&self) -> u64 {
        self.proposed
    }

    /// The last seq that anybody has applied.
    pub(crate) fn committed(&self) -> Seq {
        self.committed.len() as u64
    }

    /// With `acks: Primary`, a client is told that its op is on one disk: it may be lost.
    pub(crate) fn ack_early(&mut self, op: u64) {
        self.acked_early.insert(op);
    }

    pub(crate) fn sum_up(&self, outcome: &mut Outcome) {
        outcome.acked = self.acked.len() as u64;
        outcome.early = self.acked_early.len() as u64;
        outcome.lost =
            self.acked_early.iter().filter(|op| !self.places.contains_key(op)).count() as u64;
        outcome.reads = self.reads_answered;
        outcome.led = self.primaries.len() as u64;
    }

    pub(crate) fn last_acked(&self) -> Seq {
        self.acked.last_key_value().map_or(0, |(&seq, _)| seq)
    }

    /// A replica applies an entry.
    pub(crate) fn apply(&mut self, who: usize, entry: &Entry) -> Result<(), Broken> {
        let seq = entry.at.seq;
        if let Some(known) = self.committed.get(seq as usize - 1) {
            return match known == entry {
                true => Ok(()),
                false => broken(
                    Check::CommittedAgree,
                    format!("replica {who} applies {entry:?}, others have {known:?}"),
                ),
            };
        }
        if self.committed.len() as u64 + 1 != seq {
            let detail = format!("replica {who} applies {seq} before what comes before it");
            return broken(Check::CommittedAgree, detail);
        }
        self.committed.push(entry.clone());
        if let Some(&op) = self.acked.get(&seq)
            && !matches!(entry.what, What::Op { op_id, .. } if op_id == op)
        {
            let detail = format!("op {op} was acked at {seq}, where {entry:?} is");
            return broken(Check::NoAckLost, detail);
        }
        if let What::Op { op_id, .. } = entry.what {
            if op_id == 0 || op_id > self.proposed {
                return broken(Check::NoPhantom, format!("op {op_id} was never proposed"));
            }
            let op_id = self.again.get(&op_id).copied().unwrap_or(op_id);
            if let Some(before) = self.places.insert(op_id, seq) {
                return broken(Check::NoPhantom, format!("op {op_id} is at {before} and at {seq}"));
            }
        }
        Ok(())
    }

    /// A client is told that its op is committed.
    pub(crate) fn ack(&mut self, op: u64, seq: Seq) -> Result<(), Broken> {
        self.acked.insert(seq, op);
        let found = self.committed.get(seq as usize - 1).map(|entry| &entry.what);
        match found {
            Some(What::Op { op_id, .. }) if *op_id == op => Ok(()),
            other => broken(Check::NoAckLost, format!("op {op} is acked at {seq}: {other:?}")),
        }
    }

    /// A client is told that its op is committed, maybe before anybody applied it.
    pub(crate) fn ack_unseen(&mut self, op: u64, seq: Seq) -> Result<(), Broken> {
        if seq <= self.committed() {
            return self.ack(op, seq);
        }
        match self.acked.insert(seq, op) {
            Some(before) if before != op => {
                broken(Check::NoAckLost, format!("ops {before} and {op} are both acked at {seq}"))
            }
            _ => Ok(()),
        }
    }

    /// What a disk says of the log that it does not have any more: who the members are, and which ops are recognised.
    pub(crate) fn remembers(&self, who: usize, restored: &Restored) -> Result<(), Broken> {
        let base = restored.base.seq as usize;
        let before = self.committed.get(..base).unwrap_or_default();
        let config = before.iter().rev().find_map(|entry| match &entry.what {
            What::Config(config) => Some((entry.at.seq, config.clone())),
            _ => None,
        });
        let ops: Vec<Recent> = before.iter().filter_map(Recent::of).collect();
        let last = before.last().map_or(Position::default(), |entry| entry.at);
        if (before.len(), last) != (base, restored.base) {
            let detail = format!("replica {who} begins behind {:?}, not {last:?}", restored.base);
            return broken(Check::Remembers, detail);
        }
        if config != restored.config {
            let detail = format!("replica {who}: {:?}, not {config:?}", restored.config);
            return broken(Check::Remembers, detail);
        }
        match ops == restored.recent {
            true => Ok(()),
            false => {
                let (found, all) = (restored.recent.len(), ops.len());
                broken(Check::Remembers, format!("replica {who} has {found} ops of {all}"))
            }
        }
    }

    /// At the end: whatever was acknowledged was applied by somebody.
    pub(crate) fn nothing_acked_is_missing(&self) -> Result<(), Broken> {
        match self.last_acked() <= self.committed() {
            true => Ok(()),
            false => {
                let (acked, committed) = (self.last_acked(), self.committed());
                broken(Check::NoAckLost, format!("{acked} is acked, {committed} committed"))
            }
        }
    }

    pub(crate) fn leads(&mut self, epoch: Epoch, who: Identity) -> Result<(), Broken> {
        match self.primaries.insert(epoch, who) {
            Some(before) if before != who => {
                broken(Check::OnePrimary, format!("{before:?} and {who:?} lead {epoch:?}"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn read_begins(&mut self, read: u64) {
        self.reads.insert(read, self.last_acked());
    }

    pub(crate) fn read_ends(&mut self, read: u64, seq: Option<Seq>) -> Result<(), Broken> {
        let (Some(least), Some(seq)) = (self.reads.remove(&read), seq) else { return Ok(()) };
        self.reads_answered += 1;
        match seq >= least {
            true => Ok(()),
            false => broken(
                Check::ReadsSeeAcks,
                format!("a read that began when {least} was acked is answered from {seq}"),
            ),
        }
    }

    /// At the end: what a replica has applied holds every op that was acknowledged up to there.
    pub(crate) fn holds_all_until(
        &self,
        who: usize,
        log: &[Entry],
        applied: Seq,
    ) -> Result<(), Broken> {
        for (&seq, &op) in self.acked.range(..=applied) {
            match log.get(seq as usize - 1).map(|entry| &entry.what) {
                Some(What::Op { op_id, .. }) if *op_id == op => {}
                other => {
                    let detail = format!("replica {who} has not op {op} at {seq}: {other:?}");
                    return broken(Check::NoAckLost, detail);
                }
            }
        }
        Ok(())
    }
}
