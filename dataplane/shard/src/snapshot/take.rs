//! Taking a snapshot: finding out what belongs to it, and holding on to that.
//!
//! Invariant: manifest, segments and seq are of one moment, and every record of the log from `flushed_seq + 1` to the seq
//! is in the files that are held. The manifest cannot move meanwhile, because its lock is held, and no file that holds a
//! record above its `flushed_seq` is trimmed before it moves; the writer only adds to the log.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use uuid::Uuid;

use super::frame::{FileName, Start, Sum};
use super::stream::SnapshotStream;
use crate::api::ShardError;
use crate::env;
use crate::fail::{Mistake, makes};
use crate::limits::MAX_SNAPSHOTS;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::wal;

/// A shard at one seq. Clones are the same snapshot. While one lives, so do the bytes of its files, whatever compactions
/// and trims do, and with them the space they take on the disk: at most all of the shard's files of that moment.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) held: Arc<HeldFiles>,
}

/// See [`Snapshot`].
pub(super) struct HeldFiles {
    pub(super) id: Uuid,
    pub(super) start: Start,
    /// The manifest's file.
    pub(super) manifest: Vec<u8>,
    /// In the manifest's order.
    pub(super) segments: Vec<Arc<Segment>>,
    /// Files of the log, the first of which begins at or below `flushed_seq + 1`.
    pub(super) log: Vec<(PathBuf, File)>,
    /// The file that says which payload indexes are wanted.
    pub(super) indexes: Vec<u8>,
    /// Of each file once it was read, so that resuming need not read it again.
    pub(super) sums: Vec<OnceLock<Sum>>,
    _counted: Arc<()>,
}

impl HeldFiles {
    /// What the file of a number is; `None` past the last.
    pub(super) fn name(&self, file: u32) -> Option<FileName> {
        match (file as usize).checked_sub(1) {
            None => Some(FileName::Manifest),
            Some(at) if at == self.segments.len() => Some(FileName::Log),
            Some(at) if at == self.segments.len() + 1 => Some(FileName::Indexes),
            Some(at) => self.segments.get(at).map(|segment| FileName::Segment(segment.number)),
        }
    }

    /// The bytes of the file of a number, other than the log.
    pub(super) fn bytes(&self, file: u32) -> &[u8] {
        match (file as usize).checked_sub(1) {
            None => &self.manifest,
            Some(at) if at == self.segments.len() + 1 => &self.indexes,
            Some(at) => self.segments.get(at).map_or(&[], |segment| segment.file_bytes()),
        }
    }
}

impl Snapshot {
    /// Names this snapshot: a stream of another cannot go on where one of this was cut off.
    pub fn id(&self) -> Uuid {
        self.held.id
    }

    /// The last op whose effect is in it.
    pub fn seq(&self) -> u64 {
        self.held.start.seq
    }

    /// Number of its files.
    pub fn files(&self) -> u32 {
        self.held.sums.len() as u32
    }

    /// Its bytes from a file on; from 0 for all of it.
    pub fn stream(&self, from_file: u32) -> SnapshotStream {
        SnapshotStream::new(self.held.clone(), from_file)
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("id", &self.id()).field("seq", &self.seq()).finish()
    }
}

/// Takes a snapshot.
pub(crate) fn take(shared: &Shared) -> Result<Snapshot, ShardError> {
    shared.check_whole()?;
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        shared.unavailable(&format!("a snapshot could not be taken: {what}: {error}"))
    };
    let _guard = env::lock(&shared.manifest_lock);
    // Under the lock, so that two at once do not pass each other.
    if Arc::strong_count(&shared.snapshots) > MAX_SNAPSHOTS {
        let detail = format!("{MAX_SNAPSHOTS} of its snapshots are in use; wait until one is done");
        return Err(shared.unavailable(&detail));
    }
    let (mut manifest, segments, seq) = {
        let state = env::lock(&shared.state);
        let segments: Vec<Arc<Segment>> =
            state.view.segments.iter().map(|placed| placed.segment.clone()).collect();
        (state.manifest.clone(), segments, state.view.applied_seq)
    };
    if makes(Mistake::SnapshotWithoutOps) {
        manifest.log.recent = Default::default();
    }
    if makes(Mistake::SnapshotWithoutMembers) {
        manifest.log.config = None;
    }
    let dir = shared.dir.join(crate::open::WAL_DIR);
    let mut files = wal::files(&dir).map_err(|error| failed("the log", &error))?;
    let first = files.partition_point(|(first, _)| *first <= manifest.flushed_seq + 1);
    files.drain(..first.saturating_sub(1));
    // Begun by the writer since.
    files.retain(|(first, _)| *first <= seq.max(manifest.flushed_seq + 1));
    let open = |(_, path): (u64, PathBuf)| File::open(&path).map(|file| (path, file));
    let log: Vec<(PathBuf, File)> = files
        .into_iter()
        .map(open)
        .collect::<Result<_, _>>()
        .map_err(|error| failed("a file of the log", &error))?;
    let start = Start {
        origin: shared.disk_id,
        identity: shared.identity.clone(),
        flushed_seq: manifest.flushed_seq,
        seq,
    };
    let manifest = manifest.to_bytes(shared.disk_id).map_err(|error| failed("manifest", &error))?;
    // Of no moment in particular: it changes no answer.
    let indexes = env::lock(&shared.wanted_indexes).to_bytes(shared.disk_id);
    let indexes = indexes.map_err(|error| failed("indexes", &error))?;
    let sums = (0..segments.len() + 3).map(|_| OnceLock::new()).collect();
    let id = env::random_uuid();
    let _counted = shared.snapshots.clone();
    let held = HeldFiles { id, start, manifest, segments, log, indexes, sums, _counted };
    Ok(Snapshot { held: Arc::new(held) })
}
