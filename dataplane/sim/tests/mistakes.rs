//! Readings of the rules that are known to lose writes, or to hang, do so here, and a check says so.
//!
//! Some need faults at a chosen moment, see `Aim`. Each stands with a seed at which it is noticed: that changes with what is drawn from
//! a seed, and `make sim SEED=0 SEEDS=2000 MISTAKE=NoNonce` finds it anew.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shoal_consensus::{Mistake, Mistakes};
use shoal_sim::{Plan, run};

/// Seeds that a mistake may take to be noticed.
const SEEDS: u64 = 1_000;

/// Each with a seed that it is noticed near, so that the test does not take long.
const NOTICED: [(Mistake, u64); Mistake::ALL.len()] = [
    (Mistake::UnsyncedPromise, 28),
    (Mistake::RefuseSamePromise, 145),
    (Mistake::LeadAfterPromise, 5716),
    (Mistake::AppendKeepsPromise, 2406),
    (Mistake::AckAfterFence, 5),
    (Mistake::CutLongerMatch, 0),
    (Mistake::AckOwnLast, 63),
    (Mistake::LeadAfterRestart, 0),
    (Mistake::OnePromise, 0),
    (Mistake::NoBarrier, 2),
    (Mistake::SwapBeforeJoint, 245),
    (Mistake::CommitByNew, 295),
    (Mistake::UnknownIsFailed, 2770),
    (Mistake::UnknownIsDone, 1),
    (Mistake::IgnoreJoint, 91),
    (Mistake::NoNonce, 1079),
    (Mistake::PromiseByNew, 1490),
    (Mistake::PromiseByOld, 91),
    (Mistake::TrustRegister, 87),
];

/// What a seed shows: a check that failed, or an assertion of the state machine's own.
fn noticed(seed: u64, mistake: Mistake) -> Option<String> {
    let plan = Plan::of(seed, Mistakes::one(mistake));
    match catch_unwind(AssertUnwindSafe(|| run(plan))) {
        Ok(Ok(_)) => None,
        Ok(Err(broken)) => Some(broken.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("asserted: {}", text.unwrap_or("something")))
        }
    }
}

#[test]
fn each_mistake_is_noticed() {
    for mistake in Mistake::ALL {
        assert!(NOTICED.iter().any(|&(noticed, _)| noticed == mistake), "{mistake:?}");
    }
    for (mistake, first) in NOTICED {
        let found = (first..first + SEEDS).find_map(|seed| Some((seed, noticed(seed, mistake)?)));
        match found {
            Some((seed, how)) => println!("{mistake:?}: seed {seed}: {how}"),
            None => panic!("{mistake:?} was not noticed in {SEEDS} seeds from {first} on"),
        }
    }
}
