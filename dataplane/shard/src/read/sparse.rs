//! Search by sparse vectors: the points whose product with a query is greatest.
//!
//! Always exact: of each layer every point is scored that shares a dimension with the query, through an inverted index, or
//! one by one where there is a filter and so few are left, or where a layer in memory has no index. Scores are the same in
//! each case, because terms are added in the order of dimensions everywhere.

use std::sync::Arc;

use shoal_vector::{Hit, Metric, SparseVector, TopK};

use super::matching::{Filtering, each_match};
use super::{Projection, ReadError};
use crate::api::{FoundPoint, SearchRequest};
use crate::mutable::{Entry, MutableSegment};
use crate::view::{Located, Placed, View};

/// A search being done.
struct Search<'a, 'v> {
    number: usize,
    query: &'a SparseVector,
    threshold: Option<f32>,
    view: &'v View,
    top: TopK<Located<'v>>,
}

/// The best `k` by the sparse vector of a number, best first. Points that share no dimension with the query are not found.
pub(crate) fn search_sparse(
    view: &View,
    number: usize,
    query: &SparseVector,
    request: &SearchRequest,
    mut projection: Projection<'_>,
) -> Result<Vec<FoundPoint>, ReadError> {
    let top = TopK::new(request.k, Metric::Dot);
    let threshold = request.score_threshold;
    let mut search = Search { number, query, threshold, view, top };
    match &request.filter {
        Some(filter) => {
            let filtering = Filtering::new(filter, &view.indexes)?;
            each_match(view, &filtering, || projection.go_on(), |located| search.show(located))?;
        }
        None => {
            for layer in view.memory() {
                search.layer(layer, || projection.go_on())?;
            }
            for placed in &view.segments {
                projection.go_on()?;
                search.segment(placed);
            }
        }
    }
    let found = search.top.into_sorted().into_iter().map(|(hit, located)| {
        let hit = Hit { seq: located.seq(), ..hit };
        Ok(FoundPoint { hit, parts: projection.parts(&located)? })
    });
    found.collect()
}

impl<'v> Search<'_, 'v> {
    fn show(&mut self, located: Located<'v>) {
        if let Some(score) = located.product(self.number, self.query)
            && self.may_keep(score)
        {
            self.keep(score, located);
        }
    }

    fn may_keep(&self, score: f32) -> bool {
        self.threshold.is_none_or(|threshold| Metric::Dot.reaches(score, threshold))
            && self.top.may_keep(score)
    }

    fn keep(&mut self, score: f32, located: Located<'v>) {
        // The seq is looked up for those that are kept in the end.
        self.top.push(Hit { id: located.id, score, seq: 0 }, located);
    }

    /// What the index finds may have been written again since, so it is looked up.
    fn layer(
        &mut self,
        layer: &'v MutableSegment,
        go_on: impl Fn() -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        go_on()?;
        let Ok(inverted) = layer.inverted(self.number) else {
            return self.view.each_in_layer(layer, |located| {
                self.show(located);
                go_on()
            });
        };
        let Some(inverted) = inverted else { return Ok(()) };
        inverted.search(self.query, |id, vector, score| {
            if !self.may_keep(score) {
                return;
            }
            let Some(entry) = layer.get(&id) else { return };
            let Entry::Put(put) = entry else { return };
            let current = put.vectors.sparse(self.number);
            if current.is_some_and(|current| Arc::ptr_eq(current, vector))
                && let Some(located) = self.view.in_layer(layer, id, entry)
            {
                self.keep(score, located);
            }
        });
        Ok(())
    }

    fn segment(&mut self, placed: &'v Placed) {
        let sums = placed.segment.products(self.number, self.query);
        for (ordinal, score) in sums.scores() {
            if self.may_keep(score) && !placed.dead.contains(ordinal) {
                let spot = placed.segment.spot(ordinal);
                self.keep(score, self.view.in_segment(placed, spot));
            }
        }
    }
}
