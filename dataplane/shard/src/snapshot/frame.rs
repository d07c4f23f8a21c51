//! The stream's bytes: preamble and frames, written and read. No IO.
//!
//! Preamble, 32 bytes: magic 8 · version u16 · zero u16 · snapshot id 16 · crc32c of the 28 before it. A frame: kind u8 ·
//! file u32 · number in the file u32 · length u32 · body · crc32c of the snapshot's id and all of the frame before it. All
//! little-endian. The first frame is `Start`; a file is `File` (number 0), chunks (1 and on) and `FileEnd`; the last frame
//! is `End`. Invariant: a reader gives out a body only after its checksum was right and its place was the next one, so
//! what was lost, doubled, exchanged or mixed with another snapshot is refused before anyone sees it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::api::Identity;
use crate::identity::Identity2;
use crate::limits::SNAPSHOT_CHUNK_BYTES;

/// Version of the stream. 2: datatypes, and the wanted indexes as the last file.
pub(super) const VERSION: u16 = 2;

const MAGIC: [u8; 8] = *b"shoalsnp";
const PREAMBLE_BYTES: usize = 32;
const HEAD_BYTES: usize = 13;
const CRC_BYTES: usize = 4;
/// What `Start` and `End` have in the place of a file.
const NO_FILE: u32 = u32::MAX;

/// What a frame is. Numbers are in stored snapshots and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Start = 1,
    File = 2,
    Chunk = 3,
    FileEnd = 4,
    End = 5,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        [Kind::Start, Kind::File, Kind::Chunk, Kind::FileEnd, Kind::End]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// What the snapshot is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Start {
    /// The disk it was taken from: what headers and records in it were written for.
    pub(super) origin: Uuid,
    pub(super) identity: Identity,
    pub(super) flushed_seq: u64,
    pub(super) seq: u64,
}

/// The same as version 1 had it.
#[derive(Deserialize)]
struct Start1 {
    origin: Uuid,
    identity: Identity2,
    flushed_seq: u64,
    seq: u64,
}

impl From<Start1> for Start {
    fn from(Start1 { origin, identity, flushed_seq, seq }: Start1) -> Self {
        Self { origin, identity: identity.into(), flushed_seq, seq }
    }
}

/// What a file is. Variants are only ever added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FileName {
    Manifest,
    Segment(u64),
    Log,
    Indexes,
}

/// Length and hash of a file, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) len: u64,
    pub(super) hash: u128,
}

/// Makes the sum of a file piece by piece.
#[derive(Default)]
pub(super) struct Summing {
    len: u64,
    hash: Box<Xxh3>,
}

impl Summing {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.hash.update(bytes);
    }

    pub(super) fn sum(&self) -> Sum {
        Sum { len: self.len, hash: self.hash.digest128() }
    }
}

/// What is said at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) files: u32,
    /// Over names and sums of all files, those before a resumed stream's beginning too.
    pub(super) hash: u128,
}

impl End {
    pub(super) fn of(files: &[(FileName, Sum)]) -> Self {
        // Numbers and hashes do not fail to encode.
        let all = postcard::to_stdvec(files).unwrap_or_default();
        Self { files: files.len() as u32, hash: xxh3_128(&all) }
    }
}

/// Why bytes are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StreamError {
    #[error("{0}")]
    Damaged(String),
    #[error("version {found}, this program reads up to {known}")]
    TooNew { found: u16, known: u16 },
}

fn damaged(detail: impl Into<String>) -> StreamError {
    StreamError::Damaged(detail.into())
}

/// Writes frames in order.
pub(super) struct Writer {
    id: Uuid,
    file: u32,
    number: u32,
}

impl Writer {
    pub(super) fn new(id: Uuid) -> Self {
        Self { id, file: NO_FILE, number: 0 }
    }

    pub(super) fn start(&mut self, start: &Start, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 2]);
        out.extend(self.id.as_bytes());
        let crc = crc32c::crc32c(&out[begin..]);
        out.extend(crc.to_le_bytes());
        self.encode(Kind::Start, start, out);
    }

    pub(super) fn file(&mut self, file: u32, name: FileName, out: &mut Vec<u8>) {
        (self.file, self.number) = (file, 0);
        self.encode(Kind::File, &name, out);
    }

    pub(super) fn chunk(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.frame(Kind::Chunk, bytes, out);
    }

    pub(super) fn file_end(&mut self, sum: Sum, out: &mut Vec<u8>) {
        self.encode(Kind::FileEnd, &sum, out);
    }

    pub(super) fn end(&mut self, end: End, out: &mut Vec<u8>) {
        (self.file, self.number) = (NO_FILE, 1);
        self.encode(Kind::End, &end, out);
    }

    fn encode<T: Serialize>(&mut self, kind: Kind, value: &T, out: &mut Vec<u8>) {
        // These types encode; an empty body would be refused by whoever reads it.
        let body = postcard::to_stdvec(value).unwrap_or_default();
        self.frame(kind, &body, out);
    }

    fn frame(&mut self, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
        debug_assert!(body.len() <= SNAPSHOT_CHUNK_BYTES);
        let begin = out.len();
        out.push(kind as u8);
        out.extend(self.file.to_le_bytes());
        out.extend(self.number.to_le_bytes());
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(body);
        let crc = checksum(self.id, &out[begin..]);
        out.extend(crc.to_le_bytes());
        self.number += 1;
    }
}

fn checksum(id: Uuid, frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(id.as_bytes()), frame)
}

/// Makes the checksums of what looks like a preamble and frames right, for fuzzing.
pub(crate) fn reseal(bytes: &mut [u8]) {
    let Some(preamble) = bytes.first_chunk_mut::<PREAMBLE_BYTES>() else { return };
    let mut id = [0; 16];
    id.copy_from_slice(&preamble[12..28]);
    let crc = crc32c::crc32c(&preamble[..28]);
    preamble[28..].copy_from_slice(&crc.to_le_bytes());
    let mut at = PREAMBLE_BYTES;
    while let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEAD_BYTES>()) {
        let len = u32::from_le_bytes([head[9], head[10], head[11], head[12]]) as usize;
        let end = at + HEAD_BYTES + len;
        let Some(frame) = bytes.get_mut(at..end + CRC_BYTES) else { return };
        let crc = checksum(Uuid::from_bytes(id), &frame[..HEAD_BYTES + len]);
        frame[HEAD_BYTES + len..].copy_from_slice(&crc.to_le_bytes());
        at = end + CRC_BYTES;
    }
}

/// What a reader finds.
#[derive(Debug, PartialEq)]
pub(super) enum Event<'a> {
    /// The stream's version, the snapshot's id, and what it is of.
    Start(u16, Uuid, Start),
    File(u32, FileName),
    Chunk(&'a [u8]),
    FileEnd(Sum),
    End(End),
}

/// Where a reader is.
#[derive(Clone, Copy, Debug)]
enum At {
    Preamble,
    Start,
    /// Between files; the first may have any number.
    Between(Option<u32>),
    /// The frame of that number of a file comes next.
    In(u32, u32),
    Past,
}

/// Reads frames from bytes that come in pieces. Holds one frame at most, and what was pushed with its end.
pub(super) struct Reader {
    version: u16,
    id: Uuid,
    at: At,
    buffer: Vec<u8>,
    read: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { id: Uuid::nil(), version: 0, at: At::Preamble, buffer: Vec::new(), read: 0 }
    }
}

impl Reader {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend(bytes);
    }

    /// The next event; `None` until more was pushed.
    pub(super) fn next(&mut self) -> Result<Option<Event<'_>>, StreamError> {
        if let At::Preamble = self.at
            && !self.preamble()?
        {
            return Ok(None);
        }
        let Self { id, version, at, buffer, read } = self;
        let rest = buffer.get(*read..).unwrap_or_default();
        if let (At::Past, false) = (*at, rest.is_empty()) {
            return Err(damaged("bytes follow its end"));
        }
        let Some(head) = rest.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let [kind, numbers @ ..] = head;
        let number = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| numbers[4 * i + byte]));
        let (file, place, len) = (number(0), number(1), number(2) as usize);
        let here = || format!("frame {place} of file {file}");
        if len > SNAPSHOT_CHUNK_BYTES {
            return Err(damaged(format!("{}: {len} bytes long", here())));
        }
        let Some(crc) = rest.get(HEAD_BYTES + len..).and_then(|crc| crc.first_chunk()) else {
            return Ok(None);
        };
        if checksum(*id, &rest[..HEAD_BYTES + len]) != u32::from_le_bytes(*crc) {
            return Err(damaged(format!("{}: checksum does not match", here())));
        }
        let kind =
            Kind::from_number(*kind).ok_or_else(|| damaged(format!("{}: unknown kind", here())))?;
        *at = following(*at, kind, file, place)
            .ok_or_else(|| damaged(format!("{} is out of order", here())))?;
        *read += HEAD_BYTES + len + CRC_BYTES;
        event(*version, *id, kind, file, &rest[HEAD_BYTES..HEAD_BYTES + len]).map(Some)
    }

    /// Reads the preamble, if it is there.
    fn preamble(&mut self) -> Result<bool, StreamError> {
        let Some(bytes) = self.buffer.first_chunk::<PREAMBLE_BYTES>() else { return Ok(false) };
        let (counted, crc) = bytes.split_at(PREAMBLE_BYTES - CRC_BYTES);
        if counted[..8] != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        if crc != crc32c::crc32c(counted).to_le_bytes() {
            return Err(damaged("preamble: checksum does not match"));
        }
        let found = u16::from_le_bytes([counted[8], counted[9]]);
        if found > VERSION {
            return Err(StreamError::TooNew { found, known: VERSION });
        }
        if found == 0 {
            return Err(damaged("preamble: version 0"));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&counted[12..28]);
        (self.id, self.version) = (Uuid::from_bytes(id), found);
        (self.read, self.at) = (PREAMBLE_BYTES, At::Start);
        Ok(true)
    }
}

/// Where a reader is after this frame; `None` if the frame does not belong there.
fn following(at: At, kind: Kind, file: u32, place: u32) -> Option<At> {
    match (at, kind) {
        (At::Start, Kind::Start) if (file, place) == (NO_FILE, 0) => Some(At::Between(None)),
        (At::Between(next), Kind::File)
            if place == 0 && file < NO_FILE && next.is_none_or(|next| next == file) =>
        {
            Some(At::In(file, 1))
        }
        (At::In(in_file, next), Kind::Chunk) if (file, place) == (in_file, next) => {
            Some(At::In(file, next.checked_add(1)?))
        }
        (At::In(in_file, next), Kind::FileEnd) if (file, place) == (in_file, next) => {
            Some(At::Between(Some(file + 1)))
        }
        (At::Between(_), Kind::End) if (file, place) == (NO_FILE, 1) => Some(At::Past),
        _ => None,
    }
}

fn event(
    version: u16,
    id: Uuid,
    kind: Kind,
    file: u32,
    body: &[u8],
) -> Result<Event<'_>, StreamError> {
    Ok(match kind {
        Kind::Start if version == 1 => Event::Start(version, id, decode::<Start1>(body)?.into()),
        Kind::Start => Event::Start(version, id, decode(body)?),
        Kind::File => Event::File(file, decode(body)?),
        Kind::Chunk => Event::Chunk(body),
        Kind::FileEnd => Event::FileEnd(decode(body)?),
        Kind::End => Event::End(decode(body)?),
    })
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, StreamError> {
    postcard::from_bytes(body).map_err(|error| damaged(format!("a frame does not decode: {error}")))
}
