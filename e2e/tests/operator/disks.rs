//! Disks: found again, refused, grown.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use shoal_crds::{Shard, VectorCollection};

use crate::world::{World, has};

async fn end(world: &World, shards: u32) {
    world.delete::<VectorCollection>("c").await;
    world.gone::<VectorCollection>("c").await;
    world.collect("c", shards).await;
}

#[tokio::test]
async fn disks_of_a_former_life_are_found_again_and_another_number_of_shards_says_what_to_set() {
    let Some(world) = World::new("disks-again").await else { return };
    let before = world.serving("c", 3, json!({})).await;
    let routing = before.status.and_then(|status| status.routing);
    end(&world, 3).await;

    world.collection("c", json!({"sharding": {"initialShards": 2}})).await;
    let stalled = world.condition("c", "Stalled", "True", "ReshardingUnsupported").await;
    assert!(stalled.message.contains("set initialShards: 3"), "{}", stalled.message);
    assert!(world.api::<Shard>().get_opt("c-0").await.expect("asked").is_none());

    world
        .change::<VectorCollection>("c", json!({"spec": {"sharding": {"initialShards": 3}}}))
        .await;
    world.exists::<StatefulSet>("c-2-r0").await;
    let after: VectorCollection = world.exists("c").await;
    assert_eq!(after.status.and_then(|status| status.routing), routing);
}

#[tokio::test]
async fn disks_of_other_vectors_are_refused() {
    let Some(world) = World::new("disks-other").await else { return };
    world.serving("c", 1, json!({})).await;
    end(&world, 1).await;
    world.collection("c", json!({"vectors": [{"size": 99, "distance": "Dot"}]})).await;
    let stalled = world.condition("c", "Stalled", "True", "DiskConflict").await;
    assert!(stalled.message.contains("data-c-0-r0-0"), "{}", stalled.message);
    assert!(world.api::<StatefulSet>().get_opt("c-0-r0").await.expect("asked").is_none());
}

#[tokio::test]
async fn a_disk_of_someone_else_that_has_our_name_is_not_mounted() {
    let Some(world) = World::new("disks-foreign").await else { return };
    let claim = json!({"metadata": {"name": "data-c-0-r0-0"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("a claim");
    world.api().create(&PostParams::default(), &claim).await.expect("made");
    world.collection("c", json!({})).await;
    world.condition("c", "Stalled", "True", "DiskConflict").await;
    assert!(world.api::<StatefulSet>().get_opt("c-0-r0").await.expect("asked").is_none());
}

async fn storage_class(world: &World, name: &str, grows: bool) {
    let class =
        json!({"metadata": {"name": name}, "provisioner": "none", "allowVolumeExpansion": grows});
    let class: StorageClass = serde_json::from_value(class).expect("a class");
    Api::all(world.client.clone()).create(&PostParams::default(), &class).await.expect("made");
}

fn storage(size: &str, class: &str) -> serde_json::Value {
    json!({"size": size, "storageClassName": class})
}

#[tokio::test]
async fn a_grown_disk_keeps_its_pod() {
    let Some(world) = World::new("disks-grow").await else { return };
    storage_class(&world, "grows", true).await;
    world.serving("c", 1, json!({"storage": storage("1Gi", "grows")})).await;
    let (set, pod): (StatefulSet, Pod) =
        (world.exists("c-0-r0").await, world.exists("c-0-r0-0").await);

    world
        .change::<VectorCollection>("c", json!({"spec": {"storage": storage("2Gi", "grows")}}))
        .await;
    world
        .until("data-c-0-r0-0", "asks for more", |c: &PersistentVolumeClaim| {
            size(c).as_deref() == Some("2Gi")
        })
        .await;
    // The garbage collector's part: it takes the pod's owner away, and lets the set go.
    world
        .until("c-0-r0", "is going", |s: &StatefulSet| s.metadata.deletion_timestamp.is_some())
        .await;
    let going: StatefulSet = world.exists("c-0-r0").await;
    assert_eq!(going.metadata.finalizers, Some(vec!["orphan".to_owned()]), "its pod runs on");
    world.change::<StatefulSet>("c-0-r0", json!({"metadata": {"finalizers": null}})).await;
    let anew: StatefulSet =
        world.until("c-0-r0", "is anew", |s: &StatefulSet| s.uid() != set.uid()).await;
    assert_eq!(template_size(anew).as_deref(), Some("2Gi"));
    let same: Pod = world.exists("c-0-r0-0").await;
    assert_eq!(same.uid(), pod.uid());
}

#[tokio::test]
async fn a_disk_that_cannot_grow_is_told_and_the_collection_keeps_serving() {
    let Some(world) = World::new("disks-fixed").await else { return };
    storage_class(&world, "fixed", false).await;
    world.serving("c", 1, json!({"storage": storage("1Gi", "fixed")})).await;
    let set: StatefulSet = world.exists("c-0-r0").await;
    world
        .change::<VectorCollection>("c", json!({"spec": {"storage": storage("2Gi", "fixed")}}))
        .await;
    let stalled = world.condition("c", "Stalled", "True", "StorageUnchangeable").await;
    assert!(stalled.message.contains("allowVolumeExpansion"), "{}", stalled.message);
    world.condition("c", "Ready", "True", "Available").await;
    let same: StatefulSet = world.exists("c-0-r0").await;
    assert_eq!(same.uid(), set.uid());
    let collection: VectorCollection = world.exists("c").await;
    assert!(!has(&collection, "Reconciling"));
}

#[tokio::test]
async fn a_collection_whose_disk_cannot_grow_is_repaired_all_the_same_and_the_growth_can_be_taken_back()
 {
    let Some(world) = World::new("disks-fixed-repair").await else { return };
    storage_class(&world, "fixed-repair", false).await;
    let storage = |size| json!({"spec": {"storage": storage(size, "fixed-repair")}});
    world.serving("c", 1, storage("1Gi")["spec"].clone()).await;
    let set: StatefulSet = world.exists("c-0-r0").await;
    world.change::<VectorCollection>("c", storage("2Gi")).await;
    let stalled = world.condition("c", "Stalled", "True", "StorageUnchangeable").await;
    assert!(stalled.message.contains("back to 1Gi"), "{}", stalled.message);

    world.delete::<StatefulSet>("c-0-r0").await;
    let again: StatefulSet =
        world.until("c-0-r0", "is back", |s: &StatefulSet| s.uid() != set.uid()).await;
    assert_eq!(template_size(again).as_deref(), Some("1Gi"), "it mounts the disk there is");
    world.condition("c", "Stalled", "True", "StorageUnchangeable").await;

    world.change::<VectorCollection>("c", storage("1Gi")).await;
    world.until("c", "is not stalled", |c: &VectorCollection| !has(c, "Stalled")).await;
}

#[tokio::test]
async fn a_disk_does_not_shrink_and_the_condition_names_the_size_to_keep() {
    let Some(world) = World::new("disks-shrink").await else { return };
    let storage = |size| json!({"spec": {"storage": {"size": size}}});
    world.serving("c", 1, storage("2Gi")["spec"].clone()).await;
    world.change::<VectorCollection>("c", storage("1Gi")).await;
    let stalled = world.condition("c", "Stalled", "True", "StorageUnchangeable").await;
    assert!(stalled.message.contains("set it to 2Gi or more"), "{}", stalled.message);
    world.condition("c", "Ready", "True", "Available").await;
    let claim: PersistentVolumeClaim = world.exists("data-c-0-r0-0").await;
    assert_eq!(size(&claim).as_deref(), Some("2Gi"));

    world.change::<VectorCollection>("c", storage("2Gi")).await;
    world.until("c", "is not stalled", |c: &VectorCollection| !has(c, "Stalled")).await;
}

fn template_size(set: StatefulSet) -> Option<String> {
    set.spec.and_then(|s| s.volume_claim_templates).and_then(|c| size(c.first()?))
}

fn size(claim: &PersistentVolumeClaim) -> Option<String> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|quantity| quantity.0.clone())
}
