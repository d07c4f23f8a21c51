//! Whole shards: the disk is a real one, with the real log, segments, promise and snapshots in a folder, and no model of it.
//!
//! The world around is the same: one seed, one clock, one thread. What the rules want written goes through `shoal-replica`, as
//! in a node; a shard has no threads here, flushes and compactions are events (`shoal_shard::by_hand`). A crash leaves a copy of
//! the folder that has lost what was not synced, and may come at every fail point of the shard (`crash.rs`). `process.rs` is a
//! replica in the world, `fetch.rs` how snapshots travel, `points.rs` what clients write and what they must read, `ends.rs`
//! what must hold in the end.

mod crash;
mod ends;
mod fetch;
mod points;
mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc;

use shoal_consensus::{DiskId, Seq, Ticket};
use shoal_replica::Disk;
use shoal_shard::api::{Identity, Tuning};
use shoal_shard::by_hand::ByHand;
use shoal_shard::journal::{Journal, Recovered, Sync, Synced};
use shoal_shard::snapshot::Snapshot;
use shoal_shard::{Limits, OpenError, Shard};
use shoal_vector::{Metric, Quantization, VectorConfig};
use uuid::Uuid;

pub(crate) use self::crash::Site;
pub(crate) use self::fetch::{Fetch, Parcel, Sending};
pub(crate) use self::points::{Points, encoded};

/// Entries at which a mutable segment freezes: few, so that flushes, trims and snapshots are many.
const MUTABLE_ENTRIES: usize = 12;

/// Bytes at which the log begins another file.
const WAL_FILE_BYTES: u64 = 1_500;

/// The disk of a replica, and its process while that runs.
pub(crate) struct Whole {
    pub(crate) dir: PathBuf,
    pub(crate) running: Option<Running>,
}

/// What a process has in memory.
pub(crate) struct Running {
    pub(crate) disk: Disk,
    /// Gone only while a snapshot takes its place.
    pub(crate) shard: Option<(Shard, ByHand)>,
    syncs: mpsc::Receiver<(Ticket, Sync)>,
    pub(crate) syncing: Option<Syncing>,
    pub(crate) commit: Seq,
    /// Applied entries that were compared with what others applied.
    pub(crate) told: Seq,
    /// Something is to be written or applied soon.
    pub(crate) works: bool,
    /// Ops to be answered once they are applied, each with its proposal.
    pub(crate) answers: BTreeMap<Seq, Vec<(u64, u64)>>,
    /// Strong reads, likewise.
    pub(crate) reads: BTreeMap<Seq, Vec<u64>>,
    /// Snapshots that may be asked for again.
    pub(crate) held: Vec<Snapshot>,
    pub(crate) sending: BTreeMap<u64, Sending>,
    pub(crate) fetch: Option<Fetch>,
}

/// A sync under way.
pub(crate) enum Syncing {
    /// What becomes durable by it.
    Begun(Ticket, Sync, crash::Mark),
    /// It had to be waited for, and is yet to be told.
    Done(Ticket, Synced),
}

impl Running {
    fn new(shard: Shard, hand: ByHand, journal: Journal, told: Seq) -> Self {
        let (syncer, syncs) = mpsc::channel();
        Self {
            disk: Disk::new(journal, syncer),
            shard: Some((shard, hand)),
            syncs,
            syncing: None,
            commit: 0,
            told,
            works: false,
            answers: BTreeMap::new(),
            reads: BTreeMap::new(),
            held: Vec::new(),
            sending: BTreeMap::new(),
            fetch: None,
        }
    }
}

pub(crate) fn identity() -> Identity {
    let vectors = vec![VectorConfig::new("", 2, Metric::Dot)];
    Identity { collection: "c".into(), shard: "c-0".into(), vectors, sparse: Vec::new() }
}

pub(crate) fn disk_uuid(id: DiskId) -> Uuid {
    Uuid::from_u128(id.0)
}

fn limits() -> Limits {
    Limits { mutable_entries: MUTABLE_ENTRIES, wal_file_bytes: WAL_FILE_BYTES, ..Limits::default() }
}

fn tuning() -> Tuning {
    Tuning { ef_construct: 10, ef: 10, quantization: Quantization::default() }
}

impl Whole {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, running: None }
    }

    pub(crate) fn open(&self) -> Result<(Shard, Journal, Recovered, ByHand), OpenError> {
        ByHand::open(&self.dir, identity(), tuning(), limits())
    }
}
