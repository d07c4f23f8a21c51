//! The topology of a cluster: VectorCollection objects of one namespace, through the Kubernetes API.
//!
//! One of the two files of the data plane that speak to Kubernetes. It watches the objects and asks the API for nothing else
//! in a steady state, so searches and writes go on while the API is gone; only creating and deleting need it.
//!
//! Invariant: objects are only made and only deleted over HTTP if HTTP made them; what `kubectl apply` made, only
//! `kubectl delete` removes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event};
use shoal_crds::collection::{
    DeletionPolicy, Index, PayloadIndexSpec, Sharding, SparseVectorSpec, VectorSpec,
};
use shoal_crds::watch::renewed;
use shoal_crds::{Shard, VectorCollection, VectorCollectionSpec, labels};

use super::objects::{Objects, Progress, Reach, owners, progress};
use super::shards::{Replicas, Told};
use super::spec::{distance, indexes, spec_of, spec_of_datatype, spec_of_quantization};
use super::{Snapshot, Topology, names, tell};
use crate::clock;
use crate::router::api::{CreateCollection, IndexChange, RouteError};
use crate::token::SharedToken;

/// How long a deletion may take: pods must end and disks be released.
const DELETE: Duration = Duration::from_secs(120);

/// How long a change may take to come back through the watch.
const CHANGE: Duration = Duration::from_secs(10);
/// How long a shard may take to hear of a change; it is told again otherwise.
const TELL: Duration = Duration::from_secs(2);
/// Attempts at a change while others change the same object.
const CHANGES: usize = 5;

/// Collections of a namespace.
pub struct KubeTopology {
    api: Api<VectorCollection>,
    namespace: String,
    store: Store<VectorCollection>,
    current: Arc<Current>,
    watching: tokio::task::JoinHandle<()>,
    telling: tokio::task::JoinHandle<()>,
}

/// What the watch last made of the objects.
struct Current {
    snapshot: ArcSwap<Snapshot>,
    /// Counts snapshots; 0 until the first.
    changes: tokio::sync::watch::Sender<u64>,
}

impl KubeTopology {
    /// Begins to watch a namespace; `None` for that of the pod or kubeconfig.
    pub async fn start(
        namespace: Option<String>,
        shard_port: u16,
        token: SharedToken,
    ) -> anyhow::Result<Self> {
        let client = kube::Client::try_default()
            .await
            .context("no way to the Kubernetes API: run in a pod with a service account, or with a kubeconfig")?;
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        Ok(Self::with_client(client, namespace, shard_port, token))
    }

    /// Begins to watch a namespace through a given client.
    pub fn with_client(
        client: kube::Client,
        namespace: String,
        shard_port: u16,
        token: impl Into<SharedToken>,
    ) -> Self {
        let api: Api<VectorCollection> = Api::namespaced(client.clone(), &namespace);
        let shard_api: Api<Shard> = Api::namespaced(client, &namespace);
        let (store, writer) = reflector::store();
        let current = Arc::new(Current {
            snapshot: ArcSwap::default(),
            changes: tokio::sync::watch::Sender::new(0),
        });
        let objects =
            Objects::new(Reach { namespace: namespace.clone(), shard_port, token: token.into() });
        let watched = api.clone();
        let events = renewed(move || watch(watched.clone(), watcher::Config::default()));
        let events = reflector::reflector(writer, events);
        let (shards, writer) = reflector::store();
        let shard_events = renewed(move || watch(shard_api.clone(), watcher::Config::default()));
        let shard_events = reflector::reflector(writer, shard_events);
        let stores = Stores { collections: store.clone(), shards };
        let watching = follow(events, shard_events, stores, objects, current.clone());
        let watching = tokio::spawn(watching);
        let (told, changes) = (current.clone(), current.changes.subscribe());
        let telling = tell::tell_for_ever(move || told.snapshot.load_full(), changes);
        let telling = tokio::spawn(telling);
        Self { api, namespace, store, current, watching, telling }
    }

    /// The object that has this name among clients.
    fn owner(&self, name: &str) -> Option<Arc<VectorCollection>> {
        owners(&self.store.state()).get(name).map(|object| (*object).clone())
    }

    /// The object of this name, deleted or not.
    fn object(&self, name: &str) -> Option<Arc<VectorCollection>> {
        self.store.find(|object| object.metadata.name.as_deref() == Some(name))
    }

    /// Waits until a look at the objects gives something; `None` once the deadline has passed.
    async fn until<T>(&self, deadline: Instant, look: impl Fn() -> Option<T>) -> Option<T> {
        let mut changes = self.current.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = look() {
                return Some(found);
            }
            tokio::time::timeout_at(deadline.into(), changes.changed()).await.ok()?.ok()?;
        }
    }

    /// Waits until an object of this name that is being deleted is gone; `false` once the deadline has passed.
    async fn gone(&self, name: &str, uid: Option<&str>, deadline: Instant) -> bool {
        let still = || {
            let object = self.object(name)?;
            let same = uid.is_none_or(|uid| object.metadata.uid.as_deref() == Some(uid));
            (same && (uid.is_some() || object.metadata.deletion_timestamp.is_some())).then_some(())
        };
        self.until(deadline, || still().is_none().then_some(())).await.is_some()
    }

    async fn serves(
        &self,
        request: &CreateCollection,
        object: &str,
        deadline: Instant,
    ) -> Result<(), RouteError> {
        let (name, namespace) = (&request.name, &self.namespace);
        let look = || match progress(self.object(object)?.as_ref()) {
            Progress::Ready if self.snapshot().contains_key(name) => Some(Ok(())),
            Progress::Stalled(why) => Some(Err(RouteError::Conflict(format!(
                "Collection `{name}` was created as VectorCollection {object} but cannot serve: {why}"
            )))),
            Progress::Ready | Progress::Waiting(_) => None,
        };
        let late = || {
            let why = match self.object(object).as_deref().map(progress) {
                Some(Progress::Waiting(why) | Progress::Stalled(why)) => why,
                Some(Progress::Ready) | None => "this router has not seen it yet".to_owned(),
            };
            let timeout = request.timeout;
            Err(RouteError::Timeout(format!(
                "Collection `{name}` was created but does not serve after {timeout:?} ({why}). It goes on starting: wait \
                 with `kubectl -n {namespace} wait --for=condition=Ready vc/{object}`"
            )))
        };
        self.until(deadline, look).await.unwrap_or_else(late)
    }

    /// Changes the indexes that an object says; the generation that says so.
    async fn patch_indexes(
        &self,
        object: &str,
        uid: Option<&str>,
        name: &str,
        change: &IndexChange,
    ) -> Result<u64, RouteError> {
        for _ in 0..CHANGES {
            // Live, because what is watched may lag behind another change of the same list.
            let live = self.api.get(object).await.map_err(|error| self.refusal("read", &error))?;
            if live.metadata.uid.as_deref() != uid {
                return Err(RouteError::NoCollection(name.to_owned()));
            }
            let before = indexes(&live);
            let after = change.apply(&before.fields)?;
            if after == before.fields {
                return Ok(before.version);
            }
            let specs: Vec<PayloadIndexSpec> = after.iter().map(spec_of).collect();
            let patch = serde_json::json!({
                "metadata": {"resourceVersion": live.metadata.resource_version},
                "spec": {"payloadIndexes": specs},
            });
            match self.api.patch(object, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(changed) => return Ok(indexes(&changed).version),
                // Someone else changed the object in between.
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(error) => return Err(self.refusal("change", &error)),
            }
        }
        Err(RouteError::Unavailable(format!(
            "Collection `{name}` is being changed by others; retry"
        )))
    }

    /// What a client makes of a refusal of the API.
    fn refusal(&self, verb: &str, error: &kube::Error) -> RouteError {
        let namespace = &self.namespace;
        match error {
            kube::Error::Api(status) if status.is_forbidden() => RouteError::Forbidden(format!(
                "the router may not {verb} VectorCollections in namespace {namespace}: {}. Use kubectl instead, or \
                 have an administrator grant it to the router's service account",
                status.message
            )),
            kube::Error::Api(status) if status.is_invalid() || status.code == 400 => {
                RouteError::Invalid(status.message.clone())
            }
            kube::Error::Api(status) => RouteError::Unavailable(format!(
                "the Kubernetes API did not {verb} it: {}; retry",
                status.message
            )),
            other => RouteError::Unavailable(format!(
                "the Kubernetes API cannot be reached: {other}; retry"
            )),
        }
    }
}

impl Drop for KubeTopology {
    fn drop(&mut self) {
        self.watching.abort();
        self.telling.abort();
    }
}

#[async_trait]
impl Topology for KubeTopology {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.current.snapshot.load_full()
    }

    fn synced(&self) -> bool {
        *self.current.changes.borrow() > 0
    }

    async fn create(&self, request: CreateCollection) -> Result<(), RouteError> {
        let deadline = clock::now() + request.timeout;
        let name = names::object_name(&request.name);
        if !self.gone(&name, None, deadline).await {
            return Err(RouteError::Timeout(format!(
                "an earlier `{}` is still being deleted; retry",
                request.name
            )));
        }
        if self.owner(&request.name).is_some() {
            return Err(RouteError::Exists(request.name));
        }
        match self.api.create(&PostParams::default(), &object(&name, &request)).await {
            Ok(_) => self.serves(&request, &name, deadline).await,
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                Err(RouteError::Exists(request.name))
            }
            Err(error) => Err(self.refusal("create", &error)),
        }
    }

    async fn change_indexes(&self, name: &str, change: IndexChange) -> Result<(), RouteError> {
        let deadline = clock::now() + CHANGE;
        let Some(owner) = self.owner(name) else {
            return Err(RouteError::NoCollection(name.to_owned()));
        };
        let object = owner.metadata.name.as_deref().unwrap_or_default();
        if !made_by_http(&owner) {
            return Err(RouteError::Conflict(format!(
                "Collection `{name}` was not made over HTTP but by an object: change spec.payloadIndexes of that, with \
                 `kubectl -n {} edit vc {object}`",
                self.namespace
            )));
        }
        let uid = owner.metadata.uid.as_deref();
        let version = self.patch_indexes(object, uid, name, &change).await?;
        // The shards are told at once, so that whoever asks next whether indexes are ready is not told of the old ones.
        let seen = || {
            let collection = self.snapshot().get(name).cloned()?;
            let indexes = &collection.indexes;
            (Some(indexes.owner.as_str()) == uid && indexes.version >= version)
                .then_some(collection)
        };
        let Some(collection) = self.until(deadline, seen).await else { return Ok(()) };
        let calls =
            collection.shards.iter().map(|shard| shard.set_indexes(&collection.indexes, TELL));
        for error in futures::future::join_all(calls).await.into_iter().filter_map(Result::err) {
            tracing::warn!(collection = name, ?error, "a shard learns later what to index");
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<bool, RouteError> {
        let deadline = clock::now() + DELETE;
        let Some(owner) = self.owner(name) else {
            if self.synced() {
                return Ok(false);
            }
            return Err(RouteError::Unavailable(
                "the list of collections has not been read yet; retry".to_owned(),
            ));
        };
        let metadata = &owner.metadata;
        let (object, uid) = (metadata.name.as_deref().unwrap_or_default(), metadata.uid.as_deref());
        if !made_by_http(&owner) {
            return Err(RouteError::Conflict(format!(
                "Collection `{name}` was not made over HTTP but by an object: delete that, with `kubectl -n {} delete \
                 vc {object}`",
                self.namespace
            )));
        }
        let this_one = Preconditions { uid: uid.map(str::to_owned), resource_version: None };
        match self.api.delete(object, &DeleteParams::background().preconditions(this_one)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(self.refusal("delete", &error)),
        }
        match self.gone(object, uid, deadline).await {
            true => Ok(true),
            false => Err(RouteError::Timeout(format!(
                "Collection `{name}` is being deleted and takes longer than usual"
            ))),
        }
    }
}

fn made_by_http(object: &VectorCollection) -> bool {
    let labels = object.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(labels::MADE_BY_HTTP))
}

/// What `PUT /collections/{name}` makes.
fn object(name: &str, request: &CreateCollection) -> VectorCollection {
    let index = request.ef_construct.map(|ef| Index { ef_construct: Some(ef), ef: None });
    let vector = |config: &shoal_vector::VectorConfig| VectorSpec {
        name: config.name.clone(),
        // Sizes are at most 65,536; were one greater, the API server would refuse it with a better text than ours.
        size: u32::try_from(config.size).unwrap_or(u32::MAX),
        distance: distance(config.distance),
        datatype: spec_of_datatype(config.datatype),
        index: index.clone(),
        quantization: request
            .quantization
            .get(&config.name)
            .and_then(|kind| spec_of_quantization(*kind)),
    };
    let sparse =
        |config: &shoal_vector::SparseVectorConfig| SparseVectorSpec { name: config.name.clone() };
    let spec = VectorCollectionSpec {
        name: Some(request.name.clone()),
        vectors: request.vectors.iter().map(vector).collect(),
        sparse_vectors: (!request.sparse.is_empty())
            .then(|| request.sparse.iter().map(sparse).collect()),
        sharding: request.shards.map(|shards| Sharding { initial_shards: Some(shards) }),
        deletion_policy: Some(DeletionPolicy::Delete),
        ..VectorCollectionSpec::default()
    };
    let mut object = VectorCollection::new(name, spec);
    object.metadata.labels = Some([(labels::MADE_BY_HTTP.to_owned(), "true".to_owned())].into());
    object
}

/// What is watched.
struct Stores {
    collections: Store<VectorCollection>,
    shards: Store<Shard>,
}

impl Stores {
    /// The replicas of each shard.
    fn replicas(&self) -> Replicas {
        let of = |shard: &Arc<Shard>| Some((shard.metadata.name.clone()?, Told::of(shard)));
        self.shards.state().iter().filter_map(of).collect()
    }
}

/// Makes a snapshot of each state of the objects. Never ends: when the API is gone, the last snapshot stays.
async fn follow(
    collections: impl futures::Stream<Item = watcher::Result<Event<VectorCollection>>>,
    shards: impl futures::Stream<Item = watcher::Result<Event<Shard>>>,
    stores: Stores,
    mut objects: Objects,
    current: Arc<Current>,
) {
    let events = futures::stream::select(
        collections.map(|event| is_news(event, "VectorCollections")),
        shards.map(|event| is_news(event, "Shards")),
    );
    let mut events = std::pin::pin!(events);
    let mut read = false;
    while let Some(news) = events.next().await {
        // Before the collections were read there is nothing to serve, and nothing to say that there is not.
        read = read || stores.collections.wait_until_ready().now_or_never().is_some();
        if !news || !read {
            continue;
        }
        let snapshot = objects.update(&stores.collections.state(), &stores.replicas());
        current.snapshot.store(Arc::new(snapshot));
        current.changes.send_modify(|changes| *changes += 1);
    }
}

/// Whether the store shows something new after an event.
fn is_news<K>(event: watcher::Result<Event<K>>, what: &str) -> bool {
    match event {
        // A list is being read; the store shows it when it is whole.
        Ok(Event::Init | Event::InitApply(_)) => false,
        Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone) => true,
        Err(error) => {
            tracing::warn!(%error, what, "the Kubernetes API is not answering; serving what was known last");
            false
        }
    }
}
