//! What a walk must know of a segment's graph besides its blocks.

use serde::{Deserialize, Serialize};
use shoal_vector::codes::Coder;

/// Stored in the segment in postcard's form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GraphInfo {
    /// Bytes of a node's code in its block; 0 if a walk compares vectors.
    pub(super) code_bytes: usize,
    /// Links that a block has room for.
    pub(super) slots: usize,
    /// How codes were made, and so of how many bits they are; `None` if a walk compares vectors.
    pub(super) coder: Option<Coder>,
}
