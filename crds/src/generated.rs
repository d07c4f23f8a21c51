//! The files that are made from the types: the definitions in `crds/`, the chart's copies of them, and `docs/api.md`.
//!
//! Invariant: the files in the repository are the ones made here; a test compares them.

use serde_json::Value;

use crate::{crd, reference};

/// A file made from the types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its path, from the repository's root.
    pub path: &'static str,
    /// All of its text.
    pub content: String,
}

/// Why the files could not be made.
#[derive(Debug)]
pub struct GenerateError(String);

impl std::fmt::Display for GenerateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write a definition as YAML: {}", self.0)
    }
}

impl std::error::Error for GenerateError {}

/// Every file that is made from the types.
pub fn files() -> Result<Vec<Generated>, GenerateError> {
    let failed = |error: serde_json::Error| GenerateError(error.to_string());
    let collection = crd::vector_collection().map_err(failed)?;
    let shard = crd::shard().map_err(failed)?;
    Ok(vec![
        Generated { path: "crds/vectorcollections.yaml", content: manifest(&collection)? },
        Generated { path: "crds/shards.yaml", content: manifest(&shard)? },
        Generated {
            path: "charts/shoal/templates/crds/vectorcollections.yaml",
            content: template(&collection)?,
        },
        Generated { path: "charts/shoal/templates/crds/shards.yaml", content: template(&shard)? },
        Generated { path: "docs/api.md", content: reference::page(&collection, &shard) },
    ])
}

const MADE_BY: &str =
    "# Made from the Rust types in crds/src by `make generate`; edits here are lost.\n";

fn manifest(definition: &Value) -> Result<String, GenerateError> {
    Ok(format!("{MADE_BY}{}", yaml(definition)?))
}

/// The definition as a template of the chart. Helm neither upgrades nor deletes what stands in a chart's own `crds`
/// folder; as a template it is upgraded, and the annotation keeps it, and every collection with it, when the chart is
/// uninstalled.
fn template(definition: &Value) -> Result<String, GenerateError> {
    let mut definition = definition.clone();
    crd::add_metadata(&mut definition, "annotations", "helm.sh/resource-policy", "keep");
    Ok(format!(
        "{{{{- if .Values.crds.install }}}}\n{MADE_BY}{}{{{{- end }}}}\n",
        yaml(&definition)?
    ))
}

fn yaml(definition: &Value) -> Result<String, GenerateError> {
    let mut text =
        serde_saphyr::to_string(definition).map_err(|error| GenerateError(error.to_string()))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_reads_back_as_what_was_written() {
        for definition in [crd::vector_collection(), crd::shard()] {
            let definition = definition.expect("serialises");
            let read: Value =
                serde_saphyr::from_str(&yaml(&definition).expect("writes")).expect("reads");
            assert_eq!(read, definition);
        }
    }

    #[test]
    fn definitions_hold_nothing_that_helm_would_evaluate() {
        for definition in [crd::vector_collection(), crd::shard()] {
            assert!(!yaml(&definition.expect("serialises")).expect("writes").contains("{{"));
        }
    }
}
