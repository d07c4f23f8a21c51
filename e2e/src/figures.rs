//! Figures that tests measure: percentiles, recall, and where they are written down.
//!
//! They are said, never asserted on (but recall, which does not depend on the machine): the suite prints them in one
//! block at its end.

use std::io::Write;
use std::time::Duration;

/// The value below which `percent` of the samples lie (nearest rank). `None` without samples.
pub fn percentile(samples: &[Duration], percent: f64) -> Option<Duration> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// How many of the `truth` ids were found, from 0 to 1; 1 where there was nothing to find.
pub fn recall(found: &[u64], truth: &[u64]) -> f64 {
    if truth.is_empty() {
        return 1.0;
    }
    truth.iter().filter(|id| found.contains(id)).count() as f64 / truth.len() as f64
}

/// The ids of the `k` rows most similar to `query` by dot product: the truth to compare with, computed plainly.
pub fn nearest<'a>(
    rows: impl IntoIterator<Item = (u64, &'a [f32])>,
    query: &[f32],
    k: usize,
) -> Vec<u64> {
    let mut scored: Vec<(f64, u64)> = rows
        .into_iter()
        .map(|(id, row)| {
            (row.iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum(), id)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.into_iter().take(k).map(|(_, id)| id).collect()
}

/// Writes one figure down: to standard error, and to the file `SHOAL_FIGURES` names, where the suite collects them.
pub fn note(line: &str) {
    eprintln!("figure: {line}");
    if let Some(path) = std::env::var_os("SHOAL_FIGURES") {
        let written = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| writeln!(file, "{line}"));
        if let Err(error) = written {
            eprintln!("cannot write to {}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_of_the_nearest_rank() {
        let samples: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&samples, 50.0), Some(Duration::from_millis(50)));
        assert_eq!(percentile(&samples, 99.0), Some(Duration::from_millis(99)));
        assert_eq!(percentile(&samples, 100.0), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&samples, 0.0), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn recall_counts_what_should_have_been_found() {
        assert_eq!(recall(&[1, 2, 3, 9], &[1, 2, 3, 4]), 0.75);
        assert_eq!(recall(&[], &[]), 1.0);
        assert_eq!(recall(&[], &[1]), 0.0);
    }

    #[test]
    fn the_nearest_come_first_and_ties_go_to_the_lower_id() {
        let rows = [(7, [1.0, 0.0]), (3, [0.0, 1.0]), (5, [1.0, 0.0])];
        let rows = rows.iter().map(|(id, v)| (*id, v.as_slice()));
        assert_eq!(nearest(rows, &[1.0, 0.1], 2), [5, 7]);
    }
}
