//! Whether reads that should be short are: where points have to come from the disk, they wait for it.
//!
//! A thread that drives the network must not. So long reads are counted against short ones, and where too many are long,
//! all go to the pool for a while. Then a few are tried again.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// A read that takes longer was kept waiting. Twice what it may be expected to take: a processor shared with others makes
/// one of some hundred this long.
const LONG: Duration = Duration::from_millis(1);
/// What a long read counts; a short one makes up for 1. So one of nine may be long.
const WEIGHT: i32 = 8;
/// From here on reads go to the pool.
const TOO_LONG: i32 = 64;
/// So many go there before some are tried again.
const ELSEWHERE: i32 = 1024;

/// See the file's comment. Counts of several threads may get lost to each other, which only shifts when it turns.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How much long reads outweigh short ones; below zero, how many reads are still to go to the pool.
    debt: AtomicI32,
}

impl Pace {
    /// Whether a read that should be short may run in place.
    pub(super) fn allows(&self) -> bool {
        let debt = self.debt.load(Ordering::Relaxed);
        if debt < 0 {
            // The last of them leaves it so that one more long read is too many.
            let next = if debt == -1 { TOO_LONG - WEIGHT } else { debt + 1 };
            self.debt.store(next, Ordering::Relaxed);
        }
        debt >= 0
    }

    /// How long such a read took.
    pub(super) fn took(&self, time: Duration) {
        let debt = self.debt.load(Ordering::Relaxed);
        let next = match time > LONG {
            true if debt + WEIGHT >= TOO_LONG => -ELSEWHERE,
            true => debt + WEIGHT,
            false => debt - 1,
        };
        // A write is not needed most of the time, and would be felt by the other threads.
        if debt > 0 || (debt == 0 && next > 0) {
            self.debt.store(next, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(50);

    fn long() -> Duration {
        LONG + SHORT
    }

    #[test]
    fn a_long_read_now_and_then_changes_nothing() {
        let pace = Pace::default();
        for _ in 0..100 {
            assert!(pace.allows());
            pace.took(long());
            for _ in 0..WEIGHT {
                assert!(pace.allows());
                pace.took(SHORT);
            }
        }
    }

    #[test]
    fn where_many_are_long_all_go_elsewhere_for_a_while_and_then_one_tells() {
        let pace = Pace::default();
        for _ in 0..TOO_LONG / WEIGHT {
            assert!(pace.allows());
            pace.took(long());
        }
        for _ in 0..2 {
            assert_eq!((0..ELSEWHERE).filter(|_| pace.allows()).count(), 0);
            assert!(pace.allows());
            pace.took(long());
        }
        assert_eq!((0..ELSEWHERE).filter(|_| pace.allows()).count(), 0);
        for _ in 0..TOO_LONG {
            assert!(pace.allows());
            pace.took(SHORT);
        }
        pace.took(long());
        assert!(pace.allows());
    }
}
