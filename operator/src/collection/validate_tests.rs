//! What a spec is parsed to, and what is refused.

use shoal_crds::collection::{
    Failover, Replication, Router as Asked, ShardPods, Sharding, SparseVectorSpec, Storage,
};
use shoal_crds::reads::Reads;

use super::*;
use crate::collection::testing::collection;

fn message(change: impl FnOnce(&mut VectorCollection)) -> String {
    let mut changed = collection("c");
    change(&mut changed);
    let problem = validate(&changed).expect_err("refused");
    assert_eq!(problem.reason, reason::INVALID_SPEC);
    problem.message
}

#[test]
fn only_vectors_are_needed_and_the_rest_has_defaults() {
    let valid = validate(&collection("c")).expect("valid");
    assert_eq!((valid.client_name.as_str(), valid.initial_shards, valid.replicas), ("c", 1, 1));
    assert_eq!(valid.storage_size.0, "10Gi");
    assert_eq!(valid.image, None);
    let requests = valid.pods.resources.requests.expect("requests");
    assert_eq!(requests.get("cpu").map(|q| q.0.as_str()), Some("100m"));
}

#[test]
fn what_cannot_work_is_refused_naming_the_field() {
    assert!(message(|c| c.spec.vectors.clear()).contains("spec.vectors"));
    assert!(message(|c| c.spec.vectors[0].size = 0).contains("spec.vectors[0].size"));
    assert!(message(|c| c.spec.vectors.push(c.spec.vectors[0].clone())).contains("twice"));
    assert!(message(|c| c.spec.vectors = vec![c.spec.vectors[0].clone(); 17]).contains("1 to 16"));
    assert!(message(|c| c.spec.name = Some("a/b".into())).contains("spec.name"));
    let shards = Some(Sharding { initial_shards: Some(0) });
    assert!(message(|c| c.spec.sharding = shards).contains("initialShards"));
    let size = Some(Quantity("a lot".into()));
    assert!(
        message(|c| c.spec.storage = Some(Storage { size, ..Storage::default() }))
            .contains("storage.size")
    );
    assert!(message(|c| c.spec.image = Some("a b".into())).contains("spec.image"));
    assert!(message(|c| c.metadata.name = Some("x".repeat(41))).contains("metadata.name"));
    let limits = Some([("memory".to_owned(), Quantity("much".into()))].into());
    let resources = Some(ResourceRequirements { limits, ..ResourceRequirements::default() });
    let router = Some(Asked { resources: resources.clone(), min_replicas: None });
    let told = message(|c| c.spec.router = router);
    assert!(told.contains("spec.router.resources") && told.contains("amount of memory"), "{told}");
    let pods = Some(ShardPods { resources, ..ShardPods::default() });
    assert!(message(|c| c.spec.shard_pods = pods).contains("amount of memory"));
    let router = Some(Asked { min_replicas: Some(0), resources: None });
    assert!(message(|c| c.spec.router = router).contains("spec.router.minReplicas"));
}

#[test]
fn times_of_a_failover_have_a_default_and_bounds() {
    let with = |failover| {
        let mut given = collection("c");
        given.spec.failover = Some(failover);
        validate(&given)
    };
    let budget = |text: &str| with(Failover { budget: Some(text.into()), ..Failover::default() });
    let grace = |text: &str| with(Failover { node_loss_grace: Some(text.into()), budget: None });
    let default = validate(&collection("c")).expect("valid");
    assert_eq!(default.failover_budget, Duration::from_secs(5));
    assert_eq!(budget("3000ms").expect("valid").failover_budget, Duration::from_secs(3));
    assert_eq!(grace("1h").expect("valid").node_loss_grace, Duration::from_secs(3_600));
    assert_eq!(default.node_loss_grace, Duration::from_secs(300));
    let sla = |text: &str| {
        let mut given = collection("c");
        let visibility_sla = Some(text.to_owned());
        given.spec.replication = Some(Replication { visibility_sla, ..Replication::default() });
        validate(&given)
    };
    assert_eq!(default.visibility_sla, None, "the default is not told to pods");
    assert_eq!(sla("2s").expect("valid").visibility_sla, Some(Duration::from_secs(2)));
    let stale = |text: &str| {
        let mut given = collection("c");
        given.spec.reads = Some(Reads { max_staleness: Some(text.to_owned()), ..Reads::default() });
        validate(&given)
    };
    assert!(stale("100ms").is_ok());
    for (refused, field) in [
        (stale("99ms"), "spec.reads.maxStaleness"),
        (sla("499ms"), "spec.replication.visibilitySla"),
        (budget("2999ms"), "spec.failover.budget"),
        (budget("11m"), "spec.failover.budget"),
        (budget("soon"), "3s to 10m"),
        (grace("59s"), "spec.failover.nodeLossGrace"),
    ] {
        let message = refused.expect_err("refused").message;
        assert!(message.contains(field), "{message}");
    }
}

#[test]
fn an_empty_image_is_the_operators_choice() {
    let mut given = collection("c");
    given.spec.image = Some(String::new());
    assert_eq!(validate(&given).expect("valid").image, None);
}

#[test]
fn an_empty_priority_class_is_none() {
    let mut given = collection("c");
    let priority_class_name = Some(String::new());
    given.spec.shard_pods = Some(ShardPods { priority_class_name, ..ShardPods::default() });
    assert_eq!(validate(&given), validate(&collection("c")));
}

#[test]
fn the_order_of_vectors_changes_neither_the_fingerprint_nor_what_is_built() {
    let named = |name: &str| VectorSpec { name: name.into(), size: 3, ..VectorSpec::default() };
    let mut one = collection("c");
    one.spec.vectors = vec![named("b"), named(""), named("a")];
    let mut other = one.clone();
    other.spec.vectors.reverse();
    assert_eq!(fingerprint(&one), fingerprint(&other));
    other.spec.vectors[0].datatype = Some(Datatype::Float32);
    assert_eq!(fingerprint(&one), fingerprint(&other), "which is the default");
    other.spec.vectors[0].datatype = Some(Datatype::Float16);
    assert_ne!(fingerprint(&one), fingerprint(&other));
    other.spec.vectors[0].datatype = None;
    let valid = validate(&one).expect("valid");
    assert_eq!(validate(&other), Ok(valid.clone()));
    let names: Vec<&str> = valid.vectors.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["", "a", "b"]);
    let sparse = |names: &[&str]| {
        let spec = |name: &&str| SparseVectorSpec { name: (*name).to_owned() };
        let mut given = one.clone();
        given.spec.sparse_vectors = Some(names.iter().map(spec).collect());
        given
    };
    assert_eq!(fingerprint(&sparse(&["s", "t"])), fingerprint(&sparse(&["t", "s"])));
    assert_ne!(fingerprint(&sparse(&["s"])), fingerprint(&one));
    assert_eq!(fingerprint(&sparse(&[])), fingerprint(&one));
    for wrong in [&["s", "s"][..], &["a"], &[""]] {
        let problem = validate(&sparse(wrong)).expect_err("refused");
        assert!(problem.message.contains("spec.sparseVectors"), "{}", problem.message);
    }
    let mut glued = one.clone();
    glued.spec.vectors = vec![named("/3/Cosine/a"), named("b")];
    assert_ne!(fingerprint(&glued), fingerprint(&one));
}

#[test]
fn the_fingerprint_tells_names_and_vectors_apart_and_nothing_else() {
    let base = collection("c");
    let mut other = base.clone();
    other.spec.sharding = Some(Sharding { initial_shards: Some(7) });
    assert_eq!(fingerprint(&other), fingerprint(&base));
    other.spec.vectors[0].size += 1;
    assert_ne!(fingerprint(&other), fingerprint(&base));
    let mut renamed = base.clone();
    renamed.spec.name = Some("d".into());
    assert_ne!(fingerprint(&renamed), fingerprint(&base));
}
