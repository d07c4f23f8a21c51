//! Which points pass a filter: what indexes say of a segment's, then payloads where that is not enough.
//!
//! Invariant: the points found are those whose payload passes, whatever is indexed. Points that were edited after they came
//! into a segment are not what its indexes say, so they are always looked at.

use std::borrow::Cow;
use std::sync::Arc;

use shoal_vector::filter::{Matcher, Subject};
use shoal_vector::payload::{KeyPath, read_part};
use shoal_vector::{Filter, FilterError, Payload, PointId};

use crate::index::{
    Answer, Bits, FieldIndex, Indexes, Plan, Ready, SegmentIndex, SlotAnswer, Source, Texts,
};
use crate::mutable::MutableSegment;
use crate::segment::{Damage, PayloadCache, Segment};
use crate::store::Store;
use crate::view::{Located, Placed, View};

/// A filter and what is ready to answer it, for one request.
pub(super) struct Filtering<'f> {
    pub(super) matcher: Matcher<'f>,
    plan: Plan<'f>,
    ready: Arc<Ready>,
}

/// The points of a segment that may pass: none that is dead, and all that pass.
pub(super) struct Candidates<'v> {
    pub(super) bits: Bits,
    placed: &'v Placed,
    /// Whether those that were not edited do pass.
    exact: bool,
}

impl<'f> Filtering<'f> {
    /// For a read.
    pub(super) fn new(filter: &'f Filter, indexes: &Indexes) -> Result<Self, FilterError> {
        let wanted = indexes.wanted();
        let tokenizer = |path: &KeyPath| {
            wanted.iter().find(|field| field.path == *path).and_then(|field| field.config.tokenizer)
        };
        let matcher = filter.matcher_with(&tokenizer)?;
        let plan = Plan::of(filter, Texts::ByTokens);
        Ok(Self { matcher, plan, ready: indexes.ready() })
    }

    /// For an op, which must mean the same whenever it is replayed: what is indexed may be something else by then.
    pub(super) fn of_op(filter: &'f Filter, indexes: &Indexes) -> Result<Self, FilterError> {
        let (matcher, plan) = (filter.matcher()?, Plan::of(filter, Texts::AsWritten));
        Ok(Self { matcher, plan, ready: indexes.ready() })
    }

    /// What indexes leave of a layer in memory.
    pub(super) fn in_memory<'v>(&self, view: &'v View, layer: &'v MutableSegment) -> InMemory<'v> {
        let index = layer.index();
        let mut answer = index.answer(&self.plan);
        // Newer layers may have edited what this one holds.
        for newer in view.memory().take_while(|newer| !std::ptr::eq(*newer, layer)) {
            let edited = newer.edits().iter().filter_map(|id| index.slot(id));
            edited.for_each(|slot| answer.leave_open(slot));
        }
        InMemory { answer, view, layer }
    }

    /// What indexes leave of a segment.
    pub(super) fn candidates<'v>(&self, placed: &'v Placed) -> Candidates<'v> {
        let segment = &*placed.segment;
        let index = self.ready.segment(segment.number);
        let Answer { most, exact } = self.plan.answer(&OfSegment { segment, index });
        let mut bits = most.unwrap_or_else(|| Bits::all(segment.len()));
        placed.edited.iter().for_each(|ordinal| bits.set(ordinal));
        placed.dead.iter().for_each(|ordinal| bits.unset(ordinal));
        Candidates { bits, placed, exact }
    }
}

/// The points of a layer in memory that may pass, by slot.
pub(super) struct InMemory<'v> {
    answer: SlotAnswer,
    view: &'v View,
    layer: &'v MutableSegment,
}

impl<'v> InMemory<'v> {
    /// Slots of the candidates. Some may be of points that are gone.
    pub(super) fn slots(&self) -> &Bits {
        &self.answer.most
    }

    /// The slot of an id that is here.
    pub(super) fn slot(&self, id: PointId) -> Option<u32> {
        self.layer.index().slot(&id)
    }

    /// Whether it is certain that a candidate passes.
    pub(super) fn is_sure(&self, slot: u32) -> bool {
        !self.answer.open.contains(slot)
    }

    /// Whether that is certain of all.
    pub(super) fn all_are_sure(&self) -> bool {
        self.answer.open.is_empty()
    }

    /// Calls `visit` with each that lives, and whether it is certain that it passes.
    pub(super) fn each<E>(
        &self,
        mut visit: impl FnMut(Located<'v>, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        self.slots().iter().try_for_each(|slot| {
            let living = self.layer.index().id(slot).and_then(|id| self.located(id));
            living.map_or(Ok(()), |located| visit(located, self.is_sure(slot)))
        })
    }

    /// The point of an id, if it lives here.
    pub(super) fn located(&self, id: PointId) -> Option<Located<'v>> {
        self.view.in_layer(self.layer, id, self.layer.get(&id)?)
    }
}

impl<'v> Candidates<'v> {
    /// Calls `visit` with each, and whether it is certain that it passes; in order of ids, as payloads lie.
    pub(super) fn each<E>(
        &self,
        view: &'v View,
        mut visit: impl FnMut(Located<'v>, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        let segment = &self.placed.segment;
        let spots = (0..segment.len()).map(|place| segment.at_place(place));
        spots.filter(|spot| self.bits.contains(spot.ordinal)).try_for_each(|spot| {
            visit(view.in_segment(self.placed, spot), self.is_sure(spot.ordinal))
        })
    }

    /// Those that have the vector of a number, as rows of it.
    pub(super) fn rows(&self, number: usize) -> Cow<'_, Bits> {
        let segment = &self.placed.segment;
        let rows = segment.rows(number);
        if segment.rows_are_ordinals(number) {
            return match rows == self.bits.len() {
                true => Cow::Borrowed(&self.bits),
                false => Cow::Owned(self.bits.clone().cut_to(rows)),
            };
        }
        let mut bits = Bits::none(rows);
        let rows = self.bits.iter().filter_map(|ordinal| segment.row(number, ordinal));
        rows.for_each(|row| bits.set(row));
        Cow::Owned(bits)
    }

    /// Whether it is certain that a candidate passes.
    pub(super) fn is_sure(&self, ordinal: u32) -> bool {
        self.exact && !self.placed.edited.contains(ordinal)
    }

    /// Whether that is certain of all.
    pub(super) fn all_are_sure(&self) -> bool {
        self.exact && self.placed.edited.is_empty()
    }
}

struct OfSegment<'a> {
    segment: &'a Segment,
    index: Option<&'a SegmentIndex>,
}

impl Source for OfSegment<'_> {
    fn len(&self) -> u32 {
        self.segment.len()
    }

    fn field(&self, path: &KeyPath) -> Option<&FieldIndex> {
        self.index?.field(path)
    }

    fn with_ids(&self, ids: &[PointId]) -> Bits {
        let mut bits = Bits::none(self.segment.len());
        ids.iter().filter_map(|id| self.segment.find(*id)).for_each(|spot| bits.set(spot.ordinal));
        bits
    }
}

/// Looks at payloads, for one request.
pub(super) struct Checker<'a> {
    view: &'a View,
    matcher: &'a Matcher<'a>,
    /// Where single payloads are read, if they are at hand there.
    store: Option<&'a Store>,
    cache: PayloadCache,
}

impl<'a> Checker<'a> {
    /// For many payloads, in order of ids.
    pub(super) fn in_order(view: &'a View, matcher: &'a Matcher<'a>) -> Self {
        Self { view, matcher, store: None, cache: PayloadCache::default() }
    }

    /// For single payloads.
    pub(super) fn at_random(view: &'a View, matcher: &'a Matcher<'a>, store: &'a Store) -> Self {
        Self { view, matcher, store: Some(store), cache: PayloadCache::default() }
    }

    /// Whether a live point passes.
    pub(super) fn passes(&mut self, located: &Located<'_>) -> Result<bool, Damage> {
        let payload = match self.matcher.needs_payload() {
            true => {
                let keys = self.matcher.keys();
                let part = |text: &[u8]| read_part(text, keys).map_err(|error| error.to_string());
                one_payload(located, self.store, &mut self.cache, part)?
            }
            false => Payload::new(),
        };
        let (id, has_vector) = (located.id, |name: &str| self.view.has_vector(located, name));
        Ok(self.matcher.matches(&Subject { id, payload: &payload, has_vector: &has_vector }))
    }
}

/// What `read` makes of one point's payload: from the store where it has it, else from where the point is.
pub(super) fn one_payload(
    located: &Located<'_>,
    store: Option<&Store>,
    cache: &mut PayloadCache,
    read: impl Fn(&[u8]) -> Result<Payload, String>,
) -> Result<Payload, Damage> {
    let stored = store.and_then(|store| {
        located.stored_item().and_then(|(segment, item)| store.payload(segment, item))
    });
    // What the store holds is not the truth, so what does not parse there is read again where it is.
    if let Some(payload) = stored.and_then(|text| read(&text).ok()) {
        return Ok(payload);
    }
    read(located.payload(cache)?)
        .map_err(|detail| Damage { file: format!("payload of point {}", located.id), detail })
}

/// Calls `visit` with every live point that passes, for as long as `go_on` says so before each that is looked at.
pub(super) fn each_match<'v, E: From<Damage>>(
    view: &'v View,
    filtering: &Filtering<'_>,
    go_on: impl Fn() -> Result<(), E>,
    mut visit: impl FnMut(Located<'v>),
) -> Result<(), E> {
    let mut checker = Checker::in_order(view, &filtering.matcher);
    let mut look = |located: Located<'v>, sure: bool| {
        go_on()?;
        if sure || checker.passes(&located)? {
            visit(located);
        }
        Ok(())
    };
    if let Some(ids) = filtering.matcher.only_ids() {
        let living = ids.iter().filter_map(|id| view.locate(*id));
        return living.into_iter().try_for_each(|located| look(located, false));
    }
    view.memory().try_for_each(|layer| filtering.in_memory(view, layer).each(&mut look))?;
    view.segments.iter().try_for_each(|placed| filtering.candidates(placed).each(view, &mut look))
}
