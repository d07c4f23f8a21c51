//! Filters against a plain reading of the dialect: JSON in, yes or no out, nothing made ready, over random payloads and
//! filters. Written from the dialect's definitions and with none of the code that it checks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use shoal_vector::filter::{Filter, Subject};
use shoal_vector::payload::read_part;
use shoal_vector::{FilterError, PointId};

/// Texts that are dates, with the seconds since 1970 that they mean, and texts that are none.
const TEXTS: [(&str, Option<f64>); 14] = [
    ("x", None),
    ("xy", None),
    ("a red fox", None),
    ("Red", None),
    ("", None),
    ("1970-01-01T00:00:00Z", Some(0.0)),
    ("1970-01-01", Some(0.0)),
    ("1970-01-01 00:01", Some(60.0)),
    ("1970-01-01 01:01:00+01:00", Some(60.0)),
    ("1970-01-01T00:01:00.5", Some(60.5)),
    ("1970-01-01T00:01:00.250-0000", Some(60.25)),
    ("1969-12-31T23:59:59.5Z", Some(-0.5)),
    ("1970-01-32", None),
    ("1970-01-01T", None),
];

/// A point that is asked about.
struct Asked<'a> {
    id: u64,
    vectors: &'a [&'a str],
}

// The dialect, read plainly.

fn clause(json: Option<&Value>) -> Vec<&Value> {
    match json {
        None | Some(Value::Null) => vec![],
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one) => vec![one],
    }
}

fn passes(filter: &Value, object: &Value, point: Option<&Asked<'_>>) -> bool {
    let holds = |condition: &&Value| holds(condition, object, point);
    let should = clause(filter.get("should"));
    let min_should = filter.get("min_should").filter(|value| !value.is_null());
    let enough = min_should.is_none_or(|min_should| {
        let holding = clause(min_should.get("conditions")).iter().filter(|c| holds(c)).count();
        holding as u64 >= min_should["min_count"].as_u64().unwrap()
    });
    clause(filter.get("must")).iter().all(holds)
        && (should.is_empty() || should.iter().any(holds))
        && !clause(filter.get("must_not")).iter().any(holds)
        && enough
}

fn holds(condition: &Value, object: &Value, point: Option<&Asked<'_>>) -> bool {
    if let Some(key) = condition.get("key") {
        return field(condition, &values(object, key.as_str().unwrap()));
    }
    if let Some(inner) = condition.get("is_empty") {
        return values(object, inner["key"].as_str().unwrap()).iter().all(|v| count(v) == 0);
    }
    if let Some(inner) = condition.get("is_null") {
        return values(object, inner["key"].as_str().unwrap()).iter().any(|v| v.is_null());
    }
    if let Some(ids) = condition.get("has_id") {
        return point.is_some_and(|point| ids.as_array().unwrap().contains(&json!(point.id)));
    }
    if let Some(name) = condition.get("has_vector") {
        return point.is_some_and(|point| point.vectors.contains(&name.as_str().unwrap()));
    }
    if let Some(nested) = condition.get("nested") {
        let key = nested["key"].as_str().unwrap();
        let elements = if key.ends_with("[]") { key.to_owned() } else { format!("{key}[]") };
        let elements = values(object, &elements);
        return elements.iter().any(|e| e.is_object() && passes(&nested["filter"], e, None));
    }
    passes(condition, object, point)
}

/// Where a path leads to. The paths of these tests are keys, each with `[]` or `[n]` behind it or without.
fn values<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![object];
    for part in path.split('.') {
        let (key, index) = part.split_once('[').map_or((part, None), |(k, i)| (k, Some(i)));
        found = found.into_iter().filter_map(|value| value.as_object()?.get(key)).collect();
        if let Some(index) = index {
            let arrays = found.into_iter().filter_map(Value::as_array);
            found = match index {
                "]" => arrays.flatten().collect(),
                n => arrays.filter_map(|a| a.get(n[..1].parse::<usize>().unwrap())).collect(),
            };
        }
    }
    found
}

fn count(value: &Value) -> u64 {
    value.as_array().map_or(u64::from(!value.is_null()), |array| array.len() as u64)
}

fn field(condition: &Value, values: &[&Value]) -> bool {
    if let Some(range) = condition.get("values_count") {
        return values.iter().any(|value| within(count(value) as f64, range, &Value::as_f64));
    }
    if let Some(wanted) = condition.get("is_empty") {
        let empty = |value: &&Value| json!(count(value) == 0) == *wanted;
        return if values.is_empty() { *wanted == json!(true) } else { values.iter().any(empty) };
    }
    if let Some(wanted) = condition.get("is_null") {
        let has_null = |value: &Value| match value {
            Value::Array(array) => array.contains(&Value::Null),
            value => value.is_null(),
        };
        let null = |value: &&Value| json!(has_null(value)) == *wanted;
        return if values.is_empty() { *wanted == json!(false) } else { values.iter().any(null) };
    }
    values.iter().any(|value| match value {
        Value::Array(array) => array.iter().any(|element| one(condition, element)),
        value => one(condition, value),
    })
}

fn within(number: f64, range: &Value, read: &dyn Fn(&Value) -> Option<f64>) -> bool {
    let bound = |name: &str| range.get(name).and_then(read);
    bound("lt").is_none_or(|b| number < b)
        && bound("gt").is_none_or(|b| number > b)
        && bound("lte").is_none_or(|b| number <= b)
        && bound("gte").is_none_or(|b| number >= b)
}

fn seconds(value: &Value) -> Option<f64> {
    TEXTS.iter().find(|(text, _)| Some(*text) == value.as_str())?.1
}

fn one(condition: &Value, value: &Value) -> bool {
    let parts = condition.as_object().unwrap();
    parts.iter().any(|(name, test)| match name.as_str() {
        "match" => matched(test, value),
        "range" if test.as_object().unwrap().values().any(Value::is_string) => {
            seconds(value).is_some_and(|time| within(time, test, &seconds))
        }
        "range" => value.as_f64().is_some_and(|number| within(number, test, &Value::as_f64)),
        "geo_bounding_box" | "geo_radius" | "geo_polygon" => {
            place(value).is_some_and(|place| lies_in(name, test, place))
        }
        _ => false,
    })
}

fn matched(test: &Value, value: &Value) -> bool {
    let (kind, wanted) = test.as_object().unwrap().iter().next().unwrap();
    let listed = || {
        let list = wanted.as_array().unwrap();
        // A number is an integer only where it is written as one.
        !value.is_null() && list.contains(value)
    };
    let contains = |text: &str| value.as_str().is_some_and(|value| value.contains(text));
    match kind.as_str() {
        "value" => value == wanted,
        "any" => listed(),
        "except" => !value.is_null() && !listed(),
        "text" | "phrase" => contains(wanted.as_str().unwrap()),
        "text_any" => wanted.as_str().unwrap().split_whitespace().any(contains),
        other => panic!("{other}"),
    }
}

/// Longitude and latitude. Whole numbers in these tests, so that what lies on a border can be told for certain.
fn place(value: &Value) -> Option<(i64, i64)> {
    Some((value.get("lon")?.as_i64()?, value.get("lat")?.as_i64()?))
}

fn lies_in(kind: &str, area: &Value, (lon, lat): (i64, i64)) -> bool {
    match kind {
        "geo_bounding_box" => {
            let (west, north) = place(&area["top_left"]).unwrap();
            let (east, south) = place(&area["bottom_right"]).unwrap();
            let inside =
                if west <= east { west < lon && lon < east } else { lon > west || lon < east };
            inside && south < lat && lat < north
        }
        "geo_radius" => {
            let (center_lon, center_lat) = place(&area["center"]).unwrap();
            distance((lon, lat), (center_lon, center_lat)) < area["radius"].as_f64().unwrap()
        }
        _ => {
            let holes = clause(area.get("interiors"));
            side(&area["exterior"], (lon, lat)) > 0
                && holes.iter().all(|hole| side(hole, (lon, lat)) < 0)
        }
    }
}

/// Metres, by the angle between the two directions from the middle of the earth.
fn distance(a: (i64, i64), b: (i64, i64)) -> f64 {
    let direction = |(lon, lat): (i64, i64)| {
        let (lon, lat) = ((lon as f64).to_radians(), (lat as f64).to_radians());
        [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
    };
    let (a, b) = (direction(a), direction(b));
    let chord: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    6_371_008.8 * 2.0 * (chord / 2.0).min(1.0).asin()
}

/// 1 inside, 0 on the border, -1 outside: counts the edges that a ray to the east crosses.
fn side(ring: &Value, (x, y): (i64, i64)) -> i8 {
    let points: Vec<(i64, i64)> =
        ring["points"].as_array().unwrap().iter().map(|p| place(p).unwrap()).collect();
    let mut inside = false;
    for edge in points.windows(2) {
        let ((x1, y1), (x2, y2)) = (edge[0], edge[1]);
        let cross = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1);
        let (left, right) = (x1.min(x2), x1.max(x2));
        if cross == 0 && (left..=right).contains(&x) && (y1.min(y2)..=y1.max(y2)).contains(&y) {
            return 0;
        }
        if (y1 > y) != (y2 > y) && (cross > 0) == (y2 > y1) {
            inside = !inside;
        }
    }
    if inside { 1 } else { -1 }
}

// Random payloads and filters.

fn text() -> impl Strategy<Value = Value> {
    select(TEXTS.to_vec()).prop_map(|(text, _)| json!(text))
}

fn geo_point() -> impl Strategy<Value = Value> {
    (-6i64..=6, -6i64..=6).prop_map(|(lon, lat)| json!({"lon": lon * 30, "lat": lat * 15}))
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        3 => (-1i64..4).prop_map(Value::from),
        2 => (-2i8..8).prop_map(|half| json!(f64::from(half) / 2.0)),
        5 => text(),
        5 => geo_point(),
        1 => Just(json!({"lon": 1})),
        1 => Just(json!({})),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let list = || prop::collection::vec(leaf(), 0..4).prop_map(Value::from);
    prop_oneof![4 => leaf(), 3 => list(), 1 => list().prop_map(|list| json!([list]))]
}

/// An object with some of these keys.
fn object<V: Strategy<Value = Value>>(
    keys: &'static [&'static str],
    value: fn() -> V,
) -> impl Strategy<Value = Value> {
    let entries = prop::collection::vec(prop::option::weighted(0.8, value()), keys.len());
    entries.prop_map(|values| {
        let entries = keys.iter().zip(values);
        let entries: Map<String, Value> =
            entries.filter_map(|(key, value)| Some(((*key).to_owned(), value?))).collect();
        Value::Object(entries)
    })
}

fn payload() -> impl Strategy<Value = Value> {
    let element = || {
        let inner = prop::collection::vec(object(&["a"], value), 0..3).prop_map(Value::from);
        let one = (object(&["a", "b"], value), inner).prop_map(|(mut object, inner)| {
            object["m"] = inner;
            object
        });
        prop_oneof![5 => one, 1 => leaf()]
    };
    let top = object(&["a", "b"], value);
    (top, object(&["a"], value), prop::collection::vec(element(), 0..4)).prop_map(
        |(mut top, o, n)| {
            top["o"] = o;
            top["n"] = Value::from(n);
            top
        },
    )
}

fn key() -> impl Strategy<Value = Value> {
    select(vec!["a", "b", "a[]", "a[0]", "o.a", "n", "n[].a", "n[1].b", "n[].m[].a", "n.a"])
        .prop_map(Value::from)
}

fn bounds(bound: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let named = (select(vec!["lt", "gt", "lte", "gte"]), bound);
    prop::collection::vec(named, 1..3).prop_map(|bounds| {
        Value::Object(bounds.into_iter().map(|(name, bound)| (name.to_owned(), bound)).collect())
    })
}

fn date() -> impl Strategy<Value = Value> {
    let dates = TEXTS.iter().filter(|(_, date)| date.is_some()).map(|(text, _)| json!(text));
    select(dates.collect::<Vec<_>>())
}

fn matching() -> impl Strategy<Value = Value> {
    let integers = || prop::collection::vec((-1i64..20).prop_map(Value::from), 0..18);
    let texts = || prop::collection::vec(text(), 0..18);
    let scalar =
        prop_oneof![text(), (-1i64..4).prop_map(Value::from), any::<bool>().prop_map(Value::from)];
    prop_oneof![
        scalar.prop_map(|value| json!({"value": value})),
        (select(vec!["any", "except"]), prop_oneof![integers(), texts()])
            .prop_map(|(kind, list)| json!({kind: list})),
        (
            select(vec!["text", "text_any", "phrase"]),
            select(vec!["x", "red", "fox xy", "red fox", "y ", ""])
        )
            .prop_map(|(kind, text)| json!({kind: text})),
    ]
}

/// Rings that do not cross themselves: there, every definition of inside says the same.
fn ring() -> impl Strategy<Value = Value> {
    let shapes: Vec<Vec<(i64, i64)>> = vec![
        vec![(0, 0), (8, 0), (8, 8), (0, 8), (0, 0)],
        vec![(0, 0), (8, 0), (4, 8), (0, 0)],
        vec![(0, 0), (0, 8), (5, 8), (5, 5), (8, 5), (8, 0), (0, 0)],
        vec![(3, 3), (3, 5), (5, 5), (5, 3), (3, 3)],
        vec![(0, 4), (4, 0), (8, 4), (4, 8), (0, 4)],
    ];
    (select(shapes), -6i64..=-2, -6i64..=-2, any::<bool>()).prop_map(
        |(mut shape, dx, dy, turned)| {
            if turned {
                shape.reverse();
            }
            let point = |(x, y): (i64, i64)| json!({"lon": (x + dx) * 30, "lat": (y + dy) * 15});
            json!({"points": shape.into_iter().map(point).collect::<Vec<_>>()})
        },
    )
}

/// Kinds of tests of a field, by name.
fn tests() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let number = || (-1i8..6).prop_map(|half| json!(f64::from(half) / 2.0));
    let at = |lon: i64, lat: i64| json!({"lon": lon * 30, "lat": lat * 15});
    let corners = (-6i64..=1, -1i64..=6, -1i64..=6, -6i64..=1)
        .prop_map(move |(w, n, e, s)| json!({"top_left": at(w, n), "bottom_right": at(e, s)}));
    // Never a distance between two of the places.
    let circle = (geo_point(), select(vec![-1.0, 0.0, 1.0, 2.5e6, 5.5e6, 1.5e7, 2.1e7]))
        .prop_map(|(center, radius)| json!({"center": center, "radius": radius}));
    let polygon = (ring(), prop::collection::vec(ring(), 0..3))
        .prop_map(|(exterior, interiors)| json!({"exterior": exterior, "interiors": interiors}));
    vec![
        ("match", matching().boxed()),
        ("range", bounds(number()).boxed()),
        ("range", bounds(date()).boxed()),
        ("geo_bounding_box", corners.boxed()),
        ("geo_radius", circle.boxed()),
        ("geo_polygon", polygon.boxed()),
        ("values_count", bounds((0u64..4).prop_map(Value::from)).boxed()),
        ("is_empty", any::<bool>().prop_map(Value::from).boxed()),
        ("is_null", any::<bool>().prop_map(Value::from).boxed()),
    ]
}

fn field_condition((name, test): (&'static str, BoxedStrategy<Value>)) -> BoxedStrategy<Value> {
    (key(), test).prop_map(move |(key, test)| json!({"key": key, name: test})).boxed()
}

fn condition() -> BoxedStrategy<Value> {
    let fields = tests().into_iter().map(field_condition);
    let both = (key(), matching(), geo_point())
        .prop_map(|(key, test, at)| json!({"key": key, "match": test, "geo_radius": {"center": at, "radius": 1e6}}));
    let others = [
        both.boxed(),
        key().prop_map(|key| json!({"is_empty": {"key": key}})).boxed(),
        key().prop_map(|key| json!({"is_null": {"key": key}})).boxed(),
        prop::collection::vec(0u64..5, 0..4).prop_map(|ids| json!({"has_id": ids})).boxed(),
        select(vec!["", "image", "other"]).prop_map(|name| json!({"has_vector": name})).boxed(),
    ];
    let leaf = proptest::strategy::Union::new(fields.chain(others)).boxed();
    let nest = |inner: BoxedStrategy<Value>| {
        let filter = filter_of(inner);
        prop_oneof![
            filter.clone(),
            (select(vec!["n", "n[]", "a", "n[].m", "m", "n[0].m"]), filter)
                .prop_map(|(key, filter)| json!({"nested": {"key": key, "filter": filter}})),
        ]
    };
    leaf.prop_recursive(3, 24, 3, nest).boxed()
}

fn filter_of(condition: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let clause = || prop::option::weighted(0.4, prop::collection::vec(condition.clone(), 0..3));
    let min_should = (prop::collection::vec(condition.clone(), 0..4), 0u64..4)
        .prop_map(|(conditions, least)| json!({"conditions": conditions, "min_count": least}));
    (clause(), clause(), clause(), prop::option::weighted(0.3, min_should))
        .prop_map(|(must, should, must_not, min_should)| {
            json!({"must": must, "should": should, "must_not": must_not, "min_should": min_should})
        })
        .boxed()
}

fn ask(filter: &Value, payload: &Value, asked: &Asked<'_>) -> Result<bool, FilterError> {
    let has_vector = |name: &str| asked.vectors.contains(&name);
    let filter = Filter::parse(filter)?;
    let matcher = filter.matcher()?;
    // What it says it does not need is not there.
    let part = read_part(payload.to_string().as_bytes(), matcher.keys()).unwrap();
    let id = PointId::Num(asked.id);
    Ok(matcher.matches(&Subject { id, payload: &part, has_vector: &has_vector }))
}

proptest! {
    #![proptest_config(Config { cases: 1_000, ..Config::default() })]

    #[test]
    fn filters_answer_by_the_dialects_definitions(
        filter in filter_of(condition()), payload in payload(), id in 0u64..5
    ) {
        let asked = Asked { id, vectors: &["", "image"] };
        prop_assert_eq!(ask(&filter, &payload, &asked), Ok(passes(&filter, &payload, Some(&asked))));
    }
}

/// A test that never holds, or always, would agree with anything that says so.
#[test]
fn each_kind_of_test_holds_for_some_and_not_for_others() {
    let mut runner = TestRunner::deterministic();
    let asked = Asked { id: 1, vectors: &[""] };
    for (name, test) in tests() {
        let cases = (field_condition((name, test)), payload());
        let mut outcomes = [0, 0];
        for _ in 0..1_500 {
            let (condition, payload) = cases.new_tree(&mut runner).unwrap().current();
            let filter = json!({"must": condition});
            let expected = passes(&filter, &payload, Some(&asked));
            assert_eq!(ask(&filter, &payload, &asked), Ok(expected), "{filter} {payload}");
            outcomes[usize::from(expected)] += 1;
        }
        assert!(outcomes.iter().all(|n| *n >= 20), "{name}: {outcomes:?}");
    }
}
