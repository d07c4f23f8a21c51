//! Names and numbers of replicas, epochs and places in the log.

use serde::{Deserialize, Serialize};

/// Position of an entry in a shard's log. The first is 1; 0 is before all.
pub type Seq = u64;

/// A disk. It is drawn when a disk is set up, restored or found damaged, and never again (R10).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct DiskId(pub u128);

/// One run of the process on a disk, drawn at random when it starts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Incarnation(pub u64);

/// Who a replica is: its disk, and this run on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The disk.
    pub disk: DiskId,
    /// The run.
    pub incarnation: Incarnation,
}

/// Term of a primary. Ordered by number; equal only if the nonces are equal too, because a register that was restored from
/// an older backup may give the same number twice (R1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Counts up.
    pub number: u64,
    /// Drawn at random by whoever began the epoch.
    pub nonce: u64,
}

impl Epoch {
    /// Before the first.
    pub const NONE: Epoch = Epoch { number: 0, nonce: 0 };

    /// Whether this epoch comes before another. Two of one number come neither before nor after each other.
    pub fn is_before(self, other: Epoch) -> bool {
        self.number < other.number
    }
}

/// An entry's place: the epoch that appended it and its seq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Of the primary that made it.
    pub epoch: Epoch,
    /// Where it stands.
    pub seq: Seq,
}

impl Position {
    /// How far a log that ends here goes: later epochs go further, then longer logs (R3).
    pub fn reach(self) -> (u64, Seq) {
        (self.epoch.number, self.seq)
    }
}
