//! Shards of several replicas: a set, a disk and a name each, rights over their own Shard, one pod replaced at a time and
//! the primary's last, and more or fewer of them.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use shoal_crds::{Shard, VectorCollection};

use crate::fakes::Fakes;
use crate::world::{World, has};

fn of(replicas: u32) -> Value {
    json!({"replication": {"replicas": replicas}})
}

fn disk(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

/// Plays the replicas of c-0: these vote, one leads, and each that ever was says which disk it has.
pub(crate) async fn agree(world: &World, voters: &[u32], primary: u32) {
    agree_in(world, "1", voters, primary).await;
}

/// The same in some epoch.
pub(crate) async fn agree_in(world: &World, epoch: &str, voters: &[u32], primary: u32) {
    let all = voters.iter().max().map_or(0, |last| last + 1);
    let voters: Vec<String> = voters.iter().copied().map(disk).collect();
    let replica = |number: u32| {
        json!({"name": format!("r{number}"), "diskId": disk(number), "address": "a:1",
            "blank": false})
    };
    let replicas: Vec<Value> = (0..all).map(replica).collect();
    let status = json!({"status": {"replicas": replicas, "register": {
        "epoch": epoch, "nonce": "00000000000000aa", "phase": "Stable",
        "primary": {"diskId": disk(primary), "incarnation": "00000000000000bb"},
        "members": {"generation": "1", "voters": voters, "writeQuorum": voters.len() / 2 + 1},
    }}});
    let shards = world.api::<Shard>();
    shards
        .patch_status("c-0", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .expect("a status");
}

pub(crate) async fn named(world: &World, names: &[&str]) -> Shard {
    let what = format!("has the replicas {names:?}");
    world.until("c-0", &what, |shard: &Shard| shard.spec.replica_names == names).await
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
    let sets = world.api::<StatefulSet>();
    sets.patch_status(name, &PatchParams::default(), &patch).await.expect("seen");
}

fn env(set: &StatefulSet, name: &str) -> Option<String> {
    let pod = set.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers[0].env.iter().flatten().find(|var| var.name == name)?.value.clone()
}

pub(crate) async fn least_available(world: &World, least: i32) {
    let has_it = |budget: &PodDisruptionBudget| {
        let asked = budget.spec.as_ref().and_then(|spec| spec.min_available.clone());
        asked == Some(IntOrString::Int(least))
    };
    world.until("c-0", &format!("keeps {least}"), has_it).await;
}

/// Whether a shard's account may do something to a Shard.
async fn may(world: &World, verb: &str, subresource: &str, shard: &str) -> bool {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{}:shoal-shard-c-0", world.namespace)),
            resource_attributes: Some(ResourceAttributes {
                group: Some("shoal.dev".into()),
                resource: Some("shards".into()),
                subresource: Some(subresource.into()),
                verb: Some(verb.into()),
                name: Some(shard.into()),
                namespace: Some(world.namespace.clone()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews = Api::<SubjectAccessReview>::all(world.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await.expect("answered");
    answer.status.is_some_and(|status| status.allowed)
}

#[tokio::test]
async fn a_shard_of_three_has_three_sets_and_serves_by_two() {
    let Some(world) = World::new("replicas-three").await else { return };
    let mut spec = of(3);
    spec["failover"] = json!({"budget": "1m"});
    let collection = world.collection("c", spec).await;
    let shard = named(&world, &["r0", "r1", "r2"]).await;
    assert_eq!((shard.spec.replicas, shard.spec.next_replica), (3, Some(3)));
    for number in 0..3 {
        let set: StatefulSet = world.exists(&format!("c-0-r{number}")).await;
        // They live through the loss of the Shard.
        assert_eq!(set.owner_references()[0].uid, collection.uid().expect("a uid"));
        let spec = set.spec.as_ref().expect("spec");
        assert_eq!(spec.replicas, Some(1));
        let pod = spec.template.spec.as_ref().expect("a pod");
        assert_eq!(pod.service_account_name.as_deref(), Some("shoal-shard-c-0"));
        assert_eq!(env(&set, "SHOAL_REPLICA"), Some(format!("r{number}")));
        assert_eq!(env(&set, "SHOAL_REGISTER").as_deref(), Some("shard-object"));
        let host = format!("c-0-r{number}-0.c-shards.replicas-three.svc:6335");
        assert_eq!(env(&set, "SHOAL_ADVERTISE"), Some(host));
        assert_eq!(env(&set, "SHOAL_FAILOVER_BUDGET").as_deref(), Some("60000ms"));
        assert_eq!(env(&set, "SHOAL_ACKS").as_deref(), Some("quorum"));
    }
    least_available(&world, 2).await;
    let policy: NetworkPolicy = world.exists("shoal-replicas").await;
    assert!(policy.spec.and_then(|spec| spec.egress).is_some_and(|egress| !egress.is_empty()));

    world.start_router().await;
    world.start_pod("c-0-r0").await;
    let few = |c: &VectorCollection| {
        let ready = c.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == "Ready");
        ready.is_some_and(|c| c.message.contains("1 of 3 replicas serve, 2 are needed"))
    };
    world.until("c", "says how many serve", few).await;
    world.start_pod("c-0-r1").await;
    world.condition("c", "Ready", "True", "Available").await;
    let waiting = world.condition("c", "Reconciling", "True", "ReplicasUnavailable").await;
    assert!(waiting.message.contains("2 of 3 replicas serve"), "{}", waiting.message);
    world.start_pod("c-0-r2").await;
    let whole: VectorCollection =
        world.until("c", "is whole", |c: &VectorCollection| !has(c, "Reconciling")).await;
    let counts = whole.status.and_then(|status| status.shards).expect("counts");
    assert_eq!((counts.total, counts.ready), (1, 1));
    agree(&world, &[0, 1, 2], 2).await;
    let tells = |s: &Shard| {
        let status = s.status.as_ref();
        status.is_some_and(|s| s.pod.as_deref() == Some("c-0-r2-0") && s.ready_replicas == Some(3))
    };
    world.until("c-0", "names the primary's pod", tells).await;
}

#[tokio::test]
async fn replicas_may_write_the_status_of_their_own_shard_and_of_no_other() {
    let Some(world) = World::new("replicas-rights").await else { return };
    let mut spec = of(3);
    spec["sharding"] = json!({"initialShards": 2});
    world.collection("c", spec).await;
    world.exists::<ServiceAccount>("shoal-shard-c-0").await;
    world.exists::<RoleBinding>("shoal-shard-c-1").await;
    for (verb, subresource) in [
        ("get", ""),
        ("list", ""),
        ("watch", ""),
        ("get", "status"),
        ("update", "status"),
        ("patch", "status"),
    ] {
        assert!(may(&world, verb, subresource, "c-0").await, "{verb} {subresource}");
        assert!(!may(&world, verb, subresource, "c-1").await, "{verb} {subresource} of another");
    }
    for verb in ["update", "patch", "delete"] {
        assert!(!may(&world, verb, "", "c-0").await, "{verb}");
    }
    // The operator may not change Roles of names that users choose: it says what to do.
    world.change::<Role>("shoal-shard-c-0", json!({"rules": []})).await;
    let stalled = world.condition("c", "Stalled", "True", "ObjectConflict").await;
    assert!(stalled.message.contains("Role shoal-shard-c-0 is not as"), "{}", stalled.message);
    world.delete::<Role>("shoal-shard-c-0").await;
    world.until("c", "is no longer stalled", |c| !has(c, "Stalled")).await;
    assert!(may(&world, "patch", "status", "c-0").await);
}

#[tokio::test]
async fn a_new_image_reaches_replicas_one_at_a_time_and_the_primary_last() {
    let Some(world) = World::new("replicas-rolling").await else { return };
    world.serving("c", 1, of(3)).await;
    agree(&world, &[0, 1, 2], 0).await;
    let fakes = Fakes::start(&world, 3).await;
    fakes.lacks(2, 5_234);
    world.condition("c", "Reconciling", "True", "ReplicaBehind").await;
    world.change::<VectorCollection>("c", json!({"spec": {"image": "new:2"}})).await;
    for number in 0..3 {
        see_template(&world, &format!("c-0-r{number}")).await;
    }
    // Every pod is ready; but one lacks something, so none goes.
    let waits = |c: &VectorCollection| {
        let conditions = c.status.iter().flat_map(|status| &status.conditions);
        let waiting = "waiting: replica c-0-r2 lacks about 5200 ops";
        conditions.into_iter().any(|c| c.reason == "Rolling" && c.message.contains(waiting))
    };
    world.until("c", "says which is waited for", waits).await;
    for number in 0..3 {
        world.exists::<Pod>(&format!("c-0-r{number}-0")).await;
    }
    fakes.lacks(2, 0);
    for (number, others) in [(1, [0, 2]), (2, [0, 1]), (0, [1, 2])] {
        let old = format!("c-0-r{number}-0");
        world.gone::<Pod>(&old).await;
        for other in others {
            world.exists::<Pod>(&format!("c-0-r{other}-0")).await;
        }
        world.condition("c", "Ready", "True", "Available").await;
        world.start_pod(&format!("c-0-r{number}")).await;
    }
    world.until("c", "is done", |c: &VectorCollection| !has(c, "Reconciling")).await;
}

#[tokio::test]
async fn replicas_are_added_under_new_names_and_go_once_their_disks_do_not_vote() {
    let Some(world) = World::new("replicas-scaling").await else { return };
    let mut spec = of(3);
    spec["deletionPolicy"] = "Delete".into();
    world.serving("c", 1, spec).await;
    agree(&world, &[0, 1, 2], 0).await;

    world.change::<VectorCollection>("c", json!({"spec": of(5)})).await;
    named(&world, &["r0", "r1", "r2", "r3", "r4"]).await;
    world.start_pod("c-0-r3").await;
    world.start_pod("c-0-r4").await;
    least_available(&world, 4).await;
    // Their pods are ready, and they do not vote yet.
    world.condition("c", "Reconciling", "True", "ReplicaJoining").await;
    agree(&world, &[0, 1, 2, 3, 4], 4).await;
    world.until("c", "is whole", |c: &VectorCollection| !has(c, "Reconciling")).await;

    // r4 leads, so r3 and r2 go: but not before their disks ceased to vote.
    world.change::<VectorCollection>("c", json!({"spec": of(3)})).await;
    named(&world, &["r0", "r1", "r4"]).await;
    let waits = |c: &VectorCollection| {
        let conditions = c.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| c.message.contains("does not vote any more"))
    };
    world.until("c", "waits for the members", waits).await;
    least_available(&world, 4).await;
    world.exists::<StatefulSet>("c-0-r2").await;
    world.exists::<StatefulSet>("c-0-r3").await;
    agree(&world, &[0, 1, 2, 4], 4).await;
    world.gone::<StatefulSet>("c-0-r3").await;
    world.exists::<StatefulSet>("c-0-r2").await;
    // Its disk goes after its pod.
    let claim: PersistentVolumeClaim = world.exists("data-c-0-r3-0").await;
    assert_eq!(claim.metadata.deletion_timestamp, None);
    world.delete::<Pod>("c-0-r3-0").await;
    let going = |c: &PersistentVolumeClaim| c.metadata.deletion_timestamp.is_some();
    world.until("data-c-0-r3-0", "is deleted", going).await;

    // From here on disks are kept.
    world.change::<VectorCollection>("c", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    agree(&world, &[0, 1, 4], 4).await;
    world.gone::<StatefulSet>("c-0-r2").await;
    world.delete::<Pod>("c-0-r2-0").await;
    let marked = |c: &PersistentVolumeClaim| c.annotations().contains_key("shoal.dev/left");
    let kept = world.until("data-c-0-r2-0", "is marked", marked).await;
    assert_eq!(kept.metadata.deletion_timestamp, None);
    least_available(&world, 2).await;
    // Nothing of it is left that the Shard has to know.
    let forgot = |shard: &Shard| {
        let mut known = shard.status.iter().flat_map(|status| &status.replicas);
        known.all(|replica| replica.name != "r2")
    };
    world.until("c-0", "forgets it", forgot).await;

    world.change::<VectorCollection>("c", json!({"spec": of(5)})).await;
    let five = named(&world, &["r0", "r1", "r4", "r5", "r6"]).await;
    assert_eq!(five.spec.next_replica, Some(7), "no name comes twice");
}

#[tokio::test]
async fn a_deleted_shard_comes_back_with_the_replicas_it_had() {
    let Some(world) = World::new("replicas-no-shard").await else { return };
    world.serving("c", 1, of(3)).await;
    let mut sets = Vec::new();
    for number in 0..3 {
        let set: StatefulSet = world.exists(&format!("c-0-r{number}")).await;
        sets.push(set.uid());
    }
    let before: Shard = world.exists("c-0").await;
    world.delete::<Shard>("c-0").await;
    let after: Shard =
        world.until("c-0", "is made anew", |shard: &Shard| shard.uid() != before.uid()).await;
    assert_eq!(after.spec, before.spec);
    world.condition("c", "Ready", "True", "Available").await;
    for (number, uid) in (0..).zip(sets) {
        let same: StatefulSet = world.exists(&format!("c-0-r{number}")).await;
        assert_eq!((same.uid(), same.metadata.deletion_timestamp), (uid, None));
    }
}

#[tokio::test]
async fn replicas_of_a_former_life_find_their_disks_again() {
    let Some(world) = World::new("replicas-again").await else { return };
    world.serving("c", 1, of(3)).await;
    world.delete::<VectorCollection>("c").await;
    world.gone::<VectorCollection>("c").await;
    for number in 0..3 {
        world.delete::<Pod>(&format!("c-0-r{number}-0")).await;
        world.delete::<StatefulSet>(&format!("c-0-r{number}")).await;
    }
    world.delete::<Shard>("c-0").await;
    world.gone::<Shard>("c-0").await;

    // Fewer are asked for: which of them are let go is known once one leads.
    world.collection("c", json!({})).await;
    let shard = named(&world, &["r0", "r1", "r2"]).await;
    assert_eq!((shard.spec.replicas, shard.spec.replicated), (1, true));
    world.change::<VectorCollection>("c", json!({"spec": of(3)})).await;
    world.until("c-0", "is of three", |shard: &Shard| shard.spec.replicas == 3).await;
    world.exists::<StatefulSet>("c-0-r2").await;
}
