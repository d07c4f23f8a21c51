//! Search with a filter, segment by segment: how, depends on how many points may pass and on how sure that is.
//!
//! Indexes leave candidates (`matching.rs`). Where they all pass, a graph is walked among them, or they are scanned if they
//! are few (`graph/search.rs` chooses). Where payloads have to be looked at, the nearest candidates are looked at first,
//! and more of them as long as too few pass; where few do, all candidates are compared, and a payload is read only of
//! what would be among the best. So an answer is the same as a scan's but for what a walk misses.

use shoal_vector::Elements;
use shoal_vector::simd::{Element, Isa, Kernel, Task};

use super::ReadError;
use super::matching::{Candidates, Checker, Filtering};
use super::search::{Search, walk_is_a_scan};
use crate::graph::{self, Accepted, Target};
use crate::index::{Bits, Counted};
use crate::view::{Located, Placed};

/// As many times the points that are wanted are looked at first, where it is not sure that they pass.
pub(super) const LOOKED_AT: usize = 3;

/// As many times more are looked at next.
pub(super) const MORE: usize = 4;

/// A segment's candidates are looked at in order of distance while that is this share of them at most.
pub(super) const FEW: usize = 8;

/// How to search with a filter.
pub(super) struct Ways<'a> {
    pub(super) filtering: &'a Filtering<'a>,
    pub(super) checker: Checker<'a>,
    pub(super) target: Target<'a>,
    pub(super) k: usize,
    pub(super) ef: usize,
    pub(super) exact: bool,
}

impl<'v> Search<'_, 'v> {
    /// Shows what passes of all that is in the view.
    pub(super) fn filtered(
        &mut self,
        mut ways: Ways<'_>,
        go_on: impl Fn() -> Result<(), ReadError> + Copy,
    ) -> Result<(), ReadError> {
        let view = self.view;
        if let Some(ids) = ways.filtering.matcher.only_ids() {
            for located in ids.iter().filter_map(|id| view.locate(*id)) {
                go_on()?;
                self.show_if_passes(located, &mut ways.checker)?;
            }
            return Ok(());
        }
        for layer in view.memory() {
            go_on()?;
            self.filtered_layer(layer, &mut ways, go_on)?;
        }
        for placed in &view.segments {
            go_on()?;
            self.filtered_segment(placed, &mut ways, go_on)?;
        }
        Ok(())
    }

    fn show_if_passes(
        &mut self,
        located: Located<'v>,
        checker: &mut Checker<'_>,
    ) -> Result<(), ReadError> {
        let Some(vector) = located.vector(self.number) else { return Ok(()) };
        let distance = self.metric.distance_to(self.query, vector);
        if self.may_keep(distance) && checker.passes(&located)? {
            self.offer(distance, |_| located);
        }
        Ok(())
    }

    fn filtered_segment(
        &mut self,
        placed: &'v Placed,
        ways: &mut Ways<'_>,
        go_on: impl Fn() -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let candidates = ways.filtering.candidates(placed);
        let rows = &*candidates.rows(self.number);
        let count = rows.count();
        if count == 0 {
            self.count_way(Counted::Scan);
            return Ok(());
        }
        let graph = placed.segment.graph(self.number, self.metric);
        let graph = graph.filter(|_| !ways.exact && !walk_is_a_scan(ways.ef, count));
        let Some(graph) = graph else {
            let sure = candidates.all_are_sure();
            self.count_way(if sure { Counted::Scan } else { Counted::Payloads });
            return self.scan_candidates(placed, (&candidates, rows), ways, go_on);
        };
        let accepted = Accepted::Set { bits: rows.words(), len: count };
        if candidates.all_are_sure() {
            let walks = !graph::is_scanned(count, ways.ef.max(ways.k));
            self.count_way(if walks { Counted::Walk } else { Counted::Scan });
            for near in graph::search(graph, &ways.target, ways.k, ways.ef, accepted) {
                self.offer_of_segment(near.distance, placed, near.node);
            }
            return Ok(());
        }
        self.count_way(Counted::Payloads);
        let mut asked = ways.k.saturating_mul(LOOKED_AT);
        while asked <= count / FEW {
            go_on()?;
            let found = graph::search(graph, &ways.target, asked, ways.ef.max(asked), accepted);
            if self.offer_passing(placed, &candidates, &found, ways)? {
                return Ok(());
            }
            asked = asked.saturating_mul(MORE);
        }
        self.scan_candidates(placed, (&candidates, rows), ways, go_on)
    }

    /// Offers what passes of the nearest candidates, if as many pass as are wanted.
    fn offer_passing(
        &mut self,
        placed: &'v Placed,
        candidates: &Candidates<'_>,
        found: &[graph::Near],
        ways: &mut Ways<'_>,
    ) -> Result<bool, ReadError> {
        let mut passing = Vec::with_capacity(ways.k);
        for near in found {
            // Nothing beyond could be among the best, in this segment or of all.
            if passing.len() == ways.k || !self.may_keep(near.distance) {
                break;
            }
            let ordinal = placed.segment.ordinal_of(self.number, near.node);
            let located = self.view.in_segment(placed, placed.segment.spot(ordinal));
            if candidates.is_sure(ordinal) || ways.checker.passes(&located)? {
                passing.push((near.distance, located));
            }
        }
        let last = found.last().map(|near| near.distance);
        let enough = passing.len() == ways.k || last.is_some_and(|last| !self.may_keep(last));
        if enough {
            passing.into_iter().for_each(|(distance, located)| self.offer(distance, |_| located));
        }
        Ok(enough)
    }

    /// Compares all candidates, given also as rows of the vector, and shows what passes.
    fn scan_candidates(
        &mut self,
        placed: &'v Placed,
        (candidates, bits): (&Candidates<'_>, &Bits),
        ways: &mut Ways<'_>,
        go_on: impl Fn() -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        for from in (0..bits.words().len()).step_by(WORDS_AT_A_TIME) {
            go_on()?;
            let isa = Isa::detect();
            let mut near = match placed.segment.all_vectors(self.number) {
                Elements::Float32(vectors) => {
                    isa.run(Compare { search: self, vectors, bits, from })
                }
                Elements::Float16(vectors) => {
                    isa.run(Compare { search: self, vectors, bits, from })
                }
            };
            // The nearest first, so that fewer payloads are looked at.
            near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            for (distance, row) in near {
                if !self.may_keep(distance) {
                    break;
                }
                let ordinal = placed.segment.ordinal_of(self.number, row);
                let located = self.view.in_segment(placed, placed.segment.spot(ordinal));
                if candidates.is_sure(ordinal) || ways.checker.passes(&located)? {
                    self.offer(distance, |_| located);
                }
            }
        }
        Ok(())
    }

    pub(super) fn count_way(&self, how: Counted) {
        self.view.indexes.count(how);
    }
}

/// Points, 64 a word, that are compared between two looks at whether somebody still waits.
const WORDS_AT_A_TIME: usize = 64;

/// Compares some candidates of a segment; gives those that could be kept.
struct Compare<'a, 'q, 'v, E> {
    search: &'a Search<'q, 'v>,
    /// All of the segment's.
    vectors: &'v [E],
    bits: &'a Bits,
    /// Word of the rows' bits to begin with.
    from: usize,
}

impl<E: Element> Task for Compare<'_, '_, '_, E> {
    type Output = Vec<(f32, u32)>;

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> Vec<(f32, u32)> {
        let Self { search, vectors, bits, from } = self;
        let dimensions = search.query.len();
        let end = (from + WORDS_AT_A_TIME).min(bits.words().len());
        let mut near = Vec::new();
        // Loops, not iterators: their closures would not always be compiled for this kernel.
        for (word, place) in bits.words()[from..end].iter().zip(from..end) {
            let mut left = *word;
            while left != 0 {
                let row = place * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                let vector = &vectors[row * dimensions..][..dimensions];
                let distance = search.metric.distance_in_task::<K, E>(search.query, vector);
                if search.may_keep(distance) {
                    near.push((distance, row as u32));
                }
            }
        }
        near
    }
}
