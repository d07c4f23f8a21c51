//! The nearest of a set of nodes by looking at them all: what to do when few are accepted.
//!
//! Nodes are looked at in order, some at a time, and asked for well before. Where they have sketches, those that may be near
//! enough by them wait until their codes have come: memory has the time in which the next ones' sketches are looked at.

use shoal_vector::simd::{Kernel, Task};

use super::beam::{distance_of, key};
use super::scorer::Scorer;
use super::walk::{Bits, Scratch, Set, ask};

/// Nodes looked at together: as many as kernels compare with the worst of the beam at once.
const TOGETHER: usize = 16;

/// Nodes asked for ahead of use: enough to hide memory, few enough to leave its queues room.
const AHEAD: usize = 16;

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
        let Scratch { beam, fresh, distances, .. } = scratch;
        beam.clear(ef);
        // Those that wait: less than a batch, and what the next one adds.
        fresh.clear();
        fresh.resize(2 * TOGETHER, 0);
        distances.clear();
        distances.resize(TOGETHER, 0);
        let (beam, fresh, distances) =
            (beam.as_mut_ptr(), fresh.as_mut_ptr(), distances.as_mut_ptr());
        // Loops, not iterators: their closures would not always be compiled for this kernel.
        let (mut nodes, mut ahead) = (Bits::new(set), Bits::new(set));
        for _ in 0..AHEAD {
            if let Some(node) = ahead.next() {
                ask::<K, S>(&scorer, node);
            }
        }
        let (mut len, mut waiting) = (0, 0);
        loop {
            let mut batch = [0; TOGETHER];
            let mut count = 0;
            while count < TOGETHER
                && let Some(node) = nodes.next()
            {
                batch[count] = node;
                count += 1;
            }
            for _ in 0..count {
                if let Some(node) = ahead.next() {
                    ask::<K, S>(&scorer, node);
                }
            }
            // SAFETY: the set has bits for nodes of the graph alone, and 0 is one where it has any; fewer than `TOGETHER`
            // wait before a batch, so there is room for it; the beam has room for `ef` and more.
            unsafe {
                let mut near = ((1u64 << count) - 1) as u32;
                if S::SKETCHED && count > 0 {
                    for i in (0..TOGETHER).step_by(4) {
                        let four = [0, 1, 2, 3].map(|j| batch[i + j]);
                        distances.add(i).cast::<[i32; 4]>().write(scorer.least4::<K>(four));
                    }
                    near &= K::at_most(distances, distance_of(*beam.add(ef - 1)));
                }
                while near != 0 {
                    let node = batch[near.trailing_zeros() as usize];
                    near &= near - 1;
                    if S::SKETCHED {
                        scorer.prefetch::<K>(node);
                    }
                    *fresh.add(waiting) = node;
                    waiting += 1;
                }
                while waiting >= TOGETHER || (count == 0 && waiting > 0) {
                    let some = waiting.min(TOGETHER);
                    measure::<K, S>(&scorer, (fresh, some), distances, (beam, &mut len, ef));
                    waiting -= some;
                    for i in 0..waiting {
                        *fresh.add(i) = *fresh.add(some + i);
                    }
                }
            }
            if count == 0 {
                return len;
            }
        }
    }
}

/// Measures some nodes, at most [`TOGETHER`], and keeps those that beat the worst of the beam.
///
/// # Safety
/// The nodes must be in the graph, at least one of them; `distances` must have room for [`TOGETHER`], the beam for `ef` keys and what
/// kernels touch beyond; the processor must have what `K` uses.
#[inline(always)]
unsafe fn measure<K: Kernel, S: Scorer>(
    scorer: &S,
    (nodes, count): (*mut u32, usize),
    distances: *mut i32,
    (beam, len, ef): (*mut u64, &mut usize, usize),
) {
    // SAFETY: by the contract.
    unsafe {
        let mut four = [0; 4];
        for i in (0..count).step_by(4) {
            for (j, node) in four.iter_mut().enumerate() {
                *node = *nodes.add((i + j).min(count - 1));
            }
            distances.add(i).cast::<[i32; 4]>().write(scorer.distance4::<K>(four));
        }
        let mut better = K::at_most(distances, distance_of(*beam.add(ef - 1)));
        better &= ((1u64 << count) - 1) as u32;
        while better != 0 {
            let at = better.trailing_zeros() as usize;
            better &= better - 1;
            let key = key(*distances.add(at), *nodes.add(at));
            if key < *beam.add(ef - 1) {
                K::insert(beam, len, ef, key);
            }
        }
    }
}
