//! Whatever the payloads, whatever the filter: what indexes say is what a matcher says, exactly where they claim to be
//! exact, and never less.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shoal_vector::filter::{Matcher, Subject};
use shoal_vector::payload::{IndexKind, KeyPath, PayloadIndex};
use shoal_vector::text::Tokenizer;
use shoal_vector::{Filter, Payload, PointId};

use super::build::FieldBuilder;
use super::catalog::Field;
use super::stored::{decode, encode};
use super::*;

const FIELDS: [&str; 4] = ["a", "b", "c.d", "e[].f"];

/// Points whose ids are their ordinals.
struct Points {
    len: u32,
    fields: HashMap<KeyPath, FieldIndex>,
    tokenizers: HashMap<KeyPath, Tokenizer>,
}

impl Source for Points {
    fn len(&self) -> u32 {
        self.len
    }

    fn field(&self, path: &KeyPath) -> Option<&FieldIndex> {
        self.fields.get(path)
    }

    fn with_ids(&self, ids: &[PointId]) -> Bits {
        let mut bits = Bits::none(self.len);
        for id in ids {
            match id {
                PointId::Num(n) if *n < u64::from(self.len) => bits.set(*n as u32),
                _ => {}
            }
        }
        bits
    }
}

fn indexed(payloads: &[Payload], fields: &[(&str, IndexKind)]) -> Points {
    let len = payloads.len() as u32;
    let index = |(field, kind): &(&str, IndexKind)| {
        let config = PayloadIndex::new(field, *kind).unwrap();
        let path = config.path().unwrap();
        let mut builder = FieldBuilder::new(&Field { config, path: path.clone() }, len);
        for (ordinal, payload) in (0..).zip(payloads) {
            builder.add(ordinal, payload).unwrap();
        }
        let index = builder.finish();
        let read = decode(&encode(&index).unwrap(), len).unwrap();
        assert_eq!(read, index);
        (path, read)
    };
    let texts = fields.iter().filter(|(_, kind)| *kind == IndexKind::Text);
    let tokenizers = texts.map(|(field, _)| (field.parse().unwrap(), Tokenizer::default()));
    Points { len, tokenizers: tokenizers.collect(), fields: fields.iter().map(index).collect() }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(Value::Null),
        6 => prop::sample::select(vec!["x", "y", "z", "", "X y", "y x z", "-"]).prop_map(Value::from),
        6 => (-3i64..4).prop_map(Value::from),
        2 => prop::sample::select(vec![0.5, -0.0, 2.0, 1e300]).prop_map(Value::from),
        1 => prop::sample::select(vec![i64::MAX, i64::MIN, (1 << 53) + 1]).prop_map(Value::from),
        1 => Just(Value::from(u64::MAX)),
        3 => any::<bool>().prop_map(Value::from),
        3 => prop::sample::select(vec!["2020-01-01", "2020-01-01T12:00:00Z", "2021-06-05 04:03:02"]).prop_map(Value::from),
        3 => (-8i32..9, -17i32..18).prop_map(|(lat, lon)| json!({"lat": lat * 12, "lon": lon * 11})),
        1 => Just(json!({"x": 1})),
        1 => Just(json!([["x"], 1])),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![4 => scalar(), 1 => prop::collection::vec(scalar(), 0..4).prop_map(Value::from)]
}

fn payload() -> impl Strategy<Value = Payload> {
    let maybe = || prop::option::weighted(0.8, value());
    let elements = prop::option::of(prop::collection::vec(maybe(), 0..3));
    (maybe(), maybe(), maybe(), elements).prop_map(|(a, b, d, e)| {
        let mut payload = Map::new();
        payload.extend(a.map(|a| ("a".to_owned(), a)));
        payload.extend(b.map(|b| ("b".to_owned(), b)));
        payload.extend(d.map(|d| ("c".to_owned(), json!({"d": d}))));
        let element = |f: Option<Value>| f.map_or(json!({}), |f| json!({"f": f}));
        payload.extend(e.map(|e| ("e".to_owned(), e.into_iter().map(element).collect())));
        payload
    })
}

fn test() -> impl Strategy<Value = Value> {
    let keywords = prop::collection::vec(prop::sample::select(vec!["x", "y", "q", ""]), 0..3);
    let integers =
        prop::collection::vec(prop_oneof![-3i64..4, Just(i64::MAX), Just((1 << 53) + 1)], 0..3);
    let bound = || prop::option::of(prop::sample::select(vec![-2.0, 0.0, 0.5, 2.0, 9e15, 1e301]));
    prop_oneof![
        prop::sample::select(vec!["x", "z", "q"]).prop_map(|v| json!({"match": {"value": v}})),
        (-3i64..4).prop_map(|v| json!({"match": {"value": v}})),
        any::<bool>().prop_map(|v| json!({"match": {"value": v}})),
        keywords.clone().prop_map(|v| json!({"match": {"any": v}})),
        keywords.prop_map(|v| json!({"match": {"except": v}})),
        integers.clone().prop_map(|v| json!({"match": {"any": v}})),
        integers.prop_map(|v| json!({"match": {"except": v}})),
        (bound(), bound(), bound(), bound()).prop_map(|(lt, gt, lte, gte)| {
            json!({"range": {"lt": lt, "gt": gt, "lte": lte, "gte": gte}})
        }),
        prop::sample::select(vec!["2020-01-01T12:00:00Z", "2021-01-01"])
            .prop_map(|v| json!({"range": {"lte": v, "gt": "2020-01-01"}})),
        (0u64..4, 0u64..4).prop_map(|(lt, gte)| json!({"values_count": {"lt": lt, "gte": gte}})),
        any::<bool>().prop_map(|v| json!({"is_empty": v})),
        any::<bool>().prop_map(|v| json!({"is_null": v})),
        prop::sample::select(vec!["x", "2020", "x y"]).prop_map(|v| json!({"match": {"text": v}})),
        prop::sample::select(vec!["x", "2020 z"]).prop_map(|v| json!({"match": {"text_any": v}})),
        prop::sample::select(vec!["x y", "X", "."]).prop_map(|v| json!({"match": {"phrase": v}})),
        area(),
    ]
}

fn area() -> impl Strategy<Value = Value> {
    let place = |(lat, lon): (i32, i32)| json!({"lat": lat * 10, "lon": lon * 10});
    let corner = || (-9i32..10, -18i32..19);
    prop_oneof![
        (corner(), 0.0..1.3e7).prop_map(move |(at, radius)| {
            json!({"geo_radius": {"center": place(at), "radius": radius}})
        }),
        (corner(), corner()).prop_map(move |(a, b)| {
            let (north, south) = ((a.0.max(b.0), a.1), (a.0.min(b.0), b.1));
            json!({"geo_bounding_box": {"top_left": place(north), "bottom_right": place(south)}})
        }),
        prop::collection::vec(corner(), 3..6).prop_map(move |corners| {
            let ring: Vec<Value> =
                corners.iter().chain(corners.first()).map(|c| place(*c)).collect();
            json!({"geo_polygon": {"exterior": {"points": ring}}})
        }),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    let key = || prop::sample::select(FIELDS.to_vec());
    prop_oneof![
        8 => (key(), test()).prop_map(|(key, test)| {
            let mut condition = json!({"key": key});
            condition.as_object_mut().unwrap().extend(test.as_object().unwrap().clone());
            condition
        }),
        1 => key().prop_map(|key| json!({"is_null": {"key": key}})),
        1 => key().prop_map(|key| json!({"is_empty": {"key": key}})),
        1 => prop::collection::vec(0u64..20, 0..8).prop_map(|ids| json!({"has_id": ids})),
        1 => prop::sample::select(vec!["", "x"]).prop_map(|name| json!({"has_vector": name})),
        2 => nested(),
    ]
}

/// Of the elements of `e`, and of arrays that are none.
fn nested() -> impl Strategy<Value = Value> {
    let clause = || {
        let one = (prop::sample::select(vec!["f", "g"]), test()).prop_map(|(key, test)| {
            let mut condition = json!({"key": key});
            condition.as_object_mut().unwrap().extend(test.as_object().unwrap().clone());
            condition
        });
        prop::collection::vec(one, 0..3)
    };
    (prop::sample::select(vec!["e", "e[]", "a"]), clause(), clause(), clause()).prop_map(
        |(key, must, should, must_not)| {
            let filter = json!({"must": must, "should": should, "must_not": must_not});
            json!({"nested": {"key": key, "filter": filter}})
        },
    )
}

fn filter() -> impl Strategy<Value = Value> {
    condition().prop_map(|c| json!({"must": c})).prop_recursive(3, 12, 3, |inner| {
        let clause = || {
            prop::collection::vec(
                prop_oneof![2 => condition().boxed(), 1 => inner.clone().boxed()],
                0..3,
            )
        };
        (clause(), clause(), clause(), clause(), 0usize..3).prop_map(
            |(must, should, must_not, some, min)| {
                let some = json!({"conditions": some, "min_count": min});
                json!({"must": must, "should": should, "must_not": must_not, "min_should": some})
            },
        )
    })
}

fn kinds() -> impl Strategy<Value = Vec<(&'static str, IndexKind)>> {
    let kind = prop::option::weighted(0.8, prop::sample::select(IndexKind::ALL.to_vec()));
    prop::collection::vec(kind, FIELDS.len()).prop_map(|kinds| {
        FIELDS.into_iter().zip(kinds).filter_map(|(field, kind)| Some((field, kind?))).collect()
    })
}

/// Whether ops or reads ask: reads compare tokens where there is a full-text index.
fn check(points: &Points, payloads: &[Payload], json: &Value) -> Answer {
    let filter = Filter::parse(json).unwrap();
    let as_written = Plan::of(&filter, Texts::AsWritten).answer(points);
    check_answer(&filter.matcher().unwrap(), &as_written, payloads, json);
    let answer = Plan::of(&filter, Texts::ByTokens).answer(points);
    let tokenizer = |path: &KeyPath| points.tokenizers.get(path).copied();
    check_answer(&filter.matcher_with(&tokenizer).unwrap(), &answer, payloads, json);
    answer
}

fn check_answer(matcher: &Matcher<'_>, answer: &Answer, payloads: &[Payload], json: &Value) {
    for (ordinal, payload) in (0..).zip(payloads) {
        let (id, has_vector) = (PointId::Num(ordinal.into()), &str::is_empty);
        let passes = matcher.matches(&Subject { id, payload, has_vector: &has_vector });
        let may = answer.most.as_ref().is_none_or(|bits| bits.contains(ordinal));
        assert!(may || !passes, "{json}: {payload:?} passes, and the indexes say it cannot");
        assert!(
            !answer.exact || may == passes,
            "{json}: {payload:?} does not pass, and the indexes are sure"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn indexes_say_what_a_matcher_says(
        payloads in prop::collection::vec(payload(), 1..20), kinds in kinds(), filters in prop::collection::vec(filter(), 1..6),
    ) {
        let points = indexed(&payloads, &kinds);
        filters.iter().for_each(|filter| drop(check(&points, &payloads, filter)));
    }
}

proptest! {
    #[test]
    fn damage_is_an_error_or_another_index_and_never_a_panic(
        payloads in prop::collection::vec(payload(), 1..20), at in any::<prop::sample::Index>(), byte in any::<u8>(), filter in filter(),
    ) {
        let kinds = [("a", IndexKind::Keyword), ("b", IndexKind::Integer), ("c.d", IndexKind::Text), ("e[].f", IndexKind::Geo)];
        let points = indexed(&payloads, &kinds);
        let len = points.len;
        for (path, index) in &points.fields {
            let mut bytes = encode(index).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(index) = decode(&bytes, len) {
                let fields = [(path.clone(), index)].into();
                let damaged = Points { len, fields, tokenizers: HashMap::new() };
                let filter = Filter::parse(&filter).unwrap();
                drop(Plan::of(&filter, Texts::ByTokens).answer(&damaged));
            }
        }
    }
}

/// Where all values are of the index's kind, nothing is left open.
#[test]
fn tests_of_an_index_s_own_kind_are_answered_exactly() {
    let payloads: Vec<Payload> = (0..300)
        .map(|n| {
            let several = json!([n % 3, n % 5]);
            let payload = json!({
                "text": format!("word {} of {}", n % 4, n), "word": (["x", "y", "z"][n % 3]), "number": (if n % 2 == 0 { json!(n) } else { several }),
                "float": n as f64 / 7.0, "flag": (n % 3 == 0), "none": null,
                "time": format!("2024-{:02}-01", n % 12 + 1), "place": {"lat": (n % 90), "lon": (n % 180)},
            });
            payload.as_object().unwrap().clone()
        })
        .collect();
    let points = indexed(
        &payloads,
        &[
            ("word", IndexKind::Keyword),
            ("number", IndexKind::Integer),
            ("float", IndexKind::Float),
            ("flag", IndexKind::Bool),
            ("none", IndexKind::Keyword),
            ("time", IndexKind::Datetime),
            ("text", IndexKind::Text),
            ("place", IndexKind::Geo),
        ],
    );
    let conditions = [
        json!({"key": "word", "match": {"value": "x"}}),
        json!({"key": "word", "match": {"any": ["x", "q"]}}),
        json!({"key": "word", "match": {"except": ["x", "q"]}}),
        json!({"key": "number", "match": {"value": 2}}),
        json!({"key": "number", "match": {"except": [2, 1, 0]}}),
        json!({"key": "number", "range": {"gt": 2, "lte": 200}}),
        json!({"key": "float", "range": {"gte": 1.0, "lt": 20}}),
        json!({"key": "flag", "match": {"value": true}}),
        json!({"key": "flag", "match": {"value": false}}),
        json!({"is_null": {"key": "none"}}),
        json!({"is_empty": {"key": "word"}}),
        json!({"has_id": [1, 2, 3]}),
        json!({"key": "text", "match": {"text": "2 WORD"}}),
        json!({"key": "text", "match": {"text_any": "2 3 none"}}),
        json!({"key": "number", "values_count": {"gt": 1}}),
        json!({"key": "word", "is_empty": true}),
        json!({"key": "none", "is_null": false}),
        json!({"key": "time", "range": {"gte": "2024-03-01", "lt": "2024-09-01T01:00:00Z"}}),
        json!({"key": "place", "geo_radius": {"center": {"lat": 30, "lon": 30}, "radius": 1e6}}),
        json!({"key": "place", "geo_bounding_box": {"top_left": {"lat": 50, "lon": 2}, "bottom_right": {"lat": 3, "lon": 60}}}),
        json!({"min_should": {"conditions": [{"key": "flag", "match": {"value": true}}, {"key": "word", "match": {"value": "y"}}], "min_count": 1}}),
    ];
    for condition in &conditions {
        let answer = check(&points, &payloads, &json!({"must": condition}));
        assert!(answer.exact && answer.most.is_some(), "{condition}");
    }
    let all = json!({"must": [conditions[0], conditions[5]], "must_not": [conditions[7]], "should": [conditions[3], conditions[6]]});
    assert!(check(&points, &payloads, &all).exact);
    // What is not indexed narrows nothing and is checked later; what is, still narrows.
    let half = check(
        &points,
        &payloads,
        &json!({"must": [conditions[0], {"key": "q", "match": {"value": 1}}]}),
    );
    assert_eq!((half.exact, half.most.map(|bits| bits.count())), (false, Some(100)));
}
