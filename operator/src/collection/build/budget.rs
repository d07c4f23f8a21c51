//! The PodDisruptionBudget of a shard.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use shoal_crds::Shard;

use super::super::validate::Valid;
use super::{owner_of_parts, shard_labels};
use crate::kubernetes::meta::{self, Labels};

/// The budget of a shard that has so many pods, those of replicas that are on their way out among them. Of several one goes at a
/// time, and none while one that votes has not caught up: that takes longer than for its pod to be ready. A shard of one copy may be drained, and is away until its pod is back; forbidding it would leave nodes that can
/// never be drained.
pub fn build(valid: &Valid, shard: &Shard, pods: usize, caught_up: bool) -> PodDisruptionBudget {
    let name = shard.metadata.name.clone().unwrap_or_default();
    let selecting = shard_labels(valid, &name);
    let labels = meta::with_manager(selecting.clone());
    let metadata = meta::metadata(&name, &valid.namespace, labels, owner_of_parts(shard));
    if pods <= 1 {
        return one_at_a_time(metadata, selecting);
    }
    let staying = i32::try_from(pods - usize::from(caught_up)).unwrap_or(i32::MAX);
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(staying)),
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
    fn of_several_pods_one_goes_at_a_time_and_none_while_one_is_behind() {
        let valid = validate(&collection("c")).expect("valid");
        let shard = Shard::new("c-0", shoal_crds::ShardSpec::default());
        let stays = |pods, caught_up| {
            let spec = build(&valid, &shard, pods, caught_up).spec.expect("spec");
            (spec.min_available, spec.max_unavailable)
        };
        let stay = |pods| stays(pods, true);
        let at_least = |pods| (Some(IntOrString::Int(pods)), None);
        assert_eq!(stay(1), (None, Some(IntOrString::Int(1))));
        assert_eq!([stay(3), stay(4), stay(5)], [at_least(2), at_least(3), at_least(4)]);
        assert_eq!([stays(3, false), stays(5, false)], [at_least(3), at_least(5)]);
        assert_eq!(stays(1, false), stay(1));
    }
}
