//! For how long a replica did not show in time what was acknowledged. Pure.
//!
//! It is counted from what the replica knows by itself: when it last showed all that it knew to be committed and had just heard
//! from whoever leads. That is at most a sign of life of the primary too much, and never too little.

use std::time::{Duration, Instant};

/// Sums up lateness.
#[derive(Debug)]
pub(super) struct Lateness {
    allowed: Duration,
    looked: Instant,
    total: Duration,
}

impl Lateness {
    /// What is shown within `allowed` is in time.
    pub(super) fn new(allowed: Duration, now: Instant) -> Self {
        Self { allowed, looked: now, total: Duration::ZERO }
    }

    /// Takes in that the replica last showed all at `fresh`.
    pub(super) fn look(&mut self, now: Instant, fresh: Instant) {
        // Of the time since the last look, what lies behind the moment from which on it was late.
        let late_since = (fresh + self.allowed).max(self.looked);
        self.total += now.saturating_duration_since(late_since);
        self.looked = self.looked.max(now);
    }

    /// For how long it was late.
    pub(super) fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_beyond_what_is_allowed_counts_and_none_of_it_twice() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lateness = Lateness::new(Duration::from_millis(500), start);
        let mut late_after = |now, fresh| {
            lateness.look(at(now), at(fresh));
            lateness.total().as_millis()
        };
        assert_eq!(late_after(100, 100), 0);
        assert_eq!(late_after(600, 100), 0, "in time to the last");
        assert_eq!(late_after(700, 100), 100);
        assert_eq!(late_after(900, 100), 300);
        assert_eq!(late_after(1_000, 1_000), 300, "all is shown");
        assert_eq!(late_after(3_000, 1_000), 1_800, "looked at rarely");
        assert_eq!(late_after(3_000, 1_000), 1_800);
    }
}
