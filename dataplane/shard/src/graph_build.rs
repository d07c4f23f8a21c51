//! Builds a graph over vectors in bulk, with instant-distance; the one file that imports it.
//!
//! The crate searches only as it was told when the graph was built, so its graph is read out through its serialised
//! form (layer 0 with 64 links a node, upper layers with 32, unused ones `u32::MAX`) and walked by our own code.
//! Nodes are numbered in the order of insertion, which is random; an upper layer is a prefix of them. Building runs in
//! parallel and is not deterministic: never compare two graphs.

use instant_distance::{Builder, Heuristic, Point};
use serde::{Deserialize, Serialize, Serializer};
use shoal_vector::Metric;

/// Links a node at layer 0.
pub(crate) const LINKS: usize = 64;
/// Links a node in upper layers.
pub(crate) const UPPER_LINKS: usize = 32;
/// Stands for no link; those after it are unused too.
pub(crate) const NO_LINK: u32 = u32::MAX;

/// A graph; nodes are numbered by `order`.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// For each node, which of the given vectors it is.
    pub(crate) order: Vec<u32>,
    /// Links at layer 0, by node.
    pub(crate) links: Vec<[u32; LINKS]>,
    /// Links of layers 1, 2, ...; layer l has the first `upper[l - 1].len()` nodes. Node 0 is in all of them.
    pub(crate) upper: Vec<Vec<[u32; UPPER_LINKS]>>,
}

/// The crate wrote its graph in a form that this file does not know: its version was changed without a look here.
#[derive(Debug, thiserror::Error)]
#[error("the graph could not be read out of instant-distance: {0}")]
pub(crate) struct ReadOutError(String);

/// Builds a graph over vectors, considering `ef` candidates for each.
pub(crate) fn build(vectors: &[&[f32]], metric: Metric, ef: usize) -> Result<Graph, ReadOutError> {
    if vectors.is_empty() {
        return Ok(Graph::default());
    }
    let points = vectors.iter().map(|values| GraphPoint { values, metric }).collect();
    // The crate's default keeps pruned candidates, which makes a build seven times slower and the graph no better.
    let heuristic = Heuristic { extend_candidates: false, keep_pruned: false };
    let builder =
        Builder::default().ef_construction(ef.max(1)).select_heuristic(Some(heuristic)).seed(7);
    let (hnsw, nodes) = builder.build_hnsw(points);
    let mut order = vec![0; vectors.len()];
    for (row, node) in nodes.into_iter().enumerate() {
        if let Some(place) = order.get_mut(node.into_inner() as usize) {
            *place = row as u32;
        }
    }
    let read_out = |error: bincode::Error| ReadOutError(error.to_string());
    let bytes = bincode::serialize(&hnsw).map_err(read_out)?;
    drop(hnsw);
    let form: SerialForm = bincode::deserialize(&bytes).map_err(read_out)?;
    if form.zero.len() != vectors.len() || form.points.len() != vectors.len() {
        return Err(ReadOutError(format!(
            "{} nodes for {} vectors",
            form.zero.len(),
            vectors.len()
        )));
    }
    let links = form.zero.into_iter().map(|[low, high]| join(low, high)).collect();
    Ok(Graph { order, links, upper: form.layers })
}

/// serde derives arrays of up to 32 elements, hence the halves.
fn join(low: [u32; 32], high: [u32; 32]) -> [u32; LINKS] {
    let mut links = [NO_LINK; LINKS];
    links[..32].copy_from_slice(&low);
    links[32..].copy_from_slice(&high);
    links
}

/// What bincode makes of `instant_distance::Hnsw` 0.6.1, whose fields are private.
#[derive(Deserialize)]
struct SerialForm {
    #[serde(rename = "ef_search")]
    _ef_search: u64,
    points: Vec<()>,
    zero: Vec<[[u32; 32]; 2]>,
    layers: Vec<Vec<[u32; UPPER_LINKS]>>,
}

/// A vector as the crate sees it. It serialises to nothing: the vectors are at hand already.
#[derive(Clone)]
struct GraphPoint<'a> {
    values: &'a [f32],
    metric: Metric,
}

impl Point for GraphPoint<'_> {
    fn distance(&self, other: &Self) -> f32 {
        self.metric.distance(self.values, other.values)
    }
}

impl Serialize for GraphPoint<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn a_graph_has_every_vector_once_and_links_within_it() {
        let mut rng = StdRng::seed_from_u64(3);
        for count in [0usize, 1, 2, 40, 3000] {
            let rows: Vec<[f32; 8]> =
                (0..count).map(|_| std::array::from_fn(|_| rng.random())).collect();
            let vectors: Vec<&[f32]> = rows.iter().map(|row| row.as_slice()).collect();
            let graph = build(&vectors, Metric::Euclid, 40).unwrap();
            let mut order = graph.order.clone();
            order.sort_unstable();
            assert_eq!(order, (0..count as u32).collect::<Vec<_>>());
            assert_eq!(graph.links.len(), count);
            let links = graph.links.iter().flatten().chain(graph.upper.iter().flatten().flatten());
            assert!(links.into_iter().all(|&link| link == NO_LINK || (link as usize) < count));
            assert!(graph.upper.is_sorted_by(|lower, higher| lower.len() >= higher.len()));
            assert!(count < 3000 || !graph.upper.is_empty());
        }
    }
}
