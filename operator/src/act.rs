//! What the leading instance does: watches, and the two controllers.
//!
//! Invariant: no controller starts before every store holds what exists.

use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::channel::mpsc;
use futures::{Stream, StreamExt, TryFutureExt};
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config, ReconcileRequest};
use kube::runtime::reflector::Store;
use kube::{Client, Resource, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::Health;
use crate::backoff::Backoff;
use crate::context::{Context, NamespaceNotes};
use crate::error::Error;
use crate::events::Events;
use crate::kubernetes::stores::{self, Watching};
use crate::kubernetes::writer::Writer;
use crate::samples::Samples;
use crate::settings::Settings;
use crate::telemetry::Telemetry;
use crate::told::Heard;
use crate::{ask, collection, env, namespace};

/// Objects of a kind reconciled at the same time.
const AT_ONCE: u16 = 16;
/// How long controllers may take to finish what they are at when asked to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What an instance acts with.
pub struct Actor {
    /// What the operator was started with.
    pub settings: Settings,
    /// The API.
    pub client: Client,
    /// Metrics.
    pub telemetry: Telemetry,
    /// What the health endpoints tell.
    pub health: Arc<Health>,
    /// Name of this instance in events.
    pub instance: String,
}

/// Acts until `stop` is true; any other end is an error.
pub async fn act(actor: Actor, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    actor.telemetry.leads(true);
    actor.health.set_waiting("what exists on the API server");
    let health = Arc::clone(&actor.health);
    let client = actor.client.clone();
    let Watching { stores, triggers, queues, mut tasks } =
        stores::watch(client.clone(), actor.telemetry.clone());
    let context = Arc::new(Context {
        writer: Writer::new(client.clone(), actor.telemetry.clone()),
        events: Events::new(client.clone(), actor.telemetry.clone(), actor.instance),
        settings: actor.settings,
        telemetry: actor.telemetry,
        triggers,
        samples: Arc::new(Samples::default()),
        heard: Heard::default(),
        backoff: Backoff::default(),
        namespaces: NamespaceNotes::default(),
        stores,
    });
    tokio::select! {
        ready = context.stores.ready() => ready.context("a watch ended")?,
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    }
    health.set_ready();
    tracing::info!(collections = context.stores.collections.len(), "acting");

    let mut controllers = JoinSet::new();
    let queue = (context.stores.collections.clone(), queues.collections);
    let reconcile = collection::reconcile;
    controllers.spawn(control("collection", queue, reconcile, Arc::clone(&context), stop.clone()));
    let queue = (context.stores.namespaces.clone(), queues.namespaces);
    let reconcile = namespace::reconcile;
    controllers.spawn(control("namespace", queue, reconcile, Arc::clone(&context), stop.clone()));
    tasks.spawn(ask::ask_for_ever(Arc::clone(&context), client));
    context.triggers.arm().await;

    let ended = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => None,
        ended = tasks.join_next() => anyhow::bail!("a watch ended: {ended:?}"),
        ended = controllers.join_next() => Some(ended),
    };
    // Controllers are asked to stop too, and one may have ended before this task heard of it.
    anyhow::ensure!(*stop.borrow(), "a controller ended: {ended:?}");
    let finished = async { while controllers.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_PATIENCE, finished).await.is_err() {
        tracing::warn!("not everything finished in time; the next instance goes on");
    }
    Ok(())
}

/// One controller: takes requests from a queue, spaces retries, counts.
async fn control<K, Fut>(
    name: &'static str,
    (store, queue): (Store<K>, mpsc::Receiver<ReconcileRequest<K>>),
    reconcile: fn(Arc<K>, Arc<Context>) -> Fut,
    context: Arc<Context>,
    mut stop: watch::Receiver<bool>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    Fut: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let queue = queue.take_until(Box::pin(stopped)).map(Ok::<_, std::convert::Infallible>);
    let counted = move |object: Arc<K>, context: Arc<Context>| {
        let future = async move {
            let (started, key) = (env::instant(), key(name, object.as_ref()));
            let result = reconcile(object, Arc::clone(&context)).await;
            let label = result.as_ref().map_or_else(Error::label, |_| "done");
            context.telemetry.reconciled(name, label, env::instant() - started);
            if result.is_ok() {
                context.backoff.succeeded(&key);
            }
            result
        };
        Box::pin(TryFutureExt::into_future(future))
    };
    let on_error = move |object: Arc<K>, error: &Error, context: Arc<Context>| {
        let key = key(name, object.as_ref());
        let wait = context.backoff.failed(&key, env::jitter());
        match error {
            // Our own last write, which the watch has not told yet, is the usual reason.
            Error::Conflict { .. } => {
                tracing::debug!(controller = name, object = key, %error, "again")
            }
            _ => tracing::warn!(controller = name, object = key, %error, ?wait, "will try again"),
        }
        Action::requeue(wait)
    };
    let config = Config::default().concurrency(AT_ONCE);
    drain(applier(counted, on_error, context, store, queue, config)).await;
}

/// Errors of reconciles were told by the error policy; that an object is gone by now is no error.
async fn drain<T, E: Display>(stream: impl Stream<Item = Result<T, E>>) {
    stream
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::debug!(%error, "not reconciled");
            }
        })
        .await;
}

fn key<K: Resource>(controller: &str, object: &K) -> String {
    format!("{controller}/{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
