//! How nodes of a growing graph are measured: by int8 rows, or by the vectors themselves where there are no rows.

use shoal_vector::Metric;
use shoal_vector::codes::QueryCode;
use shoal_vector::simd::Kernel;

use super::super::beam::ordered;
use super::super::prune::Distances;
use super::super::scorer::Scorer;
use super::Growing;

/// Measures by int8 rows. See [`Coded`](super::super::scorer::Coded) for the formula.
#[derive(Clone, Copy)]
pub(super) struct ByRow<'a> {
    pub(super) graph: &'a Growing,
    pub(super) code: &'a QueryCode,
    /// Weight of a vector's own square; 0 where its length does not matter.
    pub(super) square_weight: f32,
}

impl Scorer for ByRow<'_> {
    #[inline(always)]
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4] {
        let (bytes, query, sum) =
            (self.graph.rotation.padded(), self.code.as_ptr(), self.code.sum());
        // A loop, not a closure: that would be a function of its own, which is not compiled for this kernel.
        let mut distances = [0; 4];
        for (distance, node) in distances.iter_mut().zip(nodes) {
            // SAFETY: a row and the query have that many bytes, a multiple of 128; the processor is the caller's word.
            let dot = unsafe { K::dot_i8(self.graph.row(node), query, sum, bytes) };
            let meta = self.graph.meta(node);
            *distance = ordered(meta.scale * dot as f32 + meta.norm * self.square_weight);
        }
        distances
    }

    #[inline(always)]
    fn prefetch<K: Kernel>(&self, node: u32) {
        let row = self.graph.row(node).cast::<u8>();
        for line in (0..self.graph.rotation.padded()).step_by(64) {
            K::prefetch(row.wrapping_add(line));
        }
    }
}

/// Measures by the vectors.
#[derive(Clone, Copy)]
pub(super) struct ByVector<'a> {
    pub(super) graph: &'a Growing,
    pub(super) query: &'a [f32],
}

impl Scorer for ByVector<'_> {
    #[inline(always)]
    unsafe fn distance4<K: Kernel>(&self, nodes: [u32; 4]) -> [i32; 4] {
        let mut distances = [0; 4];
        for (distance, node) in distances.iter_mut().zip(nodes) {
            let vector = vector_of(self.graph, node);
            *distance = ordered(self.graph.metric.distance_in_task::<K, f32>(self.query, vector));
        }
        distances
    }

    #[inline(always)]
    fn prefetch<K: Kernel>(&self, node: u32) {
        if let Some(place) = self.graph.members.get(node as usize) {
            K::prefetch(std::ptr::from_ref(place).cast());
        }
    }
}

/// The vector of a node that is counted; it is always there.
#[inline(always)]
fn vector_of(graph: &Growing, node: u32) -> &[f32] {
    match graph.member(node) {
        Some(member) => &member.vector,
        None => &[],
    }
}

/// Distances among nodes, for pruning. Squares of Euclidean distances, whatever the metric, but Manhattan's own: for
/// Dot, among vectors of different lengths, that is a worse guide than it is in a segment's graph, and good enough.
pub(super) struct Within<'a> {
    pub(super) graph: &'a Growing,
}

impl Distances for Within<'_> {
    #[inline(always)]
    fn distance<K: Kernel>(&self, a: u32, b: u32) -> f32 {
        if !self.graph.has_rows {
            let metric = match self.graph.metric {
                Metric::Manhattan => Metric::Manhattan,
                Metric::Cosine | Metric::Dot | Metric::Euclid => Metric::Euclid,
            };
            return metric
                .distance_in_task::<K, f32>(vector_of(self.graph, a), vector_of(self.graph, b));
        }
        let (bytes, b_meta) = (self.graph.rotation.padded(), self.graph.meta(b));
        // SAFETY: two rows of that many bytes; a task runs where its kernel can.
        let dot = unsafe { K::dot_i8(self.graph.row(a), self.graph.row(b), b_meta.sum, bytes) };
        self.graph.meta(a).distance(&b_meta, dot)
    }
}
