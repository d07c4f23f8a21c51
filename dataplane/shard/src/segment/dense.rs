//! What a segment holds of one of its vectors: the vectors themselves, and a graph over them.
//!
//! Vectors stand in rows, one for each point that has the vector, in the order of the graph. Rows of the vector number 0
//! are ordinals: points are numbered by its graph, and those that lack it come last. Other vectors have graphs, and so
//! orders, of their own, and two maps between rows and ordinals.

use std::io;
use std::ops::Range;
use std::sync::OnceLock;

use bytemuck::try_cast_slice;
use shoal_vector::codes::{Coder, Rotation};
use shoal_vector::{Datatype, Elements, Metric, VectorConfig};

use super::graph_info::GraphInfo;
use super::layout::{SectionEntry, SectionKind, u64_at};
use crate::graph::{self, Blocks, GraphRef, Pages, Residency};

/// Stands for "none" among rows.
pub(super) const NO_ROW: u32 = u32::MAX;

/// Where the parts of one vector are in the file.
pub(super) struct Dense {
    number: usize,
    dimensions: usize,
    datatype: Datatype,
    rows: u32,
    vectors: Range<usize>,
    blocks: Range<usize>,
    own_steps: Range<usize>,
    ordinals: Range<usize>,
    rows_by_ordinal: Range<usize>,
    /// `None` if there is no graph, as in version 1.
    graph: Option<GraphInfo>,
    /// A copy of the blocks, once [`Dense::warm`] made one.
    resident: OnceLock<Pages>,
    /// Sketches of the codes, once it did, where they pay.
    sketches: OnceLock<Pages>,
    residency: Residency,
}

/// A vector's sizes, as a section says them; on disk each a u64, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VectorInfo {
    pub(super) dimensions: u64,
    pub(super) rows: u64,
    /// Of an element. New in version 4, before which it was 4.
    pub(super) bytes: u64,
}

impl VectorInfo {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        [self.dimensions, self.rows, self.bytes]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }

    fn read(section: &[u8], version: u16) -> Option<Self> {
        let bytes = if version > 3 { u64_at(section, 16)? } else { 4 };
        Some(Self { dimensions: u64_at(section, 0)?, rows: u64_at(section, 8)?, bytes })
    }
}

impl Dense {
    /// Finds the parts of a vector and checks that they fit together, in a file of `points` points. Versions 1 and 2 had
    /// one vector, which every point had; version 1 had no graph that is read.
    pub(super) fn open(
        map: &[u8],
        directory: &[SectionEntry],
        version: u16,
        points: u64,
        (number, config): (usize, &VectorConfig),
    ) -> Result<Self, String> {
        let range = |kind: SectionKind, needed: bool| {
            let found = directory.iter().find(|entry| entry.number == kind.number(number));
            match found.map(SectionEntry::range) {
                None if needed => Err(format!("section {kind:?} of vector {number} is missing")),
                found => Ok(found.unwrap_or_default()),
            }
        };
        let mut dense = Self {
            number,
            dimensions: config.size,
            datatype: config.datatype,
            rows: points as u32,
            vectors: range(SectionKind::Vectors, true)?,
            blocks: range(SectionKind::Blocks, version > 1)?,
            own_steps: range(SectionKind::OwnSteps, version > 1)?,
            ordinals: range(SectionKind::RowOrdinals, number > 0)?,
            rows_by_ordinal: range(SectionKind::OrdinalRows, number > 0)?,
            graph: None,
            resident: OnceLock::new(),
            sketches: OnceLock::new(),
            residency: Residency::default(),
        };
        if version > 2 {
            let info = &map[range(SectionKind::VectorInfo, true)?];
            let info = VectorInfo::read(info, version).ok_or("section VectorInfo is too short")?;
            let found = (info.dimensions, info.bytes);
            let wanted = (config.size as u64, config.datatype.bytes() as u64);
            if found != wanted {
                return Err(format!(
                    "vectors of {} elements of {} bytes instead of {} of {}",
                    found.0, found.1, wanted.0, wanted.1
                ));
            }
            dense.rows = u32::try_from(info.rows.min(points)).unwrap_or(0);
        }
        dense.check_lengths(points)?;
        if version > 1 {
            dense.check_graph(map, range(SectionKind::GraphInfo, true)?)?;
        }
        Ok(dense)
    }

    fn check_lengths(&self, points: u64) -> Result<(), String> {
        let (rows, mapped) = (u64::from(self.rows), u64::from(self.number > 0));
        let vector = (self.datatype.bytes() * self.dimensions) as u64;
        let lengths = [
            (SectionKind::Vectors, &self.vectors, rows * vector),
            (SectionKind::RowOrdinals, &self.ordinals, mapped * rows * 4),
            (SectionKind::OrdinalRows, &self.rows_by_ordinal, mapped * points * 4),
        ];
        match lengths.iter().find(|(_, range, len)| range.len() as u64 != *len) {
            Some((kind, range, len)) => {
                let (number, found) = (self.number, range.len());
                Err(format!(
                    "section {kind:?} of vector {number} has {found} bytes instead of {len}"
                ))
            }
            None => Ok(()),
        }
    }

    /// Reads what a walk must know, and tries once whether it fits together.
    fn check_graph(&mut self, map: &[u8], info: Range<usize>) -> Result<(), String> {
        let info: GraphInfo = postcard::from_bytes(&map[info])
            .map_err(|error| format!("section GraphInfo: {error}"))?;
        if info.coder.as_ref().is_some_and(|coder| coder.code_bytes() != info.code_bytes) {
            return Err("section GraphInfo: codes of two lengths".into());
        }
        let padded = Rotation::padded_to(self.dimensions);
        if info.coder.as_ref().is_some_and(|coder| coder.mean().len() != padded) {
            return Err("section GraphInfo: codes of vectors of another length".into());
        }
        self.blocks(map, &info)?;
        self.graph = Some(info);
        Ok(())
    }

    fn blocks<'a>(&'a self, map: &'a [u8], info: &GraphInfo) -> Result<Blocks<'a>, String> {
        let own = try_cast_slice(&map[self.own_steps.clone()])
            .map_err(|error| format!("section OwnSteps: {error}"))?;
        let resident = self.resident.get().map(Pages::bytes);
        let bytes = resident.unwrap_or_else(|| &map[self.blocks.clone()]);
        Blocks::new(bytes, own, self.rows as usize, info.code_bytes, info.slots)
            .map_err(|error| format!("section Blocks: {error}"))
    }

    /// Copies what walks read most into memory of its own. Reads all of it from disk; nobody waits for it. Gives the part of
    /// the file that it stands for from then on.
    pub(super) fn warm(&self, map: &[u8]) -> io::Result<Range<usize>> {
        let pages = Pages::copy_of(&map[self.blocks.clone()])?;
        drop(self.resident.set(pages));
        if let Some(graph) = self.graph(map, Metric::Cosine)
            && let Some(pages) = graph::sketches(graph.blocks, graph.coder)?
        {
            drop(self.sketches.set(pages));
        }
        Ok(self.blocks.clone())
    }

    /// The graph, if there is one.
    pub(super) fn graph<'a>(&'a self, map: &'a [u8], metric: Metric) -> Option<GraphRef<'a>> {
        let info = self.graph.as_ref()?;
        let coder: Option<&Coder> = info.coder.as_ref();
        // It fitted when the segment was opened.
        let blocks = self.blocks(map, info).ok()?;
        Some(GraphRef {
            blocks,
            coder,
            vectors: self.all(map),
            residency: &self.residency,
            sketches: self.sketches.get().map(Pages::bytes).unwrap_or_default(),
            metric,
        })
    }

    /// Number of points that have the vector, dead ones too.
    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// All vectors, one after the other, by row. Sections are aligned, so this casts and never copies.
    pub(super) fn all<'a>(&self, map: &'a [u8]) -> Elements<'a> {
        Elements::of_bytes(self.datatype, &map[self.vectors.clone()])
    }

    /// The vector of an ordinal, if the point has it.
    pub(super) fn vector<'a>(&self, map: &'a [u8], ordinal: u32) -> Option<Elements<'a>> {
        self.all(map).vector(self.row(map, ordinal)? as usize, self.dimensions)
    }

    /// The row of an ordinal, if the point has the vector.
    pub(super) fn row(&self, map: &[u8], ordinal: u32) -> Option<u32> {
        let row = match self.number {
            0 => ordinal,
            _ => {
                let rows: &[u32] =
                    try_cast_slice(&map[self.rows_by_ordinal.clone()]).unwrap_or_default();
                rows.get(ordinal as usize).copied().unwrap_or(NO_ROW)
            }
        };
        (row < self.rows).then_some(row)
    }

    /// The ordinal of a row, which must be less than `rows()`.
    pub(super) fn ordinal(&self, map: &[u8], row: u32) -> u32 {
        match self.number {
            0 => row,
            _ => {
                let ordinals: &[u32] =
                    try_cast_slice(&map[self.ordinals.clone()]).unwrap_or_default();
                ordinals.get(row as usize).copied().unwrap_or(0)
            }
        }
    }
}
