//! What is simulated, and what came of it.

use shoal_consensus::{Mistakes, Settings, Timing};

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// All choices are drawn from it.
    pub seed: u64,
    /// Replicas, all of them voters.
    pub replicas: usize,
    /// Simulated ms in which things go wrong.
    pub bad_ms: u64,
    /// Everything is quick, and goes wrong all the time.
    pub storm: bool,
    /// Rules that are broken on purpose.
    pub mistakes: Mistakes,
}

impl Plan {
    /// What a seed stands for: mostly three replicas, sometimes five or one; every other one is a storm.
    pub fn of(seed: u64, mistakes: Mistakes) -> Self {
        let replicas = [3, 3, 3, 5, 3, 5, 3, 1].get(seed as usize / 2 % 8).copied().unwrap_or(3);
        Self { seed, replicas, bad_ms: 20_000, storm: seed % 2 == 1, mistakes }
    }

    pub(crate) fn message_bytes(&self) -> usize {
        if self.seed.is_multiple_of(3) { 400 } else { Settings::default().message_bytes }
    }

    pub(crate) fn timing(&self) -> Timing {
        match self.storm {
            false => Timing::default(),
            true => Timing { heartbeat: 20, election: 100, step_down: 300, resend: 60 },
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Writes that were acknowledged.
    pub acked: u64,
    /// Strong reads that were answered.
    pub reads: u64,
    /// Epochs in which somebody led.
    pub led: u64,
    /// Things that went wrong.
    pub faults: u64,
    /// Disks that were lost and replaced by others.
    pub replaced: u64,
    /// Snapshots that took the place of a log.
    pub snapshots: u64,
}
