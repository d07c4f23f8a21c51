//! Sparse vectors: few values, each under the number of its dimension.
//!
//! Invariant: indices ascend and differ, and there are as many values, all of them finite. So a product of two is one walk
//! through both, and its terms are added in the order of the dimensions, wherever it is computed.

use serde::{Deserialize, Serialize};

/// A sparse vector. One that was decoded is to be checked by [`SparseVector::check`] before it is relied on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SparseVector {
    indices: Vec<u32>,
    values: Vec<f32>,
}

/// Why indices and values are no sparse vector.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidSparse {
    /// There are more of one than of the other.
    #[error("must be the same length as indices ({indices} != {values})")]
    Lengths {
        /// Number of indices.
        indices: usize,
        /// Number of values.
        values: usize,
    },
    /// An index is there twice.
    #[error("must be unique, {0} is there twice")]
    Twice(u32),
    /// A value is not finite.
    #[error("value {value} of index {index} is not a finite number")]
    NotFinite {
        /// Whose value it is.
        index: u32,
        /// The value.
        value: f32,
    },
    /// Indices do not ascend.
    #[error("indices are not in ascending order")]
    Order,
}

impl SparseVector {
    /// A vector of values by their indices, in any order.
    pub fn new(indices: Vec<u32>, values: Vec<f32>) -> Result<Self, InvalidSparse> {
        if indices.len() != values.len() {
            let (indices, values) = (indices.len(), values.len());
            return Err(InvalidSparse::Lengths { indices, values });
        }
        let mut pairs: Vec<(u32, f32)> = indices.into_iter().zip(values).collect();
        pairs.sort_unstable_by_key(|(index, _)| *index);
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(InvalidSparse::Twice(twice[0].0));
        }
        let (indices, values) = pairs.into_iter().unzip();
        let vector = Self { indices, values };
        vector.check().map(|()| vector)
    }

    /// Whether the invariant holds.
    pub fn check(&self) -> Result<(), InvalidSparse> {
        if self.indices.len() != self.values.len() {
            let (indices, values) = (self.indices.len(), self.values.len());
            return Err(InvalidSparse::Lengths { indices, values });
        }
        if !self.indices.is_sorted_by(|a, b| a < b) {
            return Err(InvalidSparse::Order);
        }
        match self.pairs().find(|(_, value)| !value.is_finite()) {
            Some((index, value)) => Err(InvalidSparse::NotFinite { index, value }),
            None => Ok(()),
        }
    }

    /// Indices, ascending.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Values, in the order of their indices.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Indices and values, ascending by index.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, f32)> {
        self.indices.iter().copied().zip(self.values.iter().copied())
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Bytes of its numbers.
    pub fn bytes(&self) -> usize {
        8 * self.len()
    }
}

/// The product of two vectors given as ascending pairs; `None` if they share no index. Finite, whatever overflows.
pub fn dot(
    a: impl IntoIterator<Item = (u32, f32)>,
    b: impl IntoIterator<Item = (u32, f32)>,
) -> Option<f32> {
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    let (mut sum, mut shared) = (0.0, false);
    while let (Some((i, x)), Some((j, y))) = (a.peek(), b.peek()) {
        match i.cmp(j) {
            std::cmp::Ordering::Less => drop(a.next()),
            std::cmp::Ordering::Greater => drop(b.next()),
            std::cmp::Ordering::Equal => {
                (sum, shared) = (sum + x * y, true);
                a.next();
                b.next();
            }
        }
    }
    shared.then(|| finite(sum))
}

/// A score that an order can hold: overflow can make infinities, and NaN of two of them; the latter is as bad as can be.
pub fn finite(score: f32) -> f32 {
    match score.is_nan() {
        true => -f32::MAX,
        false => score.clamp(-f32::MAX, f32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn indices_and_values_must_fit_together() {
        let vector = SparseVector::new(vec![7, 2, u32::MAX], vec![0.5, -1.0, 0.0]).unwrap();
        assert_eq!(
            (vector.indices(), vector.values()),
            (&[2, 7, u32::MAX][..], &[-1.0, 0.5, 0.0][..])
        );
        assert!(SparseVector::new(vec![], vec![]).unwrap().is_empty());
        let error = |indices: &[u32], values: &[f32]| {
            SparseVector::new(indices.to_vec(), values.to_vec()).unwrap_err().to_string()
        };
        assert!(error(&[1], &[]).contains("1 != 0"));
        assert!(error(&[1, 3, 1], &[1.0; 3]).contains("1 is there twice"));
        assert!(error(&[1, 3], &[1.0, f32::NAN]).contains("value NaN of index 3"));
        let turned = SparseVector { indices: vec![2, 1], values: vec![1.0; 2] };
        assert_eq!(turned.check(), Err(InvalidSparse::Order));
    }

    #[test]
    fn products_are_of_shared_dimensions_and_finite() {
        let product =
            |a: &[(u32, f32)], b: &[(u32, f32)]| dot(a.iter().copied(), b.iter().copied());
        assert_eq!(product(&[(1, 2.0), (5, 3.0)], &[(1, 0.5), (2, 9.0), (5, -1.0)]), Some(-2.0));
        assert_eq!(product(&[(1, 2.0)], &[(2, 2.0)]), None);
        assert_eq!(product(&[(1, 0.0)], &[(1, 2.0)]), Some(0.0), "a shared dimension of no weight");
        let huge = [(1, f32::MAX), (2, f32::MAX)];
        assert_eq!(product(&huge, &huge), Some(f32::MAX));
        assert_eq!(product(&huge, &[(1, f32::MAX), (2, -f32::MAX)]), Some(-f32::MAX));
    }

    proptest! {
        #[test]
        fn a_product_is_the_sum_over_a_dense_form(
            a in prop::collection::btree_map(0u32..20, -4i8..4, 0..12), b in prop::collection::btree_map(0u32..20, -4i8..4, 0..12)
        ) {
            let pairs = |map: &std::collections::BTreeMap<u32, i8>| map.iter().map(|(i, x)| (*i, f32::from(*x))).collect::<Vec<_>>();
            let expected: f32 = a.iter().filter_map(|(i, x)| Some(f32::from(*x) * f32::from(*b.get(i)?))).sum();
            let shares = a.keys().any(|i| b.contains_key(i));
            prop_assert_eq!(dot(pairs(&a), pairs(&b)), shares.then_some(expected));
        }
    }
}
