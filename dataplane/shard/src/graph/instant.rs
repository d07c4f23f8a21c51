//! Building in bulk with instant-distance; the one file that imports it.
//!
//! The crate searches only as it was told when the graph was built, so its graph is read out through its serialised
//! form: layer 0 with 64 links a node, unused ones `u32::MAX`. Upper layers are not kept: nodes are numbered in the
//! order of insertion, which is random, so a walk begins at the nearest of the first few hundred. Building runs in
//! parallel and is not deterministic: never compare two graphs.

use instant_distance::{Builder, Heuristic, Point};
use serde::{Deserialize, Serialize, Serializer};

use super::rows::{Packed, Plain, Referred};

/// Greatest number of links of a node.
pub(super) const LINKS: usize = 64;

/// A graph as it was read out.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// For each node, which of the given points it is.
    pub(super) order: Vec<u32>,
    /// Links by node.
    pub(super) links: Vec<Vec<u32>>,
}

/// The crate wrote its graph in a form that this file does not know: its version was changed without a look here.
#[derive(Debug, thiserror::Error)]
#[error("the graph could not be read out of instant-distance: {0}")]
pub(crate) struct ReadOutError(String);

/// A point of a graph. It serialises to nothing: what it holds is at hand already.
#[derive(Clone)]
struct Shown<T>(T);

impl<const LINES: usize> Point for Shown<Packed<LINES>> {
    fn distance(&self, other: &Self) -> f32 {
        self.0.distance(&other.0)
    }
}

impl Point for Shown<Referred<'_>> {
    fn distance(&self, other: &Self) -> f32 {
        self.0.distance(&other.0)
    }
}

impl Point for Shown<Plain<'_>> {
    fn distance(&self, other: &Self) -> f32 {
        self.0.distance(&other.0)
    }
}

impl<T> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// Builds a graph over packed rows, considering `ef` candidates for each.
pub(super) fn build_packed<const LINES: usize>(
    rows: Vec<Packed<LINES>>,
    ef: usize,
) -> Result<Graph, ReadOutError> {
    build(rows.into_iter().map(Shown).collect(), ef)
}

/// The same over rows where they lie.
pub(super) fn build_referred(rows: Vec<Referred<'_>>, ef: usize) -> Result<Graph, ReadOutError> {
    build(rows.into_iter().map(Shown).collect(), ef)
}

/// The same over vectors as they are.
pub(super) fn build_plain(vectors: Vec<Plain<'_>>, ef: usize) -> Result<Graph, ReadOutError> {
    build(vectors.into_iter().map(Shown).collect(), ef)
}

fn build<T>(points: Vec<Shown<T>>, ef: usize) -> Result<Graph, ReadOutError>
where
    Shown<T>: Point,
{
    let count = points.len();
    if count == 0 {
        return Ok(Graph::default());
    }
    // The crate's default keeps pruned candidates, which makes a build seven times slower and the graph no better.
    let heuristic = Heuristic { extend_candidates: false, keep_pruned: false };
    let builder =
        Builder::default().ef_construction(ef.max(1)).select_heuristic(Some(heuristic)).seed(7);
    let (hnsw, nodes) = builder.build_hnsw(points);
    let mut order = vec![0; count];
    for (row, node) in nodes.into_iter().enumerate() {
        if let Some(place) = order.get_mut(node.into_inner() as usize) {
            *place = row as u32;
        }
    }
    let read_out = |error: bincode::Error| ReadOutError(error.to_string());
    let bytes = bincode::serialize(&hnsw).map_err(read_out)?;
    drop(hnsw);
    let form: SerialForm = bincode::deserialize(&bytes).map_err(read_out)?;
    if form.zero.len() != count || form.points.len() != count {
        return Err(ReadOutError(format!("{} nodes for {count} points", form.zero.len())));
    }
    let links: Vec<Vec<u32>> = form.zero.iter().map(used).collect();
    if links.iter().flatten().any(|&link| link as usize >= count) {
        return Err(ReadOutError("a link leads out of the graph".into()));
    }
    Ok(Graph { order, links })
}

fn used(row: &[[u32; 32]; 2]) -> Vec<u32> {
    row.as_flattened().iter().copied().take_while(|&link| link != u32::MAX).collect()
}

/// What bincode makes of `instant_distance::Hnsw` 0.6.1, whose fields are private. serde derives arrays of up to 32
/// elements, hence the halves.
#[derive(Deserialize)]
struct SerialForm {
    #[serde(rename = "ef_search")]
    _ef_search: u64,
    points: Vec<()>,
    zero: Vec<[[u32; 32]; 2]>,
    #[serde(rename = "layers")]
    _layers: Vec<Vec<[u32; 32]>>,
}

const _: () = assert!(LINKS == 2 * 32, "two halves are a row");
