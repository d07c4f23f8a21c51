//! What a shard is asked and what it answers. The same types serve a caller in the process and, over gRPC, a router.

use serde_json::Value;
use shoal_vector::payload::PayloadIndex;
use shoal_vector::{
    Filter, Hit, Metric, Payload, PointId, Quantization, SparseVector, SparseVectorConfig,
    VectorConfig,
};

use crate::limits::MAX_ANSWER_BYTES;

/// Who a shard is. Written to its disk at creation; a disk of another shard or other vectors is refused.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// The collection's client-facing name.
    pub collection: String,
    /// The shard's name, unique in its namespace or data folder.
    pub shard: String,
    /// The vectors of its points. Their order says nothing: a disk keeps the one it was set up with.
    pub vectors: Vec<VectorConfig>,
    /// The sparse vectors of its points, in any order too.
    pub sparse: Vec<SparseVectorConfig>,
}

/// Tuning of a vector's graphs, which may change from one start to the next. It says how graphs are made from then on; those
/// that there are stay what they are.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Candidates considered for each point while a segment is built.
    pub ef_construct: usize,
    /// Candidates kept by a search that names no ef.
    pub ef: usize,
    /// By what graphs are walked.
    pub quantization: Quantization,
}

/// The tuning of each vector.
#[derive(Clone, Debug)]
pub struct Tunings {
    /// Of those that have none of their own.
    pub default: Tuning,
    /// Tunings by name of the vector.
    pub named: Vec<(String, Tuning)>,
}

impl Tunings {
    /// The tuning of the vector of a name.
    pub fn of(&self, name: &str) -> Tuning {
        let own = self.named.iter().find(|(named, _)| named == name);
        own.map_or(self.default, |(_, tuning)| *tuning)
    }
}

impl From<Tuning> for Tunings {
    fn from(default: Tuning) -> Self {
        Self { default, named: Vec::new() }
    }
}

/// Which parts of points a reader wants back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Want {
    /// The payload, and which of it.
    pub payload: WantPayload,
    /// Vectors, and which.
    pub vectors: WantVectors,
}

/// Which vectors a reader wants back, of those a point has.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WantVectors {
    /// None.
    #[default]
    No,
    /// All.
    All,
    /// Those of these names.
    Named(Vec<String>),
}

/// Which part of a payload a reader wants back.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WantPayload {
    /// None of it.
    #[default]
    No,
    /// All of it.
    All,
    /// These key paths.
    Include(Vec<String>),
    /// All but these key paths.
    Exclude(Vec<String>),
}

/// A search for the points nearest to a vector.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// Name of the vector to compare with; points that lack it are not found.
    pub using: String,
    /// The vector; its length is that of the named one and its values are finite. Need not be normalised.
    pub vector: Vec<f32>,
    /// The vector where the named one is sparse; `vector` is empty then. Such a search is always exact.
    pub sparse: Option<SparseVector>,
    /// Only points that match.
    pub filter: Option<Filter>,
    /// How many to return.
    pub k: usize,
    /// Candidates to keep during the walk; `None` for the collection's default.
    pub ef: Option<usize>,
    /// Scan instead of walking the graph.
    pub exact: bool,
    /// How far to rely on codes while walking.
    pub quantization: QuantizationParams,
    /// Leave out points that are not scored better than this.
    pub score_threshold: Option<f32>,
    /// What to return of each point.
    pub want: Want,
}

/// How far a search relies on codes, where graphs are walked by some. Scores are exact in every case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantizationParams {
    /// Walk by the vectors themselves.
    pub ignore: bool,
    /// Compare more than the `k` best by code exactly: those that may in truth be nearer. Without it the codes decide which
    /// `k` are returned of each segment, and not in which order.
    pub rescore: bool,
    /// As many times `k` candidates are kept and compared exactly, at least; 1 or more.
    pub oversampling: f32,
}

impl Default for QuantizationParams {
    fn default() -> Self {
        Self { ignore: false, rescore: true, oversampling: 1.0 }
    }
}

impl QuantizationParams {
    /// Candidates to keep for `k` points, at least.
    pub fn candidates(&self, k: usize) -> usize {
        // Saturates, and makes nothing of NaN.
        k.max((k as f64 * f64::from(self.oversampling)).ceil() as usize)
    }
}

/// A point found, with what was wanted of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundPoint {
    /// Id, score and seq.
    pub hit: Hit,
    /// What was wanted of the point.
    pub parts: Parts,
}

/// A point read, with what was wanted of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The point.
    pub id: PointId,
    /// What was wanted of it.
    pub parts: Parts,
}

/// What was wanted of a point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// The payload; `None` when not wanted, an empty object when the point has none.
    pub payload: Option<Payload>,
    /// Vectors by name, those that the point has of the wanted ones; `None` when not wanted.
    pub vectors: Option<Vec<(String, Vec<f32>)>>,
    /// Sparse vectors by name, likewise; empty where vectors are not wanted.
    pub sparse: Vec<(String, SparseVector)>,
}

impl Parts {
    /// About as many bytes as the point takes on its way: the payload's text, four for each number of a vector, and its id
    /// and score.
    pub fn bytes(&self) -> usize {
        let vectors = self.vectors.iter().flatten();
        let vectors = vectors.map(|(name, vector)| name.len() + size_of_val(vector.as_slice()));
        let sparse = self.sparse.iter().map(|(name, vector)| name.len() + vector.bytes());
        let vectors = vectors.sum::<usize>() + sparse.sum::<usize>();
        32 + self.payload.as_ref().map_or(0, payload_bytes) + vectors
    }
}

fn payload_bytes(payload: &Payload) -> usize {
    2 + payload.iter().map(|(key, value)| key.len() + 4 + value_bytes(value)).sum::<usize>()
}

/// serde_json read it, so it has at most 128 levels.
fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(list) => 2 + list.iter().map(|value| 1 + value_bytes(value)).sum::<usize>(),
        Value::Object(map) => payload_bytes(map),
    }
}

/// What a reader is told whose answer would be longer than [`MAX_ANSWER_BYTES`].
pub fn answer_too_long() -> ShardError {
    ShardError::Invalid(format!(
        "limit: the answer would have more than {MAX_ANSWER_BYTES} bytes of payloads and vectors; ask for fewer points \
         at once, or for less of each"
    ))
}

/// A page of points in id order.
#[derive(Clone, Debug)]
pub struct ScrollRequest {
    /// Only points that match.
    pub filter: Option<Filter>,
    /// First id of the page; `None` for the beginning.
    pub from: Option<PointId>,
    /// Greatest number of points.
    pub limit: usize,
    /// What to return of each point.
    pub want: Want,
}

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteAck {
    /// Place of the op in the shard's log. It is durable.
    pub seq: u64,
    /// Whether readers see it already.
    pub visible: bool,
}

/// Who sent an op, for telling a repetition from a new op: logged with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpOrigin {
    /// Random number of the client (a router, or the laptop server) drawn when it started.
    pub client_id: u64,
    /// The client's own number of the op, or 0.
    pub op_id: u64,
}

/// A shard's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardInfo {
    /// Points that exist.
    pub points: u64,
    /// Points in segments (and so in a graph).
    pub indexed_points: u64,
    /// Segments, not counting the mutable one.
    pub segments: u64,
    /// Bytes of the shard's files.
    pub disk_bytes: u64,
    /// Last op in the log; last durable; last visible; last in a segment.
    pub last_seq: u64,
    /// Last op fsynced.
    pub durable_seq: u64,
    /// Last op readers see.
    pub applied_seq: u64,
    /// Last op whose effect is in segments.
    pub flushed_seq: u64,
    /// Payload indexes, and how filters were answered.
    pub filters: FilterInfo,
}

/// Payload indexes of a shard, and how filters were answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterInfo {
    /// The fields that are indexed, and how many points have a value there.
    pub fields: Vec<(PayloadIndex, u64)>,
    /// Indexes of a field of a segment that are not ready yet.
    pub pending: u64,
    /// Indexes of a field of a segment that there is no room for.
    pub left_out: u64,
    /// Bytes of indexes in memory.
    pub bytes: u64,
    /// How filtered searches were answered since the start.
    pub counts: FilterCounts,
}

/// How filtered searches were answered, counted once for each segment and each part in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// By comparing all points that indexes say match.
    pub scans: u64,
    /// By a walk among points that indexes say match.
    pub walks: u64,
    /// By looking at payloads.
    pub payloads: u64,
}

/// Why a shard did not do what it was asked, by what the caller can do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ShardError {
    /// The request is wrong; the text names the field. Do not repeat it.
    #[error("{0}")]
    Invalid(String),
    /// The disk is full. Reads go on; writes are accepted again once there is room.
    #[error(
        "the disk of shard {shard} is full: {detail}; nothing was written. Free space or grow storage.size, then retry"
    )]
    DiskFull {
        /// The shard.
        shard: String,
        /// What the system said.
        detail: String,
    },
    /// The shard cannot serve now (starting, stopping, or poisoned by an earlier failure). Retry later.
    #[error("shard {shard} is unavailable: {detail}")]
    Unavailable {
        /// The shard.
        shard: String,
        /// Why.
        detail: String,
    },
    /// It does not take requests at the moment. Nothing was done; retry.
    #[error("shard {shard} is not ready: {detail}")]
    NotReady {
        /// The shard.
        shard: String,
        /// Why.
        detail: String,
    },
    /// Another replica leads, or none. Nothing was done; ask that one.
    #[error("this replica of shard {shard} does not lead it{}", .primary.as_ref().map(|at| format!("; {at} does")).unwrap_or_default())]
    NotPrimary {
        /// The shard.
        shard: String,
        /// Where whoever leads is reached, if that is known.
        primary: Option<String>,
    },
    /// The write may or may not be done, now or later. Repeat it under the same ids to find out.
    #[error("shard {shard} does not know yet whether it did that: {detail}")]
    Uncertain {
        /// The shard.
        shard: String,
        /// Why.
        detail: String,
    },
    /// The read was given up, because its caller no longer waits. Nothing was changed.
    #[error("shard {shard} gave the read up, because its caller no longer waits")]
    Cancelled {
        /// The shard.
        shard: String,
    },
    /// Data on disk is damaged; the text names the file and place.
    #[error("shard {shard} holds damaged data: {detail}")]
    Corrupt {
        /// The shard.
        shard: String,
        /// Where and what.
        detail: String,
    },
}

/// Best first, of hits from any number of parts of a collection: newest per id, then the total order, then `k`.
pub fn merge(
    parts: impl IntoIterator<Item = Vec<FoundPoint>>,
    metric: Metric,
    k: usize,
) -> Vec<FoundPoint> {
    let mut all: Vec<FoundPoint> = parts.into_iter().flatten().collect();
    all.sort_unstable_by(|a, b| a.hit.id.cmp(&b.hit.id).then(b.hit.seq.cmp(&a.hit.seq)));
    all.dedup_by_key(|found| found.hit.id);
    all.sort_unstable_by(|a, b| a.hit.order(&b.hit, metric));
    all.truncate(k);
    all
}
