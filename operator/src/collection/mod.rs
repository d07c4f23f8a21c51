//! The collection controller: a VectorCollection becomes Shards, and those become StatefulSets with disks.
//!
//! observe (IO, stores only) -> validate (pure) -> plan (pure) -> build (pure) -> apply (IO) -> status (pure, then IO).
//!
//! Invariant: any step may be the last one before the process ends; the next reconcile goes on from what exists.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use shoal_crds::collection::VectorCollectionStatus;
use shoal_crds::{VectorCollection, labels};

pub mod apply;
pub mod build;
pub mod claims;
mod failovers;
pub mod finalize;
mod leaving;
pub(crate) mod news;
pub mod nodes;
pub mod observe;
pub mod placement;
pub mod plan;
pub mod pods;
mod rebalance;
pub mod replicas;
pub mod report;
pub mod resources;
mod roles;
pub mod router;
mod set;
pub mod status;
mod story;
#[cfg(test)]
pub(crate) mod testing;
pub mod transitions;
pub mod validate;
pub mod view;
mod visibility;

use crate::context::Context;
use crate::env;
use crate::error::Error;
use crate::kubernetes::meta;
use observe::Seen;
use plan::Plan;
use status::Report;
use validate::Valid;

/// A look now and then although nothing changed: should a watch ever lose something, this finds it.
const RESYNC: Duration = Duration::from_secs(600);
/// When to try again what the API server refused; a little more than the writer remembers refusals.
const RETRY_REFUSED: Duration = Duration::from_secs(65);

/// Reconciles a collection.
pub async fn reconcile(
    cached: Arc<VectorCollection>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    // 1. IO (stores): a namespace on its way out takes no new objects, and its collections go by themselves.
    let going = cached.metadata.deletion_timestamp.is_some();
    if !going && namespace_is_going(&context, &cached) {
        return Ok(Action::await_change());
    }
    // 2. Pure, then IO: a paused collection is left alone, also while it is being deleted.
    if meta::is_paused(&cached.metadata) {
        let status = status::paused_status(&cached, env::now());
        write_status(&context, &cached, status).await?;
        return Ok(Action::await_change());
    }
    // 3. IO: on its way out itself.
    if going {
        return finalize::finalize(&context, &cached).await;
    }
    // 4. IO, only before the first table is written: what decides about it is read live, never from a store.
    let Some(collection) = with_table_or_live(&context, cached).await? else {
        return Ok(Action::await_change());
    };
    // 5. IO: the finalizer, whatever else the spec says. Then the stores: what exists.
    let collection = finalize::sync_finalizer_if_established(&context, collection).await?;
    let seen = observe::observe(&context.stores, &collection);
    // 6. Pure: parse the spec, plan.
    let default_image = &context.settings.data_plane_image;
    let planned = validate::validate(&collection)
        .map(|valid| (plan::plan(&collection, &valid, &seen, default_image), valid));
    // 7. Pure, build; IO, apply.
    let (collection, report) = match planned {
        Ok((Plan::Run(run), valid)) => run_it(&context, collection, &valid, run, &seen).await?,
        Ok((Plan::Hold(problem), _)) | Err(problem) => {
            let report = report::report(&context, &collection, &seen, Some(problem), None);
            (collection, report)
        }
        Ok((Plan::Wait(what), _)) => {
            let report = report::report(&context, &collection, &seen, None, Some(what));
            (collection, report)
        }
    };
    // 8. Pure, then IO: the status, and events for what changed in it.
    finish(&context, &collection, &report).await
}

/// Has a planned collection run, in the order that survives being cut short anywhere: the finalizer before there is a
/// disk to delete, the table before there is a Shard made by it.
async fn run_it(
    context: &Context,
    collection: Arc<VectorCollection>,
    valid: &Valid,
    run: plan::Run,
    seen: &Seen,
) -> Result<(Arc<VectorCollection>, Report), Error> {
    let collection = finalize::sync_finalizer(context, collection, valid.deletion_policy).await?;
    let collection = write_table(context, collection, &run).await?;
    let report = apply::apply(context, &collection, valid, &run, seen).await?;
    Ok((collection, report))
}

async fn finish(
    context: &Context,
    collection: &VectorCollection,
    report: &Report,
) -> Result<Action, Error> {
    let status = status::collection_status(collection, report, env::now());
    write_status(context, collection, status).await?;
    let look = if report.problem.is_some() { RETRY_REFUSED } else { RESYNC };
    Ok(Action::requeue(report.again.map_or(look, |again| look.min(again))))
}

fn namespace_is_going(context: &Context, collection: &VectorCollection) -> bool {
    let namespace = collection.namespace().unwrap_or_default();
    let known =
        context.stores.namespaces.get(&ObjectRef::<PartialObjectMeta<Namespace>>::new(&namespace));
    known.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
}

/// A collection whose table is written, or a live copy of it; `None` where it is gone. A store may lag behind our own
/// write of the table, and a second table must never be made from half of the Shards of the first.
async fn with_table_or_live(
    context: &Context,
    cached: Arc<VectorCollection>,
) -> Result<Option<Arc<VectorCollection>>, Error> {
    if cached.status.as_ref().is_some_and(|status| status.routing.is_some()) {
        return Ok(Some(cached));
    }
    let live = context.writer.read_live(cached.as_ref()).await?;
    Ok(live.filter(|live| live.metadata.deletion_timestamp.is_none()).map(Arc::new))
}

/// Writes the table and the pinned image before the first Shard is made by them.
async fn write_table(
    context: &Context,
    collection: Arc<VectorCollection>,
    run: &plan::Run,
) -> Result<Arc<VectorCollection>, Error> {
    if run.routing_is_written {
        return Ok(collection);
    }
    let report = report::starting(run);
    let status = status::collection_status(&collection, &report, env::now());
    tracing::info!(
        collection = collection.name_any(),
        shards = run.routing.table.len(),
        "writing the routing table"
    );
    Ok(Arc::new(context.writer.write_status(collection.as_ref(), &status).await?))
}

/// Writes a status where it differs, and tells what changed.
async fn write_status(
    context: &Context,
    collection: &VectorCollection,
    status: VectorCollectionStatus,
) -> Result<(), Error> {
    let before = collection.status.clone().unwrap_or_default();
    if before == status {
        return Ok(());
    }
    let conditions = status.conditions.clone();
    context.writer.write_status(collection, &status).await?;
    let rolling = news::of_rolling(&before.conditions, &conditions);
    let moves = news::of_rebalance(before.rebalance.as_ref(), status.rebalance.as_ref());
    for news in moves.into_iter().chain(rolling) {
        context.events.tell(collection, &news, &news.note).await;
    }
    for news in transitions::transitions(&before.conditions, &conditions) {
        let (reason, note) = (news.reason.as_str(), news.message.as_str());
        if news.good || news.expected {
            context.events.normal(collection, reason, "Reconcile", note).await;
        } else {
            context.events.warning(collection, reason, "Reconcile", note).await;
        }
    }
    Ok(())
}

/// Whether a collection has our finalizer, and all it has.
fn finalizers_of(collection: &VectorCollection) -> (bool, Vec<String>) {
    let all = collection.metadata.finalizers.clone().unwrap_or_default();
    (all.iter().any(|finalizer| finalizer == labels::FINALIZER), all)
}
