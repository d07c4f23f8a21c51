//! A page of points in order of ids.
//!
//! Every layer gives its ids in order; they are merged, and each id is looked up once in the view, which knows whether
//! it lives. So a page costs what it returns and what the filter rejects on the way, not the size of the shard.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use shoal_vector::PointId;

use super::scan::matches;
use super::{Projection, ReadError};
use crate::api::{Record, ScrollRequest};
use crate::segment::PayloadCache;
use crate::view::View;

/// The least of all ids.
const FIRST: PointId = PointId::Num(0);

/// Up to `limit` points from `from` on.
pub(crate) fn scroll(
    view: &View,
    request: &ScrollRequest,
    mut projection: Projection<'_>,
) -> Result<Vec<Record>, ReadError> {
    let from = request.from.unwrap_or(FIRST);
    let matcher = request.filter.as_ref().map(|filter| filter.matcher()).transpose()?;
    let ids: Box<dyn Iterator<Item = PointId>> =
        match matcher.as_ref().and_then(|matcher| matcher.only_ids()) {
            Some(ids) => Box::new(ids[ids.partition_point(|id| *id < from)..].iter().copied()),
            None => Box::new(Merged::new(view, from)),
        };
    let mut cache = PayloadCache::default();
    let mut page = Vec::new();
    let mut last = None;
    for id in ids {
        if page.len() >= request.limit {
            break;
        }
        if last.replace(id) == Some(id) {
            continue;
        }
        projection.go_on()?;
        let Some(located) = view.locate(id) else { continue };
        if let Some(matcher) = &matcher
            && !matches(view, matcher, &located, &mut cache)?
        {
            continue;
        }
        page.push(Record { id, parts: projection.parts(&located)? });
    }
    Ok(page)
}

/// Ids of all layers, ascending, dead ones too, and an id as often as layers hold it.
struct Merged<'v> {
    sources: Vec<Box<dyn Iterator<Item = PointId> + 'v>>,
    heads: BinaryHeap<Reverse<(PointId, usize)>>,
}

impl<'v> Merged<'v> {
    fn new(view: &'v View, from: PointId) -> Self {
        let memory = view
            .memory()
            .map(|layer| Box::new(layer.ids_from(from)) as Box<dyn Iterator<Item = PointId>>);
        let mut sources: Vec<_> = memory.collect();
        for placed in &view.segments {
            let segment = &placed.segment;
            let places = segment.lower_bound(from)..segment.len();
            let alive = places
                .map(|place| segment.at_place(place))
                .filter(|spot| !placed.dead.contains(spot.ordinal));
            sources.push(Box::new(alive.map(|spot| segment.id(spot.ordinal))));
        }
        let heads = sources
            .iter_mut()
            .enumerate()
            .filter_map(|(i, source)| Some(Reverse((source.next()?, i))))
            .collect();
        Self { sources, heads }
    }
}

impl Iterator for Merged<'_> {
    type Item = PointId;

    fn next(&mut self) -> Option<PointId> {
        let Reverse((id, source)) = self.heads.pop()?;
        if let Some(next) = self.sources.get_mut(source).and_then(Iterator::next) {
            self.heads.push(Reverse((next, source)));
        }
        Some(id)
    }
}
