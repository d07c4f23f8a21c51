//! The Job that moves a collection's replicas from lost nodes, and what it may do: read the collection's Shards, and change
//! which replicas they name. Pure.
//!
//! Which replicas those are it reads from the Shards, again and again: one that is ended anywhere goes on where it was.
//!
//! Invariant: account, Role and binding follow from the collection and its shards alone and never change, as the operator may
//! make them and not change them.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, ServiceAccount, Toleration};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use shoal_crds::collection::Routing;
use shoal_crds::{VectorCollection, labels};

use super::super::resources::defaulted;
use super::super::validate::Valid;
use super::owner;
use crate::kubernetes::meta;
use crate::pods;

/// Pods that may fail before the Job does. Each goes on where the last one was.
const RETRIES: i32 = 6;
/// How long an ended Job is there to be looked at, in seconds; one that gave up is made anew then.
const KEPT_SECONDS: i32 = 300;
/// How long the pod itself stays on a node that is lost, in seconds.
const ON_LOST_NODE_SECONDS: i64 = 30;
/// What the pod needs: it reads a few objects every other second.
const REQUESTS: &[(&str, &str)] = &[("cpu", "10m"), ("memory", "32Mi")];
/// The part of the data plane that the pod is.
pub const COMPONENT: &str = "rebalance";

/// What is to be moved.
pub struct Moves<'a> {
    /// As SHARD/REPLICA.
    pub replicas: &'a [String],
    /// Off these nodes.
    pub nodes: &'a [String],
}

/// The Job.
pub fn build(
    collection: &VectorCollection,
    valid: &Valid,
    routing: &Routing,
    image: &str,
    moves: &Moves<'_>,
) -> Job {
    let mut metadata = metadata(collection, valid, labels::rebalance_job(&valid.name));
    metadata.annotations = Some(meta::labels_of([
        (labels::MOVES, &moves.replicas.join(",")),
        (labels::MOVED_FROM, &moves.nodes.join(",")),
    ]));
    let mut arguments = vec!["rebalance".to_owned()];
    arguments.extend(routing.table.iter().map(|part| format!("--shard={}", part.shard)));
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(RETRIES),
            ttl_seconds_after_finished: Some(KEPT_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(meta::with_manager(meta::component(COMPONENT))),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(valid, image, arguments)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod(valid: &Valid, image: &str, arguments: Vec<String>) -> PodSpec {
    let leaves = |key: &str| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        toleration_seconds: Some(ON_LOST_NODE_SECONDS),
        value: None,
    };
    PodSpec {
        service_account_name: Some(labels::rebalance_account(&valid.name)),
        automount_service_account_token: Some(true),
        enable_service_links: Some(false),
        restart_policy: Some("Never".into()),
        security_context: Some(pods::pod_security()),
        tolerations: Some(vec![
            leaves("node.kubernetes.io/not-ready"),
            leaves("node.kubernetes.io/unreachable"),
        ]),
        priority_class_name: valid.pods.priority_class_name.clone(),
        containers: vec![Container {
            name: COMPONENT.into(),
            image: Some(image.to_owned()),
            args: Some(arguments),
            env: Some(pods::environment()),
            resources: Some(defaulted(REQUESTS)),
            security_context: Some(pods::container_security()),
            termination_message_policy: Some("FallbackToLogsOnError".into()),
            ..Container::default()
        }],
        ..PodSpec::default()
    }
}

/// Its account. Its token is mounted by the pod that asks for it, not by default.
pub fn account(collection: &VectorCollection, valid: &Valid) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(collection, valid, labels::rebalance_account(&valid.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// Its Role.
pub fn role(collection: &VectorCollection, valid: &Valid, routing: &Routing) -> Role {
    let shards = routing.table.iter().map(|part| part.shard.clone()).collect();
    Role {
        metadata: metadata(collection, valid, labels::rebalance_account(&valid.name)),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![shoal_crds::GROUP.to_owned()]),
            resources: Some(vec!["shards".to_owned()]),
            resource_names: Some(shards),
            verbs: vec!["get".to_owned(), "patch".to_owned()],
            ..PolicyRule::default()
        }]),
    }
}

/// The binding of the Role to the account.
pub fn binding(collection: &VectorCollection, valid: &Valid) -> RoleBinding {
    let name = labels::rebalance_account(&valid.name);
    RoleBinding {
        metadata: metadata(collection, valid, name.clone()),
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

fn metadata(collection: &VectorCollection, valid: &Valid, name: String) -> ObjectMeta {
    let mut own = meta::component(COMPONENT);
    own.insert(labels::COLLECTION.to_owned(), valid.name.clone());
    let owner: Option<OwnerReference> = owner(collection);
    meta::metadata(&name, &valid.namespace, meta::with_manager(own), owner)
}

#[cfg(test)]
mod tests {
    use shoal_crds::collection::ShardSlots;

    use super::*;
    use crate::collection::testing::collection;
    use crate::collection::validate::validate;

    fn routing() -> Routing {
        let part = |shard: &str| ShardSlots { shard: shard.into(), slots: "0-1".into() };
        Routing { generation: 1, table: vec![part("c-0"), part("c-1")] }
    }

    #[test]
    fn the_job_says_what_it_moves_and_its_pod_is_none_of_the_collections() {
        let made = collection("c");
        let valid = validate(&made).expect("valid");
        let moves = Moves { replicas: &["c-0/r1".into(), "c-1/r2".into()], nodes: &["n1".into()] };
        let job = build(&made, &valid, &routing(), "i", &moves);
        assert_eq!(job.metadata.name.as_deref(), Some("c-rebalance"));
        assert_eq!(meta::annotation(&job, labels::MOVES), Some("c-0/r1,c-1/r2"));
        assert_eq!(job.metadata.owner_references.as_ref().expect("owned")[0].uid, "uid-of-c");
        let spec = job.spec.expect("spec");
        assert!(spec.ttl_seconds_after_finished.is_some() && spec.backoff_limit.is_some());
        let labels = spec.template.metadata.and_then(|m| m.labels).expect("labels");
        assert!(!labels.contains_key(labels::COLLECTION), "a collection waits for its pods");
        let pod = spec.template.spec.expect("a pod");
        assert_eq!(pod.security_context, Some(pods::pod_security()));
        let container = &pod.containers[0];
        assert_eq!(container.security_context, Some(pods::container_security()));
        let arguments = container.args.clone().expect("arguments");
        assert_eq!(arguments, ["rebalance", "--shard=c-0", "--shard=c-1"]);
    }

    #[test]
    fn it_may_read_and_change_the_shards_of_its_collection_and_nothing_else() {
        let made = collection("c");
        let valid = validate(&made).expect("valid");
        let rules = role(&made, &valid, &routing()).rules.expect("rules");
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0].resources, Some(vec!["shards".to_owned()]));
        assert_eq!(rules[0].resource_names, Some(vec!["c-0".to_owned(), "c-1".to_owned()]));
        assert_eq!(rules[0].verbs, ["get", "patch"]);
        let subject = binding(&made, &valid).subjects.expect("subjects").remove(0);
        assert_eq!(Some(subject.name), account(&made, &valid).metadata.name);
    }
}
