//! Metrics, in the text form Prometheus reads. All names begin with `shoal_`.
//!
//! Labels have few values: routes as patterns, kinds of ops, names of shards; never ids or what a client typed.

mod http;
mod replica;
mod replicas;
mod rpc;
mod shards;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use shoal_vector::Op;

use crate::clock;
use crate::local_shard::LocalShard;
use crate::replica::ReplicaStatus;
pub use http::HttpMetrics;
pub use replica::{Compared, Dropped, ReplicaMetrics};
pub use rpc::RpcMetrics;

/// Every metric of this process.
pub struct Telemetry {
    registry: Registry,
    /// Requests of clients.
    pub http: HttpMetrics,
    /// Calls of routers to this shard.
    pub rpc: RpcMetrics,
    /// What replicas send each other.
    pub replica: ReplicaMetrics,
    writes: Family<OpLabels, Counter>,
    write_seconds: Histogram,
    search_seconds: Histogram,
    partial: Counter,
    shards: Arc<Mutex<Vec<shards::Source>>>,
    replicas: Arc<Mutex<Vec<replicas::Source>>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OpLabels {
    op: &'static str,
}

/// Bounds of latencies in seconds: a walk takes tens of microseconds, an fsync milliseconds, a deadline a minute.
pub(crate) fn latency() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
        2.5, 5.0, 10.0, 60.0,
    ])
}

impl Telemetry {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("shoal");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The version that runs", Info::new(version));
        let writes = Family::default();
        registry.register("writes", "Ops that were asked for, by kind", writes.clone());
        let write_seconds = latency();
        registry.register(
            "write_seconds",
            "Time from op to ack over all its shards",
            write_seconds.clone(),
        );
        let search_seconds = latency();
        registry.register(
            "search_seconds",
            "Time of searches over all shards",
            search_seconds.clone(),
        );
        let partial = Counter::default();
        registry.register(
            "partial_answers",
            "Searches answered without some shard",
            partial.clone(),
        );
        let shards = Arc::new(Mutex::new(Vec::new()));
        registry.register_collector(Box::new(shards::ShardCollector::new(shards.clone())));
        let replicas = Arc::new(Mutex::new(Vec::new()));
        registry.register_collector(Box::new(replicas::ReplicaCollector(replicas.clone())));
        let (http, rpc) =
            (HttpMetrics::register(&mut registry), RpcMetrics::register(&mut registry));
        let replica = ReplicaMetrics::register(&mut registry);
        Self {
            http,
            rpc,
            replica,
            writes,
            write_seconds,
            search_seconds,
            partial,
            shards,
            replicas,
            registry,
        }
    }

    /// Shows a shard's figures from now on.
    pub fn watch_shard(&self, collection: &str, shard: &LocalShard) {
        self.sources().push(shards::Source::new(collection, shard));
    }

    /// Shows from now on what a replica is.
    pub fn watch_replica(
        &self,
        collection: &str,
        shard: &str,
        status: tokio::sync::watch::Receiver<ReplicaStatus>,
    ) {
        let source = replicas::Source::new(collection, shard, status);
        self.replicas.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(source);
    }

    /// Shows a shard's figures no longer, and lets go of it.
    pub fn forget_shard(&self, shard: &str) {
        self.sources().retain(|source| source.shard() != shard);
    }

    /// What Prometheus reads.
    pub fn render(&self) -> String {
        let mut out = String::new();
        if let Err(error) = text::encode(&mut out, &self.registry) {
            tracing::error!(%error, "metrics cannot be written");
        }
        out
    }

    /// An op was asked for; say [`WriteTimer::done`] when it is acked.
    pub(crate) fn write_started(&self, op: &Op) -> WriteTimer<'_> {
        let op = match op {
            Op::Upsert(_) | Op::UpsertWithSparse(_) => "upsert",
            Op::Delete(_) => "delete",
            Op::SetPayload { .. } => "set_payload",
            Op::OverwritePayload { .. } => "overwrite_payload",
            Op::DeletePayload { .. } => "delete_payload",
            Op::ClearPayload(_) => "clear_payload",
            Op::UpdateVectors(_) => "update_vectors",
            Op::DeleteVectors { .. } => "delete_vectors",
        };
        self.writes.get_or_create(&OpLabels { op }).inc();
        WriteTimer { telemetry: self, start: clock::now() }
    }

    /// A search was asked for; say [`SearchTimer::done`] when it is answered.
    pub(crate) fn search_started(&self) -> SearchTimer<'_> {
        SearchTimer { telemetry: self, start: clock::now() }
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, Vec<shards::Source>> {
        // A list of handles is whole at any time, so a panic elsewhere does not spoil it.
        self.shards.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

/// Measures a write.
pub(crate) struct WriteTimer<'a> {
    telemetry: &'a Telemetry,
    start: Instant,
}

impl WriteTimer<'_> {
    pub(crate) fn done(self) {
        self.telemetry.write_seconds.observe(self.start.elapsed().as_secs_f64());
    }
}

/// Measures a search.
pub(crate) struct SearchTimer<'a> {
    telemetry: &'a Telemetry,
    start: Instant,
}

impl SearchTimer<'_> {
    pub(crate) fn done(self, partial: bool) {
        self.telemetry.search_seconds.observe(self.start.elapsed().as_secs_f64());
        if partial {
            self.telemetry.partial.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_happened_is_rendered_under_our_prefix() {
        let telemetry = Telemetry::new();
        telemetry.http.observe("PUT", "/collections/{name}/points", 200, Duration::from_millis(3));
        telemetry.rpc.observe("search", "ok", Duration::from_millis(1));
        telemetry.write_started(&Op::Upsert(vec![])).done();
        telemetry.search_started().done(true);
        let text = telemetry.render();
        for line in [
            r#"shoal_http_requests_total{method="PUT",route="/collections/{name}/points",status="200"} 1"#,
            r#"shoal_rpc_requests_total{method="search",outcome="ok"} 1"#,
            r#"shoal_writes_total{op="upsert"} 1"#,
            "shoal_write_seconds_count 1",
            "shoal_search_seconds_count 1",
            "shoal_partial_answers_total 1",
            "shoal_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
