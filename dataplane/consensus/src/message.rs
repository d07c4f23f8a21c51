//! What replicas tell each other.

use serde::{Deserialize, Serialize};

use crate::{Config, Entry, Epoch, Identity, Position, Seq};

/// A message, with who sent it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// The sender: an answer of an earlier run, or of a disk that was replaced, must not count.
    pub from: Identity,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// Asks for a promise to take nothing of an epoch before this one (R2).
    Fence(Epoch),
    /// The promise.
    Promise(Promise),
    /// Refuses a fence or an append of an epoch, because of a promise.
    Refused {
        /// What was asked for.
        epoch: Epoch,
        /// What was promised.
        promised: Epoch,
    },
    /// Tells the elected one, which then reads the register and has not to wait until it is told of it.
    Elected,
    /// Entries for the log, or none, which says that the primary lives.
    Append {
        /// The primary's.
        epoch: Epoch,
        /// The entry before those.
        prev: Position,
        /// In order, right behind `prev`.
        entries: Vec<Entry>,
        /// Committed up to here.
        commit: Seq,
        /// Counts up with what the primary sends to anybody; the answer repeats it.
        round: u64,
    },
    /// All up to `matched` is the primary's log, and durable (R6).
    Appended {
        /// As it was in the append.
        epoch: Epoch,
        /// The last entry of the append.
        matched: Seq,
        /// As it was in the append.
        round: u64,
    },
    /// The entry before those that were sent is not here.
    Mismatch {
        /// As it was in the append.
        epoch: Epoch,
        /// All that could match lies at or below this.
        hint: Seq,
        /// As it was in the append.
        round: u64,
    },
    /// Asks how long ago the primary was heard of.
    Probe,
    /// The answer to it.
    Heard {
        /// Whether that is so long ago that the sender would elect another.
        silent: bool,
        /// The newest epoch that the sender knows.
        promised: Epoch,
    },
    /// The primary steps down for this replica, which is to be elected at once.
    TakeOver(Epoch),
}

/// A promise (R2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// To take nothing of an epoch before this one.
    pub epoch: Epoch,
    /// Where the log ends.
    pub last: Position,
    /// The newest configuration in it, also if the log before it is gone (R14).
    pub config: Option<Config>,
}
