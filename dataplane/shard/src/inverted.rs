//! Sparse vectors in memory: sums of products by number, and the inverted index of the mutable segment.
//!
//! The index is persistent, as the map of entries is, so that a reader's copy is taken in constant time and never changes.
//! Invariant: a sum's terms are added in the order of dimensions, so that a score is the same, bit for bit, wherever the
//! point lies and however it was found.

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use shoal_vector::sparse::finite;
use shoal_vector::{PointId, SparseVector};

/// Sums by number, and which of them anything was added to.
pub(crate) struct Sums {
    sums: Vec<f32>,
    touched: Vec<u64>,
}

impl Sums {
    /// Of numbers below `len`.
    pub(crate) fn new(len: usize) -> Self {
        Self { sums: vec![0.0; len], touched: vec![0; len.div_ceil(64)] }
    }

    /// Adds to the sum of a number; nothing comes of one that is out of bounds.
    #[inline(always)]
    pub(crate) fn add(&mut self, number: u32, term: f32) {
        if let Some(sum) = self.sums.get_mut(number as usize) {
            *sum += term;
            self.touched[number as usize / 64] |= 1 << (number % 64);
        }
    }

    /// Numbers that anything was added to, and their scores.
    pub(crate) fn scores(&self) -> impl Iterator<Item = (u32, f32)> {
        self.touched.iter().zip(0u32..).flat_map(move |(word, at)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                let number = at * 64 + bit;
                Some((number, finite(self.sums[number as usize])))
            })
        })
    }
}

/// See the file's comment.
#[derive(Clone, Default)]
pub(crate) struct Inverted {
    postings: OrdMap<u32, Vector<(u32, f32)>>,
    members: Vector<(PointId, Arc<SparseVector>)>,
}

impl Inverted {
    /// Vectors so far, those that were replaced since too.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn insert(&mut self, id: PointId, vector: Arc<SparseVector>) {
        let number = self.members.len() as u32;
        for (index, value) in vector.pairs() {
            self.postings.entry(index).or_default().push_back((number, value));
        }
        self.members.push_back((id, vector));
    }

    /// Calls `visit` with each vector that shares a dimension with the query, and its score.
    pub(crate) fn search<'a>(
        &'a self,
        query: &SparseVector,
        mut visit: impl FnMut(PointId, &'a Arc<SparseVector>, f32),
    ) {
        let mut sums = Sums::new(self.members.len());
        for (index, weight) in query.pairs() {
            for (number, value) in self.postings.get(&index).into_iter().flatten() {
                sums.add(*number, weight * value);
            }
        }
        for (number, score) in sums.scores() {
            if let Some((id, vector)) = self.members.get(number as usize) {
                visit(*id, vector, score);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_vector::sparse::dot;

    use super::*;

    #[test]
    fn what_shares_a_dimension_is_found_with_its_product() {
        let vector = |indices: &[u32]| {
            let values = indices.iter().map(|index| 0.1 * *index as f32).collect();
            Arc::new(SparseVector::new(indices.to_vec(), values).unwrap())
        };
        let mut index = Inverted::default();
        let all: Vec<_> = (0..200u32).map(|n| vector(&[n % 7, 10 + n % 3, 1000 + n])).collect();
        for (vector, id) in all.iter().zip(0..) {
            index.insert(PointId::Num(id), vector.clone());
        }
        let query = vector(&[3, 11, 1005, 9999]);
        let mut found = Vec::new();
        index.search(&query, |id, vector, score| found.push((id, vector.clone(), score)));
        let expected = all.iter().zip(0..).filter_map(|(vector, id)| {
            Some((PointId::Num(id), vector.clone(), dot(query.pairs(), vector.pairs())?))
        });
        assert_eq!(found, expected.collect::<Vec<_>>());
        assert_eq!(index.len(), 200);
    }

    #[test]
    fn numbers_out_of_bounds_are_passed_over() {
        let mut sums = Sums::new(65);
        for number in [64, 65, 1000, u32::MAX, 0, 64] {
            sums.add(number, 1.0);
        }
        assert_eq!(sums.scores().collect::<Vec<_>>(), [(0, 1.0), (64, 2.0)]);
    }
}
