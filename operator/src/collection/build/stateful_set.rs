//! The StatefulSet of a shard's replica: one pod each, so that replicas can be added and removed anywhere.
//!
//! Invariant: Parallel, OnDelete and the claims' retention never change during a set's life; claims are deleted by the
//! operator alone.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use serde_json::{Value, json};
use shoal_crds::collection::ShardSlots;
use shoal_crds::{Shard, labels};

use super::super::validate::Valid;
use super::{Replica, owner_of_parts, pod, replica_labels, volume_claim};
use crate::kubernetes::in_sync;
use crate::kubernetes::meta;

/// The StatefulSet of a shard's replica.
pub fn build(
    valid: &Valid,
    part: &ShardSlots,
    generation: i64,
    shard: &Shard,
    replica: Replica,
) -> StatefulSet {
    let name = labels::replica_name(&part.shard, replica.number);
    let selecting = replica_labels(valid, &part.shard, replica.number);
    let retain = || Some("Retain".to_owned());
    StatefulSet {
        metadata: meta::metadata(
            &name,
            &valid.namespace,
            meta::with_manager(selecting.clone()),
            owner_of_parts(shard),
        ),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(labels::shards_service(&valid.name)),
            pod_management_policy: Some("Parallel".into()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".into()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: retain(),
                    when_scaled: retain(),
                },
            ),
            revision_history_limit: Some(3),
            selector: meta::selector(selecting),
            template: pod::build(valid, part, &shard.spec.image, replica),
            volume_claim_templates: Some(vec![volume_claim::build(
                valid, part, generation, replica,
            )]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// Whether a set must be made anew, because what differs cannot be changed.
pub fn must_be_recreated(wanted: &StatefulSet, seen: &StatefulSet) -> bool {
    !in_sync::contains(&fixed(seen), &fixed(wanted))
}

/// The fields of a set that the API server lets nobody change.
fn fixed(set: &StatefulSet) -> Value {
    let spec = set.spec.as_ref();
    json!({
        "serviceName": spec.map(|s| &s.service_name),
        "podManagementPolicy": spec.map(|s| &s.pod_management_policy),
        "selector": spec.map(|s| &s.selector),
        "volumeClaimTemplates": spec.map(|s| &s.volume_claim_templates),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::build::shard;
    use crate::collection::observe::Seen;
    use crate::collection::replicas;
    use crate::collection::testing::collection;
    use crate::collection::validate::validate;

    fn set(change: impl FnOnce(&mut Valid)) -> StatefulSet {
        set_of(Replica::ONLY, change)
    }

    fn set_of(replica: Replica, change: impl FnOnce(&mut Valid)) -> StatefulSet {
        let made = collection("c");
        let mut valid = validate(&made).expect("valid");
        change(&mut valid);
        let part = ShardSlots { shard: "c-0".into(), slots: "0-16383".into() };
        let count = if replica.replicated { 3 } else { 1 };
        let replicas = replicas::plan(&Seen::default(), "c-0", count);
        let mut shard = shard::build(&made, &valid, &part, 1, "i", &replicas);
        shard.metadata.uid = Some("u".into());
        build(&valid, &part, 1, &shard, replica)
    }

    #[test]
    fn what_can_never_change_is_right_from_the_first_day() {
        let set = set(|_| {});
        assert_eq!(set.metadata.name.as_deref(), Some("c-0-r0"));
        assert_eq!(set.metadata.owner_references.expect("owned")[0].uid, "u");
        let spec = set.spec.expect("spec");
        assert_eq!(spec.service_name.as_deref(), Some("c-shards"));
        assert_eq!(spec.pod_management_policy.as_deref(), Some("Parallel"));
        assert_eq!(spec.update_strategy.and_then(|s| s.type_).as_deref(), Some("OnDelete"));
        let retention = spec.persistent_volume_claim_retention_policy.expect("policy");
        assert_eq!(
            (retention.when_deleted.as_deref(), retention.when_scaled.as_deref()),
            (Some("Retain"), Some("Retain"))
        );
        let selecting = spec.selector.match_labels.expect("labels");
        let template = spec.template.metadata.and_then(|m| m.labels).expect("labels");
        assert!(selecting.iter().all(|(key, value)| template.get(key) == Some(value)));
    }

    #[test]
    fn replicas_of_a_shard_have_sets_pods_and_disks_of_their_own() {
        let set = set_of(Replica { number: 7, replicated: true }, |_| {});
        assert_eq!(set.metadata.name.as_deref(), Some("c-0-r7"));
        let owner = set.metadata.owner_references.expect("owned").remove(0);
        assert_eq!(owner.uid, "uid-of-c", "they outlive the Shard");
        let spec = set.spec.expect("spec");
        let selecting = spec.selector.match_labels.expect("labels");
        assert_eq!(selecting.get(labels::REPLICA).map(String::as_str), Some("7"));
        let claim = spec.volume_claim_templates.expect("claims").remove(0);
        assert_eq!(meta::label(&claim, labels::REPLICA), Some("7"));
        assert_eq!(meta::annotation(&claim, labels::REPLICATED), Some("true"));
    }

    #[test]
    fn only_a_change_of_the_disk_makes_a_set_anew() {
        let seen = set(|_| {});
        assert!(!must_be_recreated(&set(|v| v.storage_size.0 = "10240Mi".into()), &seen));
        assert!(!must_be_recreated(
            &set(|v| v.pods.priority_class_name = Some("high".into())),
            &seen
        ));
        assert!(must_be_recreated(&set(|v| v.storage_size.0 = "11Gi".into()), &seen));
    }
}
