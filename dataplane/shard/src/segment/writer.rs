//! Writing a segment file.
//!
//! The file appears under its name only when it is whole and synced; a crash before that leaves nothing that counts.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use shoal_vector::PointId;
use uuid::Uuid;

use super::graph_info::GraphInfo;
use super::layout::{ALIGN, SectionEntry, SectionKind, Summary, encode_directory};
use super::payloads::BlockWriter;
use crate::disk;
use crate::error::OpenError;
use crate::format::{FileKind, HEADER_BYTES, Header};
use crate::graph::{self, BuildOptions, Built};
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

/// Builds the graph and writes the file. Takes seconds; nobody waits for it.
pub(crate) fn write_segment(
    path: &Path,
    disk_id: Uuid,
    content: &SegmentContent,
    options: &BuildOptions,
) -> Result<(), OpenError> {
    let failed = |error: io::Error| OpenError::io(path)(error);
    if content.puts.len() > MAX_SEGMENT_POINTS {
        return Err(failed(io::Error::other("more points than a segment can number")));
    }
    let vectors: Vec<&[f32]> = content.puts.iter().map(|(_, put)| &*put.vector).collect();
    let graph = graph::build(&vectors, options).map_err(|error| failed(io::Error::other(error)))?;
    let header = Header::new(FileKind::Segment, disk_id, content.last_seq);
    disk::replace_file(path, |file| {
        let mut out = Sections { file: BufWriter::new(file), at: 0, directory: Vec::new() };
        out.write(&header.to_bytes())?;
        write_points(&mut out, content, &graph, options.dimensions)?;
        write_graph(&mut out, &graph)?;
        write_payloads(&mut out, content)?;
        out.finish()
    })
    .map_err(failed)
}

fn write_points(
    out: &mut Sections<'_>,
    content: &SegmentContent,
    graph: &Built,
    dimensions: usize,
) -> io::Result<()> {
    let summary = Summary {
        points: content.puts.len() as u64,
        dimensions: dimensions as u64,
        edits: content.edits.len() as u64,
        tombstones: content.tombstones.len() as u64,
        last_seq: content.last_seq,
    };
    let by_ordinal = || graph.order.iter().filter_map(|&place| content.puts.get(place as usize));
    out.section(SectionKind::Summary, [summary.to_bytes()])?;
    out.section(SectionKind::Ids, by_ordinal().map(|(id, _)| id.canonical_bytes()))?;
    out.section(SectionKind::Seqs, by_ordinal().map(|(_, put)| put.seq.to_le_bytes()))?;
    out.section(
        SectionKind::Vectors,
        by_ordinal().map(|(_, put)| bytemuck::cast_slice::<f32, u8>(&put.vector)),
    )?;
    let mut by_place = vec![0u32; graph.order.len()];
    for (ordinal, &place) in graph.order.iter().enumerate() {
        by_place[place as usize] = ordinal as u32;
    }
    out.section(SectionKind::ByPlace, [bytemuck::cast_slice::<u32, u8>(&by_place)])?;
    out.section(SectionKind::Places, [bytemuck::cast_slice::<u32, u8>(&graph.order)])
}

fn write_graph(out: &mut Sections<'_>, graph: &Built) -> io::Result<()> {
    let info =
        GraphInfo { code_bytes: graph.code_bytes, slots: graph.slots, coder: graph.coder.clone() };
    let info = postcard::to_stdvec(&info).map_err(io::Error::other)?;
    out.section(SectionKind::GraphInfo, [info])?;
    out.section(SectionKind::Blocks, [graph::bytes_of(&graph.blocks)])?;
    out.section(SectionKind::OwnSteps, [bytemuck::cast_slice::<_, u8>(&graph.own)])
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
        self.pad()?;
        let offset = self.at;
        let mut crc = 0;
        for part in parts {
            crc = crc32c::crc32c_append(crc, part.as_ref());
            self.write(part.as_ref())?;
        }
        self.directory.push(SectionEntry {
            number: kind as u32,
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
