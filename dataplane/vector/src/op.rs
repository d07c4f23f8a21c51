//! Ops: what a client asks a shard to change, as it stands in the log.
//!
//! Invariant: applying an op is a function of the op and the state before it, so a replay ends in the same state.
//! Variants are only ever added at the end: their position is their number on disk.

use serde::{Deserialize, Serialize};

use crate::{Filter, Point, PointId, PointVectors, PointWithSparse, SparseVector};

/// Which points an op touches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Selector {
    /// These, where they exist.
    Ids(Vec<PointId>),
    /// All that match, as of the op's place in the log.
    Filter(Filter),
}

/// One change to a shard. Payloads and parts of them are JSON text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Insert points, or replace those whose ids exist. Within one op the last of an id wins.
    Upsert(Vec<Point>),
    /// Remove points.
    Delete(Selector),
    /// Merge an object into payloads, at the payload's top or under a key path.
    SetPayload {
        /// JSON text of one object.
        payload: Vec<u8>,
        /// Where to merge it; `None` for the top.
        key: Option<String>,
        /// Whose payloads.
        points: Selector,
    },
    /// Replace payloads whole.
    OverwritePayload {
        /// JSON text of one object.
        payload: Vec<u8>,
        /// Whose payloads.
        points: Selector,
    },
    /// Remove keys from payloads.
    DeletePayload {
        /// Key paths.
        keys: Vec<String>,
        /// Whose payloads.
        points: Selector,
    },
    /// Remove payloads whole.
    ClearPayload(Selector),
    /// Give points vectors in place of those of the same names; their other vectors and payloads stay. Of points that do
    /// not exist nothing comes. Within one op the last of an id and a name wins.
    UpdateVectors(Vec<PointVectors>),
    /// Remove vectors.
    DeleteVectors {
        /// Names of the vectors.
        names: Vec<String>,
        /// Whose vectors.
        points: Selector,
    },
    /// As [`Op::Upsert`], of points some of which have sparse vectors.
    UpsertWithSparse(Vec<PointWithSparse>),
}

impl Op {
    /// Bytes of the points and payloads in it, roughly: how long it takes to check or to encode.
    pub fn bytes(&self) -> usize {
        let vectors = |vectors: &[(String, Vec<f32>)]| -> usize {
            vectors.iter().map(|(_, vector)| size_of_val(vector.as_slice())).sum()
        };
        let point =
            |point: &Point| point.payload.len() + vectors(&point.vectors) + size_of::<Point>();
        let sparse = |sparse: &[(String, SparseVector)]| -> usize {
            sparse.iter().map(|(_, vector)| vector.bytes()).sum()
        };
        match self {
            Op::Upsert(points) => points.iter().map(point).sum(),
            Op::UpsertWithSparse(points) => {
                points.iter().map(|p| point(&p.point) + sparse(&p.sparse)).sum()
            }
            Op::UpdateVectors(points) => {
                let point = |p: &PointVectors| vectors(&p.vectors) + sparse(&p.sparse);
                points.iter().map(|p| point(p) + size_of::<PointVectors>()).sum()
            }
            Op::SetPayload { payload, points, .. } | Op::OverwritePayload { payload, points } => {
                payload.len() + points.bytes()
            }
            Op::Delete(points)
            | Op::DeletePayload { points, .. }
            | Op::ClearPayload(points)
            | Op::DeleteVectors { points, .. } => points.bytes(),
        }
    }
}

impl Selector {
    fn bytes(&self) -> usize {
        match self {
            Selector::Ids(ids) => size_of_val(ids.as_slice()),
            Selector::Filter(_) => 0,
        }
    }
}
