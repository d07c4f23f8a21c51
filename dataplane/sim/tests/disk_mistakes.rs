//! Disks that are kept in ways that look right and are not: each is noticed, by a check that says what it is about.
//!
//! Each stands with a seed near which it is noticed: that changes with what is drawn from a seed, and
//! `make sim WHOLE=1 SEED=0 SEEDS=400 MISTAKE=TrimApplied` finds it anew.

use shoal_consensus::Mistakes;
use shoal_shard::fail::Mistake;
use shoal_sim::{Check, Plan, run};

/// Seeds that a mistake may take to be noticed.
const SEEDS: u64 = 100;

/// Each with a seed that it is noticed near, and the checks that notice it: which of them is first is chance.
const NOTICED: [(Mistake, u64, &[Check]); Mistake::ALL.len()] = [
    (Mistake::UnsyncedPromise, 0, &[Check::Opens]),
    (Mistake::DurableTooSoon, 15, &[Check::NoAckLost, Check::CommittedAgree]),
    (Mistake::SyncAcrossCut, 5303, &[Check::Durable]),
    (Mistake::ManifestFirst, 7, &[Check::Opens]),
    (Mistake::TrimApplied, 0, &[Check::Opens, Check::Snapshots]),
    (Mistake::FlushWithoutOps, 0, &[Check::Remembers]),
    (Mistake::SnapshotWithoutOps, 0, &[Check::Remembers]),
    (Mistake::SnapshotWithoutMembers, 0, &[Check::Remembers]),
    (Mistake::InstallUnmarked, 37, &[Check::Opens]),
];

#[test]
fn each_mistake_of_a_disk_is_noticed() {
    for mistake in Mistake::ALL {
        assert!(NOTICED.iter().any(|&(noticed, ..)| noticed == mistake), "{mistake:?}");
    }
    for (mistake, first, checks) in NOTICED {
        let plan =
            |seed| Plan { disk_mistake: Some(mistake), ..Plan::whole(seed, Mistakes::default()) };
        let seeds = first..first + SEEDS;
        let found = seeds.into_iter().find_map(|seed| Some((seed, run(plan(seed)).err()?)));
        let Some((seed, broken)) = found else {
            panic!("{mistake:?} was not noticed in {SEEDS} seeds from {first} on")
        };
        println!("{mistake:?}: seed {seed}: {broken}");
        assert!(checks.contains(&broken.check), "{mistake:?}, seed {seed}: {broken}");
    }
}
