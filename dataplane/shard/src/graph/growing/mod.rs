//! A graph that grows point by point while it is searched: how the mutable segment finds what is near without looking at
//! all it holds.
//!
//! To insert is to walk towards the new point, to prune what that finds, and to link both ways (Subramanya et al.,
//! DiskANN, 2019, algorithm 3). Points are compared as int8 rows, which need nothing learned, or as they are where nothing is
//! quantised or the metric is no inner product. Invariants: one thread inserts; a node's row, links and point are written before `len` counts it; a reader looks at nodes below the `len` it
//! was given alone, which it got from the writer, so all it reads was written before. Links change under readers' eyes,
//! one whole link at a time, and a reader takes a link beyond its `len` for one to its last node.

mod arena;
mod measure;
mod seen;
#[cfg(test)]
mod tests;

use std::cell::UnsafeCell;
use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, OnceLock};

use shoal_vector::codes::{QueryCode, Rotation};
use shoal_vector::simd::{Isa, Kernel, Line, Task};
use shoal_vector::{Metric, PointId, Quantization};

use self::arena::Arena;
use self::measure::Within;
use self::seen::{Query, Seen};
use super::beam::node_of;
use super::prune::Prune;
use super::rows::{RowMeta, quantise};
use super::walk::Scratch;
use crate::env;

/// Links of a node: two cache lines. The graph is small and lives for seconds.
const SLOTS: usize = 32;
/// The last one leads to the next point at the same place, if there is one: pruning keeps one link to a place.
const TWIN: usize = SLOTS - 1;
/// Links that a new node begins with; the rest is room for links back.
const FORWARD: usize = 20;
/// Candidates for a new node's links.
const INSERT_EF: usize = 48;

/// What a node stands for, and its vector.
pub(crate) struct Member {
    pub(crate) point: PointId,
    /// The number of the point in its layer.
    pub(crate) slot: u32,
    pub(crate) vector: Arc<[f32]>,
}

/// See the file's comment.
pub(crate) struct Growing {
    metric: Metric,
    rotation: Rotation,
    capacity: usize,
    /// Whether nodes have rows; else they are compared by their vectors.
    has_rows: bool,
    /// Empty without rows, as is their `meta`.
    rows: Arena,
    meta: Box<[UnsafeCell<RowMeta>]>,
    links: Arena,
    members: Box<[OnceLock<Member>]>,
    len: AtomicU32,
    /// What inserting needs; who has it is the one that inserts.
    work: Mutex<Work>,
}

struct Work {
    scratch: Scratch,
    rotated: Vec<f32>,
    query: QueryCode,
}

// SAFETY: rows and meta of a node are written once, by the thread that holds `work`, before `len` counts the node, and are
// only read afterwards; links are atomics.
unsafe impl Sync for Growing {}

impl Growing {
    /// An empty graph for up to `capacity` points. It lives too shortly to learn 4-bit codes, so those are rows of int8 too.
    pub(crate) fn new(
        metric: Metric,
        quantization: Quantization,
        rotation: Rotation,
        capacity: usize,
    ) -> io::Result<Self> {
        let padded = rotation.padded();
        let has_rows = metric != Metric::Manhattan && quantization != Quantization::None;
        let rows = if has_rows { capacity } else { 0 };
        Ok(Self {
            has_rows,
            rows: Arena::new(rows * padded)?,
            meta: (0..rows).map(|_| UnsafeCell::default()).collect(),
            links: Arena::new(capacity * SLOTS * 4)?,
            members: (0..capacity).map(|_| OnceLock::new()).collect(),
            len: AtomicU32::new(0),
            work: Mutex::new(Work {
                scratch: Scratch::default(),
                rotated: vec![0.0; padded],
                query: QueryCode::new(padded),
            }),
            metric,
            rotation,
            capacity,
        })
    }

    /// Nodes so far.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Acquire) as usize
    }

    /// Whether nodes are compared as integers, and not by their vectors.
    pub(crate) fn has_rows(&self) -> bool {
        self.has_rows
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.capacity
    }

    /// The graph as it was when it had so many nodes.
    pub(crate) fn seen(&self, nodes: usize) -> Seen<'_> {
        Seen { graph: self, nodes: nodes.min(self.len()) }
    }

    /// What a node below `len` stands for.
    #[inline(always)]
    pub(crate) fn member(&self, node: u32) -> Option<&Member> {
        self.members.get(node as usize)?.get()
    }

    /// Adds a point and returns the number of nodes then; `None` if there is no room.
    pub(crate) fn insert(&self, member: Member) -> Option<usize> {
        let work = &mut *env::lock(&self.work);
        let len = self.len();
        let place = self.members.get(len)?;
        let node = len as u32;
        self.write_row(node, &member.vector, work);
        place.set(member).ok()?;
        self.row_of_links(node).iter().for_each(|link| link.store(node, Relaxed));
        self.connect(node, work);
        self.len.store(node + 1, Release);
        Some(len + 1)
    }

    fn write_row(&self, node: u32, vector: &[f32], work: &mut Work) {
        if !self.has_rows {
            return;
        }
        Isa::detect().run(Rotate { rotation: &self.rotation, vector, out: &mut work.rotated });
        work.query.set(&work.rotated);
        // SAFETY: no reader looks at a node that `len` does not count, and this thread holds `work`.
        unsafe {
            let padded = self.rotation.padded();
            let lines = self.rows.at(node as usize * padded).cast::<Line>();
            let lines = std::slice::from_raw_parts_mut(lines, padded / 64);
            *self.meta[node as usize].get() = quantise(&work.rotated, lines);
        }
    }

    /// Links a node that is not counted yet with those before it.
    fn connect(&self, node: u32, work: &mut Work) {
        if node == 0 {
            return;
        }
        let seen = Seen { graph: self, nodes: node as usize }; // without itself
        let vector = self.members[node as usize].get().map_or(&[][..], |member| &member.vector);
        let query = Query { vector, code: &work.query, by_vectors: !self.has_rows };
        let len = seen.walk(query, INSERT_EF, &mut work.scratch);
        let candidates = work.scratch.beam.keys(len).iter().map(|&key| node_of(key)).collect();
        let distances = &Within { graph: self };
        let links = Isa::detect().run(Prune { node, candidates, max_links: FORWARD, distances });
        for (slot, &link) in self.row_of_links(node).iter().zip(&links) {
            slot.store(link, Relaxed);
        }
        for &link in &links {
            self.link_back(link, node);
        }
        if let Some(&nearest) = links.first() {
            self.join_twins(node, nearest);
        }
    }

    /// Adds a link from `node` to `new`; where there is no room, all its links are pruned anew.
    fn link_back(&self, node: u32, new: u32) {
        let row = &self.row_of_links(node)[..TWIN];
        if let Some(free) = row.iter().find(|link| link.load(Relaxed) == node) {
            free.store(new, Relaxed);
            return;
        }
        let mut candidates: Vec<u32> = row.iter().map(|link| link.load(Relaxed)).collect();
        candidates.push(new);
        // Pruned to less than there is room for, so that it is not done again for each new link.
        let max_links = TWIN * 4 / 5;
        let distances = &Within { graph: self };
        let kept = Isa::detect().run(Prune { node, candidates, max_links, distances });
        for (slot, link) in row.iter().zip(kept.into_iter().chain(std::iter::repeat(node))) {
            slot.store(link, Relaxed);
        }
    }

    /// Puts `node` into the ring of points at one place, if `nearest` is at its place.
    fn join_twins(&self, node: u32, nearest: u32) {
        let vector = |node: u32| self.members[node as usize].get().map(|member| &member.vector);
        if vector(node) == vector(nearest) {
            let (own, other) = (&self.row_of_links(node)[TWIN], &self.row_of_links(nearest)[TWIN]);
            // A ring of one leads to itself.
            own.store(other.load(Relaxed), Relaxed);
            other.store(node, Relaxed);
        }
    }

    #[inline(always)]
    fn row_of_links(&self, node: u32) -> &[AtomicU32] {
        debug_assert!((node as usize) < self.capacity);
        // SAFETY: rows of nodes below the capacity lie within the arena; any bits are a link.
        unsafe {
            let row = self.links.at(node as usize * SLOTS * 4);
            std::slice::from_raw_parts(row.cast::<AtomicU32>(), SLOTS)
        }
    }

    #[inline(always)]
    fn row(&self, node: u32) -> *const i8 {
        debug_assert!((node as usize) < self.capacity);
        // SAFETY: as above.
        unsafe { self.rows.at(node as usize * self.rotation.padded()).cast() }
    }

    #[inline(always)]
    fn meta(&self, node: u32) -> RowMeta {
        // SAFETY: written before `node` was counted or, by the inserting thread, before it reads it.
        unsafe { *self.meta[node as usize].get() }
    }
}

struct Rotate<'a> {
    rotation: &'a Rotation,
    vector: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) {
        self.rotation.apply::<K>(self.vector, self.out);
    }
}
