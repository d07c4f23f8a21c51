//! A steady state costs no writes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use shoal_crds::Shard;
use shoal_e2e::apiserver::ApiServer;

use crate::world::{Operator, World, eventually, prepare};

/// How long nothing may be written. Long enough for every reconcile that a change could still cause.
const QUIET: Duration = Duration::from_secs(15);

/// Writes so far, by verb and resource, of what an operator writes, its Lease aside. The API server itself writes other
/// things now and then.
async fn writes(client: &Client) -> BTreeMap<String, u64> {
    let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
    let text = client.request_text(request).await.expect("metrics");
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let label = |name: &str| {
            let after =
                line.split_once(&format!("{name}=\"")).map(|(_, rest)| rest).unwrap_or_default();
            after.split('"').next().unwrap_or_default().to_owned()
        };
        let (verb, group, resource) = (label("verb"), label("group"), label("resource"));
        let reads = ["GET", "LIST", "WATCH", "CONNECT"].contains(&verb.as_str());
        let of_server = [
            "coordination.k8s.io",
            "flowcontrol.apiserver.k8s.io",
            "apiregistration.k8s.io",
            "apiextensions.k8s.io",
            "discovery.k8s.io",
        ]
        .contains(&group.as_str());
        if reads || of_server {
            continue;
        }
        let count: f64 = line.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default();
        *sums.entry(format!("{verb} {resource} {}", label("subresource"))).or_default() +=
            count as u64;
    }
    sums
}

#[tokio::test]
async fn nothing_is_written_while_nothing_changes_nor_when_children_report() {
    let Some(server) = ApiServer::start_unless_missing().await else { return };
    let kubeconfig = prepare(&server).await;
    let operator = Operator::start(kubeconfig.clone(), |settings| settings.sample_seconds = 2);
    let world = World::on(&server, "steady").await;
    // Amounts that the API server writes its own way, texts that it leaves out, and one collection that can never be as
    // asked.
    let odd = json!({"shardPods": {"resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
            "priorityClassName": "", "tolerations": [{"key": "", "operator": "Exists", "value": "", "effect": ""}]},
        "storage": {"size": "1024Mi"}, "router": {"resources": {"requests": {"cpu": "1000m"}}}});
    world.serving("c", 2, odd).await;
    world.serving("three", 1, json!({"replication": {"replicas": 3}})).await;
    world.collection("stuck", json!({"name": "c"})).await;
    world.condition("stuck", "Stalled", "True", "NameConflict").await;
    // What was still on its way has arrived when two looks agree.
    eventually("the operator is at rest", || async {
        let before = writes(&world.client).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = writes(&world.client).await;
        if before == after { Ok(()) } else { Err(format!("{before:?} {after:?}")) }
    })
    .await;

    let before = writes(&world.client).await;
    assert!(
        before.keys().any(|key| key.contains("vectorcollections status")),
        "counts what is written: {before:?}"
    );
    tokio::time::sleep(QUIET).await;
    assert_eq!(writes(&world.client).await, before, "an idle operator writes nothing");

    // A child reports something that is of no consequence: one write, ours.
    let status = json!({"status": {"collisionCount": 1}});
    let patch = Patch::Merge(&status);
    world
        .api::<StatefulSet>()
        .patch_status("c-0-r0", &PatchParams::default(), &patch)
        .await
        .expect("a status");
    // What replicas agree on is theirs.
    let register = json!({"epoch": "1", "nonce": "00000000000000aa", "phase": "Electing",
        "members": {"generation": "1", "voters": ["00000000-0000-0000-0000-000000000001"], "writeQuorum": 1}});
    let patch = Patch::Merge(json!({"status": {"register": register}}));
    let shards = world.api::<Shard>();
    shards.patch_status("c-0", &PatchParams::default(), &patch).await.expect("a register");
    tokio::time::sleep(QUIET / 3).await;
    let mut expected = before.clone();
    *expected.entry("PATCH statefulsets status".into()).or_default() += 1;
    *expected.entry("PATCH shards status".into()).or_default() += 1;
    assert_eq!(writes(&world.client).await, expected);

    // A new operator finds everything as it should be.
    operator.stop().expect("ends well");
    let again = Operator::start(kubeconfig, |settings| settings.sample_seconds = 2);
    tokio::time::sleep(QUIET).await;
    assert_eq!(writes(&world.client).await, expected, "a restarted operator writes nothing");
    again.stop().expect("ends well");
}
