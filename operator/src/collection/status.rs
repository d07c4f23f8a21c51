//! The status of a collection and of its Shards, from what was seen and done. Pure.
//!
//! Ready says whether it serves: every shard, and at least one router pod, be they as the spec last asked or as it asked
//! before. Reconciling is there and true while the operator still works towards the spec, Stalled while only a person can
//! help; both are absent otherwise, as kstatus reads them. So Ready may be true beside Reconciling: during a rollout the
//! collection serves (Ready) and is not yet as asked (kstatus: InProgress).
//!
//! Invariant: the same world gives the same status, to the letter; times change only where a condition does.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use shoal_crds::collection::{Rebalance, Routing, ShardCounts, VectorCollectionStatus};
use shoal_crds::conditions::{self, reason};
use shoal_crds::{Shard, ShardStatus, VectorCollection, labels};

use super::failovers;
use super::router::RouterState;
use super::story;
use super::view::ShardView;
use super::visibility;
use crate::error::Problem;

/// What a reconcile found and did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The table, once there is one.
    pub routing: Option<Routing>,
    /// The data plane image.
    pub image: Option<String>,
    /// What only a person can mend.
    pub problem: Option<Problem>,
    /// What the operator is still at, where that is not a pod that starts.
    pub working: Option<String>,
    /// Each shard, in the order of the table.
    pub shards: Vec<ShardView>,
    /// How the namespace's router is.
    pub router: RouterState,
    /// That pods are being replaced, and what is waited for.
    pub rolling: Option<String>,
    /// Replicas that are being moved from lost nodes, and what is being done about them.
    pub rebalance: Option<(Rebalance, String)>,
    /// When to look again, if it is known.
    pub again: Option<Duration>,
}

/// A condition before it has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Draft {
    type_: &'static str,
    /// `None` for Unknown.
    status: Option<bool>,
    reason: &'static str,
    message: String,
}

/// The status of a collection.
pub fn collection_status(
    collection: &VectorCollection,
    report: &Report,
    now: Timestamp,
) -> VectorCollectionStatus {
    let before = collection.status.clone().unwrap_or_default();
    let total = report.routing.as_ref().map_or(report.shards.len(), |routing| routing.table.len());
    let ready = report.shards.iter().filter(|shard| shard.is_ready()).count();
    let generation = collection.metadata.generation;
    VectorCollectionStatus {
        observed_generation: generation,
        conditions: with_times(
            drafts(report, &before.conditions, total, ready),
            &before.conditions,
            generation,
            now,
        ),
        name: Some(collection.client_name().to_owned()),
        image: report.image.clone().or(before.image),
        shards: Some(ShardCounts { total: as_i32(total), ready: as_i32(ready) }),
        points: sum(report.shards.iter().map(|s| s.sample.map(|sample| sample.points)))
            .or(before.points),
        disk_bytes: sum(report.shards.iter().map(|s| s.sample.map(|sample| sample.disk_bytes)))
            .or(before.disk_bytes),
        endpoint: Some(endpoint(collection)),
        routing: report.routing.clone().or(before.routing),
        last_failover: failovers::newest(
            report.shards.iter().map(|view| (view.name.as_str(), view.last_failover.as_ref())),
        )
        .or(before.last_failover),
        rebalance: report.rebalance.as_ref().map(|(rebalance, _)| rebalance.clone()),
    }
}

/// The status of a paused collection: what was known stays, and Ready says that nobody looks after it. The observed
/// generation stays too, so that a changed spec shows as not yet acted on.
pub fn paused_status(collection: &VectorCollection, now: Timestamp) -> VectorCollectionStatus {
    let before = collection.status.clone().unwrap_or_default();
    let was_ready = is_true(&before.conditions, conditions::READY);
    let message =
        format!("left alone because of the annotation {}; remove it to go on", labels::PAUSED);
    let draft = Draft {
        type_: conditions::READY,
        status: Some(was_ready),
        reason: reason::PAUSED,
        message,
    };
    let conditions = with_times(vec![draft], &before.conditions, before.observed_generation, now);
    VectorCollectionStatus { conditions, ..before }
}

/// The status of a collection that is being deleted.
pub fn deleting_status(
    collection: &VectorCollection,
    message: &str,
    now: Timestamp,
) -> VectorCollectionStatus {
    let before = collection.status.clone().unwrap_or_default();
    let generation = collection.metadata.generation;
    let draft = |type_, status| Draft {
        type_,
        status,
        reason: reason::DELETING,
        message: message.to_owned(),
    };
    let drafts =
        vec![draft(conditions::READY, Some(false)), draft(conditions::RECONCILING, Some(true))];
    let conditions = with_times(drafts, &before.conditions, generation, now);
    VectorCollectionStatus { conditions, observed_generation: generation, ..before }
}

/// The status of a Shard, as far as it is the operator's: applied, it leaves what replicas say as it is.
pub fn shard_status(shard: &Shard, view: &ShardView, now: Timestamp) -> ShardStatus {
    let before = shard.status.clone().unwrap_or_default();
    let mut drafts = Vec::new();
    let story = story::of(view);
    if view.is_ready() {
        let message = if view.is_whole() { view.praise() } else { view.trouble() };
        drafts.push(available(&message));
        drafts.extend(story.map(|(reason, message)| reconciling(reason, message)));
    } else {
        let [unready, reconciles] = unavailable(&before.conditions, view.trouble());
        drafts.push(unready);
        // That nobody can lead says more than that pods are away.
        let grave = story.filter(|(reason, _)| *reason == reason::NO_QUORUM);
        drafts.push(grave.map_or(reconciles, |(reason, message)| reconciling(reason, message)));
    }
    drafts.extend(visible_in_time(&[view]));
    let pod = view.serving_pod();
    ShardStatus {
        observed_generation: shard.metadata.generation,
        conditions: with_times(drafts, &before.conditions, shard.metadata.generation, now),
        ready_replicas: Some(as_i32(view.ready())),
        pod: pod.map(ResourceExt::name_any),
        node: pod.and_then(|pod| pod.spec.as_ref()).and_then(|spec| spec.node_name.clone()),
        points: view.sample.map(|sample| sample.points).or(before.points),
        disk_bytes: view.sample.map(|sample| sample.disk_bytes).or(before.disk_bytes),
        replica_states: view.states.clone(),
        last_failover: view.last_failover.clone(),
        // The replicas'.
        register: None,
        replicas: Vec::new(),
    }
}

fn drafts(report: &Report, before: &[Condition], total: usize, ready: usize) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let started = report.routing.is_some();
    let waiting = report.shards.iter().find(|shard| !shard.is_ready());
    let moves = report.rebalance.as_ref().map(|(_, words)| (reason::MOVING_REPLICAS, words));
    let rolling = report.rolling.as_ref().map(|words| (reason::ROLLING, words));
    let starting = report.working.as_ref().map(|words| (reason::SHARDS_STARTING, words));
    let working = moves.filter(|(_, words)| !words.is_empty()).or(rolling).or(starting);
    let mut working = working.map(|(reason, words)| (reason, words.clone()));
    if !started {
        let (reason, message) = match (&report.problem, &working) {
            (Some(problem), _) => (problem.reason, problem.message.clone()),
            (None, Some(working)) => working.clone(),
            (None, None) => (reason::SHARDS_STARTING, "its shards are being created".to_owned()),
        };
        drafts.push(Draft {
            type_: conditions::READY,
            status: Some(false),
            reason,
            message: message.clone(),
        });
        working = report.problem.is_none().then_some((reason, message));
    } else if let Some(shard) = waiting {
        let message =
            format!("{ready} of {total} shards serve; {}: {}", shard.name, shard.trouble());
        let reason = unavailable_reason(before);
        drafts.push(Draft {
            type_: conditions::READY,
            status: Some(false),
            reason,
            message: message.clone(),
        });
        working = Some((reason, message));
    } else if let RouterState::Away(trouble) = &report.router {
        let reason = reason::ROUTER_STARTING;
        drafts.push(Draft {
            type_: conditions::READY,
            status: Some(false),
            reason,
            message: trouble.clone(),
        });
        working = Some((reason, trouble.clone()));
    } else {
        let shards = if total == 1 {
            "its shard serves".to_owned()
        } else {
            format!("all {total} shards serve")
        };
        drafts.push(available(&shards));
        let mut stories = report.shards.iter().filter_map(|view| Some((view, story::of(view)?)));
        if let Some((view, (reason, words))) = stories.next() {
            working.get_or_insert((reason, format!("{}: {words}", view.name)));
        }
        if let RouterState::Changing(what) = &report.router {
            working.get_or_insert_with(|| (reason::ROUTER_STARTING, what.clone()));
        }
    }
    if started {
        drafts.extend(visible_in_time(&report.shards.iter().collect::<Vec<_>>()));
    }
    // kstatus: an object is in progress or has failed, not both; what only a person can mend goes first.
    match (&report.problem, working) {
        (Some(Problem { reason, message }), _) => {
            drafts.push(Draft {
                type_: conditions::STALLED,
                status: Some(true),
                reason,
                message: message.clone(),
            });
        }
        (None, Some((reason, message))) => {
            drafts.push(Draft {
                type_: conditions::RECONCILING,
                status: Some(true),
                reason,
                message,
            });
        }
        (None, None) => {}
    }
    drafts
}

fn visible_in_time(shards: &[&ShardView]) -> Option<Draft> {
    let (status, reason, message) = visibility::of(shards)?;
    Some(Draft { type_: conditions::VISIBLE_IN_TIME, status, reason, message })
}

fn reconciling(reason: &'static str, message: String) -> Draft {
    Draft { type_: conditions::RECONCILING, status: Some(true), reason, message }
}

fn available(message: &str) -> Draft {
    Draft {
        type_: conditions::READY,
        status: Some(true),
        reason: reason::AVAILABLE,
        message: message.to_owned(),
    }
}

fn unavailable(before: &[Condition], message: String) -> [Draft; 2] {
    let reason = unavailable_reason(before);
    [
        Draft { type_: conditions::READY, status: Some(false), reason, message: message.clone() },
        Draft { type_: conditions::RECONCILING, status: Some(true), reason, message },
    ]
}

/// Whether something that served went away, or never served yet.
fn unavailable_reason(before: &[Condition]) -> &'static str {
    let served = before.iter().any(|condition| {
        condition.type_ == conditions::READY
            && (condition.status == "True" || condition.reason == reason::SHARDS_UNAVAILABLE)
    });
    if served { reason::SHARDS_UNAVAILABLE } else { reason::SHARDS_STARTING }
}

/// Gives conditions their times: that of the former condition where its status did not change.
fn with_times(
    drafts: Vec<Draft>,
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let finish = |draft: Draft| {
        let status = match draft.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let former = before.iter().find(|c| c.type_ == draft.type_ && c.status == status);
        Condition {
            type_: draft.type_.to_owned(),
            status: status.to_owned(),
            reason: draft.reason.to_owned(),
            message: draft.message,
            observed_generation: generation,
            last_transition_time: former
                .map_or_else(|| Time(whole_seconds(now)), |c| c.last_transition_time.clone()),
        }
    };
    drafts.into_iter().map(finish).collect()
}

/// The API server keeps whole seconds; more would read as a change.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// A sum, once every part is known; rounded again, as sums of rounded numbers are not round.
fn sum(parts: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    let parts: Option<Vec<i64>> = parts.collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| crate::samples::round(parts.iter().sum()))
}

fn endpoint(collection: &VectorCollection) -> String {
    format!(
        "http://{}.{}.svc:{}",
        labels::ROUTER,
        collection.namespace().unwrap_or_default(),
        labels::HTTP_PORT
    )
}

fn as_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
