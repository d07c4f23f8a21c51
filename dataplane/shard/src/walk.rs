//! Walking a segment's graph towards a vector.
//!
//! From the entry down the upper layers by the single nearest node, then over layer 0 with a beam of `ef` candidates
//! (Malkov and Yashunin, HNSW, algorithms 2 and 5). Dead points are walked through and never returned, so the beam
//! always ends with the `ef` nearest live ones it met. Links are checked before use: the walk trusts no number it
//! reads from the file.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;
use shoal_vector::Metric;

use crate::graph_build::NO_LINK;
use crate::segment::Segment;

/// A node and its distance from the query; ordered by distance, then by ordinal.
#[derive(Clone, Copy, PartialEq)]
struct Candidate {
    distance: f32,
    ordinal: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.ordinal.cmp(&other.ordinal))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What a walk needs and the next one of the thread can use again.
#[derive(Default)]
struct Scratch {
    visited: Visited,
    /// To be expanded, nearest first.
    open: BinaryHeap<Reverse<Candidate>>,
    /// The nearest live ones so far, worst on top.
    nearest: BinaryHeap<Candidate>,
}

/// Which nodes were seen. Each walk marks with a number of its own, so nothing has to be cleared.
#[derive(Default)]
struct Visited {
    marks: Vec<u16>,
    mark: u16,
}

impl Visited {
    fn begin(&mut self, nodes: usize) {
        if self.mark == u16::MAX {
            self.marks.fill(0);
            self.mark = 0;
        }
        self.mark += 1;
        if self.marks.len() < nodes {
            self.marks.resize(nodes, 0);
        }
    }

    /// Marks a node; whether it exists and was not marked yet.
    fn first_visit(&mut self, ordinal: u32, nodes: u32) -> bool {
        if ordinal >= nodes {
            return false;
        }
        match self.marks.get_mut(ordinal as usize) {
            Some(mark) if *mark != self.mark => {
                *mark = self.mark;
                true
            }
            _ => false,
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Up to `ef` live points near `query`, as (distance, ordinal), in no order.
pub(crate) fn walk(
    segment: &Segment,
    dead: &RoaringBitmap,
    metric: Metric,
    query: &[f32],
    ef: usize,
) -> Vec<(f32, u32)> {
    if segment.len() == 0 {
        return Vec::new();
    }
    let entry = descend(segment, metric, query);
    SCRATCH.with_borrow_mut(|scratch| {
        beam(segment, dead, metric, query, ef.max(1), entry, scratch);
        scratch.open.clear();
        scratch.nearest.drain().map(|candidate| (candidate.distance, candidate.ordinal)).collect()
    })
}

fn measure(segment: &Segment, metric: Metric, query: &[f32], ordinal: u32) -> Candidate {
    Candidate { distance: metric.distance(query, segment.vector(ordinal)), ordinal }
}

/// The node nearest to the query in the upper layers. Each layer is a prefix of the nodes; node 0 is in all of them.
fn descend(segment: &Segment, metric: Metric, query: &[f32]) -> Candidate {
    let mut nearest = measure(segment, metric, query, 0);
    for layer in segment.upper_layers() {
        loop {
            let before = nearest;
            let links =
                layer.get(before.ordinal as usize).map_or(&[][..], |links| links.as_slice());
            for &link in links.iter().take_while(|link| **link != NO_LINK) {
                if link < segment.len() {
                    nearest = nearest.min(measure(segment, metric, query, link));
                }
            }
            if nearest == before {
                break;
            }
        }
    }
    nearest
}

fn beam(
    segment: &Segment,
    dead: &RoaringBitmap,
    metric: Metric,
    query: &[f32],
    ef: usize,
    entry: Candidate,
    scratch: &mut Scratch,
) {
    let Scratch { visited, open, nearest } = scratch;
    let nodes = segment.len();
    let links = segment.links();
    visited.begin(nodes as usize);
    visited.first_visit(entry.ordinal, nodes);
    open.push(Reverse(entry));
    if !dead.contains(entry.ordinal) {
        nearest.push(entry);
    }
    while let Some(Reverse(candidate)) = open.pop() {
        let worst = nearest.peek().filter(|_| nearest.len() >= ef);
        if worst.is_some_and(|worst| candidate.distance > worst.distance) {
            break;
        }
        let row = links.get(candidate.ordinal as usize).map_or(&[][..], |row| row.as_slice());
        for &link in row.iter().take_while(|link| **link != NO_LINK) {
            if !visited.first_visit(link, nodes) {
                continue;
            }
            let next = measure(segment, metric, query, link);
            if nearest.len() >= ef && nearest.peek().is_some_and(|worst| next >= *worst) {
                continue;
            }
            open.push(Reverse(next));
            if !dead.contains(link) {
                nearest.push(next);
                if nearest.len() > ef {
                    nearest.pop();
                }
            }
        }
    }
}
