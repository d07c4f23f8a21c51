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
    (Mistake::UnsyncedPromise, 19),
    (Mistake::RefuseSamePromise, 145),
    (Mistake::LeadAfterPromise, 4400),
    (Mistake::AppendKeepsPromise, 1031),
    (Mistake::AckAfterFence, 5),
    (Mistake::CutLongerMatch, 0),
    (Mistake::AckOwnLast, 54),
    (Mistake::LeadAfterRestart, 0),
    (Mistake::OnePromise, 0),
    (Mistake::NoBarrier, 1),
    (Mistake::SwapBeforeJoint, 49),
    (Mistake::CommitByNew, 217),
    (Mistake::UnknownIsFailed, 1182),
    (Mistake::UnknownIsDone, 1),
    (Mistake::IgnoreJoint, 49),
    (Mistake::NoNonce, 754),
    (Mistake::PromiseByNew, 857),
    (Mistake::PromiseByOld, 84),
    (Mistake::TrustRegister, 1),
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
