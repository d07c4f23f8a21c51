//! What the filter parser accepts, refuses, and how its errors read.

use proptest::prelude::*;
use serde_json::json;

use super::super::{Range, Subject, Test};
use super::*;

fn error(filter: Value) -> String {
    match Filter::parse(&filter) {
        Err(FilterError::Invalid(text)) => text,
        other => panic!("{filter} gave {other:?}"),
    }
}

#[test]
fn a_clause_is_a_list_or_one_condition() {
    let condition = json!({"key": "a", "match": {"value": "x"}});
    let list = Filter::parse(&json!({"must": [condition.clone()]})).unwrap();
    assert_eq!(list, Filter::parse(&json!({"must": condition, "should": null})).unwrap());
    assert_eq!(list.must.len(), 1);
}

#[test]
fn all_that_is_built_is_read() {
    let filter = Filter::parse(&json!({
        "must": [
            {"key": "a.b[]", "match": {"any": ["x", "y"]}},
            {"key": "c", "range": {"gte": 1, "lt": 2.5, "gt": null}},
            {"has_id": [5, 3, 3, "f47ac10b-58cc-4372-a567-0e02b2c3d479"]},
        ],
        "must_not": [{"is_empty": {"key": "d"}}, {"is_null": {"key": "e"}}],
        "should": [{"must": {"key": "f", "match": {"except": [1, 2]}}}],
    }))
    .unwrap();
    let range = Range { gte: Some(1.0), lt: Some(2.5), ..Range::default() };
    assert_eq!(filter.must[1], Condition::Field { key: "c".into(), test: Test::Range(range) });
    let Condition::HasId(ids) = &filter.must[2] else { panic!("{filter:?}") };
    assert_eq!(ids[..2], [PointId::Num(3), PointId::Num(5)]);
    assert_eq!(ids.len(), 3);
    assert_eq!(filter.must_not, [Condition::IsEmpty("d".into()), Condition::IsNull("e".into())]);
    assert!(matches!(&filter.should[0], Condition::Filter(inner) if inner.must.len() == 1));
}

#[test]
fn a_flag_beside_a_key_says_empty_or_not() {
    let parse = |test: Value| {
        let mut condition = json!({"key": "a"});
        condition.as_object_mut().unwrap().extend(test.as_object().unwrap().clone());
        Filter::parse(&json!({"must": condition})).unwrap().must
    };
    let field = |test: Test| [Condition::Field { key: "a".into(), test }];
    assert_eq!(parse(json!({"is_empty": true, "is_null": null})), field(Test::IsEmpty(true)));
    assert_eq!(parse(json!({"is_null": false})), field(Test::IsNull(false)));
}

#[test]
fn errors_name_the_place() {
    assert_eq!(
        error(json!({"must": [{"key": "a", "match": {"value": 1.5}}]})).split(": ").next(),
        Some("filter.must[0].match.value")
    );
    assert!(error(json!({"most": []})).starts_with("filter.most: unknown clause"));
    assert!(
        error(json!({"must": [{"key": "a", "macht": {}}]}))
            .starts_with("filter.must[0].macht: unknown test")
    );
    assert!(error(json!({"must": [{"key": "a"}]})).starts_with("filter.must[0]: At least one"));
    assert!(
        error(json!({"must": [{"key": "a..b", "match": {"value": 1}}]}))
            .contains("Invalid json path: 'a..b'")
    );
    assert!(
        error(json!({"must": [{"key": "a", "match": {"value": 1, "any": []}}]}))
            .contains("exactly one")
    );
    assert!(
        error(json!({"must": [{"key": "a", "match": {"any": ["x", 1]}}]})).contains("a list of")
    );
    assert!(
        error(json!({"must": [{"key": "a", "range": {"le": 1}}]}))
            .starts_with("filter.must[0].range.le: unknown bound")
    );
    assert!(error(json!({"must": {"has_id": [-1]}})).contains("value -1 is not a valid point ID"));
    assert!(
        error(json!({"must": {"has_id": ["7"]}})).contains("is not a valid point ID"),
        "a number in quotes is no id"
    );
    assert!(error(json!({"must": {"has_id": [1], "key2": 1}})).starts_with("filter.must[0].key2"));
    assert!(
        error(json!({"must": [{"has_ids": [1]}]}))
            .starts_with("filter.must[0].has_ids: expected a condition")
    );
    assert!(error(json!({"must": 5})).starts_with("filter.must[0]: expected an object"));
    assert!(error(json!([])).starts_with("filter: expected an object"));
}

#[test]
fn what_is_not_built_is_named() {
    match Filter::parse(&json!({"must": {"slice": {}}})) {
        Err(FilterError::Unsupported(text)) => assert!(text.contains("`slice`"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let nest = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({"must": [inner]}));
    assert!(Filter::parse(&nest(MAX_DEPTH)).is_ok());
    assert!(error(nest(MAX_DEPTH + 1)).contains("nested deeper"));
    assert!(error(nest(64)).contains("nested deeper"), "as deep as serde_json reads");
    let many = vec![json!({"has_id": []}); MAX_CONDITIONS + 1];
    assert!(error(json!({ "must": many })).contains("more than"));
}

/// JSON with the words of the dialect in it, so that random input gets past the first check.
fn dialect() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z.\\[\\]]{0,4}".prop_map(Value::from),
    ];
    let word = prop::sample::select(vec![
        "must",
        "should",
        "must_not",
        "key",
        "match",
        "value",
        "any",
        "except",
        "range",
        "gt",
        "lte",
        "has_id",
        "is_empty",
        "is_null",
        "min_should",
        "other",
    ]);
    leaf.prop_recursive(6, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(word.clone().prop_map(String::from), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_a_filter_that_works_or_an_error(json in dialect(), payload in dialect()) {
        if let Ok(filter) = Filter::parse(&json) {
            let payload = payload.as_object().cloned().unwrap_or_default();
            let has_vector = str::is_empty;
            let subject = Subject { id: PointId::Num(1), payload: &payload, has_vector: &has_vector };
            prop_assert!(filter.matches(&subject).is_ok());
        }
    }
}
