//! What became of a shard can be seen: who leads, who lacks what, and how the last failover went, in the status and as events.

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::json;
use shoal_crds::shard::{FailoverReason, LastFailover, LogState, ReplicaRole};
use shoal_crds::{Shard, VectorCollection};
use shoal_proto::pb;

use crate::fakes::{Fakes, disk};
use crate::replicas::{agree, agree_in};
use crate::world::{World, conditions, eventually};

/// Reasons of the events on an object, each as often as it was told.
async fn events(world: &World, kind: &str, name: &str) -> Vec<(String, String)> {
    let all = world.api::<Event>().list(&ListParams::default()).await.expect("events");
    let about = |event: &&Event| {
        let regarding = event.regarding.clone().unwrap_or_default();
        regarding.kind.as_deref() == Some(kind) && regarding.name.as_deref() == Some(name)
    };
    let told = |event: &Event| {
        (event.reason.clone().unwrap_or_default(), event.note.clone().unwrap_or_default())
    };
    all.items.iter().filter(about).map(told).collect()
}

async fn told_once(world: &World, kind: &str, name: &str, reason: &str, words: &str) {
    eventually(&format!("{kind} {name} tells {reason}: {words}"), || async {
        let all = events(world, kind, name).await;
        let count = all.iter().filter(|(r, note)| r == reason && note.contains(words)).count();
        if count == 1 { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
}

fn roles(shard: &Shard) -> Vec<(ReplicaRole, Option<LogState>)> {
    let states = shard.status.iter().flat_map(|status| &status.replica_states);
    states.map(|state| (state.role, state.log)).collect()
}

#[tokio::test]
async fn a_failover_is_told_by_whoever_leads_now_in_the_status_and_as_an_event() {
    use LogState::CaughtUp;
    use ReplicaRole::{Follower, Primary};
    let Some(world) = World::new("failovers-told").await else { return };
    world.serving("c", 1, json!({"replication": {"replicas": 3}})).await;
    agree(&world, &[0, 1, 2], 0).await;
    let fakes = Fakes::start(&world, 3).await;
    let well = [(Primary, Some(CaughtUp)), (Follower, Some(CaughtUp)), (Follower, Some(CaughtUp))];
    let first: Shard = world.until("c-0", "all is well", |s| roles(s) == well).await;
    assert_eq!(first.status.and_then(|status| status.last_failover), None);

    // r1 leads now.
    fakes.change(0, |said| said.role = pb::ReplicaRole::Follower.into());
    fakes.change(1, |said| {
        said.role = pb::ReplicaRole::Primary.into();
        said.behind = [0, 2].map(|n| pb::Behind { disk: disk(n).into(), ops: 0 }).into();
        said.failover = Some(pb::Failover {
            epoch: Some(pb::Epoch { number: 2, nonce: 7 }),
            from: disk(0).into(),
            detected_ms: 1_700_000_000_000,
            promoted_ms: 1_700_000_001_250,
            duration_ms: Some(2_900),
            planned: false,
            former: Some(pb::Epoch { number: 1, nonce: 7 }),
            lost_ops: None,
        });
    });
    agree_in(&world, "2", &[0, 1, 2], 1).await;
    let tells = |s: &Shard| s.status.as_ref().is_some_and(|s| s.last_failover.is_some());
    let told: Shard = world.until("c-0", "tells of it", tells).await;
    let last = told.status.and_then(|status| status.last_failover).expect("told");
    assert_eq!((last.epoch.as_str(), last.from.as_str(), last.to.as_str()), ("2", "r0", "r1"));
    assert_eq!((last.duration_ms, last.lost_ops), (Some(2_900), None));
    assert_eq!(last.reason, FailoverReason::PrimaryLost);
    assert_eq!(last.promoted.0.as_second(), 1_700_000_001);
    let same = |c: &VectorCollection| {
        let last = c.status.as_ref().and_then(|status| status.last_failover.as_ref());
        last.is_some_and(|last| last.shard.as_deref() == Some("c-0") && last.epoch == "2")
    };
    world.until("c", "tells the same", same).await;
    let words = "replica r1 leads epoch 2 in the place of r0, 2900 ms";
    told_once(&world, "Shard", "c-0", "Failover", words).await;
    told_once(&world, "VectorCollection", "c", "Failover", words).await;

    // r0 is back, and what only it had is cut off its log.
    fakes.change(0, |said| {
        said.last_epoch = 2;
        let epoch = Some(pb::Epoch { number: 1, nonce: 7 });
        said.cut = vec![pb::CutOps { epoch, ops: 12, by: 2 }];
    });
    let lost = |last: &LastFailover| last.epoch == "2" && last.lost_ops == Some(12);
    let tells = |s: &Shard| s.status.iter().flat_map(|s| &s.last_failover).any(lost);
    world.until("c-0", "tells what was lost", tells).await;
    let same = |c: &VectorCollection| c.status.iter().flat_map(|s| &s.last_failover).any(lost);
    world.until("c", "tells the same", same).await;
    for (kind, name) in [("Shard", "c-0"), ("VectorCollection", "c")] {
        told_once(&world, kind, name, "AcknowledgedOpsLost", "12 ops that replica r0").await;
        told_once(&world, kind, name, "Failover", words).await;
    }
}

#[tokio::test]
async fn a_replica_that_shows_too_late_what_was_acknowledged_is_named() {
    let Some(world) = World::new("failovers-late").await else { return };
    let replication = json!({"replicas": 3, "visibilitySla": "3s"});
    world.serving("c", 1, json!({"replication": replication})).await;
    agree(&world, &[0, 1, 2], 0).await;
    // Nobody told yet.
    world.condition("c", "VisibleInTime", "Unknown", "NotKnown").await;
    let fakes = Fakes::start(&world, 3).await;
    world.condition("c", "VisibleInTime", "True", "InTime").await;
    fakes.change(1, |said| said.stale_ms = 2_900);
    fakes.change(2, |said| said.stale_ms = 3_100);
    let late = world.condition("c", "VisibleInTime", "False", "Late").await;
    assert!(late.message.contains("replica c-0-r2 shows"), "{}", late.message);
    let told = |s: &Shard| {
        let conditions = s.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| c.type_ == "VisibleInTime" && c.status == "False")
    };
    world.until("c-0", "tells the same", told).await;
    told_once(&world, "VectorCollection", "c", "Late", "c-0-r2").await;
    fakes.change(2, |said| said.stale_ms = 0);
    world.condition("c", "VisibleInTime", "True", "InTime").await;
    told_once(&world, "VectorCollection", "c", "InTime", "in time").await;
}

#[tokio::test]
async fn a_replica_that_lacks_something_is_told_and_drains_wait_for_it() {
    let Some(world) = World::new("failovers-behind").await else { return };
    world.serving("c", 1, json!({"replication": {"replicas": 3}})).await;
    agree(&world, &[0, 1, 2], 0).await;
    let fakes = Fakes::start(&world, 3).await;
    let log = |shard: &Shard| roles(shard).get(2).and_then(|(_, log)| *log);
    world.until("c-0", "has caught up", |s| log(s) == Some(LogState::CaughtUp)).await;
    crate::replicas::least_available(&world, 2).await;

    fakes.lacks(2, 52_345);
    let behind: Shard = world.until("c-0", "is behind", |s| log(s) == Some(LogState::Behind)).await;
    let states = behind.status.expect("a status").replica_states;
    assert_eq!(states[2].behind_ops, Some(52_000));
    // No other pod may be evicted meanwhile.
    crate::replicas::least_available(&world, 3).await;
    let why = world.condition("c", "Reconciling", "True", "ReplicaBehind").await;
    assert!(why.message.contains("replica r2 lacks about 52000 ops"), "{}", why.message);
    told_once(&world, "Shard", "c-0", "ReplicaBehind", "r2 lacks about 52000 ops").await;

    fakes.lacks(2, 3);
    crate::replicas::least_available(&world, 2).await;
    told_once(&world, "Shard", "c-0", "ReplicaCaughtUp", "r2").await;
    let well = |c: &VectorCollection| conditions(c).iter().all(|c| c.type_ != "Reconciling");
    world.until("c", "is as it is to be", well).await;
}
