//! The rights the operator needs, and why. The chart's roles are compared with this list.
//!
//! Secrets: the operator may create Secrets (RBAC cannot limit creation to a name), watch two names, and read one, the
//! token it shows shards. It can change or delete none. It reads no other Secret of the cluster.
//!
//! Invariant: the operator holds every right it gives routers (`vectorcollections`) and replicas (`shards`), or the API
//! server would refuse their Roles; it never needs `escalate` or `bind`.

use shoal_crds::labels;

use crate::collection::build::pod::SERVICE_ACCOUNT as SHARD_ACCOUNT;
use crate::namespace::build::{REBALANCE_POLICY, REPLICAS_POLICY, ROUTER_ACCOUNT, SHARDS_POLICY};

/// A rule of a ClusterRole or Role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// API group; "" is the core group.
    pub group: &'static str,
    /// Resources.
    pub resources: &'static [&'static str],
    /// Names the rule is limited to; empty for all.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

const fn rule(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { group, resources, names: &[], verbs }
}

const fn named(
    group: &'static str,
    resources: &'static [&'static str],
    names: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { group, resources, names, verbs }
}

/// What the operator looks after whole, and whose names users choose.
const OWN: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
/// Of what it looks after under names of its own: making it, which RBAC cannot limit to a name, and seeing it in all
/// namespaces.
const MAKE: &[&str] = &["list", "watch", "create"];
/// And changing it, by those names.
const KEEP: &[&str] = &["get", "patch", "delete"];

/// The policies of a namespace.
const POLICIES: &[&str] = &[ROUTER_ACCOUNT, SHARDS_POLICY, REPLICAS_POLICY, REBALANCE_POLICY];

/// Rights in all namespaces that hold collections: a ClusterRole.
pub const CLUSTER: &[Rule] = &[
    // Users' objects: patched for the finalizer alone. `create` and `delete` are held to be given to routers.
    rule("shoal.dev", &["vectorcollections"], OWN),
    rule("shoal.dev", &["vectorcollections/status"], &["patch"]),
    // `get` and `update` are held to be given to replicas, whose register stands there.
    rule("shoal.dev", &["shards/status"], &["get", "update", "patch"]),
    // Owners that block deletion are only accepted from who may set their finalizers. Collections own Shards, and one or the
    // other all the rest; what a StatefulSet owns is made by others.
    rule("shoal.dev", &["vectorcollections/finalizers", "shards/finalizers"], &["update"]),
    rule("shoal.dev", &["shards"], OWN),
    rule("apps", &["statefulsets"], OWN),
    rule("", &["services"], OWN),
    rule("policy", &["poddisruptionbudgets"], OWN),
    // A namespace's router and what goes with it. Nobody else's Deployment, account, policy or Role can be changed: accounts
    // and Roles of replicas, whose names follow from users', are made and never change.
    rule("apps", &["deployments"], MAKE),
    named("apps", &["deployments"], &[labels::ROUTER], KEEP),
    rule("", &["serviceaccounts"], MAKE),
    named("", &["serviceaccounts"], &[ROUTER_ACCOUNT, SHARD_ACCOUNT], KEEP),
    rule("networking.k8s.io", &["networkpolicies"], MAKE),
    named("networking.k8s.io", &["networkpolicies"], POLICIES, KEEP),
    rule("rbac.authorization.k8s.io", &["rolebindings", "roles"], MAKE),
    named("rbac.authorization.k8s.io", &["rolebindings", "roles"], &[ROUTER_ACCOUNT], KEEP),
    // Disks are made by the StatefulSets; the operator grows and, with deletionPolicy Delete, deletes them.
    rule("", &["persistentvolumeclaims"], &["get", "list", "watch", "patch", "delete"]),
    // Pods are made by the StatefulSets; one is deleted so that a change reaches it.
    rule("", &["pods"], &["list", "watch", "delete"]),
    rule("", &["namespaces"], &["list", "watch"]),
    // Whether nodes are ready, for the replicas on those that are not. The Job that moves them is made and deleted.
    rule("", &["nodes"], &["get", "list", "watch"]),
    rule("batch", &["jobs"], &["list", "watch", "create", "delete"]),
    rule("", &["secrets"], &["create"]),
    named(
        "",
        &["secrets"],
        &[labels::API_KEY_SECRET, labels::INTERNAL_TOKEN_SECRET],
        &["list", "watch"],
    ),
    named("", &["secrets"], &[labels::INTERNAL_TOKEN_SECRET], &["get"]),
    rule("events.k8s.io", &["events"], &["create", "patch"]),
];

/// Rights in the operator's own namespace: a Role.
pub const OWN_NAMESPACE: &[Rule] = &[
    rule("coordination.k8s.io", &["leases"], &["create"]),
    named("coordination.k8s.io", &["leases"], &[crate::leader::LEASE], &["get", "update"]),
];

#[cfg(test)]
mod tests {
    use shoal_crds::collection::Routing;
    use shoal_crds::{Shard, ShardSpec};

    use super::*;
    use crate::collection::build::{job, rights};
    use crate::collection::testing::collection;
    use crate::collection::validate;
    use crate::namespace::build::role;

    #[test]
    fn the_operator_holds_what_it_gives_routers_and_replicas() {
        let valid = validate::validate(&collection("c")).expect("valid");
        let replicas = rights::role(&valid, &Shard::new("c-0", ShardSpec::default()));
        let moves = job::role(&collection("c"), &valid, &Routing::default());
        let given =
            [role::role("ns", true), replicas, moves].into_iter().flat_map(|role| role.rules);
        for given in given.flatten() {
            for verb in &given.verbs {
                let resource = given.resources.as_ref().expect("resources")[0].as_str();
                let holds = CLUSTER.iter().any(|rule| {
                    rule.group == shoal_crds::GROUP
                        && rule.resources.contains(&resource)
                        && rule.verbs.contains(&verb.as_str())
                });
                assert!(holds, "{verb} {resource}");
            }
        }
    }

    #[test]
    fn what_has_a_name_of_ours_is_changed_under_no_other() {
        let kinds = [
            "deployments",
            "serviceaccounts",
            "networkpolicies",
            "roles",
            "rolebindings",
            "leases",
        ];
        for rule in [CLUSTER, OWN_NAMESPACE].concat() {
            let ours = rule.resources.iter().any(|resource| kinds.contains(resource));
            let changes = rule.verbs.iter().any(|verb| !MAKE.contains(verb));
            assert!(!ours || !changes || !rule.names.is_empty(), "{rule:?}");
        }
    }

    #[test]
    fn no_secret_but_the_two_can_be_read_and_none_changed() {
        let all = [CLUSTER, OWN_NAMESPACE].concat();
        for rule in all.iter().filter(|rule| rule.resources.contains(&"secrets")) {
            for verb in rule.verbs {
                assert!(*verb == "create" || !rule.names.is_empty(), "{verb} on every Secret");
                assert!(["create", "get", "list", "watch"].contains(verb), "{verb}");
            }
        }
        assert!(
            all.iter().all(|rule| !rule.resources.contains(&"*") && !rule.verbs.contains(&"*"))
        );
    }
}
