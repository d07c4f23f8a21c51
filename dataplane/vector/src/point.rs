//! A point and the shape of its vectors.

use serde::{Deserialize, Serialize};

use crate::{Datatype, Metric, PointId, SparseVector};

/// Size, metric and datatype of one of a collection's vectors. None of them ever changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorConfig {
    /// The vector's name; "" is the default vector.
    #[serde(default)]
    pub name: String,
    /// Number of dimensions, 1 to [`MAX_DIMENSIONS`](crate::MAX_DIMENSIONS).
    pub size: usize,
    /// How two vectors are compared.
    pub distance: Metric,
    /// What its numbers are stored as.
    #[serde(default)]
    pub datatype: Datatype,
}

impl VectorConfig {
    /// A vector that is stored as it comes.
    pub fn new(name: impl Into<String>, size: usize, distance: Metric) -> Self {
        Self { name: name.into(), size, distance, datatype: Datatype::default() }
    }
}

/// One of a collection's sparse vectors. They are compared by their product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SparseVectorConfig {
    /// The vector's name; no vector of the collection has the same.
    pub name: String,
}

/// A point as it is written: an id, vectors by name, and a payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The id; a later write with the same id replaces the point.
    pub id: PointId,
    /// Vectors by name; the default vector's name is "".
    pub vectors: Vec<(String, Vec<f32>)>,
    /// The payload as JSON text of one object; empty for no payload. Bytes, because a write path has no need to look inside.
    pub payload: Vec<u8>,
}

/// A point with sparse vectors too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointWithSparse {
    /// The point, with its other vectors.
    pub point: Point,
    /// Sparse vectors by name.
    pub sparse: Vec<(String, SparseVector)>,
}

/// Vectors that a point is given beside those it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointVectors {
    /// The point; where it does not exist, none is made.
    pub id: PointId,
    /// Vectors by name.
    pub vectors: Vec<(String, Vec<f32>)>,
    /// Sparse vectors by name.
    pub sparse: Vec<(String, SparseVector)>,
}

impl Point {
    /// The vector of this name, if the point has it.
    pub fn vector(&self, name: &str) -> Option<&[f32]> {
        self.vectors.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice())
    }
}
