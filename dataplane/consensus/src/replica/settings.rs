//! How a replica is to behave.

use crate::{Mistakes, Timing};

/// How a replica is to behave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How long it waits.
    pub timing: Timing,
    /// Bytes of entries in one message; one entry may be larger.
    pub message_bytes: usize,
    /// When a write is answered.
    pub acks: Acks,
    /// Which rules it breaks.
    pub mistakes: Mistakes,
}

impl Default for Settings {
    /// Messages of 1 MiB: beyond that, larger ones are not sent faster.
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            message_bytes: 1 << 20,
            acks: Acks::Quorum,
            mistakes: Mistakes::default(),
        }
    }
}

/// When a write is answered (R7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Acks {
    /// Once it is committed: no failover loses it.
    #[default]
    Quorum,
    /// Once it is durable on the primary. A failover may lose what was not committed yet.
    Primary {
        /// Entries that may be so: beyond that, writes are refused as [`Refusal::Busy`](crate::Refusal::Busy).
        max_lag: u64,
    },
}
