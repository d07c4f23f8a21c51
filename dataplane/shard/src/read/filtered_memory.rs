//! Search with a filter in what is in memory: as in segments (`filtered.rs`), over slots instead of ordinals, and in a
//! graph some of whose nodes are of points that were written again or are gone.

use super::ReadError;
use super::filtered::{FEW, LOOKED_AT, MORE, Ways};
use super::matching::InMemory;
use super::search::{Search, walk_is_a_scan};
use crate::graph::{is_scanned, rescored};
use crate::index::{Bits, Counted};
use crate::mutable::{MutableSegment, Near};
use crate::view::Located;

/// A layer's graph, and those of its nodes that may pass.
struct Nodes<'v> {
    near: &'v Near,
    bits: Bits,
    len: usize,
}

/// A point found: its distance, and whether it is certain that it passes.
type Found<'v> = (f32, Located<'v>, bool);

impl<'v> Search<'_, 'v> {
    pub(super) fn filtered_layer(
        &mut self,
        layer: &'v MutableSegment,
        ways: &mut Ways<'_>,
        go_on: impl Fn() -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let candidates = ways.filtering.in_memory(self.view, layer);
        let count = candidates.slots().count();
        if count == 0 {
            return Ok(());
        }
        let sure = candidates.all_are_sure();
        let near = layer.near(self.number);
        let near = near.filter(|_| !ways.exact && !walk_is_a_scan(ways.ef, count));
        let Some(near) = near else {
            self.count_way(if sure { Counted::Scan } else { Counted::Payloads });
            return self.scan_slots(&candidates, ways, go_on);
        };
        let nodes = Nodes::of(near, candidates.slots());
        // Where many nodes stand for points that were written again, as many more are asked for.
        let stale = near.nodes.div_ceil(layer.held(self.number).max(1));
        self.count_way(match (sure, is_scanned(nodes.len, ways.ef.max(ways.k))) {
            (false, _) => Counted::Payloads,
            (true, true) => Counted::Scan,
            (true, false) => Counted::Walk,
        });
        let mut asked = if sure { ways.k } else { ways.k.saturating_mul(LOOKED_AT) };
        while sure || asked <= count / FEW {
            go_on()?;
            let ef = ways.ef.max(asked).saturating_mul(stale);
            let found = self.found_among(&nodes, &candidates, ways, ef, asked);
            let whole = found.len() >= asked.min(count);
            if whole && self.offer_passing_of(found, ways)? {
                return Ok(());
            }
            if sure {
                break;
            }
            asked = asked.saturating_mul(MORE);
        }
        // So few that there may be more which the graph does not lead to.
        self.scan_slots(&candidates, ways, go_on)
    }

    /// The nearest candidates that live, as many as are asked for or more, by exact distance.
    fn found_among(
        &self,
        nodes: &Nodes<'v>,
        candidates: &InMemory<'v>,
        ways: &Ways<'_>,
        ef: usize,
        asked: usize,
    ) -> Vec<Found<'v>> {
        let seen = nodes.near.graph.seen(nodes.near.nodes);
        let members = seen.search_among(&ways.target, ef, (nodes.bits.words(), nodes.len));
        let current = members.into_iter().filter_map(|member| {
            let located = candidates.located(member.point)?;
            let vector = located.vector(self.number)?;
            // Of a point that was written again another node stands for the vector.
            let is_own = std::ptr::eq(vector.as_ptr(), member.vector.as_ptr().cast());
            is_own.then(|| {
                let distance = self.metric.distance_to(self.query, vector);
                (distance, located, candidates.is_sure(member.slot))
            })
        });
        let mut found: Vec<Found<'v>> =
            current.take(rescored(&ways.target.params, asked)).collect();
        found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        found
    }

    /// Offers what passes of these, the nearest first, if as many pass as are wanted.
    fn offer_passing_of(
        &mut self,
        found: Vec<Found<'v>>,
        ways: &mut Ways<'_>,
    ) -> Result<bool, ReadError> {
        let beyond = found.last().is_some_and(|(distance, ..)| !self.may_keep(*distance));
        let all_are_sure = found.iter().all(|(_, _, sure)| *sure);
        let mut passing = Vec::with_capacity(ways.k);
        for (distance, located, sure) in found {
            if passing.len() == ways.k || !self.may_keep(distance) {
                break;
            }
            if sure || ways.checker.passes(&located)? {
                passing.push((distance, located));
            }
        }
        let enough = beyond || all_are_sure || passing.len() == ways.k;
        if enough {
            passing.into_iter().for_each(|(distance, located)| self.offer(distance, |_| located));
        }
        Ok(enough)
    }

    /// Compares all candidates, and shows what passes.
    fn scan_slots(
        &mut self,
        candidates: &InMemory<'v>,
        ways: &mut Ways<'_>,
        go_on: impl Fn() -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut near: Vec<Found<'v>> = Vec::new();
        candidates.each(|located, sure| {
            if let Some(vector) = located.vector(self.number) {
                near.push((self.metric.distance_to(self.query, vector), located, sure));
            }
            go_on()
        })?;
        // The nearest first, so that fewer payloads are looked at.
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for (distance, located, sure) in near {
            go_on()?;
            if !self.may_keep(distance) {
                break;
            }
            if sure || ways.checker.passes(&located)? {
                self.offer(distance, |_| located);
            }
        }
        Ok(())
    }
}

impl<'v> Nodes<'v> {
    fn of(near: &'v Near, slots: &Bits) -> Self {
        let bits = match near.in_order {
            true => slots.clone().cut_to(near.nodes as u32),
            false => near.graph.seen(near.nodes).nodes_of(slots),
        };
        let len = bits.count();
        Self { near, bits, len }
    }
}
