//! Figures of the shards in this process, read when someone asks, so that they cost nothing in between.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use shoal_shard::api::ShardInfo;

use crate::local_shard::LocalShard;

/// A shard whose figures are shown.
#[derive(Clone, Debug)]
pub(super) struct Source {
    labels: Labels,
    shard: LocalShard,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    collection: String,
    shard: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WayLabels {
    collection: String,
    shard: String,
    way: &'static str,
}

impl Source {
    pub(super) fn new(collection: &str, shard: &LocalShard) -> Self {
        let labels = Labels { collection: collection.to_owned(), shard: shard.name().to_owned() };
        Self { labels, shard: shard.clone() }
    }

    pub(super) fn shard(&self) -> &str {
        &self.labels.shard
    }
}

/// Reads the figures of all shards.
pub(super) struct ShardCollector(Arc<Mutex<Vec<Source>>>);

impl ShardCollector {
    pub(super) fn new(sources: Arc<Mutex<Vec<Source>>>) -> Self {
        Self(sources)
    }
}

impl fmt::Debug for ShardCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShardCollector")
    }
}

/// Name, help and value of one figure.
type Figure = (&'static str, &'static str, fn(&ShardInfo) -> u64);

const FIGURES: &[Figure] = &[
    ("shard_points", "Points of the shard", |i| i.points),
    ("shard_indexed_points", "Points in a graph", |i| i.indexed_points),
    ("shard_segments", "Immutable segments", |i| i.segments),
    ("shard_disk_bytes", "Bytes of the shard's files", |i| i.disk_bytes),
    ("shard_last_seq", "Last op in the log", |i| i.last_seq),
    ("shard_durable_seq", "Last op fsynced", |i| i.durable_seq),
    ("shard_applied_seq", "Last op readers see", |i| i.applied_seq),
    ("shard_flushed_seq", "Last op whose effect is in segments", |i| i.flushed_seq),
    ("shard_indexes_pending", "Payload indexes of a segment that are not ready yet", |i| {
        i.filters.pending
    }),
    ("shard_indexes_left_out", "Payload indexes of a segment that there is no room for", |i| {
        i.filters.left_out
    }),
    ("shard_index_bytes", "Bytes of payload indexes in memory", |i| i.filters.bytes),
];

/// Label of a way in which filtered searches are answered, and how often it was taken.
type Way = (&'static str, fn(&ShardInfo) -> u64);

const WAYS: [Way; 3] = [
    ("scan", |i| i.filters.counts.scans),
    ("walk", |i| i.filters.counts.walks),
    ("payloads", |i| i.filters.counts.payloads),
];

impl Collector for ShardCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if sources.is_empty() {
            return Ok(());
        }
        let infos: Vec<(&Labels, ShardInfo)> = sources
            .iter()
            .filter_map(|s| Some((&s.labels, s.shard.shard().ok()?.info().ok()?)))
            .collect();
        for (name, help, value) in FIGURES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, info) in &infos {
                let gauge = ConstGauge::<u64>::new(value(info));
                gauge.encode(metric.encode_family(*labels)?)?;
            }
        }
        let help = "Segments and parts in memory that filtered searches looked at, by how: all that an index says match, a \
                    walk among those, or payloads";
        let mut ways =
            encoder.encode_descriptor("shard_filtered", help, None, MetricType::Counter)?;
        for (labels, info) in &infos {
            for (way, count) in WAYS {
                let labels = WayLabels {
                    collection: labels.collection.clone(),
                    shard: labels.shard.clone(),
                    way,
                };
                ConstCounter::new(count(info)).encode(ways.encode_family(&labels)?)?;
            }
        }
        let help = "Time of the log's fsyncs";
        let mut syncs =
            encoder.encode_descriptor("shard_fsync_seconds", help, None, MetricType::Histogram)?;
        for source in &sources {
            let Ok(shard) = source.shard.shard() else { continue };
            let times = shard.sync_times();
            let bucket = |(bound, count): &(Duration, u64)| (bound.as_secs_f64(), *count);
            let mut buckets: Vec<(f64, u64)> = times.at_most.iter().map(bucket).collect();
            let within: u64 = times.at_most.iter().map(|(_, count)| count).sum();
            buckets.push((f64::INFINITY, times.count.saturating_sub(within)));
            let mut metric = syncs.encode_family(&source.labels)?;
            metric.encode_histogram::<[(&str, &str); 0]>(
                times.total.as_secs_f64(),
                times.count,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}
