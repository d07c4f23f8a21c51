//! Replicas on a lost node: a Job names others in their place, and what is left of the lost ones goes. A reboot moves nothing.

use std::time::Duration;

use clap::Parser;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Config, ResourceExt};
use serde_json::{Value, json};
use shoal_crds::{Shard, VectorCollection};
use shoal_e2e::apiserver::ApiServer;
use shoal_node::cmd::{Cli, Command};
use shoal_node::rebalance::kube::KubeShards;
use shoal_node::rebalance::{GaveUp, Pace, move_all};

use crate::replicas::{agree, named};
use crate::world::{World, conditions};

const PACE: Pace =
    Pace { look: Duration::from_millis(50), patience: Duration::from_secs(60), failures: 3 };

fn asked() -> Value {
    json!({"replication": {"replicas": 3}, "failover": {"nodeLossGrace": "1m"}, "deletionPolicy": "Delete"})
}

/// Nodes are of the whole cluster, so each test has its own.
fn node_of(world: &World, number: u32) -> String {
    format!("{}-n{number}", world.namespace)
}

/// Plays kubelets: a node is, or is not, ready since so many seconds ago.
async fn report(world: &World, number: u32, ready: bool, ago: i64) {
    let name = node_of(world, number);
    let nodes = Api::<Node>::all(world.client.clone());
    if nodes.get_opt(&name).await.expect("asked").is_none() {
        let node = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a node");
        nodes.create(&PostParams::default(), &node).await.expect("made");
    }
    let since = Timestamp::from_second(Timestamp::now().as_second() - ago).expect("a time");
    let status = if ready { "True" } else { "Unknown" };
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": status,
        "reason": "Test", "message": "", "lastHeartbeatTime": since, "lastTransitionTime": since}]}});
    let params = PatchParams::default();
    nodes.patch_status(&name, &params, &Patch::Merge(&patch)).await.expect("reported");
}

/// Plays the scheduler: the pod of a replica of c-0 runs on the node of its number.
async fn place(world: &World, number: u32) {
    let target = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": format!("c-0-r{number}-0")},
        "target": {"kind": "Node", "name": node_of(world, number)}});
    let url = format!("/api/v1/namespaces/{}/pods/c-0-r{number}-0/binding", world.namespace);
    let request = http::Request::post(url)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&target).expect("encodes"))
        .expect("a request");
    world.client.request_text(request).await.expect("bound");
}

/// Plays the kubelet: the pod of a replica of c-0 ended.
async fn end_pod(world: &World, number: u32) {
    let (pods, name) = (world.api::<Pod>(), format!("c-0-r{number}-0"));
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete(&name, &at_once).await.expect("deleted");
    world.gone::<Pod>(&name).await;
}

/// A shard of three, each replica on a node of its own.
async fn three(test: &str) -> Option<World> {
    let world = World::new(test).await?;
    for number in 0..3 {
        report(&world, number, true, 9_000).await;
    }
    world.serving("c", 1, asked()).await;
    for number in 0..3 {
        place(&world, number).await;
    }
    agree(&world, &[0, 1, 2], 0).await;
    let placed = |s: &Shard| {
        let states = s.status.iter().flat_map(|status| &status.replica_states);
        states.filter(|state| state.node.is_some()).count() == 3
    };
    world.until("c-0", "tells where its replicas are", placed).await;
    Some(world)
}

/// A node is lost: its pods are not ready any more.
async fn lose(world: &World, number: u32, ago: i64) {
    report(world, number, false, ago).await;
    world.pod_ready(&format!("c-0-r{number}-0"), false).await;
}

async fn moving(world: &World, name: &str) {
    let marked = |s: &Shard| {
        let states = s.status.iter().flat_map(|status| &status.replica_states);
        states.into_iter().any(|state| state.name == name && state.moving)
    };
    world.until("c-0", &format!("marks {name}"), marked).await;
}

/// Runs what the Job's pod would, with the rights of its account and no others.
async fn run_job(world: &World) -> Result<usize, GaveUp> {
    let server = ApiServer::shared().await.expect("it runs");
    let kubeconfig = server.kubeconfig_of(&world.namespace, "shoal-rebalance-c").await;
    let kubeconfig = Kubeconfig::read_from(kubeconfig.expect("an account")).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a way");
    config.default_namespace.clone_from(&world.namespace);
    let shards = KubeShards::with_config(config).expect("a client");
    move_all(&shards, &["c-0".to_owned()], PACE).await
}

/// The Job's pod passes the namespace's restricted profile, and the data plane understands its command line.
async fn allowed_and_understood(world: &World, job: &Job) {
    let template = job.spec.clone().expect("a spec").template;
    let spec = template.spec.expect("a pod");
    let mut words = vec!["shoal".to_owned()];
    words.extend(spec.containers[0].args.clone().expect("arguments"));
    let Command::Rebalance(args) = Cli::try_parse_from(&words).expect("understood").command else {
        panic!("moves nothing: {words:?}")
    };
    assert_eq!(args.shards, ["c-0"]);
    let mut pod = Pod { metadata: template.metadata.unwrap_or_default(), ..Pod::default() };
    pod.metadata.name = Some("c-rebalance-x".into());
    pod.spec = Some(spec);
    let only_asked = PostParams { dry_run: true, ..PostParams::default() };
    let made = world.api::<Pod>().create(&only_asked, &pod).await;
    made.expect("the namespace's restricted profile allows it");
}

fn words(collection: &VectorCollection) -> String {
    let all = conditions(collection).iter();
    all.map(|c| format!("{}: {}; ", c.reason, c.message)).collect()
}

#[tokio::test]
async fn the_replica_of_a_lost_node_is_moved_by_a_job_and_what_is_left_of_it_goes() {
    let Some(world) = three("moves-node").await else { return };
    lose(&world, 1, 70).await;
    moving(&world, "r1").await;
    let job: Job = world.exists("c-rebalance").await;
    assert_eq!(job.annotations()["shoal.dev/moves"], "c-0/r1");
    allowed_and_understood(&world, &job).await;
    let begun = world.condition("c", "Reconciling", "True", "MovingReplicas").await;
    let node = node_of(&world, 1);
    assert!(begun.message.contains(&format!("moved 0 of 1 replicas off node {node}")), "{begun:?}");

    let (moved, ()) = tokio::join!(run_job(&world), async {
        named(&world, &["r0", "r2", "r3"]).await;
        // The operator makes its pod, and the primary has it vote, and then the lost one not.
        world.start_pod("c-0-r3").await;
        agree(&world, &[0, 1, 2, 3], 0).await;
        world.exists::<StatefulSet>("c-0-r1").await;
        agree(&world, &[0, 2, 3], 0).await;
    });
    assert_eq!(moved, Ok(1));
    world.gone::<StatefulSet>("c-0-r1").await;
    let done = |c: &VectorCollection| {
        let rebalance = c.status.as_ref().and_then(|status| status.rebalance.as_ref());
        rebalance.is_some_and(|rebalance| (rebalance.moved, rebalance.total) == (1, 1))
    };
    world.until("c", "tells that it is moved", done).await;
    // The node comes back, and with it the pod of a set that is gone.
    report(&world, 1, true, 0).await;
    end_pod(&world, 1).await;
    let after = named(&world, &["r0", "r2", "r3"]).await;
    assert_eq!(after.spec.next_replica, Some(4));
    // The operator took the names over and does not put others in their place.
    let settled = |c: &VectorCollection| !words(c).contains("does not vote any more");
    world.until("c", "is settled", settled).await;

    let complete = json!({"status": {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z",
        "succeeded": 1, "conditions": [
        {"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]}});
    let jobs = world.api::<Job>();
    let params = PatchParams::default();
    jobs.patch_status("c-rebalance", &params, &Patch::Merge(&complete)).await.expect("complete");
    let rested = |c: &VectorCollection| !words(c).contains("MovingReplicas");
    world.until("c", "is done", rested).await;
    assert_eq!(run_job(&world).await, Ok(0), "nothing is left");
}

#[tokio::test]
async fn a_reboot_moves_nothing() {
    let Some(world) = three("moves-reboot").await else { return };
    lose(&world, 1, 20).await;
    let waits = |c: &VectorCollection| words(c).contains("after failover.nodeLossGrace");
    world.until("c", "says what it waits for", waits).await;
    report(&world, 1, true, 0).await;
    world.pod_ready("c-0-r1-0", true).await;
    let well = |c: &VectorCollection| conditions(c).iter().all(|c| c.type_ != "Reconciling");
    world.until("c", "is as it was", well).await;
    assert_eq!(world.api::<Job>().get_opt("c-rebalance").await.expect("asked"), None);
    named(&world, &["r0", "r1", "r2"]).await;
}

#[tokio::test]
async fn where_a_majority_is_lost_nothing_is_moved_and_the_condition_says_so() {
    let Some(world) = three("moves-majority").await else { return };
    lose(&world, 1, 9_000).await;
    lose(&world, 2, 9_000).await;
    let shard: Shard = world
        .until("c-0", "says so", |s: &Shard| {
            let conditions = s.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|c| c.reason == "NoQuorum" && c.message.contains("2 of 3"))
        })
        .await;
    // The first may have been marked before the second was lost; then the mark is gone by now.
    let states = shard.status.expect("a status").replica_states;
    assert!(states.iter().all(|state| !state.moving), "{states:?}");
    assert_eq!(shard.spec.replica_names, ["r0", "r1", "r2"]);
}

#[tokio::test]
async fn a_drained_node_moves_nothing_before_it_is_deleted_and_its_grace_is_over() {
    let Some(world) = three("moves-drained").await else { return };
    // Drained, it is ready; the pod is made anew and its disk holds it there, where nothing is scheduled.
    end_pod(&world, 2).await;
    let away = |c: &VectorCollection| words(c).contains("ReplicasUnavailable");
    world.until("c", "says that one is away", away).await;
    let node = |s: &Shard| {
        s.status.iter().flat_map(|s| &s.replica_states).find(|s| s.name == "r2").cloned()
    };
    let drained: Shard = world.exists("c-0").await;
    let state = node(&drained).expect("told");
    assert_eq!(state.node, Some(node_of(&world, 2)), "it is remembered");
    assert!(state.node_lost_since.is_none() && !state.moving);

    let nodes = Api::<Node>::all(world.client.clone());
    nodes.delete(&node_of(&world, 2), &DeleteParams::default()).await.expect("deleted");
    let lost = |s: &Shard| node(s).is_some_and(|state| state.node_lost_since.is_some());
    let gone: Shard = world.until("c-0", "counts from when it is gone", lost).await;
    assert!(!node(&gone).expect("told").moving, "not before its grace is over");
    assert_eq!(world.api::<Job>().get_opt("c-rebalance").await.expect("asked"), None);
}
