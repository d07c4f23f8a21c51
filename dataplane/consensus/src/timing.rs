//! Times. They decide how soon something is done, never whether it is right (R8).

use crate::Millis;

/// How long replicas wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Between two signs of life of a primary.
    pub heartbeat: Millis,
    /// A primary that was not heard of for so long is missed. Up to as much again is added at random.
    pub election: Millis,
    /// A primary that had no write quorum for so long steps down.
    pub step_down: Millis,
    /// After this, what had no answer is sent again.
    pub resend: Millis,
}

impl Default for Timing {
    /// For a failover within 5 s on disks that sync within 100 ms.
    fn default() -> Self {
        Self { heartbeat: 150, election: 1_000, step_down: 3_000, resend: 500 }
    }
}
