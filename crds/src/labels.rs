//! Labels, annotations, and names that more than one program relies on.

/// Label: name of the VectorCollection object.
pub const COLLECTION: &str = "shoal.dev/collection";
/// Label: name of the Shard object.
pub const SHARD: &str = "shoal.dev/shard";
/// Label: number of a shard's replica.
pub const REPLICA: &str = "shoal.dev/replica";
/// Label on a pod and annotation on a claim, "true": it is of one of several replicas, which agree through a register.
pub const REPLICATED: &str = "shoal.dev/replicated";
/// Annotation on a claim, "true": its replica was taken out of the shard, so that nothing rests on this disk.
pub const LEFT: &str = "shoal.dev/left";
/// Annotation on a pod: hash of what its collection asks of it; a pod is replaced only when that changed.
pub const POD_INPUTS: &str = "shoal.dev/pod-inputs";
/// Annotation on a claim: the slots its shard holds.
pub const SLOTS: &str = "shoal.dev/slots";
/// Annotation on a claim: version of the routing table the slots are part of.
pub const ROUTING_GEN: &str = "shoal.dev/routing-gen";
/// Annotation on a claim: fingerprint of the collection's client-facing name and vectors.
pub const FINGERPRINT: &str = "shoal.dev/fingerprint";
/// Annotation a user sets to "true" to have the operator leave an object alone.
pub const PAUSED: &str = "shoal.dev/paused";
/// Annotation: hash of what the operator last applied, so that a steady state needs no writes.
pub const APPLIED_HASH: &str = "shoal.dev/applied-hash";
/// Label on a VectorCollection that `PUT /collections/x` made: `DELETE` may then remove it.
pub const MADE_BY_HTTP: &str = "shoal.dev/made-by-http";
/// Annotation on the Job that moves replicas: which it was made to move, as SHARD/REPLICA, separated by commas.
pub const MOVES: &str = "shoal.dev/moves";
/// Annotation on that Job: the nodes they are moved from, separated by commas.
pub const MOVED_FROM: &str = "shoal.dev/moved-from";
/// Finalizer of collections whose claims are deleted with them.
pub const FINALIZER: &str = "shoal.dev/claims";
/// Who manages our objects (`app.kubernetes.io/managed-by`), and the field manager of server-side apply.
pub const MANAGER: &str = "shoal-operator";

/// Name of the router's Deployment and Service in each namespace.
pub const ROUTER: &str = "shoal";
/// Secret with the key that HTTP clients send; created with a random key where there is none.
pub const API_KEY_SECRET: &str = "shoal-api-key";
/// Key inside that Secret.
pub const API_KEY: &str = "api-key";
/// Secret with the token that routers, shards and the operator show each other.
pub const INTERNAL_TOKEN_SECRET: &str = "shoal-internal";
/// Key inside that Secret.
pub const INTERNAL_TOKEN: &str = "token";

/// Port clients search on, on the router.
pub const HTTP_PORT: u16 = 6333;
/// Port shards answer routers on (gRPC).
pub const GRPC_PORT: u16 = 6335;
/// Port of health and metrics on every pod.
pub const ADMIN_PORT: u16 = 9090;
/// Where a shard pod's disk is mounted.
pub const DATA_DIR: &str = "/data";

/// Name of shard `index` of a collection.
pub fn shard_name(collection: &str, index: u32) -> String {
    format!("{collection}-{index}")
}

/// Name of the StatefulSet of a shard's replica `n`.
pub fn replica_name(shard: &str, n: u32) -> String {
    format!("{shard}-r{n}")
}

/// Name of a shard's replica `n` within the shard.
pub fn replica(n: u32) -> String {
    format!("r{n}")
}

/// The number in the name of a shard's replica.
pub fn replica_number(name: &str) -> Option<u32> {
    name.strip_prefix('r')?.parse().ok()
}

/// Name of the account, Role and binding of a shard's replicas.
pub fn shard_account(shard: &str) -> String {
    format!("shoal-shard-{shard}")
}

/// Name of the Job that moves a collection's replicas from lost nodes.
pub fn rebalance_job(collection: &str) -> String {
    format!("{collection}-rebalance")
}

/// Name of the account, Role and binding of that Job.
pub fn rebalance_account(collection: &str) -> String {
    format!("shoal-rebalance-{collection}")
}

/// Name of the headless Service that gives a collection's shard pods their names.
pub fn shards_service(collection: &str) -> String {
    format!("{collection}-shards")
}

/// DNS name of the pod of a shard's replica `n`, inside the cluster.
pub fn replica_host(collection: &str, shard: &str, n: u32, namespace: &str) -> String {
    format!("{}-0.{}.{namespace}.svc", replica_name(shard, n), shards_service(collection))
}
