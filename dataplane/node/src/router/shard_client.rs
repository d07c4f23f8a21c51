//! A shard as the router sees it: in this process, on the network, or known but not to be had.
//!
//! Invariant: every call ends by its deadline, one way or the other.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use shoal_shard::WantedIndexes;
use shoal_shard::api::{
    FoundPoint, OpOrigin, Record, ScrollRequest, SearchRequest, ShardError, ShardInfo, Want,
    WriteAck,
};
use shoal_vector::{Filter, PointId};

use super::api::{Read, ReadOptions};
use super::call::CallError;
use super::remote::RemoteShard;
use super::replica_set::ReplicaSet;
use crate::local_shard::LocalShard;

/// A shard that can be asked.
#[derive(Clone, Debug)]
pub enum ShardClient {
    /// In this process.
    Local(LocalShard),
    /// Over gRPC, alone.
    Remote(RemoteShard),
    /// Over gRPC, one of several replicas.
    Replicas(ReplicaSet),
    /// Could not be opened; answers why, so that its neighbours still serve.
    Down {
        /// The shard.
        name: String,
        /// Why it does not serve.
        error: ShardError,
    },
}

impl ShardClient {
    /// The shard's name.
    pub fn name(&self) -> &str {
        match self {
            ShardClient::Local(shard) => shard.name(),
            ShardClient::Remote(shard) => shard.name(),
            ShardClient::Replicas(shard) => shard.name(),
            ShardClient::Down { name, .. } => name,
        }
    }

    /// Writes an encoded op.
    pub async fn write(
        &self,
        op: Bytes,
        origin: OpOrigin,
        wait: bool,
        deadline: Duration,
    ) -> Result<WriteAck, CallError> {
        match self {
            ShardClient::Local(shard) => {
                self.bounded(deadline, shard.write(op, origin, wait)).await
            }
            ShardClient::Remote(shard) => shard.write(op, origin, wait, deadline).await,
            ShardClient::Replicas(shard) => shard.write(op, origin, wait, deadline).await,
            ShardClient::Down { error, .. } => Err(error.clone().into()),
        }
    }

    /// The nearest points. In this process, a search that will take no longer than `in_place` runs on the calling thread.
    pub async fn search(
        &self,
        request: SearchRequest,
        options: ReadOptions,
        in_place: Duration,
    ) -> Result<Read<Vec<FoundPoint>>, CallError> {
        match self {
            ShardClient::Local(shard) => self.fresh(options, shard.search(request, in_place)).await,
            ShardClient::Remote(shard) => shard.search(request, options.deadline).await,
            ShardClient::Replicas(shard) => {
                let call = |replica: RemoteShard, left| {
                    let request = request.clone();
                    async move { replica.search(request, left).await }
                };
                shard.read(options, call).await
            }
            ShardClient::Down { error, .. } => Err(error.clone().into()),
        }
    }

    /// The points of these ids that exist.
    pub async fn retrieve(
        &self,
        ids: Vec<PointId>,
        want: Want,
        options: ReadOptions,
    ) -> Result<Read<Vec<Record>>, CallError> {
        match self {
            ShardClient::Local(shard) => self.fresh(options, shard.retrieve(ids, want)).await,
            ShardClient::Remote(shard) => shard.retrieve(&ids, &want, options.deadline).await,
            ShardClient::Replicas(shard) => {
                let (ids, want) = (&ids, &want);
                let call = |r: RemoteShard, left| async move { r.retrieve(ids, want, left).await };
                shard.read(options, call).await
            }
            ShardClient::Down { error, .. } => Err(error.clone().into()),
        }
    }

    /// A page of points in id order.
    pub async fn scroll(
        &self,
        request: ScrollRequest,
        options: ReadOptions,
    ) -> Result<Read<Vec<Record>>, CallError> {
        match self {
            ShardClient::Local(shard) => self.fresh(options, shard.scroll(request)).await,
            ShardClient::Remote(shard) => shard.scroll(&request, options.deadline).await,
            ShardClient::Replicas(shard) => {
                let request = &request;
                let call = |r: RemoteShard, left| async move { r.scroll(request, left).await };
                shard.read(options, call).await
            }
            ShardClient::Down { error, .. } => Err(error.clone().into()),
        }
    }

    /// How many points match.
    pub async fn count(
        &self,
        filter: Option<Filter>,
        options: ReadOptions,
    ) -> Result<Read<u64>, CallError> {
        match self {
            ShardClient::Local(shard) => self.fresh(options, shard.count(filter)).await,
            ShardClient::Remote(shard) => shard.count(filter.as_ref(), options.deadline).await,
            ShardClient::Replicas(shard) => {
                let filter = filter.as_ref();
                let call = |r: RemoteShard, left| async move { r.count(filter, left).await };
                shard.read(options, call).await
            }
            ShardClient::Down { error, .. } => Err(error.clone().into()),
        }
    }

    /// The shard's figures.
    pub async fn info(&self, deadline: Duration) -> Result<ShardInfo, CallError> {
        match self {
            ShardClient::Local(shard) => self.bounded(deadline, shard.info()).await,
            ShardClient::Remote(shard) => shard.info(deadline).await,
            ShardClient::Replicas(shard) => {
                let call =
                    |r: RemoteShard, left| async move { r.info(left).await.map(Read::fresh) };
                Ok(shard.read(deadline.into(), call).await?.value)
            }
            ShardClient::Down { error, .. } => Err(error.clone().into()),
        }
    }

    /// Says which payload fields are to be indexed.
    pub async fn set_indexes(
        &self,
        wanted: &WantedIndexes,
        deadline: Duration,
    ) -> Result<(), CallError> {
        match self {
            ShardClient::Local(shard) => {
                self.bounded(deadline, shard.set_indexes(wanted.clone())).await
            }
            ShardClient::Remote(shard) => shard.set_indexes(wanted, deadline).await,
            // Each replica makes its own.
            ShardClient::Replicas(shard) => {
                let told = shard.replicas().iter().map(|r| r.set_indexes(wanted, deadline));
                futures::future::try_join_all(told).await.map(drop)
            }
            ShardClient::Down { error, .. } => Err(error.clone().into()),
        }
    }

    /// A read in this process, where there is one copy.
    async fn fresh<T>(
        &self,
        options: ReadOptions,
        call: impl Future<Output = Result<T, ShardError>>,
    ) -> Result<Read<T>, CallError> {
        self.bounded(options.deadline, call).await.map(Read::fresh)
    }

    async fn bounded<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<T, ShardError>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(deadline, call).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(CallError::Timeout { shard: self.name().to_owned() }),
        }
    }
}
