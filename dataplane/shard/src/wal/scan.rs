//! Reading records one by one from a file of the log that may still be written to.
//!
//! Whoever reads knows up to which seq the file holds whole records, and reads none behind that.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use uuid::Uuid;

use super::record::Record;
use crate::format::HEADER_BYTES;

/// Where reading is in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    at: u64,
}

impl Default for Scan {
    /// At the first record.
    fn default() -> Self {
        Self { at: HEADER_BYTES as u64 }
    }
}

impl Scan {
    /// The record here, read into the buffer; `None` where none begins, as at the file's end. One that begins and is not
    /// valid is an error.
    pub(crate) fn read<'b>(
        self,
        file: &File,
        disk_id: Uuid,
        buffer: &'b mut Vec<u8>,
    ) -> io::Result<Option<Record<'b>>> {
        let mut prefix = [0; 4];
        let len = match read_whole(file, &mut prefix, self.at)? {
            true => Record::len_from(prefix),
            false => None,
        };
        let Some(len) = len else { return Ok(None) };
        buffer.resize(len, 0);
        let whole = read_whole(file, buffer, self.at)?;
        match Record::decode(disk_id, buffer).filter(|_| whole) {
            Some((record, _)) => Ok(Some(record)),
            None => {
                let detail = format!("at byte {}: no valid record", self.at);
                Err(io::Error::new(io::ErrorKind::InvalidData, detail))
            }
        }
    }

    /// Behind a record that was read here.
    pub(crate) fn past(self, record: &Record<'_>) -> Self {
        Self { at: self.at + record.len() as u64 }
    }
}

/// Fills the buffer from a place in a file; false if the file ends before.
fn read_whole(file: &File, buffer: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
