//! The layout of a segment file.
//!
//! Header (64 bytes) · sections, each beginning at a multiple of 64 · directory · footer. The directory has 24 bytes a
//! section: number u32, crc32c u32, offset u64, length u64. The footer, the last 32 bytes: offset of the directory u64,
//! sections u32, crc32c of the directory u32, magic 8, crc32c of the 24 bytes before it u32, zero u32. All numbers are
//! little-endian. Sections with unknown numbers are skipped, so a newer version may add some.

/// Sections begin at multiples of this: a cache line, and enough for every type that is read in place.
pub(crate) const ALIGN: u64 = 64;

/// What a section is. Numbers are on disk and never change; 5, 6 and 7 were version 1's graph. Those that are about one of
/// the vectors stand once for each, see [`SectionKind::number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum SectionKind {
    /// One [`Summary`].
    Summary = 1,
    /// Canonical bytes of ids, 17 a point, by ordinal.
    Ids = 2,
    /// u64 seqs, by ordinal.
    Seqs = 3,
    /// Of a vector: vectors of f32 or f16, by row.
    Vectors = 4,
    /// u32 ordinals in order of ids.
    ByPlace = 8,
    /// Where blocks of payloads are.
    PayloadIndex = 9,
    /// Blocks of payloads, compressed.
    PayloadBlocks = 10,
    /// Id (17) and seq (8) of edits, in order of ids. Their payloads follow those of the points.
    Edits = 11,
    /// Id (17) and seq (8) of tombstones, in order of ids.
    Tombstones = 12,
    /// Of a vector: what a walk must know of the graph, see [`GraphInfo`](super::graph_info::GraphInfo).
    GraphInfo = 13,
    /// Of a vector: blocks of code and links, by row.
    Blocks = 14,
    /// Of a vector: steps of codes, by row, where each has its own.
    OwnSteps = 15,
    /// u32 places in order of ids, by ordinal: the inverse of `ByPlace`.
    Places = 16,
    /// Of a vector: one [`VectorInfo`](super::dense::VectorInfo). New in version 3.
    VectorInfo = 32,
    /// Of a vector other than 0: u32 ordinals, by row.
    RowOrdinals = 33,
    /// Of a vector other than 0: u32 rows, by ordinal; the greatest u32 for a point that lacks the vector.
    OrdinalRows = 34,
    /// Of a sparse vector: u64 places of its pairs, by ordinal, and their end. The highest bit says that the point has it.
    SparseStarts = 48,
    /// Of a sparse vector: pairs of index u32 and value f32, ascending by index.
    SparsePairs = 49,
    /// Of a sparse vector: u32 dimensions that any has a value in, ascending.
    SparseDimensions = 50,
    /// Of a sparse vector: u64 places of each dimension's postings, and their end.
    SparseOffsets = 51,
    /// Of a sparse vector: pairs of ordinal u32 and value f32, ascending by ordinal.
    SparsePostings = 52,
}

impl SectionKind {
    const ALL: [SectionKind; 21] = [
        SectionKind::Summary,
        SectionKind::Ids,
        SectionKind::Seqs,
        SectionKind::Vectors,
        SectionKind::ByPlace,
        SectionKind::PayloadIndex,
        SectionKind::PayloadBlocks,
        SectionKind::Edits,
        SectionKind::Tombstones,
        SectionKind::GraphInfo,
        SectionKind::Blocks,
        SectionKind::OwnSteps,
        SectionKind::Places,
        SectionKind::VectorInfo,
        SectionKind::RowOrdinals,
        SectionKind::OrdinalRows,
        SectionKind::SparseStarts,
        SectionKind::SparsePairs,
        SectionKind::SparseDimensions,
        SectionKind::SparseOffsets,
        SectionKind::SparsePostings,
    ];

    /// Those that are about all vectors or none.
    pub(crate) const SHARED: [SectionKind; 9] = [
        SectionKind::Summary,
        SectionKind::Ids,
        SectionKind::Seqs,
        SectionKind::ByPlace,
        SectionKind::PayloadIndex,
        SectionKind::PayloadBlocks,
        SectionKind::Edits,
        SectionKind::Tombstones,
        SectionKind::Places,
    ];

    /// The number on disk, of the section for a vector where there is one for each: the vector's number (dense and sparse ones
    /// are numbered apart) is in the upper half, so that those of vector 0 are what they were when it was the only one.
    pub(crate) fn number(self, vector: usize) -> u32 {
        self as u32 | (vector as u32) << 16
    }

    /// What a section of this number is, and of which vector; `None` for what a newer version added.
    pub(crate) fn of_number(number: u32) -> Option<(SectionKind, u32)> {
        let kind = Self::ALL.into_iter().find(|kind| *kind as u32 == number & 0xffff)?;
        Some((kind, number >> 16))
    }

    /// Whether the checksum is verified when the segment is opened: what is small, and what reading relies on. The
    /// rest is verified in the background, and readers take nothing in it on trust.
    pub(crate) fn is_verified_at_open(self) -> bool {
        !matches!(
            self,
            SectionKind::Vectors
                | SectionKind::Blocks
                | SectionKind::OwnSteps
                | SectionKind::Seqs
                | SectionKind::PayloadBlocks
                | SectionKind::SparsePairs
                | SectionKind::SparsePostings
        )
    }
}

/// Number, checksum and place of a section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SectionEntry {
    pub(crate) number: u32,
    pub(crate) crc: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl SectionEntry {
    /// Where it is in the file; within it, as reading the directory made sure.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.offset as usize..(self.offset + self.len) as usize
    }
}

pub(crate) const ENTRY_BYTES: usize = 24;
pub(crate) const FOOTER_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"shoalseg";

/// Bytes of the id and seq of an edit or a tombstone.
pub(crate) const ID_SEQ_BYTES: usize = 17 + 8;
pub(crate) const ID_BYTES: usize = 17;

/// What the sections are about; on disk each a u64, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) points: u64,
    /// Of the vector number 0.
    pub(crate) dimensions: u64,
    pub(crate) edits: u64,
    pub(crate) tombstones: u64,
    pub(crate) last_seq: u64,
}

impl Summary {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.points, self.dimensions, self.edits, self.tombstones, self.last_seq];
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            points: u64_at(bytes, 0)?,
            dimensions: u64_at(bytes, 8)?,
            edits: u64_at(bytes, 16)?,
            tombstones: u64_at(bytes, 24)?,
            last_seq: u64_at(bytes, 32)?,
        })
    }
}

pub(crate) fn encode_directory(entries: &[SectionEntry], offset: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * ENTRY_BYTES + FOOTER_BYTES);
    for entry in entries {
        out.extend(entry.number.to_le_bytes());
        out.extend(entry.crc.to_le_bytes());
        out.extend(entry.offset.to_le_bytes());
        out.extend(entry.len.to_le_bytes());
    }
    let crc = crc32c::crc32c(&out);
    let footer = out.len();
    out.extend(offset.to_le_bytes());
    out.extend((entries.len() as u32).to_le_bytes());
    out.extend(crc.to_le_bytes());
    out.extend(MAGIC);
    let crc = crc32c::crc32c(&out[footer..]);
    out.extend(crc.to_le_bytes());
    out.extend([0; 4]);
    out
}

/// Reads the directory at the end of a file's bytes, and checks that every section lies within the file.
pub(crate) fn decode_directory(file: &[u8]) -> Result<Vec<SectionEntry>, String> {
    let broken = |what: &str| format!("footer: {what}");
    let footer_at =
        file.len().checked_sub(FOOTER_BYTES).ok_or_else(|| broken("the file is too short"))?;
    let footer = &file[footer_at..];
    if footer[16..24] != MAGIC
        || footer[28..] != [0; 4]
        || u32_at(footer, 24) != Some(crc32c::crc32c(&footer[..24]))
    {
        return Err(broken("checksum does not match"));
    }
    let count = u32_at(footer, 8).unwrap_or(0) as usize;
    let offset = u64_at(footer, 0).unwrap_or(u64::MAX) as usize;
    let directory = file.get(offset..footer_at).filter(|bytes| bytes.len() == count * ENTRY_BYTES);
    let directory = directory.ok_or_else(|| broken("the directory is not where it should be"))?;
    if u32_at(footer, 12) != Some(crc32c::crc32c(directory)) {
        return Err("directory: checksum does not match".into());
    }
    let entries = directory.chunks_exact(ENTRY_BYTES).map(|bytes| {
        let entry = SectionEntry {
            number: u32_at(bytes, 0)?,
            crc: u32_at(bytes, 4)?,
            offset: u64_at(bytes, 8)?,
            len: u64_at(bytes, 16)?,
        };
        (entry.offset.is_multiple_of(ALIGN)
            && entry.offset.checked_add(entry.len)? <= offset as u64)
            .then_some(entry)
    });
    entries
        .collect::<Option<_>>()
        .ok_or_else(|| "directory: a section lies outside of the file".into())
}

/// Makes the checksums of sections, directory and footer right where they can be found, for fuzzing.
pub(crate) fn reseal(file: &mut [u8]) {
    let Some(footer_at) = file.len().checked_sub(FOOTER_BYTES) else { return };
    let offset = u64_at(file, footer_at).map_or(usize::MAX, |offset| offset as usize);
    let Some(directory) = file.get(offset..footer_at) else { return };
    let sections: Vec<Option<u32>> = directory
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| {
            let (start, len) = (u64_at(entry, 8)? as usize, u64_at(entry, 16)? as usize);
            file.get(start..start.checked_add(len)?).map(crc32c::crc32c)
        })
        .collect();
    for (entry, crc) in file[offset..footer_at].chunks_exact_mut(ENTRY_BYTES).zip(sections) {
        if let Some(crc) = crc {
            entry[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let crc = crc32c::crc32c(&file[offset..footer_at]);
    file[footer_at + 12..][..4].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&file[footer_at..][..24]);
    file[footer_at + 24..][..4].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
