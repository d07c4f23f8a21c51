//! Codes: short forms of vectors that a walk compares instead of the vectors.
//!
//! A vector is rotated at random, which spreads what it holds evenly over its coordinates, so that one step size suits
//! them all; the mean of all vectors is taken off, since only what differs between points ranks them; then each
//! coordinate becomes a level of 4 or 8 bits. A query is rotated too and becomes int8, so that an inner product of
//! query and code is a sum of small integers. This is scalar quantisation after a random rotation, as in RaBitQ's
//! extension to more bits (Gao et al., 2024). Codes only order candidates: what is returned is compared exactly.

mod coder;
mod query;
mod rotation;
mod sketch;

pub use coder::{CodeBits, Coder, OwnStep};
pub use query::QueryCode;
pub use rotation::Rotation;
pub use sketch::{SketchQuery, sketch, sketch_bytes, sketches_pay};
