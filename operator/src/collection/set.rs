//! One replica's set and disk, and the rights of a shard's replicas: made and kept as they are to be. IO.
//!
//! Invariant: no set is made that would mount a disk of something else; a set that must be made anew leaves its pod running.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use kube::api::PropagationPolicy;
use serde_json::json;
use shoal_crds::{Shard, labels};

use super::apply::Progress;
use super::build::{self, rights};
use super::claims;
use super::observe::Seen;
use super::validate::Valid;
use crate::context::Context;
use crate::error::{Error, Problem};
use crate::kubernetes::meta;
use crate::kubernetes::writer::Ensured;

/// The account, Role and binding that pods of a shard's replicas need to start.
pub(super) async fn ensure_rights(
    context: &Context,
    valid: &Valid,
    shard: &Shard,
    seen: &Seen,
) -> Result<(), Error> {
    let name = labels::shard_account(&shard.name_any());
    let writer = &context.writer;
    writer.make(&rights::account(valid, shard), seen.service_accounts.get(&name).cloned()).await?;
    writer.make(&rights::role(valid, shard), seen.roles.get(&name).cloned()).await?;
    writer.make(&rights::binding(valid, shard), seen.role_bindings.get(&name).cloned()).await
}

/// Writes on the claim of a replica's disk that it is one of several. That of a shard which was alone did not say so when it was
/// made; should all else be lost, it must not be taken for a lone shard's again.
pub(super) async fn mark_replicated(
    context: &Context,
    valid: &Valid,
    shard: &str,
    number: u32,
    seen: &Seen,
) -> Result<(), Error> {
    let name = claims::claim_name(&labels::replica_name(shard, number));
    let unmarked = seen.claims.get(&name).filter(|claim| {
        let is_marked = meta::annotation(claim.as_ref(), labels::REPLICATED).is_some();
        let stays = claim.metadata.deletion_timestamp.is_none();
        !is_marked && stays && claims::check(valid, claim).is_ok()
    });
    match unmarked {
        Some(claim) => {
            let patch = json!({"metadata": {"annotations": {labels::REPLICATED: "true"}}});
            context.writer.merge(claim.as_ref(), patch).await.map(|_| ())
        }
        None => Ok(()),
    }
}

/// Sees to a replica's disk, then to its set; the set, if there is one. `wanted` builds it for disks of a size.
pub(super) async fn apply(
    context: &Context,
    valid: &Valid,
    wanted: impl Fn(&Valid) -> StatefulSet,
    seen: &Seen,
    progress: &mut Progress,
) -> Result<Option<Arc<StatefulSet>>, Error> {
    let name = wanted(valid).name_any();
    let disk = disk(context, valid, seen.claims.get(&claims::claim_name(&name))).await;
    match progress.note(disk)? {
        Some(disk) => {
            progress.problem = progress.problem.take().or(disk.problem);
            let valid = Valid { storage_size: disk.size, ..valid.clone() };
            let mut set = wanted(&valid);
            set_pull_policy(context, &mut set);
            ensure(context, &valid, set, seen, progress).await
        }
        // A disk that is not ours: the set stays as it is, also where there is none.
        None => Ok(seen.stateful_sets.get(&name).cloned()),
    }
}

/// Applies a set. One whose disk grew is made anew, its pod orphaned: the pod runs on and is adopted.
async fn ensure(
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

/// How images are fetched is the operator's setting; it changes no running pod.
fn set_pull_policy(context: &Context, set: &mut StatefulSet) {
    let pod = set.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
    for container in pod.into_iter().flat_map(|pod| pod.containers.iter_mut()) {
        container.image_pull_policy = context.settings.image_pull_policy.clone();
    }
}
