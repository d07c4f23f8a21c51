//! How a shard's pod is, and which pod to replace next. Pure.
//!
//! Sets are OnDelete: a changed template reaches a pod only when its pod is deleted, which is done here, one at a time.
//!
//! Invariant: a pod that serves is taken down only while every other pod of its collection serves, and only because
//! what the user asks of it changed; never because the operator did.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use shoal_crds::labels;

use crate::kubernetes::meta;

/// Label by which a StatefulSet marks the revision a pod was made from.
const REVISION: &str = "controller-revision-hash";

/// Name of the only pod of a StatefulSet.
pub fn pod_name(stateful_set: &str) -> String {
    format!("{stateful_set}-0")
}

/// Whether a pod serves.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions =
        pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// Why a pod does not serve, in a word or two that stay the same while the trouble does.
pub fn trouble(stateful_set: &str, pod: Option<&Pod>) -> String {
    let Some(pod) = pod else {
        // A quota or an admission rule may keep the set from making it: only the set's events say so.
        return format!(
            "the pod does not exist yet: see kubectl describe statefulset {stateful_set}"
        );
    };
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        return format!("pod {name} is being replaced");
    }
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    if let Some(condition) =
        conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")
    {
        let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
        return format!("pod {name} has no node ({reason}): see kubectl describe pod {name}");
    }
    let containers = status.container_statuses.unwrap_or_default();
    let waiting =
        containers.iter().filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.clone()).next();
    // The kubelet goes to and fro between trying and backing off; each pair is one trouble, told in one way.
    match waiting.as_deref() {
        Some("ErrImagePull" | "ImagePullBackOff") => {
            format!(
                "pod {name} cannot get its image (ImagePullBackOff): see kubectl describe pod {name}"
            )
        }
        _ if containers.iter().any(|container| container.restart_count > 0) => {
            format!(
                "pod {name} keeps ending or has not come back: see kubectl logs --previous {name}"
            )
        }
        None | Some("ContainerCreating" | "PodInitializing") => {
            format!("pod {name} is starting")
        }
        Some(reason) => {
            format!("pod {name} cannot start ({reason}): see kubectl describe pod {name}")
        }
    }
}

/// A replica's set, and its pod.
#[derive(Clone, Copy, Debug)]
pub struct Replica<'a> {
    /// Its StatefulSet, as applied.
    pub set: &'a StatefulSet,
    /// Its pod.
    pub pod: Option<&'a Pod>,
    /// Whether nobody is known to lead its shard, although replicas are to agree who does.
    pub in_election: bool,
    /// What it lacks of what the others have, where it is one of several and not known to have it.
    pub lacks: Option<&'a str>,
}

/// The pod to delete now so that what the user asks reaches it, if there is one and nothing is under way: the first in the
/// order given, in which a primary comes after the others of its shard.
pub fn next_to_replace<'a>(replicas: &[Replica<'a>]) -> Option<&'a Pod> {
    let outdated = || {
        replicas.iter().filter(|replica| can_be_replaced(replica)).filter_map(|replica| replica.pod)
    };
    let steady = replicas
        .iter()
        .all(|replica| replica.pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none()));
    if !steady {
        return None;
    }
    // One that does not serve goes first: it costs nobody anything, and with a bad image may be why we are here.
    if let Some(broken) = outdated().find(|pod| !is_ready(pod)) {
        return Some(broken);
    }
    let all_serve = replicas.iter().all(|replica| awaited(replica).is_none());
    // The order holds also while the controller of StatefulSets has seen only some of the new templates.
    let first = replicas.iter().find(|replica| is_outdated(replica))?;
    first.pod.filter(|_| all_serve && can_be_replaced(first))
}

/// Why nothing else is taken down because of a replica.
fn awaited(replica: &Replica<'_>) -> Option<String> {
    let set = replica.set.name_any();
    match (replica.pod, replica.lacks) {
        (Some(pod), _) if !is_ready(pod) => Some(trouble(&set, Some(pod))),
        (None, _) => Some(trouble(&set, None)),
        (Some(_), _) if replica.in_election => {
            Some(format!("the shard of replica {set} has no primary yet"))
        }
        (Some(_), lacks) => lacks.map(|lacks| format!("replica {set} {lacks}")),
    }
}

/// What replacing pods waits for, if it does.
pub fn waits_for(replicas: &[Replica<'_>]) -> Option<String> {
    replicas.iter().find_map(awaited)
}

/// Whether any pod waits to be replaced.
pub fn any_outdated(replicas: &[Replica<'_>]) -> bool {
    replicas.iter().any(is_outdated)
}

/// Whether a pod is not what the user asks, by what it was made for, whether or not the controller of StatefulSets has
/// seen the new template: from the write of the template on, there is work left.
pub fn is_outdated(replica: &Replica<'_>) -> bool {
    let Some(pod) = replica.pod else { return false };
    let template = replica.set.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let wanted =
        template.and_then(|m| m.annotations.as_ref()).and_then(|a| a.get(labels::POD_INPUTS));
    let differs = meta::annotation(pod, labels::POD_INPUTS) != wanted.map(String::as_str);
    // One made from the newest revision is current whatever someone wrote into its annotations.
    differs && newest_revision(replica.set).is_none_or(|newest| !is_of_revision(pod, newest))
}

/// Whether deleting a pod brings one as the user asks: it is outdated, and the controller of StatefulSets makes pods from
/// another revision by now.
fn can_be_replaced(replica: &Replica<'_>) -> bool {
    is_outdated(replica) && newest_revision(replica.set).is_some()
}

/// The revision of a set's template, once the controller of StatefulSets has seen that.
fn newest_revision(set: &StatefulSet) -> Option<&str> {
    let status = set.status.as_ref()?;
    let seen = status.observed_generation >= set.metadata.generation;
    status.update_revision.as_deref().filter(|_| seen)
}

fn is_of_revision(pod: &Pod, revision: &str) -> bool {
    meta::label(pod, REVISION) == Some(revision)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{StatefulSetSpec, StatefulSetStatus};
    use k8s_openapi::api::core::v1::{
        ContainerState, ContainerStateWaiting, ContainerStatus, PodCondition, PodStatus,
    };
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn trouble(pod: Option<&Pod>) -> String {
        super::trouble("set", pod)
    }

    fn set(inputs: &str) -> StatefulSet {
        let mut spec = StatefulSetSpec::default();
        spec.template.metadata.get_or_insert_default().annotations =
            Some(meta::labels_of([(labels::POD_INPUTS, inputs)]));
        let status = StatefulSetStatus {
            update_revision: Some(format!("rev-{inputs}")),
            ..Default::default()
        };
        StatefulSet { spec: Some(spec), status: Some(status), ..StatefulSet::default() }
    }

    fn pod(inputs: &str, ready: bool) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.labels = Some(meta::labels_of([(REVISION, &format!("rev-{inputs}"))]));
        pod.metadata.annotations = Some(meta::labels_of([(labels::POD_INPUTS, inputs)]));
        let status = if ready { "True" } else { "False" };
        let condition = PodCondition {
            type_: "Ready".into(),
            status: status.into(),
            ..PodCondition::default()
        };
        pod.status = Some(PodStatus { conditions: Some(vec![condition]), ..PodStatus::default() });
        pod
    }

    fn deleted(mut pod: Pod) -> Pod {
        pod.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        pod
    }

    #[test]
    fn an_operator_that_builds_pods_differently_restarts_none() {
        let mut newer = set("same");
        newer.status.as_mut().expect("status").update_revision = Some("built-differently".into());
        let pod = pod("same", true);
        assert!(
            next_to_replace(&[Replica {
                set: &newer,
                pod: Some(&pod),
                in_election: false,
                lacks: None
            }])
            .is_none()
        );
    }

    #[test]
    fn a_revision_the_controller_has_not_seen_yet_replaces_nothing() {
        let mut newer = set("new");
        newer.metadata.generation = Some(2);
        newer.status.as_mut().expect("status").observed_generation = Some(1);
        let pod = pod("old", true);
        let replicas = [Replica { set: &newer, pod: Some(&pod), in_election: false, lacks: None }];
        assert!(next_to_replace(&replicas).is_none());
        assert!(any_outdated(&replicas), "there is work left all the same");
    }

    #[test]
    fn a_pod_of_the_newest_revision_is_current_whatever_its_annotations_say() {
        let (new, mut edited) = (set("new"), pod("new", true));
        edited.metadata.annotations = None;
        assert!(!any_outdated(&[Replica {
            set: &new,
            pod: Some(&edited),
            in_election: false,
            lacks: None
        }]));
    }

    #[test]
    fn pods_that_do_not_serve_are_replaced_even_while_others_do_not_either() {
        let (new, broken) = (set("new"), pod("old", false));
        let replicas =
            [Replica { set: &new, pod: Some(&broken), in_election: false, lacks: None }; 2];
        assert!(next_to_replace(&replicas).is_some());
    }

    #[test]
    fn nothing_is_replaced_while_a_pod_is_on_its_way() {
        let (new, old, going) = (set("new"), pod("old", true), deleted(pod("old", true)));
        let replica = |pod| Replica { set: &new, pod, in_election: false, lacks: None };
        assert!(next_to_replace(&[replica(Some(&old)), replica(Some(&going))]).is_none());
        assert!(next_to_replace(&[replica(Some(&old)), replica(None)]).is_none());
        let starting = pod("new", false);
        assert!(next_to_replace(&[replica(Some(&old)), replica(Some(&starting))]).is_none());
    }

    #[test]
    fn a_primary_waits_for_the_others_also_where_its_set_was_seen_first() {
        let (seen, mut unseen, old) = (set("new"), set("new"), pod("old", true));
        unseen.metadata.generation = Some(2);
        let replica = |set| Replica { set, pod: Some(&old), in_election: false, lacks: None };
        assert!(next_to_replace(&[replica(&unseen), replica(&seen)]).is_none());
        assert!(next_to_replace(&[replica(&seen), replica(&unseen)]).is_some());
    }

    #[test]
    fn a_pod_that_serves_is_left_alone_until_every_replica_has_what_the_others_have() {
        let (new, old) = (set("new"), pod("old", true));
        let led = Replica { set: &new, pod: Some(&old), in_election: false, lacks: None };
        let behind = Replica { lacks: Some("lacks about 5200 ops"), ..led };
        assert!(next_to_replace(&[led, behind]).is_none());
        assert_eq!(waits_for(&[led, led]), None);
        let told = waits_for(&[led, behind]).expect("told");
        assert!(told.ends_with("lacks about 5200 ops"), "{told}");
        // One that does not serve costs nobody anything.
        let broken = pod("old", false);
        let broken = Replica { pod: Some(&broken), ..led };
        assert!(next_to_replace(&[behind, broken]).is_some());
    }

    #[test]
    fn a_pod_that_serves_is_left_alone_while_a_primary_is_elected() {
        let (new, old) = (set("new"), pod("old", true));
        let led = Replica { set: &new, pod: Some(&old), in_election: false, lacks: None };
        assert!(next_to_replace(&[led]).is_some());
        assert!(next_to_replace(&[led, Replica { in_election: true, ..led }]).is_none());
    }

    proptest! {
        /// Whatever the state of the pods: at most the ones that serve, less one, and only outdated ones go.
        #[test]
        fn a_serving_pod_goes_only_while_all_others_serve(
            states in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 1..8),
        ) {
            let new = set("new");
            let pods: Vec<Pod> = states.iter().map(|&(current, ready, going)| {
                let pod = pod(if current { "new" } else { "old" }, ready);
                if going { deleted(pod) } else { pod }
            }).collect();
            let replicas: Vec<_> = pods.iter().map(|pod| Replica { set: &new, pod: Some(pod), in_election: false, lacks: None }).collect();
            if let Some(chosen) = next_to_replace(&replicas) {
                prop_assert_eq!(meta::annotation(chosen, labels::POD_INPUTS), Some("old"));
                prop_assert!(states.iter().all(|(_, _, going)| !going));
                prop_assert!(!is_ready(chosen) || pods.iter().all(is_ready));
            }
        }

        /// A rollout ends: replacing what is chosen, again and again, leaves no pod outdated.
        #[test]
        fn a_rollout_ends_with_every_pod_new(ready in proptest::collection::vec(any::<bool>(), 1..8)) {
            let new = set("new");
            // Pods that are current are healthy; only outdated ones may be broken.
            let mut pods: Vec<Pod> = ready.iter().map(|&ready| pod("old", ready)).collect();
            for (index, pod) in pods.iter_mut().enumerate() {
                pod.metadata.name = Some(index.to_string());
            }
            for _ in 0..ready.len() {
                let replicas: Vec<_> = pods.iter().map(|pod| Replica { set: &new, pod: Some(pod), in_election: false, lacks: None }).collect();
                let chosen = next_to_replace(&replicas).map(|pod| pod.name_any());
                let Some(at) = chosen.and_then(|name| name.parse::<usize>().ok()) else { break };
                pods[at] = pod("new", true);
                pods[at].metadata.name = Some(at.to_string());
            }
            let replicas: Vec<_> = pods.iter().map(|pod| Replica { set: &new, pod: Some(pod), in_election: false, lacks: None }).collect();
            prop_assert!(!any_outdated(&replicas));
        }
    }

    /// A pod whose container waits for this reason, or runs, and was started again so many times.
    fn waiting(reason: Option<&str>, restart_count: i32) -> Pod {
        let mut waiting = pod("x", false);
        let state = reason.map(|reason| ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(reason.into()), message: None }),
            ..ContainerState::default()
        });
        let container = ContainerStatus { state, restart_count, ..ContainerStatus::default() };
        waiting.status.as_mut().expect("status").container_statuses = Some(vec![container]);
        waiting
    }

    #[test]
    fn a_lasting_trouble_is_told_in_one_way_while_the_kubelet_tries_and_backs_off() {
        let told = |reason, restarts| trouble(Some(&waiting(reason, restarts)));
        assert_eq!(told(Some("ErrImagePull"), 0), told(Some("ImagePullBackOff"), 0));
        assert_eq!(told(Some("CrashLoopBackOff"), 3), told(None, 3));
        assert_eq!(told(Some("RunContainerError"), 3), told(None, 4));
        assert!(told(None, 1).contains("keeps ending"));
        assert!(told(Some("ContainerCreating"), 0).contains("is starting"));
    }

    #[test]
    fn trouble_is_named_by_its_cause() {
        let missing = super::trouble("c-0-r0", None);
        assert!(missing.contains("does not exist"));
        assert!(missing.contains("kubectl describe statefulset c-0-r0"), "{missing}");
        assert!(trouble(Some(&waiting(Some("ImagePullBackOff"), 0))).contains("ImagePullBackOff"));
        assert!(
            trouble(Some(&waiting(Some("CreateContainerError"), 0))).contains("cannot start (Cr")
        );
        assert!(trouble(Some(&deleted(pod("x", true)))).contains("being replaced"));
        assert!(trouble(Some(&pod("x", false))).contains("is starting"));
    }
}
