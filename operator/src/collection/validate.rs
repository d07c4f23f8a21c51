//! From the spec as written to a collection that can be built. Pure.
//!
//! Everything is parsed here once: defaults are resolved, numbers are in range, quantities are quantities. The API
//! server's schema refuses most of what is refused here too; this is what building may rely on.
//!
//! Invariant: building from a [`Valid`] cannot fail.

use std::ops::RangeInclusive;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use shoal_crds::collection::{Acks, Datatype, DeletionPolicy, Distance, VectorSpec};
use shoal_crds::conditions::reason;
use shoal_crds::{VectorCollection, defaults, duration};

use super::resources::{defaulted, resources};
use crate::error::Problem;
use crate::kubernetes::in_sync;
use crate::kubernetes::meta::Labels;
use crate::quantity;

/// Most dimensions a vector may have.
const MAX_SIZE: u32 = 65_536;
/// Most vectors a point may have.
const MAX_VECTORS: usize = 16;
/// Most shards a collection may start with.
const MAX_SHARDS: u32 = 64;
/// Longest object name: pod names, which add to it, must stay below 63 characters.
const MAX_NAME: usize = 40;

/// Most router pods a collection may ask for.
const MAX_ROUTERS: i32 = 100;
/// Failover budgets that the data plane can keep.
const BUDGETS: RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_secs(600);
/// How long a node may be away.
const GRACES: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(86_400);
/// How stale a replica may be to be read.
const STALENESSES: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3_600);
/// Times within which replicas may be asked to show what was acknowledged: some signs of life of a primary are in each.
const SLAS: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(3_600);
/// Requests of a shard pod that is given none.
const SHARD_REQUESTS: &[(&str, &str)] = &[("cpu", "100m"), ("memory", "128Mi")];
/// Requests of a router pod that is given none.
const ROUTER_REQUESTS: &[(&str, &str)] = &[("cpu", "100m"), ("memory", "64Mi")];

/// A collection that can be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    /// Name of the object.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Name clients use.
    pub client_name: String,
    /// What its disks are marked with.
    pub fingerprint: String,
    /// The vectors, by name.
    pub vectors: Vec<VectorSpec>,
    /// Names of the sparse vectors, in order.
    pub sparse_vectors: Vec<String>,
    /// Shards to start with.
    pub initial_shards: u32,
    /// Copies of each shard.
    pub replicas: u32,
    /// When a write is answered.
    pub acks: Acks,
    /// Within what time another replica takes writes.
    pub failover_budget: Duration,
    /// How long a node may be away before replicas are moved from it.
    pub node_loss_grace: Duration,
    /// Within what time every replica is to show what was acknowledged, where the spec says so.
    pub visibility_sla: Option<Duration>,
    /// Image the spec names.
    pub image: Option<String>,
    /// Size of each shard's disk.
    pub storage_size: Quantity,
    /// Storage class of the disks.
    pub storage_class: Option<String>,
    /// How shard pods are scheduled and sized.
    pub pods: Pods,
    /// What it asks of the namespace's router.
    pub router: Router,
    /// What happens to the disks with the object.
    pub deletion_policy: DeletionPolicy,
}

/// How shard pods are scheduled and sized, resolved.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // Each is the field of the spec of the same name.
pub struct Pods {
    pub resources: ResourceRequirements,
    pub node_selector: Option<Labels>,
    pub tolerations: Option<Vec<Toleration>>,
    pub affinity: Option<Affinity>,
    pub priority_class_name: Option<String>,
}

/// A router: what a collection asks of its namespace's, or what several ask together.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// Pods to keep.
    pub min_replicas: i32,
    /// CPU and memory of each.
    pub resources: ResourceRequirements,
}

impl Default for Router {
    fn default() -> Self {
        let min_replicas = i32::try_from(defaults::ROUTER_MIN_REPLICAS).unwrap_or(i32::MAX);
        Self { min_replicas, resources: defaulted(ROUTER_REQUESTS) }
    }
}

/// Names the disks' content: the client-facing name and the vectors, in whatever order they are written. A disk with another
/// one is never touched.
pub fn fingerprint(collection: &VectorCollection) -> String {
    let vectors = by_name(&collection.spec.vectors).into_iter().map(|v| {
        // As it was before there was the option, where it is not used.
        let stored = own_datatype(&v).map(|own| format!(":{own}")).unwrap_or_default();
        format!("/{}/{}/{}{stored}", escaped(&v.name), v.size, distance_name(v.distance))
    });
    let sparse = sparse_by_name(collection).into_iter();
    let sparse = sparse.map(|name| format!("/sparse/{}", escaped(&name)));
    let text: String = vectors.chain(sparse).collect();
    in_sync::hash_text(&(collection.client_name().to_owned() + &text))
}

/// Parses a collection. The problem names the field and says what to do.
pub fn validate(collection: &VectorCollection) -> Result<Valid, Problem> {
    let name = collection.name_any();
    require(name.len() <= MAX_NAME, || {
        format!("metadata.name is longer than {MAX_NAME} characters: use a shorter one")
    })?;
    let spec = &collection.spec;
    let client_name = collection.client_name().to_owned();
    require(
        !client_name.is_empty() && client_name.len() <= 255 && !client_name.contains('/'),
        || "spec.name must have 1 to 255 bytes and no `/`".to_owned(),
    )?;
    let initial_shards = collection.initial_shards();
    require((1..=MAX_SHARDS).contains(&initial_shards), || {
        format!("spec.sharding.initialShards is {initial_shards}: use 1 to {MAX_SHARDS}")
    })?;
    let replicas = collection.replicas();
    require([1, 3, 5].contains(&replicas), || {
        format!("spec.replication.replicas is {replicas}: use 1, 3 or 5")
    })?;
    let storage = spec.storage.clone().unwrap_or_default();
    let storage_size = storage.size.unwrap_or_else(|| Quantity(defaults::STORAGE_SIZE.to_owned()));
    require(quantity::parse(&storage_size.0).is_some_and(|bytes| bytes > 0), || {
        format!("spec.storage.size is `{}`: use a size such as 10Gi", storage_size.0)
    })?;
    // Routers read the collection as it is, and mind this by themselves.
    time("reads.maxStaleness", collection.max_staleness(), STALENESSES, "100ms to 1h")?;
    let pods = spec.shard_pods.clone().unwrap_or_default();
    let router = spec.router.clone().unwrap_or_default();
    Ok(Valid {
        namespace: collection.namespace().unwrap_or_default(),
        name,
        client_name,
        fingerprint: fingerprint(collection),
        vectors: vectors(&spec.vectors)?,
        sparse_vectors: sparse_vectors(collection)?,
        initial_shards,
        replicas,
        acks: collection.acks(),
        failover_budget: time(
            "failover.budget",
            collection.failover_budget(),
            BUDGETS,
            "3s to 10m",
        )?,
        node_loss_grace: time(
            "failover.nodeLossGrace",
            collection.node_loss_grace(),
            GRACES,
            "1m to 24h",
        )?,
        visibility_sla: visibility_sla(collection)?,
        image: image(spec.image.as_deref())?,
        storage_size,
        storage_class: storage.storage_class_name,
        pods: Pods {
            resources: resources("spec.shardPods.resources", pods.resources, SHARD_REQUESTS)?,
            node_selector: pods.node_selector,
            tolerations: pods.tolerations,
            affinity: pods.affinity,
            // Empty is what the cluster gives a pod that asks for none, as absent is.
            priority_class_name: pods.priority_class_name.filter(|name| !name.is_empty()),
        },
        router: Router {
            min_replicas: router_replicas(router.min_replicas)?,
            resources: resources("spec.router.resources", router.resources, ROUTER_REQUESTS)?,
        },
        deletion_policy: collection.deletion_policy(),
    })
}

/// A time of the spec.
fn time(
    field: &str,
    given: &str,
    range: RangeInclusive<Duration>,
    in_words: &str,
) -> Result<Duration, Problem> {
    let time = duration::parse(given).filter(|time| range.contains(time));
    time.ok_or_else(|| {
        let message = format!("spec.{field} is `{given}`: use {in_words}, such as 5m");
        Problem::new(reason::INVALID_SPEC, message)
    })
}

fn visibility_sla(collection: &VectorCollection) -> Result<Option<Duration>, Problem> {
    let given = collection.visibility_sla();
    let sla = time("replication.visibilitySla", given, SLAS, "500ms to 1h")?;
    let replication = collection.spec.replication.as_ref();
    Ok(replication.and_then(|replication| replication.visibility_sla.as_ref()).map(|_| sla))
}

fn router_replicas(given: Option<u32>) -> Result<i32, Problem> {
    let replicas = given.unwrap_or(defaults::ROUTER_MIN_REPLICAS);
    let in_range = i32::try_from(replicas).ok().filter(|r| (1..=MAX_ROUTERS).contains(r));
    in_range.ok_or_else(|| {
        let message = format!("spec.router.minReplicas is {replicas}: use 1 to {MAX_ROUTERS}");
        Problem::new(reason::INVALID_SPEC, message)
    })
}

fn vectors(given: &[VectorSpec]) -> Result<Vec<VectorSpec>, Problem> {
    require((1..=MAX_VECTORS).contains(&given.len()), || {
        format!("spec.vectors has {} items: give 1 to {MAX_VECTORS}", given.len())
    })?;
    for (i, vector) in given.iter().enumerate() {
        require((1..=MAX_SIZE).contains(&vector.size), || {
            format!("spec.vectors[{i}].size is {}: use 1 to {MAX_SIZE}", vector.size)
        })?;
        require(vector.ef_construct() > 0 && vector.ef() > 0, || {
            format!("spec.vectors[{i}].index: efConstruct and ef must be at least 1")
        })?;
        require(given[..i].iter().all(|other| other.name != vector.name), || {
            format!("spec.vectors[{i}].name: `{}` is there twice: use another", vector.name)
        })?;
    }
    Ok(by_name(given))
}

/// Names of the sparse vectors, in order.
fn sparse_by_name(collection: &VectorCollection) -> Vec<String> {
    let given = collection.spec.sparse_vectors.iter().flatten();
    let mut names: Vec<String> = given.map(|sparse| sparse.name.clone()).collect();
    names.sort_unstable();
    names
}

fn sparse_vectors(collection: &VectorCollection) -> Result<Vec<String>, Problem> {
    let names = sparse_by_name(collection);
    require(names.len() <= MAX_VECTORS, || {
        format!("spec.sparseVectors has {} items: give at most {MAX_VECTORS}", names.len())
    })?;
    for (i, name) in names.iter().enumerate() {
        let taken = names[..i].contains(name)
            || collection.spec.vectors.iter().any(|vector| vector.name == *name);
        require(!name.is_empty() && !taken, || {
            format!("spec.sparseVectors: `{name}` is empty or there twice: use another name")
        })?;
    }
    Ok(names)
}

/// A vector's datatype as the shard's command line has it, where it is not the default.
pub fn own_datatype(vector: &VectorSpec) -> Option<&'static str> {
    match vector.datatype() {
        Datatype::Float32 => None,
        Datatype::Float16 => Some("Float16"),
    }
}

/// A name as the fingerprint has it: so that no two lists read the same.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('/', "\\/")
}

/// The order in which a user writes vectors says nothing, so that a change of it changes no pod.
fn by_name(vectors: &[VectorSpec]) -> Vec<VectorSpec> {
    let mut vectors = vectors.to_vec();
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    vectors
}

fn image(given: Option<&str>) -> Result<Option<String>, Problem> {
    let image = given.map(str::trim).filter(|image| !image.is_empty());
    require(!image.is_some_and(|image| image.contains(char::is_whitespace)), || {
        "spec.image holds white space: use a reference such as registry.example/shoal:1.0"
            .to_owned()
    })?;
    Ok(image.map(str::to_owned))
}

fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err(Problem::new(reason::INVALID_SPEC, message())) }
}

/// A distance by its name on the command line of a shard.
pub fn distance_name(distance: Distance) -> &'static str {
    match distance {
        Distance::Cosine => "Cosine",
        Distance::Dot => "Dot",
        Distance::Euclid => "Euclid",
        Distance::Manhattan => "Manhattan",
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
