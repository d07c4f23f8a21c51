//! `docs/api.md`: every field of both kinds, read off their schemas, so that it cannot say anything else.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::conditions;
use crate::crd::schema;
use crate::rules::{self, Rule};

const HEAD: &str = "\
# Shoal's objects
Group `shoal.dev`, version `v1alpha1`. This page is made from the Rust types in `crds/src` by `make generate`.

You write a [VectorCollection](#vectorcollection); the operator writes its [Shards](#shard). Samples to start from are in
[config/samples](../config/samples). `kubectl explain vectorcollection.spec` tells the same.

No field is filled in by the API server: an absent field stays absent and means its default, so that no tool that applies
your manifest fights over it. Set the annotation `shoal.dev/paused: \"true\"` on a collection to have the operator leave it
and everything below it alone.
";

/// The page.
pub(crate) fn page(vector_collection: &Value, shard: &Value) -> String {
    let mut page = HEAD.to_owned();
    kind(&mut page, "VectorCollection", "vc", vector_collection, rules::VECTOR_COLLECTION);
    kind(&mut page, "Shard", "shards", shard, rules::SHARD);
    section(
        &mut page,
        "Conditions",
        "Both kinds carry them in `status.conditions`, as kstatus, Argo CD and Flux read them.",
    );
    listing(&mut page, "Type", conditions::TYPES);
    section(
        &mut page,
        "Reasons",
        "Alerts and scripts may match on them: they do not change without a word in CHANGELOG.md.",
    );
    listing(&mut page, "Reason", conditions::reason::ALL);
    page
}

fn section(page: &mut String, title: &str, text: &str) {
    line(page, format_args!("\n## {title}\n{text}\n"));
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(text);
    page.push('\n');
}

fn listing(page: &mut String, head: &str, entries: &[(&str, &str)]) {
    line(page, format_args!("| {head} | Meaning |\n|---|---|"));
    for (name, meaning) in entries {
        line(page, format_args!("| `{name}` | {} |", cell(meaning)));
    }
}

fn kind(page: &mut String, name: &str, short: &str, definition: &Value, rules: &[Rule]) {
    let Some(schema) = schema(definition) else { return };
    section(page, name, &format!("{} (`kubectl get {short}`)", description(schema)));
    let spec = if name == "Shard" { "What the operator sets" } else { "What you may set" };
    line(page, format_args!("### {spec}\n"));
    line(page, format_args!("| Field | Type | Default | Meaning |\n|---|---|---|---|"));
    fields(schema, "spec", &mut |field| {
        let (meaning, default) = split_default(&description(field.schema));
        let default = if field.required { "required" } else { default.as_deref().unwrap_or("") };
        let (path, kind) = (&field.path, kind_of(field.schema));
        line(page, format_args!("| `{path}` | {kind} | {} | {} |", cell(default), cell(&meaning)));
    });
    line(page, format_args!("\n### What the operator tells\n"));
    line(page, format_args!("| Field | Type | Meaning |\n|---|---|---|"));
    fields(schema, "status", &mut |field| {
        let (kind, meaning) = (kind_of(field.schema), description(field.schema));
        line(page, format_args!("| `{}` | {kind} | {} |", field.path, cell(&meaning)));
    });
    line(page, format_args!("\n### What the API server refuses, besides wrong types and bounds\n"));
    for rule in rules {
        line(page, format_args!("- {}", rule.message));
    }
}

/// A field as the page lists it.
struct Field<'a> {
    path: String,
    required: bool,
    schema: &'a Value,
}

/// Tells `each` about the fields below a property that have a description, parents first. What Kubernetes documents
/// itself has none here, and gets no rows.
fn fields<'a>(schema: &'a Value, property: &str, each: &mut impl FnMut(Field<'a>)) {
    fn below<'a>(path: &str, schema: &'a Value, each: &mut impl FnMut(Field<'a>)) {
        let required = schema.get("required").and_then(Value::as_array);
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, field) in properties.into_iter().flatten() {
            if field.get("description").is_none() {
                continue;
            }
            let path = format!("{path}.{name}");
            let required = required.is_some_and(|all| all.iter().any(|one| one == name));
            each(Field { path: path.clone(), required, schema: field });
            match field.get("items") {
                Some(items) => below(&format!("{path}[]"), items, each),
                None => below(&path, field, each),
            }
        }
    }
    if let Some(schema) = schema.pointer(&format!("/properties/{property}")) {
        below(property, schema, each);
    }
}

fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Takes the sentence `Default: ...` out of a description. Its value may hold colons and commas, and ends at a full
/// stop that ends the text or is followed by a space.
pub(crate) fn split_default(text: &str) -> (String, Option<String>) {
    let Some((before, after)) = text.split_once("Default: ") else {
        return (text.to_owned(), None);
    };
    let (default, rest) = after.split_once(". ").unwrap_or((after.trim_end_matches('.'), ""));
    (format!("{before}{rest}").trim().to_owned(), Some(default.to_owned()))
}

/// A schema's type and bounds, in words.
fn kind_of(schema: &Value) -> String {
    let Some(schema) = schema.as_object() else { return String::new() };
    let number = |key: &str| schema.get(key).and_then(Value::as_i64);
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> =
            values.iter().filter_map(Value::as_str).map(|v| format!("`{v}`")).collect();
        return values.join(", ");
    }
    if schema.contains_key("x-kubernetes-int-or-string") {
        return "quantity".to_owned();
    }
    let bounds = match (number("minimum"), number("maximum")) {
        (Some(low), Some(high)) => format!(", {low} to {high}"),
        (Some(low), None) => format!(", at least {low}"),
        _ => String::new(),
    };
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => list(schema),
        Some("object") if schema.contains_key("additionalProperties") => {
            "map of strings".to_owned()
        }
        Some("string") => match number("maxLength") {
            Some(longest) => format!("string, at most {longest}"),
            None => "string".to_owned(),
        },
        Some(other) => format!("{other}{bounds}"),
        None => String::new(),
    }
}

fn list(schema: &Map<String, Value>) -> String {
    match schema.get("maxItems").and_then(Value::as_i64) {
        Some(most) => format!("list, at most {most}"),
        None => "list".to_owned(),
    }
}

/// Text that fits in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::Acks;
    use crate::{crd, defaults};

    #[test]
    fn the_default_is_taken_out_of_a_description_wherever_it_stands() {
        let split = |text| {
            let (meaning, default) = split_default(text);
            (meaning, default.unwrap_or_default())
        };
        assert_eq!(
            split("Disk. Default: 10Gi. May grow."),
            ("Disk. May grow.".into(), "10Gi".into())
        );
        assert_eq!(split("Pods. Default: 1.5 cpu."), ("Pods.".into(), "1.5 cpu".into()));
        assert_eq!(split("Pods."), ("Pods.".into(), String::new()));
    }

    #[test]
    fn descriptions_tell_the_defaults_the_code_uses() {
        let definition = crd::vector_collection().expect("serialises");
        let spec =
            schema(&definition).and_then(|s| s.pointer("/properties/spec")).expect("has a spec");
        for (pointer, default) in [
            ("/properties/sharding/properties/initialShards", defaults::INITIAL_SHARDS.to_string()),
            ("/properties/replication/properties/replicas", defaults::REPLICAS.to_string()),
            ("/properties/replication/properties/acks", format!("{:?}", Acks::default())),
            ("/properties/failover/properties/budget", defaults::FAILOVER_BUDGET.to_owned()),
            ("/properties/failover/properties/nodeLossGrace", defaults::NODE_LOSS_GRACE.to_owned()),
            ("/properties/storage/properties/size", defaults::STORAGE_SIZE.to_owned()),
            (
                "/properties/vectors/items/properties/index/properties/efConstruct",
                defaults::EF_CONSTRUCT.to_string(),
            ),
            ("/properties/vectors/items/properties/index/properties/ef", defaults::EF.to_string()),
            (
                "/properties/router/properties/minReplicas",
                defaults::ROUTER_MIN_REPLICAS.to_string(),
            ),
            (
                "/properties/deletionPolicy",
                format!("{:?}", crate::collection::DeletionPolicy::default()),
            ),
        ] {
            let field = spec.pointer(pointer).expect(pointer);
            assert_eq!(split_default(&description(field)).1, Some(default), "{pointer}");
        }
    }

    #[test]
    fn rules_that_name_a_default_use_the_one_the_code_uses() {
        let all: String = rules::VECTOR_COLLECTION.iter().map(|r| r.rule).collect();
        assert!(all.contains(&format!("replicas.orValue({})", defaults::REPLICAS)));
    }
}
