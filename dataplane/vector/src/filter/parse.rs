//! From Qdrant's JSON to a [`Filter`].
//!
//! Strict: a key that is not known is an error that names its place, because a condition that is silently dropped
//! returns wrong results. What Qdrant has and Shoal does not yet is a different error, so that callers can answer 501.

use serde_json::{Map, Value};

use super::{Condition, Filter, FilterError, MAX_CONDITIONS, MAX_DEPTH, MatchValue, Range, Test};
use crate::PointId;
use crate::payload::KeyPath;

/// Kinds of conditions that Qdrant has and Shoal does not yet, by the key that tells them.
const UNSUPPORTED_CONDITIONS: [&str; 3] = ["nested", "has_vector", "slice"];
/// Tests of a field that Qdrant has and Shoal does not yet.
const UNSUPPORTED_TESTS: [&str; 4] =
    ["geo_bounding_box", "geo_radius", "geo_polygon", "values_count"];
/// Kinds of match that Qdrant has and Shoal does not yet.
const UNSUPPORTED_MATCHES: [&str; 3] = ["text", "text_any", "phrase"];

type Parsed<T> = Result<T, FilterError>;

impl Filter {
    /// Reads a filter from the dialect's JSON.
    pub fn parse(json: &Value) -> Result<Filter, FilterError> {
        Parser { conditions_left: MAX_CONDITIONS }.filter(json, "filter", MAX_DEPTH)
    }
}

struct Parser {
    conditions_left: usize,
}

impl Parser {
    fn filter(&mut self, json: &Value, place: &str, depth: usize) -> Parsed<Filter> {
        let depth = depth.checked_sub(1).ok_or_else(FilterError::too_deep)?;
        let mut filter = Filter::default();
        for (key, value) in object(json, place)? {
            let place = format!("{place}.{key}");
            match key.as_str() {
                "must" => filter.must = self.clause(value, &place, depth)?,
                "should" => filter.should = self.clause(value, &place, depth)?,
                "must_not" => filter.must_not = self.clause(value, &place, depth)?,
                "min_should" if value.is_null() => {}
                "min_should" => return Err(unsupported("filter condition", "min_should")),
                _ => {
                    return Err(invalid(
                        &place,
                        "unknown clause, expected `must`, `should`, `must_not` or `min_should`",
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// A clause is a list of conditions, or one condition by itself.
    fn clause(&mut self, json: &Value, place: &str, depth: usize) -> Parsed<Vec<Condition>> {
        let one_by_one = match json {
            Value::Null => return Ok(Vec::new()),
            Value::Array(conditions) => conditions.as_slice(),
            one => std::slice::from_ref(one),
        };
        self.conditions_left =
            self.conditions_left.checked_sub(one_by_one.len()).ok_or_else(FilterError::too_many)?;
        let numbered = one_by_one.iter().enumerate();
        numbered
            .map(|(i, condition)| self.condition(condition, &format!("{place}[{i}]"), depth))
            .collect()
    }

    fn condition(&mut self, json: &Value, place: &str, depth: usize) -> Parsed<Condition> {
        let map = object(json, place)?;
        if let Some(name) = UNSUPPORTED_CONDITIONS.iter().find(|name| map.contains_key(**name)) {
            return Err(unsupported("filter condition", name));
        }
        if map.contains_key("key") {
            return field(map, place);
        }
        for (name, make) in [
            ("is_empty", Condition::IsEmpty as fn(String) -> Condition),
            ("is_null", Condition::IsNull),
        ] {
            if let Some(inner) = map.get(name) {
                only_keys(map, &[name], place)?;
                return field_name(inner, &format!("{place}.{name}")).map(make);
            }
        }
        if let Some(ids) = map.get("has_id") {
            only_keys(map, &["has_id"], place)?;
            return has_id(ids, &format!("{place}.has_id"));
        }
        if let Some(unknown) = map
            .keys()
            .find(|key| !["must", "should", "must_not", "min_should"].contains(&key.as_str()))
        {
            let expected = "expected a condition: `key` with `match` or `range`, `has_id`, `is_empty`, `is_null`, or a filter";
            return Err(invalid(&format!("{place}.{unknown}"), expected));
        }
        self.filter(json, place, depth).map(|filter| Condition::Filter(Box::new(filter)))
    }
}

fn field(map: &Map<String, Value>, place: &str) -> Parsed<Condition> {
    let key = key_path(map.get("key").unwrap_or(&Value::Null), &format!("{place}.key"))?;
    let mut conditions = Vec::new();
    for (name, value) in map {
        let place = format!("{place}.{name}");
        let test = match (name.as_str(), value) {
            ("key", _) => continue,
            (_, Value::Null) if is_field_test(name) => continue,
            ("match", value) => {
                Condition::Field { key: key.clone(), test: match_test(value, &place)? }
            }
            ("range", value) => {
                Condition::Field { key: key.clone(), test: Test::Range(range(value, &place)?) }
            }
            ("is_empty", value) => flag(value, Condition::IsEmpty(key.clone()), &place)?,
            ("is_null", value) => flag(value, Condition::IsNull(key.clone()), &place)?,
            (name, _) if UNSUPPORTED_TESTS.contains(&name) => {
                return Err(unsupported("filter condition", name));
            }
            _ => {
                return Err(invalid(
                    &place,
                    "unknown test of a field, expected `match` or `range`",
                ));
            }
        };
        conditions.push(test);
    }
    match conditions.len() {
        0 => Err(invalid(
            place,
            "at least one of `match`, `range`, `is_empty`, `is_null` must be given beside `key`",
        )),
        1 => Ok(conditions.remove(0)),
        // Several tests in one condition are alternatives, as in Qdrant.
        _ => Ok(Condition::Filter(Box::new(Filter { should: conditions, ..Filter::default() }))),
    }
}

fn is_field_test(name: &str) -> bool {
    ["match", "range", "is_empty", "is_null"].contains(&name) || UNSUPPORTED_TESTS.contains(&name)
}

/// `"is_empty": true` beside a key is the condition, `false` its opposite.
fn flag(value: &Value, condition: Condition, place: &str) -> Parsed<Condition> {
    match value {
        Value::Bool(true) => Ok(condition),
        Value::Bool(false) => Ok(Condition::Filter(Box::new(Filter {
            must_not: vec![condition],
            ..Filter::default()
        }))),
        _ => Err(invalid(place, "expected a boolean")),
    }
}

fn match_test(json: &Value, place: &str) -> Parsed<Test> {
    let map = object(json, place)?;
    if let Some(name) = UNSUPPORTED_MATCHES.iter().find(|name| map.contains_key(**name)) {
        return Err(unsupported("filter match", name));
    }
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some((name, value)), None) => {
            let place = format!("{place}.{name}");
            match name.as_str() {
                "value" => match_value(value, &place).map(Test::Match),
                "any" => match_values(value, &place).map(Test::MatchAny),
                "except" => match_values(value, &place).map(Test::MatchExcept),
                _ => Err(invalid(
                    &place,
                    "unknown kind of match, expected `value`, `any` or `except`",
                )),
            }
        }
        _ => Err(invalid(place, "expected exactly one of `value`, `any`, `except`")),
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

fn range(json: &Value, place: &str) -> Parsed<Range> {
    let mut range = Range::default();
    for (name, value) in object(json, place)? {
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
            Value::Number(number) => number.as_f64(),
            Value::String(_) => return Err(unsupported("filter condition", "datetime range")),
            _ => return Err(invalid(&place, "expected a number")),
        };
    }
    Ok(range)
}

fn has_id(json: &Value, place: &str) -> Parsed<Condition> {
    let Value::Array(list) = json else {
        return Err(invalid(place, "expected a list of point ids"));
    };
    let id = |value: &Value| match value {
        Value::Number(number) => number.as_u64().map(PointId::Num),
        Value::String(text) => {
            text.parse::<PointId>().ok().filter(|id| matches!(id, PointId::Uuid(_)))
        }
        _ => None,
    };
    let ids = list.iter().map(|value| {
        let expected =
            "is not a valid point ID, valid values are either an unsigned integer or a UUID";
        id(value).ok_or_else(|| invalid(place, &format!("value {value} {expected}")))
    });
    let mut ids = ids.collect::<Parsed<Vec<PointId>>>()?;
    ids.sort_unstable();
    ids.dedup();
    Ok(Condition::HasId(ids))
}

/// The `{"key": ...}` of `is_empty` and `is_null`.
fn field_name(json: &Value, place: &str) -> Parsed<String> {
    let map = object(json, place)?;
    only_keys(map, &["key"], place)?;
    key_path(map.get("key").unwrap_or(&Value::Null), &format!("{place}.key"))
}

fn key_path(json: &Value, place: &str) -> Parsed<String> {
    let Value::String(text) = json else { return Err(invalid(place, "expected a payload key")) };
    match text.parse::<KeyPath>() {
        Ok(_) => Ok(text.clone()),
        Err(error) => Err(invalid(place, &error.to_string())),
    }
}

fn object<'a>(json: &'a Value, place: &str) -> Parsed<&'a Map<String, Value>> {
    json.as_object().ok_or_else(|| invalid(place, "expected an object"))
}

fn only_keys(map: &Map<String, Value>, known: &[&str], place: &str) -> Parsed<()> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(invalid(
            &format!("{place}.{key}"),
            &format!("unknown field beside `{}`", known.join("`, `")),
        )),
        None => Ok(()),
    }
}

fn invalid(place: &str, what: &str) -> FilterError {
    FilterError::Invalid(format!("{place}: {what}"))
}

fn unsupported(kind: &str, name: &str) -> FilterError {
    FilterError::Unsupported(format!("{kind} `{name}`"))
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
