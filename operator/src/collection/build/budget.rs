//! The PodDisruptionBudget of a shard.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use shoal_crds::Shard;

use super::super::validate::Valid;
use super::{owner_of_parts, shard_labels};
use crate::kubernetes::meta::{self, Labels};

/// The budget of a shard that has so many pods, those of replicas that are on their way out among them. Of several a majority
/// stays. A shard of one copy may be drained, and is away until its pod is back; forbidding it would leave nodes that can
/// never be drained.
pub fn build(valid: &Valid, shard: &Shard, pods: usize) -> PodDisruptionBudget {
    let name = shard.metadata.name.clone().unwrap_or_default();
    let selecting = shard_labels(valid, &name);
    let labels = meta::with_manager(selecting.clone());
    let metadata = meta::metadata(&name, &valid.namespace, labels, owner_of_parts(shard));
    if pods <= 1 {
        return one_at_a_time(metadata, selecting);
    }
    let majority = i32::try_from(pods / 2 + 1).unwrap_or(i32::MAX);
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(majority)),
            selector: Some(meta::selector(selecting)),
            // One that does not serve may be the one that the others wait for: it goes only while they are enough.
            unhealthy_pod_eviction_policy: Some("IfHealthyBudget".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::testing::collection;
    use crate::collection::validate::validate;

    #[test]
    fn of_several_pods_a_majority_stays() {
        let valid = validate(&collection("c")).expect("valid");
        let shard = Shard::new("c-0", shoal_crds::ShardSpec::default());
        let stay = |pods| {
            let spec = build(&valid, &shard, pods).spec.expect("spec");
            (spec.min_available, spec.max_unavailable)
        };
        let at_least = |pods| (Some(IntOrString::Int(pods)), None);
        assert_eq!(stay(1), (None, Some(IntOrString::Int(1))));
        assert_eq!([stay(3), stay(4), stay(5)], [at_least(2), at_least(3), at_least(3)]);
    }
}
