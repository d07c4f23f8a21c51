//! The log: every op of a shard, in order of seq, before anything else knows of it.
//!
//! It is a folder of files, each named by the seq of its first record. Only the last is written to; a file is dropped
//! when all its records are at or below `flushed_seq`. Invariants: seqs are consecutive across files; a file is synced
//! before the next one exists; nothing after `good_len` of the last file was ever acknowledged.

mod file;
mod record;
mod replay;

pub(crate) use file::{AppendError, Wal, create_first, files, new_file, trim};
pub(crate) use record::{Kind, Record, reseal};
pub(crate) use replay::replay;
