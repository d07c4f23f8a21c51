//! When to try again what failed: soon at first, then ever more rarely, never all at once.
//!
//! Invariant: the wait is between [`FIRST`] and [`LONGEST`] plus a quarter, and starts over after a success.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Wait after the first failure.
const FIRST: Duration = Duration::from_millis(250);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// Objects remembered at most; past it the counts start over, which costs a few early retries.
const MAX_REMEMBERED: usize = 10_000;

/// Counts failures by object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// Counts a failure; how long to wait now. `jitter` is from 0 to 1.
    pub fn failed(&self, key: &str, jitter: f64) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_REMEMBERED {
            failures.clear();
        }
        let count = failures.entry(key.to_owned()).or_default();
        let wait = wait(*count, jitter);
        *count = count.saturating_add(1);
        wait
    }

    /// Forgets an object's failures.
    pub fn succeeded(&self, key: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

fn wait(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST);
    doubled.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_start_over_after_a_success() {
        let backoff = Backoff::default();
        let waits: Vec<u128> = (0..10).map(|_| backoff.failed("a", 0.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.failed("b", 0.0), FIRST);
        backoff.succeeded("a");
        assert_eq!(backoff.failed("a", 0.0), FIRST);
    }

    proptest! {
        #[test]
        fn a_wait_is_always_within_bounds(failures: u32, jitter: f64) {
            let wait = wait(failures, if jitter.is_nan() { 0.0 } else { jitter });
            prop_assert!(wait >= FIRST && wait <= LONGEST.mul_f64(1.25));
        }
    }
}
