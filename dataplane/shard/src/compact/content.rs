//! What a merged segment holds, taken from neighbours in the order of segments.
//!
//! Invariant: it is what the segments hold as of the manifest's `flushed_seq`, whatever was written since: the log is
//! replayed over it as over them. Points that are dead by then are left out; edits within the neighbours become part of
//! their points; tombstones go, since the manifest says what they buried.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use shoal_vector::PointId;

use crate::mutable::Put;
use crate::segment::{Damage, PayloadCache, Segment, SegmentContent};

/// A segment and which of its points are dead in the manifest.
pub(super) struct Input {
    pub(super) segment: Arc<Segment>,
    pub(super) dead: RoaringBitmap,
}

/// The newest edit of an id among the inputs: its seq, and where its payload is.
type Edits = HashMap<PointId, (u64, usize, u32)>;

/// Merges `inputs`, oldest first. `below` are all older segments: edits of their points stay edits.
pub(super) fn merge(inputs: &[Input], below: &[Input]) -> Result<SegmentContent, Damage> {
    let mut edits = Edits::new();
    for (number, input) in inputs.iter().enumerate() {
        for (id, seq, item) in input.segment.all_edits() {
            edits.insert(id, (seq, number, item));
        }
    }
    let mut content = SegmentContent::default();
    let mut cache = PayloadCache::default();
    for (place_of_input, input) in inputs.iter().enumerate() {
        let segment = &input.segment;
        content.last_seq = content.last_seq.max(segment.last_seq());
        for place in 0..segment.len() {
            let spot = segment.at_place(place);
            if input.dead.contains(spot.ordinal) {
                continue;
            }
            let (id, seq) = (segment.id(spot.ordinal), segment.seq(spot.ordinal));
            // By where it lies and not by seq: what was mended is above later edits of what it took the place of.
            let newer = edits.remove(&id).filter(|(_, number, _)| *number > place_of_input);
            let (seq, payload) = match newer {
                Some((edited, number, item)) => {
                    (edited, inputs[number].segment.payload(&mut cache, item)?)
                }
                None => (seq, segment.payload(&mut cache, place)?),
            };
            let vectors = segment.vectors_of(spot.ordinal);
            content.puts.push((id, Arc::new(Put { seq, vectors, payload: payload.into() })));
        }
    }
    for (id, (seq, number, item)) in edits {
        let lives_below = below.iter().any(|input| {
            input.segment.find(id).is_some_and(|spot| !input.dead.contains(spot.ordinal))
        });
        if lives_below {
            let payload = inputs[number].segment.payload(&mut cache, item)?;
            content.edits.push((id, seq, payload.into()));
        }
    }
    content.puts.sort_unstable_by_key(|(id, _)| *id);
    content.edits.sort_unstable_by_key(|(id, ..)| *id);
    Ok(content)
}
