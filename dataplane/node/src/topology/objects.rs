//! From VectorCollection objects to a snapshot the router serves from. Talks to nobody.
//!
//! Invariants: of objects that claim one name the oldest has it; a collection that was once served keeps being served
//! by its last good routing table until its object is deleted, and never goes back to an older table.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_crds::collection::{Routing, ShardSlots};
use shoal_crds::{VectorCollection, conditions, labels};
use shoal_proto::routing::{RoutingError, RoutingTable};
use shoal_shard::api::ShardError;

use super::Snapshot;
use super::shards::Replicas;
use super::spec::{ef_construct, indexes, quantization, reads, sparse, vectors};
use crate::router::shard_client::ShardClient;
use crate::router::{Collection, RemoteShard, ReplicaSet};
use crate::token::SharedToken;

/// How shards of a namespace are reached.
pub(super) struct Reach {
    /// The namespace.
    pub(super) namespace: String,
    /// Port that shards answer on.
    pub(super) shard_port: u16,
    /// What they ask to be shown.
    pub(super) token: SharedToken,
}

/// The collections of a namespace, as far as they were ever understood.
pub(super) struct Objects {
    reach: Reach,
    /// By client-facing name.
    served: BTreeMap<String, Served>,
}

#[derive(Clone)]
struct Served {
    uid: String,
    routing: Routing,
    /// Of its shards, in the order of the routing table; none where each is alone.
    replicas: Vec<Vec<String>>,
    collection: Arc<Collection>,
}

/// How far an object is on its way to serve.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Ready,
    /// Only a person can help; the message says how.
    Stalled(String),
    /// Not there yet; the message says what is awaited.
    Waiting(String),
}

impl Objects {
    pub(super) fn new(reach: Reach) -> Self {
        Self { reach, served: BTreeMap::new() }
    }

    /// The snapshot after the objects became these. Needs a tokio runtime, for connections to come.
    pub(super) fn update(
        &mut self,
        objects: &[Arc<VectorCollection>],
        replicas: &Replicas,
    ) -> Snapshot {
        let mut before = std::mem::take(&mut self.served);
        for (name, object) in owners(objects) {
            let uid = object.metadata.uid.as_deref().unwrap_or_default();
            let known = before.remove(name).filter(|served| served.uid == uid);
            if let Some(served) = self.serve(object, known, replicas) {
                served.tell(replicas);
                self.served.insert(name.to_owned(), served);
            }
        }
        self.served.iter().map(|(name, served)| (name.clone(), served.collection.clone())).collect()
    }

    /// What to serve of an object, given what was served of it before.
    fn serve(
        &self,
        object: &VectorCollection,
        known: Option<Served>,
        replicas: &Replicas,
    ) -> Option<Served> {
        let Some(routing) = object.status.as_ref().and_then(|status| status.routing.clone()) else {
            return known;
        };
        // Where the shards' objects were not seen yet, or are gone for a moment, what is served stays.
        let Some(replicas) = replicas_of(object, &routing, replicas, known.as_ref()) else {
            return known;
        };
        if let Some(known) = &known {
            if known.routing.generation > routing.generation {
                tracing::warn!(
                    collection = object.client_name(),
                    "a routing table older than the one in use; ignored"
                );
            }
            let same = known.routing == routing && known.replicas == replicas;
            if known.routing.generation > routing.generation || same {
                return Some(known.with_settings(object));
            }
        }
        let table = match parse(&routing) {
            Ok(table) => table,
            Err(error) => {
                tracing::error!(collection = object.client_name(), %error, "a routing table that cannot be used");
                return known;
            }
        };
        let shard = |((shard, _), replicas): (&(String, _), &Vec<String>)| {
            let connected =
                known.as_ref().and_then(|k| k.collection.shards.iter().find(|s| s.name() == shard));
            self.reach.shard(object, shard, table.generation(), replicas, connected)
        };
        let collection = Collection {
            name: object.client_name().to_owned(),
            vectors: vectors(object),
            sparse: sparse(object),
            ef_construct: ef_construct(object),
            quantization: quantization(object),
            indexes: indexes(object),
            reads: reads(object),
            shards: table.shards().iter().zip(&replicas).map(shard).collect(),
            routing: table,
        };
        let uid = object.metadata.uid.clone().unwrap_or_default();
        Some(Served { uid, routing, replicas, collection: Arc::new(collection) })
    }
}

impl Served {
    /// Who leads is news for calls under way as well, so it makes no new collection.
    fn tell(&self, replicas: &Replicas) {
        for (shard, names) in self.collection.shards.iter().zip(&self.replicas) {
            let told = replicas.get(shard.name()).filter(|told| told.names == *names);
            if let (ShardClient::Replicas(set), Some(told)) = (shard, told) {
                told.tell(set);
            }
        }
    }

    /// The same with the object's settings that may change, which a table that stays says nothing about.
    fn with_settings(&self, object: &VectorCollection) -> Self {
        let known = &self.collection;
        let (indexes, ef_construct) = (indexes(object), ef_construct(object));
        let (quantization, reads) = (quantization(object), reads(object));
        if known.indexes == indexes
            && known.reads == reads
            && known.ef_construct == ef_construct
            && known.quantization == quantization
        {
            return self.clone();
        }
        let known = Collection::clone(known);
        let collection = Collection { indexes, ef_construct, quantization, reads, ..known };
        Self { collection: Arc::new(collection), ..self.clone() }
    }
}

/// The replicas of each of a collection's shards; `None` while those of one are not known.
fn replicas_of(
    object: &VectorCollection,
    routing: &Routing,
    replicas: &Replicas,
    known: Option<&Served>,
) -> Option<Vec<Vec<String>>> {
    let copies = object.spec.replication.as_ref().and_then(|r| r.replicas).unwrap_or(1);
    let before = |slots: &ShardSlots| {
        let known = known?;
        let at = known.routing.table.iter().position(|part| part.shard == slots.shard)?;
        known.replicas.get(at).cloned()
    };
    // What is asked for is not what there is: the Shard tells.
    let of = |slots: &ShardSlots| match replicas.get(&slots.shard) {
        None if copies == 1 => Some(before(slots).unwrap_or_default()),
        told => told.map(|told| told.names.clone()),
    };
    routing.table.iter().map(of).collect()
}

impl Reach {
    /// A shard's client; the connections there are, as far as they are to the same replicas.
    fn shard(
        &self,
        object: &VectorCollection,
        shard: &str,
        generation: u64,
        replicas: &[String],
        old: Option<&ShardClient>,
    ) -> ShardClient {
        let before: &[RemoteShard] = match old {
            Some(ShardClient::Remote(remote)) => std::slice::from_ref(remote),
            Some(ShardClient::Replicas(set)) => set.replicas(),
            Some(ShardClient::Local(_) | ShardClient::Down { .. }) | None => &[],
        };
        let connect = |number: u32| {
            let address = self.address(object, shard, number);
            match before.iter().find(|remote| remote.address() == address) {
                Some(remote) => Ok(remote.at_generation(generation)),
                None => self.connect(object, shard, generation, &address),
            }
        };
        let numbers = replicas.iter().filter_map(|name| labels::replica_number(name));
        let connected = match replicas.is_empty() {
            true => connect(0).map(ShardClient::Remote),
            false => numbers.map(connect).collect::<Result<Vec<_>, _>>().map(|replicas| {
                let before = match old {
                    Some(ShardClient::Replicas(set)) => Some(set),
                    _ => None,
                };
                ShardClient::Replicas(ReplicaSet::new(shard.to_owned(), replicas, before))
            }),
        };
        connected.unwrap_or_else(|error| ShardClient::Down { name: shard.to_owned(), error })
    }

    fn address(&self, object: &VectorCollection, shard: &str, number: u32) -> String {
        let collection = object.metadata.name.as_deref().unwrap_or_default();
        let host = labels::replica_host(collection, shard, number, &self.namespace);
        format!("{host}:{}", self.shard_port)
    }

    fn connect(
        &self,
        object: &VectorCollection,
        shard: &str,
        generation: u64,
        address: &str,
    ) -> Result<RemoteShard, ShardError> {
        let (name, token) = (object.client_name(), self.token.clone());
        RemoteShard::new(name, shard, generation, address, token).map_err(|error| {
            let detail = format!("{address} is no address: {error}");
            ShardError::Unavailable { shard: shard.to_owned(), detail }
        })
    }
}

/// Who has each name: of the objects that claim it and are not being deleted, the oldest.
pub(super) fn owners(objects: &[Arc<VectorCollection>]) -> BTreeMap<&str, &Arc<VectorCollection>> {
    let mut owners: BTreeMap<&str, &Arc<VectorCollection>> = BTreeMap::new();
    for object in objects.iter().filter(|object| object.metadata.deletion_timestamp.is_none()) {
        owners
            .entry(object.client_name())
            .and_modify(|owner| {
                if age(object) < age(owner) {
                    *owner = object;
                }
            })
            .or_insert(object);
    }
    owners
}

/// Orders objects by age, and those of one second by uid.
fn age(object: &VectorCollection) -> impl Ord + '_ {
    (object.metadata.creation_timestamp.as_ref().map(|time| time.0), object.metadata.uid.as_deref())
}

/// How far an object is, as its conditions say about the spec it has now.
pub(super) fn progress(object: &VectorCollection) -> Progress {
    let Some(status) = &object.status else {
        return Progress::Waiting("the operator has not seen it yet".to_owned());
    };
    if status.observed_generation < object.metadata.generation {
        return Progress::Waiting("the operator has not seen it yet".to_owned());
    }
    let condition = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind);
    let message = |kind: &str| condition(kind).map(|c| format!("{}: {}", c.reason, c.message));
    let is_true = |kind: &str| condition(kind).is_some_and(|c| c.status == "True");
    if is_true(conditions::STALLED) {
        return Progress::Stalled(message(conditions::STALLED).unwrap_or_default());
    }
    match is_true(conditions::READY) && status.routing.is_some() {
        true => Progress::Ready,
        false => Progress::Waiting(
            message(conditions::READY).unwrap_or_else(|| "it is starting".to_owned()),
        ),
    }
}

fn parse(routing: &Routing) -> Result<RoutingTable, RoutingError> {
    let generation = u64::try_from(routing.generation).unwrap_or_default();
    RoutingTable::parse(
        generation,
        routing.table.iter().map(|entry| (entry.shard.clone(), entry.slots.as_str())),
    )
}

#[cfg(test)]
mod tests;
