//! What exists, as watches tell it: the only thing that reconciling reads in a steady state.
//!
//! Only objects that carry our label are watched, and of them only what we look at is kept. Of Secrets only the
//! metadata of two names is watched: the contents of no Secret are held here.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Namespace, Node, NodeStatus, PersistentVolumeClaim, Pod, PodSpec, Secret, Service,
    ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use shoal_crds::watch::renewed;
use shoal_crds::{Shard, VectorCollection, labels};
use tokio::task::JoinSet;

use super::meta;
use super::triggers::{Queues, Touch, Triggers};
use crate::collection::nodes;
use crate::telemetry::Telemetry;

/// A Secret's metadata.
pub type SecretMeta = PartialObjectMeta<Secret>;
/// A namespace's metadata.
pub type NamespaceMeta = PartialObjectMeta<Namespace>;

/// What exists.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // Each is the store of the kind it is named after.
pub struct Stores {
    pub collections: Store<VectorCollection>,
    pub shards: Store<Shard>,
    pub stateful_sets: Store<StatefulSet>,
    pub pods: Store<Pod>,
    pub claims: Store<PersistentVolumeClaim>,
    pub services: Store<Service>,
    pub budgets: Store<PodDisruptionBudget>,
    pub deployments: Store<Deployment>,
    pub service_accounts: Store<ServiceAccount>,
    pub roles: Store<Role>,
    pub role_bindings: Store<RoleBinding>,
    pub network_policies: Store<NetworkPolicy>,
    pub api_key_secrets: Store<SecretMeta>,
    pub token_secrets: Store<SecretMeta>,
    pub namespaces: Store<NamespaceMeta>,
    pub nodes: Store<Node>,
    pub jobs: Store<Job>,
}

/// An object of this name in a store.
pub fn find<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

/// Watches that run, the stores they fill, and what they trigger.
pub struct Watching {
    /// What exists.
    pub stores: Stores,
    /// What changes concern.
    pub triggers: Arc<Triggers>,
    /// What the controllers eat.
    pub queues: Queues,
    /// The watches; dropping it ends them.
    pub tasks: JoinSet<()>,
}

struct Starter {
    client: Client,
    telemetry: Telemetry,
    triggers: Arc<Triggers>,
    tasks: JoinSet<()>,
}

/// Starts all watches.
pub fn watch(client: Client, telemetry: Telemetry) -> Watching {
    let (collections, collections_writer) = reflector::store();
    let (namespaces, namespaces_writer) = reflector::store();
    let (triggers, queues) = Triggers::new(collections.clone(), namespaces.clone());
    let triggers = Arc::new(triggers);
    let mut start =
        Starter { client, telemetry, triggers: Arc::clone(&triggers), tasks: JoinSet::new() };
    start.run(watcher::Config::default(), collections_writer, drop_bulk, touch_collection);
    start.run(watcher::Config::default(), namespaces_writer, drop_bulk, touch_namespace);
    let stores = Stores {
        collections,
        shards: start.all(of_collection),
        stateful_sets: start.ours(of_collection),
        pods: start.watch(ours(), slim_pod, of_collection),
        claims: start.ours(of_collection),
        services: start.ours(of_collection_or_router),
        budgets: start.ours(of_either),
        deployments: start.ours(of_router),
        service_accounts: start.ours(of_either),
        roles: start.ours(of_either),
        role_bindings: start.ours(of_either),
        network_policies: start.ours(of_namespace),
        api_key_secrets: start.named(labels::API_KEY_SECRET),
        token_secrets: start.named(labels::INTERNAL_TOKEN_SECRET),
        namespaces,
        nodes: start.watch(watcher::Config::default(), slim_node, of_node),
        jobs: start.ours(of_collection),
    };
    Watching { stores, triggers, queues, tasks: start.tasks }
}

impl Stores {
    /// Waits until every store holds what exists.
    pub async fn ready(&self) -> Result<(), reflector::store::WriterDropped> {
        self.collections.wait_until_ready().await?;
        self.shards.wait_until_ready().await?;
        self.stateful_sets.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.claims.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        self.budgets.wait_until_ready().await?;
        self.deployments.wait_until_ready().await?;
        self.service_accounts.wait_until_ready().await?;
        self.roles.wait_until_ready().await?;
        self.role_bindings.wait_until_ready().await?;
        self.network_policies.wait_until_ready().await?;
        self.api_key_secrets.wait_until_ready().await?;
        self.token_secrets.wait_until_ready().await?;
        self.nodes.wait_until_ready().await?;
        self.jobs.wait_until_ready().await?;
        self.namespaces.wait_until_ready().await
    }
}

/// A kind that can be watched across namespaces.
trait Watchable:
    Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}
impl<K> Watchable for K where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

/// Whether an object is there or was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    There,
    Deleted,
}

impl Starter {
    fn all<K: Watchable>(&mut self, touches: fn(&K, Change) -> Vec<Touch>) -> Store<K> {
        self.watch(watcher::Config::default(), drop_bulk, touches)
    }

    fn ours<K: Watchable>(&mut self, touches: fn(&K, Change) -> Vec<Touch>) -> Store<K> {
        self.watch(ours(), drop_bulk, touches)
    }

    /// Metadata of the Secrets of one name. RBAC can allow a watch of one name, and this asks for no more.
    fn named(&mut self, name: &str) -> Store<SecretMeta> {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        self.watch(config, drop_bulk, of_namespace)
    }

    fn watch<K: Watchable>(
        &mut self,
        config: watcher::Config,
        slim: fn(&mut K),
        touches: fn(&K, Change) -> Vec<Touch>,
    ) -> Store<K> {
        let (store, writer) = reflector::store();
        self.run(config, writer, slim, touches);
        store
    }

    fn run<K: Watchable>(
        &mut self,
        config: watcher::Config,
        writer: reflector::store::Writer<K>,
        slim: fn(&mut K),
        touches: fn(&K, Change) -> Vec<Touch>,
    ) {
        let api = Api::<K>::all(self.client.clone());
        let events = renewed(move || watcher(api.clone(), config.clone())).modify(slim);
        let stream = reflector::reflector(writer, events);
        self.tasks.spawn(follow(
            stream,
            touches,
            Arc::clone(&self.triggers),
            self.telemetry.clone(),
        ));
    }
}

/// Follows a watch for ever: it heals itself, and each failure is counted and logged.
async fn follow<K: Watchable>(
    stream: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    touches: fn(&K, Change) -> Vec<Touch>,
    triggers: Arc<Triggers>,
    telemetry: Telemetry,
) {
    let mut stream = std::pin::pin!(stream.into_stream());
    while let Some(event) = stream.next().await {
        let touched = match event {
            Ok(watcher::Event::Apply(object)) => touches(&object, Change::There),
            Ok(watcher::Event::Delete(object)) => touches(&object, Change::Deleted),
            // While it lists, the store still holds what was before.
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => Vec::new(),
            // What was deleted while nobody watched is in no list, so nothing tells what it concerned.
            Ok(watcher::Event::InitDone) => {
                triggers.touch_everything().await;
                Vec::new()
            }
            Err(error) => {
                let kind = K::kind(&()).into_owned();
                tracing::warn!(kind, %error, "a watch failed; trying again");
                telemetry.watch_failed(&kind);
                Vec::new()
            }
        };
        for touch in touched {
            triggers.touch(touch).await;
        }
    }
}

fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={}", meta::MANAGED_BY, labels::MANAGER))
}

fn drop_bulk<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
}

/// Of a pod we look at where it runs and how it is.
fn slim_pod(pod: &mut Pod) {
    drop_bulk(pod);
    if let Some(spec) = pod.spec.take() {
        pod.spec = Some(PodSpec { node_name: spec.node_name, ..PodSpec::default() });
    }
}

/// Of a node we look at whether it is ready.
fn slim_node(node: &mut Node) {
    drop_bulk(node);
    node.metadata.annotations = None;
    node.spec = None;
    if let Some(status) = node.status.take() {
        let mut conditions = status.conditions.unwrap_or_default();
        conditions.retain(|condition| condition.type_ == "Ready");
        node.status = Some(NodeStatus { conditions: Some(conditions), ..NodeStatus::default() });
    }
}

fn of_node(node: &Node, change: Change) -> Vec<Touch> {
    let there = (change == Change::There).then_some(node);
    vec![Touch::Node { name: node.name_any(), is: nodes::state(there) }]
}

fn touch_collection(collection: &VectorCollection, change: Change) -> Vec<Touch> {
    let Some(namespace) = collection.namespace() else { return Vec::new() };
    match change {
        Change::There => {
            vec![
                Touch::Collection { namespace: namespace.clone(), name: collection.name_any() },
                Touch::Namespace(namespace),
            ]
        }
        // Its name is free now, and someone may have been waiting for it.
        Change::Deleted => {
            vec![Touch::CollectionsOf(namespace.clone()), Touch::Namespace(namespace)]
        }
    }
}

fn touch_namespace(namespace: &NamespaceMeta, _: Change) -> Vec<Touch> {
    vec![Touch::Namespace(namespace.name_any())]
}

fn of_collection<K: Resource>(object: &K, _: Change) -> Vec<Touch> {
    match (object.namespace(), meta::label(object, labels::COLLECTION)) {
        (Some(namespace), Some(name)) => {
            vec![Touch::Collection { namespace, name: name.to_owned() }]
        }
        _ => Vec::new(),
    }
}

fn of_namespace<K: Resource>(object: &K, _: Change) -> Vec<Touch> {
    object.namespace().map(Touch::Namespace).into_iter().collect()
}

fn of_either<K: Resource>(object: &K, change: Change) -> Vec<Touch> {
    match meta::label(object, labels::COLLECTION) {
        Some(_) => of_collection(object, change),
        None => of_namespace(object, change),
    }
}

/// A collection is ready only while its router is.
fn of_router<K: Resource>(object: &K, change: Change) -> Vec<Touch> {
    let mut touches = of_namespace(object, change);
    touches.extend(object.namespace().map(Touch::CollectionsOf));
    touches
}

fn of_collection_or_router(service: &Service, change: Change) -> Vec<Touch> {
    match meta::label(service, labels::COLLECTION) {
        Some(_) => of_collection(service, change),
        None => of_router(service, change),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeCondition;
    use kube::api::ObjectMeta;

    use super::*;

    fn service(labels: meta::Labels) -> Service {
        Service { metadata: meta::metadata("x", "ns", labels, None), ..Service::default() }
    }

    #[test]
    fn a_change_concerns_the_collection_or_the_namespace_it_belongs_to() {
        let shards = service(meta::labels_of([(labels::COLLECTION, "c")]));
        let touch = Touch::Collection { namespace: "ns".into(), name: "c".into() };
        assert_eq!(of_collection_or_router(&shards, Change::There), [touch]);
        let router = service(meta::component(meta::ROUTER_COMPONENT));
        let touches = [Touch::Namespace("ns".into()), Touch::CollectionsOf("ns".into())];
        assert_eq!(of_collection_or_router(&router, Change::Deleted), touches);
    }

    fn named(name: &str, namespace: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: namespace.map(str::to_owned),
            ..ObjectMeta::default()
        }
    }

    fn collection() -> VectorCollection {
        VectorCollection {
            metadata: named("c", Some("ns")),
            spec: Default::default(),
            status: None,
        }
    }

    #[tokio::test]
    async fn what_a_list_no_longer_shows_is_looked_after_too() {
        let (collections, mut writer) = reflector::store();
        writer.apply_watcher_event(&watcher::Event::Apply(collection()));
        let (namespaces, mut writer) = reflector::store();
        let namespace = NamespaceMeta { metadata: named("ns", None), ..NamespaceMeta::default() };
        writer.apply_watcher_event(&watcher::Event::Apply(namespace));
        let (triggers, mut queues) = Triggers::new(collections, namespaces);
        let triggers = Arc::new(triggers);
        let telemetry = Telemetry::new(&mut prometheus_client::registry::Registry::default());
        // Its only pod went while nobody watched.
        let listed_anew = || {
            let events = [watcher::Event::<Pod>::Init, watcher::Event::InitDone];
            let events = futures::stream::iter(events.map(Ok));
            follow(events, of_collection, Arc::clone(&triggers), telemetry.clone())
        };
        listed_anew().await;
        assert!(queues.collections.try_recv().is_err(), "not before all stores are full");

        triggers.arm().await;
        for _ in 0..2 {
            let queued = queues.collections.try_recv().expect("the collection is queued");
            assert_eq!(queued.obj_ref, ObjectRef::new("c").within("ns"));
            let queued = queues.namespaces.try_recv().expect("the namespace is queued");
            assert_eq!(queued.obj_ref, ObjectRef::new("ns"));
            listed_anew().await;
        }
    }

    #[test]
    fn a_deleted_collection_wakes_those_that_wait_for_its_name() {
        let touched = touch_collection(&collection(), Change::Deleted);
        assert!(touched.contains(&Touch::CollectionsOf("ns".into())));
    }

    #[test]
    fn of_a_node_only_its_readiness_is_kept() {
        let condition = |type_: &str| NodeCondition {
            type_: type_.into(),
            status: "True".into(),
            ..NodeCondition::default()
        };
        let conditions = Some(vec![condition("MemoryPressure"), condition("Ready")]);
        let status = NodeStatus { conditions, ..NodeStatus::default() };
        let mut node = Node { status: Some(status), ..Node::default() };
        node.metadata = named("n", None);
        slim_node(&mut node);
        let kept = node.status.as_ref().and_then(|status| status.conditions.clone());
        assert_eq!(kept, Some(vec![condition("Ready")]));
        let touch = Touch::Node { name: "n".into(), is: nodes::NodeIs::Ready };
        assert_eq!(of_node(&node, Change::There), [touch]);
        let touch = Touch::Node { name: "n".into(), is: nodes::NodeIs::Gone };
        assert_eq!(of_node(&node, Change::Deleted), [touch]);
    }

    #[test]
    fn of_a_pod_only_the_node_is_kept() {
        let spec =
            PodSpec { node_name: Some("n".into()), host_network: Some(true), ..PodSpec::default() };
        let mut pod = Pod { spec: Some(spec), ..Pod::default() };
        slim_pod(&mut pod);
        assert_eq!(pod.spec, Some(PodSpec { node_name: Some("n".into()), ..PodSpec::default() }));
    }
}
