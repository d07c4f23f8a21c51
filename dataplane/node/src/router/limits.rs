//! How long the router waits for shards.

use std::time::Duration;

/// How long each kind of request may take at most, all shards together. A caller may give a single one less.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Searches answer with what they have by then. An exact search over a few million points takes seconds, and common
    /// clients give up after five: what arrives later than that was looked for in vain.
    pub search: Duration,
    /// Reads that need every shard.
    pub read: Duration,
    /// Writes: the wait for a shard that restarts and for a slow disk included.
    pub write: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { search: seconds(4), read: seconds(30), write: seconds(60) }
    }
}
