//! Makes the cluster be as planned. IO.
//!
//! Each object is built and applied on its own; what the API server refuses is noted and the rest goes on, so that one
//! bad field costs no more than itself. An API server that does not answer ends the attempt.
//!
//! Invariant: at most one disruptive step a reconcile, and none while another is under way.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use kube::api::PropagationPolicy;
use shoal_crds::collection::ShardSlots;
use shoal_crds::{Shard, VectorCollection, labels};

use super::build::{self, ONLY_REPLICA};
use super::claims;
use super::observe::Seen;
use super::plan::Run;
use super::pods::{self, Replica, pod_name};
use super::report::report;
use super::status::{Report, shard_status};
use super::validate::Valid;
use crate::context::Context;
use crate::env;
use crate::error::{Error, Problem};
use crate::kubernetes::meta;
use crate::kubernetes::writer::Ensured;

/// What became of the parts.
#[derive(Default)]
struct Progress {
    problem: Option<Problem>,
    working: Option<String>,
    shards: Vec<Arc<Shard>>,
    sets: Vec<(Arc<StatefulSet>, Option<Arc<Pod>>)>,
}

impl Progress {
    /// Every replica whose set is there.
    fn replicas(&self) -> Vec<Replica<'_>> {
        self.sets.iter().map(|(set, pod)| Replica { set, pod: pod.as_deref() }).collect()
    }

    /// Names of the Shards whose pod is not what the user asks.
    fn outdated_shards(&self) -> Vec<String> {
        let outdated = |replica: &Replica<'_>| {
            let shard = meta::label(replica.set, labels::SHARD)?;
            pods::is_outdated(replica).then(|| shard.to_owned())
        };
        self.replicas().iter().filter_map(outdated).collect()
    }

    /// Notes what only a person can mend, and passes on what ends the attempt.
    fn note<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
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
    // A shard whose set is missing is away: nothing else is taken down meanwhile.
    if progress.sets.len() == run.routing.table.len() {
        roll(context, collection, &mut progress).await?;
    }
    let outdated = progress.outdated_shards();
    let problem = run.problem.clone().or(progress.problem);
    let mut report = report(context, collection, seen, problem, progress.working);
    report.image = Some(run.image.clone());
    for view in &mut report.shards {
        view.outdated = outdated.contains(&view.name);
    }
    for shard in &progress.shards {
        write_shard_status(context, shard, &report).await?;
    }
    Ok(report)
}

/// A Shard, its disk, its set, its budget.
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
    let shard = build::shard::build(collection, valid, part, generation, &run.image);
    let ensured = context.writer.ensure(&shard, seen.shards.get(&part.shard).cloned()).await?;
    // One that is on its way out comes back once it is gone.
    let Some(shard) = ensured.object() else { return Ok(()) };
    progress.shards.push(Arc::clone(&shard));

    let set_name = labels::replica_name(&part.shard, ONLY_REPLICA);
    let disk = disk(context, valid, seen.claims.get(&claims::claim_name(&set_name))).await;
    let set = match progress.note(disk)? {
        Some(disk) => {
            progress.problem = progress.problem.take().or(disk.problem);
            let valid = Valid { storage_size: disk.size, ..valid.clone() };
            let mut set = build::stateful_set::build(&valid, part, generation, &shard);
            set_pull_policy(context, &mut set);
            progress_of_set(context, &valid, set, seen, progress).await?
        }
        // A disk that is not ours: the set stays as it is, also where there is none.
        None => seen.stateful_sets.get(&set_name).cloned(),
    };
    if let Some(set) = set {
        progress.sets.push((set, seen.pods.get(&pod_name(&set_name)).cloned()));
    }
    let budget = build::budget::build(valid, &shard);
    context.writer.ensure(&budget, seen.budgets.get(&part.shard).cloned()).await.map(|_| ())
}

/// Applies a set. One whose disk grew is made anew, its pod orphaned: the pod runs on and is adopted.
async fn progress_of_set(
    context: &Context,
    valid: &Valid,
    wanted: StatefulSet,
    seen: &Seen,
    progress: &mut Progress,
) -> Result<Option<Arc<StatefulSet>>, Error> {
    let name = wanted.name_any();
    let existing = seen.stateful_sets.get(&name).cloned();
    if let Some(existing) = &existing
        && existing.metadata.deletion_timestamp.is_none()
        && !meta::is_paused(&existing.metadata)
        && build::stateful_set::must_be_recreated(&wanted, existing)
    {
        tracing::info!(set = name, "making the set anew, its pod runs on");
        context.writer.delete(existing.as_ref(), PropagationPolicy::Orphan).await?;
        progress.working = Some(format!("StatefulSet {name} is made anew; its pod runs on"));
        return Ok(None);
    }
    if existing.is_none() {
        refuse_foreign_disk(context, valid, &wanted, seen).await?;
    }
    match context.writer.ensure(&wanted, existing).await? {
        Ensured::Going => {
            progress.working = Some(format!("StatefulSet {name} is being deleted and comes back"));
            Ok(None)
        }
        ensured => Ok(ensured.object()),
    }
}

/// A new set would mount whatever claim has its name: looks live at one that is not known to be ours.
async fn refuse_foreign_disk(
    context: &Context,
    valid: &Valid,
    set: &StatefulSet,
    seen: &Seen,
) -> Result<(), Error> {
    let name = claims::claim_name(&set.name_any());
    if let Some(claim) = seen.claims.get(&name) {
        return claims::check(valid, claim).map_err(Error::Stuck);
    }
    let mut like = PersistentVolumeClaim::default();
    like.metadata.name = Some(name);
    like.metadata.namespace = Some(valid.namespace.clone());
    match context.writer.read_live(&like).await? {
        Some(claim) => claims::check(valid, &claim).map_err(Error::Stuck),
        None => Ok(()),
    }
}

/// A disk once it was seen to.
struct Disk {
    /// What its set is built with: what the spec asks, or what the disk has where that cannot be had.
    size: Quantity,
    /// Why it is not what the spec asks.
    problem: Option<Problem>,
}

/// Grows a disk to what the spec asks. One that cannot is told and otherwise goes on as it is: its set is looked after all
/// the same.
async fn disk(
    context: &Context,
    valid: &Valid,
    claim: Option<&Arc<PersistentVolumeClaim>>,
) -> Result<Disk, Error> {
    let as_asked = || Disk { size: valid.storage_size.clone(), problem: None };
    let Some(claim) = claim.filter(|claim| claim.metadata.deletion_timestamp.is_none()) else {
        return Ok(as_asked());
    };
    claims::check(valid, claim).map_err(Error::Stuck)?;
    let as_it_is = |problem| {
        let size = claims::size(claim).unwrap_or(&valid.storage_size).clone();
        Disk { size, problem: Some(problem) }
    };
    let patch = match claims::growth(valid, claim) {
        Ok(Some(patch)) => patch,
        Ok(None) => return Ok(as_asked()),
        Err(problem) => return Ok(as_it_is(problem)),
    };
    match context.writer.merge(claim.as_ref(), patch).await {
        Ok(_) => Ok(as_asked()),
        Err(Error::Refused { message, .. }) => {
            Ok(as_it_is(claims::refused_growth(valid, claim, &message)))
        }
        Err(error) => Err(error),
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
    progress.working.get_or_insert_with(|| {
        "replacing pods, one at a time, so that changes reach them".to_owned()
    });
    if let Some(pod) = next {
        let note = format!("replacing pod {} so that changes reach it", pod.name_any());
        context.writer.delete(&pod, PropagationPolicy::Background).await?;
        context.events.normal(collection, "ReplacingPod", "Roll", &note).await;
    }
    Ok(())
}

async fn write_shard_status(
    context: &Context,
    shard: &Shard,
    report: &Report,
) -> Result<(), Error> {
    let name = shard.name_any();
    let Some(view) = report.shards.iter().find(|view| view.name == name) else { return Ok(()) };
    let status = shard_status(shard, view, env::now());
    if shard.status.as_ref() == Some(&status) {
        return Ok(());
    }
    context.writer.write_status(shard, &status).await.map(|_| ())
}

/// How images are fetched is the operator's setting; it changes no running pod.
fn set_pull_policy(context: &Context, set: &mut StatefulSet) {
    let pod = set.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
    for container in pod.into_iter().flat_map(|pod| pod.containers.iter_mut()) {
        container.image_pull_policy = context.settings.image_pull_policy.clone();
    }
}
