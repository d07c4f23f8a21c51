//! The state machine itself, not a copy of it, in every order in which few things can happen.
//!
//! `model.rs` says what can happen, `state.rs` what a shard is and what becomes of it, `node.rs` is a replica and its disk,
//! `network.rs` knows which messages can still matter, `reductions.rs` leaves out what makes no difference, `checks.rs` remembers
//! what must hold, `shared.rs` is what states have in common, `bounds.rs` says how much of everything there is. What is left out,
//! and how many states there are, stands in docs/replication.md.
//! The bounds here take a minute or two; `--ignored` checks larger ones.

#![allow(clippy::print_stdout, reason = "the counts are what one wants to see")]
#![allow(clippy::panic, clippy::expect_used, reason = "a test fails so")]

mod bounds;
mod checks;
mod model;
mod network;
mod node;
mod reductions;
mod shared;
mod state;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bounds::Bounds;
use model::Shard;
use shoal_consensus::{Mistake, Mistakes};
use stateright::{Checker, HasDiscoveries, Model};

/// Checks all states within bounds.
fn check(name: &str, bounds: Bounds) {
    let checker = Shard { bounds, disks: None }.checker().threads(2).spawn_dfs().join();
    println!(
        "{name}: {} states, {} of them different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    if let Some(path) = checker.discovery("nothing is broken") {
        for action in path.into_actions() {
            println!("  {action:?}");
        }
        panic!(
            "{name}: {:?}",
            checker
                .discovery("nothing is broken")
                .map(|p| p.into_states().pop().and_then(|s| s.broken))
        );
    }
    checker.assert_properties();
}

#[test]
fn failover_loses_nothing() {
    check("failover", Bounds::FAILOVER);
}

#[test]
fn a_strong_read_sees_what_was_acknowledged() {
    check("read", Bounds::READ);
}

#[test]
fn a_crash_loses_nothing() {
    check("crash", Bounds::CRASH);
}

#[test]
fn a_change_of_members_loses_nothing() {
    check("replacement", Bounds::REPLACEMENT);
}

#[test]
fn a_register_that_is_deleted_or_set_back_loses_nothing() {
    check("register lost", Bounds::LOSS);
}

/// `BOUNDS="epochs=3 writes=2 crashes=1"`: what is not named is 0, but for three voters and three epochs.
#[test]
#[ignore = "takes as long as its bounds ask for"]
fn nothing_is_lost_within_the_bounds_that_are_asked_for() {
    let bounds = std::env::var("BOUNDS").unwrap_or_default();
    check(&bounds, Bounds::parse(&bounds));
}

/// What is left out as making no difference makes none: every disk comes to hold the same beside the same that is committed.
#[test]
fn what_is_left_out_makes_no_difference() {
    let disks = |bounds: Bounds| {
        let disks = Arc::new(Mutex::new(BTreeSet::new()));
        let shard = Shard { bounds, disks: Some(Arc::clone(&disks)) };
        shard.checker().threads(2).spawn_dfs().join().assert_properties();
        std::mem::take(&mut *disks.lock().expect("no thread panics"))
    };
    for text in [
        "epochs=3",
        "epochs=2 writes=1 reads=1",
        "epochs=2 writes=1 crashes=1",
        "epochs=3 crashes=1",
        "epochs=2 crashes=2",
        "epochs=2 changes=1",
        "epochs=2 writes=1 losses=1 prompt=1",
    ] {
        let bounds = Bounds::parse(text);
        let (whole, less) = (disks(Bounds { whole: 1, ..bounds }), disks(bounds));
        println!("{text}: {} contents of disks", whole.len());
        assert!(whole == less, "{text}: {} contents, with less {}", whole.len(), less.len());
    }
}

/// That the check can fail: each of these is found, whether or not something is left out.
#[test]
fn mistakes_are_found() {
    let found = |mistake, text| {
        for whole in [1, 0] {
            let mistakes = Mistakes::one(mistake);
            let bounds = Bounds { mistakes, whole, ..Bounds::parse(text) };
            let checker = Shard { bounds, disks: None }.checker().threads(2);
            let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
            let path = checker.discovery("nothing is broken");
            let Some(path) = path else { panic!("{mistake:?} is not found, whole={whole}") };
            println!("{mistake:?}: {:?}", path.last_state().broken);
        }
    };
    found(Mistake::OnePromise, "epochs=2 writes=1 reads=1");
    found(Mistake::NoBarrier, "epochs=2 writes=1 reads=1");
    found(Mistake::UnsyncedPromise, "epochs=2 writes=1 crashes=1");
    found(Mistake::LeadAfterRestart, "epochs=2 crashes=1");
    found(Mistake::SwapBeforeJoint, "epochs=2 changes=1 prompt=1");
    found(Mistake::CommitByNew, "epochs=2 changes=1 prompt=1");
}
