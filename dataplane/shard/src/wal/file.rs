//! The files of the log, and appending to the last of them.
//!
//! Invariant: bytes of the last file up to `good_len` are whole records; whatever a failed write left behind it is cut
//! off before the next write, so that a full disk needs no hand to recover from.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::disk::{self, NewFile};
use crate::error::OpenError;
use crate::fail::{FailPoint, reached};
use crate::format::{FileKind, HEADER_BYTES, Header};

/// Why records were not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// No room. Nothing of it remains in the file.
    Full(io::Error),
    /// Anything else: what the file holds now is not known.
    Broken(io::Error),
}

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The seq that the file's name says.
    pub(crate) file: u64,
    /// Bytes before it.
    pub(crate) offset: u64,
}

/// The log, open for appending.
pub(crate) struct Wal {
    dir: PathBuf,
    disk_id: Uuid,
    /// First seq of the file that is written to.
    first_seq: u64,
    file: Arc<File>,
    good_len: u64,
    last_seq: u64,
}

impl Wal {
    /// Goes on after the last good record of the last file.
    pub(super) fn resume(
        dir: &Path,
        disk_id: Uuid,
        first_seq: u64,
        good_len: u64,
        last_seq: u64,
    ) -> Result<Self, OpenError> {
        let path = dir.join(file_name(first_seq));
        let file = open(&path).map_err(OpenError::io(&path))?;
        Ok(Self { dir: dir.to_owned(), disk_id, first_seq, file, good_len, last_seq })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that is written to. What was appended so far is durable once it is synced.
    pub(crate) fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Where the next record will begin.
    pub(crate) fn end(&self) -> Place {
        Place { file: self.first_seq, offset: self.good_len }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Bytes of the file that is written to.
    pub(crate) fn file_len(&self) -> u64 {
        self.good_len
    }

    /// Writes whole encoded records, the last of them of `last_seq`. They are not durable before [`Wal::sync`].
    pub(crate) fn append(&mut self, records: &[u8], last_seq: u64) -> Result<(), AppendError> {
        debug_assert!(last_seq > self.last_seq);
        match self.file.write_all_at(records, self.good_len) {
            Ok(()) => {
                self.good_len += records.len() as u64;
                self.last_seq = last_seq;
                Ok(())
            }
            Err(error) if disk::is_full(&error) => {
                self.file.set_len(self.good_len).map_err(AppendError::Broken)?;
                Err(AppendError::Full(error))
            }
            Err(error) => Err(AppendError::Broken(error)),
        }
    }

    /// Makes all that was appended durable. After an error nothing may be said about it, and it is not to be tried
    /// again: the kernel may have dropped the pages and would answer that all is well.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Closes the file and begins the next. The file is synced already. `Full` stands for anything that left all as it
    /// was; once the next file has its name, going on with this one would leave a gap, so that is `Broken`.
    pub(crate) fn rotate(&mut self) -> Result<(), AppendError> {
        if self.good_len <= HEADER_BYTES as u64 {
            return Ok(());
        }
        let next = self.dir.join(file_name(self.last_seq + 1));
        let begun = create(&self.dir, self.disk_id, self.last_seq + 1);
        let opened = begun.and_then(|path| open(&path));
        self.file = opened.map_err(|error| match next.try_exists() {
            Ok(false) => AppendError::Full(error),
            Ok(true) | Err(_) => AppendError::Broken(error),
        })?;
        (self.first_seq, self.good_len) = (self.last_seq + 1, HEADER_BYTES as u64);
        Ok(())
    }

    /// Takes all records from a place on out of the log, durably; the last one is then `last_seq`. Files go from the last
    /// one back, so that a crash in between leaves no gap.
    pub(crate) fn cut(&mut self, from: Place, last_seq: u64) -> io::Result<()> {
        let later = files(&self.dir)?.into_iter().filter(|(first, _)| *first > from.file);
        for (_, path) in later.collect::<Vec<_>>().into_iter().rev() {
            disk::remove_if_there(&path)?;
            disk::sync_dir(&self.dir)?;
        }
        if from.file != self.first_seq {
            self.file = open(&self.dir.join(file_name(from.file)))?;
        }
        self.file.set_len(from.offset)?;
        reached(FailPoint::LogCut, &self.dir);
        self.file.sync_all()?;
        (self.first_seq, self.good_len, self.last_seq) = (from.file, from.offset, last_seq);
        Ok(())
    }

    /// The bytes of all records from a place on.
    pub(crate) fn bytes_behind(&self, from: Place) -> io::Result<Vec<u8>> {
        let mut behind = Vec::new();
        for (first, path) in files(&self.dir)?.into_iter().filter(|(first, _)| *first >= from.file)
        {
            let skip = if first == from.file { from.offset } else { HEADER_BYTES as u64 };
            let bytes = std::fs::read(path)?;
            behind.extend(bytes.get(skip as usize..).unwrap_or_default());
        }
        Ok(behind)
    }
}

fn open(path: &Path) -> io::Result<Arc<File>> {
    OpenOptions::new().write(true).open(path).map(Arc::new)
}

/// Makes the first file of a new log.
pub(crate) fn create_first(dir: &Path, disk_id: Uuid) -> Result<(), OpenError> {
    create(dir, disk_id, 1).map(drop).map_err(OpenError::io(dir))
}

fn create(dir: &Path, disk_id: Uuid, first_seq: u64) -> io::Result<PathBuf> {
    new_file(dir, disk_id, first_seq)?.commit()?;
    Ok(dir.join(file_name(first_seq)))
}

/// A file of the log that begins at a seq, not in its place yet.
pub(crate) fn new_file(dir: &Path, disk_id: Uuid, first_seq: u64) -> io::Result<NewFile> {
    let mut new = NewFile::create(&dir.join(file_name(first_seq)))?;
    new.file.write_all(&Header::new(FileKind::Wal, disk_id, first_seq).to_bytes())?;
    Ok(new)
}

/// Deletes files all of whose records are at or below `flushed_seq`, the oldest first, but keeps the newest of them as far as
/// all files that stay have at most `keep` bytes. Never the last one, so this may run beside a writer. The seq that the log
/// begins with then.
pub(crate) fn trim(dir: &Path, flushed_seq: u64, keep: u64) -> io::Result<u64> {
    let files = files(dir)?;
    let mut sizes = Vec::new();
    for (_, path) in &files {
        sizes.push(std::fs::metadata(path)?.len());
    }
    let mut left: u64 = sizes.iter().sum();
    let mut begins = files.first().map_or(1, |(first, _)| *first);
    for (pair, size) in files.windows(2).zip(sizes) {
        if let [(_, path), (next_first, _)] = pair
            && *next_first <= flushed_seq + 1
            && left > keep
        {
            disk::remove_if_there(path)?;
            reached(FailPoint::LogTrimmed, path);
            (left, begins) = (left - size, *next_first);
        } else {
            break;
        }
    }
    if files.first().is_some_and(|(first, _)| *first < begins) {
        disk::sync_dir(dir)?;
    }
    Ok(begins)
}

fn file_name(first_seq: u64) -> String {
    format!("{first_seq:020}.wal")
}

/// The log's files with the seqs that their names say, in order.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let named = disk::list(dir)?.into_iter().filter_map(|(name, path)| {
        let first_seq = name.strip_suffix(".wal")?.parse().ok()?;
        Some((first_seq, path))
    });
    let mut files: Vec<_> = named.collect();
    files.sort();
    Ok(files)
}
