//! What a search has met so far, over all the graphs that it walks one after the other.
//!
//! Points of a shard lie in several graphs. A beam of its own in each would follow as many nodes in every one of them as
//! one graph of all would need in all; so the beams are taken together as one: the distances of the nearest that any walk
//! met are kept, and a walk ends where nothing is left that is nearer than the last of these. Distances are by codes, so as
//! exact as the beams are, put on one scale.

use shoal_vector::Metric;
use shoal_vector::codes::{Coder, QueryCode};

use super::beam::{ordered, unordered};

/// Distances of the nearest nodes met, at most as many as a beam holds.
pub(crate) struct Met {
    most: usize,
    ascending: Vec<f32>,
    /// Room to merge in.
    merged: Vec<f32>,
}

impl Met {
    /// Nothing met yet, by walks with beams of `ef`.
    pub(crate) fn new(ef: usize) -> Self {
        Self { most: ef.max(1), ascending: Vec::new(), merged: Vec::new() }
    }

    /// What is farther than this is of no use any more.
    pub(super) fn bound(&self) -> f32 {
        match self.ascending.len() == self.most {
            true => self.ascending.last().copied().unwrap_or(f32::INFINITY),
            false => f32::INFINITY,
        }
    }

    /// Adds what another walk met, ascending.
    pub(super) fn add(&mut self, distances: impl Iterator<Item = f32>) {
        self.merged.clear();
        let (mut old, mut new) = (self.ascending.iter().copied().peekable(), distances.peekable());
        while self.merged.len() < self.most {
            let nearest = match (old.peek(), new.peek()) {
                (Some(a), Some(b)) if a > b => new.next(),
                (Some(_), _) => old.next(),
                (None, _) => new.next(),
            };
            let Some(nearest) = nearest else { break };
            self.merged.push(nearest);
        }
        std::mem::swap(&mut self.ascending, &mut self.merged);
    }
}

/// From a walk's integers to distances of the metric and back. Both ascend together.
#[derive(Clone, Copy)]
pub(super) enum Scale {
    /// Integers are distances as they are ordered.
    Exact,
    /// Integers are `middle` more than distances, in units of `unit`; then `added`.
    Plain { middle: f32, unit: f32, added: f32 },
    /// Integers are, as they are ordered, distances in units of `unit`; then `added`.
    Own { unit: f32, added: f32 },
}

impl Scale {
    /// Of codes, which all have one step or, if `own`, one each, for a query's code and the query itself as it was rotated.
    /// See [`Coded`](super::scorer::Coded) for the formulas.
    pub(super) fn of_codes(
        (coder, own): (&Coder, bool),
        code: &QueryCode,
        rotated: &[f32],
        metric: Metric,
    ) -> Self {
        let unit = 1.0 / code.scale();
        let (unit, added) = match metric {
            // Half of the squared distance from the centred query, but for the query's own length.
            Metric::Euclid => (2.0 * unit, Metric::Euclid.distance(rotated, coder.mean())),
            // The negative inner product with what is left of a vector without the mean.
            Metric::Cosine | Metric::Dot | Metric::Manhattan => {
                (unit, Metric::Dot.distance(rotated, coder.mean()))
            }
        };
        match own {
            true => Scale::Own { unit, added },
            false => {
                let middle = coder.bits().middle() * code.sum() as f32;
                Scale::Plain { middle, unit: unit * coder.step(), added }
            }
        }
    }

    /// The metric's distance.
    pub(super) fn distance(self, key: i32) -> f32 {
        match self {
            Scale::Exact => unordered(key),
            Scale::Plain { middle, unit, added } => (key as f32 - middle) * unit + added,
            Scale::Own { unit, added } => unordered(key) * unit + added,
        }
    }

    /// The walk's integer for a distance of the metric, or the greatest.
    pub(super) fn key(self, distance: f32) -> i32 {
        let key = match self {
            Scale::Exact => return ordered(distance),
            // Saturates.
            Scale::Plain { middle, unit, added } => {
                ((distance - added) / unit + middle).ceil() as i32
            }
            Scale::Own { unit, added } => ordered((distance - added) / unit),
        };
        if distance.is_finite() { key } else { i32::MAX }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_nearest_of_all_are_kept(
            mut walks in prop::collection::vec(prop::collection::vec(-1.0f32..1.0, 0..20), 0..6),
            ef in 1usize..30,
        ) {
            let mut met = Met::new(ef);
            for walk in &mut walks {
                walk.sort_by(f32::total_cmp);
                met.add(walk.iter().copied());
            }
            let mut all = walks.concat();
            all.sort_by(f32::total_cmp);
            all.truncate(ef);
            let bound = if all.len() == ef { all[ef - 1] } else { f32::INFINITY };
            prop_assert_eq!(&met.ascending, &all);
            prop_assert_eq!(met.bound(), bound);
        }

        #[test]
        fn keys_and_distances_are_each_others_inverse(key in -1_000_000i32..1_000_000, unit in 1e-4f32..10.0, added in -3.0f32..3.0) {
            let plain = Scale::Plain { middle: -123.5, unit, added };
            prop_assert!((plain.key(plain.distance(key)) - key).abs() <= 1 + (added / unit).abs() as i32 / 1000 + key.abs() / 1000);
            prop_assert_eq!(plain.key(f32::INFINITY), i32::MAX);
            let own = Scale::Own { unit, added: 0.0 };
            prop_assert!((own.distance(own.key(unit * key as f32)) - unit * key as f32).abs() <= unit * (key.abs() as f32) * 1e-5);
        }
    }
}
