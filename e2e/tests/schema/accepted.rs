//! What the API server accepts, and that it leaves it as it was written.

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{Place, least, least_and};

#[tokio::test]
async fn every_sample_is_accepted() {
    let Some(place) = Place::of("samples").await else { return };
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/samples");
    let mut seen = 0;
    for entry in std::fs::read_dir(samples).expect("samples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("reads");
            let sample = serde_saphyr::from_str(&text).expect("YAML");
            let answer = place.collections().create(&PostParams::default(), &sample).await;
            assert!(answer.is_ok(), "{}: {answer:?}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 0, "no samples in {samples}");
}

#[tokio::test]
async fn the_schema_fills_in_nothing() {
    let Some(place) = Place::of("defaults").await else { return };
    let made = place.create("one", least()).await.expect("accepted");
    assert_eq!(made.data["spec"], least());
}

#[tokio::test]
async fn applying_the_same_twice_changes_nothing() {
    let Some(place) = Place::of("twice").await else { return };
    let spec = least_and(json!({"storage": {"size": "2Gi"}, "sharding": {"initialShards": 2}}));
    let first = place.apply("one", spec.clone()).await.expect("accepted");
    let second = place.apply("one", spec).await.expect("accepted");
    assert_eq!(first.metadata.resource_version, second.metadata.resource_version);
}

#[tokio::test]
async fn vectors_may_be_written_in_another_order_and_tuned_each_for_itself() {
    let Some(place) = Place::of("vectors").await else { return };
    let vectors = |mut list: Vec<Value>, turned: bool| {
        if turned {
            list.reverse();
        }
        json!({"vectors": list})
    };
    let unnamed = json!({"size": 2, "distance": "Euclid"});
    let named = json!({"name": "a", "size": 4, "distance": "Cosine"});
    let most = (0..14).map(
        |n| json!({"name": format!("{n}{}", "x".repeat(62)), "size": 65_536, "distance": "Dot"}),
    );
    let mut list: Vec<Value> = [unnamed, named].into_iter().chain(most).collect();
    place.apply("one", vectors(list.clone(), false)).await.expect("sixteen vectors");
    place.apply("one", vectors(list.clone(), true)).await.expect("in another order");
    let sparse = |turned: bool| {
        let mut names: Vec<Value> =
            (0..16).map(|n| json!({"name": format!("{n}{}", "y".repeat(62))})).collect();
        if turned {
            names.reverse();
        }
        let mut spec = vectors(list.clone(), turned);
        spec["sparseVectors"] = json!(names);
        spec
    };
    place.apply("two", sparse(false)).await.expect("sixteen sparse vectors");
    place.apply("two", sparse(true)).await.expect("in another order");
    let mut none = least();
    none["sparseVectors"] = json!([]);
    place.apply("three", none).await.expect("no sparse vectors");
    place.apply("three", least()).await.expect("which is the default");
    list[1]["index"] = json!({"ef": 100});
    list[1]["datatype"] = "Float32".into();
    list[2]["quantization"] = "Int8".into();
    list[3]["quantization"] = "None".into();
    list[0]["name"] = "".into();
    place.apply("one", vectors(list, false)).await.expect("tuned");
}

#[tokio::test]
async fn payload_indexes_may_come_and_go() {
    let Some(place) = Place::of("indexes").await else { return };
    let mut spec = least();
    let indexes = [
        json!([{"field": "category", "type": "Keyword"}, {"field": "a.\"b c\"[].d[0]", "type": "Geo"}]),
        json!([{"field": "größe", "type": "Float"}, {"field": "text", "type": "Text", "text": {"tokenizer": "Prefix", "minTokenLen": 2}}]),
        json!(
            (0..100).map(|n| json!({"field": format!("f{n}"), "type": "Uuid"})).collect::<Vec<_>>()
        ),
        json!([]),
    ];
    for list in indexes {
        spec["payloadIndexes"] = list.clone();
        place.apply("one", spec.clone()).await.unwrap_or_else(|error| panic!("{list}: {error}"));
    }
}

#[tokio::test]
async fn writing_a_default_out_or_growing_is_no_forbidden_change() {
    let Some(place) = Place::of("allowed").await else { return };
    let mut spec = least();
    place.apply("one", spec.clone()).await.expect("the least");
    let steps: Vec<(&str, &str, Value)> = vec![
        ("the object's own name", "name", "one".into()),
        (
            "the default vector's name",
            "vectors",
            json!([{"name": "", "size": 4, "distance": "Cosine"}]),
        ),
        ("its name left out again", "vectors", json!([{"size": 4, "distance": "Cosine"}])),
        ("another ef", "vectors", json!([{"size": 4, "distance": "Cosine", "index": {"ef": 200}}])),
        ("the default size, in other units", "storage", json!({"size": "10240Mi"})),
        ("a larger disk", "storage", json!({"size": "20Gi"})),
        ("a larger disk, in bytes", "storage", json!({"size": 21_474_836_481_u64})),
        (
            "a growth taken back; what disks have is not known here",
            "storage",
            json!({"size": "20Gi"}),
        ),
        (
            "another number of shards, refused by a condition instead",
            "sharding",
            json!({"initialShards": 2}),
        ),
        ("more replicas", "replication", json!({"replicas": 3})),
        ("the default acks", "replication", json!({"replicas": 3, "acks": "Quorum"})),
        ("other acks", "replication", json!({"replicas": 5, "acks": "Primary"})),
        ("times of a failover", "failover", json!({"budget": "3000ms", "nodeLossGrace": "24h"})),
        ("the longest budget", "failover", json!({"budget": "10m"})),
        ("another image", "image", "registry.example/shoal:2".into()),
        ("the operator's image", "image", "".into()),
        ("pods as Kubernetes knows them", "shardPods", pods()),
        ("another policy", "deletionPolicy", "Delete".into()),
    ];
    for (case, field, value) in steps {
        spec[field] = value;
        place.apply("one", spec.clone()).await.expect(case);
    }
}

/// Every kind of field below `shardPods`.
fn pods() -> Value {
    let term = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]});
    json!({
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": 2}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "vectors", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}},
        "priorityClassName": "high",
    })
}

#[tokio::test]
async fn spec_and_status_are_written_apart() {
    let Some(place) = Place::of("status").await else { return };
    let made = place.create("one", least()).await.expect("accepted");
    let condition = |kind: &str| {
        json!([{"type": kind, "status": "True", "reason": "Available", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    };
    let status = |fields: Value| {
        let mut object = json!({"apiVersion": "shoal.dev/v1alpha1", "kind": "VectorCollection", "status": fields});
        object["spec"] = json!({"vectors": [{"size": 9, "distance": "Dot"}]});
        object
    };
    let collections = place.collections();
    let write = |by: &'static str, fields: Value| {
        let (collections, body) = (collections.clone(), status(fields));
        async move {
            collections.patch_status("one", &PatchParams::apply(by), &Patch::Apply(body)).await
        }
    };
    write("operator", json!({"points": 12, "conditions": condition("Ready")}))
        .await
        .expect("writes status");
    let both =
        write("another", json!({"conditions": condition("Stalled")})).await.expect("writes status");
    assert_eq!(both.data["status"]["points"], 12);
    assert_eq!(
        both.data["status"]["conditions"].as_array().map(Vec::len),
        Some(2),
        "conditions are merged by type"
    );
    assert_eq!(both.data["spec"], made.data["spec"], "status writes change no spec");
    assert_eq!(both.metadata.generation, made.metadata.generation);

    let mut spec = both;
    spec.data["status"]["points"] = 99.into();
    spec.data["spec"]["image"] = "other".into();
    let replaced =
        collections.replace("one", &PostParams::default(), &spec).await.expect("writes spec");
    assert_eq!(replaced.data["status"]["points"], 12, "spec writes change no status");
    assert_eq!(replaced.metadata.generation, Some(2));
}
