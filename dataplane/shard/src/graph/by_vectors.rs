//! Nodes of a graph that is being built, searched for and compared by their vectors as they are: four times the memory
//! traffic of int8 rows, and right for any metric that is never negative.

use shoal_vector::Metric;
use shoal_vector::codes::OwnStep;
use shoal_vector::simd::{Kernel, Line};

use super::blocks::{Blocks, lay_out};
use super::by_codes::nearest;
use super::connect::Space;
use super::prune::Distances;
use super::scorer::Exact;
use super::walk::Scratch;

/// See the file's comment.
pub(super) struct ByVectors {
    /// By node.
    pub(super) vectors: Vec<f32>,
    pub(super) dimensions: usize,
    pub(super) metric: Metric,
}

impl ByVectors {
    fn vector(&self, node: u32) -> &[f32] {
        &self.vectors[node as usize * self.dimensions..][..self.dimensions]
    }
}

impl Distances for ByVectors {
    #[inline(always)]
    fn distance<K: Kernel>(&self, a: u32, b: u32) -> f32 {
        self.metric.distance_in_task::<K, f32>(self.vector(a), self.vector(b))
    }
}

impl Space for ByVectors {
    type State = Scratch;

    fn nodes(&self) -> usize {
        self.vectors.len() / self.dimensions
    }

    fn state(&self) -> Scratch {
        Scratch::default()
    }

    fn lay_out(&self, links: &[Vec<u32>], max_links: usize) -> Vec<Line> {
        lay_out(links, max_links, 0, |_, _| {})
    }

    fn code_bytes(&self) -> usize {
        0
    }

    fn own(&self, _: usize) -> &[OwnStep] {
        &[]
    }

    fn near(&self, blocks: Blocks<'_>, node: u32, ef: usize, scratch: &mut Scratch) -> Vec<u32> {
        let Self { vectors, metric, .. } = self;
        let scorer =
            Exact { vectors: vectors.as_slice(), query: self.vector(node), metric: *metric };
        nearest(blocks, scorer, ef, scratch)
    }
}
