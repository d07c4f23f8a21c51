//! Replicas that are to be moved from lost nodes: one Job a collection does it, and this tells how far it is.
//!
//! The operator marks in the Shards' status which replicas are to go; the Job names others in their place, one after the other,
//! in the Shards' spec; the primary has those vote and the lost ones not; then the operator takes down what is left of these.
//!
//! Invariant: there is one Job at a time; it is made where something is marked, and ends by itself.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use kube::api::PropagationPolicy;
use shoal_crds::collection::Rebalance;
use shoal_crds::conditions::reason;
use shoal_crds::shard::ReplicaRole;
use shoal_crds::{VectorCollection, labels};

use super::build::job::{self, Moves};
use super::observe::Seen;
use super::plan::Run;
use super::validate::Valid;
use super::view::ShardView;
use crate::context::Context;
use crate::error::{Error, Problem};
use crate::kubernetes::meta;

/// Sees to it that a Job moves what is marked; what is being moved, and what is being done about it: nothing once all is done.
pub(super) async fn see_to_moves(
    context: &Context,
    collection: &VectorCollection,
    valid: &Valid,
    run: &Run,
    seen: &Seen,
    shards: &[ShardView],
) -> Result<Option<(Rebalance, String)>, Error> {
    let marked = marked(shards);
    let Some(job) = seen.rebalance.as_deref() else {
        if marked.is_empty() {
            return Ok(None);
        }
        let replicas: Vec<String> = marked.iter().map(|mark| mark.replica.clone()).collect();
        let nodes: BTreeSet<String> = marked.iter().map(|mark| mark.node.clone()).collect();
        let nodes: Vec<String> = nodes.into_iter().collect();
        let writer = &context.writer;
        writer.make(&job::account(collection, valid), None).await?;
        writer.make(&job::role(collection, valid, &run.routing), None).await?;
        writer.make(&job::binding(collection, valid), None).await?;
        let moves = Moves { replicas: &replicas, nodes: &nodes };
        let job = job::build(collection, valid, &run.routing, &run.image, &moves);
        writer.make(&job, None).await?;
        return Ok(Some(progress(&job, &marked, shards)));
    };
    let (rebalance, words) = progress(job, &marked, shards);
    match end(job) {
        None => Ok(Some((rebalance, words))),
        Some(End::Complete) if marked.is_empty() => Ok(Some((rebalance, String::new()))),
        // More was lost when it was about to end: another goes on.
        Some(End::Complete) => {
            context.writer.delete(job, PropagationPolicy::Background).await?;
            Ok(Some((rebalance, words)))
        }
        Some(End::Failed(why)) if !marked.is_empty() => Err(Error::Stuck(Problem::new(
            reason::REBALANCE_FAILED,
            format!(
                "the Job {} gave up ({why}), and is made anew after a while: {words}",
                rebalance.job
            ),
        ))),
        Some(End::Failed(_)) => Ok(None),
    }
}

/// A replica that is to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    /// As SHARD/REPLICA.
    replica: String,
    node: String,
}

fn marked(shards: &[ShardView]) -> Vec<Mark> {
    let of_shard = |view: &ShardView| {
        let moving = view.states.iter().filter(|state| state.moving);
        let mark = |state: &shoal_crds::shard::ReplicaState| Mark {
            replica: format!("{}/{}", view.name, state.name),
            node: state.node.clone().unwrap_or_default(),
        };
        moving.map(mark).collect::<Vec<_>>()
    };
    shards.iter().flat_map(of_shard).collect()
}

/// How far a Job is, and in words what is being done.
fn progress(job: &Job, marked: &[Mark], shards: &[ShardView]) -> (Rebalance, String) {
    let list = |key: &str| {
        let listed = meta::annotation(job, key).unwrap_or_default().split(',');
        listed.filter(|item| !item.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (mut replicas, mut nodes) = (list(labels::MOVES), list(labels::MOVED_FROM));
    replicas.extend(marked.iter().map(|mark| mark.replica.clone()));
    nodes.extend(marked.iter().map(|mark| mark.node.clone()));
    let left: Vec<&String> = replicas.iter().filter(|replica| is_left(replica, shards)).collect();
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let rebalance = Rebalance {
        job: labels::rebalance_job(meta::label(job, labels::COLLECTION).unwrap_or_default()),
        nodes: nodes.into_iter().collect(),
        moved: count(replicas.len() - left.len()),
        total: count(replicas.len()),
    };
    let from = rebalance.nodes.join(", ");
    let mut words =
        format!("moved {} of {} replicas off node {from}", rebalance.moved, rebalance.total);
    let next = left.first().and_then(|replica| replica.split_once('/'));
    if let Some(view) = next.and_then(|(shard, _)| shards.iter().find(|view| view.name == shard)) {
        words = format!("{words}; {}: {}", view.name, step(view));
    }
    (rebalance, words)
}

/// Whether a replica still belongs to its shard, or another in its place does not vote yet.
fn is_left(replica: &str, shards: &[ShardView]) -> bool {
    let Some((shard, name)) = replica.split_once('/') else { return false };
    let Some(view) = shards.iter().find(|view| view.name == shard) else { return false };
    let here = view.states.iter().any(|state| state.name == name);
    here || view.states.iter().any(|state| joins(state.role))
}

fn joins(role: ReplicaRole) -> bool {
    matches!(role, ReplicaRole::Learner | ReplicaRole::Starting)
}

/// What a move in a shard waits for.
fn step(view: &ShardView) -> String {
    if let Some(lost) = &view.lost_majority {
        return lost.clone();
    }
    let named = |name: &str| view.replicas.iter().find(|r| labels::replica(r.number) == name);
    match view.states.iter().find(|state| joins(state.role)) {
        Some(state) if !state.ready => {
            let pod = named(&state.name).and_then(|replica| replica.pod.as_deref());
            let number = labels::replica_number(&state.name).unwrap_or_default();
            super::pods::trouble(&labels::replica_name(&view.name, number), pod)
        }
        Some(state) => format!("replica {} gets what the others have", state.name),
        None if view.states.iter().any(|state| state.role == ReplicaRole::Leaving) => {
            "waiting until the disk of the lost replica does not vote any more".to_owned()
        }
        None => "another replica is to be named in the place of the lost one".to_owned(),
    }
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Failed(String),
}

fn end(job: &Job) -> Option<End> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref());
    let ended = conditions.unwrap_or_default().iter().find(|condition| {
        ["Complete", "Failed"].contains(&condition.type_.as_str()) && condition.status == "True"
    })?;
    Some(match ended.type_.as_str() {
        "Complete" => End::Complete,
        _ => End::Failed(ended.reason.clone().unwrap_or_default()),
    })
}

#[cfg(test)]
#[path = "rebalance_tests.rs"]
mod tests;
