//! What replicas send each other.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counts of messages between replicas.
pub struct ReplicaMetrics {
    dropped: Family<WhyLabels, Counter>,
    snapshot_bytes: Counter,
}

/// Why a message was not sent or not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Too much waits for its receiver.
    Full,
    /// Nobody said where its receiver is.
    NoAddress,
    /// The connection to its receiver failed.
    Disconnected,
    /// It was for another disk.
    Misaddressed,
    /// It could not be read.
    Unreadable,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WhyLabels {
    why: &'static str,
}

impl ReplicaMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let dropped = Family::default();
        registry.register(
            "replica_messages_dropped",
            "Messages between replicas that were lost, by cause; they are sent again",
            dropped.clone(),
        );
        let snapshot_bytes = Counter::default();
        registry.register(
            "replica_snapshot_bytes",
            "Bytes of snapshots sent to other replicas",
            snapshot_bytes.clone(),
        );
        Self { dropped, snapshot_bytes }
    }

    /// A message was lost.
    pub fn dropped(&self, why: Dropped) {
        self.counter(why).inc();
    }

    /// Messages that were lost for a cause.
    pub fn dropped_for(&self, why: Dropped) -> u64 {
        self.counter(why).get()
    }

    /// A part of a snapshot was sent.
    pub fn sent_snapshot(&self, bytes: usize) {
        self.snapshot_bytes.inc_by(bytes as u64);
    }

    fn counter(&self, why: Dropped) -> Counter {
        let why = match why {
            Dropped::Full => "full",
            Dropped::NoAddress => "no_address",
            Dropped::Disconnected => "disconnected",
            Dropped::Misaddressed => "misaddressed",
            Dropped::Unreadable => "unreadable",
        };
        self.dropped.get_or_create(&WhyLabels { why }).clone()
    }
}
