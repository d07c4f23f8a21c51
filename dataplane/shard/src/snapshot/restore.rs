//! Restoring a snapshot into a folder, from bytes that come in pieces of any size.
//!
//! Order: the file `restoring`; the manifest, each segment, the log and the wanted indexes, each written under another name,
//! synced, renamed and then named in `restoring`. When all came: all segments verified; the identity; `restoring` goes. A
//! crash between any two leaves a folder that no shard opens and that the next restore goes on with. Memory: one frame and
//! one record of the log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::error::RestoreError;
use super::frame::{End, Event, FileName, Reader, Start, Sum, Summing};
use super::progress::{self, Progress};
use super::sink::{Sink, Target, damaged};
use crate::api::Identity;
use crate::error::OpenError;
use crate::journal::{Epoch, Position};
use crate::limits::SNAPSHOT_CHUNK_BYTES;
use crate::manifest::{self, Manifest, SEGMENTS_DIR, open_segments};
use crate::open::{WAL_DIR, lock, refuse_data_without_identity};
use crate::segment::{Damage, Kinds};
use crate::{disk, env, identity, index, journal, wal};

/// What an earlier attempt left in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The snapshot.
    pub snapshot: Uuid,
    /// How many of its files are in place: a stream may begin with the file of this number.
    pub files: u32,
}

/// A shard that was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The last op whose effect is in it.
    pub seq: u64,
    /// The disk's.
    pub disk_id: Uuid,
    /// Of that op.
    pub epoch: Epoch,
}

impl Restored {
    /// The last entry of its log.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.seq }
    }
}

/// A restore under way. Dropped before its end it leaves what is whole for the next.
pub struct Restore {
    dir: PathBuf,
    identity: Identity,
    reader: Reader,
    /// Known from the stream's start on.
    progress: Option<Progress>,
    /// The files after the manifest, known from that on.
    names: Vec<FileName>,
    /// The stream's, known from its start on.
    version: u16,
    file: Option<Open>,
    refused: bool,
    /// The disk's, if it is not to be drawn.
    disk_id: Option<Uuid>,
    /// All of the stream was taken.
    ended: bool,
    _lock: File,
}

/// The file under way.
struct Open {
    number: u32,
    name: FileName,
    sink: Sink,
    summing: Summing,
}

impl Restore {
    /// Begins to restore into a folder that is empty, or goes on where an earlier attempt stopped. The shard will be
    /// `identity`'s: its vectors must be the snapshot's, its names may be others.
    pub fn begin(dir: &Path, identity: Identity) -> Result<Self, RestoreError> {
        identity::check(&identity)?;
        fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
        let lock = lock(dir)?;
        let half = progress::is_half(dir)?;
        if !half {
            refuse_a_shard(dir)?;
        }
        let progress = Progress::read(dir).filter(|progress| progress.identity == identity);
        let mut restore = Self {
            disk_id: None,
            dir: dir.to_owned(),
            identity,
            reader: Reader::default(),
            progress,
            names: Vec::new(),
            version: 0,
            file: None,
            refused: false,
            ended: false,
            _lock: lock,
        };
        if restore.find_names().is_err() {
            // With a manifest that does not read there is nothing to go on with.
            restore.progress = None;
        }
        Ok(restore)
    }

    /// The same for a replica that goes on: into a folder inside its own, under the id that its disk has. What it holds is
    /// [installed](super::install) afterwards.
    pub fn begin_replica(
        dir: &Path,
        identity: Identity,
        disk_id: Uuid,
    ) -> Result<Self, RestoreError> {
        let incoming = super::incoming(dir);
        // One that came before and was not wanted after all.
        if incoming.is_dir() && !progress::is_half(&incoming)? {
            fs::remove_dir_all(&incoming).map_err(OpenError::io(&incoming))?;
        }
        let mut restore = Self::begin(&incoming, identity)?;
        restore.disk_id = Some(disk_id);
        restore.progress.take_if(|progress| progress.disk_id != disk_id);
        Ok(restore)
    }

    /// What an earlier attempt left here, to ask for the rest of it. A stream of another snapshot begins anew.
    pub fn held(&self) -> Option<Held> {
        self.progress.as_ref().map(|progress| Held {
            snapshot: progress.snapshot,
            files: progress.files.len() as u32,
        })
    }

    /// Takes the next bytes of the stream. Writes and syncs: use it where blocking is allowed. After an error only the beginning of another restore helps.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        if self.refused {
            return Err(RestoreError::Refused);
        }
        let mut reader = std::mem::take(&mut self.reader);
        let taken = bytes.chunks(SNAPSHOT_CHUNK_BYTES).try_for_each(|piece| {
            reader.push(piece);
            while let Some(event) = reader.next()? {
                self.take(event)?;
            }
            Ok(())
        });
        self.reader = reader;
        self.refused = taken.is_err();
        if self.refused {
            // Its unfinished name goes at once.
            self.file = None;
        }
        taken
    }

    /// Verifies what was restored, after all of the stream was pushed, and makes it a shard: it opens as any does. Reads
    /// all of it.
    pub fn finish(mut self) -> Result<Restored, RestoreError> {
        if self.refused {
            return Err(RestoreError::Refused);
        }
        let Some(progress) = self.progress.take_if(|_| self.ended) else {
            return Err(RestoreError::Short { files: self.held().map_or(0, |held| held.files) });
        };
        let (disk_id, seq) = (progress.disk_id, progress.start.seq);
        if let Err(error) = self.verify(disk_id) {
            // Or the next attempt would go on with them.
            Progress { files: Vec::new(), ..progress }.write(&self.dir)?;
            return Err(error.into());
        }
        let epoch = self.last_epoch(disk_id)?;
        // All that a snapshot holds is committed.
        journal::write_commit(&self.dir, disk_id, seq).map_err(OpenError::io(&self.dir))?;
        identity::write(&self.dir, disk_id, &self.identity)?;
        Progress::finish(&self.dir)?;
        Ok(Restored { seq, disk_id, epoch })
    }

    /// Of the last entry.
    fn last_epoch(&self, disk_id: Uuid) -> Result<Epoch, OpenError> {
        let manifest = self.manifest(disk_id)?;
        let mut last = manifest.log.epoch;
        wal::replay(&self.dir.join(WAL_DIR), disk_id, manifest.flushed_seq, |_, _, record| {
            last = Epoch { number: record.epoch, nonce: record.nonce };
            Ok(())
        })?;
        Ok(last)
    }

    fn take(&mut self, event: Event<'_>) -> Result<(), RestoreError> {
        match event {
            Event::Start(version, id, start) => {
                self.version = version;
                self.start(id, start)
            }
            Event::File(number, name) => self.begin_file(number, name),
            Event::Chunk(bytes) => {
                let (target, Some(open)) = (target(&self.dir, &self.progress)?, &mut self.file)
                else {
                    return Err(damaged("bytes of no file"));
                };
                open.summing.add(bytes);
                open.sink.write(bytes, &target)
            }
            Event::FileEnd(sum) => self.end_file(sum),
            Event::End(end) => self.end(end),
        }
    }

    fn start(&mut self, snapshot: Uuid, start: Start) -> Result<(), RestoreError> {
        if !identity::has_same_vectors(&start.identity, &self.identity) {
            let text =
                |identity: &Identity| format!("{:?}, {:?}", identity.vectors, identity.sparse);
            let (found, wanted) = (text(&start.identity), text(&self.identity));
            return Err(RestoreError::WrongVectors { found, wanted });
        }
        // Segments know vectors by their places in the order that they were written with.
        self.identity.vectors.clone_from(&start.identity.vectors);
        self.identity.sparse.clone_from(&start.identity.sparse);
        if start.flushed_seq > start.seq || start.seq == u64::MAX {
            return Err(damaged("its seqs are out of order"));
        }
        let goes_on = |held: &&Progress| held.snapshot == snapshot && held.start == start;
        if let Some(held) = self.progress.as_ref().filter(goes_on) {
            // A crash may have come before the folders were made, or before all of them was cleared.
            return if held.files.is_empty() { Ok(clear(&self.dir)?) } else { Ok(()) };
        }
        let disk_id = self.disk_id.unwrap_or_else(env::random_uuid);
        let identity = self.identity.clone();
        let progress = Progress { snapshot, disk_id, start, identity, files: Vec::new() };
        // First, so that what is half there is never without it.
        progress.write(&self.dir)?;
        self.progress = Some(progress);
        self.names.clear();
        clear(&self.dir)?;
        Ok(())
    }

    fn begin_file(&mut self, number: u32, name: FileName) -> Result<(), RestoreError> {
        let target = target(&self.dir, &self.progress)?;
        let held = self.progress.iter().flat_map(|progress| &progress.files).count() as u32;
        let expected = match number {
            0 => Some(FileName::Manifest),
            number => self.names.get(number as usize - 1).copied(),
        };
        if number > held || expected != Some(name) {
            return Err(damaged(format!("file {number} is {name:?}, after {held} files")));
        }
        let sink = match number < held {
            true => Sink::Held,
            false => Sink::begin(name, &target)?,
        };
        self.file = Some(Open { number, name, sink, summing: Summing::default() });
        Ok(())
    }

    fn end_file(&mut self, sum: Sum) -> Result<(), RestoreError> {
        let Some(open) = self.file.take() else { return Err(damaged("the end of no file")) };
        let target = target(&self.dir, &self.progress)?;
        let wrong =
            || damaged(format!("file {} ({:?}): hash does not match", open.number, open.name));
        if open.summing.sum() != sum {
            return Err(wrong());
        }
        let held = self.progress.iter().flat_map(|progress| &progress.files);
        if let Some((_, known)) = held.clone().nth(open.number as usize) {
            return if *known == sum { Ok(()) } else { Err(wrong()) };
        }
        open.sink.commit(&target)?;
        if let Some(progress) = &mut self.progress {
            progress.files.push((open.name, sum));
            progress.write(&self.dir)?;
        }
        match open.name {
            FileName::Manifest => self.find_names(),
            FileName::Segment(_) | FileName::Log | FileName::Indexes => Ok(()),
        }
    }

    /// Learns from the manifest, if it is in place, which files come after it.
    fn find_names(&mut self) -> Result<(), RestoreError> {
        let Some(progress) = self.progress.as_ref().filter(|held| !held.files.is_empty()) else {
            return Ok(());
        };
        let manifest = self.manifest(progress.disk_id)?;
        let segments = manifest.segments.iter().map(|entry| FileName::Segment(entry.number));
        self.names = segments.chain([FileName::Log, FileName::Indexes]).collect();
        Ok(())
    }

    fn manifest(&self, disk_id: Uuid) -> Result<Manifest, OpenError> {
        let missing = || OpenError::corrupt(&self.dir.join(manifest::FILE), "it is missing");
        Manifest::read(&self.dir, disk_id)?.ok_or_else(missing)
    }

    /// Reads all segments. What the first disk had lost before the snapshot was taken shows here.
    fn verify(&self, disk_id: Uuid) -> Result<(), OpenError> {
        let vectors = &self.identity.vectors;
        let kinds = Kinds { dense: vectors, sparse: self.identity.sparse.len() };
        let manifest = self.manifest(disk_id)?;
        for placed in open_segments(&self.dir, disk_id, kinds, &manifest)? {
            let corrupt =
                |damage: Damage| OpenError::corrupt(Path::new(&damage.file), damage.detail);
            placed.segment.verify().map_err(corrupt)?;
        }
        Ok(())
    }

    /// Checks that all files came.
    fn end(&mut self, end: End) -> Result<(), RestoreError> {
        let Some(progress) = &self.progress else { return Err(damaged("it has no start")) };
        // Those of version 1 end with the log: nothing is indexed until the shard is told again which fields are to be.
        let without = usize::from(self.version == 1);
        if progress.files.is_empty() || progress.files.len() + without != self.names.len() + 1 {
            let detail = format!("it ends after {} files", progress.files.len());
            return Err(damaged(detail));
        }
        if end != End::of(&progress.files) {
            return Err(damaged("the hash over all files does not match"));
        }
        self.ended = true;
        Ok(())
    }
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restore").field("dir", &self.dir).field("held", &self.held()).finish()
    }
}

fn target<'a>(dir: &'a Path, progress: &'a Option<Progress>) -> Result<Target<'a>, RestoreError> {
    let progress = progress.as_ref().ok_or_else(|| damaged("it has no start"))?;
    Ok(Target { dir, disk_id: progress.disk_id, start: &progress.start })
}

/// Fails if there is a shard in the folder, or what is left of one.
fn refuse_a_shard(dir: &Path) -> Result<(), RestoreError> {
    let not_empty = || RestoreError::NotEmpty(dir.to_owned());
    let there = |path: &Path| path.try_exists().map_err(OpenError::io(path));
    if there(&dir.join(identity::FILE))? {
        return Err(not_empty());
    }
    let (wal_dir, segments_dir) = (dir.join(WAL_DIR), dir.join(SEGMENTS_DIR));
    if !there(&wal_dir)? || !there(&segments_dir)? {
        // A set-up makes both before any file.
        let mut files = there(&dir.join(manifest::FILE))?;
        for folder in [&wal_dir, &segments_dir] {
            files |=
                there(folder)? && !disk::list(folder).map_err(OpenError::io(folder))?.is_empty();
        }
        return if files { Err(not_empty()) } else { Ok(()) };
    }
    refuse_data_without_identity(dir, &wal_dir, &segments_dir).map_err(|error| match error {
        OpenError::Corrupt { .. } => not_empty(),
        other => other.into(),
    })
}

/// Deletes what another attempt left, and makes the folders.
fn clear(dir: &Path) -> Result<(), OpenError> {
    for name in [identity::FILE, manifest::FILE, index::WANTED_FILE] {
        let file = dir.join(name);
        disk::remove_if_there(&file).map_err(OpenError::io(&file))?;
    }
    for folder in [dir.join(WAL_DIR), dir.join(SEGMENTS_DIR)] {
        disk::ensure_dir(&folder).map_err(OpenError::io(&folder))?;
        for (_, path) in disk::list(&folder).map_err(OpenError::io(&folder))? {
            disk::remove_if_there(&path).map_err(OpenError::io(&path))?;
        }
    }
    Ok(())
}
