//! Immutable segments: files of vectors with their graph, payloads, edits and tombstones, read through a memory map.
//!
//! A segment holds what one mutable segment held when it froze. Points have ordinals (their nodes in the graph of the
//! first vector, see `dense.rs`) and places (their positions in order of ids); payloads are stored in order of places, so that reading all of them, or a
//! range of ids, reads each block once. Invariant: a segment file never changes, and is deleted only when no manifest
//! names it.

mod dense;
mod graph_info;
mod layout;
mod payloads;
mod reader;
mod sparse;
mod writer;

pub(crate) use layout::reseal;
pub(crate) use payloads::PayloadCache;
pub(crate) use reader::{Kinds, Segment, Spot};
pub(crate) use writer::{SegmentContent, write_segment};

/// A segment file does not hold what was written to it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{file}: {detail}")]
pub(crate) struct Damage {
    pub(crate) file: String,
    pub(crate) detail: String,
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
