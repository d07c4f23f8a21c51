//! A shard in this process, as both the laptop's router and the gRPC server use it.
//!
//! Invariant: reads run on the read pool and end when they are dropped; only searches that will be short run on the thread
//! that asks, which drives the network, because to hand them over would cost as much as they take.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_shard::api::{
    FoundPoint, OpOrigin, Record, ScrollRequest, SearchRequest, ShardError, ShardInfo, Want,
    WriteAck,
};
use shoal_shard::{Shard, WantedIndexes};
use shoal_vector::{Filter, PointId};

use crate::clock;
use crate::reads::{ReadError, ReadPool};
use crate::replica::{ReplicaHandle, ReplicaStatus};
use crate::shard_cell::ShardCell;

/// How long a read waits for what it must see: the next sign of life of a primary tells of it.
const BEHIND: Duration = Duration::from_millis(300);

/// A shard and the pool its reads run on. Clones are the same shard.
#[derive(Clone)]
pub struct LocalShard {
    cell: Arc<ShardCell>,
    reads: ReadPool,
    /// Who decides about its log, if it is not alone.
    replica: Option<ReplicaHandle>,
}

impl std::fmt::Debug for LocalShard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalShard").field("name", &self.cell.name()).finish_non_exhaustive()
    }
}

impl LocalShard {
    /// An open shard without replicas.
    pub fn new(name: String, shard: Shard, reads: ReadPool) -> Self {
        Self { cell: Arc::new(ShardCell::new(name, shard)), reads, replica: None }
    }

    /// One of several replicas.
    pub fn replica(cell: Arc<ShardCell>, reads: ReadPool, replica: ReplicaHandle) -> Self {
        Self { cell, reads, replica: Some(replica) }
    }

    /// The shard's name.
    pub fn name(&self) -> &str {
        self.cell.name()
    }

    /// The shard itself, while it is open.
    pub fn shard(&self) -> Result<Arc<Shard>, ShardError> {
        self.cell.get()
    }

    /// Writes an encoded op; returns once it is committed, or visible if `wait`.
    pub async fn write(
        &self,
        op: Bytes,
        origin: OpOrigin,
        wait: bool,
    ) -> Result<WriteAck, ShardError> {
        let shard = self.shard()?;
        match &self.replica {
            None => shard.write(op, origin, wait).await,
            Some(replica) => {
                shard.check_op(&op)?;
                // It may be closed before the write is done.
                drop(shard);
                replica.write(op, origin, wait).await
            }
        }
    }

    /// Returns once what is read here has all that was acknowledged before.
    pub async fn catch_up(&self) -> Result<(), ShardError> {
        match &self.replica {
            // What is acknowledged and not visible yet is behind the read in no order that anybody knows of.
            None => Ok(()),
            Some(replica) => replica.catch_up().await,
        }
    }

    /// Returns once what is read here has all up to a seq; fails if that takes too long, for another replica has it.
    pub async fn show(&self, seq: u64) -> Result<(), ShardError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        match tokio::time::timeout(BEHIND, replica.shows(seq)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(ShardError::NotReady {
                shard: self.name().to_owned(),
                detail: format!("it does not show seq {seq} yet; ask another replica"),
            }),
        }
    }

    /// How long ago all was shown here that was acknowledged then; nothing where that is so now.
    pub fn staleness(&self) -> Duration {
        self.replica.as_ref().map_or(Duration::ZERO, |replica| replica.staleness(clock::now()))
    }

    /// The nearest points. A search that will take no longer than `in_place` runs on the calling thread.
    pub async fn search(
        &self,
        request: SearchRequest,
        in_place: Duration,
    ) -> Result<Vec<FoundPoint>, ShardError> {
        let shard = self.shard()?;
        if shard.guess(&request) <= in_place
            && let Some(found) = self.reads.in_place(|| shard.search(&request))
        {
            return found.map_err(|error| self.unavailable(error))?;
        }
        self.read(move |shard| shard.search(&request)).await
    }

    /// The points of these ids that exist.
    pub async fn retrieve(&self, ids: Vec<PointId>, want: Want) -> Result<Vec<Record>, ShardError> {
        self.read(move |shard| shard.retrieve(&ids, &want)).await
    }

    /// A page of points in id order.
    pub async fn scroll(&self, request: ScrollRequest) -> Result<Vec<Record>, ShardError> {
        self.read(move |shard| shard.scroll(&request)).await
    }

    /// How many points match.
    pub async fn count(&self, filter: Option<Filter>) -> Result<u64, ShardError> {
        self.read(move |shard| shard.count(filter.as_ref())).await
    }

    /// The shard's figures.
    pub async fn info(&self) -> Result<ShardInfo, ShardError> {
        self.read(|shard| shard.info()).await
    }

    /// What this replica is to its shard; `None` if it is alone.
    pub fn replica_status(&self) -> Option<ReplicaStatus> {
        self.replica.as_ref().map(ReplicaHandle::status)
    }

    /// Says which payload fields are to be indexed.
    pub async fn set_indexes(&self, wanted: WantedIndexes) -> Result<(), ShardError> {
        // It writes a small file, so it is no work for the threads of the network.
        self.read(move |shard| shard.set_payload_indexes(wanted)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shard) -> Result<T, ShardError> + Send + 'static,
    ) -> Result<T, ShardError> {
        let cell = self.cell.clone();
        let read = move |cancel| read(&cell.get()?.with_cancel(cancel));
        let answer = self.reads.run(read).await;
        answer.map_err(|error| self.unavailable(error))?
    }

    fn unavailable(&self, error: ReadError) -> ShardError {
        ShardError::Unavailable { shard: self.name().to_owned(), detail: error.to_string() }
    }
}
