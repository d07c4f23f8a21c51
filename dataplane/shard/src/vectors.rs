//! The vectors of one point, by number: a collection's vectors have names, and a number each, their position in its
//! list, which never changes.
//!
//! Most collections have one vector, so the first stands here itself and costs no second allocation.

use std::sync::Arc;

use shoal_vector::codes::Rotation;
use shoal_vector::{
    Datatype, Metric, Quantization, SparseVector, SparseVectorConfig, VectorConfig,
};

/// A vector as it is stored, see [`Shape::stored`].
pub(crate) type Dense = Arc<[f32]>;

/// What all vectors of one number have in common.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) metric: Metric,
    datatype: Datatype,
    /// By what graphs that are made from now on are walked.
    pub(crate) quantization: Quantization,
    pub(crate) rotation: Rotation,
    /// Nodes of a graph in memory. Greater than the number of entries at which a mutable segment freezes, because a
    /// point that is written again takes another node.
    pub(crate) capacity: usize,
}

impl Shape {
    pub(crate) fn new(config: &VectorConfig, quantization: Quantization, capacity: usize) -> Self {
        Self {
            name: config.name.clone(),
            metric: config.distance,
            datatype: config.datatype,
            quantization,
            rotation: Rotation::new(config.size),
            capacity,
        }
    }

    /// What is stored of a vector: preprocessed by the metric, then rounded to the datatype. Here and nowhere else, so that it
    /// is the same in memory, in segments and when the log is replayed.
    pub(crate) fn stored(&self, vector: Vec<f32>) -> Dense {
        self.datatype.rounded(self.metric.preprocess(vector)).into()
    }
}

/// The number of a vector's name.
pub(crate) fn number_of(configs: &[VectorConfig], name: &str) -> Option<usize> {
    configs.iter().position(|config| config.name == name)
}

/// The number of a sparse vector's name: they are numbered for themselves.
pub(crate) fn sparse_number_of(configs: &[SparseVectorConfig], name: &str) -> Option<usize> {
    configs.iter().position(|config| config.name == name)
}

/// See the file's comment. A point may lack any of them, also all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vectors {
    first: Option<Dense>,
    /// From number 1 on; shorter where the point lacks the last ones.
    others: Box<[Option<Dense>]>,
    /// Sparse vectors by their number; shorter where the point lacks the last ones.
    sparse: Box<[Option<Arc<SparseVector>>]>,
}

impl Vectors {
    /// The vector of a number, if the point has it.
    pub(crate) fn get(&self, number: usize) -> Option<&Dense> {
        match number {
            0 => self.first.as_ref(),
            _ => self.others.get(number - 1)?.as_ref(),
        }
    }

    /// Those the point has, ascending by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Dense)> {
        let others = self.others.iter().zip(1..);
        let others = others.filter_map(|(vector, number)| Some((number, vector.as_ref()?)));
        self.first.as_ref().map(|vector| (0, vector)).into_iter().chain(others)
    }

    /// The sparse vector of a number, if the point has it.
    pub(crate) fn sparse(&self, number: usize) -> Option<&Arc<SparseVector>> {
        self.sparse.get(number)?.as_ref()
    }

    /// Sparse vectors that the point has, ascending by number.
    pub(crate) fn iter_sparse(&self) -> impl Iterator<Item = (usize, &Arc<SparseVector>)> {
        let numbered = self.sparse.iter().enumerate();
        numbered.filter_map(|(number, vector)| Some((number, vector.as_ref()?)))
    }

    /// The same, with sparse vectors in place of those of their numbers.
    pub(crate) fn with_sparse(
        self,
        sparse: impl IntoIterator<Item = (usize, Arc<SparseVector>)>,
    ) -> Self {
        let mut all = self.sparse.into_vec();
        for (number, vector) in sparse {
            if all.len() <= number {
                all.resize(number + 1, None);
            }
            all[number] = Some(vector);
        }
        Self { sparse: all.into(), ..self }
    }

    /// The same, with those that `others` has in place of those of the same numbers.
    pub(crate) fn with(&self, others: &Self) -> Self {
        let dense = self.iter().chain(others.iter());
        let dense: Self = dense.map(|(number, vector)| (number, vector.clone())).collect();
        let sparse = self.iter_sparse().chain(others.iter_sparse());
        dense.with_sparse(sparse.map(|(number, vector)| (number, vector.clone())))
    }

    /// The same, without those of some numbers.
    pub(crate) fn without(&self, dense: &[usize], sparse: &[usize]) -> Self {
        let kept = self.iter().filter(|(number, _)| !dense.contains(number));
        let kept: Self = kept.map(|(number, vector)| (number, vector.clone())).collect();
        let sparse = self.iter_sparse().filter(|(number, _)| !sparse.contains(number));
        kept.with_sparse(sparse.map(|(number, vector)| (number, vector.clone())))
    }

    /// Bytes of the numbers in them.
    pub(crate) fn bytes(&self) -> usize {
        let dense: usize = self.iter().map(|(_, vector)| size_of_val(&**vector)).sum();
        dense + self.iter_sparse().map(|(_, vector)| vector.bytes()).sum::<usize>()
    }
}

/// Of numbers and their vectors; of a number that is there twice the last counts.
impl FromIterator<(usize, Dense)> for Vectors {
    fn from_iter<I: IntoIterator<Item = (usize, Dense)>>(vectors: I) -> Self {
        let (mut first, mut others) = (None, Vec::new());
        for (number, vector) in vectors {
            match number {
                0 => first = Some(vector),
                _ => {
                    if others.len() < number {
                        others.resize(number, None);
                    }
                    others[number - 1] = Some(vector);
                }
            }
        }
        Self { first, others: others.into(), sparse: Box::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_found_by_number_and_any_may_be_missing() {
        let dense = |x: f32| Dense::from(vec![x]);
        let some: Vectors = [(2, dense(2.0)), (0, dense(0.0))].into_iter().collect();
        assert_eq!(some.get(0), Some(&dense(0.0)));
        assert_eq!((some.get(1), some.get(3)), (None, None));
        let numbers: Vec<usize> = some.iter().map(|(number, _)| number).collect();
        assert_eq!((numbers, some.bytes()), (vec![0, 2], 8));
        let others: Vectors = [(1, dense(4.0)), (2, dense(5.0))].into_iter().collect();
        let changed = some.with(&others);
        assert_eq!((changed.get(0), changed.get(1)), (Some(&dense(0.0)), Some(&dense(4.0))));
        assert_eq!(
            (changed.without(&[1, 0], &[]).iter().count(), changed.get(2)),
            (1, Some(&dense(5.0)))
        );
        let one: Vectors = [(0, dense(1.0)), (0, dense(3.0))].into_iter().collect();
        assert_eq!((one.get(0), one.others.len()), (Some(&dense(3.0)), 0));
        assert_eq!(Vectors::default().iter().count(), 0);
    }

    #[test]
    fn sparse_vectors_have_numbers_of_their_own() {
        let sparse = |index| Arc::new(SparseVector::new(vec![index], vec![1.0]).unwrap());
        let one = Vectors::default().with_sparse([(1, sparse(7))]);
        assert_eq!((one.sparse(0), one.sparse(1), one.get(1)), (None, Some(&sparse(7)), None));
        let two = one.with(&Vectors::default().with_sparse([(0, sparse(8)), (1, sparse(9))]));
        let numbers: Vec<usize> = two.iter_sparse().map(|(number, _)| number).collect();
        assert_eq!((numbers, two.bytes(), two.sparse(1)), (vec![0, 1], 16, Some(&sparse(9))));
        assert_eq!(two.without(&[0], &[1]).iter_sparse().count(), 1);
    }
}
