//! From `kubectl apply` to serving, and to the end.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;
use shoal_crds::{Shard, VectorCollection};

use crate::world::{IMAGE, World, eventually, has};

#[tokio::test]
async fn a_collection_becomes_shards_that_serve() {
    let Some(world) = World::new("lifecycle-serve").await else { return };
    world.collection("glosses", json!({"sharding": {"initialShards": 2}})).await;

    let starting = world.condition("glosses", "Ready", "False", "ShardsStarting").await;
    assert!(starting.message.contains("0 of 2 shards serve"), "{}", starting.message);
    for name in ["glosses-0", "glosses-1"] {
        let shard: Shard = world.exists(name).await;
        assert_eq!((shard.spec.image.as_str(), shard.spec.replicas), (IMAGE, 1));
        let set: StatefulSet = world.exists(&format!("{name}-r0")).await;
        assert_eq!(set.owner_references()[0].uid, shard.uid().expect("a uid"));
        world.exists::<PodDisruptionBudget>(name).await;
    }
    let headless: Service = world.exists("glosses-shards").await;
    assert_eq!(headless.spec.and_then(|spec| spec.cluster_ip).as_deref(), Some("None"));
    let collection: VectorCollection = world.exists("glosses").await;
    let status = collection.status.clone().expect("a status");
    let table = status.routing.expect("a table").table;
    assert_eq!(
        table.iter().map(|part| part.shard.as_str()).collect::<Vec<_>>(),
        ["glosses-0", "glosses-1"]
    );
    assert_eq!(status.image.as_deref(), Some(IMAGE));
    assert!(has(&collection, "Reconciling"));

    // The namespace enforces the restricted profile, so these would be refused if the template were not.
    world.start_pod("glosses-0-r0").await;
    world.start_pod("glosses-1-r0").await;
    world.condition("glosses", "Ready", "False", "RouterStarting").await;
    world.start_router().await;
    world.condition("glosses", "Ready", "True", "Available").await;
    let ready: VectorCollection =
        world.until("glosses", "Reconciling is gone", |c| !has(c, "Reconciling")).await;
    let status = ready.status.expect("a status");
    assert_eq!(status.observed_generation, ready.metadata.generation);
    assert_eq!(status.endpoint.as_deref(), Some("http://shoal.lifecycle-serve.svc:6333"));
    let shard: Shard = world
        .until("glosses-0", "has a pod", |s: &Shard| {
            s.status.as_ref().is_some_and(|status| status.pod.is_some())
        })
        .await;
    assert_eq!(shard.status.and_then(|status| status.pod).as_deref(), Some("glosses-0-r0-0"));
    let reasons = event_reasons(&world, "glosses").await;
    assert!(reasons.contains(&"Available".to_owned()), "{reasons:?}");
}

#[tokio::test]
async fn a_namespace_gets_a_router_with_least_rights_and_keys() {
    let Some(world) = World::new("lifecycle-router").await else { return };
    world.collection("c", json!({"router": {"minReplicas": 3}})).await;
    let deployment: Deployment = world.exists("shoal").await;
    assert_eq!(deployment.spec.and_then(|spec| spec.replicas), Some(3));
    world.exists::<Service>("shoal").await;
    world.exists::<ServiceAccount>("shoal-router").await;
    world.exists::<ServiceAccount>("shoal-shard").await;
    world.exists::<RoleBinding>("shoal-router").await;
    world.exists::<NetworkPolicy>("shoal-shards").await;
    world.exists::<NetworkPolicy>("shoal-router").await;
    world.exists::<PodDisruptionBudget>("shoal-router").await;
    let role: Role = world.exists("shoal-router").await;
    let resources: Vec<_> =
        role.rules.into_iter().flatten().flat_map(|r| r.resources.unwrap_or_default()).collect();
    assert_eq!(resources, ["vectorcollections", "shards"]);
    for (secret, key) in [("shoal-api-key", "api-key"), ("shoal-internal", "token")] {
        let secret: Secret = world.exists(secret).await;
        assert_eq!(secret.data.expect("data")[key].0.len(), 64);
    }
}

#[tokio::test]
async fn a_key_the_user_brought_is_used_and_never_overwritten() {
    let Some(world) = World::new("lifecycle-own-key").await else { return };
    let own = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shoal-api-key"},
        "stringData": {"api-key": "mine"}});
    let own: Secret = serde_json::from_value(own).expect("a Secret");
    world.api().create(&Default::default(), &own).await.expect("made");
    world.collection("c", json!({})).await;
    world.exists::<Deployment>("shoal").await;
    let kept: Secret = world.exists("shoal-api-key").await;
    assert_eq!(kept.data.expect("data")["api-key"].0, b"mine");
}

#[tokio::test]
async fn a_router_goes_a_while_after_the_last_collection_and_the_keys_stay() {
    let Some(world) = World::new("lifecycle-grace").await else { return };
    world.collection("c", json!({})).await;
    world.exists::<Deployment>("shoal").await;
    world.delete::<VectorCollection>("c").await;
    world.gone::<Deployment>("shoal").await;
    world.gone::<Service>("shoal").await;
    world.gone::<Role>("shoal-router").await;
    world.gone::<NetworkPolicy>("shoal-shards").await;
    world.exists::<Secret>("shoal-api-key").await;
}

#[tokio::test]
async fn a_named_namespace_has_a_router_without_a_collection() {
    let Some(world) = World::new("always-routed").await else { return };
    world.exists::<Deployment>("shoal").await;
}

#[tokio::test]
async fn with_retain_there_is_no_finalizer_and_disks_stay() {
    let Some(world) = World::new("lifecycle-retain").await else { return };
    let collection = world.serving("c", 1, json!({})).await;
    assert_eq!(collection.metadata.finalizers, None);
    world.delete::<VectorCollection>("c").await;
    world.gone::<VectorCollection>("c").await;
    world.collect("c", 1).await;
    world.exists::<PersistentVolumeClaim>("data-c-0-r0-0").await;
}

#[tokio::test]
async fn with_delete_the_disks_go_after_the_pods_and_the_object_last() {
    let Some(world) = World::new("lifecycle-delete").await else { return };
    let collection = world.serving("c", 1, json!({"deletionPolicy": "Delete"})).await;
    assert_eq!(collection.metadata.finalizers, Some(vec!["shoal.dev/claims".to_owned()]));
    world.delete::<VectorCollection>("c").await;
    world.gone::<Shard>("c-0").await;
    world.gone::<StatefulSet>("c-0-r0").await;
    let waiting = world.condition("c", "Ready", "False", "Deleting").await;
    assert!(waiting.message.contains("pods"), "{}", waiting.message);
    world.exists::<PersistentVolumeClaim>("data-c-0-r0-0").await;
    world.delete::<Pod>("c-0-r0-0").await;
    // Kubernetes protects claims that were in use; here nothing runs that takes the protection off.
    world
        .until("data-c-0-r0-0", "is deleted", |c: &PersistentVolumeClaim| {
            c.metadata.deletion_timestamp.is_some()
        })
        .await;
    world
        .change::<PersistentVolumeClaim>("data-c-0-r0-0", json!({"metadata": {"finalizers": null}}))
        .await;
    world.gone::<VectorCollection>("c").await;
}

#[tokio::test]
async fn a_disk_that_no_watch_tells_of_is_found_before_the_object_goes() {
    let Some(world) = World::new("lifecycle-unwatched").await else { return };
    world.serving("c", 1, json!({"deletionPolicy": "Delete"})).await;
    // Watches go by this label.
    let unlabelled = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    world.change::<PersistentVolumeClaim>("data-c-0-r0-0", unlabelled).await;
    world.delete::<VectorCollection>("c").await;
    world.gone::<StatefulSet>("c-0-r0").await;
    world.delete::<Pod>("c-0-r0-0").await;
    world
        .until("data-c-0-r0-0", "is deleted", |c: &PersistentVolumeClaim| {
            c.metadata.deletion_timestamp.is_some()
        })
        .await;
    world
        .change::<PersistentVolumeClaim>("data-c-0-r0-0", json!({"metadata": {"finalizers": null}}))
        .await;
}

#[tokio::test]
async fn the_deletion_policy_counts_also_while_the_rest_of_the_spec_cannot_work() {
    let Some(world) = World::new("lifecycle-invalid").await else { return };
    world.serving("c", 1, json!({})).await;
    let resources = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}});
    let spec = json!({"router": {"resources": resources}, "deletionPolicy": "Delete"});
    world.change::<VectorCollection>("c", json!({"spec": spec})).await;
    let stalled = world.condition("c", "Stalled", "True", "InvalidSpec").await;
    assert!(stalled.message.contains("spec.router.resources"), "{}", stalled.message);
    world
        .until("c", "has the finalizer", |c: &VectorCollection| {
            c.metadata.finalizers == Some(vec!["shoal.dev/claims".to_owned()])
        })
        .await;
    // It is that collection's trouble alone.
    world.serving("other", 1, json!({})).await;
}

#[tokio::test]
async fn a_paused_collection_is_left_alone_and_says_so() {
    let Some(world) = World::new("lifecycle-pause").await else { return };
    world.serving("c", 1, json!({})).await;
    let pause =
        |value: Option<&str>| json!({"metadata": {"annotations": {"shoal.dev/paused": value}}});
    world.change::<VectorCollection>("c", pause(Some("true"))).await;
    world.condition("c", "Ready", "True", "Paused").await;
    world.delete::<PodDisruptionBudget>("c-0").await;
    world.change::<VectorCollection>("c", json!({"spec": {"image": "shoal.test/shoal:2"}})).await;
    // Another collection is acted on meanwhile, so what is not done by then is left alone.
    world.collection("other", json!({})).await;
    world.exists::<PodDisruptionBudget>("other-0").await;
    let shard: Shard = world.exists("c-0").await;
    assert_eq!(shard.spec.image, IMAGE);
    assert!(world.api::<PodDisruptionBudget>().get_opt("c-0").await.expect("asked").is_none());
    let paused: VectorCollection = world.exists("c").await;
    assert!(paused.status.and_then(|s| s.observed_generation) < paused.metadata.generation);

    world.change::<VectorCollection>("c", pause(None)).await;
    world.exists::<PodDisruptionBudget>("c-0").await;
    world.until("c-0", "has the new image", |s: &Shard| s.spec.image == "shoal.test/shoal:2").await;
}

async fn event_reasons(world: &World, about: &str) -> Vec<String> {
    let api = world.api::<Event>();
    eventually("events", || async {
        let all = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let about =
            |event: &Event| event.regarding.as_ref().and_then(|o| o.name.as_deref()) == Some(about);
        let reasons: Vec<String> =
            all.into_iter().filter(about).filter_map(|event| event.reason).collect();
        if reasons.iter().any(|reason| reason == "Available") {
            Ok(reasons)
        } else {
            Err(format!("{reasons:?}"))
        }
    })
    .await
}
