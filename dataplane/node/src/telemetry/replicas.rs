//! What the replicas in this process are, read when someone asks.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use shoal_consensus::Role;
use tokio::sync::watch;

use crate::clock;
use crate::replica::ReplicaStatus;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    collection: String,
    shard: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RoleLabels {
    collection: String,
    shard: String,
    role: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OtherLabels {
    collection: String,
    shard: String,
    disk: String,
}

/// A replica whose figures are shown.
#[derive(Clone, Debug)]
pub(super) struct Source {
    labels: Labels,
    status: watch::Receiver<ReplicaStatus>,
}

impl Source {
    pub(super) fn new(
        collection: &str,
        shard: &str,
        status: watch::Receiver<ReplicaStatus>,
    ) -> Self {
        let labels = Labels { collection: collection.to_owned(), shard: shard.to_owned() };
        Self { labels, status }
    }
}

/// Reads the figures of all replicas.
pub(super) struct ReplicaCollector(pub(super) Arc<Mutex<Vec<Source>>>);

impl fmt::Debug for ReplicaCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplicaCollector")
    }
}

const ROLES: [(Role, &str); 6] = [
    (Role::Learner, "learner"),
    (Role::Follower, "follower"),
    (Role::Electing, "electing"),
    (Role::Primary, "primary"),
    (Role::Fenced, "fenced"),
    (Role::Quarantined, "quarantined"),
];

/// Name, help and value of one figure.
type Figure = (&'static str, &'static str, fn(&ReplicaStatus) -> f64);

const FIGURES: &[Figure] = &[
    ("replica_commit_seq", "Last op that is committed, as far as this replica knows", |s| {
        s.commit as f64
    }),
    ("replica_epoch", "Epoch that this replica leads; 0 if it leads none", |s| {
        s.leads.map_or(0.0, |epoch| epoch.number as f64)
    }),
    ("replica_lag_seconds", "Since when this replica may not show all that is committed", |s| {
        clock::now().saturating_duration_since(s.fresh).as_secs_f64()
    }),
    ("replica_short", "1 while too few members answer for a primary to be elected", |s| {
        f64::from(u8::from(s.short))
    }),
];

impl Collector for ReplicaCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if sources.is_empty() {
            return Ok(());
        }
        let all: Vec<(&Labels, ReplicaStatus)> =
            sources.iter().map(|s| (&s.labels, s.status.borrow().clone())).collect();
        for (name, help, value) in FIGURES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, status) in &all {
                let gauge = ConstGauge::<f64>::new(value(status));
                gauge.encode(metric.encode_family(*labels)?)?;
            }
        }
        let help = "Seconds in which this replica did not show within the visibility SLA what was acknowledged";
        let name = "replica_visibility_late_seconds";
        let mut late = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, status) in &all {
            let counter = ConstCounter::<f64>::new(status.late.as_secs_f64());
            counter.encode(late.encode_family(*labels)?)?;
        }
        let help = "Ops that were cut off this replica's log, as a later primary does not have them, and kept aside; some of them may \
                    have been acknowledged if this one led with acks: Primary";
        let mut cut =
            encoder.encode_descriptor("replica_cut_ops", help, None, MetricType::Counter)?;
        for (labels, status) in &all {
            let counter = ConstCounter::<u64>::new(status.cut_ops);
            counter.encode(cut.encode_family(*labels)?)?;
        }
        let help = "1 for what a replica is to its shard";
        let mut roles = encoder.encode_descriptor("replica_role", help, None, MetricType::Gauge)?;
        for (labels, status) in &all {
            for (role, name) in ROLES {
                let labels = RoleLabels {
                    collection: labels.collection.clone(),
                    shard: labels.shard.clone(),
                    role: name,
                };
                let is = u64::from(status.role == role);
                ConstGauge::<u64>::new(is).encode(roles.encode_family(&labels)?)?;
            }
        }
        let help = "On a primary: committed ops that another replica is not known to have";
        let mut behind =
            encoder.encode_descriptor("replica_behind_ops", help, None, MetricType::Gauge)?;
        for (labels, status) in &all {
            for (disk, ops) in &status.behind {
                let labels = OtherLabels {
                    collection: labels.collection.clone(),
                    shard: labels.shard.clone(),
                    disk: uuid::Uuid::from_u128(disk.0).to_string(),
                };
                ConstGauge::<u64>::new(*ops).encode(behind.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
