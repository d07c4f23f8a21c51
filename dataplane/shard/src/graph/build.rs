//! Building a graph: rotate, have instant-distance build over int8 rows, lay out, refine, lay out again.

use rayon::prelude::*;
use shoal_vector::codes::{CodeBits, Coder, OwnStep, QueryCode, Rotation};
use shoal_vector::simd::{Isa, Kernel, Line};
use shoal_vector::{Datatype, Metric, Quantization};

use super::beam::node_of;
use super::blocks::{Blocks, bytes_of, lay_out, slots_for};
use super::instant::{self, Graph, LINKS, ReadOutError};
use super::refine::{Distances, refine};
use super::rows::{Packed, Plain, Referred, Rows};
use super::scorer::{Coded, Exact, Scorer};
use super::twins::link_twins;
use super::walk::{Everything, Scratch, Walk};

/// Vectors that codes are learned from, evenly spread over all.
const LEARNED_FROM: usize = 20_000;

/// How a graph is to be.
#[derive(Clone, Debug)]
pub(crate) struct BuildOptions {
    pub(crate) metric: Metric,
    pub(crate) dimensions: usize,
    /// What vectors are written as beside it. They were rounded to it before.
    pub(crate) datatype: Datatype,
    /// Candidates for each vector in the first pass.
    pub(crate) ef: usize,
    /// Candidates for each node in the second pass.
    pub(crate) refine_ef: usize,
    /// Links of a node in the end.
    pub(crate) max_links: usize,
    /// By what it is to be walked; Manhattan always walks by the vectors themselves.
    pub(crate) quantization: Quantization,
}

/// A graph as it is written.
#[derive(Default)]
pub(crate) struct Built {
    /// For each node, which of the given vectors it is.
    pub(crate) order: Vec<u32>,
    pub(crate) blocks: Vec<Line>,
    pub(crate) own: Vec<OwnStep>,
    pub(crate) coder: Option<Coder>,
    pub(crate) code_bytes: usize,
    pub(crate) slots: usize,
}

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(transparent)]
    ReadOut(#[from] ReadOutError),
    #[error("the graph cannot be laid out: {0}")]
    Layout(String),
}

/// Builds a graph over vectors, preprocessed by the metric and all of one size. Takes seconds for 100,000.
pub(crate) fn build(vectors: &[&[f32]], options: &BuildOptions) -> Result<Built, BuildError> {
    let bits = match options.quantization {
        Quantization::Bits4 => Some(CodeBits::Four),
        Quantization::Int8 => Some(CodeBits::Eight),
        Quantization::None => None,
    };
    match options.metric {
        Metric::Manhattan => build_plain(vectors, options),
        Metric::Cosine | Metric::Dot | Metric::Euclid => build_coded(vectors, options, bits),
    }
}

/// Rotates vectors, and centres them where the metric measures from the mean.
struct Rotated<'a> {
    vectors: &'a [&'a [f32]],
    rotation: Rotation,
}

impl Rotated<'_> {
    fn write(&self, row: usize, out: &mut [f32]) {
        struct Rotate<'a>(&'a Rotation, &'a [f32], &'a mut [f32]);
        impl shoal_vector::simd::Task for Rotate<'_> {
            type Output = ();

            #[inline(always)]
            unsafe fn run<K: Kernel>(self) {
                self.0.apply::<K>(self.1, self.2);
            }
        }
        Isa::detect().run(Rotate(&self.rotation, self.vectors[row], out));
    }

    fn learn(&self, bits: CodeBits) -> Coder {
        let padded = self.rotation.padded();
        let step = self.vectors.len().div_ceil(LEARNED_FROM).max(1);
        let rows: Vec<usize> = (0..self.vectors.len()).step_by(step).collect();
        let mut sample = vec![0.0; rows.len() * padded];
        sample.par_chunks_exact_mut(padded).zip(rows).for_each(|(out, row)| self.write(row, out));
        Coder::learn(bits, padded, sample.chunks_exact(padded))
    }
}

fn build_coded(
    vectors: &[&[f32]],
    options: &BuildOptions,
    bits: Option<CodeBits>,
) -> Result<Built, BuildError> {
    let (metric, isa) = (options.metric, Isa::detect());
    let rotated = Rotated { vectors, rotation: Rotation::new(options.dimensions) };
    let padded = rotated.rotation.padded();
    // The refinement walks by codes also where searches do not.
    let coder = rotated.learn(bits.unwrap_or(CodeBits::Four));
    let rows = Rows::new(vectors.len(), padded, metric, |row, out| {
        rotated.write(row, out);
        if metric == Metric::Euclid {
            out.iter_mut().zip(coder.mean()).for_each(|(x, mean)| *x -= mean);
        }
    });
    let graph = build_over_rows(&rows, options.ef, isa)?;

    let own_steps = metric != Metric::Cosine;
    let codes = encode(&rotated, &coder, &graph.order, own_steps);
    let code = |node: u32, out: &mut [u8]| out.copy_from_slice(codes.of(node));
    let first = lay_out(&graph.links, LINKS, coder.code_bytes(), code);
    let blocks = Blocks::new(
        bytes_of(&first),
        &codes.own,
        vectors.len(),
        coder.code_bytes(),
        slots_for(LINKS),
    )
    .map_err(BuildError::Layout)?;
    let mut links = refine(
        &graph.links,
        &RowsByNode { rows: &rows, order: &graph.order },
        options.max_links,
        isa,
        || (Scratch::default(), QueryCode::new(padded)),
        |(scratch, query), node| {
            let row = graph.order[node as usize];
            let meta = rows.meta(row);
            query.set_row(rows.row(row), meta.sum, meta.squares, 1.0 / meta.scale);
            match (coder.bits(), own_steps) {
                (CodeBits::Four, false) => {
                    let scorer = Coded::<false, false>::new(blocks, query, metric);
                    candidates(blocks, scorer, options.refine_ef, scratch)
                }
                (CodeBits::Four, true) => {
                    let scorer = Coded::<false, true>::new(blocks, query, metric);
                    candidates(blocks, scorer, options.refine_ef, scratch)
                }
                (CodeBits::Eight, false) => {
                    let scorer = Coded::<true, false>::new(blocks, query, metric);
                    candidates(blocks, scorer, options.refine_ef, scratch)
                }
                (CodeBits::Eight, true) => {
                    let scorer = Coded::<true, true>::new(blocks, query, metric);
                    candidates(blocks, scorer, options.refine_ef, scratch)
                }
            }
        },
    );
    link_twins(&mut links, options.max_links, &rows, &graph.order);
    let slots = slots_for(options.max_links);
    if bits.is_none() {
        let blocks = lay_out(&links, options.max_links, 0, |_, _| {});
        return Ok(Built { order: graph.order, blocks, slots, ..Built::default() });
    }
    let code_bytes = coder.code_bytes();
    let blocks = lay_out(&links, options.max_links, code_bytes, code);
    Ok(Built { order: graph.order, blocks, own: codes.own, coder: Some(coder), code_bytes, slots })
}

/// Nodes near to a query, by codes.
fn candidates(
    blocks: Blocks<'_>,
    scorer: impl Scorer,
    ef: usize,
    scratch: &mut Scratch,
) -> Vec<u32> {
    let ef = ef.max(1);
    let links = blocks;
    let walk = Walk { links, scorer, admit: Everything, entries: None, ef, scratch };
    let len = Isa::detect().run(walk);
    scratch.beam.keys(len).iter().map(|&key| node_of(key)).collect()
}

/// A point holds its row if that has one of a few sizes, since the size of a point is part of its type.
fn build_over_rows(rows: &Rows, ef: usize, isa: Isa) -> Result<Graph, ReadOutError> {
    fn packed<const LINES: usize>(rows: &Rows, ef: usize, isa: Isa) -> Result<Graph, ReadOutError> {
        let all = (0..rows.len() as u32).map(|row| Packed::<LINES>::new(rows, row, isa));
        instant::build_packed(all.collect(), ef)
    }
    match rows.lines_per_row() {
        0..=2 => packed::<2>(rows, ef, isa),
        3..=4 => packed::<4>(rows, ef, isa),
        5..=6 => packed::<6>(rows, ef, isa),
        7..=12 => packed::<12>(rows, ef, isa),
        13..=16 => packed::<16>(rows, ef, isa),
        17..=24 => packed::<24>(rows, ef, isa),
        _ => {
            let all = (0..rows.len() as u32).map(|row| Referred { rows, row, isa });
            instant::build_referred(all.collect(), ef)
        }
    }
}

/// Codes by node.
struct Codes {
    bytes: Vec<u8>,
    code_bytes: usize,
    /// Empty where one step suits all.
    own: Vec<OwnStep>,
}

impl Codes {
    fn of(&self, node: u32) -> &[u8] {
        &self.bytes[node as usize * self.code_bytes..][..self.code_bytes]
    }
}

fn encode(rotated: &Rotated<'_>, coder: &Coder, order: &[u32], own_steps: bool) -> Codes {
    let code_bytes = coder.code_bytes();
    let mut bytes = vec![0; order.len() * code_bytes];
    let own: Vec<OwnStep> = bytes
        .par_chunks_exact_mut(code_bytes)
        .zip(order)
        .map_init(
            || vec![0.0; rotated.rotation.padded()],
            |buffer, (code, &row)| {
                rotated.write(row as usize, buffer);
                match own_steps {
                    true => coder.encode_own_step(buffer, code),
                    false => {
                        coder.encode(buffer, code);
                        OwnStep::default()
                    }
                }
            },
        )
        .collect();
    Codes { bytes, code_bytes, own: if own_steps { own } else { Vec::new() } }
}

/// Rows compared by the nodes they stand for.
struct RowsByNode<'a> {
    rows: &'a Rows,
    order: &'a [u32],
}

impl Distances for RowsByNode<'_> {
    #[inline(always)]
    fn distance<K: Kernel>(&self, a: u32, b: u32) -> f32 {
        self.rows.distance_in_task::<K>(self.order[a as usize], self.order[b as usize])
    }
}

/// Vectors compared by the nodes they stand for.
struct VectorsByNode<'a> {
    vectors: &'a [f32],
    dimensions: usize,
    metric: Metric,
}

impl VectorsByNode<'_> {
    fn vector(&self, node: u32) -> &[f32] {
        &self.vectors[node as usize * self.dimensions..][..self.dimensions]
    }
}

impl Distances for VectorsByNode<'_> {
    #[inline(always)]
    fn distance<K: Kernel>(&self, a: u32, b: u32) -> f32 {
        self.metric.distance_in_task::<K, f32>(self.vector(a), self.vector(b))
    }
}

/// By the vectors themselves: four times the memory traffic, and right for any metric that is never negative.
fn build_plain(vectors: &[&[f32]], options: &BuildOptions) -> Result<Built, BuildError> {
    let (metric, dimensions) = (options.metric, options.dimensions);
    let points = vectors.iter().map(|values| Plain { values, metric }).collect();
    let graph = instant::build_plain(points, options.ef)?;
    let by_node: Vec<f32> =
        graph.order.iter().flat_map(|&row| vectors[row as usize].iter().copied()).collect();
    let first = lay_out(&graph.links, LINKS, 0, |_, _| {});
    let blocks = Blocks::new(bytes_of(&first), &[], vectors.len(), 0, slots_for(LINKS))
        .map_err(BuildError::Layout)?;
    let distances = VectorsByNode { vectors: &by_node, dimensions, metric };
    let links = refine(
        &graph.links,
        &distances,
        options.max_links,
        Isa::detect(),
        Scratch::default,
        |scratch, node| {
            let scorer =
                Exact { vectors: by_node.as_slice(), query: distances.vector(node), metric };
            candidates(blocks, scorer, options.refine_ef, scratch)
        },
    );
    let blocks = lay_out(&links, options.max_links, 0, |_, _| {});
    let slots = slots_for(options.max_links);
    Ok(Built { order: graph.order, blocks, slots, ..Built::default() })
}
