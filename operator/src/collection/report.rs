//! What a reconcile found, for the status. Pure but for looking at the stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use shoal_crds::collection::Routing;
use shoal_crds::{VectorCollection, labels};

use super::build::ONLY_REPLICA;
use super::observe::Seen;
use super::plan::Run;
use super::pods::pod_name;
use super::router;
use super::status::{Report, ShardView};
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
    let shards = routing.as_ref().map(|routing| views(routing, &seen.pods)).unwrap_or_default();
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
        shards: views(&run.routing, &BTreeMap::new()),
        routing: Some(run.routing.clone()),
        image: Some(run.image.clone()),
        problem: run.problem.clone(),
        ..Report::default()
    }
}

fn views(routing: &Routing, pods: &BTreeMap<String, Arc<Pod>>) -> Vec<ShardView> {
    let view = |shard: &String| ShardView {
        name: shard.clone(),
        pod: pods.get(&pod_name(&labels::replica_name(shard, ONLY_REPLICA))).cloned(),
        sample: None,
        outdated: false,
    };
    routing.table.iter().map(|part| view(&part.shard)).collect()
}
