//! The vectors of one point, by number: a collection's vectors have names, and a number each, their position in its
//! list, which never changes.
//!
//! Most collections have one vector, so the first stands here itself and costs no second allocation.

use std::sync::Arc;

use shoal_vector::codes::Rotation;
use shoal_vector::{Metric, VectorConfig};

/// A vector, preprocessed by its metric.
pub(crate) type Dense = Arc<[f32]>;

/// What all vectors of one number have in common.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) metric: Metric,
    pub(crate) rotation: Rotation,
    /// Nodes of a graph in memory. Greater than the number of entries at which a mutable segment freezes, because a
    /// point that is written again takes another node.
    pub(crate) capacity: usize,
}

impl Shape {
    pub(crate) fn new(config: &VectorConfig, capacity: usize) -> Self {
        Self {
            name: config.name.clone(),
            metric: config.distance,
            rotation: Rotation::new(config.size),
            capacity,
        }
    }
}

/// The number of a vector's name.
pub(crate) fn number_of(configs: &[VectorConfig], name: &str) -> Option<usize> {
    configs.iter().position(|config| config.name == name)
}

/// See the file's comment. A point may lack any of them, also all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vectors {
    first: Option<Dense>,
    /// From number 1 on; shorter where the point lacks the last ones.
    others: Box<[Option<Dense>]>,
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

    /// Bytes of the numbers in them.
    pub(crate) fn bytes(&self) -> usize {
        self.iter().map(|(_, vector)| size_of_val(&**vector)).sum()
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
        Self { first, others: others.into() }
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
        let one: Vectors = [(0, dense(1.0)), (0, dense(3.0))].into_iter().collect();
        assert_eq!((one.get(0), one.others.len()), (Some(&dense(3.0)), 0));
        assert_eq!(Vectors::default().iter().count(), 0);
    }
}
