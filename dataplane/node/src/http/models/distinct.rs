//! JSON in which no object has a key twice.
//!
//! A parser that keeps the last of two equal keys drops the first without a word. In a filter that is a condition, and
//! what is deleted by the filter is then more than was asked. So a repeated key is an error.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads an optional field; `null` is the same as its absence.
pub(in crate::http) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    let value = Distinct.deserialize(deserializer)?;
    Ok((!value.is_null()).then_some(value))
}

struct Distinct;

impl<'de> DeserializeSeed<'de> for Distinct {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Distinct)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate field `{key}`")));
            }
            let value = object.next_value_seed(Distinct)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(default, deserialize_with = "optional")]
        filter: Option<Value>,
    }

    fn read(text: &str) -> Result<Option<Value>, String> {
        serde_json::from_str(text).map(|body: Body| body.filter).map_err(|e| e.to_string())
    }

    #[test]
    fn json_is_read_as_it_stands() {
        let filter = json!({"must": [{"key": "a", "match": {"any": [1, -2, 2.5, "x", true, null]}}], "should": {}});
        assert_eq!(read(&json!({"filter": filter}).to_string()), Ok(Some(filter)));
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"filter": null}"#), Ok(None));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_every_level() {
        for filter in [
            r#"{"must": [], "must": []}"#,
            r#"{"must": [{"key": "a", "key": "b", "match": {"value": 1}}]}"#,
            r#"{"must": [{"key": "a", "match": {"value": 1, "value": 2}}]}"#,
        ] {
            let error = read(&format!(r#"{{"filter": {filter}}}"#)).unwrap_err();
            assert!(error.contains("duplicate field"), "{error}");
        }
    }
}
