//! What cannot be, and is said.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ResourceQuota, Secret, Service};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use shoal_crds::{Shard, VectorCollection};

use crate::world::{World, eventually, has};

#[tokio::test]
async fn of_two_collections_with_one_name_the_older_serves_and_the_other_follows() {
    let Some(world) = World::new("conflict-names").await else { return };
    world.collection("first", json!({"name": "shared"})).await;
    world.exists::<Shard>("first-0").await;
    // Creation times have whole seconds; the younger must be younger by one.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    world.collection("second", json!({"name": "shared"})).await;
    let stalled = world.condition("second", "Stalled", "True", "NameConflict").await;
    assert!(stalled.message.contains("first"), "{}", stalled.message);
    world.condition("second", "Ready", "False", "NameConflict").await;
    assert!(world.api::<Shard>().get_opt("second-0").await.expect("asked").is_none());
    let first: VectorCollection = world.exists("first").await;
    assert!(!has(&first, "Stalled"));
    world.delete::<VectorCollection>("first").await;
    world.exists::<Shard>("second-0").await;
    world.until("second", "is no longer stalled", |c| !has(c, "Stalled")).await;
}

#[tokio::test]
async fn other_numbers_of_shards_are_refused_and_it_keeps_serving() {
    let Some(world) = World::new("conflict-unsupported").await else { return };
    world.serving("c", 2, json!({})).await;
    let asked = json!({"spec": {"sharding": {"initialShards": 5}}});
    world.change::<VectorCollection>("c", asked).await;
    let stalled = world.condition("c", "Stalled", "True", "ReshardingUnsupported").await;
    assert!(stalled.message.contains("set initialShards: 2"), "{}", stalled.message);
    world.condition("c", "Ready", "True", "Available").await;
    world.delete::<StatefulSet>("c-1-r0").await;
    world.exists::<StatefulSet>("c-1-r0").await;
    assert!(world.api::<Shard>().get_opt("c-2").await.expect("asked").is_none());
    world
        .change::<VectorCollection>("c", json!({"spec": {"sharding": {"initialShards": 2}}}))
        .await;
    world.until("c", "is no longer stalled", |c| !has(c, "Stalled")).await;
}

#[tokio::test]
async fn a_service_of_someone_else_is_left_alone_and_told() {
    let Some(world) = World::new("conflict-foreign").await else { return };
    let theirs = json!({"metadata": {"name": "shoal", "labels": {"theirs": "1"}},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}}});
    let theirs: Service = serde_json::from_value(theirs).expect("a Service");
    world.api().create(&PostParams::default(), &theirs).await.expect("made");
    world.collection("c", json!({})).await;
    let stalled = world.condition("c", "Stalled", "True", "ObjectConflict").await;
    assert!(stalled.message.contains("Service shoal exists"), "{}", stalled.message);
    world.exists::<Deployment>("shoal").await;
    let kept: Service = world.exists("shoal").await;
    assert_eq!(kept.spec.and_then(|s| s.selector), theirs.spec.and_then(|s| s.selector));
    // A router nobody can reach does not make a collection ready.
    world.start_pod("c-0-r0").await;
    world.start_router().await;
    world.condition("c", "Ready", "False", "RouterStarting").await;

    world.delete::<Service>("shoal").await;
    world.change::<VectorCollection>("c", json!({"metadata": {"labels": {"look": "again"}}})).await;
    world.condition("c", "Ready", "True", "Available").await;
    world.until("c", "is no longer stalled", |c| !has(c, "Stalled")).await;
}

#[tokio::test]
async fn a_spec_the_api_server_lets_through_and_then_refuses_is_told_and_costs_no_one_else() {
    let Some(world) = World::new("conflict-bad-spec").await else { return };
    let bad = json!({"shardPods": {"nodeSelector": {"not a label": "x"}}});
    world.collection("bad", bad).await;
    world.collection("good", json!({})).await;
    let stalled = world.condition("bad", "Stalled", "True", "ApplyFailed").await;
    assert!(stalled.message.contains("not a label"), "{}", stalled.message);
    world.exists::<StatefulSet>("good-0-r0").await;
    let good: VectorCollection = world.exists("good").await;
    assert!(!has(&good, "Stalled"));
    let healed = json!({"spec": {"shardPods": {"nodeSelector": null}}});
    world.change::<VectorCollection>("bad", healed).await;
    world.exists::<StatefulSet>("bad-0-r0").await;
    world.until("bad", "is no longer stalled", |c| !has(c, "Stalled")).await;
}

#[tokio::test]
async fn a_secret_that_may_not_be_made_is_told_by_the_collections() {
    let Some(world) = World::new("conflict-quota").await else { return };
    let quota =
        json!({"metadata": {"name": "no-secrets"}, "spec": {"hard": {"count/secrets": "0"}}});
    let quota: ResourceQuota = serde_json::from_value(quota).expect("a quota");
    world.api().create(&PostParams::default(), &quota).await.expect("made");
    // The controller of quotas, which does not run here, would say the same.
    let none = json!({"count/secrets": "0"});
    let status = json!({"status": {"hard": none, "used": none}});
    let params = PatchParams::default();
    let quotas = world.api::<ResourceQuota>();
    quotas.patch_status("no-secrets", &params, &Patch::Merge(&status)).await.expect("a status");
    eventually("the quota counts", || async {
        let mut probe = Secret::default();
        probe.metadata.name = Some("probe".into());
        let params = PostParams { dry_run: true, ..PostParams::default() };
        match world.api().create(&params, &probe).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    world.collection("c", json!({})).await;
    let stalled = world.condition("c", "Stalled", "True", "ApplyFailed").await;
    assert!(stalled.message.contains("Secret shoal-api-key"), "{}", stalled.message);
}
