//! Whether a point passes a filter.
//!
//! A [`Matcher`] is a filter made ready: key paths are parsed once, and it knows whether it needs the payload at all.
//! Semantics are Qdrant's. A key that leads to several values, or to an array, passes when any of them does.
//! Integers match integers only: 5.0 in a payload is not the integer 5.

use std::collections::HashSet;

use serde_json::Value;

use super::{Condition, Filter, FilterError, MAX_CONDITIONS, MAX_DEPTH, MatchValue, Range, Test};
use crate::payload::KeyPath;
use crate::{Payload, PointId};

/// A filter made ready to be asked about many points.
#[derive(Debug)]
pub struct Matcher<'a> {
    must: Vec<Ready<'a>>,
    should: Vec<Ready<'a>>,
    must_not: Vec<Ready<'a>>,
}

#[derive(Debug)]
enum Ready<'a> {
    Field { path: KeyPath, test: ReadyTest<'a> },
    HasId(&'a [PointId]),
    IsEmpty(KeyPath),
    IsNull(KeyPath),
    Filter(Matcher<'a>),
}

#[derive(Debug)]
enum ReadyTest<'a> {
    Match(&'a MatchValue),
    MatchAny(Values<'a>),
    MatchExcept(Values<'a>),
    Range(&'a Range),
}

/// Values to look a point's value up in. Lists may be as long as a request, and are asked about every point.
#[derive(Debug, Default)]
struct Values<'a> {
    keywords: HashSet<&'a str>,
    integers: HashSet<i64>,
    bools: HashSet<bool>,
}

impl<'a> From<&'a [MatchValue]> for Values<'a> {
    fn from(list: &'a [MatchValue]) -> Self {
        let mut values = Values::default();
        for value in list {
            match value {
                MatchValue::Keyword(keyword) => values.keywords.insert(keyword),
                MatchValue::Integer(integer) => values.integers.insert(*integer),
                MatchValue::Bool(bool) => values.bools.insert(*bool),
            };
        }
        values
    }
}

impl Values<'_> {
    fn contain(&self, value: &Value) -> bool {
        match value {
            Value::String(value) => self.keywords.contains(value.as_str()),
            Value::Number(value) => value.as_i64().is_some_and(|n| self.integers.contains(&n)),
            Value::Bool(value) => self.bools.contains(value),
            _ => false,
        }
    }
}

impl<'a> From<&'a Test> for ReadyTest<'a> {
    fn from(test: &'a Test) -> Self {
        match test {
            Test::Match(wanted) => ReadyTest::Match(wanted),
            Test::MatchAny(wanted) => ReadyTest::MatchAny(wanted.as_slice().into()),
            Test::MatchExcept(unwanted) => ReadyTest::MatchExcept(unwanted.as_slice().into()),
            Test::Range(range) => ReadyTest::Range(range),
        }
    }
}

impl Filter {
    /// Makes the filter ready. A filter that `parse` made never fails here; one from elsewhere may hold a bad key or
    /// exceed the bounds.
    pub fn matcher(&self) -> Result<Matcher<'_>, FilterError> {
        let mut budget = MAX_CONDITIONS;
        prepare(self, MAX_DEPTH, &mut budget)
    }

    /// Whether one point passes. For many points make a [`Matcher`] once.
    pub fn matches(&self, id: PointId, payload: &Payload) -> Result<bool, FilterError> {
        Ok(self.matcher()?.matches(id, payload))
    }
}

fn prepare<'a>(
    filter: &'a Filter,
    depth: usize,
    budget: &mut usize,
) -> Result<Matcher<'a>, FilterError> {
    let depth = depth.checked_sub(1).ok_or_else(FilterError::too_deep)?;
    let mut clause = |conditions: &'a [Condition]| -> Result<Vec<Ready<'a>>, FilterError> {
        *budget = budget.checked_sub(conditions.len()).ok_or_else(FilterError::too_many)?;
        conditions.iter().map(|condition| prepare_condition(condition, depth, budget)).collect()
    };
    Ok(Matcher {
        must: clause(&filter.must)?,
        should: clause(&filter.should)?,
        must_not: clause(&filter.must_not)?,
    })
}

fn prepare_condition<'a>(
    condition: &'a Condition,
    depth: usize,
    budget: &mut usize,
) -> Result<Ready<'a>, FilterError> {
    let path =
        |key: &str| key.parse::<KeyPath>().map_err(|error| FilterError::Invalid(error.to_string()));
    Ok(match condition {
        Condition::Field { key, test } => Ready::Field { path: path(key)?, test: test.into() },
        Condition::HasId(ids) if ids.is_sorted() => Ready::HasId(ids),
        Condition::HasId(_) => {
            return Err(FilterError::Invalid("has_id: ids of a stored filter must ascend".into()));
        }
        Condition::IsEmpty(key) => Ready::IsEmpty(path(key)?),
        Condition::IsNull(key) => Ready::IsNull(path(key)?),
        Condition::Filter(inner) => Ready::Filter(prepare(inner, depth, budget)?),
    })
}

impl Matcher<'_> {
    /// Whether a point passes.
    pub fn matches(&self, id: PointId, payload: &Payload) -> bool {
        self.must.iter().all(|condition| condition.holds(id, payload))
            && (self.should.is_empty()
                || self.should.iter().any(|condition| condition.holds(id, payload)))
            && !self.must_not.iter().any(|condition| condition.holds(id, payload))
    }

    /// Whether the answer depends on payloads; when not, `matches` may be given an empty one.
    pub fn needs_payload(&self) -> bool {
        let mut all = self.must.iter().chain(&self.should).chain(&self.must_not);
        all.any(|condition| match condition {
            Ready::HasId(_) => false,
            Ready::Filter(inner) => inner.needs_payload(),
            Ready::Field { .. } | Ready::IsEmpty(_) | Ready::IsNull(_) => true,
        })
    }

    /// Ids outside of which nothing passes, ascending, where the filter names such: the points to look at instead of
    /// all.
    pub fn only_ids(&self) -> Option<&[PointId]> {
        let ids = self.must.iter().filter_map(|condition| match condition {
            Ready::HasId(ids) => Some(*ids),
            _ => None,
        });
        ids.min_by_key(|ids| ids.len())
    }
}

impl Ready<'_> {
    fn holds(&self, id: PointId, payload: &Payload) -> bool {
        match self {
            Ready::Field { path, test } => path.any(payload, &mut |value| passes(value, test)),
            Ready::HasId(ids) => ids.binary_search(&id).is_ok(),
            Ready::IsEmpty(path) => !path.any(payload, &mut |value| !is_empty(value)),
            Ready::IsNull(path) => path.any(payload, &mut Value::is_null),
            Ready::Filter(inner) => inner.matches(id, payload),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(array) => array.is_empty(),
        _ => false,
    }
}

fn passes(value: &Value, test: &ReadyTest<'_>) -> bool {
    match value {
        Value::Array(array) => array.iter().any(|value| passes_one(value, test)),
        value => passes_one(value, test),
    }
}

fn passes_one(value: &Value, test: &ReadyTest<'_>) -> bool {
    match test {
        ReadyTest::Match(wanted) => equals(value, wanted),
        ReadyTest::MatchAny(wanted) => wanted.contain(value),
        ReadyTest::MatchExcept(unwanted) => !value.is_null() && !unwanted.contain(value),
        ReadyTest::Range(range) => value.as_f64().is_some_and(|number| within(number, range)),
    }
}

fn equals(value: &Value, wanted: &MatchValue) -> bool {
    match (value, wanted) {
        (Value::String(value), MatchValue::Keyword(wanted)) => value == wanted,
        (Value::Number(value), MatchValue::Integer(wanted)) => value.as_i64() == Some(*wanted),
        (Value::Bool(value), MatchValue::Bool(wanted)) => value == wanted,
        _ => false,
    }
}

fn within(number: f64, range: &Range) -> bool {
    range.lt.is_none_or(|bound| number < bound)
        && range.gt.is_none_or(|bound| number > bound)
        && range.lte.is_none_or(|bound| number <= bound)
        && range.gte.is_none_or(|bound| number >= bound)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn passes(filter: Value, payload: Value) -> bool {
        Filter::parse(&filter)
            .unwrap()
            .matches(PointId::Num(7), payload.as_object().unwrap())
            .unwrap()
    }

    fn field(test: Value, payload: Value) -> bool {
        let mut condition = json!({"key": "a"});
        condition.as_object_mut().unwrap().extend(test.as_object().unwrap().clone());
        passes(json!({"must": condition}), payload)
    }

    #[test]
    fn clauses_combine() {
        let payload = || json!({"a": 1, "b": "x"});
        let is = |key: &str, value: Value| json!({"key": key, "match": {"value": value}});
        assert!(passes(json!({}), payload()));
        assert!(passes(json!({"must": [is("a", json!(1)), is("b", json!("x"))]}), payload()));
        assert!(!passes(json!({"must": [is("a", json!(1)), is("b", json!("y"))]}), payload()));
        assert!(passes(json!({"should": [is("a", json!(2)), is("b", json!("x"))]}), payload()));
        assert!(!passes(json!({"should": [is("a", json!(2)), is("b", json!("y"))]}), payload()));
        assert!(passes(json!({"should": []}), payload()), "an empty should does not bind");
        assert!(!passes(json!({"must_not": is("a", json!(1))}), payload()));
        assert!(passes(
            json!({"must_not": [{"must": [is("a", json!(1)), is("b", json!("y"))]}]}),
            payload()
        ));
    }

    #[test]
    fn a_value_in_an_array_is_enough() {
        assert!(field(json!({"match": {"value": "x"}}), json!({"a": ["y", "x"]})));
        assert!(
            !field(json!({"match": {"value": "x"}}), json!({"a": [["x"]]})),
            "arrays in arrays are not opened"
        );
        assert!(field(json!({"range": {"gt": 5}}), json!({"a": [1, 9]})));
        assert!(field(json!({"match": {"except": ["x"]}}), json!({"a": ["x", "y"]})));
        assert!(!field(json!({"match": {"except": ["x"]}}), json!({"a": ["x"]})));
    }

    #[test]
    fn types_do_not_mix() {
        assert!(field(json!({"match": {"value": 5}}), json!({"a": 5})));
        assert!(!field(json!({"match": {"value": 5}}), json!({"a": 5.0})));
        assert!(!field(json!({"match": {"value": 5}}), json!({"a": "5"})));
        assert!(!field(json!({"match": {"value": true}}), json!({"a": 1})));
        assert!(field(json!({"match": {"any": [1, 5]}}), json!({"a": 5})));
        assert!(field(json!({"match": {"except": [1]}}), json!({"a": "text"})));
        assert!(!field(json!({"match": {"except": [1]}}), json!({"a": null})));
        assert!(
            !field(json!({"match": {"except": [1]}}), json!({"b": 2})),
            "a key that is not there passes nothing"
        );
    }

    #[test]
    fn ranges_take_integers_and_floats() {
        assert!(field(json!({"range": {"gte": 1.5, "lt": 3}}), json!({"a": 2})));
        assert!(field(json!({"range": {"gte": 1.5, "lt": 3}}), json!({"a": 1.5})));
        assert!(!field(json!({"range": {"gte": 1.5, "lt": 3}}), json!({"a": 3})));
        assert!(!field(json!({"range": {"gte": 1}}), json!({"a": "2"})));
    }

    #[test]
    fn empty_and_null_differ() {
        let empty = |payload| passes(json!({"must": {"is_empty": {"key": "a"}}}), payload);
        let null = |payload| passes(json!({"must": {"is_null": {"key": "a"}}}), payload);
        for payload in [json!({}), json!({"a": null}), json!({"a": []})] {
            assert!(empty(payload.clone()), "{payload}");
        }
        for payload in [json!({"a": 0}), json!({"a": ""}), json!({"a": {}}), json!({"a": [null]})] {
            assert!(!empty(payload.clone()), "{payload}");
        }
        assert!(null(json!({"a": null})) && !null(json!({})) && !null(json!({"a": []})));
    }

    #[test]
    fn ids_are_found_without_payloads() {
        let filter = Filter::parse(&json!({"must": [{"has_id": [9, 7, 3]}]})).unwrap();
        let matcher = filter.matcher().unwrap();
        assert!(!matcher.needs_payload());
        assert_eq!(matcher.only_ids(), Some([3, 7, 9].map(PointId::Num).as_slice()));
        assert!(
            matcher.matches(PointId::Num(7), &Payload::new())
                && !matcher.matches(PointId::Num(8), &Payload::new())
        );
    }

    #[test]
    fn a_filter_from_elsewhere_is_checked() {
        let bad_key = Filter { must: vec![Condition::IsNull("a..b".into())], ..Filter::default() };
        assert!(matches!(bad_key.matcher(), Err(FilterError::Invalid(_))));
        let mut deep = Filter::default();
        for _ in 0..MAX_DEPTH {
            deep = Filter { must: vec![Condition::Filter(Box::new(deep))], ..Filter::default() };
        }
        assert_eq!(deep.matcher().err(), Some(FilterError::too_deep()));
        let many = Filter {
            must: vec![Condition::HasId(vec![]); MAX_CONDITIONS + 1],
            ..Filter::default()
        };
        assert_eq!(many.matcher().err(), Some(FilterError::too_many()));
    }
}
