//! A page of points in order of ids.
//!
//! Every layer gives its ids in order; they are merged, and each id is looked up once in the view, which knows whether
//! it lives. So a page costs what it returns and what the filter rejects on the way, not the size of the shard.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use shoal_vector::PointId;

use super::matching::{Candidates, Checker, Filtering, InMemory};
use super::{Projection, ReadError};
use crate::api::{Record, ScrollRequest};
use crate::view::{Home, Located, View};

/// The least of all ids.
const FIRST: PointId = PointId::Num(0);

/// Up to `limit` points from `from` on.
pub(crate) fn scroll(
    view: &View,
    request: &ScrollRequest,
    mut projection: Projection<'_>,
) -> Result<Vec<Record>, ReadError> {
    let from = request.from.unwrap_or(FIRST);
    let filter = request.filter.as_ref();
    let filtering = filter.map(|filter| Filtering::new(filter, &view.indexes)).transpose()?;
    let mut passing = filtering.as_ref().map(|filtering| Passing::new(filtering, view));
    let only = filtering.as_ref().and_then(|filtering| filtering.matcher.only_ids());
    let candidates = passing.as_ref().map(|passing| passing.candidates.clone());
    let ids: Box<dyn Iterator<Item = PointId>> = match only {
        Some(ids) => Box::new(ids[ids.partition_point(|id| *id < from)..].iter().copied()),
        None => Box::new(Merged::new(view, from, candidates)),
    };
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
        if let Some(passing) = &mut passing
            && !passing.passes(&located)?
        {
            continue;
        }
        page.push(Record { id, parts: projection.parts(&located)? });
    }
    Ok(page)
}

/// A filter, asked about single points.
struct Passing<'f, 'v> {
    view: &'v View,
    /// By segment, as in the view.
    candidates: Rc<[Candidates<'v>]>,
    /// By layer in memory, newest first.
    memory: Vec<InMemory<'v>>,
    checker: Checker<'f>,
}

impl<'f, 'v: 'f> Passing<'f, 'v> {
    fn new(filtering: &'f Filtering<'f>, view: &'v View) -> Self {
        let candidates = view.segments.iter().map(|placed| filtering.candidates(placed)).collect();
        let memory = view.memory().map(|layer| filtering.in_memory(view, layer)).collect();
        Self { view, candidates, memory, checker: Checker::in_order(view, &filtering.matcher) }
    }

    fn passes(&mut self, located: &Located<'_>) -> Result<bool, ReadError> {
        if let Home::Segment(placed, spot) = located.home
            && let Some(at) = self.view.segments.iter().position(|each| std::ptr::eq(each, placed))
        {
            let candidates = &self.candidates[at];
            if !candidates.bits.contains(spot.ordinal) {
                return Ok(false);
            }
            if candidates.is_sure(spot.ordinal) {
                return Ok(true);
            }
        }
        if let Home::Memory(_) = located.home {
            let holds = |memory: &&InMemory<'_>| memory.located(located.id).is_some();
            if let Some(memory) = self.memory.iter().find(holds)
                && let Some(slot) = memory.slot(located.id)
                && (!memory.slots().contains(slot) || memory.is_sure(slot))
            {
                return Ok(memory.slots().contains(slot));
            }
        }
        Ok(self.checker.passes(located)?)
    }
}

/// Ids of all layers, ascending, those in memory dead or not, and an id as often as layers hold it. With a filter, of
/// segments those that may pass alone.
struct Merged<'v> {
    sources: Vec<Box<dyn Iterator<Item = PointId> + 'v>>,
    heads: BinaryHeap<Reverse<(PointId, usize)>>,
}

impl<'v> Merged<'v> {
    fn new(view: &'v View, from: PointId, candidates: Option<Rc<[Candidates<'v>]>>) -> Self {
        let memory = view
            .memory()
            .map(|layer| Box::new(layer.ids_from(from)) as Box<dyn Iterator<Item = PointId>>);
        let mut sources: Vec<_> = memory.collect();
        for (at, placed) in view.segments.iter().enumerate() {
            let (segment, candidates) = (&placed.segment, candidates.clone());
            let places = segment.lower_bound(from)..segment.len();
            let worth = move |ordinal| match &candidates {
                Some(candidates) => candidates[at].bits.contains(ordinal),
                None => !placed.dead.contains(ordinal),
            };
            let alive =
                places.map(|place| segment.at_place(place)).filter(move |spot| worth(spot.ordinal));
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
