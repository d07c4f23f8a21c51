//! Fail points: named places between two steps that change a disk, where a test lets the process crash.
//!
//! Not part of the crate's interface. Who observes them is told on the thread that got there, before it goes on, so a copy
//! of the folder made then is what a crash at that place leaves. Nobody observes them but tests; to ask for that is one
//! load, and none of these places is on the path of a read.

use std::path::Path;
use std::sync::OnceLock;

/// A place. Those of files are passed for every file that is put in place whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailPoint {
    /// A file is there under its unfinished name, empty.
    FileBegun,
    /// It is written, and not synced.
    FileWritten,
    /// It is synced under its unfinished name.
    FileSynced,
    /// It has its name, which is not synced.
    FileRenamed,
    /// A group of ops is in the log and not synced.
    LogAppended,
    /// It is synced, and not applied.
    LogSynced,
    /// It is visible, and the log may go on in another file.
    LogApplied,
    /// A file of the log was deleted by a trim.
    LogTrimmed,
    /// A torn write was cut off the log's end, and that is not synced.
    LogCut,
    /// A flushed segment is in the manifest, and not in the view.
    FlushCommitted,
    /// A flush is visible, and the log not trimmed.
    FlushShown,
    /// A merged segment is in the manifest, and not in the view.
    CompactionCommitted,
    /// A merged segment is visible, and what it was made of still there.
    CompactionShown,
    /// A segment that was merged was deleted.
    CompactionTrimmed,
    /// The store is open, and not brought up to the segments.
    StoreOpened,
    /// A segment's payloads are in the store, and not marked as whole.
    StoreFilled,
    /// A segment is marked as whole in the store.
    StoreMarked,
    /// What the store holds of a segment that is gone is not marked any more, and still there.
    StoreUnmarked,
    /// A broken store was moved aside.
    StoreSetAside,
    /// A file or folder of a snapshot took the place of what a replica had.
    InstallMoved,
}

impl FailPoint {
    /// All places.
    pub const ALL: [FailPoint; 20] = [
        FailPoint::FileBegun,
        FailPoint::FileWritten,
        FailPoint::FileSynced,
        FailPoint::FileRenamed,
        FailPoint::LogAppended,
        FailPoint::LogSynced,
        FailPoint::LogApplied,
        FailPoint::LogTrimmed,
        FailPoint::LogCut,
        FailPoint::FlushCommitted,
        FailPoint::FlushShown,
        FailPoint::CompactionCommitted,
        FailPoint::CompactionShown,
        FailPoint::CompactionTrimmed,
        FailPoint::StoreOpened,
        FailPoint::StoreFilled,
        FailPoint::StoreMarked,
        FailPoint::StoreUnmarked,
        FailPoint::StoreSetAside,
        FailPoint::InstallMoved,
    ];
}

type Observer = Box<dyn Fn(FailPoint, &Path) + Send + Sync>;

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// Has this called at every fail point of every shard of the process, with a path in its folder: the file's, by its final
/// name, where the place is about one. The first observer stays.
pub fn observe(observer: impl Fn(FailPoint, &Path) + Send + Sync + 'static) {
    let _ = OBSERVER.set(Box::new(observer));
}

/// A thread got to a place.
pub(crate) fn reached(point: FailPoint, path: &Path) {
    if let Some(observer) = OBSERVER.get() {
        observer(point, path);
    }
}

/// Ways to keep a disk that look right and are not. Simulations switch one on for the thread they run on, and must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A promise is given that is not durable.
    UnsyncedPromise,
    /// The log counts as durable when its sync begins.
    DurableTooSoon,
    /// A sync that began before a cut counts for what was appended since.
    SyncAcrossCut,
    /// The manifest names a segment before its file is in place.
    ManifestFirst,
    /// The log is trimmed up to what is applied, and not only what is flushed.
    TrimApplied,
    /// A flush does not write down which ops are recognised.
    FlushWithoutOps,
    /// A snapshot does not hold the ops that are recognised.
    SnapshotWithoutOps,
    /// A snapshot does not hold the members.
    SnapshotWithoutMembers,
    /// A snapshot takes the place of what is there without a note that says so.
    InstallUnmarked,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 9] = [
        Mistake::UnsyncedPromise,
        Mistake::DurableTooSoon,
        Mistake::SyncAcrossCut,
        Mistake::ManifestFirst,
        Mistake::TrimApplied,
        Mistake::FlushWithoutOps,
        Mistake::SnapshotWithoutOps,
        Mistake::SnapshotWithoutMembers,
        Mistake::InstallUnmarked,
    ];
}

#[cfg(feature = "mistakes")]
mod mistakes {
    use std::cell::Cell;

    use super::Mistake;

    thread_local!(static MADE: Cell<Option<Mistake>> = const { Cell::new(None) });

    /// Has this thread make a mistake from now on, or none.
    pub fn make(mistake: Option<Mistake>) {
        MADE.set(mistake);
    }

    /// Whether this thread makes it.
    pub fn makes(mistake: Mistake) -> bool {
        MADE.get() == Some(mistake)
    }
}
#[cfg(feature = "mistakes")]
pub use mistakes::{make, makes};

/// Whether this thread makes it. Never, unless the crate was built to.
#[cfg(not(feature = "mistakes"))]
#[inline(always)]
pub fn makes(_: Mistake) -> bool {
    false
}
