//! Changes reach pods one at a time, and only what the user asks does.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use shoal_crds::VectorCollection;

use crate::world::{World, has};

async fn pods(world: &World) -> Vec<(String, bool)> {
    let all = world.api::<Pod>().list(&Default::default()).await.expect("pods");
    let new = |pod: &Pod| {
        pod.spec.as_ref().and_then(|s| s.containers[0].image.clone()).as_deref() == Some("new:2")
    };
    all.into_iter().map(|pod| (pod.name_any(), new(&pod))).collect()
}

/// Plays the StatefulSet controller: it saw the new template.
async fn see_template(world: &World, name: &str) {
    let is_new = |set: &StatefulSet| {
        let spec = set.spec.as_ref().and_then(|s| s.template.spec.as_ref());
        spec.and_then(|s| s.containers[0].image.as_deref()) == Some("new:2")
    };
    let set: StatefulSet = world.until(name, "has the new image", is_new).await;
    let status = json!({"status": {"observedGeneration": set.metadata.generation, "replicas": 1,
        "updateRevision": "new-revision"}});
    let patch = Patch::Merge(&status);
    world
        .api::<StatefulSet>()
        .patch_status(name, &PatchParams::default(), &patch)
        .await
        .expect("seen");
}

#[tokio::test]
async fn a_new_image_reaches_the_pods_one_at_a_time() {
    let Some(world) = World::new("rolling-image").await else { return };
    world.serving("c", 2, json!({})).await;
    world.change::<VectorCollection>("c", json!({"spec": {"image": "new:2"}})).await;
    see_template(&world, "c-0-r0").await;
    see_template(&world, "c-1-r0").await;

    world.gone::<Pod>("c-0-r0-0").await;
    world.condition("c", "Ready", "False", "ShardsUnavailable").await;
    assert_eq!(pods(&world).await, [("c-1-r0-0".to_owned(), false)], "one at a time");
    world.start_pod("c-0-r0").await;
    world.gone::<Pod>("c-1-r0-0").await;
    assert_eq!(pods(&world).await, [("c-0-r0-0".to_owned(), true)]);
    world.start_pod("c-1-r0").await;
    world.condition("c", "Ready", "True", "Available").await;
    let done: VectorCollection = world
        .until("c", "is done", |c: &VectorCollection| {
            c.status.as_ref().is_some_and(|s| s.conditions.iter().all(|c| c.type_ == "Ready"))
        })
        .await;
    assert_eq!(done.status.and_then(|s| s.image).as_deref(), Some("new:2"));
    assert_eq!(pods(&world).await.len(), 2);
}

#[tokio::test]
async fn a_template_that_differs_only_by_the_operators_own_doing_restarts_nothing() {
    let Some(world) = World::new("rolling-upgrade").await else { return };
    world.serving("c", 1, json!({})).await;
    let pod: Pod = world.exists("c-0-r0-0").await;
    // As after an upgrade whose operator builds pods differently: another revision, the same inputs.
    let set: StatefulSet = world.exists("c-0-r0").await;
    let status = json!({"status": {"observedGeneration": set.metadata.generation, "updateRevision": "other"}});
    let patch = Patch::Merge(&status);
    world
        .api::<StatefulSet>()
        .patch_status("c-0-r0", &PatchParams::default(), &patch)
        .await
        .expect("seen");
    // Another change is acted on meanwhile, so what is not done by then is not done.
    world.collection("later", json!({})).await;
    world.exists::<StatefulSet>("later-0-r0").await;
    let same: Pod = world.exists("c-0-r0-0").await;
    assert_eq!(same.uid(), pod.uid());
    assert_eq!(same.metadata.deletion_timestamp, None);
}

#[tokio::test]
async fn a_change_is_in_progress_from_the_moment_it_is_observed() {
    let Some(world) = World::new("rolling-progress").await else { return };
    world.serving("c", 1, json!({})).await;
    let changed = world.change::<VectorCollection>("c", json!({"spec": {"image": "new:2"}})).await;
    // Nobody plays the StatefulSet controller, so it has not seen the new template.
    let generation = changed.metadata.generation;
    let observed = |c: &VectorCollection| {
        c.status.as_ref().is_some_and(|status| status.observed_generation == generation)
    };
    let seen = world.until("c", "the change is observed", observed).await;
    assert!(has(&seen, "Reconciling"), "{:?}", seen.status);
    see_template(&world, "c-0-r0").await;
    world.gone::<Pod>("c-0-r0-0").await;
    world.start_pod("c-0-r0").await;
    world.until("c", "is done", |c: &VectorCollection| !has(c, "Reconciling")).await;

    // Nor does anybody play the controller of Deployments.
    let changed = world
        .change::<VectorCollection>("c", json!({"spec": {"router": {"minReplicas": 3}}}))
        .await;
    let generation = changed.metadata.generation;
    let observed = |c: &VectorCollection| {
        c.status.as_ref().is_some_and(|status| status.observed_generation == generation)
    };
    let seen = world.until("c", "the change is observed", observed).await;
    assert!(has(&seen, "Reconciling"), "{:?}", seen.status);
    world.condition("c", "Reconciling", "True", "RouterStarting").await;
    world.condition("c", "Ready", "True", "Available").await;
    let three = |d: &Deployment| d.spec.as_ref().and_then(|spec| spec.replicas) == Some(3);
    world.until("shoal", "is changed", three).await;
    world.start_router().await;
    world.until("c", "is done", |c: &VectorCollection| !has(c, "Reconciling")).await;
}
