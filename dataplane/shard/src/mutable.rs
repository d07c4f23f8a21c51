//! The mutable segment: what the log holds beyond the segments, in memory.
//!
//! A persistent map, so that a reader's copy is taken in constant time and never changes. It holds one entry an id, the
//! newest. Invariants: `first_seq <= seq of every entry <= last_seq`; an edit stands here only when the vector lies in
//! an older layer.

use std::sync::Arc;

use imbl::OrdMap;
use shoal_vector::codes::Rotation;
use shoal_vector::{Metric, PointId};

use crate::graph::{Growing, Member};

/// Bytes of an entry besides its vector and payload: key, map node, two allocations, rounded up.
pub(crate) const ENTRY_BYTES: usize = 160;

/// A point as it was written, with the edits that came after it.
#[derive(Debug)]
pub(crate) struct Put {
    /// The newest write to it.
    pub(crate) seq: u64,
    /// Preprocessed by the metric.
    pub(crate) vector: Arc<[f32]>,
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
    pub(crate) fn seq(&self) -> u64 {
        match self {
            Entry::Put(put) => put.seq,
            Entry::Edit { seq, .. } | Entry::Tombstone { seq } => *seq,
        }
    }

    /// Whether what older layers hold of the id no longer counts.
    pub(crate) fn hides_older(&self) -> bool {
        !matches!(self, Entry::Edit { .. })
    }

    fn bytes(&self) -> usize {
        let held = match self {
            Entry::Put(put) => size_of_val(&*put.vector) + put.payload.len(),
            Entry::Edit { payload, .. } => payload.len(),
            Entry::Tombstone { .. } => 0,
        };
        ENTRY_BYTES + held
    }
}

/// What the graphs of a shard's mutable segments have in common.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) metric: Metric,
    pub(crate) rotation: Rotation,
    /// Nodes of a graph. Greater than the number of entries at which a mutable segment freezes, because a point that is
    /// written again takes another node.
    pub(crate) capacity: usize,
}

/// The graph over the puts of a mutable segment, as of the segment's view.
#[derive(Clone)]
pub(crate) struct Near {
    pub(crate) graph: Arc<Growing>,
    pub(crate) nodes: usize,
}

/// See the file's comment.
#[derive(Clone, Default)]
pub(crate) struct MutableSegment {
    entries: OrdMap<PointId, Entry>,
    /// `None` before the first put, and while the log is replayed.
    near: Option<Near>,
    /// Set when a put is in no graph: then a search has to look at all entries.
    scattered: bool,
    bytes: usize,
    /// Bytes that the ops in it take in the log, also those without effect.
    pub(crate) log_bytes: u64,
    /// Last op applied to it; 0 when there was none.
    pub(crate) last_seq: u64,
    /// Points of the shard as of `last_seq`.
    pub(crate) points_after: u64,
}

impl MutableSegment {
    pub(crate) fn get(&self, id: &PointId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Sets the newest of an id, in place of what was known here.
    pub(crate) fn set(&mut self, id: PointId, entry: Entry) {
        debug_assert!(self.get(&id).is_none_or(|old| old.seq() <= entry.seq()));
        self.bytes += entry.bytes();
        if let Some(old) = self.entries.insert(id, entry) {
            self.bytes -= old.bytes();
        }
    }

    /// Sets a put of a vector that is new here, and makes it findable.
    pub(crate) fn put(&mut self, id: PointId, put: Arc<Put>, shape: &Shape) {
        self.connect(id, &put.vector, shape);
        self.set(id, Entry::Put(put));
    }

    /// Sets a put that no graph will lead to.
    pub(crate) fn put_scattered(&mut self, id: PointId, put: Arc<Put>) {
        self.scattered = true;
        self.set(id, Entry::Put(put));
    }

    /// Adds a vector to the graph, as far as there is room and memory for one.
    fn connect(&mut self, id: PointId, vector: &Arc<[f32]>, shape: &Shape) {
        if self.scattered {
            return;
        }
        if self.near.is_none() {
            let new = Growing::new(shape.metric, shape.rotation.clone(), shape.capacity);
            self.near = new.ok().map(|graph| Near { graph: Arc::new(graph), nodes: 0 });
        }
        let member = Member { point: id, vector: vector.clone() };
        match self.near.as_mut().and_then(|near| Some((near.graph.insert(member)?, near))) {
            Some((nodes, near)) => near.nodes = nodes,
            None => self.scattered = true,
        }
    }

    /// Connects what was put without a graph, now that there is time for it.
    pub(crate) fn gather(&mut self, shape: &Shape) {
        self.scattered = false;
        for (id, entry) in self.entries.clone().iter() {
            if let Entry::Put(put) = entry {
                self.connect(*id, &put.vector, shape);
            }
        }
    }

    /// The graph, if it leads to every put.
    pub(crate) fn near(&self) -> Option<&Near> {
        self.near.as_ref().filter(|_| !self.scattered)
    }

    /// Whether another put would not find room in the graph.
    pub(crate) fn is_graph_full(&self) -> bool {
        self.near().is_some_and(|near| near.graph.is_full())
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
