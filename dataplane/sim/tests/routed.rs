//! Routers between clients and a shard, in front of modelled disks and of whole shards: writes are done once and lost never,
//! reads see what they must, and none fails while one replica lives. What a router could do wrong is noticed.

use shoal_consensus::{Acks, Mistakes};
use shoal_sim::{Check, Outcome, Plan, RouterMistake, run};

/// As many as take some ten seconds.
const SEEDS: u64 = 240;

/// Seeds that a mistake may take to be noticed.
const MISTAKEN: u64 = 100;

fn plan(seed: u64) -> Plan {
    Plan::routed(seed, Mistakes::default())
}

#[test]
fn calls_through_routers_lose_nothing_and_reads_are_answered() {
    let mut all = Outcome::default();
    for seed in 0..SEEDS {
        let outcome = run(plan(seed)).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        assert!(outcome.lost == 0 || plan(seed).acks != Acks::Quorum, "seed {seed}");
        all.add(&outcome);
    }
    println!("{all:?}");
    // That something happened at all.
    assert!(all.routed > 200_000 && all.reads > 40_000 && all.led > 1_000, "{all:?}");
    assert!(all.repeated > 10_000 && all.stale > 500 && all.unanswered > 1_000, "{all:?}");
    assert!(all.crashed_midway > 50, "{all:?}");
}

#[test]
fn a_seed_gives_the_same_run_again_with_routers() {
    for seed in [3, 6] {
        assert_eq!(run(plan(seed)), run(plan(seed)), "seed {seed}");
    }
}

#[test]
fn each_mistake_of_a_router_is_noticed() {
    for mistake in RouterMistake::ALL {
        let plan = |seed| Plan { router_mistake: Some(mistake), ..plan(seed) };
        let found = (0..MISTAKEN).find_map(|seed| Some((seed, run(plan(seed)).err()?)));
        let Some((seed, broken)) = found else {
            panic!("{mistake:?} was not noticed in {MISTAKEN} seeds")
        };
        println!("{mistake:?}: seed {seed}: {broken}");
        let check = match mistake {
            RouterMistake::NewIds => Check::NoPhantom,
            RouterMistake::ForgetsAcks => Check::SessionSees,
            RouterMistake::GivesUpBehind | RouterMistake::WaitsForOne => Check::ReadsAnswered,
            RouterMistake::SticksToOne => Check::Progress,
        };
        assert_eq!(broken.check, check, "{mistake:?}, seed {seed}: {broken}");
    }
}
