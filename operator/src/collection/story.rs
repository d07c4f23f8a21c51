//! What is being done about a shard that is not as it is to be, and why, in words. Pure.
//!
//! Invariant: the same world is told in the same words: figures are left out, but for rounded ones.

use shoal_crds::conditions::reason;
use shoal_crds::labels;
use shoal_crds::shard::{LogState, ReplicaRole, ReplicaState};

use super::view::ShardView;

/// The reason and the words, the gravest first; `None` of a shard that is as it is to be.
pub(super) fn of(view: &ShardView) -> Option<(&'static str, String)> {
    if let Some(lost) = &view.lost_majority {
        return Some((reason::NO_QUORUM, lost.clone()));
    }
    if view.told.short {
        return Some((
            reason::NO_QUORUM,
            format!(
                "too few replicas answer each other for one to lead: {}",
                view.trouble_or("see their pods")
            ),
        ));
    }
    let is_led = view.states.iter().any(|state| state.role == ReplicaRole::Primary);
    let first = |holds: fn(&ReplicaState) -> bool| view.states.iter().find(|state| holds(state));
    if view.in_election {
        return Some((
            reason::ELECTING,
            "nobody leads: one of the replicas is being elected, and writes wait for it".to_owned(),
        ));
    }
    if let Some(state) = first(|state| state.role == ReplicaRole::Quarantined) {
        let number = labels::replica_number(&state.name).unwrap_or_default();
        let told = view.told.replicas.get(&number).and_then(|told| told.ended.clone());
        return Some((
            reason::REPLICA_QUARANTINED,
            format!("replica {} serves nothing any more: {}", state.name, told.unwrap_or_default()),
        ));
    }
    if let Some(state) = first(|state| state.moving) {
        return Some((reason::MOVING_REPLICAS, moving(state)));
    }
    if !view.is_whole() {
        let away = first(|state| !state.ready && state.node_lost_since.is_some());
        let note = away.map(waits_for_node).unwrap_or_default();
        return Some((reason::REPLICAS_UNAVAILABLE, format!("{}{note}", view.trouble())));
    }
    if let Some(state) = first(joins).filter(|_| is_led) {
        return Some((reason::REPLICA_JOINING, joining(state)));
    }
    if let Some(state) = first(|state| state.role == ReplicaRole::Leaving) {
        let words =
            format!("waiting until the disk of replica {} does not vote any more", state.name);
        return Some((reason::REPLICA_LEAVING, words));
    }
    if let Some(state) = first(|state| lacks_of(state).is_some()) {
        let lacks = lacks_of(state).unwrap_or_default();
        return Some((reason::REPLICA_BEHIND, format!("replica {} {lacks}", state.name)));
    }
    view.outdated.then(|| {
        let words = "pods are to be replaced, so that changes reach them".to_owned();
        (reason::ROLLING, words)
    })
}

fn joins(state: &ReplicaState) -> bool {
    matches!(state.role, ReplicaRole::Learner | ReplicaRole::Starting)
}

fn joining(state: &ReplicaState) -> String {
    let how = lacks_of(state).map(|lacks| format!(": it {lacks}")).unwrap_or_default();
    format!("replica {} gets what the others have, and votes once it has it{how}", state.name)
}

/// What a replica lacks; `None` of one that has it all.
pub(super) fn lacks(log: LogState, behind_ops: Option<i64>) -> Option<String> {
    match log {
        LogState::CaughtUp => None,
        LogState::Resyncing => Some("fetches a snapshot".to_owned()),
        LogState::Behind => match behind_ops {
            Some(ops) if ops > 0 => Some(format!("lacks about {ops} ops that the primary has")),
            _ => Some("does not show yet what it has".to_owned()),
        },
    }
}

fn lacks_of(state: &ReplicaState) -> Option<String> {
    lacks(state.log?, state.behind_ops)
}

fn moving(state: &ReplicaState) -> String {
    let (node, since) = lost(state);
    format!(
        "another takes the place of replica {}, whose node {node} is not ready or gone since {since}",
        state.name
    )
}

fn waits_for_node(state: &ReplicaState) -> String {
    let (node, since) = lost(state);
    format!(
        "; its node {node} is not ready or gone since {since}, and another replica takes its place after failover.nodeLossGrace"
    )
}

fn lost(state: &ReplicaState) -> (&str, String) {
    let since = state.node_lost_since.as_ref().map(|since| since.0.to_string());
    (state.node.as_deref().unwrap_or("?"), since.unwrap_or_default())
}

#[cfg(test)]
#[path = "story_tests.rs"]
mod tests;
