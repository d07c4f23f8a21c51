//! `VectorCollection`: what a user writes.

#![expect(clippy::duplicated_attributes, reason = "printer columns of one type are no duplicates")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reads::Reads;
pub use crate::replication::{Acks, Failover, Replication};
use crate::shard::LastFailover;

/// A collection of points with vectors and payloads, run as shards on pods of their own.
///
/// Only `vectors` is required; every other field has a default, told in its description.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "shoal.dev",
    version = "v1alpha1",
    kind = "VectorCollection",
    namespaced,
    plural = "vectorcollections",
    singular = "vectorcollection",
    shortname = "vc",
    category = "shoal",
    status = "VectorCollectionStatus",
    doc = "A collection of points with vectors and payloads, run as shards on pods of their own, and searched over HTTP.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Shards",
        type_ = "integer",
        json_path = ".status.shards.ready",
        description = "Shards that serve."
    ),
    printcolumn(
        name = "Total",
        type_ = "integer",
        json_path = ".status.shards.total",
        description = "Shards the collection has."
    ),
    printcolumn(
        name = "Points",
        type_ = "integer",
        json_path = ".status.points",
        description = "Points, rounded, as of at most a minute ago."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct VectorCollectionSpec {
    /// The name clients use in Qdrant's API, such as `my_collection`. Default: the object's name. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,

    /// Image of the data plane. Default: the operator's data plane image. The default is taken once, when the
    /// collection is created, and stays until this field is set: upgrading the operator restarts no data pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,

    /// The vectors a point may have, each under another name. Sizes, distances and datatypes cannot change, and vectors can
    /// be neither added nor removed.
    // Atomic, with several names too: the key of a list-map would need a default, which tools that compare what was
    // applied with what is there take for a change.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub vectors: Vec<VectorSpec>,

    /// The sparse vectors a point may have: few values, each under the number of its dimension, compared by their product.
    /// Default: none. Vectors can be neither added nor removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub sparse_vectors: Option<Vec<SparseVectorSpec>>,

    /// Payload fields that are indexed, so that filters on them cost little. May change at any time: indexes are made in
    /// the background, no pod is restarted, and filters are answered meanwhile, and without an index too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["field"]))]
    pub payload_indexes: Vec<PayloadIndexSpec>,

    /// How points are spread over shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharding: Option<Sharding>,

    /// How many copies there are of each shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,

    /// What happens when a replica, or its node, is gone. Matters where there is more than one copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,

    /// How the collection is read where a request does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Reads>,

    /// The disk of each shard pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// How shard pods are scheduled and sized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_pods: Option<ShardPods>,

    /// What this collection asks of the namespace's router. Where collections disagree, the largest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Router>,

    /// What happens to the disks when the object is deleted, and to that of a replica that is no longer asked for. Default:
    /// Retain. Retained disks are found again when the collection is applied again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// One vector of a point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VectorSpec {
    /// The vector's name, by which it is searched. Default: "", the vector that requests mean which name none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub name: String,
    /// Number of dimensions. Cannot change.
    #[schemars(range(min = 1, max = 65_536))]
    pub size: u32,
    /// How vectors are compared. Cannot change.
    pub distance: Distance,
    /// What numbers are stored as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datatype: Option<Datatype>,
    /// Tuning of the graph index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Index>,
    /// What walks of the graph compare in place of vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
}

/// One sparse vector of a point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SparseVectorSpec {
    /// The vector's name, by which it is searched. No other vector has it.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
}

/// A payload field that is indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PayloadIndexSpec {
    /// Key path of the field in payloads, such as `category`, `author.name` or `tags[].id`.
    // A key of letters, digits, `_` and `-`, or any in quotes; then `[]` or `[3]`, and further keys.
    #[schemars(length(min = 1, max = 1024), extend("pattern" = INDEXED_FIELD))]
    pub field: String,
    /// What its values are taken for.
    #[serde(rename = "type")]
    pub kind: IndexType,
    /// How texts are cut into words, for type Text alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextIndex>,
}

/// A key path, as the data plane reads it.
const INDEXED_FIELD: &str =
    r#"^("[^"\\]*"|[\p{L}\p{N}_-]+)(\[[0-9]*\])*(\.("[^"\\]*"|[\p{L}\p{N}_-]+)(\[[0-9]*\])*)*$"#;

/// What the values of a field are taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IndexType {
    /// Strings, compared whole.
    #[default]
    Keyword,
    /// Integers, by value and by range.
    Integer,
    /// Numbers, by range.
    Float,
    /// Booleans.
    Bool,
    /// Dates and times, by range.
    Datetime,
    /// UUIDs.
    Uuid,
    /// Places on the earth.
    Geo,
    /// Texts, by their words.
    Text,
}

/// How texts are cut into words. A search for texts then compares words, where it looks for the text as it is otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TextIndex {
    /// What ends a word. Default: Word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TextTokenizer>,
    /// Whether words are compared in lowercase. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowercase: Option<bool>,
    /// Shorter words, in characters, are left out. Default: none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub min_token_len: Option<u32>,
    /// Longer words, in characters, are left out. Default: none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub max_token_len: Option<u32>,
}

/// What ends a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TextTokenizer {
    /// Whatever is neither letter nor digit.
    #[default]
    Word,
    /// Blanks.
    Whitespace,
    /// As Word; words are found by their beginnings too.
    Prefix,
}

/// How two vectors are compared; the names are Qdrant's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Distance {
    /// Cosine similarity.
    #[default]
    Cosine,
    /// Dot product.
    Dot,
    /// Euclidean distance.
    Euclid,
    /// Sum of absolute differences.
    Manhattan,
}

/// What the vector's numbers are stored as. Default: Float32. Float16 takes half the bytes on disk and in memory; numbers
/// are rounded to three digits when they are written, and those beyond 65504 are refused. Cannot change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Datatype {
    /// As they come: 4 bytes.
    #[default]
    Float32,
    /// Rounded: 2 bytes.
    Float16,
}

/// What walks of the graph compare in place of vectors: codes of 4 or of 8 bits a dimension, or with None the vectors
/// themselves. Default: Bits4. Fewer bits take less memory and time; scores are exact with each. May change: shard pods are
/// restarted, and segments that are made from then on have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Quantization {
    /// Codes of 4 bits a dimension: least memory, and fastest.
    #[default]
    Bits4,
    /// Codes of 8 bits a dimension.
    Int8,
    /// Nothing: vectors are compared as they are.
    None,
}

/// Tuning of the graph index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Candidates considered for each point while a segment is built: more is slower to build and finds better.
    /// Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 4, max = 2_000))]
    pub ef_construct: Option<u32>,
    /// Candidates kept during a search that names no `hnsw_ef`: more is slower and finds better. Default: 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub ef: Option<u32>,
}

/// How points are spread over shards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sharding {
    /// Number of shards the collection starts with. Default: 1. Shards cannot be split yet: a change is refused with
    /// a condition, and the shards stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub initial_shards: Option<u32>,
}

/// The disk of each shard pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of each shard's disk. Default: 10Gi. May grow where the storage class allows it; disks never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 32))]
    pub size: Option<Quantity>,
    /// Storage class. Default: the cluster's default class. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
}

/// How shard pods are scheduled and sized.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardPods {
    /// CPU and memory of a shard pod, as in a Pod. Default: requests of 100m and 128Mi, no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels a node must have, as in a Pod. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints to tolerate, as in a Pod. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub tolerations: Option<Vec<Toleration>>,
    /// Affinity rules, as in a Pod. Default: none. Pods of a collection are spread over nodes and zones where possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Priority class of shard pods. Default: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
}

/// What a collection asks of the namespace's router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Router {
    /// Router pods to keep. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub min_replicas: Option<u32>,
    /// CPU and memory of a router pod, as in a Pod. Default: requests of 100m and 64Mi, no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// What happens to the disks when the object is deleted, and to that of a replica that is no longer asked for. Default:
/// Retain. Retained disks are found again when the collection is applied again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Keep the PersistentVolumeClaims.
    #[default]
    Retain,
    /// Delete the PersistentVolumeClaims.
    Delete,
}

/// What the operator saw and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VectorCollectionStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling and Stalled, as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The name clients use, resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The data plane image the shards run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Shards in all, and those that serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardCounts>,
    /// Which shard holds which slots. The one routing object; routers read it live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// Points, rounded to two digits, as of at most a minute ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<i64>,
    /// Bytes on the shards' disks, rounded to two digits, as of at most a minute ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<i64>,
    /// Where clients inside the cluster find the collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The last time that another replica of one of its shards came to lead, or the same one anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failover: Option<LastFailover>,
    /// Replicas that are being moved from lost nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<Rebalance>,
}

/// Replicas that are being moved from lost nodes, by a Job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rebalance {
    /// The Job.
    #[schemars(length(max = 63))]
    pub job: String,
    /// The nodes they are moved from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub nodes: Vec<String>,
    /// Replicas in whose place another votes.
    #[schemars(range(min = 0))]
    pub moved: i32,
    /// Replicas in all.
    #[schemars(range(min = 0))]
    pub total: i32,
}

/// Shards in all, and those that serve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardCounts {
    /// Shards the collection has.
    pub total: i32,
    /// Shards that serve: whose pod is ready, or the pods of a majority of whose replicas are.
    pub ready: i32,
}

/// The routing table: slot -> shard, explicit, never recomputed from a count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Routing {
    /// Version of the table; grows by one with each change.
    #[serde(rename = "gen")]
    pub generation: i64,
    /// Each shard's slots. Together they cover 0 to 16383, each once.
    #[schemars(length(max = 4_096))]
    pub table: Vec<ShardSlots>,
}

/// One shard's part of the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardSlots {
    /// Name of the Shard object.
    pub shard: String,
    /// Slots as inclusive ranges, such as `0-511,1024-1535`.
    pub slots: String,
}
