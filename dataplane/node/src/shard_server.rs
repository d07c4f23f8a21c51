//! A shard's gRPC server: what routers and the operator ask it, answered from the shard in this process.
//!
//! It listens before the shard is open, so that callers hear "not ready" at once and need not guess.
//!
//! Invariant: nothing reaches the shard that did not show the token, speaks an unknown version, or was meant for
//! another shard.

use std::future::{Future, pending};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use shoal_proto::convert::{DecodeError, decode_id};
use shoal_proto::pb::shard_service_server::{ShardService, ShardServiceServer};
use shoal_proto::{MAX_MESSAGE_BYTES, pb};
use shoal_shard::api::{OpOrigin, Record, ShardError};
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Response, Status};

use crate::clock;
use crate::convert as to;
use crate::drain::Stop;
use crate::listen;
use crate::local_shard::LocalShard;
use crate::reads::IN_PLACE;
use crate::replica::receive::Guarded;
use crate::replica::tell;
use crate::status::{not_ready, to_status};
use crate::target::Addressee;
use crate::telemetry::Telemetry;
use crate::token::{RequireToken, SharedToken};

/// Calls of one router that may be under way at once. Reads queue in the pool and writes in the log; this only keeps
/// one connection from holding more than both.
const CALLS_PER_CONNECTION: u32 = 2048;

/// How often a caller is asked whether it lives, and how long it may take to say so: a node that vanished closes none of its
/// connections, and a stream of another replica would be held for ever.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Where the shard will be once it is open.
pub type ShardSlot = Arc<OnceLock<LocalShard>>;

/// The service of one shard.
pub struct ShardServer {
    addressee: Addressee,
    slot: ShardSlot,
    telemetry: Arc<Telemetry>,
}

impl ShardServer {
    /// A server for the shard of this name, which may still be opening.
    pub fn new(collection: &str, shard: &str, slot: ShardSlot, telemetry: Arc<Telemetry>) -> Self {
        let addressee = Addressee { collection: collection.to_owned(), shard: shard.to_owned() };
        Self { addressee, slot, telemetry }
    }

    /// Serves until told to stop and all calls have ended; on the same port, what other replicas ask of this one.
    pub async fn serve(
        self,
        listener: TcpListener,
        token: SharedToken,
        stop: Stop,
        replicas: Option<Guarded>,
    ) -> Result<(), tonic::transport::Error> {
        let service = ShardServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        tonic::transport::Server::builder()
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .add_service(InterceptedService::new(service, RequireToken(token)))
            .add_optional_service(replicas)
            // The end of the connections is what stops the server; a signal of its own would drop those it has not seen.
            .serve_with_incoming_shutdown(listen::connections(listener, stop), pending())
            .await
    }

    /// The shard, for a read: once it has all that the read must see. And how stale that is, in milliseconds.
    async fn admit_read(&self, target: Option<&pb::Target>) -> Result<(&LocalShard, u64), Status> {
        let shard = self.admit(target)?;
        let (min_seq, allowed) =
            target.map_or((0, 0), |target| (target.min_seq, target.max_stale_ms));
        if min_seq > 0 {
            shard.show(min_seq).await.map_err(failed)?;
        }
        if target.is_some_and(|target| target.consistency() == pb::Consistency::Strong) {
            shard.catch_up().await.map_err(failed)?;
            return Ok((shard, 0));
        }
        let stale = u64::try_from(shard.staleness().as_millis()).unwrap_or(u64::MAX);
        if allowed > 0 && stale > allowed {
            let why = format!("it may show what was so {stale} ms ago; ask another replica");
            return Err(not_ready(&why));
        }
        Ok((shard, stale))
    }

    /// The shard, for a call that may have it.
    fn admit(&self, target: Option<&pb::Target>) -> Result<&LocalShard, Status> {
        self.addressee.check(target).map_err(|status| *status)?;
        self.slot.get().ok_or_else(|| not_ready("it is starting; retry"))
    }

    async fn measured<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<Response<T>, Status> {
        let start = clock::now();
        let outcome = call.await;
        let label = outcome.as_ref().map_or_else(|status| outcome_label(status.code()), |_| "ok");
        self.telemetry.rpc.observe(method, label, start.elapsed());
        outcome.map(Response::new)
    }
}

fn outcome_label(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "invalid",
        Code::ResourceExhausted => "disk_full",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "corrupt",
        Code::Cancelled => "cancelled",
        Code::FailedPrecondition => "wrong_target",
        _ => "internal",
    }
}

/// A message that could not be read.
fn unreadable(error: DecodeError) -> Status {
    to_status(&ShardError::Invalid(error.to_string()))
}

/// An answer that could not be made into a message.
fn unsayable(error: DecodeError) -> Status {
    Status::internal(error.to_string())
}

fn records_reply(records: Vec<Record>, stale_ms: u64) -> Result<pb::RecordsReply, Status> {
    let bytes = records.iter().map(|record| record.parts.bytes()).sum();
    let reply = shoal_shard::compute(bytes, || to::records_to_pb(records));
    Ok(pb::RecordsReply { stale_ms, ..reply.map_err(unsayable)? })
}

fn failed(error: ShardError) -> Status {
    to_status(&error)
}

#[tonic::async_trait]
impl ShardService for ShardServer {
    async fn write(
        &self,
        request: Request<pb::WriteRequest>,
    ) -> Result<Response<pb::WriteReply>, Status> {
        self.measured("write", async {
            let message = request.into_inner();
            let shard = self.admit(message.target.as_ref())?;
            let origin = OpOrigin { client_id: message.client_id, op_id: message.op_id };
            let ack = shard.write(message.op, origin, message.wait).await.map_err(failed)?;
            Ok(pb::WriteReply { seq: ack.seq, visible: ack.visible })
        })
        .await
    }

    async fn search(
        &self,
        request: Request<pb::SearchRequest>,
    ) -> Result<Response<pb::SearchReply>, Status> {
        self.measured("search", async {
            let message = request.into_inner();
            let (shard, stale_ms) = self.admit_read(message.target.as_ref()).await?;
            let request = to::search_from_pb(message).map_err(unreadable)?;
            let found = shard.search(request, IN_PLACE).await.map_err(failed)?;
            let bytes = found.iter().map(|found| found.parts.bytes()).sum();
            let reply = shoal_shard::compute(bytes, || to::found_to_pb(found));
            Ok(pb::SearchReply { stale_ms, ..reply.map_err(unsayable)? })
        })
        .await
    }

    async fn retrieve(
        &self,
        request: Request<pb::RetrieveRequest>,
    ) -> Result<Response<pb::RecordsReply>, Status> {
        self.measured("retrieve", async {
            let message = request.into_inner();
            let (shard, stale_ms) = self.admit_read(message.target.as_ref()).await?;
            let ids: Result<Vec<_>, _> = message.ids.iter().map(|id| decode_id(id)).collect();
            let want = to::want_from_pb(message.want).map_err(unreadable)?;
            let records = shard.retrieve(ids.map_err(unreadable)?, want).await.map_err(failed)?;
            records_reply(records, stale_ms)
        })
        .await
    }

    async fn scroll(
        &self,
        request: Request<pb::ScrollRequest>,
    ) -> Result<Response<pb::RecordsReply>, Status> {
        self.measured("scroll", async {
            let message = request.into_inner();
            let (shard, stale_ms) = self.admit_read(message.target.as_ref()).await?;
            let request = to::scroll_from_pb(message).map_err(unreadable)?;
            records_reply(shard.scroll(request).await.map_err(failed)?, stale_ms)
        })
        .await
    }

    async fn count(
        &self,
        request: Request<pb::CountRequest>,
    ) -> Result<Response<pb::CountReply>, Status> {
        self.measured("count", async {
            let message = request.into_inner();
            let (shard, stale_ms) = self.admit_read(message.target.as_ref()).await?;
            let filter = to::filter_from_pb(message.filter).map_err(unreadable)?;
            let count = shard.count(filter).await.map_err(failed)?;
            Ok(pb::CountReply { count, stale_ms })
        })
        .await
    }

    async fn set_indexes(
        &self,
        request: Request<pb::SetIndexesRequest>,
    ) -> Result<Response<pb::SetIndexesReply>, Status> {
        self.measured("set_indexes", async {
            let message = request.into_inner();
            let shard = self.admit(message.target.as_ref())?;
            shard.set_indexes(to::indexes_from_pb(message)).await.map_err(failed)?;
            Ok(pb::SetIndexesReply {})
        })
        .await
    }

    async fn info(
        &self,
        request: Request<pb::InfoRequest>,
    ) -> Result<Response<pb::InfoReply>, Status> {
        self.measured("info", async {
            let message = request.into_inner();
            let shard = self.admit(message.target.as_ref())?;
            Ok(to::info_to_pb(&shard.info().await.map_err(failed)?))
        })
        .await
    }

    async fn replica(
        &self,
        request: Request<pb::ReplicaRequest>,
    ) -> Result<Response<pb::ReplicaReply>, Status> {
        self.measured("replica", async {
            let message = request.into_inner();
            let shard = self.admit(message.target.as_ref())?;
            let status = shard
                .replica_status()
                .ok_or_else(|| Status::unimplemented("this shard has one replica"))?;
            Ok(tell::status_to_pb(&status, clock::now()))
        })
        .await
    }
}
