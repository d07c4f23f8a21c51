//! What each replica of a shard is, and which are to be moved from lost nodes. Pure.
//!
//! Who leads and who votes the register tells; what a replica lacks, the replicas; where it runs, its pod.
//!
//! Invariant: a replica is to be moved only while a primary leads, on a node that is there, and a majority of those that vote
//! are on such nodes: otherwise nobody could take its place, and nothing is touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use shoal_crds::shard::{ReplicaRole, ReplicaState};
use shoal_crds::{Shard, labels};

use super::nodes::{self, NodeIs, Nodes};
use super::pods::{self, pod_name};
use super::replicas::{Register, Replicas};
use crate::told::ShardTold;

/// What there is to see of a shard's replicas.
pub(super) struct Look<'a> {
    pub(super) shard: &'a Shard,
    pub(super) pods: &'a BTreeMap<String, Arc<Pod>>,
    pub(super) nodes: &'a Nodes,
    pub(super) told: &'a ShardTold,
    /// How long a node may be away.
    pub(super) grace: Duration,
    pub(super) now: Timestamp,
}

/// The states of a shard's replicas, in order; none of a lone one.
pub(super) fn states(look: &Look<'_>) -> Vec<ReplicaState> {
    let (replicas, register) = (Replicas::of(look.shard), Register::of(Some(look.shard)));
    if !replicas.is_replicated() {
        return Vec::new();
    }
    let mut numbers = replicas.numbers.clone();
    numbers.extend(register.voters().into_iter().flatten());
    numbers.sort_unstable();
    numbers.dedup();
    let state = |number: u32| state(look, &replicas, &register, number);
    let mut states: Vec<ReplicaState> = numbers.into_iter().map(state).collect();
    if can_go_on(&register, &states) {
        for state in states.iter_mut().filter(|state| state.role != ReplicaRole::Leaving) {
            let due = due(state, look.grace, look.now);
            state.moving = due.is_some_and(|in_so_long| in_so_long.is_zero());
        }
    }
    states
}

/// How long it takes until a replica is to be moved; `None` if its node is there.
fn due(state: &ReplicaState, grace: Duration, now: Timestamp) -> Option<Duration> {
    let since = state.node_lost_since.as_ref()?.0;
    let away = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    Some(grace.saturating_sub(away))
}

/// When to look again because a replica is to be moved by then.
pub(super) fn look_again(
    states: &[ReplicaState],
    grace: Duration,
    now: Timestamp,
) -> Option<Duration> {
    let waiting = states.iter().filter_map(|state| due(state, grace, now));
    // The clock of objects has whole seconds.
    waiting.filter(|due| !due.is_zero()).min().map(|due| due + Duration::from_secs(1))
}

/// Whether a primary leads and a majority is there, by the nodes they are on.
fn can_go_on(register: &Register<'_>, states: &[ReplicaState]) -> bool {
    let is_there = |number: u32| {
        let name = labels::replica(number);
        states.iter().any(|state| state.name == name && state.node_lost_since.is_none())
    };
    let voters = register.voters();
    let there = voters.iter().filter(|voter| voter.is_some_and(is_there)).count();
    register.primary().is_some_and(is_there) && there > voters.len() / 2
}

/// The nodes that were lost with so many voters that the others are too few.
pub(super) fn lost_majority(shard: &Shard, states: &[ReplicaState]) -> Option<String> {
    let register = Register::of(Some(shard));
    let voters = register.voters();
    let lost = |voter: &Option<u32>| {
        let name = labels::replica((*voter)?);
        let state = states.iter().find(|state| state.name == name)?;
        state.node_lost_since.as_ref().and(state.node.clone())
    };
    let mut nodes: Vec<String> = voters.iter().filter_map(lost).collect();
    if voters.is_empty() || voters.len() - nodes.len() > voters.len() / 2 {
        return None;
    }
    let (lost, all) = (nodes.len(), voters.len());
    nodes.sort();
    nodes.dedup();
    Some(format!(
        "{lost} of {all} replicas are on nodes that are not ready or gone ({}), and a majority is needed: nothing is moved; \
         bring a node back",
        nodes.join(", ")
    ))
}

fn state(
    look: &Look<'_>,
    replicas: &Replicas,
    register: &Register<'_>,
    number: u32,
) -> ReplicaState {
    let name = labels::replica(number);
    let before = look.shard.status.iter().flat_map(|status| &status.replica_states);
    let before = before.into_iter().find(|state| state.name == name);
    let set = labels::replica_name(look.shard.metadata.name.as_deref().unwrap_or_default(), number);
    let pod = look.pods.get(&pod_name(&set)).map(AsRef::as_ref);
    let node = pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
    let node = node.or_else(|| before.and_then(|before| before.node.clone()));
    let noted = before.filter(|before| before.node == node);
    let noted = noted.and_then(|before| before.node_lost_since.as_ref()).map(|time| time.0);
    let lost_since = node.as_ref().and_then(|node| {
        let is = look.nodes.get(node).copied().unwrap_or(NodeIs::Gone);
        nodes::lost_since(is, noted, look.now)
    });
    let told = look.told.replicas.get(&number).cloned().unwrap_or_default();
    ReplicaState {
        role: role(register, replicas, number, told.ended.is_some()),
        ready: pod.is_some_and(pods::is_ready),
        log: told.log,
        behind_ops: told.behind_ops,
        node,
        node_lost_since: lost_since
            .map(|since| Time(Timestamp::from_second(since.as_second()).unwrap_or(since))),
        moving: false,
        name,
    }
}

fn role(register: &Register<'_>, replicas: &Replicas, number: u32, has_ended: bool) -> ReplicaRole {
    let votes = register.voters().contains(&Some(number));
    match () {
        () if has_ended => ReplicaRole::Quarantined,
        () if register.primary() == Some(number) => ReplicaRole::Primary,
        () if !replicas.numbers.contains(&number) => ReplicaRole::Leaving,
        () if votes && register.in_election() => ReplicaRole::Electing,
        () if votes => ReplicaRole::Follower,
        () if register.knows(number) && register.epoch().is_some() => ReplicaRole::Learner,
        () => ReplicaRole::Starting,
    }
}

#[cfg(test)]
#[path = "roles_tests.rs"]
mod tests;
