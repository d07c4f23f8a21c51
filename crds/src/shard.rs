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
    printcolumn(name = "Pod", type_ = "string", json_path = ".status.pod"),
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
    /// The pod that serves the shard.
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
}
