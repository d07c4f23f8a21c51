//! What other replicas send to this one: messages, and requests for a snapshot, for its digest, or to be mended.
//!
//! Invariant: nothing reaches the replica that did not show the token, was meant for another shard or another disk, or does
//! not decode. Messages of one stream reach it in the order in which they were sent.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use shoal_consensus::{DiskId, Epoch, Message};
use shoal_proto::pb::replica_service_server::{ReplicaService, ReplicaServiceServer};
use shoal_proto::{MAX_MESSAGE_BYTES, pb};
use shoal_shard::api::ShardError;
use shoal_shard::snapshot::Snapshot;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use super::digests::{self, Mending, Replies};
use super::handle::ReplicaHandle;
use super::snapshots::{Blocks, Snapshots};
use super::transport::Offer;
use super::wire::{self, WireError};
use crate::drain::Stop;
use crate::status::not_ready;
use crate::target::Addressee;
use crate::telemetry::{Dropped, Telemetry};
use crate::token::{RequireToken, SharedToken};

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message(Message),
    /// A snapshot is to be asked for.
    Offer(Offer),
}

/// The replica in this process, as others see it.
#[async_trait]
pub trait Local: Send + Sync {
    /// Its disk.
    fn disk(&self) -> DiskId;

    /// Takes what came; waits while there is no room, and with it the sender. Fails once the replica stopped.
    async fn deliver(&self, incoming: Incoming) -> Result<(), Status>;

    /// The epoch that it leads now.
    fn leads(&self) -> Option<Epoch>;

    /// A snapshot of what is committed. May block.
    fn snapshot(&self) -> Result<Snapshot, ShardError>;

    /// Its driver; `None` for one that holds no points.
    fn driver(&self) -> Option<&ReplicaHandle>;
}

/// Where the replica will be once its disk is open.
pub type LocalSlot = Arc<OnceLock<Arc<dyn Local>>>;

/// The service that a replica is to others.
pub struct ReplicaServer {
    addressee: Addressee,
    slot: LocalSlot,
    snapshots: Arc<Snapshots>,
    telemetry: Arc<Telemetry>,
    stop: Stop,
}

/// It, with its token asked for.
pub type Guarded = InterceptedService<ReplicaServiceServer<ReplicaServer>, RequireToken>;

impl ReplicaServer {
    /// A service of a replica which may still be opening. It ends its streams once told to stop: that is to be after the
    /// last write was answered, as the others' answers come over them.
    pub fn new(
        addressee: Addressee,
        slot: LocalSlot,
        snapshots: Snapshots,
        telemetry: Arc<Telemetry>,
        stop: Stop,
    ) -> Self {
        Self { addressee, slot, snapshots: Arc::new(snapshots), telemetry, stop }
    }

    /// To be added to a gRPC server.
    pub fn guarded(self, token: impl Into<SharedToken>) -> Guarded {
        let service = ReplicaServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        InterceptedService::new(service, RequireToken(token.into()))
    }

    fn admit(&self, target: Option<&pb::Target>) -> Result<&Arc<dyn Local>, Status> {
        self.addressee.check(target).map_err(|status| *status)?;
        self.slot.get().ok_or_else(|| not_ready("it is starting; retry"))
    }

    /// The driver of the disk that a request is for.
    fn addressed(&self, target: Option<&pb::Target>, to: &[u8]) -> Result<ReplicaHandle, Status> {
        let local = self.admit(target)?;
        let disk = wire::decode_disk(to);
        let disk = disk.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let driver = local.driver().filter(|_| disk == local.disk());
        driver.cloned().ok_or_else(|| Status::failed_precondition("the disk was replaced"))
    }

    /// Hands a message on, if it is for this disk.
    async fn take(&self, message: pb::ReplicaMessage) -> Result<(), Status> {
        let local = self.admit(message.target.as_ref())?;
        let unreadable = |error: WireError| {
            self.telemetry.replica.dropped(Dropped::Unreadable);
            Status::invalid_argument(error.to_string())
        };
        if wire::decode_disk(&message.to).map_err(unreadable)? != local.disk() {
            // Somebody still has the address of a disk that was replaced.
            self.telemetry.replica.dropped(Dropped::Misaddressed);
            return Ok(());
        }
        let incoming = incoming(message).map_err(unreadable)?;
        local.deliver(incoming).await
    }
}

fn incoming(message: pb::ReplicaMessage) -> Result<Incoming, WireError> {
    match message.offer {
        Some(pb::SnapshotOffer { from, epoch }) => Ok(Incoming::Offer(Offer {
            from: wire::decode_disk(&from)?,
            epoch: wire::decode_epoch(epoch),
        })),
        None => wire::decode(&message.body).map(Incoming::Message),
    }
}

#[tonic::async_trait]
impl ReplicaService for ReplicaServer {
    async fn deliver(
        &self,
        request: Request<Streaming<pb::ReplicaMessage>>,
    ) -> Result<Response<pb::DeliverReply>, Status> {
        let mut messages = request.into_inner();
        let all = async {
            while let Some(message) = messages.message().await? {
                self.take(message).await?;
            }
            Ok(Response::new(pb::DeliverReply {}))
        };
        tokio::select! {
            ended = all => ended,
            () = self.stop.clone().wait() => Err(not_ready("it is stopping")),
        }
    }

    type SnapshotStream = Blocks;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Blocks>, Status> {
        let request = request.into_inner();
        let local = self.admit(request.target.as_ref())?.clone();
        let held = match request.snapshot.is_empty() {
            true => None,
            false => Some((super::snapshots::decode_id(&request.snapshot)?, request.files)),
        };
        self.snapshots.serve(local, held, self.stop.clone()).await.map(Response::new)
    }

    async fn digest(
        &self,
        request: Request<pb::DigestRequest>,
    ) -> Result<Response<pb::DigestReply>, Status> {
        let pb::DigestRequest { target, to, seq } = request.into_inner();
        let driver = self.addressed(target.as_ref(), &to)?;
        digests::digest(&driver, seq).await.map(Response::new)
    }

    type MendStream = Replies;

    async fn mend(
        &self,
        requests: Request<Streaming<pb::MendRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let mut requests = requests.into_inner();
        let first = requests.message().await?.and_then(|request| request.what);
        let Some(pb::mend_request::What::Start(start)) = first else {
            return Err(Status::invalid_argument("it does not begin with its start"));
        };
        let handle = self.addressed(start.target.as_ref(), &start.to)?;
        let mending = Mending { handle, telemetry: self.telemetry.clone() };
        Ok(Response::new(mending.begin(start.seq, requests, self.stop.clone())))
    }
}
