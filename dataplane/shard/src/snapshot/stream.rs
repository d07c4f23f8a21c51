//! The stream of a snapshot: blocks of bytes, made as they are asked for.
//!
//! Memory: one chunk and one record of the log. A block is whole frames, so a message of its size can carry it.

use std::sync::Arc;

use super::frame::{End, FileName, Sum, Summing, Writer};
use super::log_tail::LogTail;
use super::take::HeldFiles;
use crate::api::ShardError;
use crate::limits::SNAPSHOT_CHUNK_BYTES;

/// The bytes of a snapshot, block by block; ends after its end or with the first error. Reads files as it goes: use it
/// where blocking is allowed.
pub struct SnapshotStream {
    held: Arc<HeldFiles>,
    frames: Writer,
    from: u32,
    next: Next,
    /// Of the files before the one that is read.
    sums: Vec<(FileName, Sum)>,
}

enum Next {
    Start,
    File,
    Chunks(Source, Summing),
    Past,
}

/// Where the bytes of a file come from.
enum Source {
    /// From this place of what is in memory or mapped.
    Bytes(usize),
    Log {
        tail: LogTail,
        /// Whole records that were read.
        records: Vec<u8>,
        /// How much of them was sent.
        sent: usize,
    },
}

impl SnapshotStream {
    pub(super) fn new(held: Arc<HeldFiles>, from: u32) -> Self {
        let frames = Writer::new(held.id);
        Self { held, frames, from, next: Next::Start, sums: Vec::new() }
    }

    fn block(&mut self) -> Result<Option<Vec<u8>>, ShardError> {
        let mut out = Vec::new();
        while out.is_empty() {
            let sends = self.sums.len() as u32 >= self.from;
            match std::mem::replace(&mut self.next, Next::Past) {
                Next::Past => return Ok(None),
                Next::Start => {
                    self.frames.start(&self.held.start, &mut out);
                    self.next = Next::File;
                }
                Next::File => self.begin_file(sends, &mut out),
                Next::Chunks(mut source, mut summing) => {
                    let file = self.sums.len() as u32;
                    let chunk = source.next(&self.held, file)?;
                    if chunk.is_empty() {
                        self.end_file(file, summing.sum(), sends, &mut out);
                        continue;
                    }
                    summing.add(chunk);
                    if sends {
                        self.frames.chunk(chunk, &mut out);
                    }
                    self.next = Next::Chunks(source, summing);
                }
            }
        }
        Ok(Some(out))
    }

    fn begin_file(&mut self, sends: bool, out: &mut Vec<u8>) {
        let file = self.sums.len() as u32;
        let Some(name) = self.held.name(file) else {
            self.frames.end(End::of(&self.sums), out);
            return;
        };
        if sends {
            self.frames.file(file, name, out);
        } else if let Some(sum) = self.held.sums.get(file as usize).and_then(|sum| sum.get()) {
            self.sums.push((name, *sum));
            self.next = Next::File;
            return;
        }
        let source = match name {
            FileName::Manifest | FileName::Segment(_) | FileName::Indexes => Source::Bytes(0),
            FileName::Log => Source::Log {
                tail: LogTail::new(&self.held),
                records: LogTail::header(&self.held).to_vec(),
                sent: 0,
            },
        };
        self.next = Next::Chunks(source, Summing::default());
    }

    fn end_file(&mut self, file: u32, sum: Sum, sends: bool, out: &mut Vec<u8>) {
        if let Some(known) = self.held.sums.get(file as usize) {
            let _ = known.set(sum);
        }
        if sends {
            self.frames.file_end(sum, out);
        }
        self.sums.extend(self.held.name(file).map(|name| (name, sum)));
        self.next = Next::File;
    }
}

impl Source {
    /// The next chunk of the file of a number; empty at its end.
    fn next<'a>(&'a mut self, held: &'a HeldFiles, file: u32) -> Result<&'a [u8], ShardError> {
        match self {
            Source::Bytes(at) => {
                let rest = held.bytes(file).get(*at..).unwrap_or_default();
                let chunk = &rest[..rest.len().min(SNAPSHOT_CHUNK_BYTES)];
                *at += chunk.len();
                Ok(chunk)
            }
            Source::Log { tail, records, sent } => {
                if records.len() - *sent < SNAPSHOT_CHUNK_BYTES {
                    records.drain(..*sent);
                    *sent = 0;
                    while records.len() < SNAPSHOT_CHUNK_BYTES
                        && tail.next(held, records).map_err(|detail| corrupt(held, detail))?
                    {
                    }
                }
                let rest = &records[*sent..];
                let chunk = &rest[..rest.len().min(SNAPSHOT_CHUNK_BYTES)];
                *sent += chunk.len();
                Ok(chunk)
            }
        }
    }
}

fn corrupt(held: &HeldFiles, detail: String) -> ShardError {
    ShardError::Corrupt { shard: held.start.identity.shard.clone(), detail }
}

impl Iterator for SnapshotStream {
    type Item = Result<Vec<u8>, ShardError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.block().transpose()
    }
}
