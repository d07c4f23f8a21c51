//! What changed with a shard's replicas, for events on the Shard and on its collection. Pure.
//!
//! Each is told once: what a status said before is compared with what it says now, and that is what outlives a restart.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use shoal_crds::ShardStatus;
use shoal_crds::collection::Rebalance;
use shoal_crds::conditions::{self, reason};
use shoal_crds::shard::{FailoverReason, LastFailover, LogState, ReplicaRole, ReplicaState};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    /// Whether a person should look at it.
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

fn good(reason: &'static str, note: String) -> News {
    News { warning: false, reason, note }
}

fn bad(reason: &'static str, note: String) -> News {
    News { warning: true, reason, note }
}

/// What changed in a Shard's status.
pub(super) fn of_shard(before: &ShardStatus, after: &ShardStatus) -> Vec<News> {
    let mut news = Vec::new();
    if let Some(last) = &after.last_failover {
        let known = before.last_failover.as_ref().filter(|known| known.epoch == last.epoch);
        news.extend(known.is_none().then(|| failover(last)));
        news.extend(lost(known.and_then(|known| known.lost_ops), last));
    }
    news.extend(quorum(before, after));
    if let [first] = &after.replica_states[..]
        && before.replica_states.is_empty()
        && before.observed_generation.is_some()
    {
        news.push(good(
            "BecomesReplicated",
            format!(
                "the shard was alone and is to have several replicas: its pod is restarted as {}, and nothing is read or \
                 written of it until that leads; the others follow",
                first.name
            ),
        ));
    }
    // The first look at a new shard tells of no change.
    if before.replica_states.is_empty() || after.replica_states.is_empty() {
        return news;
    }
    for state in &after.replica_states {
        let known = before.replica_states.iter().find(|known| known.name == state.name);
        news.extend(replica(known, state));
    }
    let gone = |known: &&ReplicaState| after.replica_states.iter().all(|s| s.name != known.name);
    for known in before.replica_states.iter().filter(gone) {
        news.push(good(
            "ReplicaRemoved",
            format!("replica {} does not belong to the shard any more", known.name),
        ));
    }
    news
}

fn failover(last: &LastFailover) -> News {
    let (from, to, epoch) = (&last.from, &last.to, &last.epoch);
    let took =
        last.duration_ms.map(|ms| format!(", {ms} ms after the last sign of life of {from}"));
    let took = took.unwrap_or_default();
    match last.reason {
        FailoverReason::Switchover => good(
            "Switchover",
            format!("replica {from} handed over to {to}, which leads epoch {epoch}{took}"),
        ),
        FailoverReason::PrimaryLost => bad(
            "Failover",
            format!("replica {to} leads epoch {epoch} in the place of {from}{took}"),
        ),
    }
}

/// That acknowledged ops are gone, once it is known.
fn lost(known: Option<i64>, last: &LastFailover) -> Option<News> {
    let ops = last.lost_ops.filter(|&ops| ops > 0 && known != Some(ops))?;
    let (from, to, epoch) = (&last.from, &last.to, &last.epoch);
    Some(bad(
        "AcknowledgedOpsLost",
        format!(
            "up to {ops} ops that replica {from} acknowledged alone, as acks: Primary has it, are not in the history any more since \
             {to} leads epoch {epoch}; they are kept on the disk of {from}, in files wal/*.aside"
        ),
    ))
}

fn quorum(before: &ShardStatus, after: &ShardStatus) -> Option<News> {
    let message = |status: &ShardStatus| {
        let is =
            |c: &&Condition| c.type_ == conditions::RECONCILING && c.reason == reason::NO_QUORUM;
        status.conditions.iter().find(is).map(|condition| condition.message.clone())
    };
    match (message(before), message(after)) {
        (None, Some(message)) => Some(bad(reason::NO_QUORUM, message)),
        (Some(_), None) => {
            Some(good("QuorumRestored", "enough replicas are there for one to lead".to_owned()))
        }
        _ => None,
    }
}

fn replica(known: Option<&ReplicaState>, state: &ReplicaState) -> Option<News> {
    let name = &state.name;
    let Some(known) = known else {
        return Some(good(
            "ReplicaAdded",
            format!("replica {name} is added, and gets what the others have"),
        ));
    };
    let joins = |role| matches!(role, ReplicaRole::Learner | ReplicaRole::Starting);
    let votes = |role| matches!(role, ReplicaRole::Primary | ReplicaRole::Follower);
    if state.role == ReplicaRole::Quarantined && known.role != state.role {
        return Some(bad(
            reason::REPLICA_QUARANTINED,
            format!(
                "replica {name} serves nothing any more: its log shows why; to have it replaced, take {name} out of the Shard's spec.replicaNames"
            ),
        ));
    }
    if joins(known.role) && votes(state.role) {
        return Some(good(
            "ReplicaJoined",
            format!("replica {name} has what the others have, and votes"),
        ));
    }
    if state.role == ReplicaRole::Leaving && known.role != state.role {
        return Some(good(
            reason::REPLICA_LEAVING,
            format!("replica {name} is no longer asked for, and goes once it does not vote"),
        ));
    }
    log(known.log, state)
}

fn log(known: Option<LogState>, state: &ReplicaState) -> Option<News> {
    let name = &state.name;
    match (known, state.log?) {
        (known, log) if known == Some(log) => None,
        (_, LogState::Resyncing) => Some(good(
            "ReplicaResyncing",
            format!(
                "replica {name} fetches a snapshot, as what it needs is gone from the others' logs"
            ),
        )),
        (_, LogState::Behind) => {
            let ops = state.behind_ops.unwrap_or_default();
            Some(bad(
                reason::REPLICA_BEHIND,
                format!("replica {name} lacks about {ops} ops that the primary has"),
            ))
        }
        (Some(_), LogState::CaughtUp) => {
            Some(good("ReplicaCaughtUp", format!("replica {name} has what the primary has")))
        }
        // First heard of, and all is well.
        (None, LogState::CaughtUp) => None,
    }
}

/// What changed about replicas that are moved.
pub(super) fn of_rebalance(before: Option<&Rebalance>, after: Option<&Rebalance>) -> Option<News> {
    let after = after?;
    let from = format!(
        "{} {}",
        if after.nodes.len() == 1 { "node" } else { "nodes" },
        after.nodes.join(", ")
    );
    let (moved, total) = (after.moved, after.total);
    match before.filter(|before| before.job == after.job) {
        None => Some(bad(
            reason::MOVING_REPLICAS,
            format!(
                "moving {total} replicas off {from}, which was away for longer than failover.nodeLossGrace"
            ),
        )),
        Some(before) if before.moved < moved => {
            Some(good("MovedReplica", format!("moved {moved} of {total} replicas off {from}")))
        }
        Some(_) => None,
    }
}

/// What replacing pods waits for, where that is something else than before; other figures are the same.
pub(super) fn of_rolling(before: &[Condition], after: &[Condition]) -> Option<News> {
    let waits = |conditions: &[Condition]| {
        let is = |c: &&Condition| c.type_ == conditions::RECONCILING && c.reason == reason::ROLLING;
        let message = conditions.iter().find(is)?.message.clone();
        message.split_once("; waiting: ").map(|(_, what)| what.to_owned())
    };
    let words = |what: &String| {
        let words = what.split(' ').filter(|word| word.parse::<i64>().is_err());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let (before, now) = (waits(before), waits(after)?);
    let same = before.is_some_and(|before| words(&before) == words(&now));
    (!same).then(|| good(reason::ROLLING, format!("the next pod is replaced later: {now}")))
}

#[cfg(test)]
#[path = "news_tests.rs"]
mod tests;
