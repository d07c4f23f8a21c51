//! What the pods of a shard's replicas may do: see their own Shard, and write its status, where their register stands.
//!
//! Each shard has an account of its own, as a Role of one account for all would let a replica lead a shard of others.
//!
//! Invariants: the operator itself holds every right it gives here, or the API server would refuse the Role. All of it
//! follows from the shard's name alone and never changes: so the operator makes them, and needs no right to change accounts
//! and Roles of names that users choose.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use shoal_crds::{Shard, labels};

use super::super::validate::Valid;
use super::{owner_of_parts, shard_labels};
use crate::kubernetes::meta;

/// The account of a shard's replicas. Its token is mounted by the pods that ask for it, not by default.
pub fn account(valid: &Valid, shard: &Shard) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(valid, shard),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// Its Role.
pub fn role(valid: &Valid, shard: &Shard) -> Role {
    let own = |resource: &str, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![shoal_crds::GROUP.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: Some(vec![shard.name_any()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    Role {
        metadata: metadata(valid, shard),
        rules: Some(vec![
            own("shards", &["get", "list", "watch"]),
            own("shards/status", &["get", "update", "patch"]),
        ]),
    }
}

/// The binding of the Role to the account.
pub fn binding(valid: &Valid, shard: &Shard) -> RoleBinding {
    let name = labels::shard_account(&shard.name_any());
    RoleBinding {
        metadata: metadata(valid, shard),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: name.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name,
            namespace: Some(valid.namespace.clone()),
            api_group: None,
        }]),
    }
}

fn metadata(valid: &Valid, shard: &Shard) -> ObjectMeta {
    let name = shard.name_any();
    let labels = meta::with_manager(shard_labels(valid, &name));
    meta::metadata(&labels::shard_account(&name), &valid.namespace, labels, owner_of_parts(shard))
}
