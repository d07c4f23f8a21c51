//! Snapshots: what a shard is at one seq, as a stream of bytes, and restoring it on another disk.
//!
//! A snapshot is the manifest, the segments that it names, the log from there to the snapshot's seq, and which payload
//! indexes are wanted, so that a restored shard makes the same ones. [`Snapshot`]
//! holds on to them: segments by their memory maps and log files by their open handles, so that a compaction or a trim
//! takes away their names and not their bytes. Nobody waits for it, and it costs no copy. [`Snapshot::stream`] gives the
//! stream, which need not know its own length, so it fits a socket as well as an object store; [`Restore`] takes it.
//!
//! The stream (`frame.rs`): a preamble with a version and the snapshot's id; then frames, each with its place and a
//! checksum; each file ends with its length and hash, the stream with a hash over all files. The order of files is told
//! by the manifest, which comes first.
//!
//! **Resuming.** A stream may begin at any file: [`Restore::held`] names the snapshot and how many of its files are in
//! place, and `stream(held)` of the same handle gives the rest. What was stored as one object is sent again whole, or its
//! preamble and start followed by all from the place on where a file began: files that are held are checked and passed.
//!
//! **Disk ids.** A restored disk draws an id of its own before anything is written. Each file says which disk it is of, so
//! restoring writes every header and every record of the log anew with the new id, and nothing else of them; opening
//! then accepts one id, as on any disk. Invariant: from before the first byte that is restored until all was verified and
//! is durable, the folder holds the file `restoring`, with which no shard opens.

mod error;
mod frame;
mod install;
mod log_tail;
mod progress;
mod restore;
mod sink;
mod stream;
mod take;

pub use error::RestoreError;
pub use install::{incoming, install};
pub use restore::{Held, Restore, Restored};
pub use stream::SnapshotStream;
pub use take::Snapshot;

pub(crate) use frame::reseal;
pub(crate) use install::finish_install;
pub(crate) use progress::refuse_half;
pub(crate) use take::take;
