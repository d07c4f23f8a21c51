//! What a user writes about copies of shards, and about losing one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::PATTERN;

/// How many copies there are of each shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    /// Copies of each shard: 1, 3 or 5. Default: 1. Of 3 one may be lost, of 5 two, without losing a write or the service.
    /// May change while it serves. From 1 to more the pod of each shard is restarted once, and nothing is read or written of it
    /// for as long as that takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: Option<u32>,
    /// When a write is answered. Default: Quorum. May change: shard pods are restarted, one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acks: Option<Acks>,
    /// Within what time every replica that serves is to show what was acknowledged, 500ms to 1h: a number with a unit. Default:
    /// 2s. Nothing waits for it: the condition `VisibleInTime` and metrics tell whether it holds. May change: where it is set or
    /// was, shard pods are restarted, one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = PATTERN))]
    pub visibility_sla: Option<String>,
}

/// When a write is answered. Default: Quorum. May change: shard pods are restarted, one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Acks {
    /// Once it is durable on so many copies that no failover loses it.
    #[default]
    Quorum,
    /// Once it is durable on the primary: faster, and a failover may lose the last writes that were answered.
    Primary,
}

/// What happens when a replica, or its node, is gone. Times are a number with a unit: ms, s, m or h.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// Within what time another replica takes writes after the primary is gone, 3s to 10m. Default: 5s. Less has a slow disk
    /// or a busy machine taken for a lost one more often. May change: shard pods are restarted, one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = PATTERN))]
    pub budget: Option<String>,
    /// How long a node may be not ready, or gone, before its replicas are moved to others, 1m to 24h. Default: 5m. A reboot that
    /// takes less moves nothing. A collection of one copy has nowhere to copy from: its shards wait for their node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = PATTERN))]
    pub node_loss_grace: Option<String>,
}
