//! The beam: the best candidates that a walk has met, in order.
//!
//! A key is a distance, a node and whether it was expanded, packed in 64 bits, so that comparing two candidates is
//! comparing two integers.

use shoal_vector::simd::{BEAM_LANES, Line};

/// Set in the key of a node whose links were followed.
pub(super) const EXPANDED: u64 = 1;

#[inline(always)]
pub(super) fn key(distance: i32, node: u32) -> u64 {
    u64::from(distance as u32 ^ 0x8000_0000) << 32 | u64::from(node) << 1
}

#[inline(always)]
pub(super) fn node_of(key: u64) -> u32 {
    key as u32 >> 1
}

#[inline(always)]
pub(super) fn distance_of(key: u64) -> i32 {
    ((key >> 32) as u32 ^ 0x8000_0000) as i32
}

/// Integers in the order of floats; NaN lies beyond infinity of its sign.
#[inline(always)]
pub(super) fn ordered(distance: f32) -> i32 {
    let bits = distance.to_bits() as i32;
    bits ^ ((bits >> 31) & 0x7fff_ffff)
}

/// The float that [`ordered`] made an integer of.
#[inline(always)]
pub(super) fn unordered(distance: i32) -> f32 {
    f32::from_bits((distance ^ ((distance >> 31) & 0x7fff_ffff)) as u32)
}

/// Room for the keys of a beam.
#[derive(Default)]
pub(super) struct Beam {
    lines: Vec<Line>,
}

impl Beam {
    /// Empties it and makes room for `ef` keys and what kernels touch beyond them.
    pub(super) fn clear(&mut self, ef: usize) {
        self.lines.clear();
        self.lines.resize(ef / BEAM_LANES + 2, Line([0xff; 64]));
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u64 {
        self.lines.as_mut_ptr().cast()
    }

    /// The first `len` keys; at most as many as there is room for.
    pub(super) fn keys(&self, len: usize) -> &[u64] {
        // SAFETY: a line is eight u64 in size and more than aligned enough; any bits are valid.
        let all = unsafe {
            std::slice::from_raw_parts(self.lines.as_ptr().cast::<u64>(), self.lines.len() * 8)
        };
        &all[..len.min(all.len())]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_ordered_by_distance_and_read_back(a in any::<i32>(), b in any::<i32>(), node in 0u32..1 << 31) {
            prop_assert_eq!(key(a, node).cmp(&key(b, node)), a.cmp(&b));
            prop_assert_eq!((distance_of(key(a, node)), node_of(key(a, node))), (a, node));
            prop_assert_eq!(node_of(key(a, node) | EXPANDED), node);
        }

        #[test]
        fn ordered_integers_compare_as_their_floats(a in any::<f32>(), b in any::<f32>()) {
            prop_assert_eq!(ordered(a).cmp(&ordered(b)), a.total_cmp(&b));
            prop_assert_eq!(unordered(ordered(a)).to_bits(), a.to_bits());
        }
    }
}
