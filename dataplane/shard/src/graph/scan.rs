//! The nearest of a set of nodes by looking at them all: what to do when few are accepted.
//!
//! Nodes are looked at in order, sixteen at a time, and asked for well before. Where they have sketches, those that may be
//! near enough by them wait until their codes have come: memory has the time in which the next ones' sketches are looked at.

use shoal_vector::simd::{Kernel, ONES_ROOM, Task};

use super::beam::{distance_of, key};
use super::scorer::Scorer;
use super::walk::{Scratch, Set, ask};

/// Nodes looked at together: as many as kernels compare with the worst of the beam at once.
const TOGETHER: usize = 16;

/// Nodes asked for ahead of use: enough to hide memory, few enough to leave its queues room.
const AHEAD: usize = 32;

/// Nodes taken out of the set at a time.
const QUEUE: usize = 256;

/// Fills the scratch's beam with the `ef` nearest of the set; gives how many there are.
pub(super) struct Scan<'a, S> {
    pub(super) scorer: S,
    pub(super) set: Set<'a>,
    pub(super) ef: usize,
    pub(super) scratch: &'a mut Scratch,
}

impl<S: Scorer> Task for Scan<'_, S> {
    type Output = usize;

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> usize {
        let Self { scorer, set, ef, scratch } = self;
        scratch.beam.clear(ef);
        let mut kept = Kept { beam: scratch.beam.as_mut_ptr(), len: 0, ef };
        let mut waiting = Waiting { nodes: [0; 2 * TOGETHER], count: 0 };
        let Set(words) = set;
        let mut queue = [0u32; QUEUE + ONES_ROOM];
        // Of the queue: where what is to be looked at starts, what was asked for ends, and all ends. And words taken.
        let (mut start, mut asked, mut end, mut taken) = (0, 0, 0, 0);
        loop {
            queue.copy_within(start..end, 0);
            (asked, end, start) = (asked - start, end - start, 0);
            while end < QUEUE && taken < words.len() {
                // SAFETY: there is room for the bits of one more word; the processor is the caller's word.
                end += unsafe {
                    K::ones(words[taken], (taken * 64) as u32, queue.as_mut_ptr().add(end))
                };
                taken += 1;
            }
            let is_last = taken == words.len();
            while end - start >= AHEAD + TOGETHER || (is_last && start < end) {
                let ahead = end.min(start + AHEAD + TOGETHER);
                while asked < ahead {
                    ask::<K, S>(&scorer, queue[asked]);
                    asked += 1;
                }
                let count = (end - start).min(TOGETHER);
                // SAFETY: the set has bits for nodes of the graph alone, and so has the queue, if behind its end older ones;
                // there is room as `Kept` asks for; the processor is the caller's word.
                unsafe {
                    let batch = &*queue.as_ptr().add(start).cast::<[u32; TOGETHER]>();
                    let mut near = ((1u64 << count) - 1) as u32;
                    if S::SKETCHED {
                        let mut least = [0; TOGETHER];
                        scorer.least16::<K>(batch, &mut least);
                        near &= K::at_most(least.as_ptr(), kept.worst());
                    }
                    while near != 0 {
                        let node = batch[near.trailing_zeros() as usize];
                        near &= near - 1;
                        if S::SKETCHED {
                            scorer.prefetch::<K>(node);
                        }
                        waiting.nodes[waiting.count] = node;
                        waiting.count += 1;
                    }
                    if waiting.count >= TOGETHER {
                        let ready = waiting.take(TOGETHER);
                        kept.measure::<K, S>(&scorer, &ready, TOGETHER);
                    }
                }
                start += count;
            }
            if is_last {
                let count = waiting.count;
                // SAFETY: as above.
                unsafe { kept.measure::<K, S>(&scorer, &waiting.take(count), count) };
                return kept.len;
            }
        }
    }
}

/// Nodes whose codes were asked for: fewer than a batch of them, and what the next batch adds.
struct Waiting {
    nodes: [u32; 2 * TOGETHER],
    count: usize,
}

impl Waiting {
    /// Takes those that waited longest: `count` of them, a batch or all. What follows them in the batch are older ones.
    #[inline(always)]
    fn take(&mut self, count: usize) -> [u32; TOGETHER] {
        let mut taken = [0; TOGETHER];
        taken.copy_from_slice(&self.nodes[..TOGETHER]);
        self.nodes.copy_within(TOGETHER.., 0);
        self.count -= count;
        taken
    }
}

/// The nearest so far.
struct Kept {
    /// Room for `ef` keys and what kernels touch beyond them.
    beam: *mut u64,
    len: usize,
    ef: usize,
}

impl Kept {
    /// What a node must be nearer than.
    ///
    /// # Safety
    /// See the fields.
    #[inline(always)]
    unsafe fn worst(&self) -> i32 {
        // SAFETY: by the contract.
        distance_of(unsafe { *self.beam.add(self.ef - 1) })
    }

    /// Measures the first `count` of some nodes, and keeps what beats the worst.
    ///
    /// # Safety
    /// See the fields; all of the nodes must be in the graph, and the processor must have what `K` uses.
    #[inline(always)]
    unsafe fn measure<K: Kernel, S: Scorer>(
        &mut self,
        scorer: &S,
        nodes: &[u32; TOGETHER],
        count: usize,
    ) {
        let mut distances = [0; TOGETHER];
        // SAFETY: by the contract.
        unsafe {
            for i in (0..count).step_by(4) {
                let four = [nodes[i], nodes[i + 1], nodes[i + 2], nodes[i + 3]];
                distances[i..i + 4].copy_from_slice(&scorer.distance4::<K>(four));
            }
            let mut better = K::at_most(distances.as_ptr(), self.worst());
            better &= ((1u64 << count) - 1) as u32;
            while better != 0 {
                let at = better.trailing_zeros() as usize;
                better &= better - 1;
                let key = key(distances[at], nodes[at]);
                if key < *self.beam.add(self.ef - 1) {
                    K::insert(self.beam, &mut self.len, self.ef, key);
                }
            }
        }
    }
}
