//! Reading the log back, and telling a torn write from damage.
//!
//! A write that a crash cut short can leave any part of what was not synced on disk, in any order. Each record says which
//! was the first that was not known to be synced when it was written. So: bad bytes at the end of the last file, with behind
//! them only records that were written before those bytes were known to be synced, were never acknowledged and are cut.
//! Anything else is damage, and the shard does not open.

use std::fs::{self, OpenOptions};
use std::path::Path;

use uuid::Uuid;

use super::file::{Place, Wal, files, trim};
use super::record::Record;
use crate::error::OpenError;
use crate::fail::{FailPoint, reached};
use crate::format::{FileKind, HEADER_BYTES, Header, HeaderError};

/// Reads all records above `flushed_seq` in order, then opens the log for appending.
pub(crate) fn replay(
    dir: &Path,
    disk_id: Uuid,
    flushed_seq: u64,
    mut visit: impl FnMut(&Path, Place, &Record<'_>) -> Result<(), OpenError>,
) -> Result<Wal, OpenError> {
    let all = files(dir).map_err(OpenError::io(dir))?;
    let Some((last_first, last_path)) = all.last() else {
        return Err(OpenError::corrupt(dir, "the log has no files"));
    };
    if let Some((_, path)) = all.iter().find(|(first, _)| matches!(*first, 0 | u64::MAX)) {
        return Err(OpenError::corrupt(path, "its name says a seq that no op has"));
    }
    // A crash may have come between a flush and its trim, so there may be files that are no longer needed.
    let needed = all.partition_point(|(first, _)| *first <= flushed_seq.saturating_add(1));
    let Some(files) = needed.checked_sub(1).and_then(|first| all.get(first..)) else {
        let (first, path) = (all.first().map_or(0, |(first, _)| *first), last_path);
        let detail = format!(
            "the log begins at seq {first}, but segments hold ops only up to {flushed_seq}"
        );
        return Err(OpenError::corrupt(path, detail));
    };
    let mut next_seq = files.first().map_or(1, |(first, _)| *first);
    let mut good_len = 0;
    for (first, path) in files {
        if *first != next_seq {
            let detail = format!(
                "begins at seq {first}, but the file before it ends at {}",
                next_seq.saturating_sub(1)
            );
            return Err(OpenError::corrupt(path, detail));
        }
        let bytes = fs::read(path).map_err(OpenError::io(path))?;
        check_header(path, &bytes, disk_id, *first)?;
        let mut reader = Reader { disk_id, path, bytes: &bytes, at: HEADER_BYTES, next_seq };
        loop {
            let place = Place { file: *first, offset: reader.at as u64 };
            let Some(record) = reader.next()? else { break };
            if record.seq > flushed_seq {
                visit(path, place, &record)?;
            }
        }
        if reader.at < bytes.len() {
            reader.expect_torn(first == last_first)?;
            cut(path, reader.at)?;
        }
        (next_seq, good_len) = (reader.next_seq, reader.at as u64);
    }
    let last_seq = next_seq - 1;
    if last_seq < flushed_seq {
        let detail =
            format!("the log ends at seq {last_seq}, but segments hold ops up to {flushed_seq}");
        return Err(OpenError::corrupt(last_path, detail));
    }
    trim(dir, flushed_seq, 0).map_err(OpenError::io(dir))?;
    Wal::resume(dir, disk_id, *last_first, good_len, last_seq)
}

fn check_header(path: &Path, bytes: &[u8], disk_id: Uuid, first_seq: u64) -> Result<(), OpenError> {
    let header =
        Header::read(bytes, FileKind::Wal, Some(disk_id)).map_err(|error| match error {
            HeaderError::Corrupt(detail) => OpenError::corrupt(path, detail),
            HeaderError::TooNew { .. } => OpenError::too_new(path, error.to_string()),
        })?;
    match header.first_seq == first_seq {
        true => Ok(()),
        false => Err(OpenError::corrupt(
            path,
            format!("begins at seq {}, not at what its name says", header.first_seq),
        )),
    }
}

struct Reader<'a> {
    disk_id: Uuid,
    path: &'a Path,
    bytes: &'a [u8],
    /// Where the next record begins; all before it is good.
    at: usize,
    next_seq: u64,
}

impl<'a> Reader<'a> {
    /// The next record; `None` where no valid one follows.
    fn next(&mut self) -> Result<Option<Record<'a>>, OpenError> {
        let Some((record, len)) = Record::decode(self.disk_id, &self.bytes[self.at..]) else {
            return Ok(None);
        };
        if record.seq != self.next_seq {
            let detail = format!(
                "at byte {}: seq {} where {} was to follow",
                self.at, record.seq, self.next_seq
            );
            return Err(OpenError::corrupt(self.path, detail));
        }
        if record.kind().is_none() {
            let detail = format!("a record of kind {} at seq {}", record.kind_number, record.seq);
            return Err(OpenError::too_new(self.path, detail));
        }
        let Some(next_seq) = self.next_seq.checked_add(1) else {
            return Err(OpenError::corrupt(self.path, "a record of the last seq there is"));
        };
        (self.at, self.next_seq) = (self.at + len, next_seq);
        Ok(Some(record))
    }

    /// Checks that the bad bytes at `at` can be what an unfinished write left.
    fn expect_torn(&self, is_last_file: bool) -> Result<(), OpenError> {
        let damaged = |why: &str| {
            let detail =
                format!("at byte {}, where seq {} was to follow: {why}", self.at, self.next_seq);
            Err(OpenError::corrupt(self.path, detail))
        };
        if !is_last_file {
            return damaged("no valid record, in a file that was synced whole");
        }
        // A file holds fewer records than bytes.
        let seqs = self.next_seq..self.next_seq.saturating_add(self.bytes.len() as u64);
        for start in self.at + 1..self.bytes.len() {
            let rest = &self.bytes[start..];
            if Record::may_begin(rest, &seqs)
                && let Some((later, _)) = Record::decode(self.disk_id, rest)
                && later.group_first() > self.next_seq
            {
                return damaged(&format!(
                    "no valid record, but the synced record of seq {} follows",
                    later.seq
                ));
            }
        }
        Ok(())
    }
}

/// Cuts off what an unfinished write left, durably, before anything is written in its place.
fn cut(path: &Path, len: usize) -> Result<(), OpenError> {
    let cut = || {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len as u64)?;
        reached(FailPoint::LogCut, path);
        file.sync_all()
    };
    tracing::warn!(file = %path.display(), len, "cut off an unfinished write at the end of the log");
    cut().map_err(OpenError::io(path))
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
