//! Payloads: JSON objects, the key paths that reach into them, and the edits that ops make.
//!
//! Behaviour is Qdrant's: a merged `null` removes its key, `[]` stands for every element, and an include list keeps
//! whatever lies on the way to a path.

mod part;
mod path;
mod schema;

use serde_json::{Map, Value};

pub use part::read_part;
pub use path::{InvalidPath, KeyPath, Step};
pub use schema::{
    IndexKind, InvalidIndex, MAX_INDEXED_FIELD_BYTES, MAX_PAYLOAD_INDEXES, PayloadIndex,
};

/// A payload: one JSON object.
pub type Payload = Map<String, Value>;

/// Merges an object into a payload: at its top, or under a key path, making objects on the way where there are none.
pub fn merge(payload: &mut Payload, at: Option<&KeyPath>, change: &Payload) {
    match at {
        None => merge_map(payload, change),
        Some(path) => set_in_map(payload, path.first(), path.rest(), change),
    }
}

/// Bytes that a payload's JSON text has at least after an object that adds `change_len` bytes is merged into it: each
/// key on the way and each copy of the object, once for every place they come to lie. Costs no memory, so it can be asked
/// before [`merge`] makes the copies.
pub fn merged_len_at_least(payload: &Payload, at: Option<&KeyPath>, change_len: usize) -> usize {
    match at {
        None => change_len,
        Some(path) => len_in_map(Some(payload), path.first(), path.rest(), change_len),
    }
}

/// Removes what a path leads to. Elements of arrays are not removed one by one, since a repetition of that would not
/// mean the same: `a[]` empties an array, `a[0]` does nothing.
pub fn remove(payload: &mut Payload, path: &KeyPath) {
    match path.rest().split_first() {
        None => {
            payload.remove(path.first());
        }
        Some((step, rest)) => {
            if let Some(value) = payload.get_mut(path.first()) {
                remove_in_value(value, step, rest);
            }
        }
    }
}

/// The parts of a payload that lie on the way to, at, or below one of these paths.
pub fn include(payload: &Payload, paths: &[KeyPath]) -> Payload {
    project(payload, &|trail| paths.iter().any(|path| path.meets(trail)))
}

/// A payload without what is at or below these paths.
pub fn exclude(payload: &Payload, paths: &[KeyPath]) -> Payload {
    project(payload, &|trail| !paths.iter().any(|path| path.covers(trail)))
}

fn merge_map(into: &mut Payload, change: &Payload) {
    for (key, value) in change {
        match value {
            Value::Null => into.remove(key),
            _ => into.insert(key.clone(), value.clone()),
        };
    }
}

fn set_in_map(map: &mut Payload, key: &str, rest: &[Step], change: &Payload) {
    match map.get_mut(key) {
        Some(value) => set_in_value(value, rest, change),
        None => {
            let mut value = Value::Null;
            set_in_value(&mut value, rest, change);
            map.insert(key.to_owned(), value);
        }
    }
}

fn set_in_value(value: &mut Value, steps: &[Step], change: &Payload) {
    match steps.split_first() {
        None => merge_map(as_object(value), change),
        Some((Step::Key(key), rest)) => set_in_map(as_object(value), key, rest, change),
        Some((Step::Index(index), rest)) => {
            if let Some(element) = as_array(value).get_mut(*index) {
                set_in_value(element, rest, change);
            }
        }
        Some((Step::Every, rest)) => {
            as_array(value).iter_mut().for_each(|element| set_in_value(element, rest, change))
        }
    }
}

fn len_in_map(map: Option<&Payload>, key: &str, rest: &[Step], change_len: usize) -> usize {
    // Quotes and a colon.
    let key_len = key.len() + 3;
    key_len.saturating_add(len_in_value(map.and_then(|map| map.get(key)), rest, change_len))
}

fn len_in_value(value: Option<&Value>, steps: &[Step], change_len: usize) -> usize {
    let array = || value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match steps.split_first() {
        None => change_len,
        Some((Step::Key(key), rest)) => {
            len_in_map(value.and_then(Value::as_object), key, rest, change_len)
        }
        Some((Step::Index(index), rest)) => {
            array().get(*index).map_or(0, |element| len_in_value(Some(element), rest, change_len))
        }
        Some((Step::Every, rest)) => array().iter().fold(0, |sum: usize, element| {
            sum.saturating_add(len_in_value(Some(element), rest, change_len))
        }),
    }
}

/// The object in a value, which becomes an empty one if it was anything else.
fn as_object(value: &mut Value) -> &mut Payload {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object just above"),
    }
}

/// The array in a value, which becomes an empty one if it was anything else.
fn as_array(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(array) => array,
        _ => unreachable!("made an array just above"),
    }
}

fn remove_in_value(value: &mut Value, step: &Step, rest: &[Step]) {
    match (step, value, rest.split_first()) {
        (Step::Key(key), Value::Object(map), None) => {
            map.remove(key);
        }
        (Step::Every, Value::Array(array), None) => array.clear(),
        (Step::Key(key), Value::Object(map), Some((next, rest))) => {
            if let Some(value) = map.get_mut(key) {
                remove_in_value(value, next, rest);
            }
        }
        (Step::Index(index), Value::Array(array), Some((next, rest))) => {
            if let Some(value) = array.get_mut(*index) {
                remove_in_value(value, next, rest);
            }
        }
        (Step::Every, Value::Array(array), Some((next, rest))) => {
            array.iter_mut().for_each(|value| remove_in_value(value, next, rest));
        }
        _ => {}
    }
}

/// Copies what `keep` says to keep, asking it for each key and each element on the way down.
fn project(payload: &Payload, keep: &dyn Fn(&[Step]) -> bool) -> Payload {
    project_map(payload, &mut Vec::new(), keep)
}

fn project_map(map: &Payload, trail: &mut Vec<Step>, keep: &dyn Fn(&[Step]) -> bool) -> Payload {
    let mut out = Payload::new();
    for (key, value) in map {
        trail.push(Step::Key(key.clone()));
        if keep(trail) {
            out.insert(key.clone(), project_value(value, trail, keep));
        }
        trail.pop();
    }
    out
}

fn project_value(value: &Value, trail: &mut Vec<Step>, keep: &dyn Fn(&[Step]) -> bool) -> Value {
    match value {
        Value::Object(map) => Value::Object(project_map(map, trail, keep)),
        Value::Array(array) => {
            trail.push(Step::Every);
            let kept = match keep(trail) {
                true => array.iter().map(|value| project_value(value, trail, keep)).collect(),
                false => Vec::new(),
            };
            trail.pop();
            Value::Array(kept)
        }
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Payload {
        match value {
            Value::Object(map) => map,
            other => panic!("not an object: {other}"),
        }
    }

    fn merged(payload: Value, at: Option<&str>, change: Value) -> Value {
        let mut payload = object(payload);
        let path = at.map(|path| path.parse::<KeyPath>().unwrap());
        merge(&mut payload, path.as_ref(), &object(change));
        Value::Object(payload)
    }

    fn removed(payload: Value, path: &str) -> Value {
        let mut payload = object(payload);
        remove(&mut payload, &path.parse().unwrap());
        Value::Object(payload)
    }

    fn paths(texts: &[&str]) -> Vec<KeyPath> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn merging_at_the_top_replaces_keys_and_null_removes_them() {
        assert_eq!(
            merged(json!({"a": 1, "b": 2}), None, json!({"b": null, "c": {"d": 3}})),
            json!({"a": 1, "c": {"d": 3}})
        );
    }

    #[test]
    fn merging_at_a_path_makes_objects_on_the_way() {
        assert_eq!(
            merged(json!({"a": 1}), Some("x.y"), json!({"z": 1})),
            json!({"a": 1, "x": {"y": {"z": 1}}})
        );
        assert_eq!(
            merged(json!({"a": 1}), Some("a.b"), json!({"z": 1})),
            json!({"a": {"b": {"z": 1}}})
        );
    }

    #[test]
    fn merging_under_every_element_touches_each() {
        let payload = json!({"a": [{"b": 1}, {"c": 2}, 3]});
        assert_eq!(
            merged(payload, Some("a[]"), json!({"b": 9})),
            json!({"a": [{"b": 9}, {"b": 9, "c": 2}, {"b": 9}]})
        );
        assert_eq!(
            merged(json!({"a": [{}, {}]}), Some("a[1]"), json!({"b": 9})),
            json!({"a": [{}, {"b": 9}]})
        );
        assert_eq!(merged(json!({"a": [{}]}), Some("a[7]"), json!({"b": 9})), json!({"a": [{}]}));
    }

    #[test]
    fn a_merged_payload_is_at_least_as_long_as_was_said_before() {
        let payload = json!({"a": [{"b": 1}, {"c": [{}, 2]}, 3], "d": {"e": 5}});
        let change = json!({"long": "xxxxxxxxxx"});
        for at in [
            None,
            Some("a[]"),
            Some("a[].k"),
            Some("a[].c[].m"),
            Some("a[1]"),
            Some("a[9]"),
            Some("d.e.f"),
            Some("n[].o"),
        ] {
            let path = at.map(|path| path.parse::<KeyPath>().unwrap());
            let least = merged_len_at_least(
                &object(payload.clone()),
                path.as_ref(),
                change.to_string().len(),
            );
            let len = merged(payload.clone(), at, change.clone()).to_string().len();
            assert!(least <= len, "{at:?}: {least} > {len}");
        }
        let three = merged_len_at_least(&object(payload), "a[].k".parse().ok().as_ref(), 1000);
        assert_eq!(three, 4 + 3 * (4 + 1000));
    }

    #[test]
    fn removing_follows_paths() {
        assert_eq!(removed(json!({"a": {"b": 1, "c": 2}}), "a.b"), json!({"a": {"c": 2}}));
        assert_eq!(
            removed(json!({"a": [{"b": 1}, {"b": 2, "c": 3}]}), "a[].b"),
            json!({"a": [{}, {"c": 3}]})
        );
        assert_eq!(removed(json!({"a": [1, 2]}), "a[]"), json!({"a": []}));
        assert_eq!(removed(json!({"a": [1, 2]}), "a[0]"), json!({"a": [1, 2]}));
        assert_eq!(removed(json!({"a.b": 1, "a": {"b": 2}}), "\"a.b\""), json!({"a": {"b": 2}}));
    }

    #[test]
    fn including_keeps_the_way_to_a_path_and_all_below_it() {
        let payload =
            object(json!({"a": {"b": {"c": 1}, "d": 2}, "e": [{"f": 1, "g": 2}], "h": 3}));
        assert_eq!(
            Value::Object(include(&payload, &paths(&["a.b"]))),
            json!({"a": {"b": {"c": 1}}})
        );
        assert_eq!(
            Value::Object(include(&payload, &paths(&["e[].f", "h"]))),
            json!({"e": [{"f": 1}], "h": 3})
        );
        assert_eq!(Value::Object(include(&payload, &paths(&["e.f"]))), json!({"e": []}));
    }

    #[test]
    fn excluding_drops_a_path_and_all_below_it() {
        let payload = object(json!({"a": {"b": {"c": 1}, "d": 2}, "e": [{"f": 1, "g": 2}]}));
        let kept = exclude(&payload, &paths(&["a.b", "e[].g"]));
        assert_eq!(Value::Object(kept), json!({"a": {"d": 2}, "e": [{"f": 1}]}));
    }
}
