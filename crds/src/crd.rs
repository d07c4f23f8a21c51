//! The CustomResourceDefinitions as they are applied: derived from the types, tidied, with their rules.
//!
//! What the derive cannot say is put right here, on the JSON: optional fields are absent rather than null, formats are
//! ones Kubernetes knows, text is on one line, and what repeats Kubernetes' own documentation is left out (it is most
//! of the text, and `kubectl apply` keeps a copy of all of it in an annotation of at most 262144 bytes).
//!
//! Invariant: no field of the spec has a default, as the API server would write it into what the user applied, and tools
//! that compare the two would see a difference for ever.

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::rules::{self, Place, Rule};
use crate::{Shard, VectorCollection};

/// Fields whose content is Kubernetes' own, described in its documentation.
const KUBERNETES_OWN: &[&str] = &["resources", "tolerations", "affinity", "conditions"];

/// The definition of VectorCollection.
pub fn vector_collection() -> Result<Value, serde_json::Error> {
    definition(serde_json::to_value(VectorCollection::crd())?, rules::VECTOR_COLLECTION)
}

/// The definition of Shard.
pub fn shard() -> Result<Value, serde_json::Error> {
    definition(serde_json::to_value(Shard::crd())?, rules::SHARD)
}

/// The schema of a definition's only version.
pub(crate) fn schema(definition: &Value) -> Option<&Value> {
    definition.pointer("/spec/versions/0/schema/openAPIV3Schema")
}

fn definition(mut definition: Value, rules: &[Rule]) -> Result<Value, serde_json::Error> {
    if let Some(schema) = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        tidy(schema);
        // Rules on the object's name are only allowed where its length is bounded; this is Kubernetes' own bound.
        if let Some(metadata) = schema.pointer_mut("/properties") {
            metadata["metadata"] = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}});
        }
        for (place, pointer) in [(Place::Root, ""), (Place::Spec, "/properties/spec")] {
            let here: Vec<Value> =
                rules.iter().filter(|r| r.place == place).map(|r| r.to_json()).collect();
            if let (false, Some(Value::Object(at))) = (here.is_empty(), schema.pointer_mut(pointer))
            {
                at.insert("x-kubernetes-validations".to_owned(), here.into());
            }
        }
    }
    Ok(definition)
}

/// Tidies a schema and all below it.
fn tidy(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    schema.remove("nullable");
    schema.remove("title");
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = one_line(text);
    }
    if let Some(Value::String(format)) = schema.get_mut("format")
        && let Some(signed) = format.strip_prefix('u')
    {
        *format = signed.to_owned();
    }
    for bound in ["minimum", "maximum"] {
        if let Some(whole) = schema.get(bound).and_then(whole) {
            schema.insert(bound.to_owned(), whole.into());
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties {
            tidy(property);
            if KUBERNETES_OWN.contains(&name.as_str()) {
                for below in children(property) {
                    undescribe(below);
                }
            }
        }
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = schema.get_mut(below) {
            tidy(below);
        }
    }
}

/// A bound without its fraction, where it has none.
fn whole(bound: &Value) -> Option<i64> {
    let bound = bound.as_f64().filter(|b| b.fract() == 0.0 && b.abs() < 1e15)?;
    #[expect(clippy::cast_possible_truncation, reason = "a whole number far below 2^53")]
    Some(bound as i64)
}

/// Lines of a paragraph joined; paragraphs kept apart.
fn one_line(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

fn undescribe(schema: &mut Value) {
    if let Value::Object(schema) = schema {
        schema.remove("description");
    }
    for below in children(schema) {
        undescribe(below);
    }
}

/// The schemas directly below one.
fn children(schema: &mut Value) -> Vec<&mut Value> {
    let Value::Object(schema) = schema else { return Vec::new() };
    let mut children = Vec::new();
    for (key, value) in schema.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => children.extend(properties.values_mut()),
            ("items" | "additionalProperties", below) => children.push(below),
            _ => {}
        }
    }
    children
}

/// Adds a label or an annotation to a definition.
pub(crate) fn add_metadata(definition: &mut Value, kind: &str, key: &str, value: &str) {
    if let Some(Value::Object(metadata)) = definition.get_mut("metadata") {
        let entry = metadata.entry(kind).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(entry) = entry {
            entry.insert(key.to_owned(), value.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each schema below `schema`, with its path.
    fn walk(path: &str, schema: &Value, each: &mut impl FnMut(&str, &Map<String, Value>)) {
        let Value::Object(object) = schema else { return };
        each(path, object);
        for (name, below) in
            object.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            walk(&format!("{path}.{name}"), below, each);
        }
        for key in ["items", "additionalProperties"] {
            if let Some(below) = object.get(key) {
                walk(&format!("{path}[]"), below, each);
            }
        }
    }

    fn walk_both(each: &mut impl FnMut(&str, &Map<String, Value>)) {
        for definition in [vector_collection(), shard()] {
            let definition = definition.expect("serialises");
            walk("", schema(&definition).expect("has a schema"), each);
        }
    }

    #[test]
    fn no_field_has_a_default() {
        walk_both(&mut |path, schema| assert!(!schema.contains_key("default"), "{path}"));
    }

    #[test]
    fn formats_are_ones_kubernetes_knows_and_nothing_is_nullable() {
        walk_both(&mut |path, schema| {
            assert!(!schema.contains_key("nullable"), "{path}");
            if let Some(format) = schema.get("format") {
                assert!(
                    ["int32", "int64", "date-time"].contains(&format.as_str().unwrap_or_default()),
                    "{path} {format}"
                );
            }
        });
    }

    #[test]
    fn every_field_of_ours_is_described() {
        walk_both(&mut |path, schema| {
            let ours = !KUBERNETES_OWN.iter().any(|own| {
                path.contains(&format!(".{own}.")) || path.contains(&format!(".{own}["))
            });
            let own_field = path.starts_with(".spec") || path.starts_with(".status");
            if ours && own_field && !path.ends_with("[]") {
                assert!(schema.contains_key("description"), "{path}");
            }
        });
    }

    #[test]
    fn lists_and_free_text_of_the_spec_are_bounded() {
        walk_both(&mut |path, schema| {
            let ours = path.starts_with(".spec")
                && !KUBERNETES_OWN.iter().any(|own| path.contains(&format!(".{own}")));
            let bound = match schema.get("type").and_then(Value::as_str) {
                Some("array") => "maxItems",
                Some("string") if !schema.contains_key("enum") && !path.ends_with("[]") => {
                    "maxLength"
                }
                Some("integer") => "minimum",
                _ => return,
            };
            assert!(!ours || schema.contains_key(bound), "{path} has no {bound}");
        });
    }

    #[test]
    fn text_is_joined_to_one_line_a_paragraph() {
        assert_eq!(one_line("a\nb\n\nc\n d"), "a b\n\nc d");
    }

    #[test]
    fn definitions_fit_the_annotation_kubectl_apply_keeps() {
        for definition in [vector_collection(), shard()] {
            let bytes = definition.expect("serialises").to_string().len();
            assert!(bytes < 200_000, "{bytes} bytes");
        }
    }
}
