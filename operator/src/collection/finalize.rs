//! The end of a collection. IO.
//!
//! With Retain nothing is done here: Kubernetes collects what the collection owned, and the disks stay. With Delete a
//! finalizer holds the object until its pods are gone and its disks deleted.
//!
//! Invariant: a disk is deleted only after its pod is gone, and only if it carries this collection's fingerprint; the
//! object goes only after a live look found nothing left.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::PropagationPolicy;
use kube::runtime::controller::Action;
use shoal_crds::collection::DeletionPolicy;
use shoal_crds::{VectorCollection, labels};

use super::observe::{self, Seen};
use super::validate::fingerprint;
use super::{claims, finalizers_of, status, write_status};
use crate::context::Context;
use crate::env;
use crate::error::Error;

/// A look now and then, should an event be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Kubernetes' own finalizer on an object deleted with `--cascade=orphan`.
const ORPHAN: &str = "orphan";

/// Adds or removes the finalizer of a collection that may be held. One that never ran has no disks of its own: it gets
/// none here, so that taking it back cannot cost the disks a former life left.
pub async fn sync_finalizer_if_established(
    context: &Context,
    collection: Arc<VectorCollection>,
) -> Result<Arc<VectorCollection>, Error> {
    let policy = collection.deletion_policy();
    let established = collection.status.as_ref().is_some_and(|status| status.routing.is_some());
    if established || policy == DeletionPolicy::Retain {
        return sync_finalizer(context, collection, policy).await;
    }
    Ok(collection)
}

/// Adds or removes the finalizer as the deletion policy asks.
pub async fn sync_finalizer(
    context: &Context,
    collection: Arc<VectorCollection>,
    policy: DeletionPolicy,
) -> Result<Arc<VectorCollection>, Error> {
    let (has, mut finalizers) = finalizers_of(&collection);
    let wants = policy == DeletionPolicy::Delete;
    if has == wants {
        return Ok(collection);
    }
    finalizers.retain(|finalizer| finalizer != labels::FINALIZER);
    if wants {
        finalizers.push(labels::FINALIZER.to_owned());
    }
    Ok(Arc::new(context.writer.write_finalizers(collection.as_ref(), &finalizers).await?))
}

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Delete Shards and their sets.
    StopPods,
    /// Pods are still there.
    AwaitPods,
    /// Delete the disks.
    DeleteDisks,
    /// Let the object go.
    Release,
}

/// Whether the disks go with the object.
fn deletes_disks(collection: &VectorCollection) -> bool {
    let orphaned =
        collection.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == ORPHAN);
    collection.deletion_policy() == DeletionPolicy::Delete && !orphaned
}

fn stage(collection: &VectorCollection, seen: &Seen) -> Stage {
    if !deletes_disks(collection) {
        return Stage::Release;
    }
    let stays = |going: &Option<_>| going.is_none();
    if seen.shards.values().any(|shard| stays(&shard.metadata.deletion_timestamp))
        || seen.stateful_sets.values().any(|set| stays(&set.metadata.deletion_timestamp))
    {
        return Stage::StopPods;
    }
    if !seen.pods.is_empty() {
        return Stage::AwaitPods;
    }
    match own_claims(collection, seen).next() {
        Some(_) => Stage::DeleteDisks,
        None => Stage::Release,
    }
}

fn own_claims<'a>(
    collection: &VectorCollection,
    seen: &'a Seen,
) -> impl Iterator<Item = &'a Arc<k8s_openapi::api::core::v1::PersistentVolumeClaim>> {
    let (name, print) = (collection.name_any(), fingerprint(collection));
    seen.claims.values().filter(move |claim| claims::is_of(&name, &print, claim))
}

/// Takes a collection that is being deleted a step further.
pub async fn finalize(context: &Context, collection: &VectorCollection) -> Result<Action, Error> {
    let (has, mut finalizers) = finalizers_of(collection);
    if !has {
        return Ok(Action::await_change());
    }
    let mut seen = observe::observe(&context.stores, collection);
    let mut stage = self::stage(collection, &seen);
    if stage == Stage::Release && deletes_disks(collection) {
        // A store that lags, or a label that someone took away, must not leave a disk behind.
        seen = observe::observe_live(&context.writer, collection, seen).await?;
        stage = self::stage(collection, &seen);
    }
    let message = match stage {
        Stage::StopPods => {
            for shard in seen.shards.values() {
                context.writer.delete(shard.as_ref(), PropagationPolicy::Background).await?;
            }
            for set in seen.stateful_sets.values() {
                context.writer.delete(set.as_ref(), PropagationPolicy::Background).await?;
            }
            "stopping its pods".to_owned()
        }
        Stage::AwaitPods => format!("waiting until {} of its pods are gone", seen.pods.len()),
        Stage::DeleteDisks => {
            for claim in own_claims(collection, &seen) {
                context.writer.delete(claim.as_ref(), PropagationPolicy::Background).await?;
            }
            "deleting its disks".to_owned()
        }
        Stage::Release => {
            finalizers.retain(|finalizer| finalizer != labels::FINALIZER);
            context.writer.write_finalizers(collection, &finalizers).await?;
            return Ok(Action::await_change());
        }
    };
    write_status(context, collection, status::deleting_status(collection, &message, env::now()))
        .await?;
    Ok(Action::requeue(LOOK_AGAIN))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::StatefulSet;
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use shoal_crds::collection::ShardSlots;

    use super::*;
    use crate::collection::build::{Replica, volume_claim};
    use crate::collection::testing::collection;
    use crate::collection::validate::validate;

    fn doomed() -> VectorCollection {
        let mut made = collection("c");
        made.spec.deletion_policy = Some(DeletionPolicy::Delete);
        made
    }

    fn with_disk(mut seen: Seen, of: &VectorCollection) -> Seen {
        let part = ShardSlots { shard: "c-0".into(), slots: "0-16383".into() };
        let claim = volume_claim::build(&validate(of).expect("valid"), &part, 1, Replica::ONLY);
        seen.claims.insert("data-c-0-r0-0".into(), Arc::new(claim));
        seen
    }

    #[test]
    fn disks_go_only_after_the_pods_and_the_object_only_after_the_disks() {
        let mut seen = with_disk(Seen::default(), &doomed());
        seen.stateful_sets.insert("c-0-r0".into(), Arc::new(StatefulSet::default()));
        seen.pods.insert("c-0-r0-0".into(), Arc::new(Pod::default()));
        assert_eq!(stage(&doomed(), &seen), Stage::StopPods);
        for set in seen.stateful_sets.values_mut() {
            Arc::make_mut(set).metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        }
        assert_eq!(stage(&doomed(), &seen), Stage::AwaitPods);
        seen.pods.clear();
        assert_eq!(stage(&doomed(), &seen), Stage::DeleteDisks);
        seen.claims.clear();
        assert_eq!(stage(&doomed(), &seen), Stage::Release);
    }

    #[test]
    fn retained_and_orphaned_disks_are_not_touched() {
        let seen = with_disk(Seen::default(), &doomed());
        let mut retained = doomed();
        retained.spec.deletion_policy = Some(DeletionPolicy::Retain);
        assert_eq!(stage(&retained, &seen), Stage::Release);
        let mut orphaned = doomed();
        orphaned.metadata.finalizers = Some(vec![ORPHAN.into(), labels::FINALIZER.into()]);
        assert_eq!(stage(&orphaned, &seen), Stage::Release);
    }

    #[test]
    fn disks_of_other_vectors_outlive_a_collection_of_their_name() {
        let mut other = doomed();
        other.spec.vectors[0].size = 99;
        let seen = with_disk(Seen::default(), &other);
        assert_eq!(stage(&doomed(), &seen), Stage::Release);
    }
}
