//! Whether an object on the API server already is what we want. Pure.
//!
//! The API server fills in defaults, writes quantities its own way and merges lists by key, so equality would see a
//! difference for ever and write for ever. Instead: the hash of what we applied last equals the hash of what we want
//! now, and every field we want still has our value.
//!
//! Invariant: a status, or a field that someone else added, never makes an object out of sync; a changed value of ours
//! always does.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::quantity;

/// Lists that server-side apply merges by a key: others may add items to them, and ours are found by the key.
/// Every other list is replaced whole, so it must be equal item by item.
const KEYED_LISTS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("env", "name"),
    ("ownerReferences", "uid"),
    ("topologySpreadConstraints", "topologyKey"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];

/// Maps whose values are quantities.
const QUANTITIES: &[&str] = &["limits", "requests"];

/// A hash of an object, short enough for an annotation and long enough never to meet another.
pub fn hash(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    // Through `Value`, whose maps are sorted.
    Ok(hash_text(&serde_json::to_value(value)?.to_string()))
}

/// A hash of a text, like [`hash`].
pub fn hash_text(text: &str) -> String {
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether every field of `wanted` stands in `seen` with the same value.
pub fn contains(seen: &Value, wanted: &Value) -> bool {
    contains_below("", seen, wanted)
}

fn contains_below(field: &str, seen: &Value, wanted: &Value) -> bool {
    match (seen, wanted) {
        (Value::Object(seen), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| match seen.get(key) {
                Some(other) if QUANTITIES.contains(&field) => same_quantity(other, value),
                Some(other) => contains_below(key, other, value),
                None => is_empty(value),
            })
        }
        (Value::Array(seen), Value::Array(wanted)) => list_contains(field, seen, wanted),
        (seen, wanted) => seen == wanted,
    }
}

fn list_contains(field: &str, seen: &[Value], wanted: &[Value]) -> bool {
    match KEYED_LISTS.iter().find(|(list, _)| *list == field) {
        Some((_, key)) => wanted.iter().all(|item| {
            seen.iter()
                .any(|other| other.get(key) == item.get(key) && contains_below("", other, item))
        }),
        None => {
            seen.len() == wanted.len()
                && seen.iter().zip(wanted).all(|(other, item)| contains_below("", other, item))
        }
    }
}

fn same_quantity(seen: &Value, wanted: &Value) -> bool {
    match (seen.as_str(), wanted.as_str()) {
        (Some(seen), Some(wanted)) => quantity::same(seen, wanted),
        _ => seen == wanted,
    }
}

/// Values the API server may leave out: to it an empty text in a field is no text.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_of_the_server_and_fields_of_others_are_in_sync() {
        let wanted = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "x", "image": "i"}]}});
        let seen = json!({"metadata": {"labels": {"a": "1", "theirs": "2"}, "uid": "u"},
            "spec": {"replicas": 1, "containers": [{"name": "sidecar"}, {"name": "x", "image": "i", "stdin": false}]},
            "status": {"ready": 3}});
        assert!(contains(&seen, &wanted));
    }

    #[test]
    fn a_changed_or_removed_value_of_ours_is_not() {
        let wanted = json!({"spec": {"type": "ClusterIP", "args": ["a", "b"]}});
        assert!(!contains(&json!({"spec": {"type": "NodePort", "args": ["a", "b"]}}), &wanted));
        assert!(!contains(&json!({"spec": {"args": ["a", "b"]}}), &wanted));
        assert!(!contains(
            &json!({"spec": {"type": "ClusterIP", "args": ["a", "b", "c"]}}),
            &wanted
        ));
        assert!(!contains(&json!({"spec": {"type": "ClusterIP", "args": ["b", "a"]}}), &wanted));
    }

    #[test]
    fn an_added_subject_of_a_role_binding_is_seen() {
        let wanted = json!({"subjects": [{"kind": "ServiceAccount", "name": "router"}]});
        let seen = json!({"subjects": [{"kind": "ServiceAccount", "name": "router"}, {"kind": "User", "name": "eve"}]});
        assert!(!contains(&seen, &wanted));
    }

    #[test]
    fn quantities_are_compared_by_value_and_other_texts_are_not() {
        let wanted = json!({"requests": {"cpu": "1", "memory": "1024Mi"}, "env": [{"name": "n", "value": "1"}]});
        let seen = json!({"requests": {"cpu": "1000m", "memory": "1Gi"}, "env": [{"name": "n", "value": "1"}]});
        assert!(contains(&seen, &wanted));
        let edited = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "env": [{"name": "n", "value": "1000m"}]});
        assert!(!contains(&edited, &wanted));
    }

    #[test]
    fn empty_values_may_be_left_out_by_the_server() {
        assert!(contains(
            &json!({}),
            &json!({"affinity": {}, "tolerations": [], "x": null, "y": ""})
        ));
        assert!(!contains(&json!({}), &json!({"flag": false})));
        assert!(!contains(&json!({"y": "theirs"}), &json!({"y": ""})), "a value that was not ours");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z]{0,4}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_object_contains_itself_and_hashes_alike(value in any_json()) {
            prop_assert!(contains(&value, &value));
            prop_assert_eq!(hash(&value).unwrap(), hash(&value.clone()).unwrap());
        }

        #[test]
        fn adding_a_field_never_breaks_it_and_changing_one_always_does(value in any_json(), text in "[a-z]{1,4}") {
            let wanted = json!({"ours": text, "rest": value});
            let mut seen = wanted.clone();
            seen["theirs"] = json!(1);
            prop_assert!(contains(&seen, &wanted));
            seen["ours"] = json!(format!("{text}!"));
            prop_assert!(!contains(&seen, &wanted));
        }
    }
}
