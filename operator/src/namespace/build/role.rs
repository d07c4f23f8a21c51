//! What a router may do: watch its namespace's collections, whose status holds the routing table, and shards, which name their
//! replicas; and, where allowed,
//! create, change and delete collections for `PUT` and `DELETE /collections/x` and `/collections/x/index`.
//!
//! Invariant: the operator itself holds every right it gives here, or the API server would refuse the Role.

use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::{ROUTER_ACCOUNT, metadata};
use crate::kubernetes::meta;

/// The Role.
pub fn role(namespace: &str, http_collections: bool) -> Role {
    let verbs: &[&str] = if http_collections {
        &["get", "list", "watch", "create", "patch", "delete"]
    } else {
        &["get", "list", "watch"]
    };
    let may = |resource: &str, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![shoal_crds::GROUP.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    Role {
        metadata: metadata(namespace, ROUTER_ACCOUNT, meta::ROUTER_COMPONENT),
        rules: Some(vec![
            may("vectorcollections", verbs),
            may("shards", &["get", "list", "watch"]),
        ]),
    }
}

/// The binding of the Role to the router's account.
pub fn binding(namespace: &str) -> RoleBinding {
    RoleBinding {
        metadata: metadata(namespace, ROUTER_ACCOUNT, meta::ROUTER_COMPONENT),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: ROUTER_ACCOUNT.into(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: ROUTER_ACCOUNT.into(),
            namespace: Some(namespace.to_owned()),
            api_group: None,
        }]),
    }
}
