//! The first 64 bytes of every file: what it is, in which version, of which disk.
//!
//! Layout, little-endian: magic 8 · kind u16 · version u16 · zero u32 · disk id 16 · first seq u64 · body length u64 ·
//! body crc32c u32 · zero 8 · crc32c of the 60 bytes before it. Files that grow leave body length and crc zero.
//! A version is refused when it is newer than this program's, or older than those it still reads; the header itself never
//! changes.

use uuid::Uuid;

pub(crate) const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"shoal\r\n\x1a";

/// What a file is. Numbers are on disk and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum FileKind {
    Identity = 1,
    Manifest = 2,
    Wal = 3,
    Segment = 4,
    Indexes = 5,
    Restoring = 6,
    Promise = 7,
    Commit = 8,
    Quarantine = 9,
}

impl FileKind {
    /// The version of this kind of file that this program writes; it reads those from [`oldest`](Self::oldest) on.
    pub(crate) const fn version(self) -> u16 {
        match self {
            FileKind::Wal
            | FileKind::Indexes
            | FileKind::Promise
            | FileKind::Commit
            | FileKind::Quarantine => 1,
            // 2: what the log says that outlives its records.
            FileKind::Manifest => 2,
            // 2: datatypes.
            FileKind::Restoring => 2,
            // 2: sparse vectors. 3: datatypes.
            FileKind::Identity => 3,
            // 2: graphs of blocks. 3: several vectors a point. 4: datatypes.
            FileKind::Segment => 4,
        }
    }

    /// The oldest version that this program reads: the one before its own, or an older one that is still there in disks
    /// which no compaction has written anew.
    const fn oldest(self) -> u16 {
        match self {
            FileKind::Identity
            | FileKind::Manifest
            | FileKind::Wal
            | FileKind::Segment
            | FileKind::Indexes
            | FileKind::Restoring
            | FileKind::Promise
            | FileKind::Commit
            | FileKind::Quarantine => 1,
        }
    }
}

/// The header, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: FileKind,
    pub(crate) version: u16,
    pub(crate) disk: Uuid,
    /// The first seq the file is about; what that means depends on the kind.
    pub(crate) first_seq: u64,
    pub(crate) body_len: u64,
    pub(crate) body_crc: u32,
}

/// Why a header was not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("{0}")]
    Corrupt(String),
    #[error("version {found}, this program reads up to {known}")]
    TooNew { found: u16, known: u16 },
}

impl Header {
    pub(crate) fn new(kind: FileKind, disk: Uuid, first_seq: u64) -> Self {
        Self { kind, version: kind.version(), disk, first_seq, body_len: 0, body_crc: 0 }
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[10..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..32].copy_from_slice(self.disk.as_bytes());
        bytes[32..40].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the beginning of `bytes`, which must be of this kind and, where it is known, of this disk.
    pub(crate) fn read(
        bytes: &[u8],
        kind: FileKind,
        disk: Option<Uuid>,
    ) -> Result<Self, HeaderError> {
        let corrupt = |what: &str| HeaderError::Corrupt(format!("header: {what}"));
        let bytes: &[u8; HEADER_BYTES] =
            bytes.first_chunk().ok_or_else(|| corrupt("the file is shorter than one"))?;
        if bytes[..8] != MAGIC {
            return Err(corrupt("not a file of shoal"));
        }
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(corrupt("checksum does not match"));
        }
        if u16_at(bytes, 8) != kind as u16 {
            return Err(corrupt("another kind of file"));
        }
        let version = u16_at(bytes, 10);
        if version > kind.version() {
            return Err(HeaderError::TooNew { found: version, known: kind.version() });
        }
        if version < kind.oldest() {
            return Err(corrupt(&format!(
                "version {version} is no longer read; upgrade one version at a time"
            )));
        }
        let found = Uuid::from_bytes(array_at(bytes, 16));
        if disk.is_some_and(|disk| disk != found) {
            return Err(corrupt(&format!("the file is from another disk ({found})")));
        }
        let (first_seq, body_len) =
            (u64::from_le_bytes(array_at(bytes, 32)), u64::from_le_bytes(array_at(bytes, 40)));
        Ok(Self { kind, version, disk: found, first_seq, body_len, body_crc: u32_at(bytes, 48) })
    }
}

fn array_at<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

fn u16_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            body_len: 77,
            body_crc: 99,
            ..Header::new(FileKind::Segment, Uuid::from_u128(5), 12)
        }
    }

    #[test]
    fn a_header_reads_back_and_any_flipped_bit_is_seen() {
        let bytes = header().to_bytes();
        assert_eq!(Header::read(&bytes, FileKind::Segment, Some(Uuid::from_u128(5))), Ok(header()));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = Header::read(&flipped, FileKind::Segment, None).unwrap_err();
            assert!(matches!(error, HeaderError::Corrupt(_)), "bit {bit}: {error}");
        }
    }

    #[test]
    fn other_kinds_disks_versions_and_short_files_are_refused() {
        let bytes = header().to_bytes();
        assert!(Header::read(&bytes, FileKind::Wal, None).is_err());
        assert!(Header::read(&bytes, FileKind::Segment, Some(Uuid::from_u128(6))).is_err());
        assert!(Header::read(&bytes[..63], FileKind::Segment, None).is_err());
        let newer = Header { version: 5, ..header() }.to_bytes();
        assert_eq!(
            Header::read(&newer, FileKind::Segment, None),
            Err(HeaderError::TooNew { found: 5, known: 4 })
        );
        let none = Header { version: 0, ..header() }.to_bytes();
        assert!(Header::read(&none, FileKind::Segment, None).is_err());
        let before = Header { version: 1, ..header() };
        assert_eq!(Header::read(&before.to_bytes(), FileKind::Segment, None), Ok(before));
    }
}
