//! Whole shards under the simulation: whatever fails, on real disks too no acknowledged write is lost, every read gives what was
//! written, and in the end all replicas have the same. A run prints its seed, and a seed gives the same run again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use shoal_consensus::{Acks, Mistakes};
use shoal_sim::{Outcome, Plan, run};

/// As many as take about a minute on two processors.
const SEEDS: u64 = 160;

fn plan(seed: u64) -> Plan {
    Plan::whole(seed, Mistakes::default())
}

#[test]
fn nothing_acknowledged_is_lost_on_real_disks() {
    let (next, all) = (AtomicU64::new(0), Mutex::new(Outcome::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= SEEDS {
                return;
            }
            let outcome = run(plan(seed)).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
            assert!(outcome.lost == 0 || plan(seed).acks != Acks::Quorum, "seed {seed}");
            all.lock().unwrap().add(&outcome);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let all = all.into_inner().unwrap();
    println!("{all:?}");
    // That something happened at all.
    assert!(all.acked > 40_000 && all.reads > 10_000 && all.led > 500, "{all:?}");
    assert!(all.replaced > 30 && all.snapshots > 100 && all.resumed > 50, "{all:?}");
    assert!(all.crashed_midway > 300, "{all:?}");
}

#[test]
fn a_seed_gives_the_same_run_again_on_real_disks() {
    for seed in [5, 11, 49] {
        let (first, again) = (run(plan(seed)), run(plan(seed)));
        assert!(first.is_ok(), "seed {seed}: {first:?}");
        assert_eq!(first, again, "seed {seed}");
    }
}
