//! Search: the points nearest to a vector.
//!
//! Points in memory are scanned. Segments are walked along their graphs, or scanned when the request asks for an exact
//! answer, when it wants so many that a walk would visit most points anyway, or when there is a filter: then only the
//! points that match are compared, so a filtered search is always exact. Scores are exact in every case.

use shoal_vector::{Hit, Metric, TopK};

use super::scan::each_match;
use super::{Projection, ReadError};
use crate::api::{FoundPoint, SearchRequest};
use crate::view::{Located, Placed, View};
use crate::walk;

/// A search being done.
struct Search<'a> {
    query: Vec<f32>,
    metric: Metric,
    threshold: Option<f32>,
    top: TopK<()>,
    view: &'a View,
}

/// The best `k`, best first. `ef` is what the collection keeps by default.
pub(crate) fn search(
    view: &View,
    metric: Metric,
    ef: usize,
    request: &SearchRequest,
    mut projection: Projection<'_>,
) -> Result<Vec<FoundPoint>, ReadError> {
    let mut search = Search {
        query: metric.preprocess(request.vector.clone()),
        metric,
        threshold: request.score_threshold,
        top: TopK::new(request.k, metric),
        view,
    };
    match &request.filter {
        Some(filter) => {
            let matcher = filter.matcher()?;
            each_match(view, &matcher, || projection.go_on(), |located| search.show(&located))?;
        }
        None => {
            view.each_in_memory(|located| {
                search.show(&located);
                projection.go_on()
            })?;
            let ef = request.ef.unwrap_or(ef).max(request.k);
            for placed in &view.segments {
                projection.go_on()?;
                match request.exact || walk_is_a_scan(placed, ef) {
                    true => search.scan(placed),
                    false => search.walk(placed, ef),
                }
            }
        }
    }
    let mut found = Vec::new();
    for (hit, ()) in search.top.into_sorted() {
        // What was found in this view is there in this view.
        let Some(located) = view.locate(hit.id) else { continue };
        found.push(FoundPoint {
            hit: Hit { seq: located.seq(), ..hit },
            parts: projection.parts(&located)?,
        });
    }
    Ok(found)
}

/// Whether so many candidates are kept that a walk would compare most points, at random instead of in order.
fn walk_is_a_scan(placed: &Placed, ef: usize) -> bool {
    ef as u64 >= placed.live() / 4
}

impl Search<'_> {
    fn show(&mut self, located: &Located<'_>) {
        let distance = self.metric.distance(&self.query, located.vector());
        self.offer(located.id, distance);
    }

    fn offer(&mut self, id: shoal_vector::PointId, distance: f32) {
        let score = self.metric.score_of_distance(distance);
        let far = self.threshold.is_some_and(|threshold| !self.metric.reaches(score, threshold));
        if !far && self.top.may_keep(score) {
            // The seq is looked up for those that are kept in the end.
            self.top.push(Hit { id, score, seq: 0 }, ());
        }
    }

    fn scan(&mut self, placed: &Placed) {
        let segment = &placed.segment;
        for (ordinal, vector) in (0..).zip(segment.vectors().chunks_exact(self.query.len())) {
            if placed.dead.contains(ordinal) {
                continue;
            }
            let distance = self.metric.distance(&self.query, vector);
            if self.top.may_keep(self.metric.score_of_distance(distance)) {
                self.offer(segment.id(ordinal), distance);
            }
        }
    }

    fn walk(&mut self, placed: &Placed, ef: usize) {
        debug_assert!(
            self.view.segments.iter().any(|each| each.segment.number == placed.segment.number)
        );
        for (distance, ordinal) in
            walk::walk(&placed.segment, &placed.dead, self.metric, &self.query, ef)
        {
            self.offer(placed.segment.id(ordinal), distance);
        }
    }
}
