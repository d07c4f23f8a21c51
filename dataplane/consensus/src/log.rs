//! What a replica knows of its log: which epoch appended what, the newest entries themselves, and the members it names.
//!
//! The log's bytes are elsewhere. This changes as soon as a write is handed out, so it is ahead of the disk; whatever depends
//! on the disk waits for the write's ticket. Invariant: `base.seq <= last`, runs are in order and begin behind `base`.

use std::collections::VecDeque;

use crate::recent::Ops;
use crate::{Config, Entry, Epoch, Position, Recent, Seq, What};

/// Bytes of entries that are kept for replicas which are a little behind. Those that are further behind cost a read of the log.
const TAIL_BYTES: usize = 16 << 20;

/// See the file's comment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    /// The last entry that is not in the log any more, because it is flushed or came in a snapshot.
    base: Position,
    /// Epochs of the entries behind `base`, each with the first seq that it appended.
    runs: Vec<(Epoch, Seq)>,
    last: Seq,
    /// The newest entries, up to `last`.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// Configurations with their seqs, in order. The oldest may be at or below `base` (R14).
    configs: Vec<(Seq, Config)>,
    /// Ops in it, or before it and still recognised.
    ops: Ops,
}

/// A log as it was found on a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The last entry that is not in it.
    pub base: Position,
    /// The newest configuration at or below `base`, with its seq.
    pub config: Option<(Seq, Config)>,
    /// All entries behind `base`, in order.
    pub entries: Vec<Entry>,
    /// Ops at or below `base` that are still recognised, in order.
    pub recent: Vec<Recent>,
}

impl Log {
    /// A log whose entries are durable.
    pub fn restore(restored: Restored) -> Self {
        let Restored { base, config, entries, recent } = restored;
        let mut ops = Ops::default();
        for op in recent.into_iter().filter(|op| op.seq <= base.seq) {
            ops.push(op);
        }
        ops.expire(base.seq);
        let mut log = Self {
            base,
            runs: Vec::new(),
            last: base.seq,
            tail: VecDeque::new(),
            tail_bytes: 0,
            configs: config.into_iter().collect(),
            ops,
        };
        log.append(&entries);
        log
    }

    /// The last entry.
    pub fn last(&self) -> Position {
        let epoch = self.runs.last().map_or(self.base.epoch, |&(epoch, _)| epoch);
        Position { epoch, seq: self.last }
    }

    /// The last entry that is not in the log any more.
    pub fn base(&self) -> Position {
        self.base
    }

    /// Who appended the entry at a seq, if that is known: from `base` on.
    pub fn epoch_at(&self, seq: Seq) -> Option<Epoch> {
        if seq == self.base.seq {
            return Some(self.base.epoch);
        }
        if seq < self.base.seq || seq > self.last {
            return None;
        }
        let run = self.runs.partition_point(|&(_, first)| first <= seq).checked_sub(1)?;
        self.runs.get(run).map(|&(epoch, _)| epoch)
    }

    /// The first seq that the epoch of an entry appended, of those in the log.
    pub(crate) fn run_start(&self, seq: Seq) -> Seq {
        let run = self.runs.partition_point(|&(_, first)| first <= seq).checked_sub(1);
        run.and_then(|run| self.runs.get(run)).map_or(self.base.seq, |&(_, first)| first)
    }

    /// The newest configuration, committed or not.
    pub fn config(&self) -> Option<&Config> {
        self.configs.last().map(|(_, config)| config)
    }

    /// Where that stands.
    pub(crate) fn config_seq(&self) -> Option<Seq> {
        self.configs.last().map(|&(seq, _)| seq)
    }

    /// Where an op of a client is, if it is recognised.
    pub fn find(&self, client_id: u64, op_id: u64) -> Option<Seq> {
        self.ops.find(client_id, op_id)
    }

    /// Ops up to a seq that are recognised, in order: what a disk has to keep when it drops the log up to there.
    pub fn recent(&self, up_to: Seq) -> Vec<Recent> {
        self.ops.up_to(up_to).collect()
    }

    /// Forgets the ops that are too old once all up to a seq is committed.
    pub(crate) fn expire_ops(&mut self, commit: Seq) {
        self.ops.expire(commit);
    }

    /// Adds entries right behind the last one.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        for entry in entries {
            debug_assert_eq!(entry.at.seq, self.last + 1, "entries are consecutive");
            debug_assert!(!entry.at.epoch.is_before(self.last().epoch), "epochs do not go back");
            if self.runs.last().is_none_or(|&(epoch, _)| epoch != entry.at.epoch) {
                self.runs.push((entry.at.epoch, entry.at.seq));
            }
            if let What::Config(config) = &entry.what {
                self.configs.push((entry.at.seq, config.clone()));
            }
            if let Some(op) = Recent::of(entry) {
                self.ops.push(op);
            }
            self.last = entry.at.seq;
            self.tail_bytes += entry.size();
            self.tail.push_back(entry.clone());
        }
        while self.tail_bytes > TAIL_BYTES
            && let Some(entry) = self.tail.pop_front()
        {
            self.tail_bytes -= entry.size();
        }
    }

    /// Drops all behind a seq, which must not be before `base`.
    pub(crate) fn cut(&mut self, after: Seq) {
        debug_assert!((self.base.seq..=self.last).contains(&after));
        self.last = after;
        self.runs.retain(|&(_, first)| first <= after);
        self.configs.retain(|&(seq, _)| seq <= after);
        self.ops.cut(after);
        while self.tail.back().is_some_and(|entry| entry.at.seq > after)
            && let Some(entry) = self.tail.pop_back()
        {
            self.tail_bytes -= entry.size();
        }
    }

    /// Entries from a seq on, of at most so many bytes but at least one; `None` if they are not at hand.
    pub(crate) fn entries(&self, from: Seq, bytes: usize) -> Option<Vec<Entry>> {
        let first = self.tail.front().map_or(self.last + 1, |entry| entry.at.seq);
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        let mut size = 0;
        let fits = |entry: &&Entry| {
            let before = size;
            size += entry.size();
            before == 0 || size <= bytes
        };
        Some(self.tail.iter().skip(skip).take_while(fits).cloned().collect())
    }

    /// Forgets what is at or before a position that the log holds; configurations stay.
    pub(crate) fn trim(&mut self, to: Position) {
        if to.seq <= self.base.seq || self.epoch_at(to.seq) != Some(to.epoch) {
            return;
        }
        let behind = self.epoch_at(to.seq + 1);
        self.runs.retain(|&(_, first)| first > to.seq);
        if let Some(epoch) = behind
            && self.runs.first().is_none_or(|&(_, first)| first > to.seq + 1)
        {
            self.runs.insert(0, (epoch, to.seq + 1));
        }
        self.base = to;
        while self.tail.front().is_some_and(|entry| entry.at.seq <= to.seq)
            && let Some(entry) = self.tail.pop_front()
        {
            self.tail_bytes -= entry.size();
        }
        let below = self.configs.partition_point(|&(seq, _)| seq <= to.seq);
        self.configs.drain(..below.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{DiskId, Members};

    fn epoch(number: u64) -> Epoch {
        Epoch { number, nonce: number * 10 }
    }

    fn entry(number: u64, seq: Seq) -> Entry {
        let what = match seq % 4 {
            0 => {
                let members = Members::majority(seq, vec![DiskId(seq.into())]).unwrap();
                What::Config(Config::New(members))
            }
            1 => What::Op { client_id: number, op_id: seq, body: bytes::Bytes::new() },
            _ => What::NoOp,
        };
        Entry { at: Position { epoch: epoch(number), seq }, what }
    }

    proptest! {
        /// Whatever is appended, cut and trimmed, the log tells the same as a plain list of entries.
        #[test]
        fn it_knows_what_a_list_knows(steps in prop::collection::vec((0u8..4, 1u64..6), 1..40)) {
            let mut log = Log::restore(Restored::default());
            let mut list: Vec<Entry> = vec![];
            let (mut base, mut number) = (0, 1);
            for (what, by) in steps {
                match what {
                    0 => number += by,
                    1 => {
                        let last = list.len() as u64;
                        let more: Vec<Entry> = (last + 1..=last + by).map(|seq| entry(number, seq)).collect();
                        log.append(&more);
                        list.extend(more);
                    }
                    2 => {
                        let after = (list.len() as u64).saturating_sub(by).max(base);
                        log.cut(after);
                        list.truncate(after as usize);
                    }
                    _ => {
                        let to = (base + by).min(list.len() as u64);
                        if let Some(entry) = to.checked_sub(1).and_then(|at| list.get(at as usize)) {
                            log.trim(entry.at);
                            base = to;
                        }
                    }
                }
                prop_assert_eq!(log.last().seq, list.len() as u64);
                prop_assert_eq!(log.base().seq, base);
                for seq in base.max(1)..=list.len() as u64 + 1 {
                    let known = list.get(seq as usize - 1).map(|entry| entry.at.epoch);
                    prop_assert_eq!(log.epoch_at(seq), known, "at {}", seq);
                }
                let newest = list.iter().rev().find_map(|entry| match &entry.what {
                    What::Config(config) => Some(config),
                    _ => None,
                });
                prop_assert_eq!(log.config(), newest);
                let ops: Vec<Recent> = list.iter().filter_map(Recent::of).collect();
                prop_assert_eq!(log.recent(u64::MAX), ops);
                let rest = log.entries(base + 1, usize::MAX);
                prop_assert_eq!(rest.as_deref(), Some(&list[base as usize..]));
            }
        }
    }

    #[test]
    fn entries_come_in_portions_of_at_least_one() {
        let entries = (1..=5).map(|seq| entry(1, seq * 4 - 3 * seq)).collect();
        let log = Log::restore(Restored { entries, ..Restored::default() });
        assert_eq!(log.entries(2, 1).map(|some| some.len()), Some(1));
        assert_eq!(log.entries(6, 1), Some(vec![]));
        assert_eq!(log.entries(0, 1), None);
    }
}
