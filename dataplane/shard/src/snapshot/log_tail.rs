//! The log's part of a snapshot: records from `flushed_seq + 1` to the snapshot's seq, as they stand in its files.
//!
//! A file is read up to where its records end or the seq is reached, never behind it, where the writer may be at work.
//! Every record is checked. Memory: the largest record read so far.

use super::take::HeldFiles;
use crate::format::{FileKind, HEADER_BYTES, Header};
use crate::wal::Scan;

/// Where reading is.
pub(super) struct LogTail {
    file: usize,
    scan: Scan,
    next_seq: u64,
    record: Vec<u8>,
}

impl LogTail {
    pub(super) fn new(held: &HeldFiles) -> Self {
        Self {
            file: 0,
            scan: Scan::default(),
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
            let scan = self.scan;
            let read = scan.read(file, held.start.origin, &mut self.record);
            let Some(record) = read.map_err(|error| named(error.to_string()))? else {
                // Records end here; the next file goes on.
                (self.file, self.scan) = (self.file + 1, Scan::default());
                continue;
            };
            self.scan = scan.past(&record);
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
