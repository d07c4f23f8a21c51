//! One immutable view of a shard: what all reads of one request see.
//!
//! Layers from old to new: segments, frozen mutable segments, the mutable one. Of an id the newest layer that holds a
//! put or a tombstone decides whether the point lives and where its vector is; a newer edit, if there is one, is its
//! payload. Invariant: an ordinal of a segment is in `dead` exactly when a newer layer holds a put or a tombstone of
//! its id, and in `edited` when one holds an edit of it, so a scan asks other layers about edited points only.

use std::sync::Arc;

use roaring::RoaringBitmap;
use shoal_vector::sparse::dot;
use shoal_vector::{Elements, PointId, SparseVector, SparseVectorConfig};

use crate::api::FilterInfo;
use crate::index::Indexes;
use crate::log_state::LogState;
use crate::mutable::{Entry, MutableSegment, Put};
use crate::segment::{Damage, PayloadCache, Segment, Spot};
use crate::vectors::{Shape, Vectors, sparse_number_of};

/// Points that are connected before a shard serves: some tens of milliseconds of work.
const CONNECTED_AT_START: usize = 1_000;

/// A segment with what later ops did to its points.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) dead: Arc<RoaringBitmap>,
    pub(crate) edited: Arc<RoaringBitmap>,
    /// The same as `dead`, by number of a vector and in its rows, where these are not ordinals.
    dead_rows: Arc<[Option<RoaringBitmap>]>,
}

impl Placed {
    pub(crate) fn new(segment: Arc<Segment>, dead: RoaringBitmap, edited: RoaringBitmap) -> Self {
        let rows = |number| {
            let rows = dead.iter().filter_map(|ordinal| segment.row(number, ordinal));
            (!segment.rows_are_ordinals(number)).then(|| rows.collect())
        };
        let dead_rows = (0..segment.vectors()).map(rows).collect();
        Self { dead_rows, segment, dead: Arc::new(dead), edited: Arc::new(edited) }
    }

    /// Points that live here.
    pub(crate) fn live(&self) -> u64 {
        u64::from(self.segment.len()) - self.dead.len()
    }

    /// Rows of a vector whose points are dead.
    pub(crate) fn dead_rows(&self, number: usize) -> &RoaringBitmap {
        self.dead_rows.get(number).and_then(Option::as_ref).unwrap_or(&self.dead)
    }

    /// Marks a point dead; whether it lived.
    fn bury(&mut self, ordinal: u32) -> bool {
        if self.dead.contains(ordinal) {
            return false;
        }
        Arc::make_mut(&mut self.dead).insert(ordinal);
        if self.dead_rows.iter().any(Option::is_some) {
            for (number, dead) in Arc::make_mut(&mut self.dead_rows).iter_mut().enumerate() {
                if let (Some(dead), Some(row)) = (dead, self.segment.row(number, ordinal)) {
                    dead.insert(row);
                }
            }
        }
        true
    }
}

/// See the file's comment.
#[derive(Clone)]
pub(crate) struct View {
    /// By number of the vector.
    pub(crate) shapes: Arc<[Shape]>,
    /// By number of the sparse vector.
    pub(crate) sparse: Arc<[SparseVectorConfig]>,
    /// Of the segments, as far as they are ready.
    pub(crate) indexes: Arc<Indexes>,
    /// While the log is replayed, points are not connected: a shard that starts has no time for it.
    pub(crate) replaying: bool,
    pub(crate) mutable: MutableSegment,
    /// Full, waiting to become segments; oldest first.
    pub(crate) frozen: Vec<MutableSegment>,
    /// Oldest first.
    pub(crate) segments: Vec<Placed>,
    /// Points that live.
    pub(crate) points: u64,
    /// Last op whose effect is in this view.
    pub(crate) applied_seq: u64,
    /// What the log says up to there.
    pub(crate) log: LogState,
}

/// Where a live point's vector is.
#[derive(Clone, Copy)]
pub(crate) enum Home<'v> {
    Memory(&'v Put),
    Segment(&'v Placed, Spot),
}

/// Where the newest payload of a point is, if it was edited after it was put.
#[derive(Clone, Copy)]
pub(crate) enum Edited<'v> {
    Memory(u64, &'v [u8]),
    Segment(u64, &'v Segment, u32),
}

/// A live point.
#[derive(Clone, Copy)]
pub(crate) struct Located<'v> {
    pub(crate) id: PointId,
    pub(crate) home: Home<'v>,
    pub(crate) edited: Option<Edited<'v>>,
}

impl<'v> Located<'v> {
    /// The vector of a number, if the point has it.
    pub(crate) fn vector(&self, number: usize) -> Option<Elements<'v>> {
        match self.home {
            Home::Memory(put) => put.vectors.get(number).map(|vector| Elements::Float32(vector)),
            Home::Segment(placed, spot) => placed.segment.vector(number, spot.ordinal),
        }
    }

    /// The product of a query with the sparse vector of a number; `None` if they share no dimension, or the point lacks it.
    pub(crate) fn product(&self, number: usize, query: &SparseVector) -> Option<f32> {
        match self.home {
            Home::Memory(put) => dot(query.pairs(), put.vectors.sparse(number)?.pairs()),
            Home::Segment(placed, spot) => {
                dot(query.pairs(), placed.segment.sparse_pairs(number, spot.ordinal)?)
            }
        }
    }

    /// The sparse vector of a number, if the point has it.
    pub(crate) fn sparse(&self, number: usize) -> Option<SparseVector> {
        match self.home {
            Home::Memory(put) => put.vectors.sparse(number).map(|vector| (**vector).clone()),
            Home::Segment(placed, spot) => placed.segment.sparse(number, spot.ordinal),
        }
    }

    /// Whether the point has the sparse vector of a number.
    pub(crate) fn has_sparse(&self, number: usize) -> bool {
        match self.home {
            Home::Memory(put) => put.vectors.sparse(number).is_some(),
            Home::Segment(placed, spot) => {
                placed.segment.sparse_pairs(number, spot.ordinal).is_some()
            }
        }
    }

    /// All vectors that the point has; a copy where they are in a segment.
    pub(crate) fn vectors(&self) -> Vectors {
        match self.home {
            Home::Memory(put) => put.vectors.clone(),
            Home::Segment(placed, spot) => placed.segment.vectors_of(spot.ordinal),
        }
    }

    /// The newest write to the point.
    pub(crate) fn seq(&self) -> u64 {
        match (self.edited, self.home) {
            (Some(Edited::Memory(seq, _) | Edited::Segment(seq, ..)), _) => seq,
            (None, Home::Memory(put)) => put.seq,
            (None, Home::Segment(placed, spot)) => placed.segment.seq(spot.ordinal),
        }
    }

    /// Segment and number of the item that is the point's payload, if it is in a segment.
    pub(crate) fn stored_item(&self) -> Option<(u64, u32)> {
        match (self.edited, self.home) {
            (Some(Edited::Segment(_, segment, item)), _) => Some((segment.number, item)),
            (None, Home::Segment(placed, spot)) => Some((placed.segment.number, spot.place)),
            (Some(Edited::Memory(..)), _) | (None, Home::Memory(_)) => None,
        }
    }

    /// The payload's JSON text, empty for none.
    pub(crate) fn payload<'c>(&self, cache: &'c mut PayloadCache) -> Result<&'c [u8], Damage>
    where
        'v: 'c,
    {
        match (self.edited, self.home) {
            (Some(Edited::Memory(_, payload)), _) => Ok(payload),
            (Some(Edited::Segment(_, segment, item)), _) => segment.payload(cache, item),
            (None, Home::Memory(put)) => Ok(&put.payload),
            (None, Home::Segment(placed, spot)) => placed.segment.payload(cache, spot.place),
        }
    }
}

impl View {
    /// Layers in memory, newest first.
    pub(crate) fn memory(&self) -> impl Iterator<Item = &MutableSegment> {
        std::iter::once(&self.mutable).chain(self.frozen.iter().rev())
    }

    /// The point of an id, if it lives.
    pub(crate) fn locate(&self, id: PointId) -> Option<Located<'_>> {
        let mut edited = None;
        for layer in self.memory() {
            match layer.get(&id) {
                Some(Entry::Put(put)) => {
                    return Some(Located { id, home: Home::Memory(put), edited });
                }
                Some(Entry::Tombstone { .. }) => return None,
                Some(Entry::Edit { seq, payload }) => {
                    edited = edited.or(Some(Edited::Memory(*seq, payload)))
                }
                None => {}
            }
        }
        for placed in self.segments.iter().rev() {
            if let Some(spot) = placed.segment.find(id) {
                let alive = !placed.dead.contains(spot.ordinal);
                return alive.then_some(Located { id, home: Home::Segment(placed, spot), edited });
            }
            if placed.segment.has_tombstone(id) {
                return None;
            }
            if edited.is_none()
                && let Some((seq, item)) = placed.segment.edit(id)
            {
                edited = Some(Edited::Segment(seq, &placed.segment, item));
            }
        }
        None
    }

    /// A point of a segment that is not dead.
    pub(crate) fn in_segment<'v>(&'v self, placed: &'v Placed, spot: Spot) -> Located<'v> {
        let id = placed.segment.id(spot.ordinal);
        let edited = match placed.edited.contains(spot.ordinal) {
            true => self.locate(id).and_then(|located| located.edited),
            false => None,
        };
        Located { id, home: Home::Segment(placed, spot), edited }
    }

    /// Whether a point has the vector of a name, of either kind.
    pub(crate) fn has_vector(&self, located: &Located<'_>, name: &str) -> bool {
        if let Some(number) = self.shapes.iter().position(|shape| shape.name == name) {
            return located.vector(number).is_some();
        }
        let number = sparse_number_of(&self.sparse, name);
        number.is_some_and(|number| located.has_sparse(number))
    }

    /// Calls `visit` with every live point whose vector is in this layer in memory.
    pub(crate) fn each_in_layer<'v, E>(
        &'v self,
        layer: &'v MutableSegment,
        mut visit: impl FnMut(Located<'v>) -> Result<(), E>,
    ) -> Result<(), E> {
        layer
            .iter()
            .filter_map(|(id, entry)| self.in_layer(layer, *id, entry))
            .try_for_each(&mut visit)
    }

    /// The point that an entry of a layer in memory puts, if it lives and no newer layer decides about it.
    pub(crate) fn in_layer<'v>(
        &'v self,
        layer: &'v MutableSegment,
        id: PointId,
        entry: &'v Entry,
    ) -> Option<Located<'v>> {
        let Entry::Put(put) = entry else { return None };
        if std::ptr::eq(layer, &self.mutable) {
            return Some(Located { id, home: Home::Memory(put), edited: None });
        }
        self.locate(id).filter(
            |located| matches!(located.home, Home::Memory(found) if std::ptr::eq(found, &**put)),
        )
    }

    /// What there is of payload indexes.
    pub(crate) fn filter_info(&self) -> FilterInfo {
        let (wanted, ready) = (self.indexes.wanted(), self.indexes.ready());
        let mut info = FilterInfo {
            left_out: ready.left_out(),
            bytes: ready.bytes(),
            counts: self.indexes.counts(),
            ..FilterInfo::default()
        };
        for field in wanted.iter() {
            let mut points = 0;
            for placed in &self.segments {
                let index = ready.segment(placed.segment.number);
                info.pending += u64::from(!index.is_some_and(|index| index.settles(field)));
                if let Some(index) = index.and_then(|index| index.field(&field.path)) {
                    let dead = placed.dead.iter().filter(|o| index.filled().contains(*o)).count();
                    points += (index.filled().count() - dead) as u64;
                }
            }
            points += self.memory().map(|layer| layer.index().filled(&field.path)).sum::<u64>();
            info.fields.push((field.config.clone(), points));
        }
        info
    }

    /// Marks the point of an id dead in the segments, because a newer layer now decides about it. Whether it lived in
    /// one of them.
    pub(crate) fn bury_in_segments(&mut self, id: PointId) -> bool {
        for placed in self.segments.iter_mut().rev() {
            if let Some(spot) = placed.segment.find(id) {
                // All older ones were buried when this one was written.
                return placed.bury(spot.ordinal);
            }
        }
        false
    }

    /// Goes over from replaying to serving: a few points are connected now, many become a segment soon.
    pub(crate) fn replayed(&mut self) {
        match self.mutable.len() <= CONNECTED_AT_START {
            true => self.mutable.gather(&self.shapes),
            false => self.freeze(),
        }
        self.replaying = false;
    }

    /// Brings the indexes of what is newest up to it. Layers that froze before are the indexer's.
    pub(crate) fn index_payloads(&mut self) {
        self.mutable.index_payloads(&self.indexes.wanted());
    }

    /// Ends the mutable segment, if any op is in it, and begins another.
    pub(crate) fn freeze(&mut self) {
        if self.mutable.last_seq > 0 {
            // While the log is replayed there is no time for it.
            if !self.replaying {
                self.index_payloads();
            }
            let mut full = std::mem::take(&mut self.mutable);
            (full.points_after, full.log) = (self.points, self.log.clone());
            self.frozen.push(full);
        }
    }
}
