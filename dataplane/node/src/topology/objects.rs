//! From VectorCollection objects to a snapshot the router serves from. Talks to nobody.
//!
//! Invariants: of objects that claim one name the oldest has it; a collection that was once served keeps being served
//! by its last good routing table until its object is deleted, and never goes back to an older table.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_crds::collection::{
    Datatype as DatatypeSpec, Distance, IndexType, PayloadIndexSpec,
    Quantization as QuantizationSpec, Routing, ShardSlots, TextIndex, TextTokenizer, VectorSpec,
};
use shoal_crds::reads::PartialAnswers;
use shoal_crds::{Shard, VectorCollection, conditions, duration, labels};
use shoal_proto::routing::{RoutingError, RoutingTable};
use shoal_shard::WantedIndexes;
use shoal_shard::api::ShardError;
use shoal_vector::payload::{IndexKind, InvalidIndex, PayloadIndex};
use shoal_vector::text::{Split, Tokenizer};
use shoal_vector::{Datatype, Metric, Quantization, SparseVectorConfig, VectorConfig};

use super::Snapshot;
use crate::router::api::{Partial, ReadPolicy};
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

/// Names of the replicas of each Shard object; none of one that is alone.
pub(super) type Replicas = BTreeMap<String, Vec<String>>;

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

/// The replicas that a router asks for a shard by its object; none of one that is alone. Until the disk of one that was alone has
/// a register, what is in its pod may repeat an op which is repeated, so it is asked as one that is alone.
pub(super) fn replicas_by(shard: &Shard) -> Vec<String> {
    let names = &shard.spec.replica_names;
    let has_register = shard.status.as_ref().is_some_and(|status| status.register.is_some());
    let founds = *names == [labels::replica(0)] && !has_register;
    match shard.spec.is_replicated() && !founds {
        true => names.clone(),
        false => Vec::new(),
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
        told => told.cloned(),
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

fn vectors(object: &VectorCollection) -> Vec<VectorConfig> {
    let config = |vector: &VectorSpec| VectorConfig {
        name: vector.name.clone(),
        size: vector.size as usize,
        distance: match vector.distance {
            Distance::Cosine => Metric::Cosine,
            Distance::Dot => Metric::Dot,
            Distance::Euclid => Metric::Euclid,
            Distance::Manhattan => Metric::Manhattan,
        },
        datatype: match vector.datatype() {
            DatatypeSpec::Float32 => Datatype::Float32,
            DatatypeSpec::Float16 => Datatype::Float16,
        },
    };
    object.spec.vectors.iter().map(config).collect()
}

fn sparse(object: &VectorCollection) -> Vec<SparseVectorConfig> {
    let config = |vector: &shoal_crds::collection::SparseVectorSpec| SparseVectorConfig {
        name: vector.name.clone(),
    };
    object.spec.sparse_vectors.iter().flatten().map(config).collect()
}

/// The other way round, for an object to be made.
pub(super) fn distance(metric: Metric) -> Distance {
    match metric {
        Metric::Cosine => Distance::Cosine,
        Metric::Dot => Distance::Dot,
        Metric::Euclid => Distance::Euclid,
        Metric::Manhattan => Distance::Manhattan,
    }
}

/// What an object says for it; nothing for the default.
pub(super) fn spec_of_datatype(datatype: Datatype) -> Option<DatatypeSpec> {
    match datatype {
        Datatype::Float32 => None,
        Datatype::Float16 => Some(DatatypeSpec::Float16),
    }
}

/// What an object's shards are to index. The object's generation orders what it says.
pub(super) fn indexes(object: &VectorCollection) -> WantedIndexes {
    let field = |spec: &PayloadIndexSpec| match index_of(spec) {
        Ok(index) => Some(index),
        Err(error) => {
            tracing::warn!(collection = object.client_name(), %error, "a payload index that cannot be");
            None
        }
    };
    WantedIndexes {
        owner: object.metadata.uid.clone().unwrap_or_default(),
        version: object.metadata.generation.and_then(|g| u64::try_from(g).ok()).unwrap_or_default(),
        fields: object.spec.payload_indexes.iter().filter_map(field).collect(),
    }
}

fn index_of(spec: &PayloadIndexSpec) -> Result<PayloadIndex, InvalidIndex> {
    let kind = match spec.kind {
        IndexType::Keyword => IndexKind::Keyword,
        IndexType::Integer => IndexKind::Integer,
        IndexType::Float => IndexKind::Float,
        IndexType::Bool => IndexKind::Bool,
        IndexType::Datetime => IndexKind::Datetime,
        IndexType::Uuid => IndexKind::Uuid,
        IndexType::Geo => IndexKind::Geo,
        IndexType::Text => {
            let text = spec.text.clone().unwrap_or_default();
            let tokenizer = Tokenizer {
                split: match text.tokenizer.unwrap_or_default() {
                    TextTokenizer::Word => Split::Word,
                    TextTokenizer::Whitespace => Split::Whitespace,
                    TextTokenizer::Prefix => Split::Prefix,
                },
                lowercase: text.lowercase.unwrap_or(true),
                min_len: text.min_token_len.map(|len| len as usize),
                max_len: text.max_token_len.map(|len| len as usize),
            };
            return PayloadIndex::text(&spec.field, tokenizer);
        }
    };
    PayloadIndex::new(&spec.field, kind)
}

fn ef_construct(object: &VectorCollection) -> u32 {
    let first = object.spec.vectors.first();
    first.map_or(shoal_crds::defaults::EF_CONSTRUCT, |vector| vector.ef_construct())
}

fn reads(object: &VectorCollection) -> ReadPolicy {
    let partial = match object.partial_answers() {
        PartialAnswers::Allow => Partial::Allow,
        PartialAnswers::Refuse => Partial::Refuse,
    };
    let default = ReadPolicy::default();
    // The operator says where a time cannot be.
    let max_staleness = duration::parse(object.max_staleness()).unwrap_or(default.max_staleness);
    ReadPolicy { partial, max_staleness }
}

/// By what graphs of each vector are walked.
fn quantization(object: &VectorCollection) -> BTreeMap<String, Quantization> {
    let of = |vector: &VectorSpec| (vector.name.clone(), quantization_of(vector.quantization()));
    object.spec.vectors.iter().map(of).collect()
}

fn quantization_of(spec: QuantizationSpec) -> Quantization {
    match spec {
        QuantizationSpec::Bits4 => Quantization::Bits4,
        QuantizationSpec::Int8 => Quantization::Int8,
        QuantizationSpec::None => Quantization::None,
    }
}

/// What an object says for it; nothing for the default.
pub(super) fn spec_of_quantization(quantization: Quantization) -> Option<QuantizationSpec> {
    match quantization {
        Quantization::Bits4 => None,
        Quantization::Int8 => Some(QuantizationSpec::Int8),
        Quantization::None => Some(QuantizationSpec::None),
    }
}

/// What an object says for an index.
pub(super) fn spec_of(index: &PayloadIndex) -> PayloadIndexSpec {
    let kind = match index.kind {
        IndexKind::Keyword => IndexType::Keyword,
        IndexKind::Integer => IndexType::Integer,
        IndexKind::Float => IndexType::Float,
        IndexKind::Bool => IndexType::Bool,
        IndexKind::Datetime => IndexType::Datetime,
        IndexKind::Uuid => IndexType::Uuid,
        IndexKind::Geo => IndexType::Geo,
        IndexKind::Text => IndexType::Text,
    };
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let text = index.tokenizer.map(|tokenizer| TextIndex {
        tokenizer: Some(match tokenizer.split {
            Split::Word => TextTokenizer::Word,
            Split::Whitespace => TextTokenizer::Whitespace,
            Split::Prefix => TextTokenizer::Prefix,
        }),
        lowercase: Some(tokenizer.lowercase),
        min_token_len: tokenizer.min_len.map(len),
        max_token_len: tokenizer.max_len.map(len),
    });
    PayloadIndexSpec { field: index.field.clone(), kind, text }
}

#[cfg(test)]
mod tests;
