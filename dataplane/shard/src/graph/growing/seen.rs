//! Searching a growing graph, as it was when it had some number of nodes.

use std::cell::RefCell;
use std::sync::atomic::AtomicU32;

use shoal_vector::Metric;
use shoal_vector::codes::QueryCode;
use shoal_vector::simd::Isa;

use super::super::beam::node_of;
use super::super::scan::Scan;
use super::super::scorer::Scorer;
use super::super::search::{MOST, is_scanned};
use super::super::target::Target;
use super::super::walk::{Admit, Bits as Nodes, Everything, Links, Scratch, Set, Walk};
use super::measure::{ByRow, ByVector};
use super::{Growing, Member, SLOTS};
use crate::index::Bits;

/// A walk begins with the nearest of this many, spread evenly: nodes stand in the order in which they were written,
/// so the first ones would be no sample of all.
const ENTRIES: usize = 64;

/// The same where a filter is: what it accepts may lie in places that no link joins.
const FILTERED_ENTRIES: usize = 256;

/// So many nodes of a scan cost as much as one place of a walk's beam. Without sketches that is fewer than in a segment.
const SCAN_PER_PLACE: usize = 32;

/// How to look for what is near.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// Walk over all nodes.
    Walk,
    /// Walk over those of a set, so many.
    Among(Set<'a>, usize),
    /// Look at each of a set.
    Scan(Set<'a>),
}

/// What is looked for: a query as it is and, unless `by_vectors`, as integers.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) vector: &'a [f32],
    pub(super) code: &'a QueryCode,
    pub(super) by_vectors: bool,
}

/// The graph as of some number of nodes.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(super) graph: &'a Growing,
    pub(super) nodes: usize,
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
    fn query<'q>(self, target: &'q Target<'_>) -> Query<'q> {
        let by_vectors = !self.graph.has_rows || target.params.ignore;
        Query { vector: target.query, code: &target.code, by_vectors }
    }

    /// Up to `ef` of what is nearest to the target, nearest first as far as what is compared tells.
    pub(crate) fn search(self, target: &Target<'_>, ef: usize) -> Vec<&'a Member> {
        let ef = ef.clamp(1, self.nodes.max(1));
        SCRATCH.with_borrow_mut(|scratch| {
            let len = self.walk(self.query(target), ef, scratch);
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
            let query = self.query(target);
            let walked = self.walk_past(query, ef, (set, len), scratch);
            let len = walked.unwrap_or_else(|| {
                let way = if is_scanned(len, ef) { Way::Scan(set) } else { Way::Among(set, len) };
                self.run(query, way, ef, scratch)
            });
            let nodes = scratch.beam.keys(len).iter().map(|&key| node_of(key));
            let among = nodes.filter(|node| set.admits(*node));
            among.filter_map(|node| self.graph.member(node)).collect()
        })
    }

    /// Walks over all nodes, with a beam so much longer that `ef` of `len` accepted ones are in it, more or less; where what
    /// is accepted turns out not to be near, scans it. The beam's length; `None` where most are not accepted, or a scan
    /// costs less from the start.
    fn walk_past(
        self,
        query: Query<'_>,
        ef: usize,
        (set, len): (Set<'_>, usize),
        scratch: &mut Scratch,
    ) -> Option<usize> {
        let share = len as f64 / self.nodes.max(1) as f64;
        let longer = (ef as f64 / share).ceil() as usize;
        if share < MOST || len <= longer * SCAN_PER_PLACE {
            return None;
        }
        let found = self.run(query, Way::Walk, longer.min(self.nodes), scratch);
        let accepted = scratch.beam.keys(found).iter().filter(|&&key| set.admits(node_of(key)));
        match 2 * accepted.count() >= ef {
            true => Some(found),
            false => Some(self.run(query, Way::Scan(set), ef, scratch)),
        }
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

    /// Walks towards a query; the beam's length.
    pub(super) fn walk(self, query: Query<'_>, ef: usize, scratch: &mut Scratch) -> usize {
        self.run(query, Way::Walk, ef, scratch)
    }

    fn run(self, query: Query<'_>, way: Way<'_>, ef: usize, scratch: &mut Scratch) -> usize {
        let (graph, code) = (self.graph, query.code);
        if query.by_vectors {
            return self.measured(ByVector { graph, query: query.vector }, way, ef, scratch);
        }
        let square_weight = if graph.metric == Metric::Euclid { code.scale() / 2.0 } else { 0.0 };
        self.measured(ByRow { graph, code, square_weight }, way, ef, scratch)
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
