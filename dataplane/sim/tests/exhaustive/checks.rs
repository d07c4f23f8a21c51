//! What must hold, and what has to be remembered to see whether it does.

use shoal_consensus::{Entry, Epoch, Identity, Seq, What};

/// See the file's comment.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Checks {
    /// What somebody has applied, by seq.
    committed: Vec<Entry>,
    /// The last seq with an op that was acknowledged.
    pub(crate) acked: Seq,
    /// Reads that wait, and where; each with the last seq that was acknowledged before it.
    reads: Vec<(u64, Identity, Seq)>,
    led: Vec<(u64, u64, Identity)>,
}

impl Checks {
    /// All that is committed.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.committed
    }

    pub(crate) fn committed(&self, seq: Seq) -> Option<&Entry> {
        self.committed.get(seq.checked_sub(1)? as usize)
    }

    /// Whether all ops up to this one are committed.
    pub(crate) fn has_all(&self, ops: u64) -> bool {
        let is = |op, what: &What| matches!(what, What::Op { op_id, .. } if *op_id == op);
        (1..=ops).all(|op| self.committed.iter().any(|entry| is(op, &entry.what)))
    }

    /// Whether an op is committed there.
    pub(crate) fn has(&self, op: u64, seq: Seq) -> bool {
        let what = self.committed(seq).map(|entry| &entry.what);
        matches!(what, Some(What::Op { op_id, .. }) if *op_id == op)
    }

    pub(crate) fn is_twice(&self, entry: &Entry) -> bool {
        let same = |other: &Entry| other.what == entry.what;
        matches!(entry.what, What::Op { .. }) && self.committed.iter().any(same)
    }

    pub(crate) fn commits(&mut self, entry: &Entry) {
        self.committed.push(entry.clone());
    }

    pub(crate) fn leader(&self, epoch: Epoch) -> Option<Identity> {
        let led =
            |(number, nonce, _): &&(u64, u64, _)| (*number, *nonce) == (epoch.number, epoch.nonce);
        self.led.iter().find(led).map(|&(_, _, who)| who)
    }

    pub(crate) fn leads(&mut self, epoch: Epoch, who: Identity) {
        let at = self
            .led
            .partition_point(|&(number, nonce, _)| (number, nonce) < (epoch.number, epoch.nonce));
        self.led.insert(at, (epoch.number, epoch.nonce, who));
    }

    pub(crate) fn read_begins(&mut self, read: u64, by: Identity) {
        self.reads.push((read, by, self.acked));
    }

    /// What a read has to see at least.
    pub(crate) fn read_ends(&mut self, read: u64) -> Option<Seq> {
        let at = self.reads.iter().position(|&(id, ..)| id == read)?;
        Some(self.reads.remove(at).2)
    }

    /// Nobody waits there any more.
    pub(crate) fn ends(&mut self, who: Identity) {
        self.reads.retain(|&(_, by, _)| by != who);
    }
}
