//! Makes a filter ready to be asked about points: key paths parsed, tests prepared, bounds checked.
//!
//! Filters come from disks and other shards too, so what `parse` would have refused is refused here again. Invariant: a
//! filter has at most [`MAX_CONDITIONS`] conditions and [`MAX_DEPTH`] levels once it is ready.

use super::super::{Condition, Filter, FilterError, MAX_CONDITIONS, MAX_DEPTH, Nested};
use super::value::ReadyTest;
use super::{Clauses, Ready};
use crate::payload::{InvalidPath, KeyPath};
use crate::text::Tokenizer;

pub(super) struct Preparer<'t> {
    conditions_left: usize,
    tokenizer_of: &'t dyn Fn(&KeyPath) -> Option<Tokenizer>,
}

/// Where in a filter a condition stands.
struct Place<'p> {
    /// Levels that are left.
    depth: usize,
    /// The objects in the payload that it is about, if not the payload itself.
    outer: Option<&'p KeyPath>,
}

impl Place<'_> {
    fn below(&self) -> Result<Self, FilterError> {
        let depth = self.depth.checked_sub(1).ok_or_else(FilterError::too_deep)?;
        Ok(Place { depth, outer: self.outer })
    }
}

impl<'t> Preparer<'t> {
    pub(super) fn new(tokenizer_of: &'t dyn Fn(&KeyPath) -> Option<Tokenizer>) -> Self {
        Self { conditions_left: MAX_CONDITIONS, tokenizer_of }
    }

    /// A whole filter.
    pub(super) fn whole<'a>(&mut self, filter: &'a Filter) -> Result<Clauses<'a>, FilterError> {
        self.filter(filter, &Place { depth: MAX_DEPTH, outer: None })
    }

    fn filter<'a>(
        &mut self,
        filter: &'a Filter,
        place: &Place<'_>,
    ) -> Result<Clauses<'a>, FilterError> {
        let place = place.below()?;
        Ok(Clauses {
            must: self.conditions(&filter.must, &place)?,
            should: self.conditions(&filter.should, &place)?,
            must_not: self.conditions(&filter.must_not, &place)?,
        })
    }

    fn conditions<'a>(
        &mut self,
        conditions: &'a [Condition],
        place: &Place<'_>,
    ) -> Result<Vec<Ready<'a>>, FilterError> {
        let cost = |condition: &Condition| match condition {
            Condition::Field { test, .. } => test.cost(),
            _ => 1,
        };
        let cost = conditions.iter().map(cost).sum();
        self.conditions_left =
            self.conditions_left.checked_sub(cost).ok_or_else(FilterError::too_many)?;
        conditions.iter().map(|condition| self.condition(condition, place)).collect()
    }

    fn condition<'a>(
        &mut self,
        condition: &'a Condition,
        place: &Place<'_>,
    ) -> Result<Ready<'a>, FilterError> {
        Ok(match condition {
            Condition::Field { key, test } => {
                let path = path(key)?;
                let tokenizer = || match place.outer {
                    None => (self.tokenizer_of)(&path),
                    Some(outer) => (self.tokenizer_of)(&path.under(outer)),
                };
                let test = ReadyTest::new(test, tokenizer);
                let test = test.map_err(|error| FilterError::Invalid(format!("{key}: {error}")))?;
                Ready::Field { path, test }
            }
            Condition::HasId(ids) if ids.is_sorted() => Ready::HasId(ids),
            Condition::HasId(_) => {
                return Err(FilterError::Invalid(
                    "has_id: ids of a stored filter must ascend".into(),
                ));
            }
            Condition::HasVector(name) => Ready::HasVector(name),
            Condition::IsEmpty(key) => Ready::IsEmpty(path(key)?),
            Condition::IsNull(key) => Ready::IsNull(path(key)?),
            Condition::Filter(inner) => Ready::Filter(self.filter(inner, place)?),
            Condition::MinShould(inner) => {
                // More than fit into memory are more than there are conditions.
                let min_count = usize::try_from(inner.min_count).unwrap_or(usize::MAX);
                let conditions = self.conditions(&inner.conditions, &place.below()?)?;
                Ready::MinShould { conditions, min_count }
            }
            Condition::Nested(inner) => self.nested(inner, place)?,
        })
    }

    fn nested<'a>(
        &mut self,
        nested: &'a Nested,
        place: &Place<'_>,
    ) -> Result<Ready<'a>, FilterError> {
        let elements = path(&nested.key)?.elements();
        let from_top = place.outer.map(|outer| elements.under(outer));
        let outer = Some(from_top.as_ref().unwrap_or(&elements));
        let filter = self.filter(&nested.filter, &Place { depth: place.depth, outer })?;
        Ok(Ready::Nested { elements, filter })
    }
}

fn path(key: &str) -> Result<KeyPath, FilterError> {
    key.parse().map_err(|error: InvalidPath| FilterError::Invalid(error.to_string()))
}
