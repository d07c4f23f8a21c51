//! Reading entries back, for a replica that fell behind what is in memory.
//!
//! Whoever fell behind asks again and again for what comes next, so where reading stopped is remembered.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use uuid::Uuid;

use super::entry::{Entry, Epoch, Position, What};
use crate::wal::{self, Kind, Record, Scan};

/// Where reading stopped.
pub(super) struct Cursor {
    first_seq: u64,
    file: File,
    scan: Scan,
    next_seq: u64,
    /// Bytes of the record that was read last.
    record: Vec<u8>,
}

/// Entries from a seq up to `last`, of at most so many bytes but at least one. Fewer where a file ends, none where the log
/// does not have the first of them any more.
pub(super) fn read(
    dir: &Path,
    disk_id: Uuid,
    cursor: &mut Option<Cursor>,
    from: u64,
    last: u64,
    bytes: usize,
) -> io::Result<Vec<Entry>> {
    let (mut entries, mut size) = (Vec::new(), 0);
    let mut at = match cursor.take_if(|cursor| cursor.next_seq == from) {
        Some(at) => at,
        None => match open(dir, from)? {
            Some(at) => at,
            None => return Ok(entries),
        },
    };
    while at.next_seq <= last && size < bytes {
        let before = at.scan;
        let Some(record) = before.read(&at.file, disk_id, &mut at.record)? else {
            // Records end here; the next file goes on.
            match open(dir, at.next_seq)? {
                Some(next) if next.first_seq != at.first_seq => at = next,
                _ => return Ok(entries),
            }
            continue;
        };
        if record.seq >= from {
            if !entries.is_empty() && size + record.body.len() > bytes {
                break;
            }
            size += record.body.len();
            entries.push(entry(&record)?);
        }
        at.next_seq = record.seq + 1;
        at.scan = before.past(&record);
    }
    *cursor = Some(at);
    Ok(entries)
}

/// Opens the file that has a seq, at its beginning.
fn open(dir: &Path, seq: u64) -> io::Result<Option<Cursor>> {
    let files = wal::files(dir)?;
    let holding = files.partition_point(|(first, _)| *first <= seq).checked_sub(1);
    let Some((first_seq, path)) = holding.and_then(|at| files.get(at)) else { return Ok(None) };
    let file = File::open(path)?;
    let (scan, record) = (Scan::default(), Vec::new());
    Ok(Some(Cursor { first_seq: *first_seq, file, scan, next_seq: *first_seq, record }))
}

/// A record as an entry.
pub(crate) fn entry(record: &Record<'_>) -> io::Result<Entry> {
    let epoch = Epoch { number: record.epoch, nonce: record.nonce };
    let body = || Bytes::copy_from_slice(record.body);
    let (client_id, op_id) = (record.client_id, record.op_id);
    let what = match record.kind() {
        Some(Kind::Op) => What::Op { client_id, op_id, body: body() },
        Some(Kind::NoOp) => What::NoOp,
        Some(Kind::Config) => What::Config(body()),
        Some(Kind::Barrier | Kind::Abort) | None => {
            let detail = format!("a record of kind {} at seq {}", record.kind_number, record.seq);
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
    };
    Ok(Entry { at: Position { epoch, seq: record.seq }, what })
}
