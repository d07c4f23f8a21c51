//! Compaction: a thread merges neighbouring segments into one, while reads, writes and flushes go on.
//!
//! Order on disk as in a flush: segment file, then manifest, then the old files go. A crash between any two leaves files
//! that no manifest names. What was written to the old segments' points meanwhile is carried over when the merged one
//! takes their place, by comparing what is dead then with what was dead when merging began. Merging runs on one thread of
//! low priority, so that searches keep theirs; memory is bounded by how many points a merged segment may have.

mod commit;
mod content;
mod plan;

use std::path::Path;
use std::sync::Arc;

use self::content::Input;
use self::plan::{Size, plan};
use crate::error::OpenError;
use crate::limits::FLUSH_RETRY_MOST;
use crate::manifest::{self, Manifest, SegmentEntry, segment_path};
use crate::segment::{Damage, Segment, SegmentContent, write_segment};
use crate::shared::Shared;
use crate::view::{Placed, View};
use crate::{disk, env, index, room};

/// Runs until the shard stops.
pub(crate) fn run(shared: &Shared) {
    while let Some(inputs) = next(shared) {
        let result = compact(shared, &inputs);
        // Nothing but readers that are not done may keep the old files' space.
        drop(inputs);
        if let Err(error) = result {
            tracing::warn!(shard = shared.identity.shard, %error, "a compaction failed and will be tried again");
            let state = env::lock(&shared.state);
            if !shared.is_stopping() {
                drop(env::wait_for(&shared.changed, state, FLUSH_RETRY_MOST));
            }
        }
    }
}

/// Merges what is to be merged now; false if nothing is.
pub(crate) fn once(shared: &Shared) -> Result<bool, OpenError> {
    let planned = {
        let state = env::lock(&shared.state);
        planned(shared, &state.manifest, &state.view)
    };
    let planned = planned.map_err(|detail| OpenError::corrupt(&shared.dir, detail))?;
    match planned {
        Some(inputs) => compact(shared, &inputs).map(|()| true),
        None => Ok(false),
    }
}

/// What is to be merged, as of the manifest, and what lies below it.
struct Inputs {
    merged: Vec<Input>,
    below: Vec<Input>,
}

/// Waits for something to merge; `None` once the shard stops.
fn next(shared: &Shared) -> Option<Inputs> {
    let mut state = env::lock(&shared.state);
    loop {
        if shared.is_stopping() {
            return None;
        }
        if shared.check_whole().is_ok() {
            match planned(shared, &state.manifest, &state.view) {
                Ok(Some(inputs)) => return Some(inputs),
                Ok(None) => {}
                Err(detail) => {
                    let file = shared.dir.join(manifest::FILE).display().to_string();
                    shared.report_damage(Damage { file, detail });
                }
            }
        }
        state = env::wait(&shared.changed, state);
    }
}

/// What to merge, by what is dead in the manifest: what died since is still in the log alone, and merging would not drop it.
fn planned(shared: &Shared, manifest: &Manifest, view: &View) -> Result<Option<Inputs>, String> {
    let input = |(entry, placed): (&SegmentEntry, &Placed)| {
        let dead = entry.dead.read(placed.segment.len())?;
        Ok(Input { segment: placed.segment.clone(), dead })
    };
    let entries = manifest.segments.iter().zip(&view.segments);
    let mut below: Vec<Input> = entries.map(input).collect::<Result<_, String>>()?;
    let size = |input: &Input| {
        let dead = input.dead.len();
        Size { live: u64::from(input.segment.len()) - dead, dead }
    };
    let sizes: Vec<Size> = below.iter().map(size).collect();
    let (flush, most) =
        (shared.limits.mutable_entries as u64, shared.limits.merged_points(shared.dimensions()));
    let Some(range) = plan(&sizes, flush, most) else { return Ok(None) };
    below.truncate(range.end);
    let merged = below.split_off(range.start);
    Ok(Some(Inputs { merged, below }))
}

fn compact(shared: &Shared, inputs: &Inputs) -> Result<(), OpenError> {
    let content = content::merge(&inputs.merged, &inputs.below).map_err(|damage| {
        let error = OpenError::corrupt(Path::new(&damage.file), damage.detail.clone());
        shared.report_damage(damage);
        error
    })?;
    let segment = match content.puts.is_empty() && content.edits.is_empty() {
        true => None,
        false => Some(write(shared, content)?),
    };
    commit::commit(shared, inputs, segment)
}

fn write(shared: &Shared, content: SegmentContent) -> Result<Arc<Segment>, OpenError> {
    let number = shared.new_segment_number();
    let path = segment_path(&shared.dir, number);
    let vectors: usize = content.puts.iter().map(|(_, put)| put.vectors.bytes()).sum();
    room::check(&path, vectors as u64, disk::free_bytes(&shared.dir))?;
    let options = shared.build_options();
    let sparse = shared.identity.sparse.len();
    env::in_background(|| write_segment(&path, shared.disk_id, &content, &options, sparse))?;
    drop(content);
    let segment = Segment::open(&path, number, shared.disk_id, shared.kinds())?;
    segment.warm();
    env::in_background(|| index::prepare(shared, &segment));
    Ok(Arc::new(segment))
}
