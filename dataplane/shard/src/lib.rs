//! One shard on one disk: log, mutable segment, immutable segments, recovery. No network.
//!
//! Start at [`Shard`] (`shard.rs`), then `write.rs` (the write path), `view.rs` (what readers see), `flush.rs` and
//! `open.rs`. Truth is the log, the segments and the manifest; everything else can be rebuilt from them. Order on
//! disk: `flushed_seq <= durable_seq <= last_seq`.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure and wait"))]

pub mod api;
mod apply;
#[doc(hidden)]
pub mod by_hand;
mod cancel;
mod codec;
mod compact;
pub mod digest;
mod disk;
mod edit;
mod env;
mod error;
#[doc(hidden)]
pub mod fail;
mod flush;
mod format;
#[doc(hidden)]
pub mod fuzz;
mod graph;
mod identity;
mod index;
mod inverted;
pub mod journal;
pub mod limits;
mod log_state;
mod manifest;
pub mod mend;
pub mod moment;
mod mutable;
mod open;
#[cfg(test)]
mod quantization_tests;
mod read;
mod room;
mod segment;
mod shard;
mod shared;
pub mod snapshot;
mod store;
mod sync_times;
mod validate;
mod vectors;
mod view;
mod wal;
mod write;

pub use cancel::Cancel;
pub use codec::{
    CodecError, decode_filter, decode_index, decode_op, encode_filter, encode_index, encode_op,
};
pub use env::compute;
pub use error::OpenError;
pub use index::WantedIndexes;
pub use limits::Limits;
pub use shard::Shard;
pub use sync_times::SyncTimes;
pub use validate::{WRONG_KIND, check_encoded, check_op};
