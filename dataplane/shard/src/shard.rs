//! The handle of an open shard.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use shoal_vector::payload::MAX_PAYLOAD_INDEXES;
use shoal_vector::{Filter, Op, PointId};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::api::{
    FoundPoint, Identity, OpOrigin, Record, ScrollRequest, SearchRequest, ShardError, ShardInfo,
    Tunings, Want, WriteAck, answer_too_long,
};
use crate::cancel::Cancel;
use crate::codec::decode_op;
use crate::digest::{self, Digest};
use crate::error::OpenError;
use crate::index::WantedIndexes;
use crate::journal::{Journal, Recovered};
use crate::limits::{COMPACTION_STOP, Limits, QUEUE_BYTES, QUEUE_OPS, STORE_STOP};
use crate::open::{Cache, Commits, IfNew};
use crate::read::{self, Projection, ReadError};
use crate::shared::Shared;
use crate::snapshot::{self, Snapshot};
use crate::sync_times::SyncTimes;
use crate::vectors::number_of;
use crate::view::View;
use crate::write::{Pending, Writer};
use crate::{compact, disk, env, flush, index, open, validate};

/// A unit of room in the queue.
const ROOM_BYTES: usize = 1024;

/// An open shard. Clones are the same shard.
#[derive(Clone)]
pub struct Shard {
    inner: Arc<Inner>,
    /// What ends reads through this clone.
    cancel: Cancel,
}

struct Inner {
    shared: Arc<Shared>,
    /// Gone once the shard is closed.
    queue: Mutex<Option<mpsc::Sender<Pending>>>,
    /// Bytes that may wait in the queue.
    room: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
    flusher: Mutex<Option<JoinHandle<()>>>,
    compactor: Mutex<Option<JoinHandle<()>>>,
    indexer: Mutex<Option<JoinHandle<()>>>,
}

/// Without [`Shard::close`] the threads stop too, without being waited for.
impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("name", &self.inner.shared.identity.shard)
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// Opens the shard in a folder, or sets one up there if the folder is new. Blocks until it serves: the time it
    /// takes to read the log's unflushed part.
    pub fn open(
        dir: &Path,
        identity: Identity,
        tuning: impl Into<Tunings>,
        limits: Limits,
    ) -> Result<Shard, OpenError> {
        Self::open_alone(dir, IfNew::SetUp, identity, tuning.into(), limits)
    }

    /// Opens the shard in a folder that is known to have one: where it is not there, its points are lost, and to begin
    /// anew would hide that.
    pub fn open_existing(
        dir: &Path,
        identity: Identity,
        tuning: impl Into<Tunings>,
        limits: Limits,
    ) -> Result<Shard, OpenError> {
        Self::open_alone(dir, IfNew::Refuse, identity, tuning.into(), limits)
    }

    /// Opens the shard in a folder, or sets one up there, as one of several replicas: what is committed is for whoever drives
    /// the journal to say. What was known to be committed is applied; of the rest [`Recovered`] tells.
    pub fn open_replica(
        dir: &Path,
        identity: Identity,
        tuning: impl Into<Tunings>,
        limits: Limits,
    ) -> Result<(Shard, Journal, Recovered), OpenError> {
        let (tuning, commits, cache) = (tuning.into(), Commits::Replicas, Cache::Store);
        let (journal, recovered) =
            open::open(dir, IfNew::SetUp, identity, tuning, limits, commits, cache)?;
        let shard = Self::start(dir, journal.shared.clone(), None, None)?;
        Ok((shard, journal, recovered))
    }

    /// Sets a shard up in a new folder, for [`open_existing`](Self::open_existing). What it holds is durable when this
    /// returns; the folder's own name is for the caller to sync.
    pub fn set_up(dir: &Path, identity: &Identity) -> Result<(), OpenError> {
        open::set_up_closed(dir, identity, env::random_uuid())
    }

    fn open_alone(
        dir: &Path,
        if_new: IfNew,
        identity: Identity,
        tuning: Tunings,
        limits: Limits,
    ) -> Result<Shard, OpenError> {
        let (commits, cache) = (Commits::Alone, Cache::Store);
        let (journal, _) = open::open(dir, if_new, identity, tuning, limits, commits, cache)?;
        let (queue, receiver) = mpsc::channel(QUEUE_OPS);
        let shared = journal.shared.clone();
        let writer = Writer::new(journal, receiver);
        let writer =
            env::spawn_vital("shard-writer", move || writer.run()).map_err(OpenError::io(dir))?;
        Self::start(dir, shared, Some(queue), Some(writer))
    }

    /// See [`by_hand`](crate::by_hand).
    pub(crate) fn without_threads(shared: Arc<Shared>) -> Shard {
        let inner = Inner {
            shared,
            queue: Mutex::default(),
            room: Arc::new(Semaphore::new(0)),
            writer: Mutex::default(),
            flusher: Mutex::default(),
            compactor: Mutex::default(),
            indexer: Mutex::default(),
        };
        Shard { inner: Arc::new(inner), cancel: Cancel::default() }
    }

    fn start(
        dir: &Path,
        shared: Arc<Shared>,
        queue: Option<mpsc::Sender<Pending>>,
        writer: Option<JoinHandle<()>>,
    ) -> Result<Shard, OpenError> {
        let flusher = shared.clone();
        let flusher = env::spawn_vital("shard-flusher", move || flush::run(&flusher))
            .map_err(OpenError::io(dir))?;
        let compactor = shared.clone();
        let compactor = env::spawn_vital("shard-compactor", move || compact::run(&compactor))
            .map_err(OpenError::io(dir))?;
        let indexer = shared.clone();
        let indexer = env::spawn_vital("shard-indexer", move || index::run(&indexer))
            .map_err(OpenError::io(dir))?;
        let inner = Inner {
            shared,
            queue: Mutex::new(queue),
            room: Arc::new(Semaphore::new(QUEUE_BYTES / ROOM_BYTES)),
            writer: Mutex::new(writer),
            flusher: Mutex::new(Some(flusher)),
            compactor: Mutex::new(Some(compactor)),
            indexer: Mutex::new(Some(indexer)),
        };
        Ok(Shard { inner: Arc::new(inner), cancel: Cancel::default() })
    }

    /// The same shard, whose reads end with [`ShardError::Cancelled`] soon after this is cancelled. Writes do not care.
    pub fn with_cancel(&self, cancel: Cancel) -> Shard {
        Shard { inner: self.inner.clone(), cancel }
    }

    /// Writes an encoded op (see [`encode_op`](crate::encode_op)). Returns once it is durable, and with `wait` once
    /// readers see it. Dropping the future does not undo the write.
    pub async fn write(
        &self,
        op: Bytes,
        origin: OpOrigin,
        wait: bool,
    ) -> Result<WriteAck, ShardError> {
        let shared = &self.inner.shared;
        let decoded = self.check_op(&op)?;
        let stopping = || shared.unavailable("it is stopping");
        let queue = env::lock(&self.inner.queue).clone().ok_or_else(stopping)?;
        let room =
            self.inner.room.clone().acquire_many_owned(op.len().div_ceil(ROOM_BYTES) as u32).await;
        let (reply, answer) = oneshot::channel();
        let room = room.map_err(|_| stopping())?;
        let pending = Pending { bytes: op, op: Some(decoded), origin, wait, reply, _room: room };
        queue.send(pending).await.map_err(|_| stopping())?;
        drop(queue);
        answer.await.map_err(|_| stopping())?
    }

    /// What an encoded op says, if this shard can take it.
    pub fn check_op(&self, op: &Bytes) -> Result<Op, ShardError> {
        let shared = &self.inner.shared;
        shared.check_whole()?;
        validate::check_encoded(op)?;
        env::compute(op.len(), || {
            let decoded = decode_op(op).map_err(|error| ShardError::Invalid(error.to_string()))?;
            validate::check_op(&decoded, &shared.identity.vectors, &shared.identity.sparse)
                .map(|()| decoded)
        })
    }

    /// The points nearest to a vector, best first. Computes on the calling thread.
    pub fn search(&self, request: &SearchRequest) -> Result<Vec<FoundPoint>, ShardError> {
        let shared = &self.inner.shared;
        let number =
            validate::check_query(request, &shared.identity.vectors, &shared.identity.sparse)?;
        if request.k == 0 {
            return Err(ShardError::Invalid("limit: value 0 invalid, must be 1 or larger".into()));
        }
        let ef = self.kept(request);
        self.read(&request.want, |view, projection| match &request.sparse {
            Some(query) => read::search_sparse(view, number, query, request, projection),
            None => read::search(view, number, ef, request, projection),
        })
    }

    /// How long a search will take, roughly, if nothing has to come from the disk.
    pub fn guess(&self, request: &SearchRequest) -> Duration {
        match number_of(&self.inner.shared.identity.vectors, &request.using) {
            Some(number) => {
                read::guess(&self.inner.shared.view.load(), number, self.kept(request), request)
            }
            None => Duration::MAX,
        }
    }

    /// Candidates that a search's walks keep.
    fn kept(&self, request: &SearchRequest) -> usize {
        let tuned = || self.inner.shared.tuning.of(&request.using).ef;
        request.ef.unwrap_or_else(tuned).max(request.quantization.candidates(request.k))
    }

    /// The points of these ids that exist, in the order of the ids.
    pub fn retrieve(&self, ids: &[PointId], want: &Want) -> Result<Vec<Record>, ShardError> {
        self.read(want, |view, projection| read::retrieve(view, ids, projection))
    }

    /// A page of points in order of ids.
    pub fn scroll(&self, request: &ScrollRequest) -> Result<Vec<Record>, ShardError> {
        self.read(&request.want, |view, projection| read::scroll(view, request, projection))
    }

    /// How many points match, or exist if there is no filter.
    pub fn count(&self, filter: Option<&Filter>) -> Result<u64, ShardError> {
        self.read(&Want::default(), |view, projection| read::count(view, filter, &projection))
    }

    /// What tells whether another copy holds the same points, as of now. Looks at every point, on the calling thread.
    pub fn digest(&self) -> Result<Digest, ShardError> {
        self.read(&Want::default(), |view, _| Ok(digest::digest(view, &self.cancel)?))
    }

    /// The shard's figures.
    pub fn info(&self) -> Result<ShardInfo, ShardError> {
        let shared = &self.inner.shared;
        shared.check_whole()?;
        // Before the view, so that the view is at least as new.
        let seqs = shared.progress.read();
        let view = shared.view.load();
        Ok(ShardInfo {
            points: view.points,
            indexed_points: view.segments.iter().map(|placed| placed.live()).sum(),
            segments: view.segments.len() as u64,
            disk_bytes: disk::bytes_under(&shared.dir),
            last_seq: seqs.last,
            durable_seq: seqs.durable,
            applied_seq: seqs.applied,
            flushed_seq: seqs.flushed,
            filters: view.filter_info(),
        })
    }

    /// Says which payload fields are to be indexed from now on; the rest are no longer. The shard remembers it. Nothing
    /// waits until it is done, and no answer depends on it, but for how texts are cut into words.
    pub fn set_payload_indexes(&self, wanted: WantedIndexes) -> Result<(), ShardError> {
        let shared = &self.inner.shared;
        if wanted.fields.len() > MAX_PAYLOAD_INDEXES {
            let most = MAX_PAYLOAD_INDEXES;
            return Err(ShardError::Invalid(format!("more than {most} payload indexes")));
        }
        let mut known = env::lock(&shared.wanted_indexes);
        if *known == wanted || !wanted.replaces(&known) {
            return Ok(());
        }
        let wants = shared.indexes.want(&wanted.fields);
        wants.map_err(|error| ShardError::Invalid(error.to_string()))?;
        // Where it cannot be written, the shard has to be told again after a start.
        if let Err(error) = index::write_wanted(&shared.dir, shared.disk_id, &wanted) {
            tracing::warn!(shard = shared.identity.shard, %error, "the list of payload indexes is not kept");
        }
        *known = wanted;
        // Under the lock, so that the indexer does not miss it between looking and waiting.
        let mut state = env::lock(&shared.state);
        state.view.index_payloads();
        shared.publish(&state);
        shared.changed.notify_all();
        Ok(())
    }

    /// Whether the shard serves: fails once its files were found to be damaged.
    pub fn check(&self) -> Result<(), ShardError> {
        self.inner.shared.check_whole()
    }

    /// How long the log's syncs took.
    pub fn sync_times(&self) -> SyncTimes {
        self.inner.shared.sync_clock.read()
    }

    /// Holds on to what the shard is at this moment, to be sent elsewhere; see [`Snapshot`]. Writers do not wait for it
    /// and it waits for no flush, for one manifest to be written at most. Blocks.
    pub fn snapshot(&self) -> Result<Snapshot, ShardError> {
        snapshot::take(&self.inner.shared)
    }

    /// Who the shard is.
    pub fn identity(&self) -> &Identity {
        &self.inner.shared.identity
    }

    /// Finishes the writes that were taken, refuses new ones, and waits for the threads. Reads through other clones go
    /// on until they are dropped. Blocks.
    pub fn close(self) {
        env::lock(&self.inner.queue).take();
        // The writer may need the flusher to finish, so it goes first. A thread that panicked has ended the process.
        if let Some(writer) = env::lock(&self.inner.writer).take() {
            let _ = writer.join();
        }
        self.inner.shared.stop();
        if let Some(flusher) = env::lock(&self.inner.flusher).take() {
            let _ = flusher.join();
        }
        if let Some(compactor) = env::lock(&self.inner.compactor).take()
            && !env::join_within(compactor, COMPACTION_STOP)
        {
            tracing::warn!(
                "a compaction does not stop; it is left behind, and holds the folder until it is done"
            );
        }
        self.inner.shared.store.stop();
        if let Some(indexer) = env::lock(&self.inner.indexer).take()
            && !env::join_within(indexer, STORE_STOP)
        {
            tracing::warn!("the indexer does not stop, as the store does not; it is left behind");
        }
    }

    #[cfg(test)]
    pub(crate) fn view(&self) -> Arc<View> {
        self.inner.shared.view.load_full()
    }

    #[cfg(test)]
    pub(crate) fn store(&self) -> &crate::store::Store {
        &self.inner.shared.store
    }

    fn read<T>(
        &self,
        want: &Want,
        read: impl FnOnce(&View, Projection<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ShardError> {
        let shared = &self.inner.shared;
        shared.check_whole()?;
        let view = shared.view.load_full();
        let projection = Projection::new(
            want,
            &shared.identity.vectors,
            &shared.identity.sparse,
            &shared.store,
            &self.cancel,
        );
        projection.and_then(|projection| read(&view, projection)).map_err(|error| match error {
            ReadError::Invalid(text) => ShardError::Invalid(text),
            ReadError::TooLong => answer_too_long(),
            ReadError::Damage(damage) => shared.report_damage(damage),
            ReadError::Cancelled => ShardError::Cancelled { shard: shared.identity.shard.clone() },
        })
    }
}
