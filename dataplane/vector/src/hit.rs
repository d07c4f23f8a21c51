//! Results of a search and their one total order.
//!
//! Invariant: the order depends on (score, id) alone, never on the order of calls, so merging per-shard results gives
//! what one big shard would have given.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::{Metric, PointId};

/// A point found, with its score as clients see it: a similarity for Cosine and Dot, a distance for the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The point.
    pub id: PointId,
    /// Its score under the collection's metric.
    pub score: f32,
    /// The seq of the write it was seen in; of two hits with one id the greater is the newer.
    pub seq: u64,
}

impl Hit {
    /// Best first: by score in the metric's direction, then by id.
    pub fn order(&self, other: &Self, metric: Metric) -> Ordering {
        let by_score = match metric.larger_is_nearer() {
            true => other.score.total_cmp(&self.score),
            false => self.score.total_cmp(&other.score),
        };
        by_score.then_with(|| self.id.cmp(&other.id))
    }
}

/// Keeps the best `k` of the hits it is shown, with something carried along with each. Holds at most `k` at a time, and
/// takes memory only for what it was shown, so that a huge `k` costs nothing by itself.
#[derive(Debug)]
pub struct TopK<T> {
    k: usize,
    metric: Metric,
    heap: BinaryHeap<Kept<T>>,
}

impl<T> TopK<T> {
    /// An empty collector.
    pub fn new(k: usize, metric: Metric) -> Self {
        Self { k, metric, heap: BinaryHeap::new() }
    }

    /// Whether a hit of this score could still be kept: false means that showing it is a waste.
    pub fn may_keep(&self, score: f32) -> bool {
        match self.heap.peek() {
            Some(worst) if self.heap.len() >= self.k => match self.metric.larger_is_nearer() {
                true => score >= worst.hit.score,
                false => score <= worst.hit.score,
            },
            _ => self.k > 0,
        }
    }

    /// Shows it a hit. Ids must differ from one call to the next.
    pub fn push(&mut self, hit: Hit, carried: T) {
        let kept = Kept { hit, metric: self.metric, carried };
        if self.heap.len() < self.k {
            self.heap.push(kept);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && kept < *worst
        {
            *worst = kept;
        }
    }

    /// What was kept, best first.
    pub fn into_sorted(self) -> Vec<(Hit, T)> {
        self.heap.into_sorted_vec().into_iter().map(|kept| (kept.hit, kept.carried)).collect()
    }
}

/// Greater is worse, so that the heap's top is the one to give up.
#[derive(Debug)]
struct Kept<T> {
    hit: Hit,
    metric: Metric,
    carried: T,
}

impl<T> Ord for Kept<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hit.order(&other.hit, self.metric)
    }
}

impl<T> PartialOrd for Kept<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Kept<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Kept<T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn top_k_is_sorting_and_cutting_in_any_order_of_calls(
            scores in prop::collection::vec(-3i8..3, 0..60), k in 0usize..70, larger in any::<bool>()
        ) {
            let metric = if larger { Metric::Dot } else { Metric::Euclid };
            let hit = |(i, s): (usize, &i8)| Hit { id: PointId::Num(i as u64), score: f32::from(*s), seq: 1 };
            let mut all: Vec<Hit> = scores.iter().enumerate().map(hit).collect();
            let mut forward = TopK::new(k, metric);
            let mut backward = TopK::new(k, metric);
            for hit in &all {
                if forward.may_keep(hit.score) {
                    forward.push(*hit, ());
                }
            }
            for hit in all.iter().rev() {
                backward.push(*hit, ());
            }
            all.sort_by(|a, b| a.order(b, metric));
            all.truncate(k);
            let plain = |top: TopK<()>| top.into_sorted().into_iter().map(|(hit, ())| hit).collect::<Vec<_>>();
            prop_assert_eq!(plain(forward), all.clone());
            prop_assert_eq!(plain(backward), all);
        }
    }

    #[test]
    fn a_huge_k_takes_no_memory_by_itself() {
        let mut top = TopK::new(usize::MAX, Metric::Dot);
        top.push(Hit { id: PointId::Num(1), score: 0.5, seq: 1 }, ());
        assert_eq!(top.into_sorted().len(), 1);
    }
}
