//! Ops that are recognised when a client repeats them (R12): which seq has the op of a client.
//!
//! The table is part of the log: what is appended is in it, what is cut is not, and what is trimmed stays until it is
//! [`RECENT_OPS`] seqs old, counted from what is committed, so that no cut brings back an op that was forgotten.
//! Invariant: `by_id` names exactly the newest of each op in `by_seq`, whose seqs go up.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{Entry, Seq, What};

/// Seqs over which an op is recognised. A client that repeats an op later than that may have it done twice: at 10,000 ops a
/// second that is 6 s, more than the 5 s in which a failover is to be over. An op takes about 100 bytes here.
pub const RECENT_OPS: u64 = 1 << 16;

/// An op that is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recent {
    /// Who sent it; never 0.
    pub client_id: u64,
    /// Its number among the client's ops.
    pub op_id: u64,
    /// Where it is in the log.
    pub seq: Seq,
}

impl Recent {
    /// Of an entry, if it is an op that is to be recognised.
    pub fn of(entry: &Entry) -> Option<Self> {
        match entry.what {
            What::Op { client_id, op_id, .. } if client_id != 0 => {
                Some(Self { client_id, op_id, seq: entry.at.seq })
            }
            _ => None,
        }
    }
}

/// See the file's comment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ops {
    by_seq: VecDeque<Recent>,
    by_id: BTreeMap<(u64, u64), Seq>,
}

impl Ops {
    /// Adds an op behind all others. One that is not, or of client 0, is from a disk that says what cannot be: it is left out.
    pub(crate) fn push(&mut self, op: Recent) {
        if op.client_id == 0 || self.by_seq.back().is_some_and(|last| last.seq >= op.seq) {
            return;
        }
        self.by_seq.push_back(op);
        self.by_id.insert((op.client_id, op.op_id), op.seq);
    }

    /// Where an op is.
    pub(crate) fn find(&self, client_id: u64, op_id: u64) -> Option<Seq> {
        self.by_id.get(&(client_id, op_id)).copied()
    }

    /// Drops those behind a seq.
    pub(crate) fn cut(&mut self, after: Seq) {
        while let Some(op) = self.by_seq.back().copied().filter(|op| op.seq > after) {
            self.by_seq.pop_back();
            self.drop_id(op);
        }
    }

    /// Drops those that are too old once all up to `commit` is committed.
    pub(crate) fn expire(&mut self, commit: Seq) {
        let old = |op: &Recent| op.seq.saturating_add(RECENT_OPS) <= commit;
        while let Some(op) = self.by_seq.front().copied().filter(old) {
            self.by_seq.pop_front();
            self.drop_id(op);
        }
    }

    fn drop_id(&mut self, op: Recent) {
        let id = (op.client_id, op.op_id);
        if self.by_id.get(&id) == Some(&op.seq) {
            self.by_id.remove(&id);
        }
    }

    /// Those up to a seq, in order.
    pub(crate) fn up_to(&self, seq: Seq) -> impl Iterator<Item = Recent> {
        self.by_seq.iter().take_while(move |op| op.seq <= seq).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is pushed, cut and expired, it finds what a plain list finds from the end.
        #[test]
        fn it_finds_what_a_list_finds(steps in prop::collection::vec((0u8..6, 1u64..4, 1u64..30_000), 1..80)) {
            let (mut ops, mut list) = (Ops::default(), Vec::<Recent>::new());
            let (mut last, mut commit) = (0u64, 0u64);
            for (what, client_id, by) in steps {
                match what {
                    0 => {
                        last = last.saturating_sub(by).max(commit);
                        ops.cut(last);
                        list.retain(|op| op.seq <= last);
                    }
                    1 => {
                        commit = (commit + by).min(last);
                        ops.expire(commit);
                        list.retain(|op| op.seq + RECENT_OPS > commit);
                    }
                    _ => {
                        last += by;
                        // A client never has an op twice among those that are recognised.
                        let op = Recent { client_id, op_id: by, seq: last };
                        if ops.find(client_id, by).is_none() {
                            ops.push(op);
                            list.push(op);
                        }
                    }
                }
                for op in &list {
                    prop_assert_eq!(ops.find(op.client_id, op.op_id), Some(op.seq));
                }
                prop_assert_eq!(ops.by_id.len(), list.len());
                prop_assert_eq!(ops.up_to(u64::MAX).collect::<Vec<_>>(), list.clone());
            }
        }
    }

    #[test]
    fn an_op_that_came_again_after_it_was_forgotten_elsewhere_is_where_it_is_now() {
        let mut ops = Ops::default();
        let op = |seq| Recent { client_id: 1, op_id: 1, seq };
        ops.push(op(1));
        ops.push(op(2 + RECENT_OPS));
        ops.expire(1 + RECENT_OPS);
        assert_eq!(ops.find(1, 1), Some(2 + RECENT_OPS));
        ops.push(Recent { client_id: 0, ..op(3 + RECENT_OPS) });
        ops.push(op(7));
        assert_eq!(ops.up_to(u64::MAX).count(), 1, "what cannot be is left out");
    }
}
