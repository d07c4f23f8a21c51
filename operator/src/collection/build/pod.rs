//! The pod template of a shard.
//!
//! Invariant: it depends on what the user wrote and on the pinned image, never on the operator's version; the
//! annotation [`POD_INPUTS`](labels::POD_INPUTS) is the hash of exactly that, and a pod is replaced only when it changed.

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use shoal_crds::collection::{Acks, Quantization, ShardSlots, VectorSpec};
use shoal_crds::{defaults, labels};

use super::super::claims::VOLUME;
use super::super::validate::{Valid, distance_name, own_datatype};
use super::{Replica, collection_labels, replica_labels, shard_labels};
use crate::kubernetes::in_sync;
use crate::kubernetes::meta;
use crate::pods;

/// How long a shard may take to finish what is under way and close its files.
const GRACE_SECONDS: i64 = 60;
/// Who runs the pods of shards of one copy: an account without any rights, and without a token.
pub const SERVICE_ACCOUNT: &str = "shoal-shard";

/// The pod of a shard's replica. One of several talks to the others, and to the API server about their register.
pub fn build(valid: &Valid, part: &ShardSlots, image: &str, replica: Replica) -> PodTemplateSpec {
    let (token_volume, token_mount) = pods::token();
    let pods = &valid.pods;
    let mut own_labels = meta::with_manager(replica_labels(valid, &part.shard, replica.number));
    let (account, apart) = if replica.replicated {
        own_labels.insert(labels::REPLICATED.to_owned(), "true".to_owned());
        (labels::shard_account(&part.shard), shard_labels(valid, &part.shard))
    } else {
        (SERVICE_ACCOUNT.to_owned(), collection_labels(valid))
    };
    let inputs = inputs(valid, image, replica);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(own_labels),
            annotations: Some(meta::labels_of([(labels::POD_INPUTS, &inputs)])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(account),
            automount_service_account_token: Some(replica.replicated),
            enable_service_links: Some(false),
            security_context: Some(pods::pod_security()),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            containers: vec![container(valid, part, image, replica, token_mount)],
            volumes: Some(vec![token_volume]),
            topology_spread_constraints: Some(pods::spread(&apart)),
            node_selector: pods.node_selector.clone(),
            tolerations: pods.tolerations.clone(),
            affinity: pods.affinity.clone(),
            priority_class_name: pods.priority_class_name.clone(),
            ..PodSpec::default()
        }),
    }
}

fn container(
    valid: &Valid,
    part: &ShardSlots,
    image: &str,
    replica: Replica,
    token_mount: VolumeMount,
) -> Container {
    let probes = pods::probes();
    let data = VolumeMount {
        name: VOLUME.into(),
        mount_path: labels::DATA_DIR.into(),
        ..VolumeMount::default()
    };
    Container {
        name: "shard".into(),
        image: Some(image.to_owned()),
        // Why a disk was refused stands in the pod's status, where `kubectl describe` shows it.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        args: Some(arguments(valid, part)),
        env: Some(environment(valid, part, replica)),
        ports: Some(vec![
            pods::port("grpc", labels::GRPC_PORT),
            pods::port("admin", labels::ADMIN_PORT),
        ]),
        resources: Some(valid.pods.resources.clone()),
        security_context: Some(pods::container_security()),
        startup_probe: Some(probes.startup),
        liveness_probe: Some(probes.liveness),
        readiness_probe: Some(probes.readiness),
        volume_mounts: Some(vec![data, token_mount]),
        ..Container::default()
    }
}

/// What a replica of several has to know besides what a lone shard does. Who the others are it reads from the Shard.
fn environment(valid: &Valid, part: &ShardSlots, replica: Replica) -> Vec<EnvVar> {
    let mut environment = pods::environment();
    if replica.replicated {
        let host = labels::replica_host(&valid.name, &part.shard, replica.number, &valid.namespace);
        let own = [
            ("SHOAL_REPLICA", labels::replica(replica.number)),
            ("SHOAL_REGISTER", "shard-object".to_owned()),
            ("SHOAL_ADVERTISE", format!("{host}:{}", labels::GRPC_PORT)),
            ("SHOAL_FAILOVER_BUDGET", budget(valid)),
            ("SHOAL_ACKS", acks(valid).to_owned()),
        ];
        let sla = sla(valid).map(|sla| ("SHOAL_VISIBILITY_SLA", sla));
        environment.extend(own.into_iter().chain(sla).map(|(name, value)| EnvVar {
            name: name.into(),
            value: Some(value),
            value_from: None,
        }));
    }
    environment
}

/// The failover budget as the data plane reads it, however the user wrote it.
fn budget(valid: &Valid) -> String {
    format!("{}ms", valid.failover_budget.as_millis())
}

/// Within what time replicas are to show what was acknowledged, as the data plane reads it. The default is not told, so that an
/// operator that learned of it restarts no pod.
fn sla(valid: &Valid) -> Option<String> {
    valid.visibility_sla.map(|sla| format!("{}ms", sla.as_millis()))
}

/// When a write is answered, as the data plane reads it.
fn acks(valid: &Valid) -> &'static str {
    match valid.acks {
        Acks::Quorum => "quorum",
        Acks::Primary => "primary",
    }
}

fn arguments(valid: &Valid, part: &ShardSlots) -> Vec<String> {
    let tuning = valid.vectors.first();
    let ef_construct = tuning.map_or(defaults::EF_CONSTRUCT, VectorSpec::ef_construct);
    let ef = tuning.map_or(defaults::EF, VectorSpec::ef);
    let mut arguments: Vec<String> = vec!["shard".into()];
    for (flag, value) in [
        ("--data", labels::DATA_DIR.to_owned()),
        ("--listen", format!("[::]:{}", labels::GRPC_PORT)),
        ("--admin-listen", format!("[::]:{}", labels::ADMIN_PORT)),
        ("--vectors", vectors(valid)),
        ("--ef-construct", ef_construct.to_string()),
        ("--ef", ef.to_string()),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    // The default is not told, so that an operator that learns of an option restarts no pod.
    if let Some(own) = tuning.and_then(own_quantization) {
        arguments.extend(["--quantization".to_owned(), own.to_owned()]);
    }
    if valid.vectors.len() > 1 {
        arguments.extend(["--tuning".to_owned(), tuning_of_each(valid)]);
    }
    if !valid.sparse_vectors.is_empty() {
        let each = valid.sparse_vectors.iter().map(|name| json!({"name": name}));
        let list: Vec<_> = each.collect();
        arguments.extend(["--sparse-vectors".to_owned(), json!(list).to_string()]);
    }
    // One word each: a name may begin with a dash.
    arguments.push(format!("--collection={}", valid.client_name));
    arguments.push(format!("--shard={}", part.shard));
    arguments.extend(pods::token_args());
    arguments
}

/// The vectors as the shard's command line has them.
fn vectors(valid: &Valid) -> String {
    let vectors = valid.vectors.iter();
    let list: Vec<_> = vectors
        .map(|v| {
            let mut told =
                json!({"distance": distance_name(v.distance), "name": v.name, "size": v.size});
            if let Some(own) = own_datatype(v) {
                told["datatype"] = json!(own);
            }
            told
        })
        .collect();
    json!(list).to_string()
}

/// The vectors' tunings as the shard's command line has them.
fn tuning_of_each(valid: &Valid) -> String {
    let each = valid.vectors.iter();
    let list: Vec<_> = each
        .map(|v| {
            let mut told = json!({"ef": v.ef(), "efConstruct": v.ef_construct(), "name": v.name});
            if let Some(own) = own_quantization(v) {
                told["quantization"] = json!(own);
            }
            told
        })
        .collect();
    json!(list).to_string()
}

/// A vector's quantization as the shard's command line has it, where it is not the default.
fn own_quantization(vector: &VectorSpec) -> Option<&'static str> {
    match vector.quantization() {
        Quantization::Bits4 => None,
        Quantization::Int8 => Some("Int8"),
        Quantization::None => Some("None"),
    }
}

/// Hash of what a user can change about a running pod.
fn inputs(valid: &Valid, image: &str, replica: Replica) -> String {
    let tuning: Vec<_> = valid.vectors.iter().map(|v| (v.ef_construct(), v.ef())).collect();
    let pods = &valid.pods;
    let mut inputs = json!({
        "image": image,
        "tuning": tuning,
        "resources": pods.resources,
        "nodeSelector": pods.node_selector,
        "tolerations": pods.tolerations,
        "affinity": pods.affinity,
        "priorityClassName": pods.priority_class_name,
    });
    let quantization: Vec<_> = valid.vectors.iter().map(own_quantization).collect();
    // As it was before there was the option, where it is not used.
    if quantization.iter().any(Option::is_some) {
        inputs["quantization"] = json!(quantization);
    }
    if replica.replicated {
        inputs["replication"] = json!({"acks": acks(valid), "failoverBudget": budget(valid)});
        if let Some(sla) = sla(valid) {
            inputs["replication"]["visibilitySla"] = json!(sla);
        }
    }
    in_sync::hash_text(&inputs.to_string())
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
