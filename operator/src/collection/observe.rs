//! What exists around one collection, out of the stores; or, where the last word is needed, live.
//!
//! Invariant: no request leaves the process but from [`observe_live`].

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use shoal_crds::{Shard, VectorCollection, labels};

use super::nodes::{self, Nodes};
use crate::error::Error;
use crate::kubernetes::meta;
use crate::kubernetes::stores::{Stores, find};
use crate::kubernetes::writer::{Object, Writer};

/// What exists around one collection.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its Shards, by name; those of a former life that is being removed are left out.
    pub shards: BTreeMap<String, Arc<Shard>>,
    /// Its StatefulSets, by name.
    pub stateful_sets: BTreeMap<String, Arc<StatefulSet>>,
    /// Its pods, by name.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// Its claims, by name, also those a former life left.
    pub claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    /// Its disruption budgets, by name.
    pub budgets: BTreeMap<String, Arc<PodDisruptionBudget>>,
    /// Its replicas' accounts, by name.
    pub service_accounts: BTreeMap<String, Arc<ServiceAccount>>,
    /// Their Roles, by name.
    pub roles: BTreeMap<String, Arc<Role>>,
    /// The bindings of those, by name.
    pub role_bindings: BTreeMap<String, Arc<RoleBinding>>,
    /// Its headless Service.
    pub service: Option<Arc<Service>>,
    /// The namespace's router.
    pub router: Option<Arc<Deployment>>,
    /// The router's Service.
    pub router_service: Option<Arc<Service>>,
    /// The nodes that its replicas are on, or were on last.
    pub nodes: Nodes,
    /// The Job that moves its replicas from lost nodes.
    pub rebalance: Option<Arc<Job>>,
    /// An older collection that has the same client-facing name.
    pub namesake: Option<String>,
}

/// Looks at the stores.
pub fn observe(stores: &Stores, collection: &VectorCollection) -> Seen {
    let namespace = collection.namespace().unwrap_or_default();
    let name = collection.name_any();
    let shards: BTreeMap<String, Arc<Shard>> = of_collection(&stores.shards, &namespace, &name)
        .into_iter()
        .filter(|(_, shard)| belongs_to(shard.as_ref(), collection))
        .collect();
    let pods = of_collection(&stores.pods, &namespace, &name);
    Seen {
        nodes: nodes(stores, &shards, &pods),
        rebalance: find(&stores.jobs, &namespace, &labels::rebalance_job(&name)),
        shards,
        stateful_sets: of_collection(&stores.stateful_sets, &namespace, &name),
        pods,
        claims: of_collection(&stores.claims, &namespace, &name),
        budgets: of_collection(&stores.budgets, &namespace, &name),
        service_accounts: of_collection(&stores.service_accounts, &namespace, &name),
        roles: of_collection(&stores.roles, &namespace, &name),
        role_bindings: of_collection(&stores.role_bindings, &namespace, &name),
        service: find(&stores.services, &namespace, &labels::shards_service(&name)),
        router: find(&stores.deployments, &namespace, labels::ROUTER),
        router_service: find(&stores.services, &namespace, labels::ROUTER),
        namesake: older_namesake(&stores.collections.state(), collection),
    }
}

fn nodes(
    stores: &Stores,
    shards: &BTreeMap<String, Arc<Shard>>,
    pods: &BTreeMap<String, Arc<Pod>>,
) -> Nodes {
    let now = pods.values().filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
    let statuses = shards.values().filter_map(|shard| shard.status.as_ref());
    let before = statuses.flat_map(|status| &status.replica_states);
    let before = before.filter_map(|state| state.node.clone());
    let state = |name: String| {
        let node = stores.nodes.get(&ObjectRef::new(&name));
        let is = nodes::state(node.as_deref());
        (name, is)
    };
    now.chain(before).map(state).collect()
}

/// Looks live at what holds a collection's disks: also what a store does not tell yet, or never, for want of our label.
pub async fn observe_live(
    writer: &Writer,
    collection: &VectorCollection,
    seen: Seen,
) -> Result<Seen, Error> {
    let namespace = collection.namespace().unwrap_or_default();
    let name = collection.name_any();
    Ok(Seen {
        stateful_sets: live_of_collection(writer, &namespace, &name).await?,
        pods: live_of_collection(writer, &namespace, &name).await?,
        claims: live_of_collection(writer, &namespace, &name).await?,
        ..seen
    })
}

async fn live_of_collection<K: Object>(
    writer: &Writer,
    namespace: &str,
    collection: &str,
) -> Result<BTreeMap<String, Arc<K>>, Error> {
    let selector = format!("{}={collection}", labels::COLLECTION);
    let all = writer.list_live::<K>(namespace, &selector).await?;
    Ok(all.into_iter().map(|object| (object.name_any(), Arc::new(object))).collect())
}

fn of_collection<K>(store: &Store<K>, namespace: &str, collection: &str) -> BTreeMap<String, Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let belongs = |object: &K| {
        object.meta().namespace.as_deref() == Some(namespace)
            && meta::label(object, labels::COLLECTION) == Some(collection)
    };
    store.state_filter(belongs).into_iter().map(|object| (object.name_any(), object)).collect()
}

/// Whether a Shard is this collection's own or nobody's, rather than a deleted namesake's that is being collected.
fn belongs_to(shard: &Shard, collection: &VectorCollection) -> bool {
    meta::controller_uid(shard.meta())
        .is_none_or(|owner| collection.metadata.uid.as_deref() == Some(owner))
}

/// Of two collections with one client-facing name the older wins; of two equally old the one with the lesser uid.
fn older_namesake(
    collections: &[Arc<VectorCollection>],
    collection: &VectorCollection,
) -> Option<String> {
    let age = |c: &VectorCollection| {
        (c.metadata.creation_timestamp.clone().map(|t| t.0), c.metadata.uid.clone())
    };
    collections
        .iter()
        .filter(|other| other.metadata.namespace == collection.metadata.namespace)
        .filter(|other| other.metadata.uid != collection.metadata.uid)
        .filter(|other| other.client_name() == collection.client_name())
        .find(|other| age(other) < age(collection))
        .map(|other| other.name_any())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::collection::testing::collection;

    fn born(name: &str, second: i64) -> Arc<VectorCollection> {
        let mut made = collection(name);
        made.spec.name = Some("shared".into());
        made.metadata.uid = Some(format!("uid-{name}"));
        made.metadata.creation_timestamp =
            Some(Time(Timestamp::from_second(second).expect("a time")));
        Arc::new(made)
    }

    #[test]
    fn of_two_namesakes_the_older_wins_and_a_tie_goes_to_the_lesser_uid() {
        let all = [born("b", 10), born("a", 10), born("old", 5)];
        assert_eq!(older_namesake(&all, &all[2]), None);
        assert!(older_namesake(&all, &all[1]).is_some());
        assert_eq!(older_namesake(&all[..2], &all[0]).as_deref(), Some("a"));
        assert_eq!(older_namesake(&all[..2], &all[1]), None);
    }

    #[test]
    fn a_namesake_in_another_namespace_does_not_count() {
        let mut far = (*born("old", 1)).clone();
        far.metadata.namespace = Some("elsewhere".into());
        assert_eq!(older_namesake(&[Arc::new(far)], &born("new", 2)), None);
    }
}
