//! Indexes of what is in memory: small ones, of some hundred points each, made as points are written.
//!
//! Points of a layer are numbered by slots, in the order in which their ids came first. When a group of ops is applied, its
//! new slots become a block with indexes of its own; blocks of a size are made one, up to a bound, so that there are few
//! and a payload is read few times. A point that is written again keeps its slot, and what its block says of it no longer
//! counts. Invariant: slots below the end of the last block are in a block; a slot whose payload may not be what its block
//! was made of is in `changed`.

use std::ops::Range;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use roaring::RoaringBitmap;
use shoal_vector::PointId;
use shoal_vector::payload::KeyPath;

use super::answer::Answer;
use super::bits::Bits;
use super::build::FieldBuilder;
use super::catalog::{Field, SegmentIndex};
use super::field::FieldIndex;
use super::plan::{Plan, Source};
use crate::apply::parse_payload;

/// Slots of a block at most: made in two milliseconds, and asked in a microsecond or two for each condition.
const BLOCK: u32 = 1_024;

/// Blocks are made anew once this share of slots has changed: then a tenth of what is in memory is looked at point by
/// point, and reading all payloads again costs each change as much as ten points.
const CHANGED: u64 = 10;

/// But not for fewer than these.
const FEW_CHANGED: u64 = 256;

/// See the file's comment.
#[derive(Clone, Default)]
pub(crate) struct MemoryIndex {
    /// By slot.
    ids: Vector<PointId>,
    slots: OrdMap<PointId, u32>,
    changed: Arc<RoaringBitmap>,
    blocks: Vec<Arc<Block>>,
    /// What the blocks are indexes of.
    fields: Arc<Vec<Field>>,
}

/// Indexes of neighbouring slots.
struct Block {
    slots: Range<u32>,
    indexes: SegmentIndex,
}

/// Slots that may pass a filter.
pub(crate) struct SlotAnswer {
    pub(crate) most: Bits,
    /// Those of which that is not sure.
    pub(crate) open: Bits,
}

impl MemoryIndex {
    /// Notes that a point was written; its slot.
    pub(crate) fn note(&mut self, id: PointId) -> u32 {
        if let Some(slot) = self.slots.get(&id) {
            let slot = *slot;
            self.note_change(slot);
            return slot;
        }
        let slot = self.ids.len() as u32;
        self.ids.push_back(id);
        self.slots.insert(id, slot);
        slot
    }

    /// Notes that a point is no longer what it was, if it is here.
    pub(crate) fn note_end(&mut self, id: &PointId) {
        if let Some(slot) = self.slots.get(id) {
            let slot = *slot;
            self.note_change(slot);
        }
    }

    fn note_change(&mut self, slot: u32) {
        if slot < self.indexed() && !self.changed.contains(slot) {
            Arc::make_mut(&mut self.changed).insert(slot);
        }
    }

    /// Slots that are in blocks.
    fn indexed(&self) -> u32 {
        self.blocks.last().map_or(0, |block| block.slots.end)
    }

    /// Number of slots.
    pub(crate) fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    pub(crate) fn id(&self, slot: u32) -> Option<PointId> {
        self.ids.get(slot as usize).copied()
    }

    pub(crate) fn slot(&self, id: &PointId) -> Option<u32> {
        self.slots.get(id).copied()
    }

    /// Whether its blocks are of these fields, and of all slots.
    pub(crate) fn is_whole(&self, wanted: &[Field]) -> bool {
        wanted.is_empty() || (*self.fields == wanted && self.indexed() == self.len())
    }

    /// Makes the blocks that are missing, given what reads the payload of a point that is here.
    pub(crate) fn extend(
        &mut self,
        wanted: &Arc<Vec<Field>>,
        payload: impl Fn(&PointId) -> Option<Arc<[u8]>>,
    ) {
        let too_many = self.changed.len() > (u64::from(self.len()) / CHANGED).max(FEW_CHANGED);
        if too_many || (!Arc::ptr_eq(&self.fields, wanted) && self.fields != *wanted) {
            self.blocks.clear();
            self.changed = Arc::default();
        }
        self.fields = wanted.clone();
        if wanted.is_empty() || self.indexed() == self.len() {
            return;
        }
        let mut start = self.indexed();
        while let Some(last) = self.blocks.last()
            && last.slots.len() as u32 <= self.len() - start
            && self.len() - last.slots.start <= BLOCK
        {
            start = last.slots.start;
            self.blocks.pop();
        }
        while start < self.len() {
            let end = self.len().min(start + BLOCK);
            self.blocks.push(Arc::new(self.block(start..end, &payload)));
            start = end;
        }
    }

    fn block(&self, slots: Range<u32>, payload: &impl Fn(&PointId) -> Option<Arc<[u8]>>) -> Block {
        let len = slots.len() as u32;
        let builder = |field: &Field| Some(FieldBuilder::new(field, len));
        let mut builders: Vec<Option<FieldBuilder>> = self.fields.iter().map(builder).collect();
        let ids = self.ids.iter().skip(slots.start as usize).take(slots.len());
        for (ordinal, id) in (0..).zip(ids) {
            // What was deleted or does not parse is found out by whoever looks at it.
            let text = payload(id).filter(|text| !text.is_empty());
            let Some(Ok(payload)) = text.map(|text| parse_payload(&text)) else { continue };
            for slot in &mut builders {
                if slot.as_mut().is_some_and(|builder| builder.add(ordinal, &payload).is_err()) {
                    *slot = None;
                }
            }
        }
        let mut indexes = SegmentIndex::default();
        for (field, builder) in self.fields.iter().zip(builders) {
            indexes.insert(field, builder.map(|builder| Arc::new(builder.finish())));
        }
        Block { slots, indexes }
    }

    /// Which slots may pass a filter.
    pub(crate) fn answer(&self, plan: &Plan<'_>) -> SlotAnswer {
        let len = self.len();
        let (mut most, mut open) = (Bits::none(len), Bits::none(len));
        for block in &self.blocks {
            let source = OfBlock { memory: self, block };
            let Answer { most: bits, exact } = plan.answer(&source);
            let bits = bits.unwrap_or_else(|| Bits::all(source.len()));
            most.add_at(block.slots.start, &bits);
            if !exact {
                open.add_at(block.slots.start, &bits);
            }
        }
        let unknown = (self.indexed()..len).chain(self.changed.iter());
        let mut answer = SlotAnswer { most, open };
        unknown.for_each(|slot| answer.leave_open(slot));
        answer
    }

    /// Points with a value in a field, but for those that changed of late.
    pub(crate) fn filled(&self, path: &KeyPath) -> u64 {
        let of = |block: &Arc<Block>| {
            let filled = block.indexes.field(path)?.filled();
            let changed = self.changed.range(block.slots.clone());
            let gone = changed.filter(|slot| filled.contains(slot - block.slots.start)).count();
            Some((filled.count() - gone) as u64)
        };
        self.blocks.iter().filter_map(of).sum()
    }
}

impl SlotAnswer {
    /// Takes it that a slot may pass.
    pub(crate) fn leave_open(&mut self, slot: u32) {
        self.most.set(slot);
        self.open.set(slot);
    }
}

struct OfBlock<'a> {
    memory: &'a MemoryIndex,
    block: &'a Block,
}

impl Source for OfBlock<'_> {
    fn len(&self) -> u32 {
        self.block.slots.len() as u32
    }

    fn field(&self, path: &KeyPath) -> Option<&FieldIndex> {
        self.block.indexes.field(path)
    }

    fn with_ids(&self, ids: &[PointId]) -> Bits {
        let Range { start, end } = self.block.slots;
        let mut bits = Bits::none(end - start);
        // Through the shorter of the two lists.
        if ids.len() < self.block.slots.len() {
            let slots = ids.iter().filter_map(|id| self.memory.slot(id));
            slots
                .filter(|slot| (start..end).contains(slot))
                .for_each(|slot| bits.set(slot - start));
        } else {
            let own = self.memory.ids.iter().skip(start as usize).take((end - start) as usize);
            let listed = (0..).zip(own).filter(|(_, id)| ids.binary_search(id).is_ok());
            listed.for_each(|(ordinal, _)| bits.set(ordinal));
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;
    use shoal_vector::Filter;
    use shoal_vector::payload::{IndexKind, PayloadIndex};

    use super::super::plan::Texts;
    use super::*;

    fn fields(kind: IndexKind) -> Arc<Vec<Field>> {
        let config = PayloadIndex::new("n", kind).unwrap();
        Arc::new(vec![Field { path: config.path().unwrap(), config }])
    }

    fn payload(n: u64) -> Arc<[u8]> {
        json!({"n": n}).to_string().into_bytes().into()
    }

    #[test]
    fn blocks_are_few_however_points_come() {
        let points: BTreeMap<PointId, Arc<[u8]>> =
            (0..5_000).map(|n| (PointId::Num(n), payload(n))).collect();
        for group in [1, 7, 100, 3_000] {
            let (mut index, wanted) = (MemoryIndex::default(), fields(IndexKind::Integer));
            for ids in points.keys().copied().collect::<Vec<_>>().chunks(group) {
                for id in ids {
                    index.note(*id);
                }
                index.extend(&wanted, |id| points.get(id).cloned());
                assert!(index.is_whole(&wanted));
            }
            assert!(index.blocks.len() <= 5_000 / 512 + 11, "{} of {group}", index.blocks.len());
            assert!(index.blocks.iter().all(|block| block.slots.len() <= BLOCK as usize));
            assert_eq!(index.filled(&wanted[0].path), 5_000);
        }
    }

    proptest! {
        /// Points written, written again and deleted, with fields that change and groups of any size.
        #[test]
        fn slots_that_may_pass_are_those_that_do_and_some_that_are_open(
            steps in prop::collection::vec((0u64..40, 0u64..6, 0u8..12), 1..300), wanted in 0u64..6,
        ) {
            let (mut index, mut points) = (MemoryIndex::default(), BTreeMap::new());
            let kinds = [fields(IndexKind::Integer), fields(IndexKind::Keyword), Arc::default()];
            let mut kind = 0;
            for (id, n, step) in steps {
                let id = PointId::Num(id);
                match step {
                    0 => {
                        points.remove(&id);
                        index.note_end(&id);
                    }
                    1 => kind = n as usize % 3,
                    2..5 => index.extend(&kinds[kind], |id| points.get(id).map(|n| payload(*n))),
                    _ => {
                        points.insert(id, n);
                        index.note(id);
                    }
                }
            }
            let filter = json!({"must": {"key": "n", "match": {"value": wanted}}});
            let filter = Filter::parse(&filter).unwrap();
            let answer = index.answer(&Plan::of(&filter, Texts::ByTokens));
            for slot in 0..index.len() {
                let passes = index.id(slot).and_then(|id| points.get(&id)) == Some(&wanted);
                prop_assert!(answer.most.contains(slot) || !passes);
                prop_assert!(answer.open.contains(slot) || answer.most.contains(slot) == passes);
            }
        }
    }
}
