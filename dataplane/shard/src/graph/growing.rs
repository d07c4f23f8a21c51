//! A graph that grows point by point while it is searched: how the mutable segment finds what is near without looking at
//! all it holds.
//!
//! To insert is to walk towards the new point, to prune what that finds, and to link both ways (Subramanya et al.,
//! DiskANN, 2019, algorithm 3). Points are compared as int8 rows, which need nothing learned. Invariants: one thread
//! inserts; a node's row, links and point are written before `len` counts it; a reader looks at nodes below the `len` it
//! was given alone, which it got from the writer, so all it reads was written before. Links change under readers' eyes,
//! one whole link at a time, and a reader takes a link beyond its `len` for one to its last node.

use std::cell::{RefCell, UnsafeCell};
use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, OnceLock};

use memmap2::MmapMut;
use shoal_vector::codes::{QueryCode, Rotation};
use shoal_vector::simd::{Isa, Kernel, Line, Task};
use shoal_vector::{Metric, PointId};

use super::beam::{node_of, ordered};
use super::refine::{Distances, Prune};
use super::rows::{RowMeta, quantise};
use super::scan::Scan;
use super::scorer::Scorer;
use super::search::{MOST, Target, is_scanned};
use super::walk::{Admit, Bits as Nodes, Everything, Links, Scratch, Set, Walk};
use crate::env;
use crate::index::Bits;

/// Links of a node: two cache lines. The graph is small and lives for seconds.
const SLOTS: usize = 32;
/// The last one leads to the next point at the same place, if there is one: pruning keeps one link to a place.
const TWIN: usize = SLOTS - 1;
/// Links that a new node begins with; the rest is room for links back.
const FORWARD: usize = 20;
/// Candidates for a new node's links.
const INSERT_EF: usize = 48;
/// A walk begins with the nearest of this many, spread evenly: nodes stand in the order in which they were written,
/// so the first ones would be no sample of all.
const ENTRIES: usize = 64;

/// The same where a filter is: what it accepts may lie in places that no link joins.
const FILTERED_ENTRIES: usize = 256;

/// How to look for what is near.
enum Way<'a> {
    /// Walk over all nodes.
    Walk,
    /// Walk over those of a set, so many.
    Among(Set<'a>, usize),
    /// Look at each of a set.
    Scan(Set<'a>),
}

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
    rows: Arena,
    meta: Box<[UnsafeCell<RowMeta>]>,
    links: Arena,
    members: Box<[OnceLock<Member>]>,
    len: AtomicU32,
    /// What inserting needs; who has it is the one that inserts.
    work: Mutex<Work>,
}

/// Memory that takes no room until it is written to, so that capacity may be generous.
struct Arena(UnsafeCell<MmapMut>);

struct Work {
    scratch: Scratch,
    rotated: Vec<f32>,
    query: QueryCode,
}

// SAFETY: rows and meta of a node are written once, by the thread that holds `work`, before `len` counts the node, and are
// only read afterwards; links are atomics.
unsafe impl Sync for Growing {}

impl Growing {
    /// An empty graph for up to `capacity` points.
    pub(crate) fn new(metric: Metric, rotation: Rotation, capacity: usize) -> io::Result<Self> {
        let padded = rotation.padded();
        // Manhattan compares vectors as they are.
        let row_bytes = if metric == Metric::Manhattan { 0 } else { padded };
        Ok(Self {
            rows: Arena::new(capacity * row_bytes)?,
            meta: (0..capacity).map(|_| UnsafeCell::default()).collect(),
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

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.capacity
    }

    /// The graph as it was when it had so many nodes.
    pub(crate) fn seen(&self, nodes: usize) -> Seen<'_> {
        Seen { graph: self, nodes: nodes.min(self.len()) }
    }

    /// What a node below `len` stands for.
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
        Isa::detect().run(Rotate { rotation: &self.rotation, vector, out: &mut work.rotated });
        work.query.set(&work.rotated);
        if self.metric != Metric::Manhattan {
            // SAFETY: no reader looks at a node that `len` does not count, and this thread holds `work`.
            unsafe {
                let padded = self.rotation.padded();
                let lines = self.rows.at(node as usize * padded).cast::<Line>();
                let lines = std::slice::from_raw_parts_mut(lines, padded / 64);
                *self.meta[node as usize].get() = quantise(&work.rotated, lines);
            }
        }
    }

    /// Links a node that is not counted yet with those before it.
    fn connect(&self, node: u32, work: &mut Work) {
        if node == 0 {
            return;
        }
        let seen = Seen { graph: self, nodes: node as usize }; // without itself
        let query = self.members[node as usize].get().map_or(&[][..], |member| &member.vector);
        let len = seen.walk(query, &work.query, INSERT_EF, &mut work.scratch);
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

impl Arena {
    fn new(bytes: usize) -> io::Result<Self> {
        MmapMut::map_anon(bytes.max(1)).map(|map| Self(UnsafeCell::new(map)))
    }

    /// # Safety
    /// `offset` must lie within the arena, and what is done with the pointer must keep to the graph's invariants.
    #[inline(always)]
    unsafe fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: by the contract; the map itself is never replaced.
        unsafe { (*self.0.get()).as_ptr().cast_mut().add(offset) }
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
        self.rotation.apply(self.vector, self.out);
    }
}

/// The graph as of some number of nodes.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    graph: &'a Growing,
    nodes: usize,
}

impl Links for Seen<'_> {
    #[inline(always)]
    fn nodes(&self) -> usize {
        self.nodes
    }

    #[inline(always)]
    fn slots(&self) -> usize {
        SLOTS
    }

    #[inline(always)]
    fn row(&self, node: u32) -> *const AtomicU32 {
        self.graph.row_of_links(node).as_ptr()
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<'a> Seen<'a> {
    /// Up to `ef` of what is nearest to the target, nearest first as far as int8 tells.
    pub(crate) fn search(self, target: &Target<'_>, ef: usize) -> Vec<&'a Member> {
        let ef = ef.clamp(1, self.nodes.max(1));
        SCRATCH.with_borrow_mut(|scratch| {
            let len = self.walk(target.query, &target.code, ef, scratch);
            let nodes = scratch.beam.keys(len).iter().map(|&key| node_of(key));
            nodes.filter_map(|node| self.graph.member(node)).collect()
        })
    }

    /// Up to `ef` of what is nearest to the target among `len` nodes, those whose bit is set.
    pub(crate) fn search_among(
        self,
        target: &Target<'_>,
        ef: usize,
        (bits, len): (&[u64], usize),
    ) -> Vec<&'a Member> {
        let (ef, set) = (ef.clamp(1, self.nodes.max(1)), Set(bits));
        SCRATCH.with_borrow_mut(|scratch| {
            let share = len as f64 / self.nodes.max(1) as f64;
            let (way, ef) = match () {
                () if is_scanned(len, ef) => (Way::Scan(set), ef),
                () if share >= MOST => (Way::Walk, (ef as f64 / share).ceil() as usize),
                () => (Way::Among(set, len), ef),
            };
            let ef = ef.min(self.nodes.max(1));
            let len = self.run(target.query, &target.code, way, ef, scratch);
            let nodes = scratch.beam.keys(len).iter().map(|&key| node_of(key));
            let among = nodes.filter(|node| set.admits(*node));
            among.filter_map(|node| self.graph.member(node)).collect()
        })
    }

    /// The nodes whose points have these slots.
    pub(crate) fn nodes_of(self, slots: &Bits) -> Bits {
        let mut nodes = Bits::none(self.nodes as u32);
        for (node, place) in (0..self.nodes as u32).zip(&self.graph.members) {
            if place.get().is_some_and(|member| slots.contains(member.slot)) {
                nodes.set(node);
            }
        }
        nodes
    }

    /// Walks towards a query, given as it is and as integers; the beam's length.
    fn walk(self, query: &[f32], code: &QueryCode, ef: usize, scratch: &mut Scratch) -> usize {
        self.run(query, code, Way::Walk, ef, scratch)
    }

    fn run(
        self,
        query: &[f32],
        code: &QueryCode,
        way: Way<'_>,
        ef: usize,
        scratch: &mut Scratch,
    ) -> usize {
        if self.graph.metric == Metric::Manhattan {
            return self.measured(ByVector { graph: self.graph, query }, way, ef, scratch);
        }
        let square_weight =
            if self.graph.metric == Metric::Euclid { code.scale() / 2.0 } else { 0.0 };
        self.measured(ByRow { graph: self.graph, code, square_weight }, way, ef, scratch)
    }

    fn measured<S: Scorer>(
        self,
        scorer: S,
        way: Way<'_>,
        ef: usize,
        scratch: &mut Scratch,
    ) -> usize {
        let isa = Isa::detect();
        match way {
            Way::Scan(set) => isa.run(Scan { scorer, set, ef, scratch }),
            Way::Walk => {
                let step = self.nodes.div_ceil(ENTRIES).max(1);
                let entries: Vec<u32> = (0..self.nodes as u32).step_by(step).collect();
                let (entries, admit) = (Some(entries.as_slice()), Everything);
                isa.run(Walk { links: self, scorer, admit, entries, ef, scratch })
            }
            Way::Among(admit, len) => {
                let step = len.div_ceil(FILTERED_ENTRIES).max(1);
                let entries: Vec<u32> = Nodes::new(admit).step_by(step).collect();
                let entries = Some(entries.as_slice());
                isa.run(Walk { links: self, scorer, admit, entries, ef, scratch })
            }
        }
    }
}

/// Measures by int8 rows. See [`Coded`](super::scorer::Coded) for the formula.
#[derive(Clone, Copy)]
struct ByRow<'a> {
    graph: &'a Growing,
    code: &'a QueryCode,
    square_weight: f32,
}

impl Scorer for ByRow<'_> {
    #[inline(always)]
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4] {
        let (bytes, query, sum) =
            (self.graph.rotation.padded(), self.code.as_ptr(), self.code.sum());
        // A loop, not a closure: that would be a function of its own, which is not compiled for this kernel.
        let mut distances = [0; 4];
        for (distance, node) in distances.iter_mut().zip(nodes) {
            // SAFETY: a row and the query have that many bytes, a multiple of 128; the processor is the caller's word.
            let dot = unsafe { K::dot_i8(self.graph.row(node), query, sum, bytes) };
            let meta = self.graph.meta(node);
            *distance = ordered(meta.scale * dot as f32 + meta.norm * self.square_weight);
        }
        distances
    }

    #[inline(always)]
    fn prefetch<K: Kernel>(&self, node: u32) {
        let row = self.graph.row(node).cast::<u8>();
        for line in (0..self.graph.rotation.padded()).step_by(64) {
            K::prefetch(row.wrapping_add(line));
        }
    }
}

/// Measures by the vectors.
#[derive(Clone, Copy)]
struct ByVector<'a> {
    graph: &'a Growing,
    query: &'a [f32],
}

impl Scorer for ByVector<'_> {
    #[inline(always)]
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4] {
        let mut distances = [0; 4];
        for (distance, node) in distances.iter_mut().zip(nodes) {
            let vector = self.graph.member(node).map_or(&[][..], |member| &member.vector);
            *distance = ordered(self.graph.metric.distance_in_task::<K>(self.query, vector));
        }
        distances
    }

    #[inline(always)]
    fn prefetch<K: Kernel>(&self, node: u32) {
        if let Some(place) = self.graph.members.get(node as usize) {
            K::prefetch(std::ptr::from_ref(place).cast());
        }
    }
}

/// Distances among nodes, for pruning. Squares of Euclidean distances, whatever the metric, but Manhattan's own: for
/// Dot, among vectors of different lengths, that is a worse guide than it is in a segment's graph, and good enough.
struct Within<'a> {
    graph: &'a Growing,
}

impl Distances for Within<'_> {
    #[inline(always)]
    fn distance<K: Kernel>(&self, a: u32, b: u32) -> f32 {
        if self.graph.metric == Metric::Manhattan {
            let vector = |node| self.graph.member(node).map_or(&[][..], |member| &*member.vector);
            return Metric::Manhattan.distance_in_task::<K>(vector(a), vector(b));
        }
        let (bytes, b_meta) = (self.graph.rotation.padded(), self.graph.meta(b));
        // SAFETY: two rows of that many bytes; a task runs where its kernel can.
        let dot = unsafe { K::dot_i8(self.graph.row(a), self.graph.row(b), b_meta.sum, bytes) };
        self.graph.meta(a).distance(&b_meta, dot)
    }
}
