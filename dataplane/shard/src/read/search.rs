//! Search: the points nearest to a vector.
//!
//! Every layer has a graph: segments one that was built, what is in memory one that grows. They are walked; a layer is
//! scanned instead when the request asks for an exact answer, or when it wants so many that a walk would visit most points
//! anyway. With a filter see `filtered.rs`. Scores are exact in every case.

use std::sync::Arc;

use shoal_vector::simd::{Element, Isa, Kernel, Task};
use shoal_vector::{Elements, Hit, Metric, TopK};

use super::filtered::Ways;
use super::matching::{Checker, Filtering};
use super::{Projection, ReadError};
use crate::api::{FoundPoint, SearchRequest};
use crate::graph::{self, Accepted, Target};
use crate::mutable::{Entry, MutableSegment, Near};
use crate::view::{Located, Placed, View};

/// A search being done.
pub(super) struct Search<'a, 'v> {
    /// Number of the vector that is compared.
    pub(super) number: usize,
    pub(super) query: &'a [f32],
    pub(super) metric: Metric,
    threshold: Option<f32>,
    pub(super) view: &'v View,
    top: TopK<Located<'v>>,
}

/// The best `k` by the vector of a number, best first. Walks keep `ef` candidates.
pub(crate) fn search(
    view: &View,
    number: usize,
    ef: usize,
    request: &SearchRequest,
    mut projection: Projection<'_>,
) -> Result<Vec<FoundPoint>, ReadError> {
    let metric = view.shapes[number].metric;
    let query = metric.preprocess(request.vector.clone());
    let threshold = request.score_threshold;
    let top = TopK::new(request.k, metric);
    let mut search = Search { number, query: &query, metric, threshold, view, top };
    match &request.filter {
        Some(filter) => {
            let filtering = &Filtering::new(filter, &view.indexes)?;
            let checker = Checker::at_random(view, &filtering.matcher, projection.store());
            let target = Target::new(&query, &view.shapes[number].rotation, request.quantization);
            let (k, exact) = (request.k, request.exact);
            let ways = Ways { filtering, checker, target, k, ef, exact };
            search.filtered(ways, || projection.go_on())?;
        }
        None if request.exact => {
            let go_on = || projection.go_on();
            view.memory().try_for_each(|layer| search.scan_layer(layer, go_on))?;
            view.segments.iter().try_for_each(|placed| search.scan(placed, go_on))?;
        }
        None => search.approximate(ef, request, || projection.go_on())?,
    }
    let found = search.top.into_sorted().into_iter().map(|(hit, located)| {
        let hit = Hit { seq: located.seq(), ..hit };
        Ok(FoundPoint { hit, parts: projection.parts(&located)? })
    });
    found.collect()
}

/// Whether so many candidates are kept that a walk would compare most points, at random instead of in order.
pub(super) fn walk_is_a_scan(ef: usize, points: usize) -> bool {
    ef >= points / 4
}

impl<'v> Search<'_, 'v> {
    fn show(&mut self, located: Located<'v>) {
        let Some(vector) = located.vector(self.number) else { return };
        let distance = self.metric.distance_to(self.query, vector);
        self.offer(distance, |_| located);
    }

    /// Whether a point at this distance could be among the best.
    #[inline]
    pub(super) fn may_keep(&self, distance: f32) -> bool {
        let score = self.metric.score_of_distance(distance);
        let far = self.threshold.is_some_and(|threshold| !self.metric.reaches(score, threshold));
        !far && self.top.may_keep(score)
    }

    pub(super) fn offer(&mut self, distance: f32, locate: impl FnOnce(&'v View) -> Located<'v>) {
        if self.may_keep(distance) {
            let score = self.metric.score_of_distance(distance);
            let located = locate(self.view);
            // The seq is looked up for those that are kept in the end.
            self.top.push(Hit { id: located.id, score, seq: 0 }, located);
        }
    }

    pub(super) fn offer_of_segment(&mut self, distance: f32, placed: &'v Placed, row: u32) {
        let number = self.number;
        self.offer(distance, |view| {
            let ordinal = placed.segment.ordinal_of(number, row);
            view.in_segment(placed, placed.segment.spot(ordinal))
        });
    }

    /// Walks whatever has a graph that is worth it.
    fn approximate(
        &mut self,
        ef: usize,
        request: &SearchRequest,
        go_on: impl Fn() -> Result<(), ReadError> + Copy,
    ) -> Result<(), ReadError> {
        let (view, number, k) = (self.view, self.number, request.k);
        let target = Target::new(self.query, &view.shapes[number].rotation, request.quantization);
        for layer in view.memory() {
            match layer.near(number).filter(|_| !walk_is_a_scan(ef, layer.held(number))) {
                Some(near) => self.walk_layer(layer, near, &target, (ef, k), go_on)?,
                None => self.scan_layer(layer, go_on)?,
            }
        }
        for placed in &view.segments {
            go_on()?;
            let graph = placed.segment.graph(number, self.metric);
            let dead = placed.dead_rows(number);
            let live = u64::from(placed.segment.rows(number)) - dead.len();
            match graph.filter(|_| !walk_is_a_scan(ef, live as usize)) {
                Some(graph) => {
                    let accepted = Accepted::Living { dead };
                    let found = graph::search(graph, &target, k, ef, accepted);
                    let segment = &placed.segment;
                    found
                        .iter()
                        .for_each(|near| segment.prefetch(segment.ordinal_of(number, near.node)));
                    for near in found {
                        self.offer_of_segment(near.distance, placed, near.node);
                    }
                }
                None => self.scan(placed, go_on)?,
            }
        }
        Ok(())
    }

    /// Walks the graph of a layer in memory. What it finds may have been written again since, so it is looked up.
    fn walk_layer(
        &mut self,
        layer: &'v MutableSegment,
        near: &'v Near,
        target: &Target<'_>,
        (ef, k): (usize, usize),
        go_on: impl Fn() -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        // Where many nodes stand for points that were written again, as many more are asked for.
        let longer = ef.saturating_mul(near.nodes.div_ceil(layer.held(self.number).max(1)));
        let found = near.graph.seen(near.nodes).search(target, longer);
        let living = found.into_iter().filter_map(|member| {
            let entry = layer.get(&member.point)?;
            let Entry::Put(put) = entry else { return None };
            let vector = put.vectors.get(self.number);
            let current = vector.is_some_and(|vector| Arc::ptr_eq(vector, &member.vector));
            current.then(|| self.view.in_layer(layer, member.point, entry)).flatten()
        });
        let best: Vec<Located<'v>> = living.take(graph::rescored(&target.params, k)).collect();
        // So few that there may be more which the graph does not lead to.
        if best.len() < k && best.len() < layer.held(self.number) {
            return self.scan_layer(layer, go_on);
        }
        best.into_iter().for_each(|located| self.show(located));
        Ok(())
    }

    fn scan_layer(
        &mut self,
        layer: &'v MutableSegment,
        go_on: impl Fn() -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        self.view.each_in_layer(layer, |located| {
            self.show(located);
            go_on()
        })
    }

    fn scan(
        &mut self,
        placed: &'v Placed,
        go_on: impl Fn() -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        for from in (0..placed.segment.rows(self.number)).step_by(SCANNED_AT_A_TIME) {
            go_on()?;
            match placed.segment.all_vectors(self.number) {
                Elements::Float32(vectors) => {
                    Isa::detect().run(Scan { search: self, placed, vectors, from })
                }
                Elements::Float16(vectors) => {
                    Isa::detect().run(Scan { search: self, placed, vectors, from })
                }
            }
        }
        Ok(())
    }
}

/// Points that are compared between two looks at whether somebody still waits.
const SCANNED_AT_A_TIME: usize = 4096;

/// Compares live points of a segment, some of them from a row on.
struct Scan<'a, 'q, 'v, E> {
    search: &'a mut Search<'q, 'v>,
    placed: &'v Placed,
    /// All of the segment's.
    vectors: &'v [E],
    from: u32,
}

impl<E: Element> Task for Scan<'_, '_, '_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) {
        let Self { search, placed, vectors, from } = self;
        let dead = placed.dead_rows(search.number);
        let some =
            vectors.chunks_exact(search.query.len()).skip(from as usize).take(SCANNED_AT_A_TIME);
        for (row, vector) in (from..).zip(some) {
            let distance = search.metric.distance_in_task::<K, E>(search.query, vector);
            if search.top.may_keep(search.metric.score_of_distance(distance)) && !dead.contains(row)
            {
                search.offer_of_segment(distance, placed, row);
            }
        }
    }
}
