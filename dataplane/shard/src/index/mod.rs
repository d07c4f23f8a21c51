//! Payload indexes: which points of a segment pass a filter, without looking at their payloads.
//!
//! `field.rs` is the index of one field of one segment, over ordinals: a sorted dictionary of its values
//! (`dictionary.rs`, `places.rs`, `texts.rs`) and bits for what is null or there at all (`presence.rs`, `bits.rs`).
//! `plan.rs` asks a filter of the indexes there are; `answer.rs` says how much the answer is worth. `stored.rs` is an index
//! as bytes. Those are pure. `catalog.rs` holds the indexes that are ready, `indexer.rs` is the thread that makes or loads
//! them, and drops them. `memory.rs` is the same for points that are not in a segment yet.
//!
//! Invariant: an index changes how fast a filter is answered, never what passes it. One that is not ready is not waited
//! for.

mod answer;
mod bits;
mod build;
mod catalog;
mod dictionary;
mod field;
mod indexer;
mod memory;
mod number;
mod places;
mod plan;
mod presence;
mod stored;
mod texts;
mod wanted;

#[cfg(test)]
mod tests;

pub(crate) use answer::Answer;
pub(crate) use bits::Bits;
pub(crate) use catalog::{Counted, Field, Indexes, Ready, SegmentIndex};
pub(crate) use field::FieldIndex;
pub(crate) use indexer::{prepare, run};
pub(crate) use memory::{MemoryIndex, SlotAnswer};
pub(crate) use plan::{Plan, Source, Texts};
pub(crate) use stored::{chunks, join};
pub use wanted::WantedIndexes;
pub(crate) use wanted::{FILE as WANTED_FILE, read as read_wanted, write as write_wanted};
