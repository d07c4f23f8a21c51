//! Calls of routers to a shard, by method and outcome.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::latency;

/// Counts and times of calls to a shard.
pub struct RpcMetrics {
    requests: Family<OutcomeLabels, Counter>,
    seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    method: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MethodLabels {
    method: &'static str,
}

impl RpcMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register(
            "rpc_requests",
            "Calls to this shard by method and outcome",
            requests.clone(),
        );
        let seconds = Family::new_with_constructor(latency as fn() -> Histogram);
        registry.register(
            "rpc_request_seconds",
            "Time to answer calls to this shard",
            seconds.clone(),
        );
        Self { requests, seconds }
    }

    /// A call was answered.
    pub fn observe(&self, method: &'static str, outcome: &'static str, elapsed: Duration) {
        self.seconds.get_or_create(&MethodLabels { method }).observe(elapsed.as_secs_f64());
        self.requests.get_or_create(&OutcomeLabels { method, outcome }).inc();
    }
}
