//! The mutable segment: what the log holds beyond the segments, in memory.
//!
//! A persistent map, so that a reader's copy is taken in constant time and never changes. It holds one entry an id, the
//! newest. Invariants: no entry's seq is above `last_seq`; an edit stands here only when the vector lies in
//! an older layer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use imbl::{OrdMap, OrdSet};
use shoal_vector::{PointId, SparseVector};

use crate::graph::{Growing, Member};
use crate::index::{Field, MemoryIndex};
use crate::inverted::Inverted;
use crate::log_state::LogState;
use crate::vectors::{Dense, Shape, Vectors};

/// Bytes of an entry besides its vector and payload: key, map node, two allocations, rounded up.
pub(crate) const ENTRY_BYTES: usize = 160;

/// A point as it was written, with the edits that came after it.
#[derive(Debug)]
pub(crate) struct Put {
    /// The newest write to it.
    pub(crate) seq: u64,
    pub(crate) vectors: Vectors,
    /// JSON text of an object, or nothing.
    pub(crate) payload: Arc<[u8]>,
}

/// The newest that is known of an id.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// The point is here.
    Put(Arc<Put>),
    /// The point lies in an older layer; this is its whole payload now.
    Edit {
        /// The newest edit.
        seq: u64,
        /// JSON text of an object, or nothing.
        payload: Arc<[u8]>,
    },
    /// The point was deleted.
    Tombstone {
        /// The delete.
        seq: u64,
    },
}

impl Entry {
    /// Whether what older layers hold of the id no longer counts.
    pub(crate) fn hides_older(&self) -> bool {
        !matches!(self, Entry::Edit { .. })
    }

    fn bytes(&self) -> usize {
        let held = match self {
            Entry::Put(put) => put.vectors.bytes() + put.payload.len(),
            Entry::Edit { payload, .. } => payload.len(),
            Entry::Tombstone { .. } => 0,
        };
        ENTRY_BYTES + held
    }
}

/// The graph over one vector of a mutable segment's puts, as of the segment's view.
#[derive(Clone)]
pub(crate) struct Near {
    pub(crate) graph: Arc<Growing>,
    pub(crate) nodes: usize,
    /// Whether each node's number is that of its point's slot.
    pub(crate) in_order: bool,
}

/// How the puts that have one of the vectors are found by it.
#[derive(Clone, Default)]
struct Findable {
    /// `None` before the first of them, and while the log is replayed.
    near: Option<Near>,
    /// Set when one of them is in no graph: then a search has to look at all entries.
    scattered: bool,
    /// How many there are.
    held: usize,
}

/// Puts are in no index, so that a search has to look at all entries.
pub(crate) struct Scattered;

/// See the file's comment.
#[derive(Clone, Default)]
pub(crate) struct MutableSegment {
    entries: OrdMap<PointId, Entry>,
    /// By number of the vector, as far as any put has one.
    findable: Vec<Findable>,
    /// By number of the sparse vector, as far as any put has one.
    inverted: Vec<Inverted>,
    /// Set when a put with sparse vectors is in no inverted index, as while the log is replayed.
    sparse_scattered: bool,
    /// Of the puts.
    index: MemoryIndex,
    /// Ids whose entry is an edit.
    edits: OrdSet<PointId>,
    bytes: usize,
    /// Bytes that the ops in it take in the log, also those without effect.
    pub(crate) log_bytes: u64,
    /// Last op applied to it; 0 when there was none.
    pub(crate) last_seq: u64,
    /// Points of the shard as of `last_seq`, once it is frozen.
    pub(crate) points_after: u64,
    /// What the log says as of `last_seq`, likewise.
    pub(crate) log: LogState,
    /// Set once it is in the manifest, where a mending waits for that.
    pub(crate) mended: Option<Arc<AtomicBool>>,
}

impl MutableSegment {
    pub(crate) fn get(&self, id: &PointId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Sets what counts of an id from now on, in place of what was known here. Its seq is the newer one, unless it mends.
    pub(crate) fn set(&mut self, id: PointId, entry: Entry) {
        self.bytes += entry.bytes();
        match &entry {
            Entry::Put(put) => {
                self.index.note(id);
                put.vectors.iter().for_each(|(number, _)| self.findable(number).held += 1);
            }
            Entry::Edit { .. } => drop(self.edits.insert(id)),
            Entry::Tombstone { .. } => self.index.note_end(&id),
        }
        if entry.hides_older() {
            self.edits.remove(&id);
        }
        if let Some(old) = self.entries.insert(id, entry) {
            self.bytes -= old.bytes();
            if let Entry::Put(put) = old {
                put.vectors.iter().for_each(|(number, _)| self.findable(number).held -= 1);
            }
        }
    }

    /// Sets a put, and makes it findable by each of its vectors.
    pub(crate) fn put(&mut self, id: PointId, put: Arc<Put>, shapes: &[Shape]) {
        let before = match self.get(&id) {
            Some(Entry::Put(before)) => before.vectors.clone(),
            _ => Vectors::default(),
        };
        let slot = self.index.note(id);
        for (number, vector) in put.vectors.iter() {
            // The graph leads to what did not change, by the slot that it had before.
            if !before.get(number).is_some_and(|before| Arc::ptr_eq(before, vector)) {
                self.connect((id, slot), number, vector, shapes);
            }
        }
        for (number, vector) in put.vectors.iter_sparse() {
            if !before.sparse(number).is_some_and(|before| Arc::ptr_eq(before, vector)) {
                self.invert(id, number, vector);
            }
        }
        self.set(id, Entry::Put(put));
    }

    /// Sets a put that no graph will lead to, and no inverted index.
    pub(crate) fn put_scattered(&mut self, id: PointId, put: Arc<Put>) {
        put.vectors.iter().for_each(|(number, _)| self.findable(number).scattered = true);
        self.sparse_scattered |= put.vectors.iter_sparse().next().is_some();
        self.set(id, Entry::Put(put));
    }

    fn findable(&mut self, number: usize) -> &mut Findable {
        if self.findable.len() <= number {
            self.findable.resize_with(number + 1, Findable::default);
        }
        &mut self.findable[number]
    }

    /// Adds a vector to the graph of its number, as far as there is room and memory for one.
    fn connect(
        &mut self,
        (point, slot): (PointId, u32),
        number: usize,
        vector: &Dense,
        shapes: &[Shape],
    ) {
        let Some(shape) = shapes.get(number) else { return };
        let findable = self.findable(number);
        if findable.scattered {
            return;
        }
        if findable.near.is_none() {
            let new = Growing::new(
                shape.metric,
                shape.quantization,
                shape.rotation.clone(),
                shape.capacity,
            );
            findable.near =
                new.ok().map(|graph| Near { graph: Arc::new(graph), nodes: 0, in_order: true });
        }
        let member = Member { point, slot, vector: vector.clone() };
        match findable.near.as_mut().and_then(|near| Some((near.graph.insert(member)?, near))) {
            Some((nodes, near)) => {
                near.in_order &= nodes == slot as usize + 1;
                near.nodes = nodes;
            }
            None => findable.scattered = true,
        }
    }

    fn invert(&mut self, id: PointId, number: usize, vector: &Arc<SparseVector>) {
        if self.sparse_scattered {
            return;
        }
        if self.inverted.len() <= number {
            self.inverted.resize_with(number + 1, Inverted::default);
        }
        self.inverted[number].insert(id, vector.clone());
    }

    /// Connects what was put without a graph, now that there is time for it.
    pub(crate) fn gather(&mut self, shapes: &[Shape]) {
        self.findable.iter_mut().for_each(|findable| findable.scattered = false);
        self.sparse_scattered = false;
        for (id, entry) in self.entries.clone().iter() {
            if let Entry::Put(put) = entry {
                let slot = self.index.note(*id);
                for (number, vector) in put.vectors.iter() {
                    self.connect((*id, slot), number, vector, shapes);
                }
                for (number, vector) in put.vectors.iter_sparse() {
                    self.invert(*id, number, vector);
                }
            }
        }
    }

    /// The inverted index over a sparse vector, `None` where no put has one; fails if puts are not in it.
    pub(crate) fn inverted(&self, number: usize) -> Result<Option<&Inverted>, Scattered> {
        match self.sparse_scattered {
            true => Err(Scattered),
            false => Ok(self.inverted.get(number)),
        }
    }

    /// The graph over a vector, if it leads to every put that has it.
    pub(crate) fn near(&self, number: usize) -> Option<&Near> {
        let findable = self.findable.get(number)?;
        findable.near.as_ref().filter(|_| !findable.scattered)
    }

    /// Number of puts that have a vector.
    pub(crate) fn held(&self, number: usize) -> usize {
        self.findable.get(number).map_or(0, |findable| findable.held)
    }

    /// Whether another put would not find room in one of the graphs, or there are as many replaced vectors in an inverted
    /// index as `most`.
    pub(crate) fn is_graph_full(&self, most: usize) -> bool {
        if self.inverted.iter().any(|inverted| inverted.len() >= most) {
            return true;
        }
        (0..self.findable.len())
            .any(|number| self.near(number).is_some_and(|near| near.graph.is_full()))
    }

    /// The indexes of the puts.
    pub(crate) fn index(&self) -> &MemoryIndex {
        &self.index
    }

    /// Ids whose payload was edited here and whose vectors lie in an older layer.
    pub(crate) fn edits(&self) -> &OrdSet<PointId> {
        &self.edits
    }

    /// Brings the indexes up to the puts.
    pub(crate) fn index_payloads(&mut self, wanted: &Arc<Vec<Field>>) {
        let entries = &self.entries;
        self.index.extend(wanted, |id| match entries.get(id) {
            Some(Entry::Put(put)) => Some(put.payload.clone()),
            _ => None,
        });
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that the entries take, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries in order of ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PointId, &Entry)> {
        self.entries.iter()
    }

    /// Ids from `from` on, ascending.
    pub(crate) fn ids_from(&self, from: PointId) -> impl Iterator<Item = PointId> {
        self.entries.range(from..).map(|(id, _)| *id)
    }
}
