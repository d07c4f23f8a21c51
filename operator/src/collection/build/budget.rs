//! The PodDisruptionBudget of a shard.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use shoal_crds::Shard;

use super::super::validate::Valid;
use super::{owner, shard_labels};
use crate::kubernetes::meta::{self, Labels};

/// The budget of a shard: one pod at a time. A shard of one copy may thus be drained, and is away until its pod is
/// back; forbidding it would leave nodes that can never be drained.
pub fn build(valid: &Valid, shard: &Shard) -> PodDisruptionBudget {
    let name = shard.metadata.name.clone().unwrap_or_default();
    let selecting = shard_labels(valid, &name);
    let labels = meta::with_manager(selecting.clone());
    one_at_a_time(meta::metadata(&name, &valid.namespace, labels, owner(shard)), selecting)
}

/// A budget that lets one of the selected pods go at a time, and ones that do not serve at any time.
pub fn one_at_a_time(metadata: ObjectMeta, selecting: Labels) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(meta::selector(selecting)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
