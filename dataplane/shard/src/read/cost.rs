//! How long a search will take, guessed before it is made: a thread that drives the network has time for short ones only.
//!
//! Guessed from what the search asks for and how large the parts are that it looks at, never from the points themselves.
//! What cannot be told so, or tends to be long, is [`Duration::MAX`]: filters, scans of everything, sparse vectors.
//! Invariant: a guess changes where a search runs and never what it finds.

use std::time::Duration;

use super::search::walk_is_a_scan;
use crate::api::{SearchRequest, WantPayload};
use crate::view::View;

/// Of a walk, whatever it keeps: preparing the query, entering the graph, comparing the best exactly.
const WALK: u64 = 20_000;
/// Of each candidate that a walk keeps, and of each number of a vector besides: its block, and those of its neighbours.
/// Measured at 384 dimensions, where walks of 16 to 192 candidates took 25 and 0.6 microseconds for each.
const CANDIDATE: u64 = 500;
/// As many times that where walks compare vectors instead of codes; measured, 5 to 7.
const UNQUANTISED: u64 = 6;
/// Of each point that is compared in a scan, and of each number of its vector besides, in tenths.
const SCANNED: u64 = 50;
const SCANNED_NUMBER_TENTHS: u64 = 2;
/// Of each point that is returned, and of its payload: a block of them is decompressed for one.
const RETURNED: u64 = 200;
const PAYLOAD: u64 = 20_000;

/// See the file's comment. `number` is the vector's, `ef` what walks keep.
pub(crate) fn guess(view: &View, number: usize, ef: usize, request: &SearchRequest) -> Duration {
    if request.exact || request.filter.is_some() || request.sparse.is_some() {
        return Duration::MAX;
    }
    let metric = view.shapes[number].metric;
    let dimensions = request.vector.len() as u64;
    let part = |points: usize, nodes: usize, candidate: Option<u64>| match (points, candidate) {
        (0, _) => 0,
        (_, Some(candidate)) if !walk_is_a_scan(ef, points) => {
            // Nodes that stand for no point any more are walked through as well.
            let kept = (ef as u64).saturating_mul(nodes.div_ceil(points) as u64).min(nodes as u64);
            WALK + kept.saturating_mul(candidate)
        }
        _ => nodes as u64 * (SCANNED + dimensions * SCANNED_NUMBER_TENTHS / 10),
    };
    let candidate = |codes: bool| match codes && !request.quantization.ignore {
        true => CANDIDATE + dimensions,
        false => UNQUANTISED * (CANDIDATE + dimensions),
    };
    let memory = view.memory().map(|layer| match layer.near(number) {
        Some(near) => part(layer.held(number), near.nodes, Some(candidate(near.graph.has_rows()))),
        None => part(layer.held(number), layer.held(number), None),
    });
    let segments = view.segments.iter().map(|placed| {
        let rows = placed.segment.rows(number) as usize;
        let dead = placed.dead_rows(number).len() as usize;
        let graph = placed.segment.graph(number, metric);
        let candidate = graph.map(|graph| candidate(graph.coder.is_some()));
        part(rows.saturating_sub(dead), rows, candidate)
    });
    let each = match request.want.payload {
        WantPayload::No => RETURNED,
        _ => RETURNED + PAYLOAD,
    };
    let looked = memory.chain(segments).fold(0, u64::saturating_add);
    Duration::from_nanos(looked.saturating_add(each.saturating_mul(request.k as u64)))
}
