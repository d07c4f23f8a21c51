//! The walk: best-first search with a beam over blocks (Malkov and Yashunin, HNSW, algorithm 2, on one layer).
//!
//! Without a filter every node met may enter the beam. With one, only accepted nodes do, and a node that is not accepted
//! is looked through: its links stand in for it (Patel et al., ACORN, 2024, the variant that keeps plain links). Links
//! are made to lie within the graph as they are read, so that a damaged file gives a worse answer and no more.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use shoal_vector::simd::{Kernel, Task};

pub(super) use super::admit::{Admit, Bits, Everything, Set};
use super::beam::{Beam, EXPANDED, distance_of, key, node_of};
use super::blocks::SLOT_STEP;
use super::entries::{ENTRY_SCAN, nearest_entry};
use super::scorer::Scorer;

/// With a filter, a step stops looking through nodes once it has met this many accepted ones.
const ENOUGH: usize = 48;

/// What one thread needs to walk; reused from walk to walk.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) beam: Beam,
    visited: Vec<u64>,
    /// Nodes met by the current step, then padding.
    pub(super) fresh: Vec<u32>,
    pub(super) distances: Vec<i32>,
    /// Nodes to look through.
    through: Vec<u32>,
}

/// What is walked over: nodes with rows of links.
pub(super) trait Links: Copy {
    /// Number of nodes. A link to any other is taken for one to the last.
    fn nodes(&self) -> usize;

    /// Links of a row, a multiple of [`SLOT_STEP`]. Those that are not used hold the node itself, which a walk has seen.
    fn slots(&self) -> usize;

    /// A node's row, on cache lines of its own. It may change while it is read, if whoever changes it stores whole links.
    fn row(&self, node: u32) -> *const AtomicU32;
}

/// One walk. Gives the number of keys in the scratch's beam, nearest first.
pub(super) struct Walk<'a, L, S, A> {
    pub(super) links: L,
    pub(super) scorer: S,
    pub(super) admit: A,
    /// Nodes to begin with, if the first of the graph will not do.
    pub(super) entries: Option<&'a [u32]>,
    /// Length of the beam, at least 1.
    pub(super) ef: usize,
    pub(super) scratch: &'a mut Scratch,
}

impl<L: Links, S: Scorer, A: Admit> Task for Walk<'_, L, S, A> {
    type Output = usize;

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> usize {
        // SAFETY: passed on.
        unsafe { walk::<K, L, S, A>(self) }
    }
}

/// Asks for what is looked at first of a node.
#[inline(always)]
pub(super) fn ask<K: Kernel, S: Scorer>(scorer: &S, node: u32) {
    match S::SKETCHED {
        true => scorer.prefetch_sketch::<K>(node),
        false => scorer.prefetch::<K>(node),
    }
}

/// # Safety
/// The processor must have what `K` uses.
#[inline(always)]
unsafe fn walk<K: Kernel, L: Links, S: Scorer, A: Admit>(walk: Walk<'_, L, S, A>) -> usize {
    let Walk { links, scorer, admit, entries, ef, scratch } = walk;
    let (slots, nodes) = (links.slots(), links.nodes());
    if nodes == 0 {
        return 0;
    }
    let last = (nodes - 1) as u32;
    let Scratch { beam, visited, fresh, distances, through } = scratch;
    visited.clear();
    visited.resize(nodes.div_ceil(64), 0);
    beam.clear(ef);
    // A step meets at most one row of links, and with a filter a row more than enough; padding follows.
    let room = slots + ENOUGH + slots + SLOT_STEP;
    fresh.clear();
    fresh.resize(room, 0);
    distances.clear();
    distances.resize(room, 0);
    through.clear();
    through.resize(slots, 0);
    let beam = beam.as_mut_ptr();
    let visited = visited.as_mut_ptr();
    let fresh = fresh.as_mut_ptr();
    let distances = distances.as_mut_ptr();
    let through = through.as_mut_ptr();

    // SAFETY: nodes are made to be at most `last` where they are read, so blocks, visited bits and the
    // scorer have them; fresh and distances have room for a step, the beam for `ef` and what kernels touch beyond.
    unsafe {
        let link = |row: *const AtomicU32, slot: usize| {
            u32::from_le((*row.add(slot)).load(Relaxed)).min(last)
        };
        let is_visited = |node: u32| *visited.add(node as usize / 64) >> (node % 64) & 1 == 1;
        let prefetch_links = |node: u32| {
            for slot in (0..slots).step_by(SLOT_STEP) {
                K::prefetch(links.row(node).add(slot).cast());
            }
        };
        // The first key from `at` on that is not yet expanded, or `len`.
        let next_open = move |mut at: usize, len: usize| {
            while at < len && *beam.add(at) & EXPANDED != 0 {
                at += 1;
            }
            at
        };
        // Where to begin.
        let count = entries.map_or(ENTRY_SCAN.min(nodes), <[u32]>::len);
        let entry_at = |at: usize| entries.map_or(at as u32, |entries| entries[at]).min(last);
        let (mut len, mut current) = (0, 0); // `current`: the nearest key not yet expanded
        let mut best = u64::MAX;
        if S::SKETCHED && A::ALL {
            best = nearest_entry::<K, S>(&scorer, count);
        } else {
            for at in (0..count).step_by(4) {
                let four = [0, 1, 2, 3].map(|i| entry_at((at + i).min(count - 1)));
                for (distance, node) in scorer.distance4::<K>(four).into_iter().zip(four) {
                    let key = key(distance, node);
                    best = best.min(key);
                    // What a filter accepts may lie in places that no link joins, so a walk begins in all that it knows.
                    if !A::ALL && !is_visited(node) {
                        *visited.add(node as usize / 64) |= 1 << (node % 64);
                        if key < *beam.add(ef - 1) {
                            K::insert(beam, &mut len, ef, key);
                        }
                    }
                }
            }
        }
        if count == 0 {
            return 0;
        }
        if A::ALL {
            (*beam, len) = (best, 1);
            *visited.add(node_of(best) as usize / 64) |= 1 << (node_of(best) % 64);
        }

        let mut guessed = None; // the node whose links' codes are on their way
        while current < len {
            let node = node_of(*beam.add(current));
            *beam.add(current) |= EXPANDED;

            // Collect the links not seen before. Every link is written, only those that count are counted.
            let row = links.row(node);
            let (mut count, mut passed) = (0, 0);
            for slot in 0..slots {
                let link = link(row, slot);
                let (word, bit) = (visited.add(link as usize / 64), 1u64 << (link % 64));
                let unseen = *word & bit == 0;
                *word |= bit;
                *fresh.add(count) = link;
                if A::ALL {
                    count += usize::from(unseen);
                } else {
                    let admitted = admit.admits(link);
                    *through.add(passed) = link;
                    passed += usize::from(unseen & !admitted);
                    count += usize::from(unseen & admitted);
                }
            }
            if !A::ALL {
                (0..passed).for_each(|i| prefetch_links(*through.add(i)));
                for i in 0..passed {
                    if count >= ENOUGH {
                        break;
                    }
                    let row = links.row(*through.add(i));
                    for slot in 0..slots {
                        let link = link(row, slot);
                        let (word, bit) = (visited.add(link as usize / 64), 1u64 << (link % 64));
                        let counts = (*word & bit == 0) & admit.admits(link);
                        *word |= if counts { bit } else { 0 };
                        *fresh.add(count) = link;
                        count += usize::from(counts);
                    }
                }
            }
            current = next_open(current + 1, len);
            if count == 0 {
                continue;
            }
            for i in 0..4 {
                *fresh.add(count + i) = *fresh.add(count - 1); // fill up the last batch of four
            }
            if guessed != Some(node) {
                (0..count).for_each(|i| ask::<K, S>(&scorer, *fresh.add(i)));
            }
            if S::SKETCHED {
                // Only those that may be near enough by their sketches are measured.
                let worst = distance_of(*beam.add(ef - 1));
                for i in (0..count).step_by(4) {
                    let four = [0, 1, 2, 3].map(|j| *fresh.add(i + j));
                    distances.add(i).cast::<[i32; 4]>().write(scorer.least4::<K>(four));
                }
                let mut kept = 0;
                for i in (0..count).step_by(16) {
                    let mut near = K::at_most(distances.add(i), worst);
                    near &= ((1u64 << (count - i).min(16)) - 1) as u32;
                    while near != 0 {
                        let node = *fresh.add(i + near.trailing_zeros() as usize);
                        near &= near - 1;
                        scorer.prefetch::<K>(node);
                        *fresh.add(kept) = node;
                        kept += 1;
                    }
                }
                count = kept;
            }
            for i in 0..4 {
                *fresh.add(count + i) = *fresh.add(count.saturating_sub(1)); // fill up the last batch of four
            }

            // Speculate: unless this step finds something nearer, the next node is `current`, so ask for its links'
            // codes now (for those seen already, ask for one we need anyway), and for the links of the one after it.
            guessed = None;
            if current < len {
                let next = node_of(*beam.add(current));
                if A::ALL {
                    guessed = Some(next);
                    let row = links.row(next);
                    for slot in 0..slots {
                        let link = link(row, slot);
                        if S::SKETCHED {
                            // Those of nodes seen already are at hand, mostly: asking again costs less than looking.
                            scorer.prefetch_sketch::<K>(link);
                        } else {
                            scorer.prefetch::<K>(if is_visited(link) { *fresh } else { link });
                        }
                    }
                }
                let after = next_open(current + 1, len);
                if after < len {
                    prefetch_links(node_of(*beam.add(after)));
                }
            }

            for i in (0..count).step_by(4) {
                let four = [0, 1, 2, 3].map(|j| *fresh.add(i + j));
                distances.add(i).cast::<[i32; 4]>().write(scorer.distance4::<K>(four));
            }

            // Keep what beats the worst of the beam. Most do not, and leave in groups of 16.
            for i in (0..count).step_by(16) {
                let mut worst = *beam.add(ef - 1);
                let mut better = K::at_most(distances.add(i), distance_of(worst));
                better &= ((1u64 << (count - i).min(16)) - 1) as u32;
                while better != 0 {
                    let at = i + better.trailing_zeros() as usize;
                    better &= better - 1;
                    let node = *fresh.add(at);
                    let key = key(*distances.add(at), node);
                    if key < worst {
                        let position = K::insert(beam, &mut len, ef, key);
                        worst = *beam.add(ef - 1);
                        if position <= current {
                            current = position;
                            prefetch_links(node);
                        }
                    }
                }
            }
        }
        len
    }
}
