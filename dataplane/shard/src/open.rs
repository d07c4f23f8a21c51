//! Opening a shard: identity, manifest, segments, then the log's replay; then its threads start.
//!
//! Nothing that counts is changed before everything was read and found whole. The store of payloads is opened beside
//! this and is not waited for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_vector::VectorConfig;
use uuid::Uuid;

use crate::api::{Identity, Tunings};
use crate::codec::decode_op;
use crate::error::OpenError;
use crate::limits::Limits;
use crate::manifest::{Manifest, SEGMENTS_DIR, open_segments, segment_path};
use crate::mutable::MutableSegment;
use crate::segment::Kinds;
use crate::shared::Shared;
use crate::store::Store;
use crate::vectors::Shape;
use crate::view::View;
use crate::wal::{self, Kind, Record, Wal};
use crate::{disk, env, identity, index, snapshot};

pub(crate) const WAL_DIR: &str = "wal";
const LOCK_FILE: &str = "lock";

/// What to do about a folder without a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfNew {
    SetUp,
    Refuse,
}

/// Opens the shard in a folder.
pub(crate) fn open(
    dir: &Path,
    if_new: IfNew,
    identity: Identity,
    tuning: Tunings,
    limits: Limits,
) -> Result<(Arc<Shared>, Wal), OpenError> {
    identity::check(&identity)?;
    if if_new == IfNew::Refuse && !dir.is_dir() {
        return Err(OpenError::Missing(dir.to_owned()));
    }
    fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
    let lock = lock(dir)?;
    snapshot::refuse_half(dir)?;
    let (disk_id, identity) = match (identity::read(dir, &identity)?, if_new) {
        (Some(found), _) => found,
        (None, IfNew::SetUp) => (set_up(dir, &identity)?, identity),
        (None, IfNew::Refuse) => return Err(OpenError::Missing(dir.to_owned())),
    };
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
    };
    let wal = replay(dir, disk_id, &mut view, &limits)?;
    view.replayed();
    let wanted = index::read_wanted(dir, disk_id);
    // What is no key path here any more is not indexed; whoever tells the shard next hears of it.
    let _ = view.indexes.want(&wanted.fields);
    let segments = view.segments.iter().map(|placed| placed.segment.clone()).collect();
    let store = Store::start(dir, disk_id, segments, manifest.flushed_seq)?;
    let dir = dir.to_owned();
    let shared =
        Shared::new(dir, disk_id, identity, tuning, limits, view, manifest, store, wanted, lock);
    Ok((Arc::new(shared), wal))
}

/// Sets a shard up in a folder and leaves it closed. The caller makes the folder's own name durable.
pub(crate) fn set_up_closed(dir: &Path, identity: &Identity) -> Result<(), OpenError> {
    identity::check(identity)?;
    fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
    let _lock = lock(dir)?;
    snapshot::refuse_half(dir)?;
    match identity::read(dir, identity)? {
        Some(_) => Ok(()),
        None => set_up(dir, identity).map(drop),
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
fn set_up(dir: &Path, identity: &Identity) -> Result<Uuid, OpenError> {
    let (wal_dir, segments_dir) = (dir.join(WAL_DIR), dir.join(SEGMENTS_DIR));
    for folder in [&wal_dir, &segments_dir] {
        disk::ensure_dir(folder).map_err(OpenError::io(folder))?;
    }
    refuse_data_without_identity(dir, &wal_dir, &segments_dir)?;
    let disk_id = env::random_uuid();
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

/// Applies what the log holds beyond the segments.
fn replay(dir: &Path, disk_id: Uuid, view: &mut View, limits: &Limits) -> Result<Wal, OpenError> {
    let flushed_seq = view.applied_seq;
    let wal = wal::replay(&dir.join(WAL_DIR), disk_id, flushed_seq, |file, record| {
        apply_record(view, file, record)?;
        if limits.is_full(&view.mutable) {
            view.freeze();
        }
        Ok(())
    })?;
    debug_assert_eq!(wal.last_seq(), view.applied_seq);
    Ok(wal)
}

fn apply_record(view: &mut View, file: &Path, record: &Record<'_>) -> Result<(), OpenError> {
    let log_bytes = record.body.len() as u64;
    match record.kind() {
        Some(Kind::Op) => {}
        Some(Kind::NoOp) => {
            view.pass(record.seq, log_bytes);
            return Ok(());
        }
        // Their meaning comes with replication and splits; to go past one would be to forget it.
        Some(Kind::Config | Kind::Barrier | Kind::Abort) | None => {
            let detail = format!("a record of kind {} at seq {}", record.kind_number, record.seq);
            return Err(OpenError::too_new(file, detail));
        }
    }
    let op = decode_op(record.body).map_err(|error| match error {
        crate::codec::CodecError::Version(_) | crate::codec::CodecError::Unknown => {
            OpenError::too_new(file, format!("seq {}: {error}", record.seq))
        }
        crate::codec::CodecError::Malformed(_) => {
            OpenError::corrupt(file, format!("seq {}: {error}", record.seq))
        }
    })?;
    match view.apply(record.seq, &op, log_bytes) {
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
        set_up_closed(dir, &identity).unwrap();
        let (disk_id, identity) = identity::read(dir, &identity).unwrap().unwrap();
        let mut wal = wal::replay(&dir.join(WAL_DIR), disk_id, 0, |_, _| Ok(())).unwrap();
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
        let opened = open(dir, IfNew::Refuse, identity, tuning.into(), Limits::default());
        let Err(OpenError::TooNew { detail, .. }) = opened else { panic!("it opened") };
        assert!(detail.contains("seq 1") && detail.contains("newer than this program"), "{detail}");
    }
}
