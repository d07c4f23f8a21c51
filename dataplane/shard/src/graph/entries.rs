//! Where a walk begins, if nothing says so.

use shoal_vector::simd::Kernel;

use super::beam::{key, node_of};
use super::scorer::Scorer;

/// A walk starts from the nearest of this many nodes. Graph order is random, so the first ones are a sample; scanning
/// them costs less than descending upper layers would, and starts as near. Fewer are quicker on data of one
/// piece, but of many clusters some would have none of them, and a walk finds nothing of a cluster that it does not begin near.
pub(super) const ENTRY_SCAN: usize = 200;

/// Nodes by whose codes the nearest of the first `count` is found: the nearest, by their sketches, of as many parts of them.
const ENTRY_PARTS: usize = 16;

/// The key of the nearest of the first `count` nodes, as far as sketches tell which are worth a look at their codes. Without a
/// branch, since where the near ones are differs from query to query.
///
/// # Safety
/// The processor must have what `K` uses; the graph must have the nodes, at least one.
#[inline(always)]
pub(super) unsafe fn nearest_entry<K: Kernel, S: Scorer>(scorer: &S, count: usize) -> u64 {
    let last = count as u32 - 1;
    let mut parts = [u64::MAX; ENTRY_PARTS];
    for first in (0..count as u32).step_by(ENTRY_PARTS) {
        let mut least = [0; ENTRY_PARTS];
        for at in (0..ENTRY_PARTS).step_by(4) {
            let four = [0, 1, 2, 3].map(|i| (first + at as u32 + i).min(last));
            // SAFETY: by the contract.
            least[at..at + 4].copy_from_slice(&unsafe { scorer.least4::<K>(four) });
        }
        for part in 0..ENTRY_PARTS {
            let key = key(least[part], (first + part as u32).min(last));
            parts[part] = if key < parts[part] { key } else { parts[part] };
        }
    }
    for part in parts {
        scorer.prefetch::<K>(node_of(part));
    }
    let mut best = u64::MAX;
    for at in (0..ENTRY_PARTS).step_by(4) {
        let four = [0, 1, 2, 3].map(|i| node_of(parts[at + i]));
        // SAFETY: as above.
        let distances = unsafe { scorer.distance4::<K>(four) };
        for i in 0..4 {
            best = best.min(key(distances[i], four[i]));
        }
    }
    best
}
