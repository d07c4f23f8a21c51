//! What the API server refuses, and that its message names the field and says what to do.

use serde_json::{Value, json};

use crate::support::{Place, least, least_and};

const NAMES_DIFFER: &str = "two vectors have one name: give each another";

#[track_caller]
fn assert_says(case: &str, answer: Result<impl Sized, String>, expected: &[&str]) {
    let Err(message) = answer else { panic!("{case}: accepted, not refused with {expected:?}") };
    for part in expected {
        assert!(message.contains(part), "{case}: `{part}` is not in: {message}");
    }
}

#[tokio::test]
async fn a_spec_that_cannot_work_is_refused_when_it_is_created() {
    let Some(place) = Place::of("refused").await else { return };
    let vector = |fields: Value| {
        let mut vector = json!({"size": 4, "distance": "Cosine"});
        for (name, field) in fields.as_object().expect("an object") {
            vector[name] = field.clone();
        }
        least_and(json!({"vectors": [vector]}))
    };
    let long = "x".repeat(256);
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("no vectors", json!({}), &["spec.vectors", "Required"]),
        ("an empty list of vectors", json!({"vectors": []}), &["spec.vectors", "at least 1"]),
        (
            "two vectors without a name",
            json!({"vectors": [{"size": 4, "distance": "Dot"}, {"name": "", "size": 5, "distance": "Dot"}]}),
            &["spec.vectors", NAMES_DIFFER],
        ),
        (
            "two vectors of one name",
            json!({"vectors": [
                {"name": "a", "size": 4, "distance": "Dot"}, {"size": 4, "distance": "Dot"},
                {"name": "a", "size": 4, "distance": "Cosine"},
            ]}),
            &["spec.vectors", NAMES_DIFFER],
        ),
        (
            "more vectors than a point may have",
            json!({"vectors": vec![json!({"size": 4, "distance": "Dot"}); 17]}),
            &["spec.vectors", "at most 16"],
        ),
        (
            "a sparse vector of the name of another",
            least_and(json!({"sparseVectors": [{"name": "s"}, {"name": "s"}]})),
            &["spec.sparseVectors", "two vectors have one name"],
        ),
        (
            "a sparse vector of a vector's name",
            json!({
                "vectors": [{"name": "s", "size": 4, "distance": "Dot"}],
                "sparseVectors": [{"name": "s"}],
            }),
            &["spec.sparseVectors", "that no other vector has"],
        ),
        (
            "a sparse vector without a name",
            least_and(json!({"sparseVectors": [{"name": ""}]})),
            &["spec.sparseVectors[0].name", "at least 1"],
        ),
        (
            "a name that is too long",
            vector(json!({"name": "x".repeat(65)})),
            &["spec.vectors[0].name", "64"],
        ),
        (
            "an index of a field that is no key path",
            least_and(json!({"payloadIndexes": [{"field": "a..b", "type": "Keyword"}]})),
            &["spec.payloadIndexes[0].field", "should match"],
        ),
        (
            "two indexes of one field",
            least_and(json!({"payloadIndexes": [
                {"field": "a", "type": "Keyword"}, {"field": "a", "type": "Geo"},
            ]})),
            &["spec.payloadIndexes[1]", "Duplicate"],
        ),
        (
            "words of an index that is not of texts",
            least_and(json!({"payloadIndexes": [{"field": "a", "type": "Keyword", "text": {}}]})),
            &["spec.payloadIndexes", "set that type"],
        ),
        (
            "an index of an unknown type",
            least_and(json!({"payloadIndexes": [{"field": "a", "type": "keyword"}]})),
            &["spec.payloadIndexes[0].type", "Keyword"],
        ),
        (
            "size 0",
            vector(json!({"size": 0})),
            &["spec.vectors[0].size", "greater than or equal to 1"],
        ),
        ("size too large", vector(json!({"size": 65_537})), &["spec.vectors[0].size", "65536"]),
        (
            "an unknown distance",
            vector(json!({"distance": "Hamming"})),
            &["spec.vectors[0].distance", "\"Cosine\""],
        ),
        (
            "an unknown quantization",
            vector(json!({"quantization": "int8"})),
            &["spec.vectors[0].quantization", "\"Int8\""],
        ),
        (
            "an unknown datatype",
            vector(json!({"datatype": "Uint8"})),
            &["spec.vectors[0].datatype", "\"Float16\""],
        ),
        ("ef 0", vector(json!({"index": {"ef": 0}})), &["spec.vectors[0].index.ef"]),
        ("ef too large", vector(json!({"index": {"ef": 10_001}})), &["spec.vectors[0].index.ef"]),
        (
            "efConstruct 3",
            vector(json!({"index": {"efConstruct": 3}})),
            &["spec.vectors[0].index.efConstruct"],
        ),
        (
            "efConstruct too large",
            vector(json!({"index": {"efConstruct": 2001}})),
            &["index.efConstruct"],
        ),
        ("an empty name", least_and(json!({"name": ""})), &["spec.name", "at least 1 char"]),
        ("a long name", least_and(json!({"name": long})), &["spec.name", "255"]),
        ("a name with a slash", least_and(json!({"name": "a/b"})), &["spec.name", "leave `/` out"]),
        (
            "2 replicas",
            least_and(json!({"replication": {"replicas": 2}})),
            &["spec.replication.replicas", "1, 3 or 5"],
        ),
        (
            "7 replicas",
            least_and(json!({"replication": {"replicas": 7}})),
            &["spec.replication.replicas"],
        ),
        (
            "an unknown kind of acks",
            least_and(json!({"replication": {"acks": "All"}})),
            &["spec.replication.acks", "\"Quorum\""],
        ),
        (
            "a budget without a unit",
            least_and(json!({"failover": {"budget": "5"}})),
            &["spec.failover.budget", "should match"],
        ),
        (
            "a budget that slow disks cannot keep",
            least_and(json!({"failover": {"budget": "2999ms"}})),
            &["spec.failover.budget", "from 3s to 10m"],
        ),
        (
            "a budget nobody waits for",
            least_and(json!({"failover": {"budget": "11m"}})),
            &["spec.failover.budget", "from 3s to 10m"],
        ),
        (
            "a grace shorter than a restart",
            least_and(json!({"failover": {"nodeLossGrace": "59s"}})),
            &["spec.failover.nodeLossGrace", "from 1m to 24h"],
        ),
        (
            "a grace that never ends",
            least_and(json!({"failover": {"nodeLossGrace": "25h"}})),
            &["spec.failover.nodeLossGrace", "from 1m to 24h"],
        ),
        (
            "0 shards",
            least_and(json!({"sharding": {"initialShards": 0}})),
            &["spec.sharding.initialShards"],
        ),
        (
            "65 shards",
            least_and(json!({"sharding": {"initialShards": 65}})),
            &["spec.sharding.initialShards"],
        ),
        (
            "no quantity",
            least_and(json!({"storage": {"size": "big"}})),
            &["spec.storage.size", "such as 10Gi"],
        ),
        (
            "a size without its unit",
            least_and(json!({"storage": {"size": 10}})),
            &["spec.storage.size", "as in 10Gi"],
        ),
        (
            "a negative size",
            least_and(json!({"storage": {"size": "-1Gi"}})),
            &["spec.storage.size", "as in 10Gi"],
        ),
        (
            "no routers",
            least_and(json!({"router": {"minReplicas": 0}})),
            &["spec.router.minReplicas"],
        ),
        (
            "an unknown policy",
            least_and(json!({"deletionPolicy": "Shred"})),
            &["spec.deletionPolicy", "\"Retain\""],
        ),
    ];
    for (case, spec, expected) in cases {
        assert_says(case, place.create("one", spec).await, expected);
    }
}

#[tokio::test]
async fn an_object_name_that_services_and_pods_cannot_carry_is_refused() {
    let Some(place) = Place::of("names").await else { return };
    for name in ["1st", "a.b"] {
        assert_says(
            name,
            place.create(name, least()).await,
            &["metadata.name", "begin it with a letter", "spec.name"],
        );
    }
    let name = "n".repeat(41);
    assert_says(
        "41 characters",
        place.create(&name, least()).await,
        &["metadata.name", "40 characters", "spec.name"],
    );
    place.create(&name[..40], least()).await.expect("40 characters are accepted");
}

#[tokio::test]
async fn what_stored_points_rest_on_cannot_change() {
    let Some(place) = Place::of("changes").await else { return };
    let vector = |fields: Value| json!({"vectors": [fields]});
    let storage = |fields: Value| least_and(json!({"storage": fields}));
    let vectors_stay: &[&str] = &["spec.vectors", "cannot change", "make a new collection"];
    let none_is_added: &[&str] = &["spec.vectors", "cannot be added yet", "make a new collection"];
    let (a, b) = (
        json!({"name": "a", "size": 4, "distance": "Cosine"}),
        json!({"name": "b", "size": 3, "distance": "Dot"}),
    );
    let both = || json!({"vectors": [a, b]});
    let resized = json!({"name": "b", "size": 4, "distance": "Dot"});
    let halves = json!({"name": "a", "size": 4, "distance": "Cosine", "datatype": "Float16"});
    let renamed = json!({"name": "c", "size": 3, "distance": "Dot"});
    let sparse = |names: &[&str]| {
        let names: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        least_and(json!({"sparseVectors": names}))
    };
    let sparse_stay: &[&str] = &["spec.sparseVectors", "can be neither", "make a new collection"];
    let class_stays: &[&str] = &["spec.storage.storageClassName", "cannot change"];
    let name_stays: &[&str] = &["spec.name", "cannot change"];
    let cases: Vec<(&str, Value, Value, &[&str])> = vec![
        ("size", least(), vector(json!({"size": 5, "distance": "Cosine"})), vectors_stay),
        ("distance", least(), vector(json!({"size": 4, "distance": "Dot"})), vectors_stay),
        ("datatype", vector(a.clone()), vector(halves.clone()), vectors_stay),
        ("datatype-taken-back", vector(halves), vector(a.clone()), vectors_stay),
        ("vector-named", least(), vector(a.clone()), vectors_stay),
        ("vector-added", vector(a.clone()), both(), none_is_added),
        ("vector-removed", both(), vector(a.clone()), vectors_stay),
        ("vector-resized", both(), json!({"vectors": [a, resized]}), vectors_stay),
        ("vector-renamed", both(), json!({"vectors": [a, renamed]}), vectors_stay),
        ("sparse-added", least(), sparse(&["s"]), sparse_stay),
        ("sparse-removed", sparse(&["s"]), least(), sparse_stay),
        ("sparse-renamed", sparse(&["s"]), sparse(&["t"]), sparse_stay),
        ("sparse-one-more", sparse(&["s"]), sparse(&["s", "t"]), sparse_stay),
        (
            "name-changed",
            least_and(json!({"name": "a"})),
            least_and(json!({"name": "b"})),
            name_stays,
        ),
        ("name-taken-away", least_and(json!({"name": "a"})), least(), name_stays),
        ("name-added", least(), least_and(json!({"name": "b"})), name_stays),
        (
            "class",
            storage(json!({"storageClassName": "a"})),
            storage(json!({"storageClassName": "b"})),
            class_stays,
        ),
        ("class-added", least(), storage(json!({"storageClassName": "a"})), class_stays),
        ("class-taken-away", storage(json!({"storageClassName": ""})), least(), class_stays),
    ];
    for (case, before, after, expected) in cases {
        place.apply(case, before).await.expect(case);
        assert_says(case, place.apply(case, after).await, expected);
    }
}

#[tokio::test]
async fn a_shard_stays_with_its_collection_and_its_slots_are_ranges() {
    let Some(place) = Place::of("shards").await else { return };
    let spec = |collection: &str, slots: &str| json!({"collection": collection, "placement": {"gen": 1, "slots": slots}, "replicas": 1, "image": "shoal"});
    let mut made =
        place.create_shard("one", spec("a", "0-8191,9000,16383")).await.expect("accepted");
    made.data["spec"]["collection"] = "b".into();
    let answer = place.shards().replace("one", &kube::api::PostParams::default(), &made).await;
    assert_says(
        "another collection",
        answer.map_err(|e| e.to_string()),
        &["spec.collection cannot change"],
    );
    for slots in ["", "0-", "a", "0,,1", "0 - 5", "100000"] {
        assert_says(
            slots,
            place.create_shard("two", spec("a", slots)).await,
            &["spec.placement.slots"],
        );
    }
}

#[tokio::test]
async fn replicas_of_a_shard_have_names_of_their_own() {
    let Some(place) = Place::of("replica-names").await else { return };
    let spec = |names: &[&str]| {
        json!({"collection": "a", "placement": {"gen": 1, "slots": "0"}, "replicas": 3, "image": "i",
            "replicaNames": names, "nextReplica": 9})
    };
    place.create_shard("one", spec(&["r0", "r3", "r8"])).await.expect("accepted");
    let answer = place.create_shard("two", spec(&["r0", "r1", "r0"])).await;
    assert_says("twice", answer, &["spec.replicaNames", "two replicas have one name"]);
    for name in ["r01", "0", "r", "s1", "r1234567"] {
        let answer = place.create_shard("two", spec(&[name])).await;
        assert_says(name, answer, &["spec.replicaNames[0]"]);
    }
}

#[tokio::test]
async fn a_shard_that_had_several_replicas_keeps_its_register() {
    let Some(place) = Place::of("replicated").await else { return };
    let spec = |replicas: u32, replicated: bool| {
        json!({"collection": "a", "placement": {"gen": 1, "slots": "0"}, "replicas": replicas, "image": "i",
            "replicated": replicated})
    };
    let now = async |replicas: u32, replicated: bool| {
        let mut made = place.shards().get("one").await.expect("there");
        made.data["spec"] = spec(replicas, replicated);
        let replaced = place.shards().replace("one", &Default::default(), &made).await;
        replaced.map(drop).map_err(|error| error.to_string())
    };
    place.create_shard("one", spec(1, false)).await.expect("accepted");
    now(1, false).await.expect("it stays alone");
    now(3, false).await.expect("one becomes several");
    assert_says("3 to 1", now(1, false).await, &["spec.replicated", "keeps its register"]);
    now(1, true).await.expect("several become one of them");
    assert_says("alone again", now(1, false).await, &["spec.replicated", "keeps its register"]);
    now(5, true).await.expect("and several again");
    now(5, false).await.expect("of several it goes without saying");
}
