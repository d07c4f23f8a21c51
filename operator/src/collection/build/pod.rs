//! The pod template of a shard.
//!
//! Invariant: it depends on what the user wrote and on the pinned image, never on the operator's version; the
//! annotation [`POD_INPUTS`](labels::POD_INPUTS) is the hash of exactly that, and a pod is replaced only when it changed.

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use shoal_crds::collection::{Quantization, ShardSlots, VectorSpec};
use shoal_crds::{defaults, labels};

use super::super::claims::VOLUME;
use super::super::validate::{Valid, distance_name, own_datatype};
use super::{collection_labels, replica_labels};
use crate::kubernetes::in_sync;
use crate::kubernetes::meta;
use crate::pods;

/// How long a shard may take to finish what is under way and close its files.
const GRACE_SECONDS: i64 = 60;
/// Who runs shard pods: an account without any rights, and without a token.
pub const SERVICE_ACCOUNT: &str = "shoal-shard";

/// The pod of a shard.
pub fn build(valid: &Valid, part: &ShardSlots, image: &str) -> PodTemplateSpec {
    let (token_volume, token_mount) = pods::token();
    let pods = &valid.pods;
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(meta::with_manager(replica_labels(valid, &part.shard))),
            annotations: Some(meta::labels_of([(labels::POD_INPUTS, &inputs(valid, image))])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(SERVICE_ACCOUNT.into()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(pods::pod_security()),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            containers: vec![container(valid, part, image, token_mount)],
            volumes: Some(vec![token_volume]),
            topology_spread_constraints: Some(pods::spread(&collection_labels(valid))),
            node_selector: pods.node_selector.clone(),
            tolerations: pods.tolerations.clone(),
            affinity: pods.affinity.clone(),
            priority_class_name: pods.priority_class_name.clone(),
            ..PodSpec::default()
        }),
    }
}

fn container(valid: &Valid, part: &ShardSlots, image: &str, token_mount: VolumeMount) -> Container {
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
        env: Some(pods::environment()),
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
fn inputs(valid: &Valid, image: &str) -> String {
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
    in_sync::hash_text(&inputs.to_string())
}

#[cfg(test)]
mod tests {
    use shoal_crds::collection::Datatype;

    use super::*;
    use crate::collection::testing::collection;
    use crate::collection::validate::validate;

    fn valid() -> Valid {
        validate(&collection("c")).expect("valid")
    }

    fn part() -> ShardSlots {
        ShardSlots { shard: "c-0".into(), slots: "0-16383".into() }
    }

    fn inputs_of(template: &PodTemplateSpec) -> Option<&String> {
        template
            .metadata
            .as_ref()
            .and_then(|m| m.annotations.as_ref())
            .and_then(|a| a.get(labels::POD_INPUTS))
    }

    #[test]
    fn the_pod_is_restricted_and_has_no_token_of_the_api_server() {
        let spec = build(&valid(), &part(), "i").spec.expect("spec");
        assert_eq!(spec.automount_service_account_token, Some(false));
        let security = spec.security_context.expect("security");
        assert_eq!((security.run_as_non_root, security.run_as_user), (Some(true), Some(65_532)));
        assert_eq!(security.seccomp_profile.map(|s| s.type_), Some("RuntimeDefault".into()));
        for container in spec.containers {
            let security = container.security_context.expect("security");
            assert_eq!(security.allow_privilege_escalation, Some(false));
            assert_eq!(security.read_only_root_filesystem, Some(true));
            assert_eq!(security.capabilities.and_then(|c| c.drop), Some(vec!["ALL".to_owned()]));
        }
    }

    #[test]
    fn inputs_change_with_what_the_user_writes_and_not_with_the_disk() {
        let base = build(&valid(), &part(), "i");
        let mut grown = valid();
        grown.storage_size.0 = "99Gi".into();
        assert_eq!(inputs_of(&build(&grown, &part(), "i")), inputs_of(&base));
        assert_ne!(inputs_of(&build(&valid(), &part(), "j")), inputs_of(&base));
        let mut tuned = valid();
        tuned.vectors[0].index =
            Some(shoal_crds::collection::Index { ef: Some(99), ef_construct: None });
        assert_ne!(inputs_of(&build(&tuned, &part(), "i")), inputs_of(&base));
        let mut quantised = valid();
        quantised.vectors[0].quantization = Some(Quantization::Bits4);
        assert_eq!(inputs_of(&build(&quantised, &part(), "i")), inputs_of(&base), "the default");
        quantised.vectors[0].quantization = Some(Quantization::None);
        assert_ne!(inputs_of(&build(&quantised, &part(), "i")), inputs_of(&base));
    }

    #[test]
    fn a_name_that_begins_with_a_dash_is_not_taken_for_a_flag() {
        let odd = Valid { client_name: "--ef".into(), ..valid() };
        assert!(arguments(&odd, &part()).contains(&"--collection=--ef".to_owned()));
    }

    #[test]
    fn vectors_are_told_as_the_shard_reads_them() {
        assert_eq!(vectors(&valid()), r#"[{"distance":"Cosine","name":"","size":4}]"#);
    }

    #[test]
    fn sparse_vectors_are_told_where_there_are_some() {
        let flag = "--sparse-vectors".to_owned();
        assert!(!arguments(&valid(), &part()).contains(&flag));
        let words = Valid { sparse_vectors: vec!["words".into()], ..valid() };
        let told = [flag, r#"[{"name":"words"}]"#.to_owned()];
        assert!(arguments(&words, &part()).windows(2).any(|pair| pair == told));
    }

    #[test]
    fn a_datatype_is_told_where_it_is_not_the_default() {
        let mut own = valid();
        own.vectors[0].datatype = Some(Datatype::Float32);
        assert_eq!(arguments(&own, &part()), arguments(&valid(), &part()));
        own.vectors[0].datatype = Some(Datatype::Float16);
        let told = r#"[{"datatype":"Float16","distance":"Cosine","name":"","size":4}]"#;
        assert!(
            arguments(&own, &part()).contains(&told.to_owned()),
            "{:?}",
            arguments(&own, &part())
        );
    }

    #[test]
    fn quantization_is_told_where_it_is_not_the_default() {
        assert!(!arguments(&valid(), &part()).contains(&"--quantization".to_owned()));
        let mut own = valid();
        own.vectors[0].quantization = Some(Quantization::Int8);
        let told = ["--quantization".to_owned(), "Int8".to_owned()];
        assert!(arguments(&own, &part()).windows(2).any(|pair| pair == told));
        own.vectors.push(VectorSpec { name: "title".into(), size: 2, ..VectorSpec::default() });
        let told = r#"[{"ef":64,"efConstruct":100,"name":"","quantization":"Int8"},{"ef":64,"efConstruct":100,"name":"title"}]"#;
        assert!(arguments(&own, &part()).contains(&told.to_owned()), "the other has the default");
    }

    #[test]
    fn the_tuning_of_each_vector_is_told_where_there_are_several() {
        assert!(!arguments(&valid(), &part()).contains(&"--tuning".to_owned()));
        let mut several = valid();
        several.vectors.push(VectorSpec {
            name: "title".into(),
            size: 2,
            index: Some(shoal_crds::collection::Index { ef: Some(9), ef_construct: None }),
            ..VectorSpec::default()
        });
        let told =
            r#"[{"ef":64,"efConstruct":100,"name":""},{"ef":9,"efConstruct":100,"name":"title"}]"#;
        let arguments = arguments(&several, &part());
        let at = arguments.iter().position(|argument| argument == "--tuning").expect("told");
        assert_eq!(arguments.get(at + 1).map(String::as_str), Some(told));
    }
}
