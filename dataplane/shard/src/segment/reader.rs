//! Reading a segment in place.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytemuck::try_cast_slice;
use memmap2::Mmap;
use shoal_vector::codes::Coder;
use shoal_vector::simd::{Kernel, Portable};
use shoal_vector::{Metric, PointId};
use uuid::Uuid;

use super::Damage;
use super::graph_info::GraphInfo;
use super::layout::{
    ID_BYTES, ID_SEQ_BYTES, SectionEntry, SectionKind, Summary, decode_directory, u64_at,
};
use super::payloads::{Blocks as PayloadBlocks, PayloadCache};
use crate::error::OpenError;
use crate::format::{FileKind, Header, HeaderError};
use crate::graph::{self, Blocks, GraphRef, Pages};

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
    ranges: [Range<usize>; SectionKind::ALL.len()],
    summary: Summary,
    /// `None` if the segment has no graph, as those of version 1.
    graph: Option<GraphInfo>,
    /// A copy of the blocks, once [`Segment::warm`] made one.
    resident: OnceLock<Pages>,
    /// Sketches of the codes, once it did, where they pay.
    sketches: OnceLock<Pages>,
}

impl Segment {
    /// Opens a segment and verifies what readers rely on; [`Segment::verify`] does the rest.
    pub(crate) fn open(
        path: &Path,
        number: u64,
        disk_id: Uuid,
        dimensions: usize,
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
        let ranges = SectionKind::ALL.map(|kind| {
            let entry = directory.iter().find(|entry| entry.number == kind as u32);
            entry.map(|entry| entry.offset as usize..(entry.offset + entry.len) as usize)
        });
        for (kind, range) in SectionKind::ALL.into_iter().zip(&ranges) {
            if range.is_none() && (header.version > 1 || !kind.is_new_in_2()) {
                return Err(corrupt(format!("section {kind:?} is missing")));
            }
        }
        let ranges = ranges.map(Option::unwrap_or_default);
        let summary = Summary::default();
        let mut segment = Self {
            number,
            path: path.to_owned(),
            map,
            directory,
            ranges,
            summary,
            graph: None,
            resident: OnceLock::new(),
            sketches: OnceLock::new(),
        };
        segment
            .verify_sections(SectionKind::is_verified_at_open)
            .map_err(|damage| corrupt(damage.detail))?;
        segment.check_shape(dimensions, header.version).map_err(corrupt)?;
        if header.version > 1 {
            segment.check_graph().map_err(corrupt)?;
        }
        Ok(segment)
    }

    /// Verifies the checksums that opening left out. Reads the whole file.
    pub(crate) fn verify(&self) -> Result<(), Damage> {
        self.verify_sections(|kind| !kind.is_verified_at_open())
    }

    fn verify_sections(&self, wanted: impl Fn(SectionKind) -> bool) -> Result<(), Damage> {
        for kind in SectionKind::ALL.into_iter().filter(|kind| wanted(*kind)) {
            // Sections that a version must have were looked for when the segment was opened.
            let entry = self.directory.iter().find(|entry| entry.number == kind as u32);
            if entry.is_some_and(|entry| entry.crc != crc32c::crc32c(self.section(kind))) {
                return Err(self.damage(format!("section {kind:?}: checksum does not match")));
            }
        }
        Ok(())
    }

    fn check_shape(&mut self, dimensions: usize, version: u16) -> Result<(), String> {
        let summary = self.section(SectionKind::Summary);
        self.summary = Summary::read(summary).ok_or("the summary is too short")?;
        if self.summary.dimensions != dimensions as u64 {
            return Err(format!(
                "vectors of {} dimensions instead of {dimensions}",
                self.summary.dimensions
            ));
        }
        let (points, dimensions) = (self.summary.points, dimensions as u64);
        let placed = if version > 1 { points } else { 0 };
        let lengths = [
            (SectionKind::Ids, points, ID_BYTES as u64),
            (SectionKind::Seqs, points, 8),
            (SectionKind::Vectors, points, 4 * dimensions),
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

    /// Reads what a walk must know, and tries once whether it fits together.
    fn check_graph(&mut self) -> Result<(), String> {
        let info: GraphInfo = postcard::from_bytes(self.section(SectionKind::GraphInfo))
            .map_err(|error| format!("section GraphInfo: {error}"))?;
        if info.coder.as_ref().is_some_and(|coder| coder.code_bytes() != info.code_bytes) {
            return Err("section GraphInfo: codes of two lengths".into());
        }
        self.blocks(&info)?;
        self.graph = Some(info);
        Ok(())
    }

    fn blocks(&self, info: &GraphInfo) -> Result<Blocks<'_>, String> {
        let own = try_cast_slice(self.section(SectionKind::OwnSteps))
            .map_err(|error| format!("section OwnSteps: {error}"))?;
        let resident = self.resident.get().map(Pages::bytes);
        let bytes = resident.unwrap_or_else(|| self.section(SectionKind::Blocks));
        let nodes = self.summary.points as usize;
        Blocks::new(bytes, own, nodes, info.code_bytes, info.slots)
            .map_err(|error| format!("section Blocks: {error}"))
    }

    /// Copies what walks read most into memory of its own. Reads all of it from disk; nobody waits for it.
    pub(crate) fn warm(&self) {
        let copied = Pages::copy_of(self.section(SectionKind::Blocks))
            .map(|pages| drop(self.resident.set(pages)));
        // The file's own pages serve, without sketches.
        if let Err(error) = copied.and_then(|()| self.make_sketches()) {
            tracing::warn!(file = %self.path.display(), %error, "no memory for a graph")
        }
    }

    fn make_sketches(&self) -> io::Result<()> {
        if let Some(graph) = self.graph(Metric::Cosine)
            && let Some(pages) = graph::sketches(graph.blocks, graph.coder)?
        {
            drop(self.sketches.set(pages));
        }
        Ok(())
    }

    /// The graph, if there is one.
    pub(crate) fn graph(&self, metric: Metric) -> Option<GraphRef<'_>> {
        let info = self.graph.as_ref()?;
        let coder: Option<&Coder> = info.coder.as_ref();
        // It fitted when the segment was opened.
        let blocks = self.blocks(info).ok()?;
        Some(GraphRef {
            blocks,
            coder,
            vectors: self.vectors(),
            sketches: self.sketches.get().map(Pages::bytes).unwrap_or_default(),
            metric,
        })
    }

    fn section(&self, kind: SectionKind) -> &[u8] {
        let place = SectionKind::ALL.iter().position(|each| *each == kind).unwrap_or(0);
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

    /// All vectors, one after the other, by ordinal. Sections are aligned, so this casts and never copies.
    pub(crate) fn vectors(&self) -> &[f32] {
        try_cast_slice(self.section(SectionKind::Vectors)).unwrap_or_default()
    }

    pub(crate) fn vector(&self, ordinal: u32) -> &[f32] {
        let dimensions = self.summary.dimensions as usize;
        &self.vectors()[ordinal as usize * dimensions..][..dimensions]
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
