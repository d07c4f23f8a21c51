//! Opening a shard: identity, manifest, segments, then the log's replay; then its threads start.
//!
//! Nothing that counts is changed before everything was read and found whole. The store of payloads is opened beside
//! this and is not waited for.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_vector::VectorConfig;
use uuid::Uuid;

use crate::api::{Identity, OpOrigin, Tunings};
use crate::codec::decode_op;
use crate::error::OpenError;
use crate::journal::{
    self, Entry, Epoch, Journal, Position, RecentOp, Recovered, Step, Waiting, What,
};
use crate::limits::Limits;
use crate::manifest::{Manifest, SEGMENTS_DIR, open_segments, segment_path};
use crate::mutable::MutableSegment;
use crate::segment::Kinds;
use crate::shared::Shared;
use crate::store::Store;
use crate::vectors::Shape;
use crate::view::View;
use crate::wal::{self, Kind, Place, Record, Wal};
use crate::{disk, env, identity, index, snapshot};

pub(crate) const WAL_DIR: &str = "wal";
const LOCK_FILE: &str = "lock";

/// What to do about a folder without a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfNew {
    SetUp,
    Refuse,
}

/// Who says what of the log is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    /// Nobody else: all that is in it.
    Alone,
    /// Others: what was noted, and what is from before there were others. Of the rest it is not known.
    Replicas,
}

/// Whether payloads are also looked up in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    Store,
    None,
}

/// Opens the shard in a folder.
pub(crate) fn open(
    dir: &Path,
    if_new: IfNew,
    identity: Identity,
    tuning: Tunings,
    limits: Limits,
    commits: Commits,
    cache: Cache,
) -> Result<(Journal, Recovered), OpenError> {
    identity::check(&identity)?;
    if if_new == IfNew::Refuse && !dir.is_dir() {
        return Err(OpenError::Missing(dir.to_owned()));
    }
    fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
    let lock = lock(dir)?;
    snapshot::refuse_half(dir)?;
    journal::refuse_quarantined(dir)?;
    snapshot::finish_install(dir)?;
    let (disk_id, identity) = match (identity::read(dir, &identity)?, if_new) {
        (Some(found), _) => found,
        (None, IfNew::SetUp) => (set_up(dir, &identity, env::random_uuid())?, identity),
        (None, IfNew::Refuse) => return Err(OpenError::Missing(dir.to_owned())),
    };
    let promised = journal::read_promise(dir, disk_id)?.0;
    if commits == Commits::Alone && promised != Epoch::default() {
        return Err(is_of_several(dir, &format!("epoch {} was promised on it", promised.number)));
    }
    let manifest_path = dir.join(crate::manifest::FILE);
    let manifest = Manifest::read(dir, disk_id)?
        .ok_or_else(|| OpenError::corrupt(&manifest_path, "it is missing"))?;
    clear_unfinished(dir, &manifest)?;
    let kinds = Kinds { dense: &identity.vectors, sparse: identity.sparse.len() };
    let segments = open_segments(dir, disk_id, kinds, &manifest)?;
    let shape = |vector: &VectorConfig| {
        Shape::new(vector, tuning.of(&vector.name).quantization, limits.mutable_nodes())
    };
    let mut view = View {
        shapes: identity.vectors.iter().map(shape).collect(),
        sparse: identity.sparse.clone().into(),
        indexes: Arc::default(),
        replaying: true,
        mutable: MutableSegment::default(),
        frozen: Vec::new(),
        segments,
        points: manifest.points,
        applied_seq: manifest.flushed_seq,
        log: manifest.log.clone(),
    };
    let mut replay = Replay::new(&mut view, &limits, commits, journal::read_commit(dir, disk_id));
    let wal = replay.run(&dir.join(WAL_DIR), disk_id)?;
    let (waiting, entries) = (replay.waiting, replay.entries);
    let aside = {
        let known = view.log.recent.iter().map(|op| (op.client_id, op.op_id));
        let known: HashSet<(u64, u64)> = known.collect();
        let knows = |record: &Record<'_>| known.contains(&(record.client_id, record.op_id));
        journal::Aside::load(&dir.join(WAL_DIR), disk_id, knows)
    };
    debug_assert_eq!(wal.last_seq(), view.applied_seq + waiting.len() as u64);
    view.replayed();
    let recovered = recovered(disk_id, promised, &manifest, entries);
    let wanted = index::read_wanted(dir, disk_id);
    // What is no key path here any more is not indexed; whoever tells the shard next hears of it.
    let _ = view.indexes.want(&wanted.fields);
    let segments = view.segments.iter().map(|placed| placed.segment.clone()).collect();
    let store = match cache {
        Cache::Store => Store::start(dir, disk_id, segments, manifest.flushed_seq)?,
        Cache::None => Store::none(),
    };
    let (dir, last) = (dir.to_owned(), wal.last_seq());
    let shared = Shared::new(
        dir, disk_id, identity, tuning, limits, view, last, manifest, store, wanted, lock,
    );
    Ok((Journal::new(Arc::new(shared), wal, waiting, promised, aside), recovered))
}

fn recovered(
    disk_id: Uuid,
    promised: Epoch,
    manifest: &Manifest,
    entries: Vec<Entry>,
) -> Recovered {
    Recovered {
        disk_id,
        promised,
        base: Position { epoch: manifest.log.epoch, seq: manifest.flushed_seq },
        config: manifest.log.config.clone(),
        recent: manifest.log.recent.iter().copied().collect(),
        entries,
    }
}

/// What a lone shard says of a disk that others have a say in: what it holds need not be committed, and what was acknowledged
/// need not be here.
fn is_of_several(at: &Path, detail: &str) -> OpenError {
    let detail = format!("{detail}: the disk is one of several replicas; start it as one");
    OpenError::Invalid(format!("{}: {detail}", at.display()))
}

/// Sets a shard up in a folder and leaves it closed. The caller makes the folder's own name durable.
pub(crate) fn set_up_closed(
    dir: &Path,
    identity: &Identity,
    disk_id: Uuid,
) -> Result<(), OpenError> {
    identity::check(identity)?;
    fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
    let _lock = lock(dir)?;
    snapshot::refuse_half(dir)?;
    match identity::read(dir, identity)? {
        Some(_) => Ok(()),
        None => set_up(dir, identity, disk_id).map(drop),
    }
}

/// Takes the folder for this process. The lock goes when the file is closed, also by a crash.
pub(crate) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_FILE);
    let file = File::create(&path).map_err(OpenError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// Sets a new disk up. The identity comes last: without it the disk counts as new, if it holds no data.
fn set_up(dir: &Path, identity: &Identity, disk_id: Uuid) -> Result<Uuid, OpenError> {
    let (wal_dir, segments_dir) = (dir.join(WAL_DIR), dir.join(SEGMENTS_DIR));
    for folder in [&wal_dir, &segments_dir] {
        disk::ensure_dir(folder).map_err(OpenError::io(folder))?;
    }
    refuse_data_without_identity(dir, &wal_dir, &segments_dir)?;
    for (_, path) in disk::list(&wal_dir).map_err(OpenError::io(&wal_dir))? {
        disk::remove_if_there(&path).map_err(OpenError::io(&path))?;
    }
    wal::create_first(&wal_dir, disk_id)?;
    let first = Manifest { next_segment: 1, ..Manifest::default() };
    first.write(dir, disk_id)?;
    identity::write(dir, disk_id, identity)?;
    tracing::info!(shard = identity.shard, %disk_id, dir = %dir.display(), "set up a new disk");
    Ok(disk_id)
}

/// A set-up that a crash cut short leaves empty logs and no segments. Anything more had an identity once.
pub(crate) fn refuse_data_without_identity(
    dir: &Path,
    wal_dir: &Path,
    segments_dir: &Path,
) -> Result<(), OpenError> {
    let segments = disk::list(segments_dir).map_err(OpenError::io(segments_dir))?;
    let logs = disk::list(wal_dir).map_err(OpenError::io(wal_dir))?;
    let has_records = |path: &Path| {
        fs::metadata(path).map(|meta| meta.len() > crate::format::HEADER_BYTES as u64)
    };
    let mut data = !segments.is_empty();
    for (_, path) in &logs {
        data |= has_records(path).map_err(OpenError::io(path))?;
    }
    match data {
        true => Err(OpenError::corrupt(
            &dir.join(identity::FILE),
            "it is missing, but the folder holds data",
        )),
        false => Ok(()),
    }
}

/// Deletes what a crash left: files that are not whole, and segments that no manifest names.
fn clear_unfinished(dir: &Path, manifest: &Manifest) -> Result<(), OpenError> {
    let named: Vec<PathBuf> =
        manifest.segments.iter().map(|entry| segment_path(dir, entry.number)).collect();
    for folder in [dir.to_owned(), dir.join(WAL_DIR), dir.join(SEGMENTS_DIR)] {
        for (name, path) in disk::list(&folder).map_err(OpenError::io(&folder))? {
            let unfinished = name.ends_with(&format!(".{}", disk::UNFINISHED));
            if unfinished || (name.ends_with(".seg") && !named.contains(&path)) {
                tracing::info!(file = %path.display(), "deleting what an earlier run left unfinished");
                disk::remove_if_there(&path).map_err(OpenError::io(&path))?;
            }
        }
    }
    Ok(())
}

/// Reading what the log holds beyond the segments, and applying as much of it as is committed.
struct Replay<'a> {
    view: &'a mut View,
    limits: &'a Limits,
    commits: Commits,
    /// Committed up to here at least, for one of several replicas.
    commit: u64,
    waiting: VecDeque<Waiting>,
    /// For one of several replicas: all that was read.
    entries: Vec<Entry>,
}

impl<'a> Replay<'a> {
    fn new(view: &'a mut View, limits: &'a Limits, commits: Commits, commit: u64) -> Self {
        Self { view, limits, commits, commit, waiting: VecDeque::new(), entries: Vec::new() }
    }

    fn run(&mut self, log: &Path, disk_id: Uuid) -> Result<Wal, OpenError> {
        let flushed_seq = self.view.applied_seq;
        wal::replay(log, disk_id, flushed_seq, |file, place, record| match self.commits {
            Commits::Alone => self.apply(file, record),
            Commits::Replicas => self.take(file, place, record),
        })
    }

    /// Takes a record of a log that others have a say in.
    fn take(&mut self, file: &Path, place: Place, record: &Record<'_>) -> Result<(), OpenError> {
        let entry = journal::entry_of(record)
            .map_err(|error| OpenError::too_new(file, error.to_string()))?;
        // A lone shard committed all that it appended, before it was one of several.
        if record.seq <= self.commit || record.epoch == 0 {
            self.apply(file, record)?;
        } else {
            let step = match &entry.what {
                What::NoOp => Step::NoOp,
                What::Config(body) => Step::Config(body.clone()),
                What::Op { body, .. } => Step::Encoded(body.clone()),
            };
            let Position { epoch, seq } = entry.at;
            let origin = OpOrigin { client_id: record.client_id, op_id: record.op_id };
            let bytes = record.body.len() as u64;
            self.waiting.push_back(Waiting { seq, epoch, origin, bytes, place, step });
        }
        self.entries.push(entry);
        Ok(())
    }

    fn apply(&mut self, file: &Path, record: &Record<'_>) -> Result<(), OpenError> {
        apply_record(self.view, self.commits, file, record)?;
        if self.limits.is_full(&self.view.mutable) {
            self.view.freeze();
        }
        Ok(())
    }
}

fn apply_record(
    view: &mut View,
    commits: Commits,
    file: &Path,
    record: &Record<'_>,
) -> Result<(), OpenError> {
    let (seq, log_bytes) = (record.seq, record.body.len() as u64);
    let epoch = Epoch { number: record.epoch, nonce: record.nonce };
    if commits == Commits::Alone && epoch != Epoch::default() {
        return Err(is_of_several(
            file,
            &format!("seq {seq} was appended in epoch {}", epoch.number),
        ));
    }
    match record.kind() {
        Some(Kind::Op) => {}
        Some(Kind::NoOp) => {
            view.pass(seq, log_bytes);
            view.log.epoch = epoch;
            return Ok(());
        }
        Some(Kind::Config) if commits == Commits::Replicas => {
            view.pass(seq, log_bytes);
            view.log.epoch = epoch;
            view.log.config = Some((seq, bytes::Bytes::copy_from_slice(record.body)));
            return Ok(());
        }
        // Their meaning comes with splits; to go past one would be to forget it.
        Some(Kind::Config | Kind::Barrier | Kind::Abort) | None => {
            let detail = format!("a record of kind {} at seq {seq}", record.kind_number);
            return Err(OpenError::too_new(file, detail));
        }
    }
    let op = decode_op(record.body).map_err(|error| match error {
        crate::codec::CodecError::Version(_) | crate::codec::CodecError::Unknown => {
            OpenError::too_new(file, format!("seq {seq}: {error}"))
        }
        crate::codec::CodecError::Malformed(_) => {
            OpenError::corrupt(file, format!("seq {seq}: {error}"))
        }
    })?;
    let applied = view.apply(seq, &op, log_bytes);
    view.log.epoch = epoch;
    let (client_id, op_id) = (record.client_id, record.op_id);
    view.log.passed_op(RecentOp { client_id, op_id, seq }, epoch);
    match applied {
        Ok(_) => Ok(()),
        Err(damage) => Err(OpenError::corrupt(Path::new(&damage.file), damage.detail)),
    }
}

#[cfg(test)]
mod tests {
    use shoal_vector::{Metric, Quantization};

    use super::*;
    use crate::api::Tuning;

    #[test]
    fn an_op_that_a_newer_program_logged_is_too_new_and_not_corrupt() {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path();
        let vectors = vec![VectorConfig::new("", 2, Metric::Dot)];
        let identity =
            Identity { collection: "c".into(), shard: "c-0".into(), vectors, sparse: vec![] };
        set_up_closed(dir, &identity, Uuid::from_u128(7)).unwrap();
        let (disk_id, identity) = identity::read(dir, &identity).unwrap().unwrap();
        let mut wal = wal::replay(&dir.join(WAL_DIR), disk_id, 0, |_, _, _| Ok(())).unwrap();
        let mut bytes = vec![];
        // Delete by a filter with one condition, of a kind that is not known.
        let body = &[1, 1, 1, 1, 99, 0, 0];
        let kind_number = Kind::Op as u8;
        let (epoch, nonce, client_id, op_id, place_in_group) = (0, 0, 0, 0, 0);
        Record { kind_number, place_in_group, epoch, nonce, seq: 1, client_id, op_id, body }
            .encode(disk_id, &mut bytes);
        wal.append(&bytes, 1).unwrap();
        wal.sync().unwrap();
        drop(wal);
        let tuning = Tuning { ef_construct: 100, ef: 64, quantization: Quantization::default() };
        let limits = Limits::default();
        let (alone, cache) = (Commits::Alone, Cache::Store);
        let opened = open(dir, IfNew::Refuse, identity, tuning.into(), limits, alone, cache);
        let Err(OpenError::TooNew { detail, .. }) = opened else { panic!("it opened") };
        assert!(detail.contains("seq 1") && detail.contains("newer than this program"), "{detail}");
    }
}
