//! What the threads of one shard share.
//!
//! Invariant: `flushed_seq <= durable_seq <= last_seq`, and `applied_seq <= durable_seq`; asserted whenever one of them
//! moves and whenever they are read. They only grow, but for what was never applied and is cut.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use arc_swap::ArcSwap;
use shoal_vector::VectorConfig;
use uuid::Uuid;

use crate::api::{Identity, ShardError, Tuning, Tunings};
use crate::env;
use crate::graph::BuildOptions;
use crate::index::{Indexes, WantedIndexes};
use crate::limits::{Limits, MAX_LINKS, REFINE_EF};
use crate::manifest::Manifest;
use crate::segment::{Damage, Kinds};
use crate::store::Store;
use crate::sync_times::SyncClock;
use crate::view::View;

/// See the file's comment.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) disk_id: Uuid,
    pub(crate) identity: Identity,
    pub(crate) tuning: Tunings,
    pub(crate) limits: Limits,
    /// Held while the manifest is made and written and the view follows; taken before `state`.
    pub(crate) manifest_lock: Mutex<()>,
    /// The number of the next segment.
    next_segment: AtomicU64,
    pub(crate) state: Mutex<State>,
    /// Notified when a segment froze, a flush ended or failed, or the shard stops.
    pub(crate) changed: Condvar,
    /// What readers see.
    pub(crate) view: ArcSwap<View>,
    pub(crate) progress: Progress,
    pub(crate) sync_clock: SyncClock,
    pub(crate) store: Store,
    pub(crate) indexes: Arc<Indexes>,
    /// What it was last told to index; taken before `state`.
    pub(crate) wanted_indexes: Mutex<WantedIndexes>,
    /// Shared with every snapshot that lives, so that they can be counted.
    pub(crate) snapshots: Arc<()>,
    /// Set once files were found to be damaged; nothing is served from then on.
    damage: OnceLock<String>,
    stopping: AtomicBool,
    /// Held until the last thread is gone.
    pub(crate) _lock: File,
}

/// What the writer and the flusher change, one at a time.
pub(crate) struct State {
    /// The newest view, published or about to be.
    pub(crate) view: View,
    /// The manifest as it is on disk.
    pub(crate) manifest: Manifest,
    /// Why the last flush failed, until one succeeds.
    pub(crate) flush_failure: Option<FlushFailure>,
}

/// Why a flush failed.
#[derive(Clone, Debug)]
pub(crate) struct FlushFailure {
    pub(crate) disk_full: bool,
    pub(crate) detail: String,
}

/// How far the log came.
#[derive(Default)]
pub(crate) struct Progress {
    last: AtomicU64,
    durable: AtomicU64,
    applied: AtomicU64,
    flushed: AtomicU64,
    /// Last op that is in no file of the log any more.
    trimmed: AtomicU64,
}

/// Seqs read together. Read in the order in which they follow each other, so that the inequalities hold also while
/// they move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seqs {
    pub(crate) last: u64,
    pub(crate) durable: u64,
    pub(crate) applied: u64,
    pub(crate) flushed: u64,
}

impl Progress {
    pub(crate) fn new(last: u64, applied: u64, flushed: u64) -> Self {
        let progress = Self::default();
        progress.appended(last);
        progress.synced(last);
        progress.applied(applied);
        progress.flushed(flushed);
        progress.trimmed_to(flushed);
        progress
    }

    /// The log ends at `last` again, durably.
    pub(crate) fn cut(&self, last: u64) {
        self.durable.store(last.min(self.durable.load(Ordering::SeqCst)), Ordering::SeqCst);
        self.last.store(last, Ordering::SeqCst);
        self.synced(last);
    }

    pub(crate) fn trimmed_to(&self, seq: u64) {
        self.trimmed.store(seq, Ordering::SeqCst);
    }

    pub(crate) fn trimmed(&self) -> u64 {
        self.trimmed.load(Ordering::SeqCst)
    }

    pub(crate) fn appended(&self, seq: u64) {
        self.last.store(seq, Ordering::SeqCst);
        self.read();
    }

    pub(crate) fn synced(&self, seq: u64) {
        self.durable.store(seq, Ordering::SeqCst);
        self.read();
    }

    pub(crate) fn applied(&self, seq: u64) {
        self.applied.store(seq, Ordering::SeqCst);
        self.read();
    }

    pub(crate) fn flushed(&self, seq: u64) {
        self.flushed.store(seq, Ordering::SeqCst);
        self.read();
    }

    /// The seqs, whose order is checked: a shard that acknowledged or dropped what it does not have must not go on.
    pub(crate) fn read(&self) -> Seqs {
        let flushed = self.flushed.load(Ordering::SeqCst);
        let applied = self.applied.load(Ordering::SeqCst);
        let durable = self.durable.load(Ordering::SeqCst);
        let last = self.last.load(Ordering::SeqCst);
        let seqs = Seqs { last, durable, applied, flushed };
        if !(flushed <= applied && applied <= durable && durable <= last) {
            env::fatal(&format!("seqs are out of order: {seqs:?}"));
        }
        seqs
    }
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "called once, where a shard is opened")]
    pub(crate) fn new(
        dir: PathBuf,
        disk_id: Uuid,
        identity: Identity,
        tuning: Tunings,
        limits: Limits,
        view: View,
        last: u64,
        manifest: Manifest,
        store: Store,
        wanted_indexes: WantedIndexes,
        lock: File,
    ) -> Self {
        Self {
            progress: Progress::new(last, view.applied_seq, manifest.flushed_seq),
            view: ArcSwap::from_pointee(view.clone()),
            manifest_lock: Mutex::new(()),
            next_segment: AtomicU64::new(manifest.next_segment),
            indexes: view.indexes.clone(),
            wanted_indexes: Mutex::new(wanted_indexes),
            state: Mutex::new(State { view, manifest, flush_failure: None }),
            changed: Condvar::new(),
            sync_clock: SyncClock::default(),
            snapshots: Arc::default(),
            damage: OnceLock::new(),
            stopping: AtomicBool::new(false),
            dir,
            disk_id,
            identity,
            tuning,
            limits,
            store,
            _lock: lock,
        }
    }

    /// How the graphs of the vectors are to be, by number.
    pub(crate) fn build_options(&self) -> Vec<BuildOptions> {
        let options = |vector: &VectorConfig| {
            let Tuning { ef_construct, quantization, .. } = self.tuning.of(&vector.name);
            BuildOptions {
                metric: vector.distance,
                dimensions: vector.size,
                datatype: vector.datatype,
                ef: ef_construct,
                refine_ef: REFINE_EF,
                max_links: MAX_LINKS,
                quantization,
            }
        };
        self.identity.vectors.iter().map(options).collect()
    }

    /// What vectors a segment holds.
    pub(crate) fn kinds(&self) -> Kinds<'_> {
        Kinds { dense: &self.identity.vectors, sparse: self.identity.sparse.len() }
    }

    /// Elements of a point's vectors, if it has all.
    pub(crate) fn dimensions(&self) -> usize {
        self.identity.vectors.iter().map(|vector| vector.size).sum()
    }

    /// A number for a segment. What is not used in the end is not used again either, until the next start.
    pub(crate) fn new_segment_number(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::SeqCst)
    }

    /// The number that a segment would get now.
    pub(crate) fn next_segment_number(&self) -> u64 {
        self.next_segment.load(Ordering::SeqCst)
    }

    /// Shows readers the newest view. The caller holds the state.
    pub(crate) fn publish(&self, state: &State) {
        self.view.store(Arc::new(state.view.clone()));
        self.progress.applied(state.view.applied_seq);
    }

    /// Fails once damage was found.
    pub(crate) fn check_whole(&self) -> Result<(), ShardError> {
        match self.damage.get() {
            Some(detail) => Err(ShardError::Corrupt {
                shard: self.identity.shard.clone(),
                detail: detail.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Stops serving, because a file does not hold what was written to it.
    pub(crate) fn report_damage(&self, damage: Damage) -> ShardError {
        let detail = damage.to_string();
        tracing::error!(
            shard = self.identity.shard,
            detail,
            "the shard's files are damaged; it stops serving"
        );
        let _ = self.damage.set(detail.clone());
        ShardError::Corrupt { shard: self.identity.shard.clone(), detail }
    }

    pub(crate) fn unavailable(&self, detail: &str) -> ShardError {
        ShardError::Unavailable { shard: self.identity.shard.clone(), detail: detail.to_owned() }
    }

    /// The answer to a write that a full disk refused.
    pub(crate) fn disk_full(&self, detail: &str) -> ShardError {
        self.store.leave();
        ShardError::DiskFull { shard: self.identity.shard.clone(), detail: detail.to_owned() }
    }

    /// Tells all threads to stop.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Under the lock, so that nobody misses it between looking and waiting.
        let _state = env::lock(&self.state);
        self.changed.notify_all();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}
