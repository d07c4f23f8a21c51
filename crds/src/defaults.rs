//! What absent fields mean. The descriptions in the schema tell the same; a test holds them together.

use crate::collection::{
    Acks, Datatype, DeletionPolicy, Quantization, VectorCollection, VectorSpec,
};
use crate::reads::PartialAnswers;

/// Default of `sharding.initialShards`.
pub const INITIAL_SHARDS: u32 = 1;
/// Default of `replication.replicas`.
pub const REPLICAS: u32 = 1;
/// Default of `failover.budget`.
pub const FAILOVER_BUDGET: &str = "5s";
/// Default of `failover.nodeLossGrace`.
pub const NODE_LOSS_GRACE: &str = "5m";
/// `replication.visibilitySla`.
pub const VISIBILITY_SLA: &str = "2s";
/// Default of `reads.maxStaleness`.
pub const MAX_STALENESS: &str = "10s";
/// Default of `storage.size`.
pub const STORAGE_SIZE: &str = "10Gi";
/// Default of `vectors[].index.efConstruct`.
pub const EF_CONSTRUCT: u32 = 100;
/// Default of `vectors[].index.ef`.
pub const EF: u32 = 64;
/// Default of `router.minReplicas`.
pub const ROUTER_MIN_REPLICAS: u32 = 2;

impl VectorCollection {
    /// The name clients use: `spec.name`, else the object's.
    pub fn client_name(&self) -> &str {
        self.spec.name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }

    /// `sharding.initialShards`, or its default.
    pub fn initial_shards(&self) -> u32 {
        self.spec.sharding.as_ref().and_then(|s| s.initial_shards).unwrap_or(INITIAL_SHARDS)
    }

    /// `replication.replicas`, or its default.
    pub fn replicas(&self) -> u32 {
        self.spec.replication.as_ref().and_then(|r| r.replicas).unwrap_or(REPLICAS)
    }

    /// `replication.acks`, or its default.
    pub fn acks(&self) -> Acks {
        self.spec.replication.as_ref().and_then(|r| r.acks).unwrap_or_default()
    }

    /// `failover.budget`, or its default.
    pub fn failover_budget(&self) -> &str {
        let given = self.spec.failover.as_ref().and_then(|f| f.budget.as_deref());
        given.unwrap_or(FAILOVER_BUDGET)
    }

    /// `failover.nodeLossGrace`, or its default.
    pub fn node_loss_grace(&self) -> &str {
        let given = self.spec.failover.as_ref().and_then(|f| f.node_loss_grace.as_deref());
        given.unwrap_or(NODE_LOSS_GRACE)
    }

    /// `reads.partialAnswers`, or its default.
    pub fn partial_answers(&self) -> PartialAnswers {
        self.spec.reads.as_ref().and_then(|r| r.partial_answers).unwrap_or_default()
    }

    /// `reads.maxStaleness`, or its default.
    pub fn max_staleness(&self) -> &str {
        self.spec.reads.as_ref().and_then(|r| r.max_staleness.as_deref()).unwrap_or(MAX_STALENESS)
    }

    /// `replication.visibilitySla`, or its default.
    pub fn visibility_sla(&self) -> &str {
        let given = self.spec.replication.as_ref().and_then(|r| r.visibility_sla.as_deref());
        given.unwrap_or(VISIBILITY_SLA)
    }

    /// `deletionPolicy`, or its default.
    pub fn deletion_policy(&self) -> DeletionPolicy {
        self.spec.deletion_policy.unwrap_or_default()
    }
}

impl VectorSpec {
    /// `index.efConstruct`, or its default.
    pub fn ef_construct(&self) -> u32 {
        self.index.as_ref().and_then(|i| i.ef_construct).unwrap_or(EF_CONSTRUCT)
    }

    /// `index.ef`, or its default.
    pub fn ef(&self) -> u32 {
        self.index.as_ref().and_then(|i| i.ef).unwrap_or(EF)
    }

    /// `datatype`, or its default.
    pub fn datatype(&self) -> Datatype {
        self.datatype.unwrap_or_default()
    }

    /// `quantization`, or its default.
    pub fn quantization(&self) -> Quantization {
        self.quantization.unwrap_or_default()
    }
}
