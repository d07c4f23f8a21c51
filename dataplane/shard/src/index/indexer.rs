//! Making indexes: a thread that loads those that are stored, makes those that are not, and drops those of segments and
//! fields that are gone.
//!
//! A flush and a compaction make the indexes of their segment before readers see it (`prepare`); the thread does what is
//! left, after a start and when the fields change, and stores what was made. It waits for the store when a shard starts,
//! because to load is much cheaper than to make; nobody waits for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::build::FieldBuilder;
use super::catalog::{Field, Indexes, SegmentIndex};
use super::field::FieldIndex;
use super::stored::{decode, encode};
use crate::apply::parse_payload;
use crate::env;
use crate::segment::{Damage, PayloadCache, Segment};
use crate::shared::Shared;

/// How long a start waits for the store at most before indexes are made: opening takes a second for a million points, but
/// bringing an empty one up takes minutes, and then it has no indexes either.
const STORE_WAIT: Duration = Duration::from_secs(10);

/// How often it looks whether the store is open.
const STORE_LOOK: Duration = Duration::from_millis(20);

/// Payloads that are read between two looks at whether the shard stops.
const READ_AT_ONCE: u32 = 256;

/// Runs until the shard stops.
pub(crate) fn run(shared: &Shared) {
    wait_for_store(shared);
    let mut stored = HashSet::new();
    let mut seen = None;
    while let Some(segments) = next(shared, &mut seen) {
        let numbers: HashSet<u64> = segments.iter().map(|segment| segment.number).collect();
        shared.indexes.retain(&numbers);
        stored.retain(|(number, field): &(u64, Vec<u8>)| {
            numbers.contains(number)
                && shared.indexes.wanted().iter().any(|wanted| wanted.stored_name() == *field)
        });
        let names = shared.indexes.wanted().iter().map(Field::stored_name).collect();
        shared.store.keep_indexes(names);
        index_memory(shared);
        for segment in &segments {
            load(shared, segment, &mut stored);
            if let Err(damage) = make(&shared.indexes, segment, || shared.is_stopping()) {
                shared.report_damage(damage);
            }
            store(shared, segment, &mut stored);
        }
    }
}

fn wait_for_store(shared: &Shared) {
    let until = env::now() + STORE_WAIT;
    let mut state = env::lock(&shared.state);
    while !shared.is_stopping() && !shared.store.is_settled() && env::now() < until {
        state = env::wait_for(&shared.changed, state, STORE_LOOK);
    }
}

/// What was last looked at: fields, and numbers of segments.
type Seen = (Arc<Vec<Field>>, Vec<u64>);

/// Waits until there are other fields or segments than were seen; `None` once the shard stops.
fn next(shared: &Shared, seen: &mut Option<Seen>) -> Option<Vec<Arc<Segment>>> {
    let mut state = env::lock(&shared.state);
    loop {
        if shared.is_stopping() {
            return None;
        }
        let numbers = state.view.segments.iter().map(|placed| placed.segment.number).collect();
        let now = (shared.indexes.wanted(), numbers);
        let is_new = seen.as_ref().is_none_or(|seen| *seen != now);
        if is_new && shared.check_whole().is_ok() {
            *seen = Some(now);
            return Some(state.view.segments.iter().map(|p| p.segment.clone()).collect());
        }
        state = env::wait(&shared.changed, state);
    }
}

/// Makes the indexes of what the log was replayed into. Layers that froze never change, so the work is done beside them; what
/// did not is a thousand points at most.
fn index_memory(shared: &Shared) {
    let wanted = shared.indexes.wanted();
    let frozen = env::lock(&shared.state).view.frozen.clone();
    for mut layer in frozen.into_iter().filter(|layer| !layer.index().is_whole(&wanted)) {
        layer.index_payloads(&wanted);
        let mut state = env::lock(&shared.state);
        let mut layers = state.view.frozen.iter_mut();
        if let Some(place) = layers.find(|place| place.last_seq == layer.last_seq) {
            *place = layer;
            shared.publish(&state);
        }
    }
    let mut state = env::lock(&shared.state);
    if !state.view.mutable.index().is_whole(&wanted) {
        state.view.index_payloads();
        shared.publish(&state);
    }
}

/// Makes the indexes of a segment that readers do not see yet.
pub(crate) fn prepare(shared: &Shared, segment: &Segment) {
    // A flush that is tried again writes another file under the same number, with other ordinals.
    shared.indexes.forget(segment.number);
    // Damage is found again by whoever reads the segment next.
    let _ = make(&shared.indexes, segment, || shared.is_stopping());
}

/// Fields of a segment that nothing was done about yet.
fn open_fields(indexes: &Indexes, segment: &Segment) -> Vec<Field> {
    let ready = indexes.ready();
    let settled = |field: &&Field| {
        !ready.segment(segment.number).is_some_and(|index| SegmentIndex::settles(index, field))
    };
    indexes.wanted().iter().filter(settled).cloned().collect()
}

fn load(shared: &Shared, segment: &Segment, stored: &mut HashSet<(u64, Vec<u8>)>) {
    for field in open_fields(&shared.indexes, segment) {
        let name = field.stored_name();
        let Some(bytes) = shared.store.index(segment.number, &name) else { continue };
        match decode(&bytes, segment.len()) {
            Ok(index) => {
                add(&shared.indexes, segment, &field, Some(Arc::new(index)));
                stored.insert((segment.number, name));
            }
            Err(error) => {
                tracing::warn!(segment = segment.number, field = field.config.field, %error, "a stored payload index is made anew");
            }
        }
    }
}

/// Makes the indexes that a segment lacks, in one pass over its payloads.
fn make(indexes: &Indexes, segment: &Segment, stops: impl Fn() -> bool) -> Result<(), Damage> {
    let fields = open_fields(indexes, segment);
    if fields.is_empty() {
        return Ok(());
    }
    let builder = |field: &Field| Some(FieldBuilder::new(field, segment.len()));
    let mut builders: Vec<Option<FieldBuilder>> = fields.iter().map(builder).collect();
    let mut cache = PayloadCache::default();
    for place in 0..segment.len() {
        if place % READ_AT_ONCE == 0 && stops() {
            return Ok(());
        }
        let text = segment.payload(&mut cache, place)?;
        if text.is_empty() {
            continue;
        }
        let ordinal = segment.at_place(place).ordinal;
        let payload = parse_payload(text).map_err(|detail| Damage {
            file: format!("payload of point {}", segment.id(ordinal)),
            detail,
        })?;
        for (slot, field) in builders.iter_mut().zip(&fields) {
            if let Some(Err(error)) = slot.as_mut().map(|builder| builder.add(ordinal, &payload)) {
                tracing::warn!(segment = segment.number, field = field.config.field, %error, "the field is not indexed here; filters on it look at payloads");
                *slot = None;
            }
        }
    }
    for (field, builder) in fields.iter().zip(builders) {
        let index = builder.map(|builder| Arc::new(builder.finish()));
        add(indexes, segment, field, index);
    }
    Ok(())
}

fn add(indexes: &Indexes, segment: &Segment, field: &Field, index: Option<Arc<FieldIndex>>) {
    if !indexes.add(segment.number, field, index) {
        tracing::warn!(
            segment = segment.number,
            field = field.config.field,
            "no room in memory for a payload index; filters on the field look at payloads in this segment"
        );
    }
}

/// Gives the store what it does not have.
fn store(shared: &Shared, segment: &Segment, stored: &mut HashSet<(u64, Vec<u8>)>) {
    let ready = shared.indexes.ready();
    let Some(indexes) = ready.segment(segment.number) else { return };
    for field in shared.indexes.wanted().iter() {
        let key = (segment.number, field.stored_name());
        let Some(index) = indexes.field(&field.path).filter(|_| !stored.contains(&key)) else {
            continue;
        };
        if !indexes.settles(field) {
            continue;
        }
        match encode(index) {
            Ok(bytes) => shared.store.keep_index(segment.number, key.1.clone(), bytes),
            Err(error) => tracing::warn!(%error, "a payload index is not stored"),
        }
        stored.insert(key);
    }
}
