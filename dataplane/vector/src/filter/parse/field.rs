//! Tests of a payload field: what stands beside `key`.

use serde_json::{Map, Value};

use super::{Parsed, Parser, descend, invalid, key_path, object, only_keys};
use crate::filter::geo::{GeoError, check_ring};
use crate::filter::{
    Condition, DateTime, Filter, FilterError, GeoBox, GeoPoint, GeoPolygon, GeoRadius, MatchValue,
    Range, Test, parse_datetime,
};

/// All tests of a field.
const TESTS: [&str; 8] = [
    "match",
    "range",
    "geo_bounding_box",
    "geo_radius",
    "geo_polygon",
    "values_count",
    "is_empty",
    "is_null",
];
/// Tests of the field as a whole, not of one value. Qdrant drops whatever stands beside such a one.
const ALONE: [&str; 3] = ["values_count", "is_empty", "is_null"];

impl Parser {
    pub(super) fn field(
        &mut self,
        map: &Map<String, Value>,
        place: &str,
        depth: usize,
    ) -> Parsed<Condition> {
        let key = key_path(map.get("key").unwrap_or(&Value::Null), &format!("{place}.key"))?;
        let mut tests = Vec::new();
        for (name, value) in map.iter().filter(|(name, _)| *name != "key") {
            if !TESTS.contains(&name.as_str()) {
                let expected =
                    format!("unknown test of a field, expected `{}`", TESTS.join("`, `"));
                return Err(invalid(&format!("{place}.{name}"), &expected));
            }
            if !value.is_null() {
                tests.push((name.as_str(), test(name, value, &format!("{place}.{name}"))?));
            }
        }
        if let (Some((name, _)), 2..) =
            (tests.iter().find(|(name, _)| ALONE.contains(name)), tests.len())
        {
            let why = "says something of the field as a whole: put other tests into a condition of their own";
            return Err(invalid(&format!("{place}.{name}"), why));
        }
        // The condition itself is counted where it is listed.
        let cost: usize = tests.iter().map(|(_, test)| test.cost()).sum();
        let mut tests =
            tests.into_iter().map(|(_, test)| Condition::Field { key: key.clone(), test });
        match (tests.next(), tests.len()) {
            (None, _) => Err(FilterError::Field {
                place: place.to_owned(),
                why: "At least one field condition must be specified".into(),
            }),
            (Some(one), 0) => self.count(cost - 1).map(|()| one),
            // Several tests of values in one condition are alternatives, as in Qdrant.
            (Some(first), _) => {
                descend(depth)?;
                self.count(cost)?;
                let should = std::iter::once(first).chain(tests).collect();
                Ok(Condition::Filter(Box::new(Filter { should, ..Filter::default() })))
            }
        }
    }
}

/// One of [`TESTS`].
fn test(name: &str, json: &Value, place: &str) -> Parsed<Test> {
    match name {
        "match" => match_test(json, place),
        "range" => range(json, place),
        "geo_bounding_box" => geo_box(json, place),
        "geo_radius" => geo_radius(json, place),
        "geo_polygon" => geo_polygon(json, place),
        "values_count" => {
            let count = |value: &Value, place: &str| {
                value.as_u64().ok_or_else(|| invalid(place, "expected an unsigned integer"))
            };
            bounds(object(json, place)?, place, count).map(Test::ValuesCount)
        }
        "is_empty" => flag(json, place).map(Test::IsEmpty),
        _ => flag(json, place).map(Test::IsNull),
    }
}

fn flag(json: &Value, place: &str) -> Parsed<bool> {
    json.as_bool().ok_or_else(|| invalid(place, "expected a boolean"))
}

fn match_test(json: &Value, place: &str) -> Parsed<Test> {
    const EXPECTED: &str = "`value`, `any`, `except`, `text`, `text_any` or `phrase`";
    let mut entries = object(json, place)?.iter();
    let (Some((name, value)), None) = (entries.next(), entries.next()) else {
        return Err(invalid(place, &format!("expected exactly one of {EXPECTED}")));
    };
    let place = format!("{place}.{name}");
    let text = || match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(invalid(&place, "expected a string")),
    };
    match name.as_str() {
        "value" => match_value(value, &place).map(Test::Match),
        "any" => match_values(value, &place).map(Test::MatchAny),
        "except" => match_values(value, &place).map(Test::MatchExcept),
        "text" => text().map(Test::Text),
        "text_any" => text().map(Test::TextAny),
        "phrase" => text().map(Test::Phrase),
        _ => Err(invalid(&place, &format!("unknown kind of match, expected {EXPECTED}"))),
    }
}

fn match_value(json: &Value, place: &str) -> Parsed<MatchValue> {
    match json {
        Value::String(text) => Ok(MatchValue::Keyword(text.clone())),
        Value::Bool(value) => Ok(MatchValue::Bool(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Ok(MatchValue::Integer(integer)),
            None => {
                Err(invalid(place, "expected an integer of 64 bits; for other numbers use `range`"))
            }
        },
        _ => Err(invalid(place, "expected a string, an integer or a boolean")),
    }
}

fn match_values(json: &Value, place: &str) -> Parsed<Vec<MatchValue>> {
    let expected = "expected a list of strings, or a list of integers";
    let Value::Array(list) = json else { return Err(invalid(place, expected)) };
    let values: Vec<MatchValue> =
        list.iter().map(|value| match_value(value, place)).collect::<Parsed<_>>()?;
    let strings = values.iter().all(|value| matches!(value, MatchValue::Keyword(_)));
    let integers = values.iter().all(|value| matches!(value, MatchValue::Integer(_)));
    if strings || integers { Ok(values) } else { Err(invalid(place, expected)) }
}

/// Bounds that are texts are dates and times. Without a bound, it is a range of numbers.
fn range(json: &Value, place: &str) -> Parsed<Test> {
    let map = object(json, place)?;
    match map.values().any(Value::is_string) {
        true => bounds(map, place, datetime).map(Test::Datetime),
        false => bounds(map, place, number).map(Test::Range),
    }
}

fn bounds<T>(
    map: &Map<String, Value>,
    place: &str,
    read: impl Fn(&Value, &str) -> Parsed<T>,
) -> Parsed<Range<T>> {
    let mut range = Range { lt: None, gt: None, lte: None, gte: None };
    for (name, value) in map {
        let place = format!("{place}.{name}");
        let bound = match name.as_str() {
            "lt" => &mut range.lt,
            "gt" => &mut range.gt,
            "lte" => &mut range.lte,
            "gte" => &mut range.gte,
            _ => return Err(invalid(&place, "unknown bound, expected `lt`, `gt`, `lte` or `gte`")),
        };
        *bound = match value {
            Value::Null => None,
            value => Some(read(value, &place)?),
        };
    }
    Ok(range)
}

fn number(json: &Value, place: &str) -> Parsed<f64> {
    json.as_f64().ok_or_else(|| invalid(place, "expected a number, or a date and time as a string"))
}

fn datetime(json: &Value, place: &str) -> Parsed<DateTime> {
    let Value::String(text) = json else {
        return Err(invalid(
            place,
            "expected a date and time as a string, as the other bound is one",
        ));
    };
    parse_datetime(text).ok_or_else(|| {
        let why = "is not in a supported date/time format, please use RFC 3339";
        invalid(place, &format!("'{text}' {why}"))
    })
}

fn geo_box(json: &Value, place: &str) -> Parsed<Test> {
    let map = object(json, place)?;
    only_keys(map, &["top_left", "bottom_right"], place)?;
    let corner = |name: &str| geo_point(map.get(name), &format!("{place}.{name}"));
    let area = GeoBox { top_left: corner("top_left")?, bottom_right: corner("bottom_right")? };
    Ok(Test::GeoBox(area))
}

fn geo_radius(json: &Value, place: &str) -> Parsed<Test> {
    let map = object(json, place)?;
    only_keys(map, &["center", "radius"], place)?;
    let center = geo_point(map.get("center"), &format!("{place}.center"))?;
    let Some(radius) = map.get("radius").and_then(Value::as_f64) else {
        return Err(invalid(&format!("{place}.radius"), "expected a number of metres"));
    };
    Ok(Test::GeoRadius(GeoRadius { center, radius }))
}

fn geo_polygon(json: &Value, place: &str) -> Parsed<Test> {
    let map = object(json, place)?;
    only_keys(map, &["exterior", "interiors"], place)?;
    let exterior = ring(map.get("exterior").unwrap_or(&Value::Null), &format!("{place}.exterior"))?;
    let place = format!("{place}.interiors");
    let interiors = match map.get("interiors") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(rings)) => {
            let numbered = rings.iter().enumerate();
            numbered.map(|(i, json)| ring(json, &format!("{place}[{i}]"))).collect::<Parsed<_>>()?
        }
        Some(_) => return Err(invalid(&place, "expected a list of rings")),
    };
    Ok(Test::GeoPolygon(GeoPolygon { exterior, interiors }))
}

fn ring(json: &Value, place: &str) -> Parsed<Vec<GeoPoint>> {
    let map = object(json, place)?;
    only_keys(map, &["points"], place)?;
    let Some(Value::Array(list)) = map.get("points") else {
        return Err(invalid(&format!("{place}.points"), "expected a list of geo points"));
    };
    let numbered = list.iter().enumerate();
    let points: Vec<GeoPoint> = numbered
        .map(|(i, json)| geo_point(Some(json), &format!("{place}.points[{i}]")))
        .collect::<Parsed<_>>()?;
    check_ring(&points).map_err(|error| wrong_geo(place, error))?;
    Ok(points)
}

fn geo_point(json: Option<&Value>, place: &str) -> Parsed<GeoPoint> {
    let Some(point) = json.and_then(GeoPoint::from_value) else {
        return Err(invalid(place, "expected a geo point, an object with numbers `lon` and `lat`"));
    };
    point.check().map_err(|error| wrong_geo(place, error))?;
    Ok(point)
}

fn wrong_geo(place: &str, error: GeoError) -> FilterError {
    invalid(place, &error.to_string())
}
