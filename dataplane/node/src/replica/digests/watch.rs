//! Comparing the replicas now and then, on the primary, and seeing to what differs.

use std::sync::Arc;
use std::time::Duration;

use shoal_consensus::Epoch;
use tonic::Status;

use super::judge::{Answer, Verdict, judge};
use super::round::{Gathered, Speaker};
use super::send::Sent;
use crate::clock;
use crate::replica::driver::Peers;
use crate::replica::handle::ReplicaHandle;
use crate::target::Addressee;
use crate::telemetry::{Compared, Telemetry};
use crate::token::SharedToken;

/// This part of the usual time after one began to lead, or mended something, it compares: soon, and not while the others
/// still catch up.
const SOON: u32 = 20;

/// How long a primary that is not like the others waits for another to lead.
const ASIDE: Duration = Duration::from_secs(5);

/// Parts in which a replica is mended before all are compared again.
const PARTS: usize = 64;

/// Buckets that a line of the log names.
const NAMED: usize = 8;

/// See the file's comment.
pub(in crate::replica) struct Watch {
    speaker: Speaker,
    telemetry: Arc<Telemetry>,
    every: Duration,
}

impl Watch {
    pub(in crate::replica) fn new(
        handle: ReplicaHandle,
        addressee: Addressee,
        token: SharedToken,
        telemetry: Arc<Telemetry>,
        every: Duration,
    ) -> Self {
        Self { speaker: Speaker { handle, addressee, token }, telemetry, every }
    }

    /// Runs until the replica is gone.
    pub(in crate::replica) async fn run(self) {
        let mut statuses = self.speaker.handle.statuses();
        let (mut led, mut soon): (Option<Epoch>, bool) = (None, true);
        loop {
            let leads = statuses.borrow_and_update().leads;
            if leads != led {
                (led, soon) = (leads, true);
                self.telemetry.replica.differing(0);
            }
            let compares = async {
                clock::sleep(self.pause(soon)).await;
                self.compare().await
            };
            tokio::select! {
                again = compares, if leads.is_some() => soon = again,
                changed = statuses.wait_for(|status| status.leads != leads) => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Of several shards not all at once.
    fn pause(&self, soon: bool) -> Duration {
        let pause = if soon { self.every / SOON } else { self.every };
        pause.mul_f64(0.75 + (clock::random_u64() % 512) as f64 / 1024.0)
    }

    /// Compares all, and mends those that differ. Whether to do so again soon.
    async fn compare(&self) -> bool {
        let peers = match self.speaker.handle.peers().await {
            Ok(Some(peers)) if !peers.others.is_empty() => peers,
            Ok(_) | Err(_) => return false,
        };
        let shard = &self.speaker.addressee.shard;
        let gathered = match self.speaker.gather(&peers).await {
            Ok(gathered) => gathered,
            Err(status) => {
                let error = status.message();
                tracing::warn!(shard, error, "the replicas could not be compared");
                self.telemetry.replica.compared(Compared::Failed, 0);
                return false;
            }
        };
        let verdict = self.judge(&peers, &gathered);
        match () {
            () if verdict.is_clean() => {
                tracing::debug!(shard, seq = gathered.own.seq, "the replicas hold the same");
                false
            }
            () if !verdict.own.is_empty() => {
                // Whoever leads next mends this one.
                self.speaker.handle.step_aside(ASIDE).await;
                false
            }
            () => self.mend(&peers, &verdict).await,
        }
    }

    fn judge(&self, peers: &Peers, gathered: &Gathered) -> Verdict {
        let answers: Vec<Answer<'_>> = gathered
            .others
            .iter()
            .map(|(disk, votes, digest)| Answer { disk: *disk, votes: *votes, digest })
            .collect();
        let verdict = judge(&gathered.own, &answers, peers.voters);
        let Verdict { others, own, undecided } = &verdict;
        let (shard, seq) = (&self.speaker.addressee.shard, gathered.own.seq);
        for (disk, buckets) in others {
            let (replica, first) = (peers.name(*disk), &buckets[..buckets.len().min(NAMED)]);
            let buckets = buckets.len();
            tracing::warn!(shard, seq, %replica, buckets, ?first, "a replica holds other points than the primary; they are mended");
        }
        if !own.is_empty() {
            let (buckets, first) = (own.len(), &own[..own.len().min(NAMED)]);
            tracing::error!(
                shard,
                seq,
                buckets,
                ?first,
                "this primary holds other points than the other replicas; another is to lead and to mend them"
            );
        }
        if !undecided.is_empty() {
            let (buckets, first) = (undecided.len(), &undecided[..undecided.len().min(NAMED)]);
            tracing::error!(
                shard,
                seq,
                buckets,
                ?first,
                "replicas hold different points, and no majority holds the same; nothing is mended"
            );
        }
        let buckets = others.values().map(Vec::len).sum::<usize>() + own.len() + undecided.len();
        let outcome = match () {
            () if !own.is_empty() => Compared::PrimaryDiffers,
            () if !undecided.is_empty() => Compared::Undecided,
            () if !others.is_empty() => Compared::Differ,
            () if gathered.incomplete => Compared::Incomplete,
            () => Compared::Equal,
        };
        self.telemetry.replica.compared(outcome, buckets);
        verdict
    }

    /// Mends those that differ, one after the other. Whether it is to be looked again soon.
    async fn mend(&self, peers: &Peers, verdict: &Verdict) -> bool {
        let shard = &self.speaker.addressee.shard;
        for (disk, buckets) in &verdict.others {
            let Some(peer) = peers.others.iter().find(|peer| peer.disk == *disk) else { continue };
            let replica = peer.name();
            // By parts, for as long as that changes anything.
            for _ in 0..PARTS {
                match self.speaker.mend(peer, buckets).await {
                    Ok(Sent { put, removed, more }) => {
                        tracing::warn!(shard, %replica, put, removed, more, "mended a replica");
                        if !more || put + removed == 0 {
                            break;
                        }
                    }
                    Err(status) => {
                        self.not_mended(&replica, &status);
                        break;
                    }
                }
            }
        }
        // What was mended is looked at again; what was not is tried again.
        !verdict.others.is_empty()
    }

    fn not_mended(&self, replica: &str, status: &Status) {
        let (shard, error) = (&self.speaker.addressee.shard, status.message());
        tracing::warn!(shard, replica, error, "a replica could not be mended; it is tried again");
    }
}
