//! Flushing: a thread turns frozen mutable segments into segments, oldest first.
//!
//! Order on disk: segment file, then manifest, then the log's files below `flushed_seq` go. A crash between any two
//! leaves a file that nobody names or a log that is longer than it need be, and the next start clears both up. A flush
//! that fails is tried again; nothing is lost meanwhile, since the log still holds it all.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::env;
use crate::error::OpenError;
use crate::limits::FLUSH_RETRY;
use crate::manifest::{Manifest, mark, segment_path};
use crate::mutable::MutableSegment;
use crate::segment::{Segment, SegmentContent, write_segment};
use crate::shared::{FlushFailure, Shared};
use crate::view::Placed;
use crate::wal;

/// Runs until the shard stops. First verifies what opening left unverified.
pub(crate) fn run(shared: &Arc<Shared>) {
    verify_all(shared);
    while let Some(frozen) = next_frozen(shared) {
        if let Err(error) = flush(shared, &frozen) {
            failed(shared, &error);
        }
    }
}

fn verify_all(shared: &Shared) {
    for placed in &shared.view.load().segments {
        if shared.is_stopping() {
            return;
        }
        placed.segment.warm();
        if let Err(damage) = placed.segment.verify() {
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

fn flush(shared: &Shared, frozen: &MutableSegment) -> Result<(), OpenError> {
    let seqs = shared.progress.read();
    debug_assert!(seqs.flushed < frozen.last_seq && frozen.last_seq <= seqs.durable);
    let (manifest, placed) = {
        let state = env::lock(&shared.state);
        (state.manifest.clone(), state.view.segments.clone())
    };
    let segment = build(shared, &manifest, frozen)?;
    let number = segment.as_ref().map(|segment| segment.number);
    let after = manifest.after_flush(&placed, frozen, number);
    let manifest = after.map_err(|detail| OpenError::corrupt(&shared.dir, detail))?;
    manifest.write(&shared.dir, shared.disk_id)?;
    swap(shared, manifest, segment.clone());
    shared.progress.flushed(frozen.last_seq);
    shared.store.flushed(segment, frozen.last_seq);
    let log = shared.dir.join(crate::open::WAL_DIR);
    wal::trim(&log, frozen.last_seq).map_err(OpenError::io(&log))
}

/// Writes the segment and opens it; nothing for a frozen segment whose ops had no effect.
fn build(
    shared: &Shared,
    manifest: &Manifest,
    frozen: &MutableSegment,
) -> Result<Option<Arc<Segment>>, OpenError> {
    if frozen.len() == 0 {
        return Ok(None);
    }
    let number = manifest.next_segment;
    let path = segment_path(&shared.dir, number);
    let content = SegmentContent::of(frozen);
    write_segment(&path, shared.disk_id, &content, &shared.build_options())?;
    let segment = Segment::open(&path, number, shared.disk_id, shared.vector.size)?;
    segment.warm();
    Ok(Some(Arc::new(segment)))
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
        state.view.segments.push(Placed {
            segment,
            dead: Arc::new(dead),
            edited: Arc::new(edited),
        });
    }
    state.manifest = manifest;
    state.flush_failure = None;
    shared.publish(&state);
    shared.changed.notify_all();
}

fn failed(shared: &Shared, error: &OpenError) {
    tracing::warn!(shard = shared.identity.shard, %error, "a flush failed and will be tried again");
    if error.is_disk_full() {
        shared.store.leave();
    }
    let mut state = env::lock(&shared.state);
    state.flush_failure =
        Some(FlushFailure { disk_full: error.is_disk_full(), detail: error.to_string() });
    shared.changed.notify_all();
    if !shared.is_stopping() {
        drop(env::wait_for(&shared.changed, state, FLUSH_RETRY));
    }
}
