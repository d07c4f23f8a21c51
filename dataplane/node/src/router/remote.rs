//! A shard on the network.
//!
//! The channel connects when it is first used and again whenever it was lost, looking the host up each time, so a pod
//! that came back with another address is found.
//!
//! Invariant: a write is sent again only when it is certain that the shard has not seen it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shoal_proto::convert::{DecodeError, encode_id};
use shoal_proto::pb::shard_service_client::ShardServiceClient;
use shoal_proto::version::{self, Stamped, Versions};
use shoal_proto::{MAX_MESSAGE_BYTES, pb};
use shoal_shard::WantedIndexes;
use shoal_shard::api::{
    FoundPoint, OpOrigin, Record, ScrollRequest, SearchRequest, ShardInfo, Want, WriteAck,
};
use shoal_vector::{Filter, PointId};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::api::Read;
use super::call::CallError;
use crate::clock;
use crate::convert as to;
use crate::status::from_status;
use crate::token::SharedToken;

/// How long to wait for a connection. Inside a cluster one takes a millisecond; a second is a node that is gone.
const CONNECT: Duration = Duration::from_secs(1);
/// How often an idle or waiting connection is asked whether it lives, and how long it may take to say so: together the
/// time after which calls to a vanished node fail.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a write waits for a shard that restarts. A shard pod is usually back within five seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// First pause before a write is sent again; doubled each time up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A shard on the network. Clones share its connection.
#[derive(Clone)]
pub struct RemoteShard {
    address: Arc<str>,
    target: pb::Target,
    client: Client,
    versions: Versions,
    /// The version it is asked in: it may be older than this build, which only it can tell.
    spoken: Arc<AtomicU32>,
}

/// What a read must see.
#[derive(Clone, Copy, Debug)]
pub(super) enum Must {
    /// Whatever is there.
    Nothing,
    /// All up to a seq, and all that was acknowledged so long ago.
    Newer { min_seq: u64, max_staleness: Duration },
    /// All that was acknowledged before it.
    All,
}

type Client = ShardServiceClient<InterceptedService<Channel, SharedToken>>;

impl std::fmt::Debug for RemoteShard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteShard").field("target", &self.target).finish_non_exhaustive()
    }
}

impl RemoteShard {
    /// The shard of this name at `host`:`port`. Connects on first use; needs a tokio runtime.
    pub fn new(
        collection: &str,
        shard: &str,
        generation: u64,
        address: &str,
        token: impl Into<SharedToken>,
    ) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy();
        let client = ShardServiceClient::with_interceptor(channel, token.into())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let target = pb::Target {
            version: version::HERE.newest,
            collection: collection.to_owned(),
            shard: shard.to_owned(),
            r#gen: generation,
            ..pb::Target::default()
        };
        let spoken = Arc::new(AtomicU32::new(target.version));
        let address = address.into();
        Ok(Self { address, target, client, versions: version::HERE, spoken })
    }

    /// The same shard, asked as a build that speaks these versions asks it.
    #[must_use]
    pub fn speaking(self, versions: Versions) -> Self {
        Self { versions, spoken: Arc::new(AtomicU32::new(versions.newest)), ..self }
    }

    /// The shard's name.
    pub fn name(&self) -> &str {
        &self.target.shard
    }

    /// Where it is reached.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same shard and connection, for a read that must see something.
    #[must_use]
    pub(super) fn reading(&self, must: Must) -> Self {
        let wish = match must {
            Must::Nothing => pb::Target::default(),
            Must::Newer { min_seq, max_staleness } => pb::Target {
                min_seq,
                max_stale_ms: u64::try_from(max_staleness.as_millis()).unwrap_or(u64::MAX),
                ..pb::Target::default()
            },
            Must::All => {
                pb::Target { consistency: pb::Consistency::Strong.into(), ..pb::Target::default() }
            }
        };
        let pb::Target { consistency, min_seq, max_stale_ms, .. } = wish;
        let target = pb::Target { consistency, min_seq, max_stale_ms, ..self.target.clone() };
        Self { target, ..self.clone() }
    }

    /// The same shard and connection, asked by another version of the routing table.
    pub fn at_generation(&self, generation: u64) -> Self {
        let target = pb::Target { r#gen: generation, ..self.target.clone() };
        Self { target, ..self.clone() }
    }

    /// Writes an encoded op. Waits a while for a shard that cannot be reached.
    pub async fn write(
        &self,
        op: Bytes,
        origin: OpOrigin,
        wait: bool,
        deadline: Duration,
    ) -> Result<WriteAck, CallError> {
        let message = self.write_request(op, origin, wait);
        let attempt = |left: Duration| {
            let message = message.clone();
            async move { self.asked(left, message, &call_write).await }
        };
        let reply = self.until_sent(deadline, attempt).await?;
        Ok(WriteAck { seq: reply.seq, visible: reply.visible })
    }

    /// The same, once.
    pub async fn write_once(
        &self,
        op: Bytes,
        origin: OpOrigin,
        wait: bool,
        deadline: Duration,
    ) -> Result<WriteAck, CallError> {
        let message = self.write_request(op, origin, wait);
        let asked = tokio::time::timeout(deadline, self.asked(deadline, message, &call_write));
        let reply = asked.await.map_or_else(|_| self.late(), |outcome| self.outcome(outcome))?;
        Ok(WriteAck { seq: reply.seq, visible: reply.visible })
    }

    fn write_request(&self, op: Bytes, origin: OpOrigin, wait: bool) -> pb::WriteRequest {
        let target = Some(self.target.clone());
        let OpOrigin { client_id, op_id } = origin;
        pb::WriteRequest { target, op, client_id, op_id, wait }
    }

    /// The nearest points.
    pub async fn search(
        &self,
        request: SearchRequest,
        deadline: Duration,
    ) -> Result<Read<Vec<FoundPoint>>, CallError> {
        let message = to::search_to_pb(self.target.clone(), request);
        let reply = self
            .read(deadline, message, |mut client, m| async move { client.search(m).await })
            .await?;
        let staleness = Duration::from_millis(reply.stale_ms);
        Ok(Read { value: self.ours(to::found_from_pb(reply))?, staleness })
    }

    /// The points of these ids that exist.
    pub async fn retrieve(
        &self,
        ids: &[PointId],
        want: &Want,
        deadline: Duration,
    ) -> Result<Read<Vec<Record>>, CallError> {
        let ids = ids.iter().copied().map(encode_id).collect();
        let message = pb::RetrieveRequest {
            target: Some(self.target.clone()),
            ids,
            want: Some(to::want_to_pb(want)),
        };
        let reply = self
            .read(deadline, message, |mut client, m| async move { client.retrieve(m).await })
            .await?;
        self.records(reply)
    }

    /// A page of points in id order.
    pub async fn scroll(
        &self,
        request: &ScrollRequest,
        deadline: Duration,
    ) -> Result<Read<Vec<Record>>, CallError> {
        let message = to::scroll_to_pb(self.target.clone(), request);
        let reply = self
            .read(deadline, message, |mut client, m| async move { client.scroll(m).await })
            .await?;
        self.records(reply)
    }

    /// How many points match.
    pub async fn count(
        &self,
        filter: Option<&Filter>,
        deadline: Duration,
    ) -> Result<Read<u64>, CallError> {
        let message = pb::CountRequest {
            target: Some(self.target.clone()),
            filter: to::filter_to_pb(filter),
        };
        let reply = self
            .read(deadline, message, |mut client, m| async move { client.count(m).await })
            .await?;
        Ok(Read { value: reply.count, staleness: Duration::from_millis(reply.stale_ms) })
    }

    /// The shard's figures.
    pub async fn info(&self, deadline: Duration) -> Result<ShardInfo, CallError> {
        let message = pb::InfoRequest { target: Some(self.target.clone()) };
        let reply = self
            .read(deadline, message, |mut client, m| async move { client.info(m).await })
            .await?;
        Ok(to::info_from_pb(&reply))
    }

    /// Says which payload fields are to be indexed. To say it twice is to say it once.
    pub async fn set_indexes(
        &self,
        wanted: &WantedIndexes,
        deadline: Duration,
    ) -> Result<(), CallError> {
        let message = to::indexes_to_pb(self.target.clone(), wanted);
        let call = |mut client: Client, m| async move { client.set_indexes(m).await };
        self.read(deadline, message, call).await.map(|_| ())
    }

    /// Makes a call that changes nothing; once more if the connection broke, as one does that idled while its shard
    /// restarted.
    async fn read<M, R, F>(
        &self,
        deadline: Duration,
        message: M,
        call: impl Fn(Client, Request<M>) -> F,
    ) -> Result<R, CallError>
    where
        M: Stamped,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let both = async {
            match self.outcome(self.asked(deadline, message.clone(), &call).await) {
                Err(CallError::Broken { .. }) => {
                    self.outcome(self.asked(deadline, message, &call).await)
                }
                other => other,
            }
        };
        tokio::time::timeout(deadline, both).await.unwrap_or_else(|_| self.late())
    }

    /// Makes a call in the version that the shard was found to speak, and again where it says that it speaks another.
    async fn asked<M, R, F>(
        &self,
        deadline: Duration,
        message: M,
        call: &impl Fn(Client, Request<M>) -> F,
    ) -> Result<Response<R>, Status>
    where
        M: Stamped,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let ask = |message: M, version: u32| {
            call(self.client.clone(), within(message.in_version(version), deadline))
        };
        let version = self.spoken.load(Ordering::Relaxed);
        let first = ask(message.clone(), version).await;
        let other = first.as_ref().err().and_then(|refusal| self.versions.common(refusal));
        match other.filter(|other| *other != version) {
            Some(other) => {
                tracing::info!(shard = self.name(), version = other, "speaks another version");
                self.spoken.store(other, Ordering::Relaxed);
                ask(message, other).await
            }
            None => first,
        }
    }

    /// Repeats a call for as long as it was certainly not sent, there is patience, and the deadline is far.
    async fn until_sent<R, F>(
        &self,
        deadline: Duration,
        attempt: impl Fn(Duration) -> F,
    ) -> Result<R, CallError>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let start = clock::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let left = deadline.saturating_sub(start.elapsed());
            let outcome = tokio::time::timeout(left, attempt(left)).await;
            let outcome = outcome.map_or_else(|_| self.late(), |outcome| self.outcome(outcome));
            match outcome {
                Err(CallError::NotSent { .. } | CallError::NotReady { .. })
                    if start.elapsed() + pause < PATIENCE.min(deadline) =>
                {
                    clock::sleep(pause).await;
                    pause = (2 * pause).min(LAST_PAUSE);
                }
                other => return other,
            }
        }
    }

    fn outcome<R>(&self, outcome: Result<Response<R>, Status>) -> Result<R, CallError> {
        outcome.map(Response::into_inner).map_err(|status| from_status(self.name(), &status))
    }

    fn late<R>(&self) -> Result<R, CallError> {
        Err(CallError::Timeout { shard: self.name().to_owned() })
    }

    fn records(&self, reply: pb::RecordsReply) -> Result<Read<Vec<Record>>, CallError> {
        let staleness = Duration::from_millis(reply.stale_ms);
        Ok(Read { value: self.ours(to::records_from_pb(reply))?, staleness })
    }

    /// An answer that could not be read.
    fn ours<T>(&self, converted: Result<T, DecodeError>) -> Result<T, CallError> {
        let shard = self.name();
        converted.map_err(|error| CallError::Internal {
            shard: shard.to_owned(),
            detail: error.to_string(),
        })
    }
}

async fn call_write(
    mut client: Client,
    request: Request<pb::WriteRequest>,
) -> Result<Response<pb::WriteReply>, Status> {
    client.write(request).await
}

/// A request that tells the shard how long its caller will wait.
fn within<M>(message: M, deadline: Duration) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}
