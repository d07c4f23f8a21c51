//! Whatever fails, no acknowledged write is lost; a run prints its seed, and a seed gives the same run again.

use shoal_consensus::{Acks, Mistakes};
use shoal_sim::{Outcome, Plan, run};

fn plan(seed: u64) -> Plan {
    Plan::of(seed, Mistakes::default())
}

#[test]
fn nothing_acknowledged_is_lost_whatever_fails() {
    let mut all = Outcome::default();
    for seed in 0..500 {
        match run(plan(seed)) {
            Ok(outcome) => {
                // Only where writes are answered early may any be lost.
                assert!(outcome.lost == 0 || plan(seed).acks != Acks::Quorum, "seed {seed}");
                all.add(&outcome);
            }
            Err(broken) => panic!("seed {seed}: {broken}"),
        }
    }
    println!("{all:?}");
    // That something happened at all.
    assert!(all.acked > 100_000 && all.reads > 10_000 && all.led > 1_000, "{all:?}");
    assert!(all.replaced > 100 && all.snapshots > 100 && all.created > 100, "{all:?}");
    assert!(all.repeated > 10_000 && all.early > 10_000 && all.lost > 10, "{all:?}");
}

#[test]
fn a_seed_gives_the_same_run_again() {
    assert_eq!(run(plan(7)), run(plan(7)));
}
