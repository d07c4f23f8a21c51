//! The end of a replica that is no longer asked for: first its disk ceases to vote, which the primary sees to, then its set
//! goes, then, with its pod gone, its disk as the deletion policy says.
//!
//! Invariant: before anything is taken down a live look found that the disk does not vote; what is not known stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::PropagationPolicy;
use serde_json::json;
use shoal_crds::collection::DeletionPolicy;
use shoal_crds::{Shard, labels};

use super::apply::Progress;
use super::claims;
use super::observe::Seen;
use super::pods::pod_name;
use super::replicas::{self, Register, Replicas};
use super::validate::Valid;
use crate::context::Context;
use crate::error::Error;
use crate::kubernetes::meta;

/// What there still is of a replica that is no longer asked for.
#[derive(Debug, Default)]
struct Left {
    set: Option<Arc<StatefulSet>>,
    pod: Option<Arc<Pod>>,
    claim: Option<Arc<PersistentVolumeClaim>>,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its disk votes, or may: nothing yet.
    AwaitMembers,
    /// Delete its set.
    StopPod,
    /// Its pod is still there.
    AwaitPod,
    /// Delete its disk, or mark it as one on which nothing rests.
    SeeToDisk,
}

/// Takes replicas that are no longer asked for a step further; the sets of those that are still there.
pub(super) async fn take_down(
    context: &Context,
    valid: &Valid,
    shard: &Shard,
    replicas: &Replicas,
    seen: &Seen,
    progress: &mut Progress,
) -> Result<Vec<Arc<StatefulSet>>, Error> {
    let mut staying = Vec::new();
    let mut live = None;
    for (number, left) in left(valid, &shard.name_any(), replicas, seen) {
        let mut next = step(&left, Register::of(Some(shard)).is_out(number));
        if [Step::StopPod, Step::SeeToDisk].contains(&next) {
            if live.is_none() {
                live = context.writer.read_live(shard).await?;
            }
            // Asked for again meanwhile, or gone.
            let known = live.as_ref().filter(|live| live.uid() == shard.uid());
            let known = known.filter(|live| !Replicas::of(live).numbers.contains(&number));
            next = step(&left, known.is_some_and(|live| Register::of(Some(live)).is_out(number)));
        }
        let name = labels::replica(number);
        let working = match next {
            Step::AwaitMembers => {
                staying.extend(left.set);
                format!("waiting until the disk of replica {name} does not vote any more")
            }
            Step::StopPod => {
                if let Some(set) = &left.set {
                    context.writer.delete(set.as_ref(), PropagationPolicy::Background).await?;
                }
                format!("stopping replica {name}, which is no longer asked for")
            }
            Step::AwaitPod => format!("waiting until the pod of replica {name} is gone"),
            Step::SeeToDisk => {
                if let Some(claim) = &left.claim {
                    see_to_disk(context, valid, claim).await?;
                }
                continue;
            }
        };
        progress.working.get_or_insert_with(|| format!("shard {}: {working}", shard.name_any()));
    }
    Ok(staying)
}

/// Has a Shard forget a replica of which nothing is left: of all that ever were there is no room. Which numbers are taken the
/// Shard's spec knows.
pub(super) async fn forget(context: &Context, shard: &Shard, seen: &Seen) -> Result<(), Error> {
    let (replicas, register) = (Replicas::of(shard), Register::of(Some(shard)));
    if !replicas.is_replicated() || shard.spec.next_replica.is_none() {
        return Ok(());
    }
    let is_gone = |number: u32| {
        let set = labels::replica_name(&shard.name_any(), number);
        let claim = seen.claims.get(&claims::claim_name(&set));
        let is_kept =
            claim.is_none_or(|claim| meta::annotation(claim.as_ref(), labels::LEFT).is_some());
        let asked_for = replicas.numbers.contains(&number);
        let runs = seen.stateful_sets.contains_key(&set) || seen.pods.contains_key(&pod_name(&set));
        !asked_for && !runs && is_kept && register.is_out(number)
    };
    let announced = shard.status.iter().flat_map(|status| &status.replicas);
    let gone = announced
        .enumerate()
        .find(|(_, replica)| labels::replica_number(&replica.name).is_some_and(is_gone));
    match gone {
        Some((at, replica)) => {
            context.writer.forget_item(shard, "replicas", at, &replica.name).await
        }
        None => Ok(()),
    }
}

async fn see_to_disk(
    context: &Context,
    valid: &Valid,
    claim: &PersistentVolumeClaim,
) -> Result<(), Error> {
    if claim.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    match valid.deletion_policy {
        DeletionPolicy::Delete => context.writer.delete(claim, PropagationPolicy::Background).await,
        DeletionPolicy::Retain => {
            let patch = json!({"metadata": {"annotations": {labels::LEFT: "true"}}});
            context.writer.merge(claim, patch).await.map(|_| ())
        }
    }
}

/// What there still is of each replica that is no longer asked for, by its number.
fn left(valid: &Valid, shard: &str, replicas: &Replicas, seen: &Seen) -> BTreeMap<u32, Left> {
    let mut all: BTreeMap<u32, Left> = BTreeMap::new();
    let gone = |number: &u32| !replicas.numbers.contains(number);
    let sets = seen.stateful_sets.values();
    let sets = sets.filter(|set| meta::label(set.as_ref(), labels::SHARD) == Some(shard));
    for set in sets.filter(|set| !meta::is_paused(&set.metadata)) {
        if let Some(number) = replicas::number(set.as_ref()).filter(gone) {
            all.entry(number).or_default().set = Some(Arc::clone(set));
        }
    }
    let claims = seen.claims.values();
    let claims = claims.filter(|claim| meta::label(claim.as_ref(), labels::SHARD) == Some(shard));
    let own = claims.filter(|claim| claims::is_of(&valid.name, &valid.fingerprint, claim));
    for claim in own.filter(|claim| meta::annotation(claim.as_ref(), labels::LEFT).is_none()) {
        if let Some(number) = replicas::number(claim.as_ref()).filter(gone) {
            all.entry(number).or_default().claim = Some(Arc::clone(claim));
        }
    }
    for (number, left) in &mut all {
        left.pod = seen.pods.get(&pod_name(&labels::replica_name(shard, *number))).cloned();
    }
    all
}

fn step(left: &Left, is_out: bool) -> Step {
    match (&left.set, &left.pod) {
        (Some(set), _) if set.metadata.deletion_timestamp.is_some() => Step::AwaitPod,
        _ if !is_out => Step::AwaitMembers,
        (Some(_), _) => Step::StopPod,
        (None, Some(_)) => Step::AwaitPod,
        (None, None) => Step::SeeToDisk,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn a_replica_goes_step_by_step_and_none_is_taken_while_its_disk_may_vote() {
        let mut left = Left {
            set: Some(Arc::default()),
            pod: Some(Arc::default()),
            claim: Some(Arc::default()),
        };
        assert_eq!(step(&left, false), Step::AwaitMembers);
        assert_eq!(step(&left, true), Step::StopPod);
        let mut going = StatefulSet::default();
        going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        left.set = Some(Arc::new(going));
        assert_eq!(step(&left, true), Step::AwaitPod);
        left.set = None;
        assert_eq!(step(&left, true), Step::AwaitPod);
        left.pod = None;
        assert_eq!(step(&left, true), Step::SeeToDisk);
        assert_eq!(step(&left, false), Step::AwaitMembers, "a disk that may vote is kept");
    }
}
