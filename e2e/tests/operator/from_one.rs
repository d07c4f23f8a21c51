//! One copy becomes three, by way of the pod and the disk that there are, and one again.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ServiceAccount};
use kube::ResourceExt;
use serde_json::json;
use shoal_crds::{Shard, VectorCollection};

use crate::replicas::{agree, agree_in, least_available, named};
use crate::world::{World, has};

fn of(replicas: u32) -> serde_json::Value {
    json!({"spec": {"replication": {"replicas": replicas}}})
}

fn is_replica(set: &StatefulSet) -> bool {
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut env = pod.into_iter().flat_map(|pod| pod.containers[0].env.iter().flatten());
    env.any(|var| var.name == "SHOAL_REPLICA")
}

/// Plays the garbage collector and the StatefulSet controller: the set is made anew for a disk that says what it is, and its
/// pod is replaced. The pod that comes then is ready.
async fn becomes_a_replica(world: &World, name: &str) {
    let going = |set: &StatefulSet| set.metadata.deletion_timestamp.is_some();
    world.until(name, "is going", going).await;
    world.exists::<Pod>(&format!("{name}-0")).await;
    world.change::<StatefulSet>(name, json!({"metadata": {"finalizers": null}})).await;
    let anew: StatefulSet = world.until(name, "is a replica's", is_replica).await;
    let status = json!({"status": {"observedGeneration": anew.metadata.generation, "replicas": 1,
        "updateRevision": "as-a-replica"}});
    let patch = kube::api::Patch::Merge(&status);
    let sets = world.api::<StatefulSet>();
    sets.patch_status(name, &kube::api::PatchParams::default(), &patch).await.expect("seen");
    world.gone::<Pod>(&format!("{name}-0")).await;
    world.start_pod(name).await;
}

#[tokio::test]
async fn one_copy_becomes_three_and_one_again_on_the_disk_that_it_has() {
    let Some(world) = World::new("from-one").await else { return };
    world.serving("c", 1, json!({"deletionPolicy": "Delete"})).await;
    let disk: PersistentVolumeClaim = world.exists("data-c-0-r0-0").await;
    assert!(!disk.annotations().contains_key("shoal.dev/replicated"));

    world.change::<VectorCollection>("c", of(3)).await;
    let is_of_three = |shard: &Shard| shard.spec.replicas == 3;
    let shard: Shard = world.until("c-0", "is to have three", is_of_three).await;
    assert_eq!((shard.spec.replica_names, shard.spec.next_replica), (vec!["r0".into()], Some(1)));
    world.exists::<ServiceAccount>("shoal-shard-c-0").await;
    becomes_a_replica(&world, "c-0-r0").await;
    let marked = |c: &PersistentVolumeClaim| c.annotations().contains_key("shoal.dev/replicated");
    let same = world.until("data-c-0-r0-0", "says what it is", marked).await;
    assert_eq!(same.uid(), disk.uid());
    // Nobody leads: no other has a say.
    world.condition("c", "Ready", "True", "Available").await;
    named(&world, &["r0"]).await;

    agree(&world, &[0], 0).await;
    named(&world, &["r0", "r1", "r2"]).await;
    // It serves while those are on their way, as it votes alone.
    world.condition("c", "Reconciling", "True", "ReplicasUnavailable").await;
    world.condition("c", "Ready", "True", "Available").await;
    world.start_pod("c-0-r1").await;
    world.start_pod("c-0-r2").await;
    world.condition("c", "Reconciling", "True", "ReplicaJoining").await;
    agree(&world, &[0, 1, 2], 0).await;
    world.until("c", "is whole", |c: &VectorCollection| !has(c, "Reconciling")).await;
    least_available(&world, 2).await;

    // Another leads by now, and is the one that is left.
    agree_in(&world, "2", &[0, 1, 2], 1).await;
    world.change::<VectorCollection>("c", of(1)).await;
    let left = named(&world, &["r1"]).await;
    assert_eq!((left.spec.replicas, left.spec.replicated), (1, true));
    world.exists::<StatefulSet>("c-0-r0").await;
    agree_in(&world, "2", &[1], 1).await;
    for name in ["c-0-r0", "c-0-r2"] {
        world.gone::<StatefulSet>(name).await;
        world.delete::<Pod>(&format!("{name}-0")).await;
    }
    let going = |c: &PersistentVolumeClaim| c.metadata.deletion_timestamp.is_some();
    world.until("data-c-0-r0-0", "is deleted", going).await;
    world.until("c", "is whole", |c: &VectorCollection| !has(c, "Reconciling")).await;
    let set: StatefulSet = world.exists("c-0-r1").await;
    assert!(is_replica(&set) && set.metadata.deletion_timestamp.is_none(), "not alone again");

    // Its pod is not restarted for others to follow it.
    world.change::<VectorCollection>("c", of(3)).await;
    named(&world, &["r1", "r3", "r4"]).await;
    world.exists::<Pod>("c-0-r1-0").await;
}
