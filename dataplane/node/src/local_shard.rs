//! A shard in this process, as both the laptop's router and the gRPC server use it.
//!
//! Invariant: reads run on the read pool and end when they are dropped; only searches that will be short run on the thread
//! that asks, which drives the network, because to hand them over would cost as much as they take.

use std::time::Duration;

use bytes::Bytes;
use shoal_shard::api::{
    FoundPoint, OpOrigin, Record, ScrollRequest, SearchRequest, ShardError, ShardInfo, Want,
    WriteAck,
};
use shoal_shard::{Shard, WantedIndexes};
use shoal_vector::{Filter, PointId};

use crate::reads::{ReadError, ReadPool};

/// A shard and the pool its reads run on. Clones are the same shard.
#[derive(Clone)]
pub struct LocalShard {
    name: String,
    shard: Shard,
    reads: ReadPool,
}

impl std::fmt::Debug for LocalShard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalShard").field("name", &self.name).finish_non_exhaustive()
    }
}

impl LocalShard {
    /// An open shard.
    pub fn new(name: String, shard: Shard, reads: ReadPool) -> Self {
        Self { name, shard, reads }
    }

    /// The shard's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shard itself.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Writes an encoded op; returns once it is durable, or visible if `wait`.
    pub async fn write(
        &self,
        op: Bytes,
        origin: OpOrigin,
        wait: bool,
    ) -> Result<WriteAck, ShardError> {
        self.shard.write(op, origin, wait).await
    }

    /// The nearest points. A search that will take no longer than `in_place` runs on the calling thread.
    pub async fn search(
        &self,
        request: SearchRequest,
        in_place: Duration,
    ) -> Result<Vec<FoundPoint>, ShardError> {
        if self.shard.guess(&request) <= in_place
            && let Some(found) = self.reads.in_place(|| self.shard.search(&request))
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

    /// Says which payload fields are to be indexed.
    pub async fn set_indexes(&self, wanted: WantedIndexes) -> Result<(), ShardError> {
        // It writes a small file, so it is no work for the threads of the network.
        self.read(move |shard| shard.set_payload_indexes(wanted)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shard) -> Result<T, ShardError> + Send + 'static,
    ) -> Result<T, ShardError> {
        let shard = self.shard.clone();
        let answer = self.reads.run(move |cancel| read(&shard.with_cancel(cancel))).await;
        answer.map_err(|error| self.unavailable(error))?
    }

    fn unavailable(&self, error: ReadError) -> ShardError {
        ShardError::Unavailable { shard: self.name.clone(), detail: error.to_string() }
    }
}
