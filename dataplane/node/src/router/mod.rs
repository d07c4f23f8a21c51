//! The router: finds a collection's shards, places writes on them, asks them all and merges what they answer.
//!
//! Invariant: an answer is whole, or it says which shards are missing from it, or it is an error that names them.

pub mod api;
pub mod call;
mod limits;
mod place;
mod remote;
mod replica_set;
mod scatter;
pub mod shard_client;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shoal_proto::routing::RoutingTable;
use shoal_shard::WantedIndexes;
use shoal_shard::api::{
    FoundPoint, OpOrigin, Record, ScrollRequest, SearchRequest, Want, WriteAck, merge,
};
use shoal_vector::{Filter, Metric, Op, PointId, Quantization, SparseVectorConfig, VectorConfig};

use api::{
    Answer, CollectionInfo, CreateCollection, IndexChange, Lacks, Page, ReadOptions, ReadPolicy,
    RouteError,
};
pub use limits::Deadlines;
pub use remote::RemoteShard;
pub use replica_set::ReplicaSet;
use shard_client::ShardClient;

use crate::clock;
use crate::reads::IN_PLACE;
use crate::telemetry::Telemetry;
use crate::topology::Topology;

/// A collection as the router knows it now: one immutable snapshot.
#[derive(Clone, Debug)]
pub struct Collection {
    /// Client-facing name.
    pub name: String,
    /// Its vectors.
    pub vectors: Vec<VectorConfig>,
    /// Its sparse vectors.
    pub sparse: Vec<SparseVectorConfig>,
    /// Candidates considered for each point while a segment is built.
    pub ef_construct: u32,
    /// By what graphs of the vectors of these names are walked; those of others by default.
    pub quantization: BTreeMap<String, Quantization>,
    /// Which payload fields are indexed.
    pub indexes: WantedIndexes,
    /// How it is read where a request does not say.
    pub reads: ReadPolicy,
    /// Which shard holds which slot.
    pub routing: RoutingTable,
    /// Its shards, in the order of the routing table.
    pub shards: Vec<ShardClient>,
}

/// Answers for all collections of a namespace, or of a data folder. Each request is given the time it has, which is
/// [`Router::deadlines`] or less.
pub struct Router {
    topology: Arc<dyn Topology>,
    deadlines: Deadlines,
    telemetry: Arc<Telemetry>,
    /// Drawn at start, so that the log tells this router's ops from any other's.
    client_id: u64,
    next_op: AtomicU64,
}

impl Router {
    /// A router for the collections of a topology.
    pub fn new(
        topology: Arc<dyn Topology>,
        deadlines: Deadlines,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self {
            topology,
            deadlines,
            telemetry,
            client_id: clock::random_u64(),
            next_op: AtomicU64::new(1),
        }
    }

    /// How long each kind of request may take at most.
    pub fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    /// Whether the topology has been read, so that an unknown collection is truly not there.
    pub fn ready(&self) -> bool {
        self.topology.synced()
    }

    /// Names of all collections, ascending.
    pub fn list(&self) -> Result<Vec<String>, RouteError> {
        match self.ready() {
            true => Ok(self.topology.snapshot().keys().cloned().collect()),
            false => Err(not_read_yet()),
        }
    }

    /// The collection of this name.
    pub fn collection(&self, name: &str) -> Result<Arc<Collection>, RouteError> {
        match self.topology.snapshot().get(name) {
            Some(collection) => Ok(collection.clone()),
            None if !self.ready() => Err(not_read_yet()),
            None => Err(RouteError::NoCollection(name.to_owned())),
        }
    }

    /// Creates a collection and waits until it serves.
    pub async fn create(&self, request: CreateCollection) -> Result<(), RouteError> {
        self.topology.create(request).await
    }

    /// Deletes a collection and its data; `false` if there was none.
    pub async fn delete(&self, name: &str) -> Result<bool, RouteError> {
        self.topology.delete(name).await
    }

    /// Changes which payload fields a collection indexes. Returns once that is kept; making indexes takes longer.
    pub async fn change_indexes(&self, name: &str, change: IndexChange) -> Result<(), RouteError> {
        self.topology.change_indexes(name, change).await
    }

    /// Sends an op's parts to the shards they belong to. Ops on ids or points are split by placement; those that carry
    /// a filter go to all shards. The ack of all parts: the greatest seq, visible if all are.
    ///
    /// Each part is atomic, the whole is not: after an error the parts of other shards may be done. The client
    /// repeats the op then, which is safe because doing it twice is the same as doing it once.
    pub async fn write(
        &self,
        collection: &Collection,
        op: Op,
        wait: bool,
        deadline: Duration,
    ) -> Result<WriteAck, RouteError> {
        let timer = self.telemetry.write_started(&op);
        let parts = shoal_shard::compute(op.bytes(), || encode_parts(collection, op))?;
        let mut calls = Vec::new();
        for (position, bytes) in parts {
            let shard = shard(collection, position)?;
            let origin = OpOrigin {
                client_id: self.client_id,
                op_id: self.next_op.fetch_add(1, Ordering::Relaxed),
            };
            let call = async move { shard.write(bytes, origin, wait, deadline).await };
            calls.push((shard.name().to_owned(), call));
        }
        let acks = scatter::gather(calls).await.all()?;
        timer.done();
        let whole = |a: WriteAck, b: WriteAck| WriteAck {
            seq: a.seq.max(b.seq),
            visible: a.visible && b.visible,
        };
        Ok(acks.into_iter().fold(WriteAck { seq: 0, visible: true }, whole))
    }

    /// The nearest points over all shards. Answers while at least one shard does, and says which did not; unless such answers
    /// are refused.
    pub async fn search(
        &self,
        c: &Collection,
        r: SearchRequest,
        options: impl Into<ReadOptions>,
    ) -> Result<Answer<Vec<FoundPoint>>, RouteError> {
        self.search_one_of(1, c, r, options).await
    }

    /// The same, for one of so many searches that a client wants at once: those that run on the calling thread share the
    /// time that it has.
    pub async fn search_one_of(
        &self,
        together: usize,
        c: &Collection,
        r: SearchRequest,
        options: impl Into<ReadOptions>,
    ) -> Result<Answer<Vec<FoundPoint>>, RouteError> {
        let options = options.into().under(c.reads);
        let timer = self.telemetry.search_started();
        let metric = metric(c, &r.using)?;
        let k = r.k;
        let shares = together.saturating_mul(c.shards.len()).max(1);
        let in_place = IN_PLACE / u32::try_from(shares).unwrap_or(u32::MAX);
        if let [only] = c.shards.as_slice() {
            // Nothing to copy for others, and nothing to merge.
            let read = only.search(r, options, in_place).await?;
            timer.done(false);
            let lacks = Lacks::of(Vec::new(), read.staleness, &options);
            return Ok(Answer { value: read.value, lacks });
        }
        let calls =
            c.shards.iter().map(|s| (s.name().to_owned(), s.search(r.clone(), options, in_place)));
        let answer = scatter::gather(calls).await.some(&options)?;
        timer.done(!answer.lacks.missing.is_empty());
        Ok(answer.map(|found| merge(found, metric, k)))
    }

    /// The points of these ids that exist, in the order asked, each once. Needs every shard that has one of them.
    pub async fn retrieve(
        &self,
        c: &Collection,
        ids: &[PointId],
        want: &Want,
        options: impl Into<ReadOptions>,
    ) -> Result<Answer<Vec<Record>>, RouteError> {
        let (options, mut calls) = (options.into().under(c.reads), Vec::new());
        for (position, ids) in place::by_shard(ids.to_vec(), &c.routing, |id| *id) {
            let shard = shard(c, position)?;
            calls.push((shard.name().to_owned(), shard.retrieve(ids, want.clone(), options)));
        }
        Ok(scatter::gather(calls).await.whole(&options)?.map(|records| {
            let records = records.into_iter().flatten();
            let mut by_id: HashMap<PointId, Record> =
                records.map(|record| (record.id, record)).collect();
            ids.iter().filter_map(|id| by_id.remove(id)).collect()
        }))
    }

    /// A page in id order over all shards. Needs every shard.
    pub async fn scroll(
        &self,
        c: &Collection,
        r: ScrollRequest,
        options: impl Into<ReadOptions>,
    ) -> Result<Answer<Page>, RouteError> {
        let options = options.into().under(c.reads);
        // One more than asked tells where the next page begins.
        let more = ScrollRequest { limit: r.limit.saturating_add(1), ..r };
        let calls = c.shards.iter().map(|s| (s.name().to_owned(), s.scroll(more.clone(), options)));
        Ok(scatter::gather(calls).await.whole(&options)?.map(|records| {
            let mut records: Vec<Record> = records.into_iter().flatten().collect();
            records.sort_unstable_by_key(|record| record.id);
            records.dedup_by_key(|record| record.id);
            let next = records.get(r.limit).map(|record| record.id);
            records.truncate(r.limit);
            Page { records, next }
        }))
    }

    /// How many points match. Needs every shard.
    pub async fn count(
        &self,
        c: &Collection,
        filter: Option<Filter>,
        options: impl Into<ReadOptions>,
    ) -> Result<Answer<u64>, RouteError> {
        let options = options.into().under(c.reads);
        let calls =
            c.shards.iter().map(|s| (s.name().to_owned(), s.count(filter.clone(), options)));
        let answer = scatter::gather(calls).await.whole(&options)?;
        Ok(answer.map(|counts| counts.into_iter().sum()))
    }

    /// Figures summed over the shards that answer.
    pub async fn info(&self, collection: &Collection) -> Result<CollectionInfo, RouteError> {
        let calls =
            collection.shards.iter().map(|s| (s.name().to_owned(), s.info(self.deadlines.search)));
        let gathered = scatter::gather(calls).await;
        let mut info = CollectionInfo::default();
        for shard in &gathered.answers {
            info.points += shard.points;
            info.indexed_points += shard.indexed_points;
            info.segments += shard.segments;
            info.indexes_pending += shard.filters.pending;
            for (index, points) in &shard.filters.fields {
                *info.indexed_fields.entry(index.field.clone()).or_default() += points;
            }
        }
        info.missing = gathered.failures.into_iter().map(|(shard, _)| shard).collect();
        Ok(info)
    }
}

/// The encoded parts of an op, by position of their shard. All of it is checked before there is a part to send: shards check
/// again, but only what is theirs.
fn encode_parts(collection: &Collection, op: Op) -> Result<Vec<(usize, Bytes)>, RouteError> {
    shoal_shard::check_op(&op, &collection.vectors, &collection.sparse)?;
    let encode = |(position, part)| {
        let bytes = shoal_shard::encode_op(&part);
        shoal_shard::check_encoded(&bytes)?;
        Ok((position, bytes.into()))
    };
    place::split(op, &collection.routing).into_iter().map(encode).collect()
}

/// To say instead that there is nothing would let a client make what is there.
fn not_read_yet() -> RouteError {
    RouteError::Unavailable("the list of collections has not been read yet; retry".to_owned())
}

/// How vectors of a name are compared.
fn metric(collection: &Collection, name: &str) -> Result<Metric, RouteError> {
    if collection.sparse.iter().any(|vector| vector.name == name) {
        return Ok(Metric::Dot);
    }
    let vector = collection.vectors.iter().find(|vector| vector.name == name);
    let unknown = || RouteError::Invalid(format!("Not existing vector name error: {name}"));
    vector.map(|vector| vector.distance).ok_or_else(unknown)
}

fn shard(collection: &Collection, position: usize) -> Result<&ShardClient, RouteError> {
    let shard = collection.shards.get(position);
    shard.ok_or_else(|| {
        RouteError::Internal(format!("collection {} has no shard {position}", collection.name))
    })
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::topology::Snapshot;

    /// A topology before its first look at the cluster.
    struct Unread;

    #[async_trait]
    impl Topology for Unread {
        fn snapshot(&self) -> Arc<Snapshot> {
            Arc::default()
        }
        fn synced(&self) -> bool {
            false
        }
        async fn create(&self, _: CreateCollection) -> Result<(), RouteError> {
            Ok(())
        }
        async fn delete(&self, _: &str) -> Result<bool, RouteError> {
            Ok(false)
        }
        async fn change_indexes(&self, _: &str, _: IndexChange) -> Result<(), RouteError> {
            Ok(())
        }
    }

    #[test]
    fn a_list_that_was_not_read_yet_is_not_an_empty_one() {
        let telemetry = Arc::new(Telemetry::new());
        let router = Router::new(Arc::new(Unread), Deadlines::default(), telemetry);
        assert!(matches!(router.list(), Err(RouteError::Unavailable(_))));
        assert!(matches!(router.collection("a"), Err(RouteError::Unavailable(_))));
    }
}
