//! What the operator counts about itself, as Prometheus reads it.
//!
//! Invariant: every write to the API server but the Lease's is counted here, so that "a steady state makes none" can be checked.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of a reconcile.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    result: &'static str,
}

/// Labels of a write.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WriteLabels {
    verb: &'static str,
    kind: String,
    result: &'static str,
}

/// Labels of a watch.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

/// The operator's metrics.
#[derive(Clone, Debug)]
pub struct Telemetry {
    reconciles: Family<ReconcileLabels, Counter>,
    durations: Histogram,
    writes: Family<WriteLabels, Counter>,
    watch_errors: Family<KindLabels, Counter>,
    leader: Gauge,
}

impl Telemetry {
    /// Metrics, registered.
    pub fn new(registry: &mut Registry) -> Self {
        let telemetry = Self {
            reconciles: Family::default(),
            // 1 ms to 16 s: a reconcile is milliseconds unless it writes a lot.
            durations: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            writes: Family::default(),
            watch_errors: Family::default(),
            leader: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("shoal_operator");
        registry.register(
            "reconciles",
            "Reconciles by controller and result",
            telemetry.reconciles.clone(),
        );
        registry.register(
            "reconcile_duration_seconds",
            "Time a reconcile took",
            telemetry.durations.clone(),
        );
        registry.register(
            "api_writes",
            "Writes to the API server by verb, kind, result",
            telemetry.writes.clone(),
        );
        registry.register(
            "watch_errors",
            "Failures of watches, by kind",
            telemetry.watch_errors.clone(),
        );
        registry.register(
            "leader",
            "Whether this process is the one that acts",
            telemetry.leader.clone(),
        );
        telemetry
    }

    /// Counts a reconcile.
    pub fn reconciled(&self, controller: &'static str, result: &'static str, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { controller, result }).inc();
        self.durations.observe(took.as_secs_f64());
    }

    /// Counts a write to the API server.
    pub fn wrote(&self, verb: &'static str, kind: &str, result: &'static str) {
        self.writes.get_or_create(&WriteLabels { verb, kind: kind.to_owned(), result }).inc();
    }

    /// Counts a failure of a watch.
    pub fn watch_failed(&self, kind: &str) {
        self.watch_errors.get_or_create(&KindLabels { kind: kind.to_owned() }).inc();
    }

    /// Whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_printed_under_the_operators_names() {
        let mut registry = Registry::default();
        let telemetry = Telemetry::new(&mut registry);
        telemetry.reconciled("collection", "done", Duration::from_millis(3));
        telemetry.wrote("patch", "Service", "ok");
        telemetry.watch_failed("Pod");
        telemetry.leads(true);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        for line in [
            "shoal_operator_reconciles_total{controller=\"collection\",result=\"done\"} 1",
            "shoal_operator_api_writes_total{verb=\"patch\",kind=\"Service\",result=\"ok\"} 1",
            "shoal_operator_watch_errors_total{kind=\"Pod\"} 1",
            "shoal_operator_leader 1",
            "shoal_operator_reconcile_duration_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }
}
