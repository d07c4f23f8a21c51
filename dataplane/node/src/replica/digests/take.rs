//! What a replica does when it is asked for its digest, or is mended.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use shoal_consensus::Seq;
use shoal_proto::pb;
use shoal_proto::pb::mend_reply::What as Reply;
use shoal_proto::pb::mend_request::What;
use shoal_shard::digest::BucketSet;
use shoal_shard::mend::{Comparison, Mended};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::wire::{decode_block, decode_buckets, encode_buckets};
use super::{blocking, encode_outcome};
use crate::clock;
use crate::drain::Stop;
use crate::replica::handle::ReplicaHandle;
use crate::status::to_status;
use crate::telemetry::Telemetry;

/// How long the points may take to come; it does not hold still for longer anyway.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take until what was mended is durable: a flush of one segment.
const DURABLE: Duration = Duration::from_secs(60);

/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// What is answered while a replica is mended.
pub(in crate::replica) type Replies =
    Pin<Box<dyn Stream<Item = Result<pb::MendReply, Status>> + Send>>;

/// What this replica holds at a seq.
pub(in crate::replica) async fn digest(
    handle: &ReplicaHandle,
    seq: Seq,
) -> Result<pb::DigestReply, Status> {
    let captured = handle.capture(seq, false).await.map_err(|error| to_status(&error))?;
    let outcome = encode_outcome(captured.as_ref().map(drop).map_err(|why| *why)).into();
    let buckets = match captured {
        Ok(captured) => {
            let digest = blocking(move |cancel| captured.moment.digest(cancel)).await?;
            encode_buckets(&digest)
        }
        Err(_) => bytes::Bytes::new(),
    };
    Ok(pb::DigestReply { outcome, buckets })
}

/// This replica while it is mended.
pub(in crate::replica) struct Mending {
    pub(in crate::replica) handle: ReplicaHandle,
    pub(in crate::replica) telemetry: Arc<Telemetry>,
}

impl Mending {
    /// Holds still at a seq, and becomes what the requests say.
    pub(in crate::replica) fn begin(
        self,
        seq: Seq,
        requests: Streaming<pb::MendRequest>,
        stop: Stop,
    ) -> Replies {
        let (replies, mut next) = mpsc::channel(2);
        tokio::spawn(async move {
            let mended = async {
                if let Some(done) = self.run(seq, requests, &replies).await? {
                    send(&replies, Reply::Done(done)).await?;
                }
                Ok(())
            };
            let ended = tokio::select! {
                ended = mended => ended,
                () = stop.wait() => Err(crate::status::not_ready("it is stopping")),
            };
            if let Err(status) = ended {
                let error = status.message();
                match status.code() {
                    // It tries again at another seq.
                    Code::Cancelled => tracing::debug!(seq, error, "the primary gave it up"),
                    _ => tracing::warn!(seq, error, "this replica was not mended"),
                }
                let _ = replies.send(Err(status)).await;
            }
        });
        Box::pin(stream::poll_fn(move |context| next.poll_recv(context)))
    }

    async fn run(
        &self,
        seq: Seq,
        requests: Streaming<pb::MendRequest>,
        replies: &mpsc::Sender<Result<pb::MendReply, Status>>,
    ) -> Result<Option<pb::MendDone>, Status> {
        let held = self.compare(seq, requests, replies);
        let held = tokio::time::timeout(PATIENCE, held).await;
        let held = held.map_err(|_| Status::deadline_exceeded("the points did not come in time"));
        let Some((mended, buckets)) = held?? else { return Ok(None) };
        let Some(mended) = mended else {
            return Ok(Some(pb::MendDone { put: 0, removed: 0, buckets, durable: true }));
        };
        self.telemetry.replica.repaired(mended.put, mended.removed);
        let durable = async {
            while !mended.is_durable() {
                clock::sleep(LOOK).await;
            }
        };
        let durable = tokio::time::timeout(DURABLE, durable).await.is_ok();
        let Mended { put, removed, .. } = mended;
        tracing::warn!(seq, put, removed, durable, "this replica's points were mended");
        let (put, removed) = (put as u64, removed as u64);
        Ok(Some(pb::MendDone { put, removed, buckets, durable }))
    }

    /// While the shard holds still: what was mended, if anything was, and the digest then.
    async fn compare(
        &self,
        seq: Seq,
        mut requests: Streaming<pb::MendRequest>,
        replies: &mpsc::Sender<Result<pb::MendReply, Status>>,
    ) -> Result<Option<(Option<Mended>, bytes::Bytes)>, Status> {
        let failed = |error| to_status(&error);
        let captured = self.handle.capture(seq, true).await.map_err(failed)?;
        let outcome = encode_outcome(captured.as_ref().map(drop).map_err(|why| *why)).into();
        let Ok(held) = captured else {
            let buckets = bytes::Bytes::new();
            send(replies, Reply::Held(pb::DigestReply { outcome, buckets })).await?;
            return Ok(None);
        };
        let moment = held.moment.clone();
        let before = blocking(move |cancel| moment.digest(cancel)).await?;
        let buckets = encode_buckets(&before);
        send(replies, Reply::Held(pb::DigestReply { outcome, buckets: buckets.clone() })).await?;

        let What::Plan(plan) = next(&mut requests).await? else {
            return Err(Status::invalid_argument("it does not go on with a plan"));
        };
        // Checked for its form alone: the primary compares.
        decode_buckets(seq, &plan.buckets)?;
        let numbers = BucketSet::of(plan.numbers.into_iter().map(|number| number as usize));
        let mut comparison = Comparison::new(held.moment.clone(), numbers).map_err(failed)?;
        let mut came = 0;
        loop {
            match next(&mut requests).await? {
                What::Block(block) => {
                    let block = decode_block(block)?;
                    came += block.seqs.len() as u64;
                    let taken = move |_: &_| comparison.take(&block).map(|()| comparison);
                    comparison = blocking(taken).await?;
                }
                What::End(pb::MendEnd { points }) if points == came => break,
                What::End(_) => return Err(Status::data_loss("not all points came")),
                _ => return Err(Status::invalid_argument("another plan")),
            }
        }
        let fixes = blocking(move |cancel| comparison.finish(cancel)).await?;
        if fixes.is_empty() {
            return Ok(Some((None, buckets)));
        }
        let (mended, moment) = self.handle.mend(fixes).await.map_err(failed)?;
        drop(held);
        let after = blocking(move |cancel| moment.digest(cancel)).await?;
        Ok(Some((Some(mended), encode_buckets(&after))))
    }
}

async fn next(requests: &mut Streaming<pb::MendRequest>) -> Result<What, Status> {
    let request = requests.message().await?;
    let what = request.and_then(|request| request.what);
    what.ok_or_else(|| Status::cancelled("the primary gave it up"))
}

async fn send(
    replies: &mpsc::Sender<Result<pb::MendReply, Status>>,
    reply: Reply,
) -> Result<(), Status> {
    let sent = replies.send(Ok(pb::MendReply { what: Some(reply) })).await;
    sent.map_err(|_| Status::cancelled("the primary gave it up"))
}
