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

/// What is wrong with one condition, behind its place.
fn condition_error(condition: Value) -> String {
    let error = error(json!({ "must": [condition] }));
    error.strip_prefix("filter.must[0].").map(str::to_owned).unwrap_or(error)
}

/// What is wrong with a test of the field `a`, behind its place.
fn field_error(name: &str, test: Value) -> String {
    condition_error(json!({"key": "a", name: test}))
}

#[test]
fn a_key_without_a_test_is_of_the_form_and_has_no_sense() {
    let error = Filter::parse(&json!({"should": [{"key": "a", "match": null}]})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "filter.should[0]: At least one field condition must be specified"
    );
    assert!(matches!(error, FilterError::Field { .. }));
}

#[test]
fn tests_of_values_are_alternatives_and_others_stand_alone() {
    let both = json!({"key": "a", "match": {"value": 1}, "range": {"gt": 5}});
    let filter = Filter::parse(&json!({"must": both})).unwrap();
    let Condition::Filter(inner) = &filter.must[0] else { panic!("{filter:?}") };
    assert_eq!((inner.should.len(), inner.must.len()), (2, 0));
    for (name, test) in
        [("values_count", json!({"gt": 1})), ("is_empty", json!(false)), ("is_null", json!(true))]
    {
        let error = condition_error(json!({"key": "a", "match": {"value": 1}, name: test}));
        assert!(error.starts_with(&format!("{name}: says something of the field as a whole")));
    }
}

#[test]
fn min_should_is_one_condition_more_in_must() {
    let a = json!({"is_null": {"key": "a"}});
    let filter = json!({"must": a, "min_should": {"conditions": [a, a], "min_count": 2}});
    let filter = Filter::parse(&filter).unwrap();
    let is_null = || Condition::IsNull("a".into());
    let min_should = MinShould { conditions: vec![is_null(), is_null()], min_count: 2 };
    assert_eq!(filter.must, [is_null(), Condition::MinShould(Box::new(min_should))]);

    let error = |min_should: Value| error(json!({"min_should": min_should}));
    assert_eq!(error(json!([])), "filter.min_should: expected an object");
    let conditions = "filter.min_should.conditions: expected a list of conditions";
    assert_eq!(error(json!({"min_count": 1})), conditions);
    assert_eq!(error(json!({"conditions": a, "min_count": 1})), conditions);
    let min_count = "filter.min_should.min_count: expected how many of the conditions must hold, an unsigned integer";
    for wrong in [json!(null), json!(-1), json!(1.5), json!("1")] {
        assert_eq!(error(json!({"conditions": [], "min_count": wrong})), min_count);
    }
    assert!(error(json!({"conditions": [], "min_count": 1, "max": 2})).contains(".max: unknown"));
    let inner = error(json!({"conditions": [a, {"key": "x", "range": 1}], "min_count": 1}));
    assert_eq!(inner, "filter.min_should.conditions[1].range: expected an object");
}

#[test]
fn nested_is_a_key_and_a_filter() {
    let nested =
        json!({"nested": {"key": "a[].b", "filter": {"must_not": {"is_null": {"key": "c"}}}}});
    let filter = Filter::parse(&json!({ "must": nested })).unwrap();
    let Condition::Nested(nested) = &filter.must[0] else { panic!("{filter:?}") };
    assert_eq!((nested.key.as_str(), nested.filter.must_not.len()), ("a[].b", 1));

    let error = |nested: Value| condition_error(json!({ "nested": nested }));
    assert_eq!(error(json!({"filter": {}})), "nested.key: expected a payload key");
    assert_eq!(error(json!({"key": "a."})).split(": ").next(), Some("nested.key"));
    assert_eq!(error(json!({"key": "a"})), "nested.filter: expected an object");
    assert_eq!(error(json!({"key": "a", "filter": []})), "nested.filter: expected an object");
    let inner = json!({"key": "a", "filter": {"must": [{"key": "b", "is_null": 1}]}});
    assert_eq!(error(inner), "nested.filter.must[0].is_null: expected a boolean");
    assert!(
        error(json!({"key": "a", "filter": {}, "must": []})).starts_with("nested.must: unknown")
    );
}

#[test]
fn a_vector_is_named_by_a_string() {
    let filter = Filter::parse(&json!({"must": {"has_vector": ""}})).unwrap();
    assert_eq!(filter.must, [Condition::HasVector(String::new())]);
    assert_eq!(
        condition_error(json!({"has_vector": 1})),
        "has_vector: expected the name of a vector"
    );
}

#[test]
fn counts_are_unsigned() {
    let test = json!({"key": "a", "values_count": {"gt": 1, "lte": 5, "lt": null}});
    let range = Range { lt: None, gt: Some(1), lte: Some(5), gte: None };
    let expected = Condition::Field { key: "a".into(), test: Test::ValuesCount(range) };
    assert_eq!(Filter::parse(&json!({ "must": test })).unwrap().must, [expected]);
    for wrong in [json!(-1), json!(1.5), json!("1")] {
        let error = field_error("values_count", json!({ "gt": wrong }));
        assert_eq!(error, "values_count.gt: expected an unsigned integer");
    }
    assert_eq!(field_error("values_count", json!(3)), "values_count: expected an object");
}

#[test]
fn bounds_that_are_texts_are_dates() {
    let test = json!({"key": "a", "range": {"gte": "1970-01-01", "lt": "1970-01-01T00:00:01Z"}});
    let range = Range { lt: Some(1_000_000), gt: None, lte: None, gte: Some(0) };
    let expected = Condition::Field { key: "a".into(), test: Test::Datetime(range) };
    assert_eq!(Filter::parse(&json!({ "must": test })).unwrap().must, [expected]);
    assert_eq!(
        field_error("range", json!({"gt": "yesterday"})),
        "range.gt: 'yesterday' is not in a supported date/time format, please use RFC 3339"
    );
    assert_eq!(
        field_error("range", json!({"gt": "2024-01-01", "lt": 5})),
        "range.lt: expected a date and time as a string, as the other bound is one"
    );
    assert_eq!(
        field_error("range", json!({"lt": true})),
        "range.lt: expected a number, or a date and time as a string"
    );
}

#[test]
fn a_match_is_one_of_its_kinds() {
    for (kind, test) in [
        ("text", Test::Text("x y".into())),
        ("text_any", Test::TextAny("x y".into())),
        ("phrase", Test::Phrase("x y".into())),
    ] {
        let filter = json!({"must": {"key": "a", "match": {kind: "x y"}}});
        let expected = Condition::Field { key: "a".into(), test };
        assert_eq!(Filter::parse(&filter).unwrap().must, [expected]);
        let error = field_error("match", json!({kind: ["x"]}));
        assert_eq!(error, format!("match.{kind}: expected a string"));
    }
    assert_eq!(
        field_error("match", json!({"values": 1})),
        "match.values: unknown kind of match, expected `value`, `any`, `except`, `text`, `text_any` or `phrase`"
    );
    assert!(field_error("match", json!({})).starts_with("match: expected exactly one of `value`"));
}

#[test]
fn areas_are_made_of_places_on_the_earth() {
    let at = |lon: f64, lat: f64| json!({"lon": lon, "lat": lat});
    let point = "expected a geo point, an object with numbers `lon` and `lat`";
    let off = "Wrong format of GeoPoint payload: expected `lat` = 91 within [-90;90] and `lon` = 0 within [-180;180]";
    for wrong in [json!(null), json!([0, 0]), json!({"lon": 0}), json!({"lon": "0", "lat": 0})] {
        let area = json!({"top_left": wrong, "bottom_right": at(0.0, 0.0)});
        assert_eq!(
            field_error("geo_bounding_box", area),
            format!("geo_bounding_box.top_left: {point}")
        );
    }
    assert_eq!(
        field_error(
            "geo_bounding_box",
            json!({"top_left": at(0.0, 0.0), "bottom_right": at(0.0, 91.0)})
        ),
        format!("geo_bounding_box.bottom_right: {off}")
    );
    assert_eq!(
        field_error("geo_radius", json!({"center": at(0.0, 91.0), "radius": 1})),
        format!("geo_radius.center: {off}")
    );
    assert_eq!(
        field_error("geo_radius", json!({"center": at(0.0, 1.0), "radius": "1"})),
        "geo_radius.radius: expected a number of metres"
    );
    assert!(
        field_error("geo_radius", json!({"centre": {}})).starts_with("geo_radius.centre: unknown")
    );
    assert_eq!(field_error("geo_radius", json!(5)), "geo_radius: expected an object");
}

#[test]
fn polygons_are_made_of_closed_rings() {
    let ring = |points: &[(f64, f64)]| {
        let points = points.iter().map(|(lon, lat)| json!({"lon": lon, "lat": lat}));
        json!({"points": points.collect::<Vec<_>>()})
    };
    let good = || ring(&[(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 0.0)]);
    let parse = |area: Value| Filter::parse(&json!({"must": {"key": "a", "geo_polygon": area}}));
    assert!(parse(json!({"exterior": good(), "interiors": [good()]})).is_ok());
    assert!(parse(json!({"exterior": good(), "interiors": null})).is_ok());
    let error = |area: Value| field_error("geo_polygon", area);
    let short = ring(&[(0.0, 0.0), (4.0, 0.0), (0.0, 0.0)]);
    assert_eq!(
        error(json!({"exterior": short})),
        "geo_polygon.exterior: polygon invalid, the size must be at least 4, got 3"
    );
    let open = ring(&[(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)]);
    assert_eq!(
        error(json!({"exterior": good(), "interiors": [good(), open]})),
        "geo_polygon.interiors[1]: polygon invalid, the first and the last points should be the same to form a closed line"
    );
    let off = ring(&[(0.0, 0.0), (181.0, 0.0), (4.0, 4.0), (0.0, 0.0)]);
    assert!(
        error(json!({"exterior": off})).starts_with("geo_polygon.exterior.points[1]: Wrong format")
    );
    assert_eq!(error(json!({})), "geo_polygon.exterior: expected an object");
    assert_eq!(
        error(json!({"exterior": {"points": {}}})),
        "geo_polygon.exterior.points: expected a list of geo points"
    );
    assert_eq!(
        error(json!({"exterior": good(), "interiors": good()})),
        "geo_polygon.interiors: expected a list of rings"
    );
}

#[test]
fn what_is_not_built_is_named() {
    match Filter::parse(&json!({"must": {"slice": {}}})) {
        Err(FilterError::Unsupported(text)) => assert!(text.contains("`slice`"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn depth_is_bounded() {
    type Wrap = fn(Value) -> Value;
    let nest = |levels: usize, wrap: Wrap| (1..levels).fold(json!({}), |inner, _| wrap(inner));
    let cases: [(Wrap, usize); 3] = [
        (|inner| json!({"must": [inner]}), 1),
        (|inner| json!({"must": {"nested": {"key": "a", "filter": inner}}}), 1),
        // A level of its own and the filter in it.
        (|inner| json!({"min_should": {"conditions": [inner], "min_count": 1}}), 2),
    ];
    for (wrap, levels_each) in cases {
        let most = MAX_DEPTH / levels_each;
        assert!(Filter::parse(&nest(most, wrap)).unwrap().matcher().is_ok());
        assert!(error(nest(most + 1, wrap)).contains("nested deeper"));
        assert!(error(nest(64, wrap)).contains("nested deeper"), "as deep as serde_json reads");
    }
    let both = json!({"key": "a", "match": {"value": 1}, "range": {"gt": 1}});
    let deepest = (1..MAX_DEPTH).fold(json!({ "must": both }), |inner, _| json!({"must": [inner]}));
    assert!(error(deepest).contains("nested deeper"), "alternatives are a filter");
}

#[test]
fn size_is_bounded() {
    let ids = || json!({"has_id": []});
    let words = |count: usize| json!({"key": "a", "match": {"text_any": "x ".repeat(count)}});
    let ring = |points: usize| {
        let origin = || json!({"lon": 0, "lat": 0});
        json!({"key": "a", "geo_polygon": {"exterior": {"points": vec![origin(); points]}}})
    };
    let both = || json!({"key": "a", "match": {"value": 1}, "range": {"gt": 1}});
    let max = MAX_CONDITIONS;
    // What is just not too much, and one condition more.
    let cases: Vec<Box<dyn Fn(usize) -> Value>> = vec![
        Box::new(|more| json!({"must": vec![ids(); max + more]})),
        Box::new(|more| json!({"must_not": {"must": vec![ids(); max - 1 + more]}})),
        Box::new(
            |more| json!({"min_should": {"conditions": vec![ids(); max - 1 + more], "min_count": 1}}),
        ),
        Box::new(
            |more| json!({"must": {"nested": {"key": "a", "filter": {"must": vec![ids(); max - 1 + more]}}}}),
        ),
        Box::new(|more| json!({"must": words(max + more)})),
        Box::new(|more| json!({"must": ring(10 * (max - 1 + more))})),
        Box::new(|more| json!({"must": both(), "should": vec![ids(); max - 3 + more]})),
    ];
    for case in cases {
        let most = Filter::parse(&case(0)).unwrap();
        assert!(most.matcher().is_ok(), "what is parsed can be made ready");
        assert!(error(case(1)).contains("more than 4096 conditions"));
    }
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
        "conditions",
        "min_count",
        "nested",
        "filter",
        "has_vector",
        "values_count",
        "text_any",
        "geo_bounding_box",
        "top_left",
        "lon",
        "lat",
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
