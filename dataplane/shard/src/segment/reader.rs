//! Reading a segment in place.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::try_cast_slice;
use memmap2::Mmap;
use shoal_vector::simd::{Kernel, Portable};
use shoal_vector::{Elements, Metric, PointId, SparseVector, VectorConfig};
use uuid::Uuid;

use super::Damage;
use super::dense::Dense;
use super::layout::{
    ID_BYTES, ID_SEQ_BYTES, SectionEntry, SectionKind, Summary, decode_directory, u64_at,
};
use super::payloads::{Blocks as PayloadBlocks, PayloadCache};
use super::sparse::Sparse;
use crate::error::OpenError;
use crate::format::{FileKind, Header, HeaderError};
use crate::graph::GraphRef;
use crate::inverted::Sums;
use crate::vectors::Vectors;

#[cfg(target_endian = "big")]
compile_error!("segments are read in place as little-endian numbers");

/// Where a point is in a segment: its place in order of ids, and its ordinal in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) place: u32,
    pub(crate) ordinal: u32,
}

/// A segment, open. Invariant: ids, places, edits, tombstones and the payload index were verified by checksum, and
/// every section has the length that the summary asks for.
pub(crate) struct Segment {
    pub(crate) number: u64,
    path: PathBuf,
    map: Mmap,
    directory: Vec<SectionEntry>,
    ranges: [Range<usize>; SectionKind::SHARED.len()],
    summary: Summary,
    /// By number of the vector.
    dense: Vec<Dense>,
    /// By number of the sparse vector.
    sparse: Vec<Sparse>,
}

/// What vectors the points of a collection may have.
#[derive(Clone, Copy)]
pub(crate) struct Kinds<'a> {
    /// By number of the vector.
    pub(crate) dense: &'a [VectorConfig],
    /// How many sparse ones.
    pub(crate) sparse: usize,
}

impl Segment {
    /// Opens a segment and verifies what readers rely on; [`Segment::verify`] does the rest. `kinds` are the
    /// collection's vectors.
    pub(crate) fn open(
        path: &Path,
        number: u64,
        disk_id: Uuid,
        kinds: Kinds<'_>,
    ) -> Result<Self, OpenError> {
        let corrupt = |detail: String| OpenError::corrupt(path, detail);
        let file = File::open(path).map_err(OpenError::io(path))?;
        // SAFETY: segment files never change once they have their name, and the folder's lock keeps other processes of
        // ours away. A foreign program that cuts the file short can end this process, which a read error would too.
        let map = unsafe { Mmap::map(&file) }.map_err(OpenError::io(path))?;
        let header = Header::read(&map, FileKind::Segment, Some(disk_id));
        let header = header.map_err(|error| match error {
            HeaderError::Corrupt(detail) => corrupt(detail),
            HeaderError::TooNew { .. } => OpenError::too_new(path, error.to_string()),
        })?;
        let directory = decode_directory(&map).map_err(corrupt)?;
        let mut ranges: [Range<usize>; SectionKind::SHARED.len()] = Default::default();
        for (kind, range) in SectionKind::SHARED.into_iter().zip(&mut ranges) {
            match directory.iter().find(|entry| entry.number == kind as u32) {
                Some(entry) => *range = entry.range(),
                // Version 1 had no places.
                None if kind == SectionKind::Places && header.version == 1 => {}
                None => return Err(corrupt(format!("section {kind:?} is missing"))),
            }
        }
        let (summary, dense, sparse) = (Summary::default(), Vec::new(), Vec::new());
        let path = path.to_owned();
        let mut segment = Self { number, path, map, directory, ranges, summary, dense, sparse };
        let opened = segment.check(kinds, header.version);
        opened.map_err(|detail| OpenError::corrupt(&segment.path, detail))?;
        Ok(segment)
    }

    fn check(&mut self, kinds: Kinds<'_>, version: u16) -> Result<(), String> {
        let Kinds { dense, sparse } = kinds;
        // It is read soon, so it stays in memory.
        let checksum = |range: Range<usize>| crc32c::crc32c(&self.map[range]);
        let verified = self.verify_sections(SectionKind::is_verified_at_open, checksum);
        verified.map_err(|damage| damage.detail)?;
        self.check_shape(version)?;
        if version < 3 && (dense.len(), sparse) != (1, 0) {
            return Err(format!("one vector a point instead of {}", dense.len() + sparse));
        }
        let points = self.summary.points;
        for number in 0..sparse {
            self.sparse.push(Sparse::open(&self.map, &self.directory, points, number)?);
        }
        for vector in dense.iter().enumerate() {
            let dense = Dense::open(&self.map, &self.directory, version, points, vector)?;
            self.dense.push(dense);
        }
        Ok(())
    }

    /// Verifies the checksums that opening left out. Reads the whole file, and leaves little of it in memory.
    pub(crate) fn verify(&self) -> Result<(), Damage> {
        let checksum = |range: Range<usize>| {
            let mut crc = 0;
            for start in range.clone().step_by(VERIFIED_AT_A_TIME) {
                let some = start..range.end.min(start + VERIFIED_AT_A_TIME);
                crc = crc32c::crc32c_append(crc, &self.map[some.clone()]);
                let_go(&self.map, some);
            }
            crc
        };
        self.verify_sections(|kind| !kind.is_verified_at_open(), checksum)
    }

    fn verify_sections(
        &self,
        wanted: impl Fn(SectionKind) -> bool,
        checksum: impl Fn(Range<usize>) -> u32,
    ) -> Result<(), Damage> {
        for entry in &self.directory {
            // What is not known is not read.
            let Some((kind, vector)) = SectionKind::of_number(entry.number) else { continue };
            if wanted(kind) && entry.crc != checksum(entry.range()) {
                let of = if vector > 0 { format!(" of vector {vector}") } else { String::new() };
                return Err(self.damage(format!("section {kind:?}{of}: checksum does not match")));
            }
        }
        Ok(())
    }

    fn check_shape(&mut self, version: u16) -> Result<(), String> {
        let summary = self.section(SectionKind::Summary);
        self.summary = Summary::read(summary).ok_or("the summary is too short")?;
        let points = self.summary.points;
        let placed = if version > 1 { points } else { 0 };
        let lengths = [
            (SectionKind::Ids, points, ID_BYTES as u64),
            (SectionKind::Seqs, points, 8),
            (SectionKind::ByPlace, points, 4),
            (SectionKind::Places, placed, 4),
            (SectionKind::Edits, self.summary.edits, ID_SEQ_BYTES as u64),
            (SectionKind::Tombstones, self.summary.tombstones, ID_SEQ_BYTES as u64),
        ];
        for (kind, count, bytes) in lengths {
            // No file is as long as the greatest number.
            let len = count.saturating_mul(bytes);
            if self.section(kind).len() as u64 != len {
                return Err(format!(
                    "section {kind:?} has {} bytes instead of {len}",
                    self.section(kind).len()
                ));
            }
        }
        Ok(())
    }

    /// Copies what walks read most into memory of its own. Reads all of it from disk; nobody waits for it.
    pub(crate) fn warm(&self) {
        for dense in &self.dense {
            // The file's own pages serve where there is no memory.
            match dense.warm(&self.map) {
                Ok(copied) => let_go(&self.map, copied),
                Err(error) => {
                    tracing::warn!(file = %self.path.display(), %error, "no memory for a graph")
                }
            }
        }
    }

    /// The graph of a vector, if there is one.
    pub(crate) fn graph(&self, number: usize, metric: Metric) -> Option<GraphRef<'_>> {
        self.dense.get(number)?.graph(&self.map, metric)
    }

    /// How many vectors the points may have.
    pub(crate) fn vectors(&self) -> usize {
        self.dense.len()
    }

    /// How many points have a vector: its rows are numbers below that.
    pub(crate) fn rows(&self, number: usize) -> u32 {
        self.dense.get(number).map_or(0, Dense::rows)
    }

    /// Whether every point has the vector, and rows are ordinals.
    pub(crate) fn rows_are_ordinals(&self, number: usize) -> bool {
        number == 0 && self.rows(0) == self.len()
    }

    /// The row of the point of an ordinal, if it has the vector.
    pub(crate) fn row(&self, number: usize, ordinal: u32) -> Option<u32> {
        self.dense.get(number)?.row(&self.map, ordinal)
    }

    /// The ordinal of the point of a row.
    pub(crate) fn ordinal_of(&self, number: usize, row: u32) -> u32 {
        self.dense.get(number).map_or(0, |dense| dense.ordinal(&self.map, row))
    }

    /// All vectors of a number, one after the other, by row.
    pub(crate) fn all_vectors(&self, number: usize) -> Elements<'_> {
        self.dense.get(number).map_or(Elements::Float32(&[]), |dense| dense.all(&self.map))
    }

    /// The vector of a number, if the point of this ordinal has it.
    pub(crate) fn vector(&self, number: usize, ordinal: u32) -> Option<Elements<'_>> {
        self.dense.get(number)?.vector(&self.map, ordinal)
    }

    /// A copy of all the vectors that the point of an ordinal has.
    pub(crate) fn vectors_of(&self, ordinal: u32) -> Vectors {
        let one = |number| Some((number, self.vector(number, ordinal)?.to_vec().into()));
        let dense: Vectors = (0..self.vectors()).filter_map(one).collect();
        let one = |number| Some((number, Arc::new(self.sparse(number, ordinal)?)));
        dense.with_sparse((0..self.sparse.len()).filter_map(one))
    }

    /// The sparse vector of a number, if the point of this ordinal has it: indices and values, ascending.
    pub(crate) fn sparse_pairs(
        &self,
        number: usize,
        ordinal: u32,
    ) -> Option<impl Iterator<Item = (u32, f32)> + use<'_>> {
        self.sparse.get(number)?.vector(&self.map, ordinal)
    }

    /// The same, as a vector of its own; none where the file is damaged.
    pub(crate) fn sparse(&self, number: usize, ordinal: u32) -> Option<SparseVector> {
        let (indices, values) = self.sparse_pairs(number, ordinal)?.unzip();
        SparseVector::new(indices, values).ok()
    }

    /// The products of a query with the sparse vectors of a number, by ordinal.
    pub(crate) fn products(&self, number: usize, query: &SparseVector) -> Sums {
        let mut sums = Sums::new(self.len() as usize);
        if let Some(sparse) = self.sparse.get(number) {
            sparse.add_up(&self.map, query, &mut sums);
        }
        sums
    }

    fn section(&self, kind: SectionKind) -> &[u8] {
        let place = SectionKind::SHARED.iter().position(|each| *each == kind).unwrap_or(0);
        &self.map[self.ranges[place].clone()]
    }

    /// The whole file. It can be read for as long as this lives, also once the file's name is gone.
    pub(crate) fn file_bytes(&self) -> &[u8] {
        &self.map
    }

    fn damage(&self, detail: String) -> Damage {
        Damage { file: self.path.display().to_string(), detail }
    }

    /// Number of points, dead ones too.
    pub(crate) fn len(&self) -> u32 {
        self.summary.points as u32
    }

    /// The last op it covers.
    pub(crate) fn last_seq(&self) -> u64 {
        self.summary.last_seq
    }

    /// Asks for what will be read of a point that was found.
    pub(crate) fn prefetch(&self, ordinal: u32) {
        for (kind, bytes) in
            [(SectionKind::Ids, ID_BYTES), (SectionKind::Seqs, 8), (SectionKind::Places, 4)]
        {
            let at = self.section(kind).as_ptr().wrapping_add(ordinal as usize * bytes);
            Portable::prefetch(at);
        }
    }

    pub(crate) fn id(&self, ordinal: u32) -> PointId {
        id_at(self.section(SectionKind::Ids), ordinal as usize * ID_BYTES)
    }

    pub(crate) fn seq(&self, ordinal: u32) -> u64 {
        u64_at(self.section(SectionKind::Seqs), ordinal as usize * 8).unwrap_or(0)
    }

    /// The ordinal of the point at a place in order of ids.
    pub(crate) fn at_place(&self, place: u32) -> Spot {
        let by_place: &[u32] =
            try_cast_slice(self.section(SectionKind::ByPlace)).unwrap_or_default();
        Spot { place, ordinal: by_place[place as usize] }
    }

    /// Where the point of an ordinal is. The ordinal must be less than `len()`.
    pub(crate) fn spot(&self, ordinal: u32) -> Spot {
        let places: &[u32] = try_cast_slice(self.section(SectionKind::Places)).unwrap_or_default();
        match places.get(ordinal as usize) {
            Some(&place) => Spot { place, ordinal },
            // Version 1 did not store it.
            None => Spot { place: self.lower_bound(self.id(ordinal)), ordinal },
        }
    }

    /// First place whose id is not less than this; `len()` if there is none.
    pub(crate) fn lower_bound(&self, id: PointId) -> u32 {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.id(self.at_place(middle).ordinal) < id {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Where a point is, dead or not.
    pub(crate) fn find(&self, id: PointId) -> Option<Spot> {
        let place = self.lower_bound(id);
        (place < self.len())
            .then(|| self.at_place(place))
            .filter(|spot| self.id(spot.ordinal) == id)
    }

    /// The payload of the point at a place.
    pub(crate) fn payload<'a>(
        &self,
        cache: &'a mut PayloadCache,
        place: u32,
    ) -> Result<&'a [u8], Damage> {
        let blocks = PayloadBlocks {
            index: self.section(SectionKind::PayloadIndex),
            blocks: self.section(SectionKind::PayloadBlocks),
        };
        cache.read(self.number, blocks, place).map_err(|detail| self.damage(detail))
    }

    /// The edit of an id: its seq, and the number to ask [`Segment::payload`] for.
    pub(crate) fn edit(&self, id: PointId) -> Option<(u64, u32)> {
        let edits = self.section(SectionKind::Edits);
        let at = find_id_seq(edits, id)?;
        Some((u64_at(edits, at * ID_SEQ_BYTES + ID_BYTES)?, self.len() + at as u32))
    }

    /// All edits: id, seq, and the number to ask [`Segment::payload`] for.
    pub(crate) fn all_edits(&self) -> impl Iterator<Item = (PointId, u64, u32)> {
        let edits = self.section(SectionKind::Edits);
        (0..self.edits()).filter_map(move |at| {
            let row = at as usize * ID_SEQ_BYTES;
            Some((id_at(edits, row), u64_at(edits, row + ID_BYTES)?, self.len() + at))
        })
    }

    /// Number of edits.
    pub(crate) fn edits(&self) -> u32 {
        self.summary.edits as u32
    }

    /// Whether the id was deleted in this segment's ops, and not written again.
    pub(crate) fn has_tombstone(&self, id: PointId) -> bool {
        find_id_seq(self.section(SectionKind::Tombstones), id).is_some()
    }
}

/// Bytes that are verified before the memory for them is let go.
const VERIFIED_AT_A_TIME: usize = 4 << 20;

/// Lets the memory go that a part of a mapped file takes in this process. Whoever reads it finds it in the system's cache,
/// or on the disk.
fn let_go(map: &Mmap, range: Range<usize>) {
    // SAFETY: of a mapping that is only read, what is let go is read from the file again.
    #[cfg(target_os = "linux")]
    let _ = unsafe {
        map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
    };
}

fn find_id_seq(rows: &[u8], id: PointId) -> Option<usize> {
    let (mut low, mut high) = (0, rows.len() / ID_SEQ_BYTES);
    while low < high {
        let middle = low + (high - low) / 2;
        match id_at(rows, middle * ID_SEQ_BYTES).cmp(&id) {
            std::cmp::Ordering::Equal => return Some(middle),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

#[expect(
    clippy::expect_used,
    reason = "these bytes were verified by checksum, and the writer made them from an id"
)]
fn id_at(rows: &[u8], at: usize) -> PointId {
    let bytes = rows[at..].first_chunk().expect("a row of ids");
    PointId::from_canonical_bytes(bytes).expect("canonical bytes of an id")
}
