//! Readings of the rules that are known to lose writes, or to hang, do so here, and a check says so.
//!
//! Six are not brought about here in thousands of seeds. `UnsyncedPromise` needs an old primary that goes on for longer than an election
//! takes; `CommitByNew`, `PromiseByNew` and `PromiseByOld` need a partition in the middle of a change of members; `NoNonce` needs two
//! claims of one number; and with `RefuseSamePromise` nothing hangs, since another replica claims another epoch.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shoal_consensus::{Mistake, Mistakes};
use shoal_sim::{Plan, run};

/// Seeds that a mistake may take to be noticed.
const SEEDS: u64 = 2_000;

/// Each with a seed that it is noticed near, so that the test does not take long.
const NOTICED: [(Mistake, u64); 13] = [
    (Mistake::LeadAfterPromise, 194),
    (Mistake::AppendKeepsPromise, 230),
    (Mistake::AckAfterFence, 16),
    (Mistake::CutLongerMatch, 0),
    (Mistake::AckOwnLast, 27),
    (Mistake::LeadAfterRestart, 1),
    (Mistake::OnePromise, 9),
    (Mistake::NoBarrier, 1),
    (Mistake::SwapBeforeJoint, 54),
    (Mistake::UnknownIsFailed, 2410),
    (Mistake::UnknownIsDone, 0),
    (Mistake::IgnoreJoint, 875),
    (Mistake::TrustRegister, 5),
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
    for (mistake, first) in NOTICED {
        let found = (first..first + SEEDS).find_map(|seed| Some((seed, noticed(seed, mistake)?)));
        match found {
            Some((seed, how)) => println!("{mistake:?}: seed {seed}: {how}"),
            None => panic!("{mistake:?} was not noticed in {SEEDS} seeds from {first} on"),
        }
    }
}
