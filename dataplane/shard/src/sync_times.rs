//! How long the log's syncs took: the figure that tells a slow disk from a slow shard.
//!
//! Counted by the writer, read by whoever shows metrics, without either waiting for the other. The counters are each
//! exact and read one after another, so a reading taken during a sync may lag by that one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in microseconds: a good SSD syncs in under a millisecond, a network disk in ten, a dying one in seconds.
const BOUNDS: [u64; 10] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000];

/// Syncs since the shard was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncTimes {
    /// How many there were.
    pub count: u64,
    /// How long they took together.
    pub total: Duration,
    /// How many took at most so long, and longer than the bound before; bounds ascend.
    pub at_most: Vec<(Duration, u64)>,
}

/// Counts syncs.
#[derive(Debug, Default)]
pub(crate) struct SyncClock {
    count: AtomicU64,
    total_micros: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len()],
}

impl SyncClock {
    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // A sync longer than the last bound is only in the count.
        if let Some((_, bucket)) =
            BOUNDS.iter().zip(&self.buckets).find(|(bound, _)| micros <= **bound)
        {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.total_micros.fetch_add(micros, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> SyncTimes {
        let bucket = |(bound, count): (&u64, &AtomicU64)| {
            (Duration::from_micros(*bound), count.load(Ordering::Relaxed))
        };
        // Buckets first: their sum then never exceeds the count, which is raised last.
        SyncTimes {
            at_most: BOUNDS.iter().zip(&self.buckets).map(bucket).collect(),
            count: self.count.load(Ordering::Relaxed),
            total: Duration::from_micros(self.total_micros.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sync_is_counted_once_under_the_first_bound_it_fits() {
        let clock = SyncClock::default();
        for micros in [1, 250, 251, 9_999_999] {
            clock.record(Duration::from_micros(micros));
        }
        let times = clock.read();
        assert_eq!((times.count, times.total), (4, Duration::from_micros(10_000_501)));
        let counts: Vec<u64> = times.at_most.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(times.at_most.is_sorted());
    }
}
