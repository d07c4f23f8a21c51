//! What every pod of the data plane has in common: the restricted security profile, probes, spreading, the token.
//!
//! Invariant: pods pass the `restricted` Pod Security Standard, and their liveness depends on no other process.

use k8s_openapi::api::core::v1::{
    Capabilities, ContainerPort, EnvVar, HTTPGetAction, KeyToPath, PodSecurityContext, Probe,
    SeccompProfile, SecretVolumeSource, SecurityContext, Toleration, TopologySpreadConstraint,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use shoal_crds::labels;

use crate::kubernetes::meta::{self, Labels};

/// User and group the data plane runs as: the conventional `nonroot`.
const NONROOT: i64 = 65_532;
/// How long a pod that can run anywhere stays on a node that is lost.
const LOST_SECONDS: i64 = 30;
/// Where the token is mounted.
const TOKEN_DIR: &str = "/etc/shoal/internal";
/// Name of the token's volume.
const TOKEN_VOLUME: &str = "internal-token";

/// Security of a pod.
pub fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NONROOT),
        run_as_group: Some(NONROOT),
        fs_group: Some(NONROOT),
        // A disk with millions of files would otherwise be walked at each start.
        fs_group_change_policy: Some("OnRootMismatch".into()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".into(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

/// Security of a container.
pub fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        ..SecurityContext::default()
    }
}

/// The probes of a container.
pub struct Probes {
    /// Until it passes, the others wait.
    pub startup: Probe,
    /// The process is alive; asks nothing of anyone else.
    pub liveness: Probe,
    /// The process serves.
    pub readiness: Probe,
}

/// Probes on the admin port. `/livez` answers from the first moment, also while a shard recovers, so that recovery may
/// take as long as it needs; only a process that never comes up, or hangs, is restarted.
pub fn probes() -> Probes {
    let probe = |path: &str, period, failures| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".into()),
            scheme: Some("HTTP".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    };
    Probes {
        startup: probe("/livez", 1, 120),
        liveness: probe("/livez", 10, 6),
        readiness: probe("/readyz", 2, 3),
    }
}

/// A port of a container.
pub fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

/// Spreads pods over zones and nodes where that is possible: a pod that cannot be spread still runs.
pub fn spread(selecting: &Labels) -> Vec<TopologySpreadConstraint> {
    let over = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(meta::selector(selecting.clone())),
        ..TopologySpreadConstraint::default()
    };
    vec![over("topology.kubernetes.io/zone"), over("kubernetes.io/hostname")]
}

/// Has a pod without a disk leave a node that is lost sooner than the five minutes that Kubernetes waits by itself.
pub fn leaves_lost_nodes() -> Vec<Toleration> {
    let from = |key: &str| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        toleration_seconds: Some(LOST_SECONDS),
        ..Toleration::default()
    };
    vec![from("node.kubernetes.io/not-ready"), from("node.kubernetes.io/unreachable")]
}

/// The namespace's token as a volume, and where it is mounted.
pub fn token() -> (Volume, VolumeMount) {
    secret_volume(TOKEN_VOLUME, labels::INTERNAL_TOKEN_SECRET, labels::INTERNAL_TOKEN, TOKEN_DIR)
}

/// The argument that names the token's file.
pub fn token_args() -> [String; 2] {
    ["--token-file".into(), format!("{TOKEN_DIR}/{}", labels::INTERNAL_TOKEN)]
}

/// One key of a Secret as a volume, readable by the pod's group alone, and where it is mounted.
pub fn secret_volume(
    volume: &str,
    secret: &str,
    key: &str,
    directory: &str,
) -> (Volume, VolumeMount) {
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        items: Some(vec![KeyToPath { key: key.to_owned(), path: key.to_owned(), mode: None }]),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    let mount = VolumeMount {
        name: volume.to_owned(),
        mount_path: directory.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    (Volume { name: volume.to_owned(), secret: Some(source), ..Volume::default() }, mount)
}

/// Environment of every container: logs as JSON.
pub fn environment() -> Vec<EnvVar> {
    vec![EnvVar { name: "SHOAL_LOG_FORMAT".into(), value: Some("json".into()), value_from: None }]
}
