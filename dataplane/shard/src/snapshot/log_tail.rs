//! The log's part of a snapshot: records from `flushed_seq + 1` to the snapshot's seq, as they stand in its files.
//!
//! A file is read up to where its records end or the seq is reached, never behind it, where the writer may be at work.
//! Every record is checked. Memory: the largest record read so far.

use std::io;
use std::os::unix::fs::FileExt;

use super::take::HeldFiles;
use crate::format::{FileKind, HEADER_BYTES, Header};
use crate::wal::Record;

/// Where reading is.
pub(super) struct LogTail {
    file: usize,
    at: u64,
    next_seq: u64,
    record: Vec<u8>,
}

impl LogTail {
    pub(super) fn new(held: &HeldFiles) -> Self {
        Self {
            file: 0,
            at: HEADER_BYTES as u64,
            next_seq: held.start.flushed_seq + 1,
            record: Vec::new(),
        }
    }

    /// What the file in the stream begins with: a header as a file of the log has.
    pub(super) fn header(held: &HeldFiles) -> [u8; HEADER_BYTES] {
        Header::new(FileKind::Wal, held.start.origin, held.start.flushed_seq + 1).to_bytes()
    }

    /// Appends the next record to `out`; false if there is none.
    pub(super) fn next(&mut self, held: &HeldFiles, out: &mut Vec<u8>) -> Result<bool, String> {
        while self.next_seq <= held.start.seq {
            let Some((path, file)) = held.log.get(self.file) else {
                return Err(format!("the log ends before seq {}", self.next_seq));
            };
            let named = |detail: String| format!("{}: {detail}", path.display());
            let mut prefix = [0; 4];
            let len =
                match read_whole(file, &mut prefix, self.at).map_err(|e| named(e.to_string()))? {
                    true => Record::len_from(prefix),
                    false => None,
                };
            let Some(len) = len else {
                // Records end here; the next file goes on.
                (self.file, self.at) = (self.file + 1, HEADER_BYTES as u64);
                continue;
            };
            self.record.resize(len, 0);
            let whole =
                read_whole(file, &mut self.record, self.at).map_err(|e| named(e.to_string()))?;
            let read = Record::decode(held.start.origin, &self.record).filter(|_| whole);
            let Some((record, _)) = read else {
                return Err(named(format!("at byte {}: no valid record", self.at)));
            };
            self.at += len as u64;
            if record.seq < self.next_seq {
                continue;
            }
            if record.seq > self.next_seq {
                let detail = format!("seq {} where {} was to follow", record.seq, self.next_seq);
                return Err(named(detail));
            }
            self.next_seq += 1;
            out.extend(&self.record);
            return Ok(true);
        }
        Ok(false)
    }
}

/// Fills the buffer from a place in a file; false if the file ends before.
fn read_whole(file: &std::fs::File, buffer: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
