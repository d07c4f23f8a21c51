//! Condition types and reasons, as constants: scripts and alerts match on them, so they never change silently.
//!
//! Each has its meaning beside it once, as the constant's documentation and in the table `docs/api.md` prints.

/// Makes constants, and a table of their values and meanings.
macro_rules! told {
    ($table:ident, $about:literal; $($name:ident = $value:literal: $meaning:literal;)+) => {
        $(#[doc = $meaning] pub const $name: &str = $value;)+
        #[doc = $about]
        pub const $table: &[(&str, &str)] = &[$(($name, $meaning),)+];
    };
}

told! { TYPES, "Every condition type, with its meaning.";
    READY = "Ready": "The object serves as its spec asks.";
    RECONCILING = "Reconciling": "Present and true while the operator works towards the spec (kstatus: InProgress).";
    STALLED = "Stalled": "Present and true while only a person can help (kstatus: Failed).";
    VISIBLE_IN_TIME = "VisibleInTime":
        "Every replica that serves shows what was acknowledged within `replication.visibilitySla`. Absent where there was never \
         more than one copy.";
}

/// Reasons, the machine-readable half of a condition.
pub mod reason {
    told! { ALL, "Every reason, with its meaning.";
        AVAILABLE = "Available": "Everything the spec asks for is there and serves.";
        SHARDS_STARTING = "ShardsStarting": "Shards are being created or started.";
        SHARDS_UNAVAILABLE = "ShardsUnavailable": "Some shards do not serve although they did before.";
        ROUTER_STARTING = "RouterStarting": "The router does not serve yet.";
        PAUSED = "Paused": "Reconciling is paused by annotation.";
        INVALID_SPEC = "InvalidSpec": "The spec asks for something that cannot work; the message says what to change.";
        REPLICAS_UNAVAILABLE = "ReplicasUnavailable":
            "Every shard serves, and some of their replicas do not.";
        ELECTING = "Electing": "Nobody leads the shard: one of its replicas is being elected.";
        NO_QUORUM = "NoQuorum":
            "Too few of a shard's replicas are there for one to lead: writes wait, and nothing is moved or replaced.";
        REPLICA_QUARANTINED = "ReplicaQuarantined":
            "The disk of a replica contradicts what was committed; the others serve.";
        REPLICA_JOINING = "ReplicaJoining": "A replica gets what the others have, and votes once it has it.";
        REPLICA_BEHIND = "ReplicaBehind": "A replica lacks ops that the others have.";
        REPLICA_LEAVING = "ReplicaLeaving": "A replica that is no longer asked for goes once it does not vote.";
        ROLLING = "Rolling": "Pods are replaced, one at a time, so that changes reach them.";
        MOVING_REPLICAS = "MovingReplicas":
            "Replicas are moved from nodes that were away for longer than `failover.nodeLossGrace`.";
        REBALANCE_FAILED = "RebalanceFailed":
            "The Job that moves replicas from lost nodes gave up; it is made anew after a while.";
        RESHARDING_UNSUPPORTED = "ReshardingUnsupported":
            "`initialShards` was changed, and splitting is not built yet.";
        NAME_CONFLICT = "NameConflict":
            "Another, older collection of the namespace has the same client-facing name.";
        DISK_CONFLICT = "DiskConflict": "A disk of this name belongs to another collection or other vectors.";
        OBJECT_CONFLICT = "ObjectConflict": "An object of a name we need exists and is not ours.";
        APPLY_FAILED = "ApplyFailed": "The API server refused an object we built.";
        STORAGE_UNCHANGEABLE = "StorageUnchangeable": "The storage cannot be changed the way the spec asks.";
        IN_TIME = "InTime": "Every replica that serves shows what was acknowledged in time.";
        LATE = "Late": "A replica shows what was acknowledged later than it is to.";
        NOT_KNOWN = "NotKnown": "A replica did not tell yet whether it does.";
        DELETING = "Deleting": "The object is being deleted.";
    }
}
