//! Rescoring: the best that a walk found by codes are compared exactly, and those that may in truth be as near.

use shoal_vector::Elements;
use shoal_vector::simd::{Element, Isa, Kernel, Task};

use super::beam::{distance_of, node_of, ordered, unordered};
use super::residency::will_need;
use super::scorer::{Exact, Scorer};
use super::search::GraphRef;
use super::target::Target;
use crate::api::QuantizationParams;

/// How many of the best by codes are compared exactly at least.
const RESCORED: usize = 16;

/// What may, in truth, be nearer than the last that is asked for is compared exactly too: how many standard deviations of
/// the difference of two distances by codes are taken for possible.
pub(super) const DOUBT: f32 = 2.0 * std::f32::consts::SQRT_2;

/// As many times what is asked for are compared exactly at most, so that many that are equally near cost no scan.
const DOUBTFUL: usize = 8;

/// A node found, and its distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Near {
    pub(crate) distance: f32,
    pub(crate) node: u32,
}

/// How many of the best by codes are compared exactly at least, to find `k`.
pub(crate) fn rescored(params: &QuantizationParams, k: usize) -> usize {
    match params.rescore {
        true => params.candidates(k).max(RESCORED),
        // As many as are returned, so that their scores are exact.
        false => k,
    }
}

/// What was walked to, and how far what the walk compared is relied on.
pub(super) struct Rescoring<'a> {
    pub(super) graph: GraphRef<'a>,
    pub(super) target: &'a Target<'a>,
    pub(super) k: usize,
    /// By how much distances by codes may mislead, in levels; `None` where vectors were compared, and all is known.
    pub(super) doubt: Option<f32>,
}

impl Rescoring<'_> {
    /// The nearest of a beam, given by its keys, those that `accepts` accepts.
    pub(super) fn best(&self, keys: &[u64], accepts: impl Fn(u32) -> bool) -> Vec<Near> {
        let Some(doubt) = self.doubt else {
            let accepted = keys.iter().filter(|&&key| accepts(node_of(key))).take(self.k);
            let near = |&key| Near { distance: unordered(distance_of(key)), node: node_of(key) };
            return accepted.map(near).collect();
        };
        let best = self.worth_comparing(keys, doubt, accepts);
        let GraphRef { vectors, metric, .. } = self.graph;
        let query = self.target.query;
        let mut near = match vectors {
            Elements::Float32(vectors) => self.compared(&best, Exact { vectors, query, metric }),
            Elements::Float16(vectors) => self.compared(&best, Exact { vectors, query, metric }),
        };
        near.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.node.cmp(&b.node)));
        near.truncate(self.k);
        near
    }

    fn compared<E: Element>(&self, nodes: &[u32], exact: Exact<'_, E>) -> Vec<Near> {
        let ask =
            || nodes.iter().for_each(|&node| will_need(bytemuck::cast_slice(exact.vector(node))));
        let compare = || Isa::detect().run(Rescore { exact, nodes });
        self.graph.residency.compare(nodes.len(), ask, compare)
    }

    fn worth_comparing(&self, keys: &[u64], doubt: f32, accepts: impl Fn(u32) -> bool) -> Vec<u32> {
        let params = &self.target.params;
        let least = rescored(params, self.k);
        let most = match params.rescore {
            true => self.k.saturating_mul(DOUBTFUL).max(least),
            false => self.k,
        };
        let mut best: Vec<u32> = Vec::with_capacity(most.min(keys.len()));
        let mut limit = i32::MAX;
        for &key in keys {
            let (node, distance) = (node_of(key), distance_of(key));
            if best.len() == most || (best.len() >= least && distance > limit) {
                break;
            }
            if accepts(node) {
                best.push(node);
                if best.len() == self.k {
                    limit = self.doubtful(node, distance, doubt);
                }
            }
        }
        best
    }

    /// The greatest distance by codes of what may be nearer, in truth, than a node at `distance`.
    fn doubtful(&self, node: u32, distance: i32, doubt: f32) -> i32 {
        match self.graph.blocks.own().get(node as usize) {
            Some(own) => ordered(unordered(distance) + own.step * doubt),
            None => distance.saturating_add(doubt as i32),
        }
    }
}

/// Compares nodes exactly.
struct Rescore<'a, E> {
    exact: Exact<'a, E>,
    nodes: &'a [u32],
}

/// Vectors asked for ahead of use.
const RESCORE_AHEAD: usize = 4;

impl<E: Element> Task for Rescore<'_, E> {
    type Output = Vec<Near>;

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> Vec<Near> {
        let Self { exact, nodes } = self;
        let mut near = Vec::with_capacity(nodes.len());
        // Loops, not iterators: their closures would not always be compiled for this kernel.
        // Where each vector's pages are is looked up first, for all at once.
        for &node in nodes {
            exact.touch::<K>(node);
        }
        for &node in &nodes[..nodes.len().min(RESCORE_AHEAD)] {
            exact.prefetch::<K>(node);
        }
        for (at, &node) in nodes.iter().enumerate() {
            if let Some(&next) = nodes.get(at + RESCORE_AHEAD) {
                exact.prefetch::<K>(next);
            }
            near.push(Near { distance: exact.distance::<K>(node), node });
        }
        near
    }
}
