//! How the rest of the process speaks to a replica's driver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shoal_consensus::{CasOutcome, DiskId, Epoch, Message, Position, Register, Role, Seq, Ticket};
use shoal_shard::api::{OpOrigin, ShardError, WriteAck};
use shoal_shard::journal::{CutOps, Synced};
use shoal_shard::mend::{Fixes, Mended};
use shoal_shard::moment::Moment;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::driver::{Capture, Captured, Mend, NotCaptured, Peers};
use super::register::Seen;
use super::succession::Failover;
use super::transport::Offer;

/// Events that may wait for the driver. Each is small, or a message whose sender waits.
pub(crate) const QUEUE: usize = 4096;

/// Bytes of ops that may wait to be committed and applied: one largest and as much again beside it.
const QUEUE_BYTES: usize = 2 * shoal_shard::limits::MAX_OP_BYTES;

/// When another is asked to lead again.
const ASIDE_AGAIN: Duration = Duration::from_secs(1);

/// A unit of that room.
const ROOM_BYTES: usize = 1024;

/// Something that happened.
pub(crate) enum Event {
    /// Time has passed.
    Tick,
    /// A message of another replica.
    Received(Message),
    /// A primary has a snapshot for this replica.
    Offered(Offer),
    /// A snapshot was fetched, and is whole.
    Fetched { from: DiskId, epoch: Epoch, at: Position },
    /// Fetching one failed.
    NotFetched,
    /// A sync ended, by which all writes up to a ticket are durable.
    Synced(Ticket, Synced),
    /// The register was read live.
    Register(Seen),
    /// It could not be.
    NoRegister,
    /// A watch tells what the register says.
    Watched(Seen),
    /// A compare-and-swap ended.
    Swapped(Register, CasOutcome),
    /// It was announced that the disk is not blank any more.
    Announced,
    /// A client's op.
    Write(Write),
    /// A read that must see all that was acknowledged.
    Read(oneshot::Sender<Result<Seq, ShardError>>),
    /// Somebody wants the shard as it is at a seq.
    Capture(Capture),
    /// Points are to be mended where it holds still.
    Mend(Mend),
    /// Somebody wants to know the other replicas.
    Peers(oneshot::Sender<Option<Peers>>),
    /// Another is to lead: the process is about to stop, or this replica is not like the others.
    StepAside,
    /// The end.
    Stop,
}

/// A client's op on its way.
pub(crate) struct Write {
    pub(crate) body: Bytes,
    pub(crate) origin: OpOrigin,
    pub(crate) wait: bool,
    pub(crate) reply: oneshot::Sender<Result<WriteAck, ShardError>>,
    pub(crate) _room: OwnedSemaphorePermit,
}

/// What a replica is, for people and for those who ask whether it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Its disk.
    pub disk: DiskId,
    /// What it is to its shard.
    pub role: Role,
    /// The epoch that it leads.
    pub leads: Option<Epoch>,
    /// Where whoever leads is reached, as far as it is known.
    pub primary: Option<String>,
    /// Committed up to here, as far as it knows.
    pub commit: Seq,
    /// Applied up to here.
    pub applied: Seq,
    /// Too few of the members answer for anybody to be elected.
    pub short: bool,
    /// On a primary: how far the others are behind, by disk.
    pub behind: Vec<(DiskId, Seq)>,
    /// When it last showed all that it knew to be committed, and had just heard of it.
    pub fresh: Instant,
    /// For how long it did not show in time what was acknowledged, since it was started.
    pub late: Duration,
    /// Whether it fetches a snapshot.
    pub fetching: bool,
    /// On a primary: how it came to lead, if another or an earlier run of it led before.
    pub failover: Option<Failover>,
    /// Number of the epoch of the last entry in its log.
    pub last_epoch: u64,
    /// Ops that were cut off its log and are kept aside, by epoch.
    pub cut: Arc<[CutOps]>,
    /// Whether more may have been cut.
    pub cut_is_partial: bool,
    /// How many were cut since it was started.
    pub cut_ops: u64,
    /// Why it serves nothing any more.
    pub ended: Option<String>,
}

impl ReplicaStatus {
    pub(crate) fn new(disk: DiskId, now: Instant) -> Self {
        Self {
            disk,
            role: Role::Follower,
            leads: None,
            primary: None,
            commit: 0,
            applied: 0,
            short: false,
            behind: Vec::new(),
            fresh: now,
            late: Duration::ZERO,
            fetching: false,
            failover: None,
            last_epoch: 0,
            cut: Arc::default(),
            cut_is_partial: false,
            cut_ops: 0,
            ended: None,
        }
    }
}

impl ReplicaStatus {
    /// Whether it is something else than it was, and not only further.
    fn is_another(&self, before: &Self) -> bool {
        let what = |status: &Self| {
            (status.role, status.leads, status.short, status.fetching, status.behind.is_empty())
        };
        what(self) != what(before)
            || self.primary != before.primary
            || self.failover != before.failover
            || self.ended != before.ended
    }
}

/// Where a driver shows what its replica is. It gets further with every op, which most of those who wait for a change do not
/// want to be woken for: so that has a place of its own.
#[derive(Debug)]
pub(crate) struct Board {
    status: watch::Sender<ReplicaStatus>,
    applied: watch::Sender<Seq>,
}

impl Board {
    pub(crate) fn new(status: ReplicaStatus) -> Self {
        Self { applied: watch::Sender::new(status.applied), status: watch::Sender::new(status) }
    }

    /// Shows what it is now; whether it has another role than before, or leads another epoch.
    pub(crate) fn show(&self, shown: ReplicaStatus) -> bool {
        let (applied, mut turned) = (shown.applied, false);
        self.status.send_if_modified(|before| {
            turned = (shown.role, shown.leads) != (before.role, before.leads);
            let is_another = shown.is_another(before);
            *before = shown;
            is_another
        });
        self.applied.send_if_modified(|before| std::mem::replace(before, applied) != applied);
        turned
    }
}

/// See the file's comment. Clones speak to the same driver.
#[derive(Clone)]
pub struct ReplicaHandle {
    name: String,
    events: mpsc::Sender<Event>,
    room: Arc<Semaphore>,
    status: watch::Receiver<ReplicaStatus>,
    applied: watch::Receiver<Seq>,
}

impl std::fmt::Debug for ReplicaHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaHandle").field("shard", &self.name).finish_non_exhaustive()
    }
}

impl ReplicaHandle {
    pub(crate) fn new(name: String, events: mpsc::Sender<Event>, board: &Board) -> Self {
        let room = Arc::new(Semaphore::new(QUEUE_BYTES / ROOM_BYTES));
        let (status, applied) = (board.status.subscribe(), board.applied.subscribe());
        Self { name, events, room, status, applied }
    }

    /// Writes an op that was checked; returns once it is committed, and with `wait` once this replica shows it. Dropping the
    /// future does not undo it.
    pub async fn write(
        &self,
        body: Bytes,
        origin: OpOrigin,
        wait: bool,
    ) -> Result<WriteAck, ShardError> {
        let units = body.len().div_ceil(ROOM_BYTES) as u32;
        let room = self.room.clone().acquire_many_owned(units).await;
        let _room = room.map_err(|_| self.stopped())?;
        let (reply, answer) = oneshot::channel();
        let write = Write { body, origin, wait, reply, _room };
        self.tell(Event::Write(write)).await?;
        answer.await.map_err(|_| ShardError::Uncertain {
            shard: self.name.clone(),
            detail: "its replica stopped before it was known".into(),
        })?
    }

    /// Returns once this replica shows all that was acknowledged before the call.
    pub async fn catch_up(&self) -> Result<(), ShardError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Event::Read(reply)).await?;
        answer.await.map_err(|_| self.stopped())?.map(drop)
    }

    /// What it is now.
    pub fn status(&self) -> ReplicaStatus {
        self.status.borrow().clone()
    }

    /// How long ago it showed all that was acknowledged then; nothing while it leads.
    pub fn staleness(&self, now: Instant) -> Duration {
        let status = self.status.borrow();
        match status.leads {
            Some(_) => Duration::ZERO,
            None => now.saturating_duration_since(status.fresh),
        }
    }

    /// Returns once it shows all up to a seq; fails if it stopped.
    pub(crate) async fn shows(&self, seq: Seq) -> Result<(), ShardError> {
        let mut applied = self.applied.clone();
        let shown = applied.wait_for(|applied| *applied >= seq).await;
        shown.map(drop).map_err(|_| self.stopped())
    }

    /// What it is; says that this changed where it is something else, and not where it only got further.
    pub fn statuses(&self) -> watch::Receiver<ReplicaStatus> {
        self.status.clone()
    }

    /// Has another replica lead, if this one does and another can; returns once it does not lead, or after `patience`.
    pub async fn step_aside(&self, patience: Duration) {
        let mut statuses = self.statuses();
        let aside = async {
            loop {
                let status = statuses.borrow_and_update().clone();
                if status.leads.is_none() || status.behind.is_empty() {
                    return;
                }
                // Asked again, since whoever was to lead may not have come to it.
                if self.tell(Event::StepAside).await.is_err() {
                    return;
                }
                let changed = statuses.wait_for(|status| status.leads.is_none());
                let _ = tokio::time::timeout(ASIDE_AGAIN, changed).await;
            }
        };
        let _ = tokio::time::timeout(patience, aside).await;
    }

    /// The shard once it is at a seq; it goes on at once, or with `hold` once what is returned is dropped.
    pub(crate) async fn capture(
        &self,
        at: Seq,
        hold: bool,
    ) -> Result<Result<Captured, NotCaptured>, ShardError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Event::Capture(Capture { at, hold, reply })).await?;
        answer.await.map_err(|_| self.stopped())
    }

    /// Mends points of a shard that is made to hold still, which then goes on. What was mended, and the shard after it.
    pub(crate) async fn mend(&self, fixes: Fixes) -> Result<(Mended, Moment), ShardError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Event::Mend(Mend { fixes, reply })).await?;
        answer.await.map_err(|_| self.stopped())?
    }

    /// The other replicas, if this one leads and they are not being changed.
    pub(crate) async fn peers(&self) -> Result<Option<Peers>, ShardError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Event::Peers(reply)).await?;
        answer.await.map_err(|_| self.stopped())
    }

    /// Tells the driver; waits while too much waits for it.
    pub(crate) async fn tell(&self, event: Event) -> Result<(), ShardError> {
        self.events.send(event).await.map_err(|_| self.stopped())
    }

    fn stopped(&self) -> ShardError {
        ShardError::Unavailable { shard: self.name.clone(), detail: "it is stopping".into() }
    }
}
