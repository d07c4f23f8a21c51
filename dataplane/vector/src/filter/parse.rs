//! From Qdrant's JSON to a [`Filter`].
//!
//! Strict: a key that is not known is an error that names its place, because a condition that is silently dropped
//! returns wrong results. What Qdrant has and Shoal does not yet is a different error, so that callers can answer 501.

mod field;

use serde_json::{Map, Value};

use super::{Condition, Filter, FilterError, MAX_CONDITIONS, MAX_DEPTH, MinShould, Nested};
use crate::PointId;
use crate::payload::KeyPath;

/// Kinds of conditions that Qdrant has and Shoal does not yet, by the key that tells them.
const UNSUPPORTED_CONDITIONS: [&str; 1] = ["slice"];
const CLAUSES: [&str; 4] = ["must", "should", "must_not", "min_should"];

type Parsed<T> = Result<T, FilterError>;

impl Filter {
    /// Reads a filter from the dialect's JSON.
    pub fn parse(json: &Value) -> Result<Filter, FilterError> {
        Parser { conditions_left: MAX_CONDITIONS }.filter(json, "filter", MAX_DEPTH)
    }
}

/// Counts conditions and levels as [`Filter::matcher`] does, so that what is parsed can be made ready.
struct Parser {
    conditions_left: usize,
}

impl Parser {
    fn filter(&mut self, json: &Value, place: &str, depth: usize) -> Parsed<Filter> {
        let depth = descend(depth)?;
        let mut filter = Filter::default();
        let mut min_should = None;
        for (key, value) in object(json, place)? {
            let place = format!("{place}.{key}");
            match key.as_str() {
                "must" => filter.must = self.clause(value, &place, depth)?,
                "should" => filter.should = self.clause(value, &place, depth)?,
                "must_not" => filter.must_not = self.clause(value, &place, depth)?,
                "min_should" if value.is_null() => {}
                "min_should" => min_should = Some(self.min_should(value, &place, depth)?),
                _ => {
                    return Err(invalid(
                        &place,
                        "unknown clause, expected `must`, `should`, `must_not` or `min_should`",
                    ));
                }
            }
        }
        filter.must.extend(min_should);
        Ok(filter)
    }

    /// A clause is a list of conditions, or one condition by itself.
    fn clause(&mut self, json: &Value, place: &str, depth: usize) -> Parsed<Vec<Condition>> {
        match json {
            Value::Null => Ok(Vec::new()),
            Value::Array(conditions) => self.conditions(conditions, place, depth),
            one => self.conditions(std::slice::from_ref(one), place, depth),
        }
    }

    fn conditions(&mut self, list: &[Value], place: &str, depth: usize) -> Parsed<Vec<Condition>> {
        self.count(list.len())?;
        let numbered = list.iter().enumerate();
        numbered
            .map(|(i, condition)| self.condition(condition, &format!("{place}[{i}]"), depth))
            .collect()
    }

    fn count(&mut self, conditions: usize) -> Parsed<()> {
        self.conditions_left =
            self.conditions_left.checked_sub(conditions).ok_or_else(FilterError::too_many)?;
        Ok(())
    }

    fn min_should(&mut self, json: &Value, place: &str, depth: usize) -> Parsed<Condition> {
        self.count(1)?;
        let depth = descend(depth)?;
        let map = object(json, place)?;
        only_keys(map, &["conditions", "min_count"], place)?;
        let Some(Value::Array(list)) = map.get("conditions") else {
            return Err(invalid(&format!("{place}.conditions"), "expected a list of conditions"));
        };
        let Some(min_count) = map.get("min_count").and_then(Value::as_u64) else {
            return Err(invalid(
                &format!("{place}.min_count"),
                "expected how many of the conditions must hold, an unsigned integer",
            ));
        };
        let conditions = self.conditions(list, &format!("{place}.conditions"), depth)?;
        Ok(Condition::MinShould(Box::new(MinShould { conditions, min_count })))
    }

    fn condition(&mut self, json: &Value, place: &str, depth: usize) -> Parsed<Condition> {
        let map = object(json, place)?;
        if let Some(name) = UNSUPPORTED_CONDITIONS.iter().find(|name| map.contains_key(**name)) {
            return Err(unsupported("filter condition", name));
        }
        if map.contains_key("key") {
            return self.field(map, place, depth);
        }
        for name in ["is_empty", "is_null", "has_id", "has_vector", "nested"] {
            if let Some(inner) = map.get(name) {
                only_keys(map, &[name], place)?;
                return self.named(name, inner, &format!("{place}.{name}"), depth);
            }
        }
        if let Some(unknown) = map.keys().find(|key| !CLAUSES.contains(&key.as_str())) {
            let expected = "expected a condition: `key` with a test such as `match` or `range`, `has_id`, `has_vector`, `is_empty`, `is_null`, `nested`, or a filter";
            return Err(invalid(&format!("{place}.{unknown}"), expected));
        }
        self.filter(json, place, depth).map(|filter| Condition::Filter(Box::new(filter)))
    }

    /// The conditions that are one key and what it says.
    fn named(&mut self, name: &str, json: &Value, place: &str, depth: usize) -> Parsed<Condition> {
        match name {
            "is_empty" => field_name(json, place).map(Condition::IsEmpty),
            "is_null" => field_name(json, place).map(Condition::IsNull),
            "has_id" => has_id(json, place),
            "has_vector" => match json {
                Value::String(name) => Ok(Condition::HasVector(name.clone())),
                _ => Err(invalid(place, "expected the name of a vector")),
            },
            _ => self.nested(json, place, depth),
        }
    }

    fn nested(&mut self, json: &Value, place: &str, depth: usize) -> Parsed<Condition> {
        let map = object(json, place)?;
        only_keys(map, &["key", "filter"], place)?;
        let key = key_path(map.get("key").unwrap_or(&Value::Null), &format!("{place}.key"))?;
        let filter = map.get("filter").unwrap_or(&Value::Null);
        let filter = self.filter(filter, &format!("{place}.filter"), depth)?;
        Ok(Condition::Nested(Box::new(Nested { key, filter })))
    }
}

/// One level down.
fn descend(depth: usize) -> Parsed<usize> {
    depth.checked_sub(1).ok_or_else(FilterError::too_deep)
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
