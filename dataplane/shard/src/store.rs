//! The store: payloads by dense number in sled, beside the segments that hold them too. The one file that imports sled.
//!
//! It answers single look-ups without decompressing a block. It is a cache of the truth and nothing more: sled 0.34
//! does not promise that what it flushed is on disk, and a crash can leave files it does not open again. So every value
//! carries a checksum, a segment is used only after all of it was stored, and on any error the files are moved aside
//! and built anew from the segments, in the background, while reads take the segments' own copy.
//!
//! sled also waits for ever, in reads and when it is dropped, once a write of its own found the disk full. So it is left
//! alone where there is little room and from the first sign of a full disk on, and nobody waits for its end for long.
//!
//! Payload indexes lie here too, whole, as the bytes that the indexer gives and asks for.
//!
//! Invariant: keys are (segment number, item number), both dense, and neither ever means another payload on this disk;
//! so a value that is there and whole is right, whenever it was written. The same holds of indexes, under (segment number,
//! field, chunk).

pub(crate) mod files;
mod keys;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use arc_swap::ArcSwapOption;
use uuid::Uuid;

use self::keys::{index_field, index_key, key, segment_of};

use crate::error::OpenError;
use crate::fail::{FailPoint, reached};
use crate::index::{chunks, join};
use crate::limits::{STORE_CACHE_BYTES, STORE_FREE_BYTES, STORE_STOP};
use crate::segment::{PayloadCache, Segment};
use crate::{disk, env};

const DISK_KEY: &[u8] = b"disk";
const APPLIED_KEY: &[u8] = b"applied_seq";

/// The store of one shard. Reads and work for it are never waited for.
pub(crate) struct Store {
    open: Arc<ArcSwapOption<Open>>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stopping: Arc<AtomicBool>,
    /// Set once it is open, or will not be.
    settled: Arc<AtomicBool>,
}

/// What happened to the segments, or what is to be stored.
enum Job {
    /// A flush ended: its segment, if it made one, and the seq it came to.
    Flushed(Option<Arc<Segment>>, u64),
    /// Segments became one, or none.
    Compacted(Option<Arc<Segment>>, Vec<u64>),
    /// An index of a segment: its number, the field, and the index.
    Index(u64, Vec<u8>, Vec<u8>),
    /// The only fields whose indexes are worth keeping.
    KeepIndexes(Vec<Vec<u8>>),
}

/// What reads use: sled, and which segments all of which is in it.
struct Open {
    payloads: sled::Tree,
    indexes: sled::Tree,
    stored: HashSet<u64>,
    /// Tells the thread that reads are not done with it.
    _in_use: Arc<()>,
}

/// sled, open. Its last handle can wait for ever when it is dropped, so that must be this one, on the store's thread.
struct Session {
    open: Arc<ArcSwapOption<Open>>,
    in_use: Arc<()>,
    payloads: sled::Tree,
    indexes: sled::Tree,
    /// Numbers of the segments all of which is stored.
    marks: sled::Tree,
    db: sled::Db,
}

impl Session {
    fn begin(path: &Path, open: Arc<ArcSwapOption<Open>>) -> Result<Self, Unusable> {
        let db = sled::Config::new().path(path).cache_capacity(STORE_CACHE_BYTES).open()?;
        let (payloads, marks) = (db.open_tree("payloads")?, db.open_tree("stored")?);
        let indexes = db.open_tree("indexes")?;
        Ok(Self { open, in_use: Arc::new(()), payloads, indexes, marks, db })
    }

    /// Lets reads use it. Flushed first, because sled makes reads wait for what is not.
    fn show(&self, stored: &HashSet<u64>) -> Result<(), Unusable> {
        self.db.flush()?;
        self.open.store(Some(Arc::new(Open {
            payloads: self.payloads.clone(),
            indexes: self.indexes.clone(),
            stored: stored.clone(),
            _in_use: self.in_use.clone(),
        })));
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.open.store(None);
        while Arc::strong_count(&self.in_use) > 1 {
            env::pause();
        }
    }
}

/// Why the store cannot be used. It is rebuilt, so the text is only for the log.
#[derive(Debug)]
struct Unusable(String);

impl From<sled::Error> for Unusable {
    fn from(error: sled::Error) -> Self {
        Unusable(error.to_string())
    }
}

impl Store {
    /// Starts opening or building it, and returns at once.
    pub(crate) fn start(
        dir: &Path,
        disk_id: Uuid,
        segments: Vec<Arc<Segment>>,
        flushed_seq: u64,
    ) -> Result<Self, OpenError> {
        let (jobs, queue) = mpsc::channel();
        let open = Arc::new(ArcSwapOption::empty());
        let (stopping, settled): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let mut keeper = Keeper {
            dir: dir.to_owned(),
            disk_id,
            segments,
            flushed_seq,
            open: open.clone(),
            stopping: stopping.clone(),
            settled: settled.clone(),
        };
        let run = move || {
            keeper.run(&queue);
            keeper.settled.store(true, Ordering::SeqCst);
        };
        let thread = env::spawn_helper("shard-store", run).map_err(OpenError::io(dir))?;
        let (jobs, thread) = (Mutex::new(Some(jobs)), Mutex::new(Some(thread)));
        Ok(Self { open, jobs, thread, stopping, settled })
    }

    /// One that holds nothing and never will.
    pub(crate) fn none() -> Self {
        let (stopping, settled) = (AtomicBool::new(true), AtomicBool::new(true));
        let (open, jobs, thread) = Default::default();
        Self { open, jobs, thread, stopping: Arc::new(stopping), settled: Arc::new(settled) }
    }

    /// The payload that a segment holds under this number, if it is at hand. `None` says nothing about the segment.
    pub(crate) fn payload(&self, segment: u64, item: u32) -> Option<Vec<u8>> {
        if self.stopping.load(Ordering::SeqCst) {
            return None;
        }
        let open = self.open.load();
        let open = open.as_ref().filter(|open| open.stored.contains(&segment))?;
        let value = catch_unwind(AssertUnwindSafe(|| open.payloads.get(key(segment, item))))
            .ok()?
            .ok()??;
        let (crc, payload) = value.split_first_chunk()?;
        (u32::from_le_bytes(*crc) == crc32c::crc32c(payload)).then(|| payload.to_vec())
    }

    /// The index of a field of a segment, if it is at hand.
    pub(crate) fn index(&self, segment: u64, field: &[u8]) -> Option<Vec<u8>> {
        if self.stopping.load(Ordering::SeqCst) {
            return None;
        }
        let open = self.open.load();
        let open = open.as_ref()?;
        let chunk = |number| {
            let value = open.indexes.get(index_key(segment, field, number)).ok()??;
            Some(value.to_vec())
        };
        catch_unwind(AssertUnwindSafe(|| join(chunk))).ok()?
    }

    /// Whether it is open, or will not be.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::SeqCst)
    }

    /// Tells it that a flush ended.
    pub(crate) fn flushed(&self, segment: Option<Arc<Segment>>, flushed_seq: u64) {
        self.send(Job::Flushed(segment, flushed_seq));
    }

    /// Tells it that segments, of these numbers, became one.
    pub(crate) fn compacted(&self, segment: Option<Arc<Segment>>, gone: Vec<u64>) {
        self.send(Job::Compacted(segment, gone));
    }

    /// Gives it an index to keep, of a segment that the manifest names.
    pub(crate) fn keep_index(&self, segment: u64, field: Vec<u8>, index: Vec<u8>) {
        self.send(Job::Index(segment, field, index));
    }

    /// Tells it to drop the indexes of all fields but these.
    pub(crate) fn keep_indexes(&self, fields: Vec<Vec<u8>>) {
        self.send(Job::KeepIndexes(fields));
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &*env::lock(&self.jobs) {
            // If the thread gave up, reads take the segments' own copy, and indexes are made anew at a start.
            let _ = jobs.send(job);
        }
    }

    /// Numbers of the segments that look-ups are answered from, ascending.
    #[cfg(test)]
    pub(crate) fn stored_segments(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> =
            self.open.load().iter().flat_map(|open| open.stored.iter().copied()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Takes it out of use until the next start, because the disk is full. Its files stay.
    pub(crate) fn leave(&self) {
        if !self.stopping.swap(true, Ordering::SeqCst) {
            tracing::warn!(
                "the store of payloads is out of use until the next start, because the disk is full"
            );
        }
        env::lock(&self.jobs).take();
    }

    /// Stops and waits a while for its thread; reads go on from the segments.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        env::lock(&self.jobs).take();
        if let Some(thread) = env::lock(&self.thread).take()
            && !env::join_within(thread, STORE_STOP)
        {
            tracing::warn!("the store of payloads does not stop; it is left behind");
        }
    }
}

/// The thread's own.
struct Keeper {
    dir: PathBuf,
    disk_id: Uuid,
    segments: Vec<Arc<Segment>>,
    flushed_seq: u64,
    open: Arc<ArcSwapOption<Open>>,
    stopping: Arc<AtomicBool>,
    settled: Arc<AtomicBool>,
}

impl Keeper {
    fn run(&mut self, queue: &mpsc::Receiver<Job>) {
        // Twice: with the files that are there, and without.
        for attempt in 0..2 {
            // sled meets damage with a panic in places.
            let result = catch_unwind(AssertUnwindSafe(|| self.keep(queue)));
            let problem = match result {
                Ok(Ok(())) => return,
                Ok(Err(Unusable(problem))) => problem,
                Err(_) => "a panic in sled".to_owned(),
            };
            tracing::warn!(dir = %self.dir.display(), problem, attempt, "the store of payloads is set aside and rebuilt");
            if let Err(error) = files::move_aside(&self.dir) {
                tracing::warn!(%error, "the store of payloads could not be set aside; segments serve alone");
                return;
            }
        }
    }

    /// Opens the store, brings it up to the segments, and keeps it there until the shard stops.
    fn keep(&mut self, queue: &mpsc::Receiver<Job>) -> Result<(), Unusable> {
        if self.must_end() {
            return Ok(());
        }
        let path = self.dir.join(files::DIR);
        files::remove_unfinished_snapshots(&path);
        let session = Session::begin(&path, self.open.clone())?;
        reached(FailPoint::StoreOpened, &self.dir);
        self.check_origin(&session)?;
        let mut stored = HashSet::new();
        for segment in self.segments.clone() {
            let is_stored = session.marks.contains_key(segment.number.to_be_bytes())?;
            if !is_stored && !self.add(&session, &segment)? {
                return Ok(());
            }
            stored.insert(segment.number);
        }
        session.db.insert(APPLIED_KEY, &self.flushed_seq.to_be_bytes())?;
        session.show(&stored)?;
        self.settled.store(true, Ordering::SeqCst);
        while let Ok(job) = queue.recv() {
            if !self.do_job(&session, &mut stored, job)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// False if it has to end.
    fn do_job(
        &mut self,
        session: &Session,
        stored: &mut HashSet<u64>,
        job: Job,
    ) -> Result<bool, Unusable> {
        let (segment, gone) = match job {
            Job::Flushed(segment, flushed_seq) => {
                self.flushed_seq = flushed_seq;
                (segment, Vec::new())
            }
            Job::Compacted(segment, gone) => (segment, gone),
            Job::Index(segment, field, index) => {
                return self.add_index(session, segment, &field, &index);
            }
            Job::KeepIndexes(fields) => return self.keep_indexes(session, &fields),
        };
        self.segments.retain(|segment| !gone.contains(&segment.number));
        stored.retain(|number| !gone.contains(number));
        if let Some(segment) = segment {
            self.segments.push(segment.clone());
            if !self.add(session, &segment)? {
                return Ok(false);
            }
            stored.insert(segment.number);
        }
        session.db.insert(APPLIED_KEY, &self.flushed_seq.to_be_bytes())?;
        session.show(stored)?;
        for number in gone {
            if !self.remove(session, number)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn add_index(
        &self,
        session: &Session,
        segment: u64,
        field: &[u8],
        index: &[u8],
    ) -> Result<bool, Unusable> {
        // One that came too late would stay for ever.
        if self.segments.iter().all(|known| known.number != segment) {
            return Ok(true);
        }
        for (chunk, number) in chunks(index).into_iter().zip(0..) {
            if self.must_end() {
                return Ok(false);
            }
            session.indexes.insert(index_key(segment, field, number), chunk)?;
        }
        Ok(true)
    }

    fn keep_indexes(&self, session: &Session, fields: &[Vec<u8>]) -> Result<bool, Unusable> {
        for (key, at) in session.indexes.iter().keys().zip(0..) {
            if at % 256 == 0 && self.must_end() {
                return Ok(false);
            }
            let key = key?;
            let is_known = self.segments.iter().any(|s| segment_of(&key) == Some(s.number));
            if !is_known || !fields.iter().any(|field| index_field(&key) == Some(field)) {
                session.indexes.remove(key)?;
            }
        }
        Ok(true)
    }

    /// Removes what is stored of a segment that is gone: first the mark, so that a half removed one does not count. False
    /// if it has to end meanwhile; the next start goes on.
    fn remove(&self, session: &Session, number: u64) -> Result<bool, Unusable> {
        session.marks.remove(number.to_be_bytes())?;
        reached(FailPoint::StoreUnmarked, &self.dir);
        for tree in [&session.payloads, &session.indexes] {
            for (at, key) in tree.scan_prefix(number.to_be_bytes()).keys().enumerate() {
                if at % 256 == 0 && self.must_end() {
                    return Ok(false);
                }
                tree.remove(key?)?;
            }
        }
        Ok(true)
    }

    /// Whether the shard stops, or there is too little room to go on.
    fn must_end(&self) -> bool {
        let room = disk::free_bytes(&self.dir).is_none_or(|free| free >= STORE_FREE_BYTES);
        if !room {
            tracing::warn!(dir = %self.dir.display(), "too little room for the store of payloads; segments serve alone");
        }
        !room || self.stopping.load(Ordering::SeqCst)
    }

    /// Refuses a store of another disk, or of this one at a later time.
    fn check_origin(&self, session: &Session) -> Result<(), Unusable> {
        let (db, marks) = (&session.db, &session.marks);
        match db.get(DISK_KEY)? {
            Some(disk) if disk != self.disk_id.as_bytes() => {
                return Err(Unusable("it is of another disk".into()));
            }
            Some(_) => {}
            None => {
                db.insert(DISK_KEY, self.disk_id.as_bytes())?;
            }
        }
        let applied =
            db.get(APPLIED_KEY)?.and_then(|seq| Some(u64::from_be_bytes(*seq.first_chunk()?)));
        if applied.is_some_and(|applied| applied > self.flushed_seq) {
            return Err(Unusable("it is newer than the segments".into()));
        }
        let known: HashSet<u64> = self.segments.iter().map(|segment| segment.number).collect();
        for mark in marks.iter().keys() {
            let number = segment_of(&mark?).unwrap_or(0);
            if !known.contains(&number) {
                self.remove(session, number)?;
            }
        }
        Ok(())
    }

    /// Stores all payloads of a segment, then the mark that says so. False if it has to end meanwhile.
    fn add(&self, session: &Session, segment: &Segment) -> Result<bool, Unusable> {
        let mut cache = PayloadCache::default();
        for item in 0..segment.len() + segment.edits() {
            if item % 256 == 0 && self.must_end() {
                return Ok(false);
            }
            let payload =
                segment.payload(&mut cache, item).map_err(|damage| Unusable(damage.to_string()))?;
            let mut value = Vec::with_capacity(4 + payload.len());
            value.extend(crc32c::crc32c(payload).to_le_bytes());
            value.extend(payload);
            session.payloads.insert(key(segment.number, item), value)?;
        }
        reached(FailPoint::StoreFilled, &self.dir);
        session.marks.insert(segment.number.to_be_bytes(), &[])?;
        reached(FailPoint::StoreMarked, &self.dir);
        Ok(true)
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
