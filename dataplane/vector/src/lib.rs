//! The pure part of Shoal: points, ops, metrics, filters, and the order of results. No IO, no clock, no threads.
//!
//! Everything here is a function of its arguments, so replicas, routers and the laptop server agree by construction.

pub mod codes;
pub mod datatype;
pub mod filter;
pub mod hit;
pub mod id;
pub mod metric;
pub mod op;
pub mod payload;
pub mod point;
pub mod quantization;
pub mod simd;
pub mod slot;
pub mod sparse;
pub mod text;

pub use datatype::{Datatype, Elements};
pub use filter::{Filter, FilterError};
pub use hit::{Hit, TopK};
pub use id::PointId;
pub use metric::Metric;
pub use op::Op;
pub use payload::Payload;
pub use point::{Point, PointVectors, PointWithSparse, SparseVectorConfig, VectorConfig};
pub use quantization::Quantization;
pub use sparse::SparseVector;

/// Greatest number of dimensions a vector may have, as in Qdrant.
pub const MAX_DIMENSIONS: usize = 65_536;
