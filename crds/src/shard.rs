//! `Shard`: a slice of a collection's points. The operator writes it; a person reads it.

#![expect(clippy::duplicated_attributes, reason = "printer columns of one type are no duplicates")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
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
        name = "Failover",
        type_ = "date",
        json_path = ".status.lastFailover.promoted",
        description = "How long ago another replica came to lead.",
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
    /// Whether a shard of one copy agrees with itself through a register, as those of several do: it had several once, and its
    /// disk knows of them. Never taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replicated: bool,
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

impl ShardSpec {
    /// Whether its replicas agree through a register: where there are several, or were once. Else it is alone.
    pub fn is_replicated(&self) -> bool {
        self.replicas > 1 || self.replicated
    }
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
    /// The replicas, as the operator sees them; of a shard that never had more than one copy none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub replica_states: Vec<ReplicaState>,
    /// The last time that another replica came to lead, or the same one anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failover: Option<LastFailover>,
}

/// A replica, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaState {
    /// Its name, such as r0.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What it is to its shard.
    pub role: ReplicaRole,
    /// Whether its pod is ready.
    pub ready: bool,
    /// Whether it has what the others have. Absent where nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogState>,
    /// Committed ops that it is not known to have, rounded to two digits, as of at most a minute ago; fewer than a thousand,
    /// which are always on their way, are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_ops: Option<i64>,
    /// The node its pod runs on, or ran on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
    /// Since when that node is not ready, or gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_lost_since: Option<Time>,
    /// True once that lasts longer than `failover.nodeLossGrace` and the others are enough to go on: another replica takes its
    /// place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moving: bool,
}

/// What a replica is to its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReplicaRole {
    /// It leads: it takes writes.
    Primary,
    /// It votes, and has what the primary has, or is getting it.
    Follower,
    /// It votes, and nobody leads: one of them is being elected.
    Electing,
    /// It gets what the others have, and does not vote yet.
    Learner,
    /// It is no longer asked for, and goes once it does not vote.
    Leaving,
    /// Its disk contradicts what was committed: it serves nothing until a person looked at it.
    Quarantined,
    /// It was not heard of yet.
    Starting,
}

/// Whether a replica has what the others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogState {
    /// It has, but for what is on its way.
    CaughtUp,
    /// It has not.
    Behind,
    /// What it needs is gone from the others' logs: it fetches a snapshot.
    Resyncing,
}

/// How a replica came to lead in the place of another, or of an earlier run of itself, as it tells itself. By its own clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastFailover {
    /// The shard; only in the status of a collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub shard: Option<String>,
    /// The epoch that it leads.
    #[schemars(length(max = 20), regex(pattern = r"^[0-9]{1,20}$"))]
    pub epoch: String,
    /// Who led before: the replica's name, or its disk where no replica is on it any more.
    #[schemars(length(max = 63))]
    pub from: String,
    /// Who leads now.
    #[schemars(length(max = 63))]
    pub to: String,
    /// Why.
    pub reason: FailoverReason,
    /// When the former primary was missed, or asked to be succeeded.
    pub detected: Time,
    /// When the new one's first entry was committed: from then on it takes writes.
    pub promoted: Time,
    /// Milliseconds from the last sign of life of the former primary until then. Absent where the new one, which had just
    /// started, heard none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub duration_ms: Option<i64>,
    /// Acknowledged ops that were lost: 0 with `acks: Quorum`. With `acks: Primary` the former primary tells, once it is back and
    /// follows, how many ops that no other replica took were cut off its log; absent until then, and for ever if its disk is lost.
    /// That is an upper bound: some of them may never have been answered. They are kept on that disk, in files `wal/*.aside`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub lost_ops: Option<i64>,
}

/// Why another replica came to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailoverReason {
    /// The former primary was no longer heard of.
    PrimaryLost,
    /// It had another succeed it, as it does before it stops.
    Switchover,
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
