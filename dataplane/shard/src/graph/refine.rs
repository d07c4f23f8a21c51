//! Refining: every node is searched for once more, and its links are chosen anew among what that finds.
//!
//! This is DiskANN's second pass (Subramanya et al., 2019), started from a graph that is good already: candidates and old
//! links are pruned together, reverse links are added, and nodes that have too many then are pruned again.

use rayon::prelude::*;
use shoal_vector::simd::{Isa, Kernel, Task};

/// Robust pruning drops a candidate when a kept one is nearer to it by this factor (alpha in the paper, of distances).
const ALPHA: f32 = 1.1;

/// How nodes compare.
pub(super) trait Distances: Sync {
    /// Distance of two nodes, never negative. To be called in a task of `K`.
    fn distance<K: Kernel>(&self, a: u32, b: u32) -> f32;
}

/// New links for each node, at most `max_links`. `search(state, node)` returns candidates; `state` makes what a thread
/// keeps between searches.
pub(super) fn refine<S>(
    old: &[Vec<u32>],
    distances: &impl Distances,
    max_links: usize,
    isa: Isa,
    state: impl Fn() -> S + Send + Sync,
    search: impl Fn(&mut S, u32) -> Vec<u32> + Send + Sync,
) -> Vec<Vec<u32>> {
    // A third of the room is left to reverse links.
    let forward_links = (max_links * 2 / 3).max(1);
    let forward: Vec<Vec<u32>> = (0..old.len() as u32)
        .into_par_iter()
        .with_min_len(256)
        .map_init(&state, |state, node| {
            let mut candidates = search(state, node);
            candidates.extend(&old[node as usize]);
            isa.run(Prune { node, candidates, max_links: forward_links, distances })
        })
        .collect();
    let mut both = forward.clone();
    for (node, links) in forward.iter().enumerate() {
        for &link in links {
            both[link as usize].push(node as u32);
        }
    }
    both.par_iter_mut().with_min_len(256).enumerate().for_each(|(node, links)| {
        links.sort_unstable();
        links.dedup();
        if links.len() > max_links {
            let (node, candidates) = (node as u32, std::mem::take(links));
            *links = isa.run(Prune { node, candidates, max_links, distances });
        }
    });
    both
}

/// Keeps candidates from the nearest on, each unless one already kept is nearer to it, by `ALPHA`, than `node` is
/// (algorithm 2 of the paper).
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
        for candidate in candidates {
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

    #[test]
    fn refined_links_stay_within_their_bound_and_lead_both_ways() {
        let line = Line((0..500).map(|i| (i as f32 * 37.0) % 500.0).collect());
        let old: Vec<Vec<u32>> = (0..500).map(|i| vec![(i + 1) % 500]).collect();
        let near = |_: &mut (), node: u32| (0..500).filter(|&o| o % 7 == node % 7).collect();
        let links = refine(&old, &line, 6, Isa::detect(), || (), near);
        assert!(links.iter().all(|links| (1..=6).contains(&links.len())));
        assert!(links.iter().enumerate().all(|(node, links)| !links.contains(&(node as u32))));
    }
}
