//! What shards say about themselves: asked at most once a minute, rounded to two digits.
//!
//! Rounding keeps a collection under load from being written more often than a person looks; the exact figures are
//! metrics of the shards.
//!
//! Invariant: an unchanged sample triggers nothing, so an idle collection costs no writes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A shard's size, rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Points.
    pub points: i64,
    /// Bytes on disk.
    pub disk_bytes: i64,
}

impl Sample {
    /// A sample of what a shard said.
    pub fn of(points: u64, disk_bytes: u64) -> Self {
        let rounded = |value: u64| round(i64::try_from(value).unwrap_or(i64::MAX));
        Self { points: rounded(points), disk_bytes: rounded(disk_bytes) }
    }
}

/// Rounds to two digits: 5,234 to 5,200.
pub fn round(value: i64) -> i64 {
    let mut unit = 1_i64;
    while value / unit >= 100 {
        unit *= 10;
    }
    let down = value / unit * unit;
    let rest = value - down;
    if rest >= unit - rest { down.saturating_add(unit) } else { down }
}

/// Which shard of which namespace.
pub type Key = (String, String);

/// The last sample of each shard.
#[derive(Debug, Default)]
pub struct Samples {
    last: Mutex<HashMap<Key, Sample>>,
}

impl Samples {
    /// What a shard last said.
    pub fn get(&self, namespace: &str, shard: &str) -> Option<Sample> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&(namespace.to_owned(), shard.to_owned())).copied()
    }

    /// Notes what a shard says; whether that is news.
    pub fn set(&self, key: Key, sample: Sample) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(key, sample) != Some(sample)
    }

    /// Forgets shards that no longer exist.
    pub fn keep(&self, exists: impl Fn(&Key) -> bool) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| exists(key));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_rounded_to_two_digits() {
        let rounded: Vec<i64> =
            [0, 7, 99, 100, 104, 105, 5_234, 9_949, 9_950, 123_456].map(round).into();
        assert_eq!(rounded, [0, 7, 99, 100, 100, 110, 5_200, 9_900, 10_000, 120_000]);
    }

    #[test]
    fn only_a_changed_sample_is_news() {
        let samples = Samples::default();
        let key = || ("ns".to_owned(), "c-0".to_owned());
        assert!(samples.set(key(), Sample::of(5_201, 0)));
        assert!(!samples.set(key(), Sample::of(5_249, 0)));
        assert!(samples.set(key(), Sample::of(5_251, 0)));
        samples.keep(|_| false);
        assert_eq!(samples.get("ns", "c-0"), None);
    }

    proptest! {
        #[test]
        fn rounding_stays_within_five_percent_and_is_a_fixed_point(value in 0..i64::MAX) {
            let rounded = round(value);
            prop_assert!(rounded.abs_diff(value) as f64 <= value as f64 * 0.0501);
            prop_assert!(rounded == i64::MAX || round(rounded) == rounded);
        }
    }
}
