//! Digests of all replicas at one seq.

use futures::future::join_all;
use shoal_consensus::{DiskId, Seq};
use shoal_proto::pb;
use shoal_shard::digest::Digest;
use tonic::Status;

use super::wire::decode_buckets;
use super::{ANSWER, Lead, blocking, decode_outcome};
use crate::replica::channel::connect;
use crate::replica::driver::{NotCaptured, Peer, Peers};
use crate::replica::handle::ReplicaHandle;
use crate::replica::wire::encode_disk;
use crate::status::to_status;
use crate::target::Addressee;
use crate::token::SharedToken;

/// How often a seq is named that some cannot stop at.
const ATTEMPTS: usize = 8;

/// How replicas are spoken to.
#[derive(Clone)]
pub(super) struct Speaker {
    pub(super) handle: ReplicaHandle,
    pub(super) addressee: Addressee,
    pub(super) token: SharedToken,
}

/// What all hold at a seq.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) own: Digest,
    /// Of those that answered; whether each votes.
    pub(super) others: Vec<(DiskId, bool, Digest)>,
    /// Whether any did not.
    pub(super) incomplete: bool,
}

/// What one replica says.
type Said = Result<Result<Digest, NotCaptured>, Status>;

impl Speaker {
    /// Asks all. An error where not even this replica could stop at a seq.
    pub(super) async fn gather(&self, peers: &Peers) -> Result<Gathered, Status> {
        let mut lead = Lead::measure(&self.handle).await;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let seq = lead.seq(&self.handle);
            let others = join_all(peers.others.iter().map(|peer| self.ask(peer, seq)));
            let (own, others) = tokio::join!(self.own(seq), others);
            let own = own?;
            let late = |said: &Said| matches!(said, Ok(Err(NotCaptured::Past)));
            let too_late = others.iter().any(late).then_some(NotCaptured::Past);
            match (own, too_late) {
                (Ok(own), None) => return Ok(gathered(own, peers, others)),
                (Err(why), _) | (Ok(_), Some(why)) => {
                    (lead, last) = (lead.after(why), Some(why));
                    Lead::pause().await;
                }
            }
        }
        Err(Status::unavailable(format!("no seq that all stop at: {last:?}")))
    }

    async fn own(&self, seq: Seq) -> Said {
        let captured = self.handle.capture(seq, false).await;
        match captured.map_err(|error| to_status(&error))? {
            Ok(captured) => blocking(move |cancel| captured.moment.digest(cancel)).await.map(Ok),
            Err(why) => Ok(Err(why)),
        }
    }

    async fn ask(&self, peer: &Peer, seq: Seq) -> Said {
        let said = tokio::time::timeout(ANSWER, async {
            let mut client = connect(peer.address()?, self.token.clone()).await?;
            let target = Some(self.addressee.target());
            let request = pb::DigestRequest { target, to: encode_disk(peer.disk), seq };
            let reply = client.digest(request).await?.into_inner();
            match decode_outcome(&reply)? {
                Ok(()) => decode_buckets(seq, &reply.buckets).map(Ok),
                Err(why) => Ok(Err(why)),
            }
        });
        said.await.map_err(|_| Status::deadline_exceeded("no digest in time"))?
    }
}

fn gathered(own: Digest, peers: &Peers, said: Vec<Said>) -> Gathered {
    let mut gathered = Gathered { own, others: Vec::new(), incomplete: false };
    for (peer, said) in peers.others.iter().zip(said) {
        match said {
            Ok(Ok(digest)) => gathered.others.push((peer.disk, peer.votes, digest)),
            Ok(Err(why)) => {
                tracing::debug!(replica = %peer.name(), ?why, "no digest of a replica");
                gathered.incomplete = true;
            }
            Err(status) => {
                let error = status.message();
                tracing::debug!(replica = %peer.name(), error, "no digest of a replica");
                gathered.incomplete = true;
            }
        }
    }
    gathered
}
