//! `Shard`: a slice of a collection's points. The operator writes it; a person reads it.

#![expect(clippy::duplicated_attributes, reason = "printer columns of one type are no duplicates")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A slice of a collection's points. Written by the operator and owned by its VectorCollection: edits come back.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "shoal.dev",
    version = "v1alpha1",
    kind = "Shard",
    namespaced,
    plural = "shards",
    singular = "shard",
    category = "shoal",
    status = "ShardStatus",
    doc = "A slice of a collection's points. The operator writes it; edits come back.",
    printcolumn(name = "Collection", type_ = "string", json_path = ".spec.collection"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "Copies there are to be."
    ),
    printcolumn(
        name = "Serving",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Copies whose pod is ready."
    ),
    printcolumn(
        name = "Pod",
        type_ = "string",
        json_path = ".status.pod",
        description = "The pod that takes writes: of several, the primary's."
    ),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.node"),
    printcolumn(
        name = "Points",
        type_ = "integer",
        json_path = ".status.points",
        description = "Points, rounded, as of at most a minute ago."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(
        name = "Epoch",
        type_ = "string",
        json_path = ".status.register.epoch",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ShardSpec {
    /// Name of the VectorCollection object.
    #[schemars(length(min = 1, max = 253))]
    pub collection: String,
    /// The part of the ring this shard holds: it repeats the collection's routing table, so that one can be rebuilt
    /// from the other.
    pub placement: Placement,
    /// Copies of the shard.
    #[schemars(range(min = 1, max = 5))]
    pub replicas: u32,
    /// Names of its replicas, such as r0. Each has a StatefulSet named after the shard and itself. To have a replica replaced
    /// that is lost for good, take its name out: another gets a new name, and the lost one goes once that votes in its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(max = 8), regex(pattern = r"^r(0|[1-9][0-9]{0,5})$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub replica_names: Vec<String>,
    /// Number of the next replica, above all that ever were: a name is never used for another disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 999_999))]
    pub next_replica: Option<u32>,
    /// Data plane image, pinned when the collection was created unless the collection names one.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
}

/// The part of the ring a shard holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Version of the routing table this is part of.
    #[serde(rename = "gen")]
    #[schemars(range(min = 1))]
    pub generation: i64,
    /// Slots as inclusive ranges, such as `0-511,1024-1535`.
    #[schemars(
        length(min = 1, max = 131_072),
        regex(pattern = r"^[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*$")
    )]
    pub slots: String,
}

/// What a person asks first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// The generation of the spec this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling and Stalled, as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Replicas whose pod is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// The pod that takes writes: of several, the primary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The node that pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Points, rounded to two digits, as of at most a minute ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<i64>,
    /// Bytes on the shard's disk, rounded to two digits, as of at most a minute ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<i64>,
    /// What the replicas agree on: who leads, and who belongs to them. Written by the replicas alone, each time on the
    /// condition that nobody else did: do not edit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<ShardRegister>,
    /// The replicas, as each says about itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub replicas: Vec<ShardReplica>,
}

/// What the replicas of a shard agree on. Numbers of more than 53 bits are text, as JSON has no such numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardRegister {
    /// The newest epoch: it counts up with every election.
    #[schemars(length(max = 20), regex(pattern = r"^[0-9]{1,20}$"))]
    pub epoch: String,
    /// Tells apart two epochs of one number, as there may be after etcd was restored: 16 hexadecimal digits.
    #[schemars(length(max = 16), regex(pattern = r"^[0-9a-f]{16}$"))]
    pub nonce: String,
    /// Whether somebody leads in it.
    pub phase: RegisterPhase,
    /// Who leads; only in the phase Stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<RegisterPrimary>,
    /// Who votes.
    pub members: RegisterMembers,
}

/// How far an epoch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RegisterPhase {
    /// A primary is being elected.
    Electing,
    /// There is a primary.
    Stable,
}

/// One run of the process on one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisterPrimary {
    /// The disk, a UUID.
    #[schemars(length(max = 36), regex(pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"))]
    pub disk_id: String,
    /// The run: 16 hexadecimal digits.
    #[schemars(length(max = 16), regex(pattern = r"^[0-9a-f]{16}$"))]
    pub incarnation: String,
}

/// The voters of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisterMembers {
    /// Counts up with every change of the members.
    #[schemars(length(max = 20), regex(pattern = r"^[0-9]{1,20}$"))]
    pub generation: String,
    /// Disks that vote, as UUIDs.
    #[schemars(length(min = 1, max = 16), inner(length(max = 36)))]
    pub voters: Vec<String>,
    /// Disks on which an op is durable before it is acknowledged.
    #[schemars(range(min = 1, max = 16))]
    pub write_quorum: u32,
}

/// What a replica says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardReplica {
    /// Its name, such as r0.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its disk, a UUID.
    #[schemars(length(max = 36), regex(pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"))]
    pub disk_id: String,
    /// Where the others reach it: HOST:PORT.
    #[schemars(length(min = 1, max = 320))]
    pub address: String,
    /// Whether its disk is blank: a shard is founded only where all are.
    pub blank: bool,
}
