//! Labels and owners that every object we build carries. Pure.
//!
//! Invariant: selectors use only labels that never change during an object's life.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use shoal_crds::labels;

/// Label with the program's name, on every pod of the data plane.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// Label with a pod's part in the data plane.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label that tells who looks after an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`APP_NAME`] on the data plane.
pub const APP: &str = "shoal";
/// Value of [`APP_NAME`] on the operator's own pods.
pub const OPERATOR_APP: &str = "shoal-operator";
/// Value of [`COMPONENT`] on shard pods.
pub const SHARD_COMPONENT: &str = "shard";
/// Value of [`COMPONENT`] on router pods.
pub const ROUTER_COMPONENT: &str = "router";

/// A map of labels.
pub type Labels = BTreeMap<String, String>;

/// Labels from pairs.
pub fn labels_of<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Labels of an object that is part of a component: what selects it, and who looks after it.
pub fn with_manager(mut selecting: Labels) -> Labels {
    selecting.insert(MANAGED_BY.to_owned(), labels::MANAGER.to_owned());
    selecting
}

/// Labels that select a component's pods in a namespace.
pub fn component(name: &str) -> Labels {
    labels_of([(APP_NAME, APP), (COMPONENT, name)])
}

/// A selector of exactly these labels.
pub fn selector(labels: Labels) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

/// Metadata of an object we build.
pub fn metadata(
    name: &str,
    namespace: &str,
    labels: Labels,
    owner: Option<OwnerReference>,
) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels),
        owner_references: owner.map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Whether the operator made an object: its label, or, should someone have taken that away, the mark of its writes.
pub fn is_ours(meta: &ObjectMeta) -> bool {
    let labelled = meta
        .labels
        .as_ref()
        .and_then(|l| l.get(MANAGED_BY))
        .is_some_and(|by| by == labels::MANAGER);
    labelled || meta.annotations.as_ref().is_some_and(|a| a.contains_key(labels::APPLIED_HASH))
}

/// Whether a person asked us to leave this object alone.
pub fn is_paused(meta: &ObjectMeta) -> bool {
    meta.annotations
        .as_ref()
        .and_then(|a| a.get(labels::PAUSED))
        .is_some_and(|value| value == "true")
}

/// A label of an object.
pub fn label<'a, K: Resource>(object: &'a K, key: &str) -> Option<&'a str> {
    object.labels().get(key).map(String::as_str)
}

/// An annotation of an object.
pub fn annotation<'a, K: Resource>(object: &'a K, key: &str) -> Option<&'a str> {
    object.annotations().get(key).map(String::as_str)
}

/// The uid of the controller that owns an object.
pub fn controller_uid(meta: &ObjectMeta) -> Option<&str> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_whose_label_was_taken_away_is_still_ours() {
        let mut meta = metadata("x", "ns", with_manager(component(ROUTER_COMPONENT)), None);
        assert!(is_ours(&meta));
        meta.labels = None;
        assert!(!is_ours(&meta));
        meta.annotations = Some(labels_of([(labels::APPLIED_HASH, "1")]));
        assert!(is_ours(&meta));
    }

    #[test]
    fn only_true_pauses() {
        let paused = |value| ObjectMeta {
            annotations: Some(labels_of([(labels::PAUSED, value)])),
            ..ObjectMeta::default()
        };
        assert!(is_paused(&paused("true")));
        assert!(!is_paused(&paused("false")));
        assert!(!is_paused(&ObjectMeta::default()));
    }
}
