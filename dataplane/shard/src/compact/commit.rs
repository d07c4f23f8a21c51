//! Putting a merged segment in the place of the others: in the manifest, then for readers.
//!
//! Invariant: the manifest says what is dead as of its `flushed_seq`, the view what is dead by now; for a point of the
//! merged segment both are what they are for the segment it came from.

use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;
use shoal_vector::PointId;

use super::Inputs;
use super::content::Input;
use crate::error::OpenError;
use crate::fail::{FailPoint, reached};
use crate::manifest::{BitmapBytes, Manifest, SegmentEntry, segment_path};
use crate::segment::Segment;
use crate::shared::Shared;
use crate::view::{Placed, View};
use crate::{disk, env};

/// Puts `merged`, or nothing if nothing lives, in the place of what it was made of.
pub(super) fn commit(
    shared: &Shared,
    inputs: &Inputs,
    merged: Option<Arc<Segment>>,
) -> Result<(), OpenError> {
    let guard = env::lock(&shared.manifest_lock);
    let (mut manifest, view) = {
        let state = env::lock(&shared.state);
        (state.manifest.clone(), state.view.clone())
    };
    // Flushes only append, and this thread alone takes segments away.
    let range = inputs.below.len()..inputs.below.len() + inputs.merged.len();
    let entry = match &merged {
        Some(segment) => {
            let entry = entry_of(segment, inputs, &manifest, &view, range.clone());
            Some(entry.map_err(|detail| OpenError::corrupt(&shared.dir, detail))?)
        }
        None => None,
    };
    manifest.segments.splice(range.clone(), entry);
    manifest.next_segment = shared.next_segment_number();
    manifest.write(&shared.dir, shared.disk_id)?;
    reached(FailPoint::CompactionCommitted, &shared.dir);
    drop(view);
    let gone: Vec<u64> = inputs.merged.iter().map(|input| input.segment.number).collect();
    // Before anyone sees the segment, as in a flush.
    shared.store.compacted(merged.clone(), gone.clone());
    show(shared, inputs, range, merged, manifest);
    drop(guard);
    reached(FailPoint::CompactionShown, &shared.dir);
    for number in gone {
        let path = segment_path(&shared.dir, number);
        disk::remove_if_there(&path).map_err(OpenError::io(&path))?;
        reached(FailPoint::CompactionTrimmed, &path);
    }
    Ok(())
}

fn entry_of(
    segment: &Segment,
    inputs: &Inputs,
    manifest: &Manifest,
    view: &View,
    range: Range<usize>,
) -> Result<SegmentEntry, String> {
    let mut marks = Marks::default();
    for (input, entry) in inputs.merged.iter().zip(&manifest.segments[range.clone()]) {
        let len = input.segment.len();
        marks.carry(input, &entry.dead.read(len)?, &entry.edited.read(len)?);
    }
    marks.edited.retain(|id| is_edited_above(view, range.end, *id));
    let (dead, edited) = marks.ordinals(segment);
    Ok(SegmentEntry {
        number: segment.number,
        dead: BitmapBytes::of(&dead),
        edited: BitmapBytes::of(&edited),
    })
}

/// Whether a segment from `from` on edits the point. One below it that did is part of the point now.
fn is_edited_above(view: &View, from: usize, id: PointId) -> bool {
    view.segments[from..].iter().any(|placed| placed.segment.edit(id).is_some())
}

/// Swaps the view. It is the newest one that is asked, since ops were applied after the manifest was read.
fn show(
    shared: &Shared,
    inputs: &Inputs,
    range: Range<usize>,
    merged: Option<Arc<Segment>>,
    manifest: Manifest,
) {
    let mut state = env::lock(&shared.state);
    let placed = merged.map(|segment| {
        let mut marks = Marks::default();
        for (input, placed) in inputs.merged.iter().zip(&state.view.segments[range.clone()]) {
            marks.carry(input, &placed.dead, &placed.edited);
        }
        let view = &state.view;
        marks.edited.retain(|id| {
            view.memory().any(|layer| layer.get(id).is_some())
                || is_edited_above(view, range.end, *id)
        });
        let (dead, edited) = marks.ordinals(&segment);
        Placed::new(segment, dead, edited)
    });
    state.view.segments.splice(range, placed);
    state.manifest = manifest;
    shared.publish(&state);
    shared.changed.notify_all();
}

/// What happened to the points since merging began.
#[derive(Default)]
struct Marks {
    dead: Vec<PointId>,
    edited: Vec<PointId>,
}

impl Marks {
    /// Takes over what is dead and edited of an input now.
    fn carry(&mut self, input: &Input, dead: &RoaringBitmap, edited: &RoaringBitmap) {
        let id = |ordinal| input.segment.id(ordinal);
        self.dead.extend((dead - &input.dead).into_iter().map(id));
        self.edited.extend((edited - &input.dead).into_iter().map(id));
    }

    fn ordinals(&self, merged: &Segment) -> (RoaringBitmap, RoaringBitmap) {
        let of = |ids: &[PointId]| {
            ids.iter().filter_map(|id| merged.find(*id)).map(|spot| spot.ordinal).collect()
        };
        (of(&self.dead), of(&self.edited))
    }
}
