//! What replicas send each other.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counts of messages between replicas.
pub struct ReplicaMetrics {
    dropped: Family<WhyLabels, Counter>,
    snapshot_bytes: Counter,
    compared: Family<ResultLabels, Counter>,
    differing: Gauge,
    repaired: Family<ChangeLabels, Counter>,
}

/// What came of comparing replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// All hold the same.
    Equal,
    /// All that answered do.
    Incomplete,
    /// Some differ from the primary, which a majority agrees with.
    Differ,
    /// The primary differs from a majority.
    PrimaryDiffers,
    /// They differ, and no majority agrees.
    Undecided,
    /// They could not be compared.
    Failed,
}

impl Compared {
    fn name(self) -> &'static str {
        match self {
            Compared::Equal => "equal",
            Compared::Incomplete => "incomplete",
            Compared::Differ => "differ",
            Compared::PrimaryDiffers => "primary_differs",
            Compared::Undecided => "undecided",
            Compared::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ChangeLabels {
    change: &'static str,
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
        let (compared, differing, repaired) = Default::default();
        registry.register(
            "replica_digest_checks",
            "Times that this replica, leading, compared the replicas' points, by what came of it",
            Family::clone(&compared),
        );
        registry.register(
            "replica_digest_differing_buckets",
            "On a primary: buckets of points in which replicas differed when they were compared last",
            Gauge::clone(&differing),
        );
        registry.register(
            "replica_repaired_points",
            "Points of this replica that were not those of the others and were mended, put or removed",
            Family::clone(&repaired),
        );
        Self { dropped, snapshot_bytes, compared, differing, repaired }
    }

    /// The replicas were compared; so many buckets differ.
    pub fn compared(&self, result: Compared, buckets: usize) {
        self.compared.get_or_create(&ResultLabels { result: result.name() }).inc();
        if result != Compared::Failed {
            self.differing(buckets);
        }
    }

    /// So many buckets are known to differ.
    pub fn differing(&self, buckets: usize) {
        self.differing.set(i64::try_from(buckets).unwrap_or(i64::MAX));
    }

    /// Points of this replica were mended.
    pub fn repaired(&self, put: usize, removed: usize) {
        for (change, points) in [("put", put), ("removed", removed)] {
            self.repaired.get_or_create(&ChangeLabels { change }).inc_by(points as u64);
        }
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
