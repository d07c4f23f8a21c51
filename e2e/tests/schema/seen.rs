//! What a person and their tools see: columns, categories, explanations, and plain `kubectl apply`.

use std::process::{Command, Output};

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::{Place, least};

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("runs");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

/// The cells of the first two lines of a table, split where there are two spaces or more.
fn table(text: &str) -> (Vec<&str>, Vec<&str>) {
    let mut lines = text
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect());
    (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

#[tokio::test]
async fn kubectl_get_shows_what_a_person_asks_first() {
    let Some(place) = Place::of("columns").await else { return };
    place.create("one", least()).await.expect("accepted");
    let spec = json!({"collection": "one", "placement": {"gen": 1, "slots": "0-16383"}, "replicas": 1, "image": "i"});
    place.create_shard("one-0", spec).await.expect("accepted");
    let conditions = json!([{"type": "Ready", "status": "False", "reason": "ShardsStarting", "message": "0 of 2",
                             "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let status = json!({"status": {"conditions": conditions, "points": 1200, "shards": {"ready": 1, "total": 2},
                                   "endpoint": "http://shoal"}});
    let params = PatchParams::default();
    place
        .collections()
        .patch_status("one", &params, &Patch::Merge(&status))
        .await
        .expect("writes status");
    let status = json!({"status": {"conditions": conditions, "points": 600, "readyReplicas": 0, "pod": "one-0-r0-0", "node": "node1"}});
    place
        .shards()
        .patch_status("one-0", &params, &Patch::Merge(&status))
        .await
        .expect("writes status");

    let get = |what: &str| {
        run(place.server.kubectl().args(["get", what, "-o", "wide", "-n", &place.namespace]))
    };
    let text = get("vc");
    let (head, row) = table(&text);
    assert_eq!(
        head,
        ["NAME", "READY", "SHARDS", "TOTAL", "POINTS", "REASON", "AGE", "MESSAGE", "ENDPOINT"]
    );
    assert_eq!(row[..6], ["one", "False", "1", "2", "1200", "ShardsStarting"]);
    assert_eq!(row[7..], ["0 of 2", "http://shoal"]);
    let text = get("shards");
    let (head, row) = table(&text);
    let wide = ["AGE", "REASON", "FAILOVER", "EPOCH", "MESSAGE"];
    let first = ["NAME", "COLLECTION", "READY", "REPLICAS", "SERVING", "POD", "NODE", "POINTS"];
    assert_eq!(head, [&first[..], &wide].concat());
    assert_eq!(row[..8], ["one-0", "one", "False", "1", "0", "one-0-r0-0", "node1", "600"]);
    let text = get("shoal");
    assert!(
        text.contains("vectorcollection.shoal.dev/one") && text.contains("shard.shoal.dev/one-0"),
        "{text}"
    );
}

#[tokio::test]
async fn kubectl_explain_tells_defaults() {
    let Some(place) = Place::of("explain").await else { return };
    let explain = |field: &str| {
        let text = run(place.server.kubectl().args(["explain", field]));
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let text = explain("vc.spec.sharding.initialShards");
    assert!(text.contains("Default: 1."), "{text}");
    let text = explain("vc.spec.shardPods.affinity.podAntiAffinity");
    assert!(text.contains("requiredDuringSchedulingIgnoredDuringExecution"), "{text}");
}

#[tokio::test]
async fn plain_kubectl_apply_of_the_folder_installs_both_definitions() {
    let Some(place) = Place::of("plain").await else { return };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds");
    let text = run(place.server.kubectl().args(["apply", "-f", folder]));
    for name in ["vectorcollections.shoal.dev", "shards.shoal.dev"] {
        assert!(text.contains(name), "{text}");
    }
}
