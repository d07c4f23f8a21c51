//! How a walk measures nodes: by codes of either width, with one step or one each, or by the vectors themselves.

use shoal_vector::Metric;
use shoal_vector::codes::{CodeBits, QueryCode};
use shoal_vector::simd::Kernel;

use super::beam::ordered;
use super::blocks::Blocks;

/// Measures nodes for one query.
pub(super) trait Scorer: Copy {
    /// Distances of four nodes as integers in their order: smaller is nearer.
    ///
    /// # Safety
    /// The processor must have what `K` uses, and the nodes must be in the graph.
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4];

    /// Asks for what measuring a node will read.
    fn prefetch<K: Kernel>(&self, node: u32);
}

/// By codes of `EIGHT ? 8 : 4` bits, whose steps are one for all or, if `OWN`, one each.
#[derive(Clone, Copy)]
pub(super) struct Coded<'a, const EIGHT: bool, const OWN: bool> {
    blocks: Blocks<'a>,
    query: &'a QueryCode,
    /// What the inner product of a code of middle levels would be.
    offset: f32,
    /// Weight of a vector's own square; 0 where its length does not matter.
    square_weight: f32,
}

impl<'a, const EIGHT: bool, const OWN: bool> Coded<'a, EIGHT, OWN> {
    /// The blocks' codes must be of this kind. For Euclid the query must be centred as the codes are.
    pub(super) fn new(blocks: Blocks<'a>, query: &'a QueryCode, metric: Metric) -> Self {
        let bits = if EIGHT { CodeBits::Eight } else { CodeBits::Four };
        // |x - q|^2 = |x|^2 - 2 <q, x> + a constant; <q, x> in levels is the inner product over the query's scale.
        let square_weight = if metric == Metric::Euclid { query.scale() / 2.0 } else { 0.0 };
        Self { blocks, query, offset: bits.middle() * query.sum() as f32, square_weight }
    }
}

impl<const EIGHT: bool, const OWN: bool> Scorer for Coded<'_, EIGHT, OWN> {
    #[inline(always)]
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4] {
        let (codes, query) = (nodes.map(|node| self.blocks.code(node)), self.query.as_ptr());
        // SAFETY: the blocks have codes of that many bytes, aligned, and the query is as long; the processor is the
        // caller's word.
        let raw = unsafe {
            match EIGHT {
                true => K::dot4_bytes(codes, query, self.blocks.code_bytes()),
                false => K::dot4_nibbles(codes, query, self.blocks.code_bytes()),
            }
        };
        if !OWN {
            return raw;
        }
        let mut distances = [0; 4];
        for i in 0..4 {
            let own = self.blocks.own()[nodes[i] as usize];
            let product = own.step * (raw[i] as f32 - self.offset);
            distances[i] = ordered(product + own.square * self.square_weight);
        }
        distances
    }

    #[inline(always)]
    fn prefetch<K: Kernel>(&self, node: u32) {
        let code = self.blocks.code(node);
        for line in (0..self.blocks.code_bytes()).step_by(64) {
            K::prefetch(code.wrapping_add(line));
        }
        if OWN {
            K::prefetch(self.blocks.own().as_ptr().wrapping_add(node as usize).cast());
        }
    }
}

/// By the vectors as they are.
#[derive(Clone, Copy)]
pub(super) struct Exact<'a> {
    pub(super) vectors: &'a [f32],
    pub(super) query: &'a [f32],
    pub(super) metric: Metric,
}

impl<'a> Exact<'a> {
    #[inline(always)]
    pub(super) fn vector(&self, node: u32) -> &'a [f32] {
        let dimensions = self.query.len();
        &self.vectors[node as usize * dimensions..][..dimensions]
    }

    #[inline(always)]
    pub(super) fn distance(&self, node: u32) -> f32 {
        self.metric.distance_in_task(self.query, self.vector(node))
    }
}

impl Scorer for Exact<'_> {
    #[inline(always)]
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4] {
        let mut distances = [0; 4];
        for (distance, node) in distances.iter_mut().zip(nodes) {
            *distance = ordered(self.distance(node));
        }
        distances
    }

    #[inline(always)]
    fn prefetch<K: Kernel>(&self, node: u32) {
        let vector = self.vector(node);
        for line in (0..size_of_val(vector)).step_by(64) {
            K::prefetch(vector.as_ptr().cast::<u8>().wrapping_add(line));
        }
    }
}
