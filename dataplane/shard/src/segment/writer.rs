//! Writing a segment file.
//!
//! The file appears under its name only when it is whole and synced; a crash before that leaves nothing that counts.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use shoal_vector::PointId;
use uuid::Uuid;

use super::dense::{NO_ROW, VectorInfo};
use super::graph_info::GraphInfo;
use super::layout::{ALIGN, SectionEntry, SectionKind, Summary, encode_directory};
use super::payloads::BlockWriter;
use super::sparse::{Pair, Written};
use crate::disk;
use crate::error::OpenError;
use crate::format::{FileKind, HEADER_BYTES, Header};
use crate::graph::{self, BuildError, BuildOptions, Built};
use crate::limits::MAX_SEGMENT_POINTS;
use crate::mutable::{Entry, MutableSegment, Put};

/// What goes into a segment, each part in order of ids.
#[derive(Default)]
pub(crate) struct SegmentContent {
    pub(crate) puts: Vec<(PointId, Arc<Put>)>,
    pub(crate) edits: Vec<(PointId, u64, Arc<[u8]>)>,
    pub(crate) tombstones: Vec<(PointId, u64)>,
    pub(crate) last_seq: u64,
}

impl SegmentContent {
    /// The content of a frozen mutable segment.
    pub(crate) fn of(frozen: &MutableSegment) -> Self {
        let mut content = SegmentContent { last_seq: frozen.last_seq, ..Self::default() };
        for (id, entry) in frozen.iter() {
            match entry {
                Entry::Put(put) => content.puts.push((*id, put.clone())),
                Entry::Edit { seq, payload } => content.edits.push((*id, *seq, payload.clone())),
                Entry::Tombstone { seq } => content.tombstones.push((*id, *seq)),
            }
        }
        content
    }
}

/// Builds the graphs and writes the file. Takes seconds; nobody waits for it. `options` are those of the collection's
/// vectors, by number; `sparse` is how many sparse ones there are.
pub(crate) fn write_segment(
    path: &Path,
    disk_id: Uuid,
    content: &SegmentContent,
    options: &[BuildOptions],
    sparse: usize,
) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::io(path)(error);
    if content.puts.len() > MAX_SEGMENT_POINTS {
        return Err(failed(io::Error::other("more points than a segment can number")));
    }
    let mut rows = Vec::with_capacity(options.len());
    for (number, options) in options.iter().enumerate() {
        let built = Rows::build(content, number, options);
        rows.push(built.map_err(|error| failed(io::Error::other(error)))?);
    }
    let order = Order::new(content.puts.len(), rows.first());
    let header = Header::new(FileKind::Segment, disk_id, content.last_seq);
    disk::replace_file(path, |file| {
        let mut out = Sections { file: BufWriter::new(file), at: 0, directory: Vec::new() };
        out.write(&header.to_bytes())?;
        let dimensions = options.first().map_or(0, |options| options.dimensions);
        write_points(&mut out, content, &order, dimensions)?;
        for (number, (rows, options)) in rows.iter().zip(options).enumerate() {
            write_vectors(&mut out, content, (number, rows), &order, options)?;
        }
        for number in 0..sparse {
            write_sparse(&mut out, content, number, &order)?;
        }
        write_payloads(&mut out, content)?;
        out.finish()
    })
    .map_err(failed)
}

/// The points that have one of the vectors, in the order of its graph.
struct Rows {
    graph: Built,
    /// Places, by row.
    places: Vec<u32>,
}

impl Rows {
    fn build(
        content: &SegmentContent,
        number: usize,
        options: &BuildOptions,
    ) -> Result<Self, BuildError> {
        let have = content.puts.iter().zip(0..).filter_map(|((_, put), place)| {
            let vector: &[f32] = put.vectors.get(number)?;
            Some((place, vector))
        });
        let (have, vectors): (Vec<u32>, Vec<&[f32]>) = have.unzip();
        let graph = graph::build(&vectors, options)?;
        let places = graph.order.iter().map(|&nth| have[nth as usize]).collect();
        Ok(Self { graph, places })
    }
}

/// How points are numbered: by the graph of the first vector, then those that lack it.
struct Order {
    /// Places, by ordinal.
    places: Vec<u32>,
    /// Ordinals, by place.
    by_place: Vec<u32>,
}

impl Order {
    fn new(points: usize, first: Option<&Rows>) -> Self {
        let mut places = first.map_or_else(Vec::new, |rows| rows.places.clone());
        let mut by_place = vec![NO_ROW; points];
        for (ordinal, &place) in places.iter().enumerate() {
            by_place[place as usize] = ordinal as u32;
        }
        for (place, ordinal) in by_place.iter_mut().enumerate() {
            if *ordinal == NO_ROW {
                *ordinal = places.len() as u32;
                places.push(place as u32);
            }
        }
        Self { places, by_place }
    }
}

fn write_points(
    out: &mut Sections<'_>,
    content: &SegmentContent,
    order: &Order,
    dimensions: usize,
) -> io::Result<()> {
    let summary = Summary {
        points: content.puts.len() as u64,
        dimensions: dimensions as u64,
        edits: content.edits.len() as u64,
        tombstones: content.tombstones.len() as u64,
        last_seq: content.last_seq,
    };
    let by_ordinal = || order.places.iter().filter_map(|&place| content.puts.get(place as usize));
    out.section(SectionKind::Summary, [summary.to_bytes()])?;
    out.section(SectionKind::Ids, by_ordinal().map(|(id, _)| id.canonical_bytes()))?;
    out.section(SectionKind::Seqs, by_ordinal().map(|(_, put)| put.seq.to_le_bytes()))?;
    out.section(SectionKind::ByPlace, [bytemuck::cast_slice::<u32, u8>(&order.by_place)])?;
    out.section(SectionKind::Places, [bytemuck::cast_slice::<u32, u8>(&order.places)])
}

fn write_vectors(
    out: &mut Sections<'_>,
    content: &SegmentContent,
    (number, Rows { graph, places }): (usize, &Rows),
    order: &Order,
    options: &BuildOptions,
) -> io::Result<()> {
    let info = VectorInfo {
        dimensions: options.dimensions as u64,
        rows: places.len() as u64,
        bytes: options.datatype.bytes() as u64,
    };
    out.section_of(number, SectionKind::VectorInfo, [info.to_bytes()])?;
    let by_row = places.iter().filter_map(|&place| {
        let vector: &[f32] = content.puts.get(place as usize)?.1.vectors.get(number)?;
        Some(options.datatype.bytes_of(vector))
    });
    out.section_of(number, SectionKind::Vectors, by_row)?;
    if number > 0 {
        let ordinals: Vec<u32> =
            places.iter().map(|&place| order.by_place[place as usize]).collect();
        let mut rows = vec![NO_ROW; content.puts.len()];
        for (row, &ordinal) in ordinals.iter().enumerate() {
            rows[ordinal as usize] = row as u32;
        }
        let bytes = bytemuck::cast_slice::<u32, u8>;
        out.section_of(number, SectionKind::RowOrdinals, [bytes(&ordinals)])?;
        out.section_of(number, SectionKind::OrdinalRows, [bytes(&rows)])?;
    }
    let info =
        GraphInfo { code_bytes: graph.code_bytes, slots: graph.slots, coder: graph.coder.clone() };
    let info = postcard::to_stdvec(&info).map_err(io::Error::other)?;
    out.section_of(number, SectionKind::GraphInfo, [info])?;
    out.section_of(number, SectionKind::Blocks, [graph::bytes_of(&graph.blocks)])?;
    out.section_of(number, SectionKind::OwnSteps, [bytemuck::cast_slice::<_, u8>(&graph.own)])
}

fn write_sparse(
    out: &mut Sections<'_>,
    content: &SegmentContent,
    number: usize,
    order: &Order,
) -> io::Result<()> {
    let by_ordinal = order.places.iter().filter_map(|&place| content.puts.get(place as usize));
    let written = Written::new(number, by_ordinal.map(|(_, put)| &**put));
    let (long, short) = (bytemuck::cast_slice::<u64, u8>, bytemuck::cast_slice::<u32, u8>);
    let pairs = bytemuck::cast_slice::<Pair, u8>;
    out.section_of(number, SectionKind::SparseStarts, [long(&written.starts)])?;
    out.section_of(number, SectionKind::SparsePairs, [pairs(&written.pairs)])?;
    out.section_of(number, SectionKind::SparseDimensions, [short(&written.dimensions)])?;
    out.section_of(number, SectionKind::SparseOffsets, [long(&written.offsets)])?;
    out.section_of(number, SectionKind::SparsePostings, [pairs(&written.postings)])
}

fn write_payloads(out: &mut Sections<'_>, content: &SegmentContent) -> io::Result<()> {
    let mut blocks = BlockWriter::default();
    content.puts.iter().for_each(|(_, put)| blocks.push(&put.payload));
    content.edits.iter().for_each(|(_, _, payload)| blocks.push(payload));
    let (index, blocks) = blocks.finish();
    out.section(SectionKind::PayloadIndex, [index])?;
    out.section(SectionKind::PayloadBlocks, [blocks])?;
    out.section(
        SectionKind::Edits,
        content.edits.iter().map(|(id, seq, _)| id_and_seq(*id, *seq)),
    )?;
    out.section(
        SectionKind::Tombstones,
        content.tombstones.iter().map(|(id, seq)| id_and_seq(*id, *seq)),
    )
}

fn id_and_seq(id: PointId, seq: u64) -> Vec<u8> {
    [id.canonical_bytes().as_slice(), &seq.to_le_bytes()].concat()
}

/// Writes sections one after the other and keeps the directory.
struct Sections<'a> {
    file: BufWriter<&'a mut File>,
    at: u64,
    directory: Vec<SectionEntry>,
}

impl Sections<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn section<B: AsRef<[u8]>>(
        &mut self,
        kind: SectionKind,
        parts: impl IntoIterator<Item = B>,
    ) -> io::Result<()> {
        self.section_of(0, kind, parts)
    }

    /// A section that is about one of the vectors.
    fn section_of<B: AsRef<[u8]>>(
        &mut self,
        vector: usize,
        kind: SectionKind,
        parts: impl IntoIterator<Item = B>,
    ) -> io::Result<()> {
        self.pad()?;
        let offset = self.at;
        let mut crc = 0;
        for part in parts {
            crc = crc32c::crc32c_append(crc, part.as_ref());
            self.write(part.as_ref())?;
        }
        self.directory.push(SectionEntry {
            number: kind.number(vector),
            crc,
            offset,
            len: self.at - offset,
        });
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        let short = (ALIGN - self.at % ALIGN) % ALIGN;
        self.write(&[0; ALIGN as usize][..short as usize])
    }

    fn finish(mut self) -> io::Result<()> {
        self.pad()?;
        let directory = encode_directory(&self.directory, self.at);
        self.write(&directory)?;
        self.file.flush()
    }
}

const _: () = assert!(
    (HEADER_BYTES as u64).is_multiple_of(ALIGN),
    "the first section begins right after the header"
);
