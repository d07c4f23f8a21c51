//! Messages to the other replicas: one stream to each, for as long as the connection to it lives.
//!
//! Whoever sends never waits, and no replica waits for another: each has a queue and a task of its own. What does not fit the
//! queue, or is in it when the connection fails, is lost; what matters is sent again by those that rule (`shoal-consensus`),
//! and by then may be out of date.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use shoal_consensus::{DiskId, Epoch, Message};
use shoal_proto::pb;
use shoal_proto::version::{self, Stamped};
use tokio::sync::mpsc;
use tonic::Status;

use super::channel::connect;
use super::wire;
use crate::clock;
use crate::target::Addressee;
use crate::telemetry::{Dropped, Telemetry};
use crate::token::SharedToken;

/// Bytes of messages that wait for one replica. A primary has 8 appends of a mebibyte under way to each, and may send all
/// of them again when it gets no answer; the rest are small. A message that is larger than this waits alone.
const QUEUE_BYTES: usize = 2 * 8 * (1 << 20);
/// First pause before a lost connection is made again; doubled each time up to the last. An election takes about a second,
/// so a replica that came back should be reached in half of that.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// A connection that lived for so long is not at fault that it ended.
const LIVED: Duration = Duration::from_secs(1);
/// How long a connection may take no message that waits for it, besides what those need that it took before. One that is
/// alive and takes none is given up: it may be stuck in a way that a new one is not, and without messages nobody is elected.
const TAKES: Duration = Duration::from_secs(2);
/// What a slow line carries at the least, bytes per millisecond.
const SLOW: usize = 1000;
/// How long a call may take to say why it takes no more messages.
const SAYS_WHY: Duration = Duration::from_millis(500);

/// What is sent besides messages: that the receiver needs a snapshot, and may have it of the sender, which leads an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The sender's disk.
    pub from: DiskId,
    /// Which it leads.
    pub epoch: Epoch,
}

/// Sends messages to the other replicas of a shard.
pub struct Transport {
    line: Line,
    peers: Mutex<BTreeMap<DiskId, Peer>>,
}

/// What all connections have in common.
#[derive(Clone)]
struct Line {
    addressee: Addressee,
    token: SharedToken,
    telemetry: Arc<Telemetry>,
}

/// The way to one replica.
struct Peer {
    address: String,
    queue: mpsc::UnboundedSender<Queued>,
    waiting: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Outgoing {
    Message(Message),
    Offer(Offer),
}

/// Something in a queue; no longer counted once it is dropped.
struct Queued {
    what: Outgoing,
    bytes: usize,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Transport {
    /// Sends to replicas of a shard, none of which it knows yet.
    pub fn new(
        addressee: Addressee,
        token: impl Into<SharedToken>,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let line = Line { addressee, token: token.into(), telemetry };
        Self { line, peers: Mutex::default() }
    }

    /// Says where disks are reached, as `HOST:PORT`. Others are reached no more, and those whose address changed anew. Needs
    /// a tokio runtime.
    pub fn addresses(&self, addresses: BTreeMap<DiskId, String>) {
        let mut peers = self.peers();
        peers.retain(|disk, peer| addresses.get(disk) == Some(&peer.address));
        for (disk, address) in addresses {
            peers.entry(disk).or_insert_with(|| self.line.peer(disk, address));
        }
    }

    /// Sends a message, or loses it. Never waits.
    pub fn send(&self, to: DiskId, message: Message) {
        let bytes = wire::size(&message);
        self.queue(to, Outgoing::Message(message), bytes);
    }

    /// Tells a replica to ask for a snapshot, or does not. Never waits.
    pub fn offer(&self, to: DiskId, offer: Offer) {
        self.queue(to, Outgoing::Offer(offer), size_of::<Offer>());
    }

    fn queue(&self, to: DiskId, what: Outgoing, bytes: usize) {
        let lost = match self.peers().get(&to) {
            None => Some(Dropped::NoAddress),
            Some(peer) => {
                // Only taken from meanwhile, since what is queued is queued under the lock.
                let waiting = peer.waiting.load(Ordering::Relaxed);
                let fits = waiting == 0 || waiting + bytes <= QUEUE_BYTES;
                fits.then(|| peer.waiting.fetch_add(bytes, Ordering::Relaxed));
                let queued = || Queued { what, bytes, waiting: peer.waiting.clone() };
                let taken = fits && peer.queue.send(queued()).is_ok();
                (!taken).then_some(Dropped::Full)
            }
        };
        if let Some(why) = lost {
            self.line.telemetry.replica.dropped(why);
        }
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, BTreeMap<DiskId, Peer>> {
        // The map is whole at any time, so a panic elsewhere does not spoil it.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn peer(&self, disk: DiskId, address: String) -> Peer {
        let (queue, queued) = mpsc::unbounded_channel();
        let task = tokio::spawn(self.clone().serve(disk, address.clone(), queued));
        Peer { address, queue, waiting: Arc::default(), task }
    }

    /// Sends what is queued, over one connection after the other. Ends with the queue's sender.
    async fn serve(self, to: DiskId, address: String, mut queue: mpsc::UnboundedReceiver<Queued>) {
        let (mut version, mut pause) = (version::HERE.newest, PAUSES.0);
        while !queue.is_closed() {
            let start = clock::now();
            let ended = self.stream(to, &address, version, &mut queue).await;
            if let Some(common) = version::HERE.common(&ended) {
                version = common;
            }
            // What waits is older than the pause when it could be sent.
            while queue.try_recv().is_ok() {
                self.telemetry.replica.dropped(Dropped::Disconnected);
            }
            if start.elapsed() >= LIVED {
                pause = PAUSES.0;
                tracing::info!(address, error = ended.message(), "lost a replica");
            } else {
                tracing::debug!(address, error = ended.message(), "no way to a replica yet");
            }
            clock::sleep(pause).await;
            pause = (2 * pause).min(PAUSES.1);
        }
    }

    /// Sends what is queued over one connection; why that ended.
    async fn stream(
        &self,
        to: DiskId,
        address: &str,
        version: u32,
        queue: &mut mpsc::UnboundedReceiver<Queued>,
    ) -> Status {
        let mut client = match connect(address, self.token.clone()).await {
            Ok(client) => client,
            Err(status) => return status,
        };
        // One message, so that what waits does so in the queue, where it is counted.
        let (sender, mut receiver) = mpsc::channel(1);
        let messages = stream::poll_fn(move |context| receiver.poll_recv(context));
        let forward = async {
            // One that waits in the channel, one that is being sent.
            let mut before = [0; 2];
            while let Some(queued) = queue.recv().await {
                let slow = before.iter().sum::<usize>() / SLOW;
                let patience = TAKES + Duration::from_millis(slow as u64);
                let message = match self.message(to, &queued.what) {
                    Ok(message) => message.in_version(version),
                    Err(error) => {
                        tracing::error!(%error, "a message that cannot be sent");
                        continue;
                    }
                };
                match tokio::time::timeout(patience, sender.send(message)).await {
                    Ok(Ok(())) => before = [queued.bytes, before[0]],
                    Ok(Err(_)) => {
                        // The call ends with the reason.
                        clock::sleep(SAYS_WHY).await;
                        return Status::unavailable(
                            "it takes no more messages, and does not say why",
                        );
                    }
                    Err(_) => {
                        return Status::unavailable(format!("it took no message for {patience:?}"));
                    }
                }
            }
            Status::cancelled("nobody sends any more")
        };
        tokio::select! {
            ended = client.deliver(messages) => match ended {
                Ok(_) => Status::unavailable("it takes no more messages"),
                Err(status) => status,
            },
            ended = forward => ended,
        }
    }

    fn message(&self, to: DiskId, what: &Outgoing) -> Result<pb::ReplicaMessage, wire::WireError> {
        let (body, offer) = match what {
            Outgoing::Message(message) => (wire::encode(message)?, None),
            Outgoing::Offer(Offer { from, epoch }) => {
                let (from, epoch) = (wire::encode_disk(*from), wire::encode_epoch(*epoch));
                (Bytes::new(), Some(pb::SnapshotOffer { from, epoch: Some(epoch) }))
            }
        };
        let target = Some(self.addressee.target());
        Ok(pb::ReplicaMessage { target, to: wire::encode_disk(to), body, offer })
    }
}

#[cfg(test)]
mod tests;
