//! Entries of the log, and what was found of it when a shard was opened.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Term of a primary. A shard without replicas has one for ever, which is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Counts up.
    pub number: u64,
    /// Tells two of one number apart.
    pub nonce: u64,
}

/// An entry's place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Of the primary that made it.
    pub epoch: Epoch,
    /// Where it stands. The first is 1.
    pub seq: u64,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub at: Position,
    /// What it says.
    pub what: What,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing: a new primary's first entry.
    NoOp,
    /// An op; see [`encode_op`](crate::encode_op).
    Op {
        /// Who sent it; 0 if it is not to be recognised.
        client_id: u64,
        /// Its number among the client's ops.
        op_id: u64,
        /// The op, encoded and checked.
        body: Bytes,
    },
    /// The members of the shard, encoded by whoever decides about them.
    Config(Bytes),
}

/// An op that was done, so that its repetition is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentOp {
    /// Who sent it.
    pub client_id: u64,
    /// Its number among the client's ops.
    pub op_id: u64,
    /// Where it stands.
    pub seq: u64,
}

/// What was found of a log when its shard was opened as a replica.
#[derive(Debug)]
pub struct Recovered {
    /// The disk's.
    pub disk_id: Uuid,
    /// The epoch that was promised.
    pub promised: Epoch,
    /// The last entry whose effect is in segments.
    pub base: Position,
    /// The newest configuration at or below `base`, with its seq.
    pub config: Option<(u64, Bytes)>,
    /// Ops at or below `base` that are still recognised, ascending by seq.
    pub recent: Vec<RecentOp>,
    /// All entries behind `base`, in order.
    pub entries: Vec<Entry>,
}

impl Recovered {
    /// The last entry.
    pub fn last(&self) -> Position {
        self.entries.last().map_or(self.base, |entry| entry.at)
    }

    /// Whether nothing was ever written to the disk, nor promised.
    pub fn is_blank(&self) -> bool {
        self.last().seq == 0 && self.promised == Epoch::default()
    }

    /// Whether the disk is that of a shard without replicas: it holds something, all of it from before there were epochs, and
    /// it promised nothing. A disk that was ever one of several is none: before anything else each promises an epoch.
    pub fn is_alone(&self) -> bool {
        let none = Epoch::default();
        // Epochs do not go back, so the last entry's is the greatest.
        let has_no_epoch = self.promised == none && self.last().epoch == none;
        self.last().seq > 0 && has_no_epoch && self.config.is_none()
    }
}
