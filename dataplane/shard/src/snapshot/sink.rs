//! Where the files of a snapshot go: written anew for the disk that they are restored on.
//!
//! Only what names a disk changes: a file's header, and in the log the checksum of each record. Invariant: a file is under
//! its own name only when it is whole and durable.

use std::io::Write;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::error::RestoreError;
use super::frame::{FileName, Start};
use crate::disk::{self, NewFile};
use crate::error::OpenError;
use crate::format::{FileKind, HEADER_BYTES, Header, HeaderError};
use crate::index::{self, WantedIndexes};
use crate::limits::{RESTORED_WAL_FILE_BYTES, SNAPSHOT_INDEXES_BYTES, SNAPSHOT_MANIFEST_BYTES};
use crate::manifest::{Manifest, segment_path};
use crate::open::WAL_DIR;
use crate::wal::{self, Record};

/// One file under way.
pub(super) enum Sink {
    Manifest(Vec<u8>),
    Segment(SegmentSink),
    Log(Box<LogSink>),
    Indexes(Vec<u8>),
    /// It is in place already.
    Held,
}

/// For whom files are written.
pub(super) struct Target<'a> {
    pub(super) dir: &'a Path,
    pub(super) disk_id: Uuid,
    pub(super) start: &'a Start,
}

impl Sink {
    pub(super) fn begin(name: FileName, to: &Target<'_>) -> Result<Self, RestoreError> {
        Ok(match name {
            FileName::Manifest => Sink::Manifest(Vec::new()),
            FileName::Segment(number) => {
                let path = segment_path(to.dir, number);
                let file = NewFile::create(&path).map_err(OpenError::io(&path))?;
                Sink::Segment(SegmentSink { path, file, head: Vec::new() })
            }
            FileName::Log => Sink::Log(Box::new(LogSink::new(to)?)),
            FileName::Indexes => Sink::Indexes(Vec::new()),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8], to: &Target<'_>) -> Result<(), RestoreError> {
        match self {
            Sink::Held => Ok(()),
            Sink::Manifest(whole) if whole.len() + bytes.len() > SNAPSHOT_MANIFEST_BYTES => {
                Err(damaged(format!("its manifest has more than {SNAPSHOT_MANIFEST_BYTES} bytes")))
            }
            Sink::Indexes(whole) if whole.len() + bytes.len() > SNAPSHOT_INDEXES_BYTES => {
                let most = SNAPSHOT_INDEXES_BYTES;
                Err(damaged(format!("its list of payload indexes has more than {most} bytes")))
            }
            Sink::Manifest(whole) | Sink::Indexes(whole) => {
                whole.extend(bytes);
                Ok(())
            }
            Sink::Segment(sink) => sink.write(bytes, to),
            Sink::Log(sink) => sink.write(bytes, to),
        }
    }

    /// Puts the file in place. It has the hash that it was sent with.
    pub(super) fn commit(self, to: &Target<'_>) -> Result<(), RestoreError> {
        match self {
            Sink::Held => Ok(()),
            Sink::Manifest(bytes) => {
                let manifest =
                    Manifest::from_bytes(&of_snapshot("manifest"), &bytes, to.start.origin)?;
                if manifest.flushed_seq != to.start.flushed_seq {
                    return Err(damaged("its manifest is of another seq"));
                }
                Ok(manifest.write(to.dir, to.disk_id)?)
            }
            Sink::Segment(sink) if sink.head.len() < HEADER_BYTES => {
                Err(damaged("a segment is shorter than its header"))
            }
            Sink::Segment(sink) => Ok(sink.file.commit().map_err(OpenError::io(&sink.path))?),
            Sink::Log(sink) => sink.commit(to),
            Sink::Indexes(bytes) => {
                let path = of_snapshot("indexes");
                let wanted = WantedIndexes::from_bytes(&path, &bytes, to.start.origin)?;
                Ok(index::write_wanted(to.dir, to.disk_id, &wanted)?)
            }
        }
    }
}

/// A segment: the same bytes behind another header.
pub(super) struct SegmentSink {
    path: PathBuf,
    file: NewFile,
    /// The header, until all of it is there.
    head: Vec<u8>,
}

impl SegmentSink {
    fn write(&mut self, mut bytes: &[u8], to: &Target<'_>) -> Result<(), RestoreError> {
        if self.head.len() < HEADER_BYTES {
            let (head, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.head.len()));
            self.head.extend(head);
            bytes = rest;
            if self.head.len() < HEADER_BYTES {
                return Ok(());
            }
            let header = read_header(&self.head, FileKind::Segment, to)?;
            let own = Header { disk: to.disk_id, ..header }.to_bytes();
            self.file.file.write_all(&own).map_err(OpenError::io(&self.path))?;
        }
        Ok(self.file.file.write_all(bytes).map_err(OpenError::io(&self.path))?)
    }
}

/// The log: records that are checked, and written with the new disk's checksums.
pub(super) struct LogSink {
    dir: PathBuf,
    next_seq: u64,
    /// Bytes that are no whole record yet: one record at most, and a chunk.
    waiting: Vec<u8>,
    has_header: bool,
    encoded: Vec<u8>,
    file: NewFile,
    written: u64,
}

impl LogSink {
    fn new(to: &Target<'_>) -> Result<Self, RestoreError> {
        let (dir, next_seq) = (to.dir.join(WAL_DIR), to.start.flushed_seq + 1);
        // Of an earlier attempt.
        for (_, path) in disk::list(&dir).map_err(OpenError::io(&dir))? {
            disk::remove_if_there(&path).map_err(OpenError::io(&path))?;
        }
        let file = wal::new_file(&dir, to.disk_id, next_seq).map_err(OpenError::io(&dir))?;
        let (waiting, encoded) = (Vec::new(), Vec::new());
        Ok(Self { dir, next_seq, waiting, has_header: false, encoded, file, written: 0 })
    }

    fn write(&mut self, bytes: &[u8], to: &Target<'_>) -> Result<(), RestoreError> {
        self.waiting.extend(bytes);
        let mut at = 0;
        if !self.has_header {
            if self.waiting.len() < HEADER_BYTES {
                return Ok(());
            }
            if read_header(&self.waiting, FileKind::Wal, to)?.first_seq != self.next_seq {
                return Err(damaged("its log begins at another seq than its manifest ends"));
            }
            (self.has_header, at) = (true, HEADER_BYTES);
        }
        while let Some(prefix) = self.waiting.get(at..).and_then(|rest| rest.first_chunk()) {
            let no_record =
                || damaged(format!("its log has no valid record of seq {}", self.next_seq));
            let len = Record::len_from(*prefix).ok_or_else(no_record)?;
            let Some(bytes) = self.waiting.get(at..at + len) else { break };
            let (record, _) = Record::decode(to.start.origin, bytes).ok_or_else(no_record)?;
            if record.seq != self.next_seq || record.seq > to.start.seq {
                return Err(damaged(format!("its log has seq {} out of order", record.seq)));
            }
            if self.written + self.encoded.len() as u64 >= RESTORED_WAL_FILE_BYTES {
                let next = wal::new_file(&self.dir, to.disk_id, record.seq);
                let next = next.map_err(OpenError::io(&self.dir))?;
                self.file.file.write_all(&self.encoded).map_err(OpenError::io(&self.dir))?;
                let full = std::mem::replace(&mut self.file, next);
                full.commit().map_err(OpenError::io(&self.dir))?;
                self.encoded.clear();
                self.written = 0;
            }
            record.encode(to.disk_id, &mut self.encoded);
            (self.next_seq, at) = (self.next_seq + 1, at + len);
        }
        self.waiting.drain(..at);
        self.file.file.write_all(&self.encoded).map_err(OpenError::io(&self.dir))?;
        self.written += self.encoded.len() as u64;
        self.encoded.clear();
        Ok(())
    }

    fn commit(self, to: &Target<'_>) -> Result<(), RestoreError> {
        if !self.has_header || !self.waiting.is_empty() || self.next_seq != to.start.seq + 1 {
            return Err(damaged(format!("its log ends before seq {}", to.start.seq)));
        }
        Ok(self.file.commit().map_err(OpenError::io(&self.dir))?)
    }
}

fn read_header(bytes: &[u8], kind: FileKind, to: &Target<'_>) -> Result<Header, RestoreError> {
    Header::read(bytes, kind, Some(to.start.origin)).map_err(|error| match error {
        HeaderError::Corrupt(detail) => damaged(format!("a {kind:?} file: {detail}")),
        HeaderError::TooNew { found, known } => RestoreError::TooNew { found, known },
    })
}

/// A name for errors about what is nowhere on this disk.
fn of_snapshot(name: &str) -> PathBuf {
    Path::new("snapshot").join(name)
}

pub(super) fn damaged(detail: impl Into<String>) -> RestoreError {
    RestoreError::Damaged(detail.into())
}
