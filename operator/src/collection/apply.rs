//! Makes the cluster be as planned. IO.
//!
//! Each object is built and applied on its own; what the API server refuses is noted and the rest goes on, so that one
//! bad field costs no more than itself. An API server that does not answer ends the attempt.
//!
//! Invariant: at most one disruptive step a reconcile, and none while another is under way.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::PropagationPolicy;
use shoal_crds::collection::ShardSlots;
use shoal_crds::shard::LogState;
use shoal_crds::{Shard, ShardStatus, VectorCollection, labels};

use super::build;
use super::leaving;
use super::news;
use super::observe::Seen;
use super::plan::Run;
use super::pods::{self, Replica, pod_name};
use super::rebalance;
use super::replicas::{Register, Replicas};
use super::report::report;
use super::set;
use super::status::{Report, shard_status};
use super::story;
use super::validate::Valid;
use crate::context::Context;
use crate::env;
use crate::error::{Error, Problem};
use crate::kubernetes::meta;
use crate::told::ShardTold;

/// What became of the parts.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) problem: Option<Problem>,
    pub(super) working: Option<String>,
    rolling: Option<String>,
    shards: Vec<Arc<Shard>>,
    sets: Vec<Placed>,
    /// Sets there are to be.
    expected: usize,
}

/// A set that is there.
struct Placed {
    set: Arc<StatefulSet>,
    pod: Option<Arc<Pod>>,
    /// Whether nobody is known to lead its shard, although replicas are to agree who does.
    in_election: bool,
    /// What it lacks of what the others have, where it is not known to have it.
    lacks: Option<String>,
}

impl Progress {
    /// Every replica whose set is there.
    fn replicas(&self) -> Vec<Replica<'_>> {
        let sets = self.sets.iter();
        sets.map(|placed| Replica {
            set: &placed.set,
            pod: placed.pod.as_deref(),
            in_election: placed.in_election,
            lacks: placed.lacks.as_deref(),
        })
        .collect()
    }

    /// Names of the Shards of which a pod is not what the user asks.
    fn outdated_shards(&self) -> Vec<String> {
        let outdated = |replica: &Replica<'_>| {
            let shard = meta::label(replica.set, labels::SHARD)?;
            pods::is_outdated(replica).then(|| shard.to_owned())
        };
        self.replicas().iter().filter_map(outdated).collect()
    }

    /// Notes what only a person can mend, and passes on what ends the attempt.
    pub(super) fn note<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => match error.problem() {
                Some(problem) => {
                    self.problem.get_or_insert(problem);
                    Ok(None)
                }
                None => Err(error),
            },
        }
    }
}

/// Applies a plan; what was found on the way.
pub async fn apply(
    context: &Context,
    collection: &VectorCollection,
    valid: &Valid,
    run: &Run,
    seen: &Seen,
) -> Result<Report, Error> {
    let mut progress = Progress::default();
    let service = build::service::build(collection, valid);
    let service = context.writer.ensure(&service, seen.service.clone()).await;
    progress.note(service)?;
    for part in &run.routing.table {
        let applied = apply_shard(context, collection, valid, run, part, seen, &mut progress).await;
        progress.note(applied)?;
    }
    // A replica whose set is missing is away: nothing else is taken down meanwhile.
    if progress.sets.len() == progress.expected {
        roll(context, collection, &mut progress).await?;
    }
    let outdated = progress.outdated_shards();
    let problem = run.problem.clone().or(progress.problem.take());
    let written = progress.shards.iter().map(|shard| (shard.name_any(), Arc::clone(shard)));
    let mut now = seen.clone();
    now.shards.extend(written);
    let mut report = report(context, collection, &now, problem, progress.working.take());
    report.image = Some(run.image.clone());
    report.rolling = progress.rolling;
    for view in &mut report.shards {
        view.outdated = outdated.contains(&view.name);
    }
    for shard in &progress.shards {
        write_shard_status(context, collection, shard, &report).await?;
        leaving::forget(context, shard, seen).await?;
    }
    let moves =
        rebalance::see_to_moves(context, collection, valid, run, &now, &report.shards).await;
    match moves {
        Ok(rebalance) => report.rebalance = rebalance,
        Err(error) => match error.problem() {
            Some(problem) => drop(report.problem.get_or_insert(problem)),
            None => return Err(error),
        },
    }
    Ok(report)
}

/// A Shard, its replicas' rights, their disks and sets, its budget; and what is left of replicas that are asked for no more.
async fn apply_shard(
    context: &Context,
    collection: &VectorCollection,
    valid: &Valid,
    run: &Run,
    part: &ShardSlots,
    seen: &Seen,
    progress: &mut Progress,
) -> Result<(), Error> {
    let generation = run.routing.generation;
    let planned = run.replicas.get(&part.shard).cloned().unwrap_or_default();
    progress.expected += planned.numbers.len();
    let shard = build::shard::build(collection, valid, part, generation, &run.image, &planned);
    let existing = seen.shards.get(&part.shard).cloned();
    if existing.is_none() {
        refuse_unseen(context, &shard).await?;
    }
    let ensured = context.writer.ensure_as_seen(&shard, existing).await?;
    // One that is on its way out comes back once it is gone.
    let Some(shard) = ensured.object() else { return Ok(()) };
    progress.shards.push(Arc::clone(&shard));

    // As written: one that a person had us leave alone may have others than planned.
    let replicas = Replicas::of(&shard);
    let register = Register::of(Some(&shard));
    if replicas.is_replicated() {
        let rights = set::ensure_rights(context, valid, &shard, seen).await;
        progress.note(rights)?;
    }
    let told = context.heard.get(&valid.namespace, &part.shard);
    let mut pods = 0;
    for number in register.rolling_order(&replicas.numbers) {
        let replica = build::Replica { number, replicated: replicas.is_replicated() };
        if replica.replicated {
            let marked = set::mark_replicated(context, valid, &part.shard, number, seen).await;
            progress.note(marked)?;
        }
        let wanted =
            |valid: &Valid| build::stateful_set::build(valid, part, generation, &shard, replica);
        let applied = set::apply(context, valid, wanted, seen, progress).await;
        pods += 1;
        if let Some(set) = progress.note(applied)?.flatten() {
            let lacks = lacks(&told, &replicas, number);
            progress.place(set, seen, &register, lacks);
        }
    }
    if replicas.is_replicated() {
        let left = leaving::take_down(context, valid, &shard, &replicas, seen, progress).await;
        for set in progress.note(left)?.unwrap_or_default() {
            pods += 1;
            progress.expected += 1;
            // It is to go, so nobody waits for what it lacks.
            progress.place(set, seen, &register, None);
        }
    }
    let behind = |voter: Option<u32>| {
        let log = told.replicas.get(&voter?).and_then(|told| told.log);
        log.filter(|log| *log != LogState::CaughtUp)
    };
    let settled = !register.voters().into_iter().any(|voter| behind(voter).is_some());
    let budget = build::budget::build(valid, &shard, pods, settled);
    context.writer.ensure(&budget, seen.budgets.get(&part.shard).cloned()).await.map(|_| ())
}

/// Which replicas a shard has follows from the Shard: one that no store tells of yet must not be written over by what was
/// planned without it.
async fn refuse_unseen(context: &Context, wanted: &Shard) -> Result<(), Error> {
    let live = context.writer.read_live(wanted).await?;
    let is_other = |live: &Shard| {
        let stays = live.metadata.deletion_timestamp.is_none() && meta::is_ours(&live.metadata);
        stays && Replicas::of(live) != Replicas::of(wanted)
    };
    match live.filter(is_other) {
        Some(live) => Err(Error::Conflict { kind: "Shard".to_owned(), name: live.name_any() }),
        None => Ok(()),
    }
}

impl Progress {
    fn place(
        &mut self,
        set: Arc<StatefulSet>,
        seen: &Seen,
        register: &Register<'_>,
        lacks: Option<String>,
    ) {
        let pod = seen.pods.get(&pod_name(&set.name_any())).cloned();
        self.sets.push(Placed { set, pod, in_election: register.in_election(), lacks });
    }
}

/// What a replica lacks of what the others have. One whose image is too old to tell is judged by its pod alone, and so is the
/// only one: it has all there is.
fn lacks(told: &ShardTold, replicas: &Replicas, number: u32) -> Option<String> {
    let told = told.replicas.get(&number).cloned().unwrap_or_default();
    if replicas.numbers.len() <= 1 || told.mute {
        return None;
    }
    match told.log {
        Some(log) => story::lacks(log, told.behind_ops),
        None => Some("and the primary did not tell yet whether it has caught up".to_owned()),
    }
}

/// Replaces one pod whose template changed, if no other is away.
async fn roll(
    context: &Context,
    collection: &VectorCollection,
    progress: &mut Progress,
) -> Result<(), Error> {
    let replicas = progress.replicas();
    if !pods::any_outdated(&replicas) {
        return Ok(());
    }
    let next = pods::next_to_replace(&replicas).cloned();
    let waits = pods::waits_for(&replicas).filter(|_| next.is_none());
    let waits = waits.map(|what| format!("; waiting: {what}")).unwrap_or_default();
    progress.rolling =
        Some(format!("replacing pods, one at a time, so that changes reach them{waits}"));
    if let Some(pod) = next {
        let note = format!("replacing pod {} so that changes reach it", pod.name_any());
        context.writer.delete(&pod, PropagationPolicy::Background).await?;
        context.events.normal(collection, "ReplacingPod", "Roll", &note).await;
    }
    Ok(())
}

/// Writes a Shard's status where it differs, and tells what changed, on the Shard and on its collection.
async fn write_shard_status(
    context: &Context,
    collection: &VectorCollection,
    shard: &Shard,
    report: &Report,
) -> Result<(), Error> {
    let name = shard.name_any();
    let Some(view) = report.shards.iter().find(|view| view.name == name) else { return Ok(()) };
    let status = shard_status(shard, view, env::now());
    let before = shard.status.clone().unwrap_or_default();
    let before = ShardStatus { register: None, replicas: Vec::new(), ..before };
    if before == status {
        return Ok(());
    }
    context.writer.write_status(shard, &status).await?;
    for news in news::of_shard(&before, &status) {
        context.events.tell(shard, &news, &news.note).await;
        context.events.tell(collection, &news, &format!("{name}: {}", news.note)).await;
    }
    Ok(())
}
