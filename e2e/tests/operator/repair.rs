//! What someone edits or deletes by hand comes back.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::json;
use shoal_crds::{Shard, VectorCollection};

use crate::world::World;

#[tokio::test]
async fn what_someone_edits_by_hand_comes_back() {
    let Some(world) = World::new("repair-edits").await else { return };
    world.serving("c", 1, json!({})).await;

    world
        .change::<Shard>(
            "c-0",
            json!({"spec": {"image": "evil:1", "placement": {"gen": 9, "slots": "0"}}}),
        )
        .await;
    world
        .until("c-0", "is as it was", |s: &Shard| {
            s.spec.image != "evil:1" && s.spec.placement.generation == 1
        })
        .await;

    let replicas = |set: &StatefulSet| set.spec.as_ref().and_then(|spec| spec.replicas);
    world.change::<StatefulSet>("c-0-r0", json!({"spec": {"replicas": 0}})).await;
    world.until("c-0-r0", "has its replica", |set| replicas(set) == Some(1)).await;

    world.change::<Service>("c-shards", json!({"spec": {"publishNotReadyAddresses": false}})).await;
    world
        .until("c-shards", "publishes", |s: &Service| {
            s.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
        })
        .await;

    world.change::<PodDisruptionBudget>("c-0", json!({"spec": {"maxUnavailable": 5}})).await;
    let one = Some(IntOrString::Int(1));
    world
        .until("c-0", "allows one", |b: &PodDisruptionBudget| {
            b.spec.as_ref().and_then(|spec| spec.max_unavailable.clone()) == one
        })
        .await;

    world.change::<NetworkPolicy>("shoal-shards", json!({"spec": {"ingress": [{}]}})).await;
    world
        .until("shoal-shards", "is strict", |p: &NetworkPolicy| {
            p.spec.as_ref().and_then(|spec| spec.ingress.as_ref()).map(Vec::len) == Some(2)
        })
        .await;

    let wide = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    world.change::<Role>("shoal-router", wide).await;
    world
        .until("shoal-router", "is narrow", |r: &Role| {
            let rules = r.rules.as_deref().unwrap_or_default();
            !rules.is_empty() && !rules.iter().any(|rule| rule.verbs.iter().any(|verb| verb == "*"))
        })
        .await;

    let eve = json!({"subjects": [
        {"kind": "ServiceAccount", "name": "shoal-router", "namespace": "repair-edits"},
        {"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}]});
    world.change::<RoleBinding>("shoal-router", eve).await;
    world
        .until("shoal-router", "binds one", |b: &RoleBinding| {
            b.subjects.as_ref().map(Vec::len) == Some(1)
        })
        .await;

    world.change::<Deployment>("shoal", json!({"spec": {"replicas": 7}})).await;
    world
        .until("shoal", "has two pods", |d: &Deployment| {
            d.spec.as_ref().and_then(|s| s.replicas) == Some(2)
        })
        .await;
}

#[tokio::test]
async fn a_label_taken_away_comes_back_and_what_others_add_stays() {
    let Some(world) = World::new("repair-labels").await else { return };
    world.serving("c", 1, json!({})).await;
    let labels =
        json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null, "theirs": "1"}}});
    world.change::<Service>("c-shards", labels).await;
    let healed: Service = world
        .until("c-shards", "is labelled", |s: &Service| {
            s.labels().contains_key("app.kubernetes.io/managed-by")
        })
        .await;
    assert_eq!(healed.labels().get("theirs").map(String::as_str), Some("1"));
}

#[tokio::test]
async fn what_someone_deletes_comes_back() {
    let Some(world) = World::new("repair-deletes").await else { return };
    let before = world.serving("c", 2, json!({})).await;

    let old: StatefulSet = world.exists("c-1-r0").await;
    world.delete::<StatefulSet>("c-1-r0").await;
    world.until("c-1-r0", "is another", |set: &StatefulSet| set.uid() != old.uid()).await;

    world.delete::<Service>("c-shards").await;
    world.delete::<Service>("shoal").await;
    world.delete::<PodDisruptionBudget>("c-0").await;
    world.delete::<Secret>("shoal-api-key").await;
    // What runs reads the new one from the same file, as the data plane's own tests show.
    world.delete::<Secret>("shoal-internal").await;
    world.delete::<Role>("shoal-router").await;
    world.exists::<Service>("c-shards").await;
    world.exists::<Service>("shoal").await;
    world.exists::<PodDisruptionBudget>("c-0").await;
    world.exists::<Secret>("shoal-api-key").await;
    world.exists::<Secret>("shoal-internal").await;
    world.exists::<Role>("shoal-router").await;

    let old: Shard = world.exists("c-0").await;
    world.delete::<Shard>("c-0").await;
    let new: Shard =
        world.until("c-0", "is another", |shard: &Shard| shard.uid() != old.uid()).await;
    assert_eq!(new.spec, old.spec, "the same part of the ring");
    // Its set is handed over to it, so that collecting the old Shard's things takes no pod along.
    world
        .until("c-0-r0", "belongs to the new Shard", |set: &StatefulSet| {
            let owners = set.owner_references();
            owners.len() == 1 && Some(owners[0].uid.clone()) == new.uid()
        })
        .await;
    let after: VectorCollection = world.exists("c").await;
    assert_eq!(after.status.and_then(|s| s.routing), before.status.and_then(|s| s.routing));
}

#[tokio::test]
async fn a_lost_status_is_rebuilt_with_the_same_table() {
    let Some(world) = World::new("repair-status").await else { return };
    let before = world.serving("c", 3, json!({})).await;
    let routing = before.status.and_then(|status| status.routing);
    let lost = json!({"status": {"routing": null, "image": null}});
    let params = kube::api::PatchParams::default();
    let patch = kube::api::Patch::Merge(&lost);
    world.api::<VectorCollection>().patch_status("c", &params, &patch).await.expect("lost");
    let after: VectorCollection = world
        .until("c", "has a table", |c: &VectorCollection| {
            c.status.as_ref().is_some_and(|s| s.routing.is_some())
        })
        .await;
    assert_eq!(after.status.and_then(|status| status.routing), routing);
}
