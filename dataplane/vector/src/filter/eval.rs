//! Whether a point passes a filter.
//!
//! A [`Matcher`] is a filter made ready: key paths are parsed once, and it knows whether it needs the payload at all.
//! Semantics are Qdrant's. A key that leads to several values, or to an array, passes when any of them does.

mod prepare;
mod value;

use super::{Filter, FilterError};
use crate::payload::KeyPath;
use crate::text::Tokenizer;
use crate::{Payload, PointId};
use prepare::Preparer;
use value::ReadyTest;

/// What of a point a filter looks at.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The id.
    pub id: PointId,
    /// The payload.
    pub payload: &'a Payload,
    /// Whether the point has the vector of a name.
    pub has_vector: &'a dyn Fn(&str) -> bool,
}

/// A filter made ready to be asked about many points.
#[derive(Debug)]
pub struct Matcher<'a> {
    clauses: Clauses<'a>,
    /// Keys of payloads that the answer depends on, ascending.
    keys: Vec<String>,
}

#[derive(Debug)]
struct Clauses<'a> {
    must: Vec<Ready<'a>>,
    should: Vec<Ready<'a>>,
    must_not: Vec<Ready<'a>>,
}

#[derive(Debug)]
enum Ready<'a> {
    Field { path: KeyPath, test: ReadyTest<'a> },
    HasId(&'a [PointId]),
    HasVector(&'a str),
    IsEmpty(KeyPath),
    IsNull(KeyPath),
    Filter(Clauses<'a>),
    MinShould { conditions: Vec<Ready<'a>>, min_count: usize },
    Nested { elements: KeyPath, filter: Clauses<'a> },
}

impl Filter {
    /// Makes the filter ready. A filter that `parse` made never fails here; one from elsewhere may hold what is none, such
    /// as a bad key, or exceed the bounds.
    pub fn matcher(&self) -> Result<Matcher<'_>, FilterError> {
        self.matcher_with(&|_| None)
    }

    /// The same for a collection where fields have full-text indexes: `text`, `text_any` and `phrase` then look for tokens.
    /// Asked with the path of a field from the top of the payload, where elements of an array are `a[].b`.
    pub fn matcher_with(
        &self,
        tokenizer_of: &dyn Fn(&KeyPath) -> Option<Tokenizer>,
    ) -> Result<Matcher<'_>, FilterError> {
        let clauses = Preparer::new(tokenizer_of).whole(self)?;
        let mut keys = Vec::new();
        clauses.collect_keys(&mut keys);
        keys.sort_unstable();
        keys.dedup();
        Ok(Matcher { clauses, keys })
    }

    /// Whether one point passes. For many points make a [`Matcher`] once.
    pub fn matches(&self, subject: &Subject<'_>) -> Result<bool, FilterError> {
        Ok(self.matcher()?.matches(subject))
    }
}

impl Matcher<'_> {
    /// Whether a point passes.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.clauses.hold(subject.payload, Some(subject))
    }

    /// Whether the answer depends on payloads; when not, `matches` may be given an empty one.
    pub fn needs_payload(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Keys at the top of payloads that the answer depends on, ascending; `matches` may be given a payload without the
    /// others.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Ids outside of which nothing passes, ascending, where the filter names such: the points to look at instead of
    /// all.
    pub fn only_ids(&self) -> Option<&[PointId]> {
        let ids = self.clauses.must.iter().filter_map(|condition| match condition {
            Ready::HasId(ids) => Some(*ids),
            _ => None,
        });
        ids.min_by_key(|ids| ids.len())
    }
}

impl Clauses<'_> {
    /// Whether an object passes: a point's payload, or one that stands in it and is no point.
    fn hold(&self, object: &Payload, point: Option<&Subject<'_>>) -> bool {
        self.must.iter().all(|condition| condition.holds(object, point))
            && (self.should.is_empty()
                || self.should.iter().any(|condition| condition.holds(object, point)))
            && !self.must_not.iter().any(|condition| condition.holds(object, point))
    }

    fn collect_keys(&self, keys: &mut Vec<String>) {
        let all = self.must.iter().chain(&self.should).chain(&self.must_not);
        all.for_each(|condition| condition.collect_keys(keys));
    }
}

impl Ready<'_> {
    fn holds(&self, object: &Payload, point: Option<&Subject<'_>>) -> bool {
        match self {
            Ready::Field { path, test } => {
                let mut absent = true;
                let passed = path.any(object, &mut |value| {
                    absent = false;
                    test.passes(value)
                });
                passed || (absent && test.passes_absent())
            }
            Ready::HasId(ids) => point.is_some_and(|point| ids.binary_search(&point.id).is_ok()),
            Ready::HasVector(name) => point.is_some_and(|point| (point.has_vector)(name)),
            Ready::IsEmpty(path) => !path.any(object, &mut |value| !value::is_empty(value)),
            Ready::IsNull(path) => path.any(object, &mut serde_json::Value::is_null),
            Ready::Filter(inner) => inner.hold(object, point),
            Ready::MinShould { conditions, min_count } => {
                let holding = conditions.iter().filter(|condition| condition.holds(object, point));
                holding.take(*min_count).count() == *min_count
            }
            Ready::Nested { elements, filter } => elements.any(object, &mut |value| {
                value.as_object().is_some_and(|element| filter.hold(element, None))
            }),
        }
    }

    fn collect_keys(&self, keys: &mut Vec<String>) {
        match self {
            Ready::HasId(_) | Ready::HasVector(_) => {}
            Ready::Filter(inner) => inner.collect_keys(keys),
            Ready::MinShould { conditions, .. } => {
                conditions.iter().for_each(|condition| condition.collect_keys(keys));
            }
            // What is nested begins at the elements.
            Ready::Field { path, .. }
            | Ready::IsEmpty(path)
            | Ready::IsNull(path)
            | Ready::Nested { elements: path, .. } => keys.push(path.first().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Condition, GeoPoint, GeoRadius, MAX_CONDITIONS, MAX_DEPTH, Test};
    use super::*;

    fn point(id: u64, payload: &Payload) -> Subject<'_> {
        Subject { id: PointId::Num(id), payload, has_vector: &str::is_empty }
    }

    fn passes(filter: Value, payload: Value) -> bool {
        let filter = Filter::parse(&filter).unwrap();
        filter.matches(&point(7, payload.as_object().unwrap())).unwrap()
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
        assert!(matcher.matches(&point(7, &Payload::new())));
        assert!(!matcher.matches(&point(8, &Payload::new())));
    }

    #[test]
    fn one_element_must_pass_all_that_is_nested() {
        let payload = || json!({"diet": [{"food": "leaves", "likes": false}, {"food": "meat", "likes": true}, 5]});
        let food = |food: &str| json!({"key": "food", "match": {"value": food}});
        let likes = |likes: bool| json!({"key": "likes", "match": {"value": likes}});
        let nested = |filter: Value| json!({"must": {"nested": {"key": "diet", "filter": filter}}});
        assert!(passes(nested(json!({"must": [food("meat"), likes(true)]})), payload()));
        assert!(!passes(nested(json!({"must": [food("leaves"), likes(true)]})), payload()));
        assert!(passes(nested(json!({"must_not": food("meat")})), payload()), "the leaves do");
        assert!(!passes(nested(json!({"must_not": [food("meat"), food("leaves")]})), payload()));
        assert!(!passes(nested(json!({})), json!({"diet": {"food": "meat"}})), "not an array");
        assert!(!passes(nested(json!({})), json!({"diet": [1, [{}]]})), "no object in it");
        for about_points in [json!({"has_id": [7]}), json!({"has_vector": ""})] {
            assert!(passes(json!({ "must": about_points }), payload()));
            assert!(!passes(nested(json!({ "must": about_points })), payload()));
            assert!(passes(nested(json!({ "must_not": about_points })), payload()));
        }
    }

    #[test]
    fn as_many_as_asked_for_must_hold() {
        let is = |key: &str| json!({"key": key, "match": {"value": 1}});
        let enough = |min_count: u64, payload: Value| {
            let conditions = [is("a"), is("b"), is("c")];
            passes(
                json!({"min_should": {"conditions": conditions, "min_count": min_count}}),
                payload,
            )
        };
        assert!(enough(2, json!({"a": 1, "c": 1})) && !enough(2, json!({"a": 1})));
        assert!(enough(0, json!({})) && !enough(4, json!({"a": 1, "b": 1, "c": 1})));
        assert!(!enough(u64::MAX, json!({"a": 1, "b": 1, "c": 1})));
    }

    #[test]
    fn vectors_are_asked_of_who_knows() {
        let filter = Filter::parse(&json!({"must": {"has_vector": "image"}})).unwrap();
        let matcher = filter.matcher().unwrap();
        assert!(!matcher.needs_payload());
        let payload = Payload::new();
        let with = |has_vector: &dyn Fn(&str) -> bool| {
            matcher.matches(&Subject { id: PointId::Num(1), payload: &payload, has_vector })
        };
        assert!(with(&|name| name == "image") && !with(&str::is_empty));
    }

    #[test]
    fn the_keys_that_matter_are_told() {
        let nested =
            json!({"nested": {"key": "n", "filter": {"must": {"is_null": {"key": "inner"}}}}});
        let filter = Filter::parse(&json!({
            "must": [{"key": "b.x[]", "match": {"value": 1}}, {"has_id": [1]}],
            "should": [{"must_not": [{"is_empty": {"key": "a"}}, nested]}],
            "min_should": {"conditions": [{"key": "b", "is_null": true}, {"is_null": {"key": "\"c.d\""}}], "min_count": 1},
        }));
        assert_eq!(filter.unwrap().matcher().unwrap().keys(), ["a", "b", "c.d", "n"]);
    }

    #[test]
    fn a_field_with_a_full_text_index_is_searched_by_tokens() {
        let filter = json!({"must": [
            {"key": "a", "match": {"text": "fox RED"}},
            {"nested": {"key": "n", "filter": {"must": {"key": "b", "match": {"phrase": "red FOX"}}}}},
        ]});
        let filter = Filter::parse(&filter).unwrap();
        let payload = json!({"a": "A red fox", "n": [{"b": "a Red fox"}]});
        let subject = point(1, payload.as_object().unwrap());
        assert!(!filter.matches(&subject).unwrap(), "without one, texts are compared as they are");
        let indexed = |path: &KeyPath| {
            ["a", "n[].b"].contains(&path.to_string().as_str()).then(Tokenizer::default)
        };
        assert!(filter.matcher_with(&indexed).unwrap().matches(&subject));
        let only_a = |path: &KeyPath| (path.to_string() == "a").then(Tokenizer::default);
        assert!(!filter.matcher_with(&only_a).unwrap().matches(&subject));
    }

    #[test]
    fn a_filter_from_elsewhere_is_checked() {
        let bad_key = Filter { must: vec![Condition::IsNull("a..b".into())], ..Filter::default() };
        assert!(matches!(bad_key.matcher(), Err(FilterError::Invalid(_))));
        let radius = GeoRadius { center: GeoPoint { lon: 0.0, lat: 91.0 }, radius: 1.0 };
        let nowhere = Condition::Field { key: "at".into(), test: Test::GeoRadius(radius) };
        let nowhere = Filter { must: vec![nowhere], ..Filter::default() };
        let Err(FilterError::Invalid(text)) = nowhere.matcher() else { panic!("{nowhere:?}") };
        assert!(text.starts_with("at: Wrong format of GeoPoint"), "{text}");
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
