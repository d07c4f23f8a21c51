//! What a segment holds of one of its sparse vectors: the vectors themselves, and an inverted index over them.
//!
//! Vectors stand in order of ordinals. The index has, for each dimension that any of them has a value in, the ordinals of
//! those that do and their values: a search adds up, dimension by dimension, what each shares with the query. Invariant:
//! dimensions, and where things begin, were verified by checksum; ordinals in postings are not taken on trust.

use std::collections::BTreeMap;
use std::ops::Range;

use bytemuck::try_cast_slice;
use shoal_vector::SparseVector;

use super::layout::{SectionEntry, SectionKind, u64_at};
use crate::inverted::Sums;
use crate::mutable::Put;

/// An index, or an ordinal, and the bits of a value.
pub(super) type Pair = [u32; 2];

/// Marks the place of a vector as one that is there, be it empty.
pub(super) const THERE: u64 = 1 << 63;

/// Where the parts of one vector are in the file.
pub(super) struct Sparse {
    starts: Range<usize>,
    pairs: Range<usize>,
    dimensions: Range<usize>,
    offsets: Range<usize>,
    postings: Range<usize>,
}

impl Sparse {
    /// Finds the parts of the vector of a number, and checks that they fit together, in a file of `points` points.
    pub(super) fn open(
        map: &[u8],
        directory: &[SectionEntry],
        points: u64,
        number: usize,
    ) -> Result<Self, String> {
        let range = |kind: SectionKind| {
            let found = directory.iter().find(|entry| entry.number == kind.number(number));
            let missing = || format!("section {kind:?} of sparse vector {number} is missing");
            found.map(SectionEntry::range).ok_or_else(missing)
        };
        let sparse = Self {
            starts: range(SectionKind::SparseStarts)?,
            pairs: range(SectionKind::SparsePairs)?,
            dimensions: range(SectionKind::SparseDimensions)?,
            offsets: range(SectionKind::SparseOffsets)?,
            postings: range(SectionKind::SparsePostings)?,
        };
        let starts = &map[sparse.starts.clone()];
        let offsets = &map[sparse.offsets.clone()];
        let last = |places: &[u8]| Some(u64_at(places, places.len().checked_sub(8)?)? & !THERE);
        let fit = starts.len() as u64 == (points + 1) * 8
            && offsets.len() == (sparse.dimensions.len() / 4 + 1) * 8
            && last(starts).and_then(|pairs| pairs.checked_mul(8))
                == Some(sparse.pairs.len() as u64)
            && last(offsets).and_then(|pairs| pairs.checked_mul(8))
                == Some(sparse.postings.len() as u64);
        match fit {
            true => Ok(sparse),
            false => Err(format!("the sections of sparse vector {number} do not fit together")),
        }
    }

    /// The vector of an ordinal, if the point has it.
    pub(super) fn vector<'a>(
        &self,
        map: &'a [u8],
        ordinal: u32,
    ) -> Option<impl Iterator<Item = (u32, f32)> + use<'a>> {
        let starts: &[u64] = cast(&map[self.starts.clone()]);
        let (start, end) = (*starts.get(ordinal as usize)?, *starts.get(ordinal as usize + 1)?);
        let range = (start & !THERE) as usize..(end & !THERE) as usize;
        let pairs: &'a [Pair] = cast(&map[self.pairs.clone()]);
        let pairs = pairs.get(range).filter(|_| start & THERE != 0)?;
        Some(pairs.iter().map(|[index, bits]| (*index, f32::from_bits(*bits))))
    }

    /// Adds to the score of every ordinal what its vector shares with the query, and tells which share anything. Terms are
    /// added in the order of dimensions, as everywhere.
    pub(super) fn add_up(&self, map: &[u8], query: &SparseVector, sums: &mut Sums) {
        let dimensions: &[u32] = cast(&map[self.dimensions.clone()]);
        let offsets: &[u64] = cast(&map[self.offsets.clone()]);
        let postings: &[Pair] = cast(&map[self.postings.clone()]);
        for (index, weight) in query.pairs() {
            let Ok(at) = dimensions.binary_search(&index) else { continue };
            let (Some(start), Some(end)) = (offsets.get(at), offsets.get(at + 1)) else { continue };
            for [ordinal, bits] in postings.get(*start as usize..*end as usize).unwrap_or_default()
            {
                sums.add(*ordinal, weight * f32::from_bits(*bits));
            }
        }
    }
}

/// The sections of one sparse vector, as they are written.
#[derive(Default)]
pub(super) struct Written {
    pub(super) starts: Vec<u64>,
    pub(super) pairs: Vec<Pair>,
    pub(super) dimensions: Vec<u32>,
    pub(super) offsets: Vec<u64>,
    pub(super) postings: Vec<Pair>,
}

impl Written {
    /// Of points in the order of their ordinals.
    pub(super) fn new<'a>(number: usize, puts: impl Iterator<Item = &'a Put>) -> Self {
        let mut written = Self::default();
        let mut postings: BTreeMap<u32, Vec<Pair>> = BTreeMap::new();
        for (put, ordinal) in puts.zip(0u32..) {
            let start = written.pairs.len() as u64;
            let Some(vector) = put.vectors.sparse(number) else {
                written.starts.push(start);
                continue;
            };
            written.starts.push(start | THERE);
            for (index, value) in vector.pairs() {
                written.pairs.push([index, value.to_bits()]);
                postings.entry(index).or_default().push([ordinal, value.to_bits()]);
            }
        }
        written.starts.push(written.pairs.len() as u64);
        for (dimension, postings) in postings {
            written.dimensions.push(dimension);
            written.offsets.push(written.postings.len() as u64);
            written.postings.extend(postings);
        }
        written.offsets.push(written.postings.len() as u64);
        written
    }
}

/// Sections are aligned, so this casts and never copies.
fn cast<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> &[T] {
    try_cast_slice(bytes).unwrap_or_default()
}
