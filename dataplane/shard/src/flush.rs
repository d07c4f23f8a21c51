//! Flushing: a thread turns frozen mutable segments into segments, oldest first.
//!
//! Order on disk: segment file, then manifest, then the log's files below `flushed_seq` go. A crash between any two
//! leaves a file that nobody names or a log that is longer than it need be, and the next start clears both up. A flush
//! that fails is tried again; nothing is lost meanwhile, since the log still holds it all.
//!
//! A flush takes the processors that searches leave over, unless writes wait for it as it begins: then it takes its share,
//! so that a shard that is searched all the time still takes writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roaring::RoaringBitmap;

use crate::error::OpenError;
use crate::fail::{FailPoint, Mistake, makes, reached};
use crate::limits::{FLUSH_RETRY, MAX_FROZEN};
use crate::manifest::{Manifest, mark, segment_path};
use crate::mutable::MutableSegment;
use crate::room::Pauses;
use crate::segment::{Segment, SegmentContent, write_segment};
use crate::shared::{FlushFailure, Shared};
use crate::view::Placed;
use crate::{disk, env, index, room, wal};

/// Runs until the shard stops. Beside it, what opening left unverified is verified.
pub(crate) fn run(shared: &Arc<Shared>) {
    run_beside(shared, verify_all);
}

/// On a thread of its own, because reading every segment can take minutes, and writers wait for flushes long before.
fn run_beside(shared: &Arc<Shared>, verify: fn(&Shared)) {
    let verified = shared.clone();
    let verifier = env::spawn_helper("shard-verifier", move || verify(&verified));
    if let Err(error) = &verifier {
        tracing::warn!(shard = shared.identity.shard, %error, "segments are verified before the first flush");
        verify(shared);
    }
    let (mut pauses, mut number) = (Pauses::default(), None);
    while let Some(frozen) = next_frozen(shared) {
        match flush(shared, &frozen, &mut number) {
            Ok(()) => (pauses, number) = (Pauses::default(), None),
            Err(error) => failed(shared, &frozen, &error, pauses.next()),
        }
    }
    // It looks for the stop after each segment. Waited for, because it holds the folder's lock.
    if verifier.is_ok_and(|verifier| verifier.join().is_err()) {
        tracing::error!(
            shard = shared.identity.shard,
            "verifying the segments was cut off by a panic"
        );
    }
}

pub(crate) fn verify_all(shared: &Shared) {
    // Not the view, which would keep all it shows in memory for so long.
    let segments: Vec<Arc<Segment>> =
        shared.view.load().segments.iter().map(|placed| placed.segment.clone()).collect();
    segments.iter().take_while(|_| !shared.is_stopping()).for_each(|segment| segment.warm());
    for segment in segments {
        if shared.is_stopping() {
            return;
        }
        if let Err(damage) = segment.verify() {
            shared.report_damage(damage);
        }
    }
}

/// Waits for the oldest frozen segment; `None` once the shard stops. What is not flushed then is in the log.
fn next_frozen(shared: &Shared) -> Option<MutableSegment> {
    let mut state = env::lock(&shared.state);
    loop {
        if shared.is_stopping() {
            return None;
        }
        if let Some(oldest) = state.view.frozen.first()
            && shared.check_whole().is_ok()
        {
            return Some(oldest.clone());
        }
        state = env::wait(&shared.changed, state);
    }
}

/// `number` is the segment's, from an earlier attempt at the same frozen segment on: what that left is written over, so
/// that attempts which fail take no space.
pub(crate) fn flush(
    shared: &Shared,
    frozen: &MutableSegment,
    number: &mut Option<u64>,
) -> Result<(), OpenError> {
    let seqs = shared.progress.read();
    // Where nothing was applied since the last flush, what was mended ends where that did.
    debug_assert!(seqs.flushed <= frozen.last_seq && frozen.last_seq <= seqs.durable);
    if makes(Mistake::ManifestFirst) && frozen.len() > 0 {
        let number = *number.get_or_insert_with(|| shared.new_segment_number());
        write_manifest(shared, frozen, Some(number))?;
    }
    let segment = build(shared, frozen, number)?;
    let number = segment.as_ref().map(|segment| segment.number);
    {
        let _guard = env::lock(&shared.manifest_lock);
        let manifest = write_manifest(shared, frozen, number)?;
        reached(FailPoint::FlushCommitted, &shared.dir);
        // Before anyone sees the segment: whoever makes an index of it gives that to a store that knows it.
        shared.store.flushed(segment.clone(), frozen.last_seq);
        swap(shared, manifest, segment);
    }
    shared.progress.flushed(frozen.last_seq);
    if let Some(durable) = &frozen.mended {
        durable.store(true, Ordering::Release);
    }
    reached(FailPoint::FlushShown, &shared.dir);
    let log = shared.dir.join(crate::open::WAL_DIR);
    let until = match makes(Mistake::TrimApplied) {
        true => shared.progress.read().applied,
        false => frozen.last_seq,
    };
    let begins = wal::trim(&log, until, shared.limits.kept_log_bytes);
    shared.progress.trimmed_to(begins.map_err(OpenError::io(&log))?.saturating_sub(1));
    Ok(())
}

/// Writes the manifest as it is after a flush. The caller holds its lock.
fn write_manifest(
    shared: &Shared,
    frozen: &MutableSegment,
    number: Option<u64>,
) -> Result<Manifest, OpenError> {
    let (manifest, placed) = {
        let state = env::lock(&shared.state);
        (state.manifest.clone(), state.view.segments.clone())
    };
    let next = shared.next_segment_number();
    let after = manifest.after_flush(&placed, frozen, number, next);
    let mut manifest = after.map_err(|detail| OpenError::corrupt(&shared.dir, detail))?;
    if makes(Mistake::FlushWithoutOps) {
        manifest.log.recent = Default::default();
    }
    manifest.write(&shared.dir, shared.disk_id)?;
    Ok(manifest)
}

/// Writes the segment and opens it; nothing for a frozen segment whose ops had no effect.
fn build(
    shared: &Shared,
    frozen: &MutableSegment,
    number: &mut Option<u64>,
) -> Result<Option<Arc<Segment>>, OpenError> {
    if frozen.len() == 0 {
        return Ok(None);
    }
    let number = *number.get_or_insert_with(|| shared.new_segment_number());
    let path = segment_path(&shared.dir, number);
    room::check(&path, room::least_bytes(frozen), disk::free_bytes(&shared.dir))?;
    let content = SegmentContent::of(frozen);
    let sparse = shared.identity.sparse.len();
    let write = || write_segment(&path, shared.disk_id, &content, &shared.build_options(), sparse);
    match writes_wait(shared) {
        true => write()?,
        false => env::in_spare_time(write)?,
    }
    let segment = Segment::open(&path, number, shared.disk_id, shared.kinds())?;
    segment.warm();
    index::prepare(shared, &segment);
    Ok(Some(Arc::new(segment)))
}

/// Whether as much is frozen as may be, so that the next write that fills the mutable segment waits.
fn writes_wait(shared: &Shared) -> bool {
    env::lock(&shared.state).view.frozen.len() >= MAX_FROZEN
}

/// Puts the segment in the place of the frozen one. Ops that were applied meanwhile may have changed its points.
fn swap(shared: &Shared, manifest: Manifest, segment: Option<Arc<Segment>>) {
    let mut state = env::lock(&shared.state);
    state.view.frozen.remove(0);
    if let Some(segment) = segment {
        let (mut dead, mut edited) = (RoaringBitmap::new(), RoaringBitmap::new());
        for newer in state.view.memory() {
            mark(&segment, newer, &mut dead, &mut edited);
        }
        state.view.segments.push(Placed::new(segment, dead, edited));
    }
    state.manifest = manifest;
    state.flush_failure = None;
    shared.publish(&state);
    shared.changed.notify_all();
}

fn failed(shared: &Shared, frozen: &MutableSegment, error: &OpenError, pause: Duration) {
    tracing::warn!(shard = shared.identity.shard, %error, "a flush failed and will be tried again");
    if error.is_disk_full() {
        shared.store.leave();
    }
    let mut state = env::lock(&shared.state);
    state.flush_failure =
        Some(FlushFailure { disk_full: error.is_disk_full(), detail: error.to_string() });
    shared.changed.notify_all();
    // With so much more than the attempt had, it is worth another before its time.
    let free = || disk::free_bytes(&shared.dir).filter(|_| error.is_disk_full());
    let enough = free().map(|free| room::worth_another(frozen, free));
    let until = env::now() + pause;
    while !shared.is_stopping() && enough.is_none_or(|enough| free() < Some(enough)) {
        let left = until.saturating_duration_since(env::now());
        if left.is_zero() {
            break;
        }
        state = env::wait_for(&shared.changed, state, left.min(FLUSH_RETRY));
    }
}

#[cfg(test)]
mod tests {
    use shoal_vector::op::Selector;
    use shoal_vector::{Metric, Op, Point, PointId, Quantization, VectorConfig};

    use super::*;
    use crate::api::{Identity, Tuning};
    use crate::limits::Limits;
    use crate::open::{Commits, IfNew};

    /// A shard without its threads, in which one op waits to be flushed.
    fn frozen(dir: &std::path::Path, op: &Op) -> Arc<Shared> {
        let vector = VectorConfig::new("", 2, Metric::Dot);
        let identity = Identity {
            collection: "c".into(),
            shard: "c-0".into(),
            vectors: vec![vector],
            sparse: Vec::new(),
        };
        let tuning =
            Tuning { ef_construct: 10, ef: 10, quantization: Quantization::default() }.into();
        let (limits, alone) = (Limits::default(), Commits::Alone);
        let cache = crate::open::Cache::Store;
        let (journal, _) =
            crate::open::open(dir, IfNew::SetUp, identity, tuning, limits, alone, cache).unwrap();
        let shared = journal.shared.clone();
        let mut state = env::lock(&shared.state);
        state.view.apply(1, op, 1).unwrap();
        state.view.freeze();
        shared.progress.appended(1);
        shared.progress.synced(1);
        shared.publish(&state);
        drop(state);
        shared
    }

    #[test]
    fn a_flush_whose_manifest_could_not_be_written_leaves_no_second_segment() {
        let dir = tempfile::tempdir().unwrap();
        let point = Point {
            id: PointId::Num(1),
            vectors: vec![(String::new(), vec![1.0, 2.0])],
            payload: Vec::new(),
        };
        let shared = frozen(dir.path(), &Op::Upsert(vec![point]));
        let full = next_frozen(&shared).unwrap();
        let in_the_way = dir.path().join(format!("{}.{}", crate::manifest::FILE, disk::UNFINISHED));
        std::fs::create_dir(&in_the_way).unwrap();
        let mut number = None;
        assert!(flush(&shared, &full, &mut number).is_err());
        assert!(flush(&shared, &full, &mut number).is_err());
        std::fs::remove_dir(&in_the_way).unwrap();
        flush(&shared, &full, &mut number).unwrap();
        let segments = std::fs::read_dir(dir.path().join(crate::manifest::SEGMENTS_DIR)).unwrap();
        assert_eq!(segments.count(), 1);
        assert_eq!(shared.view.load().segments.len(), 1);
        shared.store.stop();
    }

    #[test]
    fn flushes_do_not_wait_until_all_segments_are_verified() {
        let dir = tempfile::tempdir().unwrap();
        let nothing = Op::Delete(Selector::Ids(vec![PointId::Num(1)]));
        let shared = frozen(dir.path(), &nothing);
        // Takes until a flush is done, however long that is; a test that hangs here has failed.
        fn verify(shared: &Shared) {
            while shared.progress.read().flushed == 0 {
                env::pause();
            }
            shared.stop();
        }
        run_beside(&shared, verify);
        assert_eq!(shared.progress.read().flushed, 1);
        shared.store.stop();
    }
}
