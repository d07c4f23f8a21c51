//! What a log says that must outlive its records: who appended last, who the members are, and which ops of clients were
//! done lately.
//!
//! It is part of the applied state, as points are: a function of the ops before it. So the manifest holds it as of
//! `flushed_seq`, a snapshot carries it, and records may be trimmed. Invariant: `recent` ascends by seq, and is of one
//! window of [`RECENT_OPS`] seqs.

use bytes::Bytes;
use imbl::Vector;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::journal::{Epoch, RecentOp};
use crate::limits::RECENT_OPS;

/// See the file's comment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogState {
    /// Of the last entry.
    pub(crate) epoch: Epoch,
    /// The newest configuration, encoded, with its seq.
    pub(crate) config: Option<(u64, Bytes)>,
    pub(crate) recent: Vector<RecentOp>,
}

impl LogState {
    /// Takes note of an op that was applied. Those of a shard without replicas are not told apart.
    pub(crate) fn passed_op(&mut self, op: RecentOp, epoch: Epoch) {
        if op.client_id != 0 && epoch != Epoch::default() {
            self.recent.push_back(op);
        }
        let oldest = op.seq.saturating_sub(RECENT_OPS);
        while self.recent.front().is_some_and(|op| op.seq <= oldest) {
            self.recent.pop_front();
        }
    }
}

/// As it lies in the manifest: ops by client, since clients count theirs up.
#[derive(Serialize, Deserialize)]
struct OnDisk {
    epoch: Epoch,
    config: Option<(u64, Vec<u8>)>,
    /// Below all seqs that follow.
    base: u64,
    clients: Vec<(u64, Vec<(u64, u64)>)>,
}

impl Serialize for LogState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let base = self.recent.front().map_or(0, |op| op.seq);
        let mut by_client = std::collections::BTreeMap::<u64, Vec<(u64, u64)>>::new();
        for op in &self.recent {
            by_client.entry(op.client_id).or_default().push((op.op_id, op.seq - base));
        }
        let config = self.config.as_ref().map(|(seq, body)| (*seq, body.to_vec()));
        let clients = by_client.into_iter().collect();
        OnDisk { epoch: self.epoch, config, base, clients }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LogState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let OnDisk { epoch, config, base, clients } = OnDisk::deserialize(deserializer)?;
        let mut recent = Vec::new();
        for (client_id, ops) in clients {
            recent.extend(ops.into_iter().map(|(op_id, behind)| RecentOp {
                client_id,
                op_id,
                seq: base.saturating_add(behind),
            }));
        }
        recent.sort_unstable_by_key(|op| op.seq);
        let config = config.map(|(seq, body)| (seq, body.into()));
        Ok(Self { epoch, config, recent: recent.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: Epoch = Epoch { number: 3, nonce: 9 };

    #[test]
    fn ops_are_recognised_for_a_window_of_seqs() {
        let mut state = LogState::default();
        for seq in 1..=RECENT_OPS + 2 {
            state.passed_op(RecentOp { client_id: seq % 3, op_id: seq, seq }, EPOCH);
        }
        assert_eq!(
            state.recent.front().map(|op| op.seq),
            Some(4),
            "0 is nobody, 1 and 2 are too old"
        );
        assert_eq!(state.recent.back().map(|op| op.seq), Some(RECENT_OPS + 1));
        let mut alone = LogState::default();
        alone.passed_op(RecentOp { client_id: 1, op_id: 1, seq: 1 }, Epoch::default());
        assert!(alone.recent.is_empty());
    }

    proptest! {
        #[test]
        fn it_reads_back(
            ops in prop::collection::vec((1u64..4, any::<u64>(), 1u64..50), 0..40),
            config in prop::option::of((any::<u64>(), prop::collection::vec(any::<u8>(), 0..9)))
        ) {
            let mut state = LogState { epoch: EPOCH, ..LogState::default() };
            state.config = config.map(|(seq, body)| (seq, body.into()));
            let mut seq = 1 << 40;
            for (client_id, op_id, behind) in ops {
                seq += behind;
                state.passed_op(RecentOp { client_id, op_id, seq }, EPOCH);
            }
            let bytes = postcard::to_allocvec(&state).unwrap();
            prop_assert_eq!(postcard::from_bytes::<LogState>(&bytes), Ok(state));
        }
    }
}
