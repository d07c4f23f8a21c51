//! Entries of the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Config, Position};

/// One entry. Two entries at one position are the same entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Its place.
    pub at: Position,
    /// What it says.
    pub what: What,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum What {
    /// Nothing: a new primary's first entry, by which what came before is committed (R5).
    NoOp,
    /// An op of a client.
    Op {
        /// Who sent it; 0 if it is not to be recognised.
        client_id: u64,
        /// Its number among the client's ops.
        op_id: u64,
        /// The op, encoded.
        body: Bytes,
    },
    /// The members of the shard from here on, before it is committed.
    Config(Config),
}

impl Entry {
    /// Bytes that it takes, roughly.
    pub fn size(&self) -> usize {
        let fixed = size_of::<Entry>();
        match &self.what {
            What::NoOp => fixed,
            What::Op { body, .. } => fixed + body.len(),
            What::Config(config) => fixed + config.members().count() * size_of::<u128>(),
        }
    }
}
