//! Robust pruning: which of many candidates a node links to (Subramanya et al., DiskANN, 2019, algorithm 2).

use shoal_vector::simd::{Kernel, Task};

/// A candidate is dropped when a kept one is nearer to it by this factor (alpha in the paper, of distances).
const ALPHA: f32 = 1.1;

/// How many candidates ahead of its turn one is asked for.
const AHEAD: usize = 8;

/// How nodes compare.
pub(super) trait Distances: Sync {
    /// Distance of two nodes, never negative. To be called in a task of `K`.
    fn distance<K: Kernel>(&self, a: u32, b: u32) -> f32;

    /// Asks for what comparing a node will read.
    #[inline(always)]
    fn prefetch<K: Kernel>(&self, _: u32) {}
}

/// Keeps candidates from the nearest on, each unless one already kept is nearer to it, by `ALPHA`, than `node` is.
pub(super) struct Prune<'a, D> {
    pub(super) node: u32,
    pub(super) candidates: Vec<u32>,
    pub(super) max_links: usize,
    pub(super) distances: &'a D,
}

impl<D: Distances> Task for Prune<'_, D> {
    type Output = Vec<u32>;

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> Vec<u32> {
        let Self { node, mut candidates, max_links, distances } = self;
        candidates.sort_unstable();
        candidates.dedup();
        // Loops, not closures: those would be functions of their own, which are not compiled for this kernel.
        let mut ranked: Vec<(f32, u32)> = Vec::with_capacity(candidates.len());
        for (at, &candidate) in candidates.iter().enumerate() {
            if let Some(&next) = candidates.get(at + AHEAD) {
                distances.prefetch::<K>(next);
            }
            if candidate != node {
                ranked.push((distances.distance::<K>(node, candidate), candidate));
            }
        }
        ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut kept: Vec<u32> = Vec::with_capacity(max_links);
        for (to_node, candidate) in ranked {
            if kept.len() == max_links {
                break;
            }
            // Strictly, so that of points at one place one is kept; `twins.rs` links them with each other.
            let mut far = true;
            for &near in &kept {
                if distances.distance::<K>(candidate, near) * ALPHA <= to_node {
                    far = false;
                    break;
                }
            }
            if far {
                kept.push(candidate);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use shoal_vector::simd::Isa;

    use super::*;

    struct Line(Vec<f32>);

    impl Distances for Line {
        fn distance<K: Kernel>(&self, a: u32, b: u32) -> f32 {
            (self.0[a as usize] - self.0[b as usize]).abs()
        }
    }

    fn pruned(line: &Line, candidates: &[u32], max_links: usize) -> Vec<u32> {
        let candidates = candidates.to_vec();
        Isa::detect().run(Prune { node: 0, candidates, max_links, distances: line })
    }

    #[test]
    fn pruning_keeps_the_nearest_in_each_direction() {
        let line = Line(vec![0.0, 1.0, 1.5, -2.0, -9.0, 5.0]);
        assert_eq!(pruned(&line, &[5, 4, 3, 2, 1, 0, 1], 10), [1, 3]);
        assert_eq!(pruned(&line, &[5, 3, 1], 1), [1]);
        assert!(pruned(&line, &[0], 5).is_empty());
    }
}
