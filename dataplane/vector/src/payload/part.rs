//! Some keys of a payload, read out of its text without making the rest.
//!
//! A filter asks about few keys of many payloads, and most of the time of reading one goes into making what nobody asks
//! about. Invariant: what is read of a key is what reading the whole would give, and text that is no payload is refused.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Payload;

/// Reads the values of these keys, which ascend; an empty text is an empty payload.
pub fn read_part(text: &[u8], keys: &[String]) -> Result<Payload, serde_json::Error> {
    if text.is_empty() {
        return Ok(Payload::new());
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let part = json.deserialize_map(Part { keys })?;
    json.end()?;
    Ok(part)
}

struct Part<'k> {
    keys: &'k [String],
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
        let mut part = Payload::new();
        while let Some(Key(key)) = map.next_key()? {
            match self.keys.binary_search_by(|wanted| wanted.as_str().cmp(&key)) {
                Ok(_) => {
                    part.insert(key.into_owned(), map.next_value()?);
                }
                Err(_) => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(part)
    }
}

/// A key, borrowed where it stands in the text as it is.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor).map(Key)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn keys(list: &[&str]) -> Vec<String> {
        list.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn only_what_is_asked_for_is_read() {
        let text = br#" {"b": [1, {"a": 2}], "\u0061": null, "c": "x", "a": {"b": 1}} "#;
        let part = read_part(text, &keys(&["a", "b"])).unwrap();
        assert_eq!(Some(&part), json!({"a": {"b": 1}, "b": [1, {"a": 2}]}).as_object());
        assert_eq!(read_part(text, &[]).unwrap(), Payload::new());
        assert_eq!(read_part(b"", &keys(&["a"])).unwrap(), Payload::new());
    }

    #[test]
    fn what_is_no_payload_is_refused_wherever_the_damage_is() {
        for text in
            ["[]", "1", "null", "{", "{\"z\": }", "{\"z\": [1}", "{} {}", "{\"z\": 1,}", " "]
        {
            assert!(read_part(text.as_bytes(), &keys(&["a"])).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_what_the_whole_says(
            entries in prop::collection::vec(("[a-d\\\\\"é]{0,2}", any::<Option<i32>>()), 0..8),
            wanted in prop::collection::btree_set("[a-d\\\\\"é]{0,2}", 0..4)
        ) {
            // A key may stand in a text twice: the last counts.
            let key = |key: &str| serde_json::to_string(key).unwrap();
            let fields = entries.iter().map(|(k, v)| format!("{}:{}", key(k), json!(v)));
            let text = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
            let mut whole: Payload = serde_json::from_str(&text).unwrap();
            whole.retain(|key, _| wanted.contains(key));
            let wanted: Vec<String> = wanted.into_iter().collect();
            prop_assert_eq!(read_part(text.as_bytes(), &wanted).unwrap(), whole);
        }
    }
}
