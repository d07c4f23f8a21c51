//! The namespace controller: one router for a namespace's collections, and what router and shards share.
//!
//! A namespace that has a collection, or that the operator was told to look after, gets a router; it is taken down a
//! while after neither holds. The Secrets are made where they are missing and never read, changed or deleted: a key
//! that clients hold outlives the router.
//!
//! Invariant: nothing that the operator did not make is changed or deleted.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::PropagationPolicy;
use kube::runtime::controller::Action;
use shoal_crds::labels;

pub mod build;
pub mod observe;
pub mod plan;

use crate::context::Context;
use crate::env;
use crate::error::{Error, Problem};
use crate::kubernetes::meta;
use crate::kubernetes::stores::NamespaceMeta;
use crate::kubernetes::triggers::Touch;
use crate::kubernetes::writer::Object;
use build::Built;
use observe::Seen;
use plan::Plan;

/// A look now and then although nothing changed.
const RESYNC: Duration = Duration::from_secs(600);
/// When to try again what the API server refused.
const RETRY_REFUSED: Duration = Duration::from_secs(65);

/// Reconciles a namespace.
pub async fn reconcile(
    namespace: Arc<NamespaceMeta>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let name = namespace.name_any();
    if namespace.metadata.deletion_timestamp.is_some() {
        context.namespaces.forget(&name);
        return Ok(Action::await_change());
    }
    // 1. IO (stores): what exists.
    let seen = observe::observe(&context.stores, &name);
    // 2. Pure: what is to be done.
    match plan::plan(&name, &seen, &context.settings) {
        Plan::Keep(router) => {
            context.namespaces.set_wanted(&name);
            // 3. IO: Secrets where there are none. The rest waits for them: pods would not start without.
            match ensure_secrets(&context, &name, &seen).await {
                Ok(true) => {}
                Ok(false) => return Ok(Action::requeue(RETRY_REFUSED)),
                Err(error) => {
                    let Some(problem) = error.problem() else { return Err(error) };
                    tell(&context, name, Some(problem)).await;
                    return Ok(Action::requeue(RETRY_REFUSED));
                }
            }
            // 4. Pure: build. 5. IO: apply.
            let problem =
                apply(&context, build::build(&name, &router, &seen, &context.settings), &seen)
                    .await?;
            // 6. IO: tell the collections, whose conditions say it.
            let action = Action::requeue(if problem.is_some() { RETRY_REFUSED } else { RESYNC });
            tell(&context, name, problem).await;
            Ok(action)
        }
        Plan::Remove => remove_after_grace(&context, &name, &seen).await,
        Plan::Nothing => {
            context.namespaces.forget(&name);
            Ok(Action::await_change())
        }
    }
}

/// The router's Deployment as it should be, by what is known now; `None` where there is to be none.
pub fn wanted_router(context: &Context, namespace: &str) -> Option<Deployment> {
    let seen = observe::observe(&context.stores, namespace);
    match plan::plan(namespace, &seen, &context.settings) {
        Plan::Keep(router) => Some(build::deployment(namespace, &router, &seen, &context.settings)),
        Plan::Remove | Plan::Nothing => None,
    }
}

async fn tell(context: &Context, namespace: String, problem: Option<Problem>) {
    if context.namespaces.set_problem(&namespace, problem) {
        context.triggers.touch(Touch::CollectionsOf(namespace)).await;
    }
}

/// Makes the Secrets that are missing. Whether all were there: one that was just made is waited for.
async fn ensure_secrets(context: &Context, namespace: &str, seen: &Seen) -> Result<bool, Error> {
    let wanted = [
        (labels::API_KEY_SECRET, labels::API_KEY, seen.api_key.is_some()),
        (labels::INTERNAL_TOKEN_SECRET, labels::INTERNAL_TOKEN, seen.token.is_some()),
    ];
    for (name, key, exists) in wanted {
        if !exists {
            let value = env::random_key().map_err(|error| Error::Unavailable {
                action: format!("make a key for Secret {name}"),
                message: error.to_string(),
            })?;
            let data = Some([(key.to_owned(), ByteString(value.into_bytes()))].into());
            let labels = meta::with_manager(meta::labels_of([(meta::APP_NAME, meta::APP)]));
            let metadata = meta::metadata(name, namespace, labels, None);
            context
                .writer
                .create_if_absent(&Secret { metadata, data, ..Secret::default() })
                .await?;
        }
    }
    Ok(wanted.iter().all(|(_, _, exists)| *exists))
}

/// Applies everything; the first thing that only a person can mend.
async fn apply(context: &Context, built: Built, seen: &Seen) -> Result<Option<Problem>, Error> {
    let writer = &context.writer;
    let [router_account, shard_account] = built.service_accounts;
    let [router_policy, shard_policy, replica_policy, job_policy] = built.network_policies;
    let [seen_router_account, seen_shard_account] = seen.service_accounts.clone();
    let [seen_router_policy, seen_shard_policy, seen_replica_policy, seen_job_policy] =
        seen.network_policies.clone();
    let steps: Vec<BoxFuture<'_, Result<(), Error>>> = vec![
        Box::pin(ensure(context, &shard_account, seen_shard_account)),
        Box::pin(ensure(context, &shard_policy, seen_shard_policy)),
        Box::pin(ensure(context, &replica_policy, seen_replica_policy)),
        Box::pin(ensure(context, &job_policy, seen_job_policy)),
        Box::pin(ensure(context, &router_account, seen_router_account)),
        Box::pin(ensure(context, &router_policy, seen_router_policy)),
        Box::pin(ensure(context, &built.role, seen.role.clone())),
        Box::pin(ensure(context, &built.role_binding, seen.role_binding.clone())),
        Box::pin(ensure(context, &built.service, seen.service.clone())),
        Box::pin(ensure(context, &built.budget, seen.budget.clone())),
        Box::pin(async {
            writer.ensure(&built.deployment, seen.deployment.clone()).await.map(|_| ())
        }),
    ];
    let mut first = None;
    for step in steps {
        if let Err(error) = step.await {
            match error.problem() {
                Some(problem) => {
                    first.get_or_insert(problem);
                }
                None => return Err(error),
            }
        }
    }
    Ok(first)
}

async fn ensure<K: Object>(
    context: &Context,
    wanted: &K,
    seen: Option<Arc<K>>,
) -> Result<(), Error> {
    context.writer.ensure(wanted, seen).await.map(|_| ())
}

/// Takes the router down once its grace period has passed.
async fn remove_after_grace(
    context: &Context,
    namespace: &str,
    seen: &Seen,
) -> Result<Action, Error> {
    let now = env::instant();
    let waited = now.saturating_duration_since(context.namespaces.unwanted_since(namespace, now));
    let grace = context.settings.router_grace();
    if let Some(rest) = grace.checked_sub(waited).filter(|rest| !rest.is_zero()) {
        return Ok(Action::requeue(rest));
    }
    tracing::info!(namespace, "no collection is left: taking the router down");
    delete(context, seen.deployment.as_ref()).await?;
    delete(context, seen.budget.as_ref()).await?;
    delete(context, seen.service.as_ref()).await?;
    delete(context, seen.role_binding.as_ref()).await?;
    delete(context, seen.role.as_ref()).await?;
    for account in &seen.service_accounts {
        delete(context, account.as_ref()).await?;
    }
    for policy in &seen.network_policies {
        delete(context, policy.as_ref()).await?;
    }
    Ok(Action::requeue(RESYNC))
}

async fn delete<K: Object>(context: &Context, object: Option<&Arc<K>>) -> Result<(), Error> {
    match object {
        Some(object) if !meta::is_paused(object.meta()) => {
            context.writer.delete(object.as_ref(), PropagationPolicy::Background).await
        }
        _ => Ok(()),
    }
}
