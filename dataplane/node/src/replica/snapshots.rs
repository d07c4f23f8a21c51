//! Snapshots for replicas that need entries which are gone from the log: taken, held, and sent at a bounded rate.
//!
//! A snapshot is held by its id for some minutes after it was last sent, so that a stream which broke goes on at the file
//! where it stopped. It costs the space of what was compacted since, so only a few are held. Each stream says which epoch is
//! led here when it begins: what a snapshot holds is committed, so it is part of every log that leads from then on, and a
//! stream that goes on with it later may say a later epoch.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, stream};
use shoal_proto::pb;
use shoal_proto::pb::snapshot_block::What;
use shoal_shard::snapshot::{Snapshot, SnapshotStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;
use uuid::Uuid;

use super::receive::Local;
use super::wire;
use crate::clock;
use crate::drain::Stop;
use crate::status::{not_ready, to_status};
use crate::telemetry::Telemetry;

/// Bytes a second that snapshots are sent at, together: below what a disk and a network link give, so that searches and
/// the log keep their share.
pub const BYTES_PER_SECOND: u64 = 100_000_000;
/// Streams at once: the others of five replicas would take turns, which is no slower at one rate for all.
const STREAMS: usize = 3;
/// Snapshots held: those of streams that may go on. With those that are being sent at most as many as a shard gives out,
/// leaving one to a split or a backup.
const HELD: usize = 2;
/// How long one is held after it was last sent: a pod that moves to another node is back by then.
const HOLD: Duration = Duration::from_secs(300);
/// How long a receiver may take for one block. It syncs whole files in between, which takes minutes on no disk.
const STALL: Duration = Duration::from_secs(120);

/// Snapshots of a shard that are held and sent.
pub struct Snapshots {
    held: Mutex<Vec<Held>>,
    streams: Arc<Semaphore>,
    pace: Arc<Mutex<Pace>>,
    telemetry: Arc<Telemetry>,
}

struct Held {
    snapshot: Snapshot,
    until: Instant,
}

/// The messages of a stream.
pub type Blocks = std::pin::Pin<Box<dyn Stream<Item = Result<pb::SnapshotBlock, Status>> + Send>>;

/// A stream under way.
struct Sending {
    blocks: SnapshotStream,
    to: mpsc::Sender<Result<pb::SnapshotBlock, Status>>,
    _permit: OwnedSemaphorePermit,
}

impl Snapshots {
    /// None yet; to be sent at so many bytes a second, at least one.
    pub fn new(bytes_per_second: u64, telemetry: Arc<Telemetry>) -> Self {
        Self {
            held: Mutex::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            pace: Arc::new(Mutex::new(Pace { rate: bytes_per_second.max(1), free: None })),
            telemetry,
        }
    }

    /// Sends a snapshot: the one that a receiver has some files of, if it is still held, from there on.
    pub(super) async fn serve(
        self: &Arc<Self>,
        local: Arc<dyn Local>,
        has: Option<(Uuid, u32)>,
        stop: Stop,
    ) -> Result<Blocks, Status> {
        let permit = self.streams.clone().try_acquire_owned();
        let permit =
            permit.map_err(|_| not_ready("it sends as many snapshots as it may; retry"))?;
        // Before it is taken: what was committed by then is in it.
        let not_primary = || Status::failed_precondition("it is not the primary any more");
        let epoch = local.leads().ok_or_else(not_primary)?;
        let head_from = wire::encode_disk(local.disk());
        let (snapshot, files) = match has.and_then(|(id, files)| Some((self.find(id)?, files))) {
            Some(found) => found,
            None => (self.take(local).await?, 0),
        };
        let head = pb::SnapshotHead {
            snapshot: encode_id(snapshot.id()),
            from: head_from,
            epoch: Some(wire::encode_epoch(epoch)),
        };
        tracing::info!(snapshot = %snapshot.id(), seq = snapshot.seq(), files, "sending a snapshot");
        let (to, mut blocks) = mpsc::channel(1);
        let sending = Sending { blocks: snapshot.stream(files), to, _permit: permit };
        let this = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = this.send(head, sending) => {}
                () = stop.wait() => {}
            }
            this.hold(snapshot);
            clock::sleep(HOLD).await;
            this.expire(clock::now());
        });
        Ok(Box::pin(stream::poll_fn(move |context| blocks.poll_recv(context))))
    }

    /// Sends all blocks, unless the receiver is gone or does not take them.
    async fn send(&self, head: pb::SnapshotHead, sending: Sending) {
        let Sending { mut blocks, to, _permit } = sending;
        let mut next = Some(Ok(What::Head(head)));
        while let Some(what) = next {
            if let Ok(What::Block(block)) = &what {
                self.telemetry.replica.sent_snapshot(block.len());
                let pause = lock(&self.pace).pause(clock::now(), block.len());
                tokio::select! {
                    () = clock::sleep(pause) => {}
                    () = to.closed() => return,
                }
            }
            let last = what.is_err();
            let block = what.map(|what| pb::SnapshotBlock { what: Some(what) });
            let taken = tokio::time::timeout(STALL, to.send(block)).await;
            if last || !matches!(taken, Ok(Ok(()))) {
                return;
            }
            // Reads the disk.
            let read = tokio::task::spawn_blocking(move || (blocks.next(), blocks)).await;
            next = match read {
                Ok((block, rest)) => {
                    blocks = rest;
                    block.map(|block| {
                        block.map(|b| What::Block(b.into())).map_err(|error| to_status(&error))
                    })
                }
                Err(error) => {
                    tracing::error!(%error, "a snapshot could not be read");
                    return;
                }
            };
        }
    }

    async fn take(&self, local: Arc<dyn Local>) -> Result<Snapshot, Status> {
        let taken = tokio::task::spawn_blocking(move || local.snapshot()).await;
        let taken = taken.map_err(|error| Status::internal(error.to_string()))?;
        let snapshot = taken.map_err(|error| to_status(&error))?;
        self.hold(snapshot.clone());
        Ok(snapshot)
    }

    fn find(&self, id: Uuid) -> Option<Snapshot> {
        self.expire(clock::now());
        let held = lock(&self.held);
        held.iter().find(|held| held.snapshot.id() == id).map(|held| held.snapshot.clone())
    }

    /// Holds a snapshot from now on for a while, in the place of the one that was sent longest ago.
    fn hold(&self, snapshot: Snapshot) {
        let mut held = lock(&self.held);
        held.retain(|held| held.snapshot.id() != snapshot.id());
        if held.len() >= HELD {
            held.remove(0);
        }
        held.push(Held { snapshot, until: clock::now() + HOLD });
    }

    fn expire(&self, now: Instant) {
        lock(&self.held).retain(|held| held.until > now);
    }
}

/// When bytes may be sent, so that so many go out in a second.
struct Pace {
    rate: u64,
    /// When all that was let through is sent.
    free: Option<Instant>,
}

impl Pace {
    /// How long to wait before so many bytes are sent. What was not used is not saved up.
    fn pause(&mut self, now: Instant, bytes: usize) -> Duration {
        let from = self.free.map_or(now, |free| free.max(now));
        self.free = Some(from + Duration::from_secs_f64(bytes as f64 / self.rate as f64));
        from.saturating_duration_since(now)
    }
}

/// A snapshot's id as it travels.
pub(super) fn encode_id(id: Uuid) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(id.as_bytes())
}

/// The id of a snapshot that these bytes are.
pub(super) fn decode_id(bytes: &[u8]) -> Result<Uuid, Status> {
    Uuid::from_slice(bytes)
        .map_err(|error| Status::invalid_argument(format!("no id of a snapshot: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is behind these locks is whole at any time, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_out_at_the_rate_and_a_pause_is_not_made_up_for() {
        let (start, second) = (clock::now(), Duration::from_secs(1));
        let mut pace = Pace { rate: 1000, free: None };
        assert_eq!(pace.pause(start, 500), Duration::ZERO);
        assert_eq!(pace.pause(start, 1000), second / 2);
        assert_eq!(pace.pause(start + second, 1000), second / 2);
        let later = start + 100 * second;
        assert_eq!(pace.pause(later, 1000), Duration::ZERO);
        assert_eq!(pace.pause(later, 1000), second);
    }

    #[test]
    fn what_is_no_id_of_a_snapshot_is_refused() {
        let id = Uuid::from_u128(7);
        assert_eq!(decode_id(&encode_id(id)).unwrap(), id);
        assert!(decode_id(&[1]).is_err());
    }
}
