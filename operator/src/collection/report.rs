//! What a reconcile found, for the status. Pure but for looking at the stores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use shoal_crds::collection::Routing;
use shoal_crds::{Shard, VectorCollection, duration, labels};

use super::failovers;
use super::observe::Seen;
use super::plan::Run;
use super::pods::pod_name;
use super::replicas::{self, Register, Replicas};
use super::roles::{self, Look};
use super::router;
use super::status::Report;
use super::view::{ReplicaView, ShardView};
use crate::context::Context;
use crate::env;
use crate::error::Problem;
use crate::namespace;
use crate::told::ShardTold;

/// The default of `failover.nodeLossGrace`, for a spec that says something else than a time.
const GRACE: Duration = Duration::from_secs(300);

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
    let grace = duration::parse(collection.node_loss_grace()).unwrap_or(GRACE);
    let now = env::now();
    let with_replicas = |view: ShardView| {
        let told = context.heard.get(&namespace, &view.name);
        match seen.shards.get(&view.name) {
            Some(shard) => of_replicas(view, shard, told, seen, (grace, now)),
            None => view,
        }
    };
    let shards: Vec<ShardView> = shards
        .into_iter()
        .map(|view| with_replicas(ShardView { sample: sample(&view.name), ..view }))
        .collect();
    let again = shards.iter().filter_map(|view| roles::look_again(&view.states, grace, now)).min();
    Report {
        shards,
        again,
        rebalance: None,
        rolling: None,
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

/// A view of a shard with what there is to tell of its replicas.
fn of_replicas(
    view: ShardView,
    shard: &Shard,
    told: ShardTold,
    seen: &Seen,
    (grace, now): (Duration, Timestamp),
) -> ShardView {
    let (pods, nodes) = (&seen.pods, &seen.nodes);
    let states = roles::states(&Look { shard, pods, nodes, told: &told, grace, now });
    ShardView {
        in_election: !states.is_empty() && Register::of(Some(shard)).in_election(),
        lost_majority: roles::lost_majority(shard, &states),
        last_failover: failovers::last(shard, told.failover.as_ref()),
        states,
        told,
        ..view
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
        let replicas = replicas::known(seen, name).unwrap_or_else(Replicas::alone);
        let shard = seen.shards.get(name).map(AsRef::as_ref);
        let register = Register::of(shard);
        let view = view(name, &replicas, register.primary(), &seen.pods);
        ShardView { only_voter: register.only_voter(), ..view }
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
        ..ShardView::default()
    }
}
