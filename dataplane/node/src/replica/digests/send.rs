//! Mending another replica: it holds still at a seq, and is sent the points of the buckets that differ there.

use std::time::Duration;

use futures::stream;
use shoal_consensus::Seq;
use shoal_proto::pb;
use shoal_proto::pb::mend_reply::What as Reply;
use shoal_proto::pb::mend_request::What;
use shoal_shard::digest::{BucketSet, Digest};
use shoal_shard::moment::Moment;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::round::Speaker;
use super::wire::{decode_buckets, encode_block, encode_buckets};
use super::{Lead, blocking, decode_outcome};
use crate::replica::channel::connect;
use crate::replica::driver::{NotCaptured, Peer};
use crate::replica::wire::encode_disk;
use crate::status::to_status;

/// How often a seq is named at which one of both cannot stop.
const ATTEMPTS: usize = 8;

/// Points that are sent at once, unless one bucket alone has more: what a replica looks at in a second or two while it
/// holds still. The rest is mended next.
const MAX_POINTS: u64 = 20_000;

/// How long a replica may take, until what was mended is durable.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of mending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Points that were missing or others.
    pub(super) put: u64,
    /// Points that were too many.
    pub(super) removed: u64,
    /// Whether buckets differ still.
    pub(super) more: bool,
}

/// One call, from this side.
struct Call {
    requests: mpsc::Sender<pb::MendRequest>,
    replies: Streaming<pb::MendReply>,
}

impl Speaker {
    /// Makes some buckets of another replica this one's, as far as they still differ.
    pub(super) async fn mend(&self, peer: &Peer, buckets: &[usize]) -> Result<Sent, Status> {
        let mut lead = Lead::measure(&self.handle).await;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let seq = lead.seq(&self.handle);
            let attempt = tokio::time::timeout(PATIENCE, self.attempt(peer, buckets, seq)).await;
            let late = |_| Status::deadline_exceeded("it does not end");
            match attempt.map_err(late)?? {
                Ok(sent) => return Ok(sent),
                Err(why) => (lead, last) = (lead.after(why), Some(why)),
            }
            Lead::pause().await;
        }
        Err(Status::unavailable(format!("no seq that both stop at: {last:?}")))
    }

    async fn attempt(
        &self,
        peer: &Peer,
        buckets: &[usize],
        seq: Seq,
    ) -> Result<Result<Sent, NotCaptured>, Status> {
        let theirs = async {
            let mut call = self.call(peer, seq).await?;
            let Reply::Held(held) = call.next().await? else {
                return Err(Status::internal("it does not begin with its digest"));
            };
            let digest = match decode_outcome(&held)? {
                Ok(()) => Ok((decode_buckets(seq, &held.buckets)?, call)),
                Err(why) => Err(why),
            };
            Ok::<_, Status>(digest)
        };
        let own = async {
            let captured = self.handle.capture(seq, false).await;
            let captured = match captured.map_err(|error| to_status(&error))? {
                Ok(captured) => captured,
                Err(why) => return Ok(Err(why)),
            };
            let moment = captured.moment.clone();
            let digest = blocking(move |cancel| moment.digest(cancel)).await?;
            Ok::<_, Status>(Ok((digest, captured.moment)))
        };
        let (own, theirs) = tokio::try_join!(own, theirs)?;
        match (own, theirs) {
            (Ok((own, moment)), Ok((theirs, call))) => {
                call.send_points(moment, own, theirs, buckets).await.map(Ok)
            }
            (Err(why), _) | (_, Err(why)) => Ok(Err(why)),
        }
    }

    async fn call(&self, peer: &Peer, seq: Seq) -> Result<Call, Status> {
        let mut client = connect(peer.address()?, self.token.clone()).await?;
        let (requests, mut next) = mpsc::channel(2);
        let target = Some(self.addressee.target());
        let start = pb::MendStart { target, to: encode_disk(peer.disk), seq };
        let outgoing = stream::poll_fn(move |context| next.poll_recv(context));
        let call = |replies| Call { requests: requests.clone(), replies };
        let start = pb::MendRequest { what: Some(What::Start(start)) };
        requests.send(start).await.map_err(|_| gone())?;
        Ok(call(client.mend(outgoing).await?.into_inner()))
    }
}

impl Call {
    async fn next(&mut self) -> Result<Reply, Status> {
        let reply = self.replies.message().await?.and_then(|reply| reply.what);
        reply.ok_or_else(|| Status::internal("it ended before it said what it did"))
    }

    async fn send(&mut self, what: What) -> Result<(), Status> {
        let sent = self.requests.send(pb::MendRequest { what: Some(what) }).await;
        if sent.is_err() {
            // It says why, as a rule.
            self.next().await?;
        }
        sent.map_err(|_| gone())
    }

    async fn send_points(
        mut self,
        moment: Moment,
        own: Digest,
        theirs: Digest,
        buckets: &[usize],
    ) -> Result<Sent, Status> {
        let (numbers, left) = chosen(&own, &theirs, buckets);
        let plan = pb::MendPlan {
            buckets: encode_buckets(&own),
            numbers: numbers.iter().map(|number| *number as u32).collect(),
        };
        self.send(What::Plan(plan)).await?;
        let set = BucketSet::of(numbers.iter().copied());
        let from = moment.clone();
        let mut ids = blocking(move |cancel| from.ids_in(&set, cancel)).await?;
        let mut points = 0;
        while !ids.is_empty() {
            let from = moment.clone();
            let (block, rest) = blocking(move |_| {
                let (block, taken) = from.block(&ids)?;
                ids.drain(..taken);
                Ok::<_, shoal_shard::api::ShardError>((block, ids))
            })
            .await?;
            ids = rest;
            points += block.seqs.len() as u64;
            self.send(What::Block(encode_block(block))).await?;
        }
        self.send(What::End(pb::MendEnd { points })).await?;
        let Reply::Done(done) = self.next().await? else {
            return Err(Status::internal("another digest"));
        };
        let after = decode_buckets(own.seq, &done.buckets)?;
        let differing = own.differing(&after);
        let more = left || numbers.iter().any(|number| differing.contains(number));
        Ok(Sent { put: done.put, removed: done.removed, more: more || !done.durable })
    }
}

/// Buckets to mend now, of those that are to be and still differ; whether others are left.
fn chosen(own: &Digest, theirs: &Digest, buckets: &[usize]) -> (Vec<usize>, bool) {
    let points = |digest: &Digest, number: usize| {
        digest.buckets.get(number).map_or(0, |bucket| bucket.points)
    };
    let mut differing = own.differing(theirs);
    differing.retain(|number| buckets.contains(number));
    let mut sum = 0u64;
    let fits = |number: &&usize| {
        let first = sum == 0;
        sum = sum.saturating_add(points(own, **number)).saturating_add(points(theirs, **number));
        first || sum <= MAX_POINTS
    };
    let count = differing.iter().take_while(fits).count();
    let left = count < differing.len();
    differing.truncate(count);
    (differing, left)
}

fn gone() -> Status {
    Status::unavailable("the replica does not take any more")
}

#[cfg(test)]
mod tests {
    use shoal_shard::digest::{Bucket, DIGEST_BUCKETS};

    use super::*;

    #[test]
    fn few_buckets_are_mended_at_once_and_only_those_that_were_judged() {
        let digest = |points: &[(usize, u64)]| {
            let mut buckets = vec![Bucket::default(); DIGEST_BUCKETS];
            points.iter().for_each(|&(number, points)| buckets[number].points = points);
            Digest { seq: 4, buckets }
        };
        let own = digest(&[(1, 30_000), (2, 5), (9, 3), (700, 19_000), (701, 1_000)]);
        let none = digest(&[]);
        assert_eq!(chosen(&own, &none, &[1, 2, 9]), (vec![1], true));
        assert_eq!(chosen(&own, &none, &[2, 9, 700]), (vec![2, 9, 700], false));
        assert_eq!(chosen(&own, &none, &[2, 9, 700, 701]), (vec![2, 9, 700], true));
        assert_eq!(chosen(&own, &own, &[2, 9]), (vec![], false));
        assert_eq!(chosen(&none, &own, &[700, 5]), (vec![700], false));
    }
}
