//! What a person, kstatus and a script read from a status.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use proptest::prelude::*;
use shoal_crds::collection::ShardSlots;

use super::*;
use crate::collection::testing::collection;
use crate::collection::transitions::transitions;
use crate::collection::view::ReplicaView;
use crate::samples::Sample;

fn by_type(conditions: &[Condition]) -> BTreeMap<&str, &Condition> {
    conditions.iter().map(|condition| (condition.type_.as_str(), condition)).collect()
}

fn pod(ready: bool) -> Arc<Pod> {
    let status = if ready { "True" } else { "False" };
    let condition =
        PodCondition { type_: "Ready".into(), status: status.into(), ..PodCondition::default() };
    let mut pod = Pod::default();
    pod.metadata.name = Some("c-0-r0-0".into());
    pod.status = Some(PodStatus { conditions: Some(vec![condition]), ..PodStatus::default() });
    Arc::new(pod)
}

fn report(ready: &[bool]) -> Report {
    let names: Vec<String> = (0..ready.len()).map(|index| format!("c-{index}")).collect();
    let slots = |shard: &String| ShardSlots { shard: shard.clone(), slots: String::new() };
    let view = |(name, &ready): (&String, &bool)| ShardView {
        name: name.clone(),
        replicas: vec![ReplicaView { number: 0, pod: Some(pod(ready)) }],
        primary: Some(0),
        ..ShardView::default()
    };
    Report {
        routing: Some(Routing { generation: 1, table: names.iter().map(slots).collect() }),
        shards: names.iter().zip(ready).map(view).collect(),
        ..Report::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// Status after a report, given the object as it was.
fn after(made: &VectorCollection, report: &Report, second: i64) -> VectorCollection {
    let status = Some(collection_status(made, report, at(second)));
    VectorCollection { status, ..made.clone() }
}

fn condition<'a>(made: &'a VectorCollection, type_: &str) -> Option<&'a Condition> {
    by_type(&made.status.as_ref()?.conditions).get(type_).copied()
}

fn summary(made: &VectorCollection) -> Vec<(String, String, String)> {
    let conditions =
        made.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    conditions.into_iter().map(|c| (c.type_, c.status, c.reason)).collect()
}

fn entry(type_: &str, status: &str, reason: &str) -> (String, String, String) {
    (type_.into(), status.into(), reason.into())
}

#[test]
fn a_collection_starts_serves_and_loses_a_shard() {
    let starting = after(&collection("c"), &report(&[true, false]), 1);
    let expected =
        [entry("Ready", "False", "ShardsStarting"), entry("Reconciling", "True", "ShardsStarting")];
    assert_eq!(summary(&starting), expected);
    let message = &condition(&starting, "Ready").expect("ready").message;
    assert!(message.starts_with("1 of 2 shards serve; c-1: pod"), "{message}");

    let serving = after(&starting, &report(&[true, true]), 2);
    assert_eq!(summary(&serving), [entry("Ready", "True", "Available")]);

    let lost = after(&serving, &report(&[false, true]), 3);
    assert_eq!(condition(&lost, "Ready").map(|c| c.reason.as_str()), Some("ShardsUnavailable"));
    let still_lost = after(&lost, &report(&[false, true]), 4);
    assert_eq!(still_lost.status, lost.status, "the same world gives the same status");
}

#[test]
fn a_collection_is_not_ready_before_its_router_is() {
    let mut waiting = report(&[true]);
    waiting.router = RouterState::Away("the router is being created".into());
    let waiting = after(&collection("c"), &waiting, 1);
    let expected =
        [entry("Ready", "False", "RouterStarting"), entry("Reconciling", "True", "RouterStarting")];
    assert_eq!(summary(&waiting), expected);
}

#[test]
fn while_the_router_changes_a_collection_serves_and_is_not_yet_as_asked() {
    let mut changing = report(&[true]);
    changing.router = RouterState::Changing("its pods are being replaced".into());
    let changing = after(&collection("c"), &changing, 1);
    let expected =
        [entry("Ready", "True", "Available"), entry("Reconciling", "True", "RouterStarting")];
    assert_eq!(summary(&changing), expected);
}

#[test]
fn a_refused_change_stalls_and_leaves_ready_as_it_is() {
    let serving = after(&collection("c"), &report(&[true]), 1);
    let mut refused = report(&[true]);
    refused.problem = Some(Problem::new(reason::RESHARDING_UNSUPPORTED, "set it to 1"));
    let stalled = after(&serving, &refused, 2);
    let expected =
        [entry("Ready", "True", "Available"), entry("Stalled", "True", "ReshardingUnsupported")];
    assert_eq!(summary(&stalled), expected);
    let healed = after(&stalled, &report(&[true]), 3);
    assert_eq!(summary(&healed), [entry("Ready", "True", "Available")]);
}

#[test]
fn a_collection_that_cannot_start_says_so_in_both_conditions() {
    let problem = Some(Problem::new(reason::NAME_CONFLICT, "taken"));
    let held = after(&collection("c"), &Report { problem, ..Report::default() }, 1);
    let expected =
        [entry("Ready", "False", "NameConflict"), entry("Stalled", "True", "NameConflict")];
    assert_eq!(summary(&held), expected);
    assert_eq!(
        held.status.as_ref().and_then(|s| s.shards.clone()),
        Some(ShardCounts { total: 0, ready: 0 })
    );
}

#[test]
fn pausing_keeps_what_was_known_and_the_generation_that_was_acted_on() {
    let mut serving = after(&collection("c"), &report(&[true]), 1);
    serving.metadata.generation = Some(7);
    let paused = paused_status(&serving, at(2));
    assert_eq!(paused.observed_generation, Some(1));
    let ready = by_type(&paused.conditions)["Ready"];
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "Paused"));
    assert_eq!(ready.last_transition_time.0, at(1), "its status did not change");
    let again = VectorCollection { status: Some(paused.clone()), ..serving };
    assert_eq!(paused_status(&again, at(3)), paused);
}

#[test]
fn a_lost_table_or_image_is_never_lost_by_a_report_that_does_not_know_it() {
    let serving =
        after(&collection("c"), &Report { image: Some("i".into()), ..report(&[true]) }, 1);
    let unknown = after(&serving, &Report::default(), 2);
    let status = unknown.status.expect("status");
    assert_eq!(status.routing, serving.status.and_then(|s| s.routing));
    assert_eq!(status.image.as_deref(), Some("i"));
}

#[test]
fn points_are_summed_once_every_shard_told_its_own() {
    let mut told = report(&[true, true]);
    told.shards[0].sample = Some(Sample { points: 5_200, disk_bytes: 10 });
    assert_eq!(after(&collection("c"), &told, 1).status.and_then(|s| s.points), None);
    told.shards[1].sample = Some(Sample { points: 5_100, disk_bytes: 20 });
    let status = after(&collection("c"), &told, 1).status.expect("status");
    assert_eq!((status.points, status.disk_bytes), (Some(10_000), Some(30)));
}

#[test]
fn a_deletion_is_in_progress_not_stalled() {
    let status = deleting_status(&collection("c"), "deleting its disks", at(1));
    let made = VectorCollection { status: Some(status), ..collection("c") };
    assert_eq!(
        summary(&made),
        [entry("Ready", "False", "Deleting"), entry("Reconciling", "True", "Deleting")]
    );
}

#[test]
fn a_shards_status_names_its_pod_and_node() {
    let mut shard = Shard::new("c-0", shoal_crds::ShardSpec::default());
    shard.metadata.generation = Some(3);
    let mut view = report(&[true]).shards.remove(0);
    let status = shard_status(&shard, &view, at(1));
    assert_eq!((status.pod.as_deref(), status.observed_generation), (Some("c-0-r0-0"), Some(3)));
    assert_eq!(status.ready_replicas, Some(1));
    assert_eq!(by_type(&status.conditions)["Ready"].status, "True");
    assert_eq!(status.conditions.len(), 1);
    view.outdated = true;
    let status = shard_status(&shard, &view, at(1));
    let told = by_type(&status.conditions);
    assert_eq!(
        (told["Ready"].status.as_str(), told["Reconciling"].status.as_str()),
        ("True", "True")
    );
}

/// A collection of one shard, of whose replicas these are ready.
fn replicated(ready: &[bool], primary: Option<u32>) -> Report {
    let mut report = report(&[true]);
    let replica = |(&ready, number)| ReplicaView { number, pod: Some(pod(ready)) };
    report.shards[0].replicas = ready.iter().zip(0..).map(replica).collect();
    report.shards[0].primary = primary;
    report
}

#[test]
fn a_shard_of_several_replicas_serves_by_a_majority_and_says_how_many_do() {
    let all = replicated(&[true, true, true], Some(1));
    let whole = after(&collection("c"), &all, 1);
    assert_eq!(summary(&whole), [entry("Ready", "True", "Available")]);

    let most = replicated(&[true, true, false], Some(1));
    let degraded = after(&whole, &most, 2);
    let expected =
        [entry("Ready", "True", "Available"), entry("Reconciling", "True", "ReplicasUnavailable")];
    assert_eq!(summary(&degraded), expected);
    let message = &condition(&degraded, "Reconciling").expect("told").message;
    assert!(message.starts_with("c-0: 2 of 3 replicas serve; pod"), "{message}");
    assert_eq!(after(&degraded, &most, 3).status, degraded.status);
    let counts = degraded.status.as_ref().and_then(|status| status.shards.clone());
    assert_eq!(
        counts,
        Some(ShardCounts { total: 1, ready: 1 }),
        "shards are counted, not replicas"
    );

    let few = after(&degraded, &replicated(&[true, false, false], None), 4);
    let message = &condition(&few, "Ready").expect("told").message;
    assert!(message.contains("c-0: 1 of 3 replicas serve, 2 are needed; pod"), "{message}");
    assert_eq!(condition(&few, "Ready").map(|c| c.reason.as_str()), Some("ShardsUnavailable"));
}

#[test]
fn a_shard_of_several_replicas_names_the_primarys_pod_where_it_is_known() {
    let shard = Shard::new("c-0", shoal_crds::ShardSpec::default());
    let status =
        |primary| shard_status(&shard, &replicated(&[true, true, false], primary).shards[0], at(1));
    let known = status(Some(1));
    assert_eq!((known.pod.as_deref(), known.ready_replicas), (Some("c-0-r0-0"), Some(2)));
    let told = by_type(&known.conditions);
    assert_eq!(told["Ready"].status, "True");
    assert!(
        told["Ready"].message.starts_with("2 of 3 replicas serve"),
        "{}",
        told["Ready"].message
    );
    assert_eq!(told["Reconciling"].reason, "ReplicasUnavailable");
    assert_eq!(status(None).pod, None);
}

#[test]
fn events_tell_changes_once() {
    let starting = after(&collection("c"), &report(&[false]), 1);
    let serving = after(&starting, &report(&[true]), 2);
    let conditions = |made: &VectorCollection| made.status.clone().unwrap_or_default().conditions;
    let news = transitions(&conditions(&starting), &conditions(&serving));
    assert_eq!(
        news.iter().map(|n| (n.good, n.reason.as_str())).collect::<Vec<_>>(),
        [(true, "Available")]
    );
    assert_eq!(transitions(&conditions(&serving), &conditions(&serving)), []);
    let problem = Some(Problem::new(reason::NAME_CONFLICT, "taken"));
    let held = after(&collection("c"), &Report { problem, ..Report::default() }, 1);
    assert_eq!(transitions(&[], &conditions(&held)).len(), 1);
}

proptest! {
    /// Whatever is reported: one Ready, never both others, and a second look changes nothing.
    #[test]
    fn a_status_is_well_formed_and_a_fixed_point(
        ready in proptest::collection::vec(any::<bool>(), 0..4),
        problem in any::<bool>(), working in any::<bool>(), router in 0..3, started in any::<bool>(),
    ) {
        let mut report = report(&ready);
        if !started {
            report.routing = None;
        }
        report.problem = problem.then(|| Problem::new(reason::APPLY_FAILED, "refused"));
        report.working = working.then(|| "growing".to_owned());
        report.router = match router {
            0 => RouterState::Serving,
            1 => RouterState::Changing("changing".to_owned()),
            _ => RouterState::Away("starting".to_owned()),
        };
        let first = after(&collection("c"), &report, 1);
        let second = after(&first, &report, 2);
        prop_assert_eq!(condition(&first, "Reconciling").is_some(), condition(&second, "Reconciling").is_some());
        let conditions = &second.status.as_ref().expect("status").conditions;
        prop_assert_eq!(conditions.iter().filter(|c| c.type_ == "Ready").count(), 1);
        prop_assert!(!(condition(&second, "Reconciling").is_some() && condition(&second, "Stalled").is_some()));
        prop_assert_eq!(condition(&second, "Stalled").is_some(), problem);
        prop_assert_eq!(&after(&second, &report, 3).status, &second.status);
    }
}
