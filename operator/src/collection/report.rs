//! What a reconcile found, for the status. Pure but for looking at the stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use shoal_crds::collection::Routing;
use shoal_crds::{VectorCollection, labels};

use super::observe::Seen;
use super::plan::Run;
use super::pods::pod_name;
use super::replicas::{self, Register, Replicas};
use super::router;
use super::status::Report;
use super::view::{ReplicaView, ShardView};
use crate::context::Context;
use crate::error::Problem;
use crate::namespace;

/// A report about a collection as it is, whether or not anything was done.
pub fn report(
    context: &Context,
    collection: &VectorCollection,
    seen: &Seen,
    problem: Option<Problem>,
    working: Option<String>,
) -> Report {
    let namespace = collection.namespace().unwrap_or_default();
    let routing = collection.status.as_ref().and_then(|status| status.routing.clone());
    let sample = |shard: &str| context.samples.get(&namespace, shard);
    let shards = routing.as_ref().map(|routing| views(routing, seen)).unwrap_or_default();
    Report {
        shards: shards
            .into_iter()
            .map(|view| ShardView { sample: sample(&view.name), ..view })
            .collect(),
        routing,
        image: None,
        problem: problem.or_else(|| context.namespaces.problem(&namespace)),
        working,
        router: router::state(
            seen.router.as_deref(),
            seen.router_service.as_deref(),
            namespace::wanted_router(context, &namespace).as_ref(),
        ),
    }
}

/// A report about a collection whose table is made and whose Shards are not.
pub fn starting(run: &Run) -> Report {
    Report {
        shards: run.routing.table.iter().map(|part| planned(&part.shard, run)).collect(),
        routing: Some(run.routing.clone()),
        image: Some(run.image.clone()),
        problem: run.problem.clone(),
        ..Report::default()
    }
}

fn planned(shard: &str, run: &Run) -> ShardView {
    let replicas = run.replicas.get(shard).cloned().unwrap_or_default();
    view(shard, &replicas, None, &BTreeMap::new())
}

fn views(routing: &Routing, seen: &Seen) -> Vec<ShardView> {
    let names = routing.table.iter().map(|part| &part.shard);
    let view = |name: &String| {
        // Of one that has neither Shard nor disk nothing serves, however many copies it is to have.
        let one = || Replicas { count: 1, numbers: vec![0], next: 1 };
        let replicas = replicas::known(seen, name).unwrap_or_else(one);
        let shard = seen.shards.get(name).map(AsRef::as_ref);
        view(name, &replicas, Register::of(shard).primary(), &seen.pods)
    };
    names.map(view).collect()
}

fn view(
    shard: &str,
    replicas: &Replicas,
    primary: Option<u32>,
    pods: &BTreeMap<String, Arc<Pod>>,
) -> ShardView {
    let replica = |&number: &u32| ReplicaView {
        number,
        pod: pods.get(&pod_name(&labels::replica_name(shard, number))).cloned(),
    };
    ShardView {
        name: shard.to_owned(),
        replicas: replicas.numbers.iter().map(replica).collect(),
        primary: if replicas.is_replicated() { primary } else { Some(0) },
        outdated: false,
        sample: None,
    }
}
