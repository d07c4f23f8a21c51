//! A segment's graph: how it is built, laid out and walked.
//!
//! `build.rs` has instant-distance build the first part of a graph over int8 rows (`rows.rs`); `connect.rs` inserts the
//! other nodes in rounds, searches for every node once more and prunes anew (`prune.rs`); `blocks.rs` lays the result out flat, one block a node with its code and its links together,
//! and `walk.rs` walks the blocks, on disk or in memory, towards a query, from the nearest of a few (`entries.rs`); where few
//! nodes are accepted (`admit.rs`), `scan.rs` looks at them all. Either orders candidates by codes, of which it reads only
//! those that their sketches (`sketches.rs`) do not show to be too far, and the best of them are compared exactly
//! (`rescore.rs`); where nothing is quantised, or a search asks for it,
//! it orders them by the vectors themselves. `growing/` is another graph, over what is still in memory: it grows point by
//! point while it is searched. Nodes are numbered in the order in which they were inserted, which is random, so the first nodes
//! are a sample of all.

mod admit;
mod beam;
mod blocks;
mod build;
mod by_codes;
mod by_vectors;
mod connect;
mod entries;
mod growing;
mod instant;
mod pages;
mod prune;
mod rescore;
mod residency;
mod rows;
mod scan;
mod scorer;
mod search;
mod sketches;
mod target;
mod twins;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use blocks::{Blocks, bytes_of};
pub(crate) use build::{BuildError, BuildOptions, Built, build};
pub(crate) use growing::{Growing, Member};
pub(crate) use pages::Pages;
pub(crate) use rescore::{Near, rescored};
pub(crate) use residency::Residency;
pub(crate) use search::{Accepted, GraphRef, is_scanned, search};
pub(crate) use sketches::sketches;
pub(crate) use target::Target;
