//! Building a graph: rotate, have instant-distance build a part of it over int8 rows, insert the rest, link all anew, lay
//! it out.
//!
//! instant-distance builds a graph of good quality and keeps its points behind locks and its candidates in heaps: it took
//! three fifths of the time when it built the whole. Our walk finds the same candidates several times faster, so it takes
//! over as soon as there is a graph to walk.

use std::io;

use rayon::prelude::*;
use shoal_vector::codes::{CodeBits, Coder, OwnStep, Rotation};
use shoal_vector::simd::{Isa, Kernel, Line};
use shoal_vector::{Datatype, Metric, Quantization};
use xxhash_rust::xxh3::xxh3_64;

use super::blocks::{lay_out, slots_for};
use super::by_codes::{ByCodes, Codes};
use super::by_vectors::ByVectors;
use super::connect::{Effort, Space, connect};
use super::instant::{self, Graph, ReadOutError};
use super::rows::{Packed, Plain, Referred, Rows};
use super::twins::link_twins;

/// Vectors that codes are learned from, evenly spread over all.
const LEARNED_FROM: usize = 20_000;

/// The part of all vectors that instant-distance builds over. At 100,000 vectors a thirtieth to an eighth gave graphs that
/// searches cannot tell apart.
const SEED_PART: usize = 16;

/// What it builds over at least. So few take it a fraction of a second.
const SEED_LEAST: usize = 2_000;

/// How a graph is to be.
#[derive(Clone, Debug)]
pub(crate) struct BuildOptions {
    pub(crate) metric: Metric,
    pub(crate) dimensions: usize,
    /// What vectors are written as beside it. They were rounded to it before.
    pub(crate) datatype: Datatype,
    /// Candidates for each vector when it is inserted.
    pub(crate) ef: usize,
    /// Candidates for each node when it is linked anew; `ef` if that is more.
    pub(crate) refine_ef: usize,
    /// Links of a node in the end.
    pub(crate) max_links: usize,
    /// By what it is to be walked; Manhattan always walks by the vectors themselves.
    pub(crate) quantization: Quantization,
}

impl BuildOptions {
    fn effort(&self) -> Effort {
        let Self { ef, refine_ef, max_links, .. } = *self;
        Effort { ef, refine_ef: refine_ef.max(ef), max_links }
    }
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
    #[error("there is no memory for the graph: {0}")]
    Memory(#[from] io::Error),
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
    let metric = options.metric;
    let rotated = Rotated { vectors, rotation: Rotation::new(options.dimensions) };
    let padded = rotated.rotation.padded();
    // Nodes are searched for by codes also where searches do not go by them.
    let coder = rotated.learn(bits.unwrap_or(CodeBits::Four));
    let rows = Rows::new(vectors.len(), padded, metric, |row, out| {
        rotated.write(row, out);
        if metric == Metric::Euclid {
            out.iter_mut().zip(coder.mean()).for_each(|(x, mean)| *x -= mean);
        }
    });
    let mut order = shuffled(vectors.len());
    let seed = seed_of(&mut order, |some| build_over_rows(&rows, some, options.ef))?;
    let rotate = |node: usize, out: &mut [f32]| rotated.write(order[node] as usize, out);
    let codes = Codes::new(coder, order.len(), metric != Metric::Cosine, rotate)?;
    let space = ByCodes { rows: &rows, order: &order, codes: &codes, metric };
    let mut links = connect(seed, &space, &options.effort()).map_err(BuildError::Layout)?;
    link_twins(&mut links, options.max_links, &rows, &order);
    let slots = slots_for(options.max_links);
    if bits.is_none() {
        let blocks = lay_out(&links, options.max_links, 0, |_, _| {});
        return Ok(Built { order, blocks, slots, ..Built::default() });
    }
    let blocks = space.lay_out(&links, options.max_links);
    let Codes { coder, own, .. } = codes;
    let code_bytes = coder.code_bytes();
    Ok(Built { order, blocks, own, coder: Some(coder), code_bytes, slots })
}

/// A point holds its row if that has one of a few sizes, since the size of a point is part of its type.
fn build_over_rows(rows: &Rows, some: &[u32], ef: usize) -> Result<Graph, ReadOutError> {
    fn packed<const LINES: usize>(
        rows: &Rows,
        some: &[u32],
        ef: usize,
    ) -> Result<Graph, ReadOutError> {
        let isa = Isa::detect();
        let points = some.iter().map(|&row| Packed::<LINES>::new(rows, row, isa));
        instant::build_packed(points.collect(), ef)
    }
    match rows.lines_per_row() {
        0..=2 => packed::<2>(rows, some, ef),
        3..=4 => packed::<4>(rows, some, ef),
        5..=6 => packed::<6>(rows, some, ef),
        7..=12 => packed::<12>(rows, some, ef),
        13..=16 => packed::<16>(rows, some, ef),
        17..=24 => packed::<24>(rows, some, ef),
        _ => {
            let isa = Isa::detect();
            let points = some.iter().map(|&row| Referred { rows, row, isa });
            instant::build_referred(points.collect(), ef)
        }
    }
}

/// By the vectors themselves: for Manhattan, which is no inner product.
fn build_plain(vectors: &[&[f32]], options: &BuildOptions) -> Result<Built, BuildError> {
    let (metric, dimensions) = (options.metric, options.dimensions);
    let mut order = shuffled(vectors.len());
    let seed = seed_of(&mut order, |rows| {
        let points = rows.iter().map(|&row| Plain { values: vectors[row as usize], metric });
        instant::build_plain(points.collect(), options.ef)
    })?;
    let by_node = order.iter().flat_map(|&row| vectors[row as usize].iter().copied()).collect();
    let space = ByVectors { vectors: by_node, dimensions, metric };
    let links = connect(seed, &space, &options.effort()).map_err(BuildError::Layout)?;
    let blocks = lay_out(&links, options.max_links, 0, |_, _| {});
    let slots = slots_for(options.max_links);
    Ok(Built { order, blocks, slots, ..Built::default() })
}

/// Rows in the order in which they are to be inserted: as good as random, and the same for as many rows.
fn shuffled(rows: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.par_sort_by_cached_key(|row| xxh3_64(&row.to_le_bytes()));
    order
}

/// Has `build` make the graph that all others are inserted into, over the first rows of an order, and puts those in the order
/// of its nodes. Gives the links of its nodes.
fn seed_of(
    order: &mut [u32],
    build: impl Fn(&[u32]) -> Result<Graph, ReadOutError>,
) -> Result<Vec<Vec<u32>>, ReadOutError> {
    let seed = (order.len() / SEED_PART).max(SEED_LEAST).min(order.len());
    let rows = &mut order[..seed];
    let graph = build(rows)?;
    let by_node: Vec<u32> = graph.order.iter().map(|&at| rows[at as usize]).collect();
    rows.copy_from_slice(&by_node);
    Ok(graph.links)
}
