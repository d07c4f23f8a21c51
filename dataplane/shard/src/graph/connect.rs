//! Linking nodes in bulk: those that have no links yet are inserted in rounds, then every node is linked anew.
//!
//! A round takes half as many nodes as there are in the graph, searches for all of them in the graph as it is, prunes
//! what that finds and adds links back: batch insertion with growing batches (Manohar et al., ParlayANN, 2024), which
//! needs no locks and gives the same graph whatever the threads do. Nodes of one round do not see each other, and the first
//! rounds saw few; the last pass mends both. It is DiskANN's second pass (Subramanya et al., 2019): it searches for
//! every node in the whole graph and prunes old links and what it finds together.

use std::ops::Range;

use rayon::prelude::*;
use shoal_vector::codes::OwnStep;
use shoal_vector::simd::{Isa, Line};

use super::blocks::{Blocks, bytes_of, slots_for};
use super::instant::LINKS;
use super::prune::{Distances, Prune};

/// Links of a node while nodes are inserted: two cache lines. Walks are shorter than they are by the links of the end.
const INSERTED_LINKS: usize = 32;

/// Nodes that a thread takes at a time; what it keeps between searches is made anew for each lot.
const LOT: usize = 256;

/// Nodes to be linked.
pub(super) trait Space: Distances {
    /// What a thread keeps between searches.
    type State;

    fn nodes(&self) -> usize;

    fn state(&self) -> Self::State;

    /// Lays out as many nodes as there are lists, each of at most `max_links`.
    fn lay_out(&self, links: &[Vec<u32>], max_links: usize) -> Vec<Line>;

    /// Bytes of a node's code in that.
    fn code_bytes(&self) -> usize;

    /// Steps of the first nodes' codes, where each has its own; else empty.
    fn own(&self, nodes: usize) -> &[OwnStep];

    /// Up to `ef` nodes of those laid out that are near to `node`.
    fn near(&self, laid: Blocks<'_>, node: u32, ef: usize, state: &mut Self::State) -> Vec<u32>;
}

/// How many candidates nodes get, and how many links they keep.
pub(super) struct Effort {
    /// Candidates of a node that is inserted.
    pub(super) ef: usize,
    /// Candidates of a node that is linked anew.
    pub(super) refine_ef: usize,
    /// Links of a node in the end.
    pub(super) max_links: usize,
}

/// Links all nodes of a space, of which the first have links already, up to [`LINKS`] each. Says what cannot be laid out.
pub(super) fn connect(
    mut links: Vec<Vec<u32>>,
    space: &impl Space,
    effort: &Effort,
) -> Result<Vec<Vec<u32>>, String> {
    let nodes = space.nodes();
    let mut widest = LINKS;
    while links.len() < nodes {
        let linked = links.len();
        let anew = linked..(linked + linked / 2 + 1).min(nodes);
        let lines = space.lay_out(&links, widest);
        let laid = blocks(space, &lines, linked, widest)?;
        links.resize_with(anew.end, Vec::new);
        link(&mut links, anew, space, laid, effort.ef, INSERTED_LINKS);
        widest = INSERTED_LINKS;
    }
    let lines = space.lay_out(&links, widest);
    let laid = blocks(space, &lines, nodes, widest)?;
    link(&mut links, 0..nodes, space, laid, effort.refine_ef, effort.max_links);
    Ok(links)
}

fn blocks<'a>(
    space: &'a impl Space,
    lines: &'a [Line],
    nodes: usize,
    max_links: usize,
) -> Result<Blocks<'a>, String> {
    let (own, bytes) = (space.own(nodes), space.code_bytes());
    Blocks::new(bytes_of(lines), own, nodes, bytes, slots_for(max_links))
}

/// Gives the nodes `anew` new links, chosen among the old ones and what a search finds, and links back to them.
fn link<S: Space>(
    links: &mut [Vec<u32>],
    anew: Range<usize>,
    space: &S,
    laid: Blocks<'_>,
    ef: usize,
    max_links: usize,
) {
    let isa = Isa::detect();
    // The rest of the room is left to links back.
    let max_forward = (max_links * 4 / 5).max(1);
    let forward: Vec<Vec<u32>> = anew
        .clone()
        .into_par_iter()
        .with_min_len(LOT)
        .map_init(
            || space.state(),
            |state, node| {
                let mut candidates = space.near(laid, node as u32, ef, state);
                candidates.extend(&links[node]);
                let node = node as u32;
                isa.run(Prune { node, candidates, max_links: max_forward, distances: space })
            },
        )
        .collect();
    for (node, forward) in anew.clone().zip(&forward) {
        links[node].clone_from(forward);
    }
    for (node, forward) in anew.zip(&forward) {
        for &link in forward {
            links[link as usize].push(node as u32);
        }
    }
    links.par_iter_mut().with_min_len(LOT).enumerate().for_each(|(node, links)| {
        links.sort_unstable();
        links.dedup();
        if links.len() > max_links {
            let (node, candidates) = (node as u32, std::mem::take(links));
            *links = isa.run(Prune { node, candidates, max_links, distances: space });
        }
    });
}

#[cfg(test)]
mod tests {
    use shoal_vector::simd::Kernel;

    use super::super::blocks::lay_out;
    use super::*;

    /// Nodes on a line; all that are laid out are looked at.
    struct OnLine(Vec<f32>);

    impl Distances for OnLine {
        fn distance<K: Kernel>(&self, a: u32, b: u32) -> f32 {
            (self.0[a as usize] - self.0[b as usize]).abs()
        }
    }

    impl Space for OnLine {
        type State = ();

        fn nodes(&self) -> usize {
            self.0.len()
        }

        fn state(&self) {}

        fn lay_out(&self, links: &[Vec<u32>], max_links: usize) -> Vec<Line> {
            assert!(links.iter().all(|list| list.len() <= max_links));
            lay_out(links, max_links, 0, |_, _| {})
        }

        fn code_bytes(&self) -> usize {
            0
        }

        fn own(&self, _: usize) -> &[OwnStep] {
            &[]
        }

        fn near(&self, laid: Blocks<'_>, node: u32, ef: usize, _: &mut ()) -> Vec<u32> {
            let away = |other: u32| (self.0[other as usize] - self.0[node as usize]).abs();
            let mut all: Vec<u32> = (0..laid.nodes() as u32).collect();
            all.sort_by(|&a, &b| away(a).total_cmp(&away(b)));
            all.truncate(ef);
            all
        }
    }

    #[test]
    fn every_node_is_linked_within_bounds_and_to_those_beside_it() {
        let line = OnLine((0..500).map(|i| (i as f32 * 37.0) % 500.0).collect());
        let seed = (0..50).map(|i| vec![(i + 1) % 50]).collect();
        let links = connect(seed, &line, &Effort { ef: 8, refine_ef: 8, max_links: 6 }).unwrap();
        assert_eq!(links.len(), 500);
        for (node, links) in links.iter().enumerate() {
            assert!((1..=6).contains(&links.len()) && !links.contains(&(node as u32)));
            let beside =
                links.iter().filter(|&&link| (line.0[link as usize] - line.0[node]).abs() < 1.5);
            // At the ends there is one neighbour, else one on each side.
            let ends = line.0[node] == 0.0 || line.0[node] == 499.0;
            assert_eq!(beside.count(), if ends { 1 } else { 2 });
        }
    }

    #[test]
    fn there_may_be_nothing_to_link() {
        let effort = Effort { ef: 8, refine_ef: 8, max_links: 6 };
        assert!(connect(Vec::new(), &OnLine(Vec::new()), &effort).unwrap().is_empty());
        assert_eq!(
            connect(vec![vec![]], &OnLine(vec![1.0]), &effort).unwrap(),
            [Vec::<u32>::new()]
        );
    }
}
