//! What the HTTP dialect asks of the router, and how it can fail. The same on a laptop and on a cluster.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use shoal_shard::api::ShardError;
use shoal_vector::payload::{MAX_PAYLOAD_INDEXES, PayloadIndex};
use shoal_vector::{PointId, Quantization, SparseVectorConfig, VectorConfig};

/// What `PUT /collections/{name}` asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateCollection {
    /// Client-facing name.
    pub name: String,
    /// Its vectors, each by another name.
    pub vectors: Vec<VectorConfig>,
    /// Its sparse vectors, each by another name too.
    pub sparse: Vec<SparseVectorConfig>,
    /// Candidates considered for each point while a segment is built; `None` for the default.
    pub ef_construct: Option<u32>,
    /// By what graphs of the vectors of these names are walked; those of others by default.
    pub quantization: BTreeMap<String, Quantization>,
    /// Number of shards; `None` for the default.
    pub shards: Option<u32>,
    /// How long to wait until the collection serves.
    pub timeout: Duration,
}

/// A change of the fields that a collection indexes.
#[derive(Clone, Debug, PartialEq)]
pub enum IndexChange {
    /// Index a field, in place of any index of it.
    Put(PayloadIndex),
    /// Index a field no longer.
    Remove(String),
}

impl IndexChange {
    /// The indexes after the change; fails where there would be too many.
    pub fn apply(&self, indexes: &[PayloadIndex]) -> Result<Vec<PayloadIndex>, RouteError> {
        let field = match self {
            IndexChange::Put(index) => &index.field,
            IndexChange::Remove(field) => field,
        };
        let others = indexes.iter().filter(|index| index.field != *field).cloned();
        let mut after: Vec<PayloadIndex> = others.collect();
        if let IndexChange::Put(index) = self {
            if after.len() == MAX_PAYLOAD_INDEXES {
                return Err(RouteError::Invalid(format!(
                    "a collection has at most {MAX_PAYLOAD_INDEXES} payload indexes: delete one first"
                )));
            }
            after.push(index.clone());
        }
        Ok(after)
    }
}

/// How much of what was written a read must see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// All that this router was told to be visible, and what else the replica has that answers.
    #[default]
    Any,
    /// All that was acknowledged to anybody before the read.
    Strong,
}

/// What a search answers with where a shard does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partial {
    /// With what the others found, and says so.
    #[default]
    Allow,
    /// With an error.
    Refuse,
}

/// How a collection is read where a request does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPolicy {
    /// What searches do without a shard.
    pub partial: Partial,
    /// A replica that may show what was so longer ago is read only where none is better.
    pub max_staleness: Duration,
}

impl Default for ReadPolicy {
    fn default() -> Self {
        Self { partial: Partial::default(), max_staleness: Duration::from_secs(10) }
    }
}

/// How a read is to be made.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// How long it may take.
    pub deadline: Duration,
    /// What it must see.
    pub consistency: Consistency,
    /// What to do without a shard; `None` for what the collection says.
    pub partial: Option<Partial>,
    /// See [`ReadPolicy::max_staleness`]; `None` for what the collection says.
    pub max_staleness: Option<Duration>,
}

impl From<Duration> for ReadOptions {
    fn from(deadline: Duration) -> Self {
        Self { deadline, consistency: Consistency::Any, partial: None, max_staleness: None }
    }
}

impl ReadOptions {
    /// With what a collection says where the request does not.
    pub(super) fn under(self, policy: ReadPolicy) -> Self {
        Self {
            partial: self.partial.or(Some(policy.partial)),
            max_staleness: self.max_staleness.or(Some(policy.max_staleness)),
            ..self
        }
    }

    /// The longest staleness that is no lack.
    pub(super) fn allowed(&self) -> Duration {
        self.max_staleness.unwrap_or(ReadPolicy::default().max_staleness)
    }
}

/// What one shard answered a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// How long ago all was in it that was acknowledged then; nothing where that is so now.
    pub staleness: Duration,
}

impl<T> Read<T> {
    /// An answer that has all.
    pub fn fresh(value: T) -> Self {
        Self { value, staleness: Duration::ZERO }
    }
}

/// What an answer lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Names of shards that had no part in it, ascending; empty for a whole answer.
    pub missing: Vec<String>,
    /// Of the stalest of the others, how long ago all was in it that was acknowledged then.
    pub staleness: Duration,
    /// Whether that is longer than the collection's policy has it, since no better replica answers.
    pub too_stale: bool,
}

impl Lacks {
    /// What an answer lacks that misses these shards, and of the others is as stale as this.
    pub(super) fn of(mut missing: Vec<String>, staleness: Duration, options: &ReadOptions) -> Self {
        missing.sort_unstable();
        Self { missing, staleness, too_stale: staleness > options.allowed() }
    }

    /// What two answers together lack.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.missing.extend(other.missing);
        self.missing.sort_unstable();
        self.missing.dedup();
        self.staleness = self.staleness.max(other.staleness);
        self.too_stale |= other.too_stale;
        self
    }
}

/// An answer, and what it lacks.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// The answer of the shards that did answer.
    pub value: T,
    /// What is not in it.
    pub lacks: Lacks,
}

impl<T> Answer<T> {
    /// The same of something made of it.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: make(self.value), lacks: self.lacks }
    }
}

/// A page of a scroll and where the next begins.
#[derive(Clone, Debug)]
pub struct Page {
    /// The points, by id.
    pub records: Vec<shoal_shard::api::Record>,
    /// First id of the next page; `None` at the end.
    pub next: Option<PointId>,
}

/// A collection's figures, summed over its shards.
#[derive(Clone, Debug, Default)]
pub struct CollectionInfo {
    /// Points that exist.
    pub points: u64,
    /// Points in a graph.
    pub indexed_points: u64,
    /// Segments on all shards.
    pub segments: u64,
    /// Points with a value in each indexed field, by field.
    pub indexed_fields: HashMap<String, u64>,
    /// Indexes, each of a field of a segment, that are not ready yet.
    pub indexes_pending: u64,
    /// Names of shards that did not answer, whose figures are missing from the sums.
    pub missing: Vec<String>,
}

/// Why a request was not served, by what the client can do. Each maps to one HTTP status.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouteError {
    /// 404: no such collection.
    #[error("Not found: Collection `{0}` doesn't exist!")]
    NoCollection(String),
    /// 409: a collection of that name exists.
    #[error("Wrong input: Collection `{0}` already exists!")]
    Exists(String),
    /// 409: something else stands in the way; the text says what to do.
    #[error("{0}")]
    Conflict(String),
    /// 400: the request is wrong; the text names the field.
    #[error("Wrong input: {0}")]
    Invalid(String),
    /// 403: the router may not do that; the text says what to do instead.
    #[error("{0}")]
    Forbidden(String),
    /// 503: retry later; the text names what is missing.
    #[error("{0}")]
    Unavailable(String),
    /// 408, as in Qdrant: the deadline passed. A write may or may not have been done.
    #[error("{0}")]
    Timeout(String),
    /// 507: a shard's disk is full.
    #[error("{0}")]
    DiskFull(String),
    /// 500: a bug or damaged data.
    #[error("Service internal error: {0}")]
    Internal(String),
}

impl From<ShardError> for RouteError {
    fn from(error: ShardError) -> Self {
        let text = error.to_string();
        match error {
            ShardError::Invalid(text) => RouteError::Invalid(text),
            ShardError::DiskFull { .. } => RouteError::DiskFull(text),
            ShardError::Unavailable { .. }
            | ShardError::NotReady { .. }
            | ShardError::NotPrimary { .. }
            | ShardError::Uncertain { .. } => RouteError::Unavailable(text),
            ShardError::Cancelled { .. } => RouteError::Timeout(text),
            ShardError::Corrupt { .. } => RouteError::Internal(text),
        }
    }
}
