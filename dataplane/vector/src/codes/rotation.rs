//! A random rotation that costs O(d log d) instead of a d x d matrix.

use crate::simd::{Kernel, LEAST_TRANSFORM};

/// Coordinates are padded with zeros to a multiple of this: 64 bytes of 4-bit codes.
const STEP: usize = 128;

const _: () = assert!(STEP >= LEAST_TRANSFORM);

/// Flips signs at random and Hadamard-transforms the first and then the last 2^k coordinates, which overlap; all that
/// twice over (Ailon and Chazelle, the fast Johnson-Lindenstrauss transform, 2009). Keeps lengths. The same for all
/// vectors of one size, on every machine, for ever: codes on disk depend on it.
#[derive(Clone, Debug)]
pub struct Rotation {
    padded: usize,
    signs: [Vec<f32>; 2],
}

impl Rotation {
    /// The rotation of vectors of `dimensions` elements.
    pub fn new(dimensions: usize) -> Self {
        let padded = Self::padded_to(dimensions);
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut sign = || {
            // xorshift64 (Marsaglia, 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            [1.0, -1.0][(state >> 63) as usize]
        };
        let signs = [(); 2].map(|()| (0..padded).map(|_| sign()).collect());
        Self { padded, signs }
    }

    /// Length of a rotated vector of `dimensions` elements, a multiple of 128.
    pub fn padded_to(dimensions: usize) -> usize {
        dimensions.max(1).next_multiple_of(STEP)
    }

    /// Length of a rotated vector.
    pub fn padded(&self) -> usize {
        self.padded
    }

    /// Rotates `vector` into `out`, which is [`padded`](Self::padded) long. To be called in a task.
    #[inline(always)]
    pub fn apply<K: Kernel>(&self, vector: &[f32], out: &mut [f32]) {
        assert!(vector.len() <= self.padded && out.len() == self.padded);
        let [first, second] = &self.signs;
        for (out, (x, sign)) in out.iter_mut().zip(vector.iter().zip(first)) {
            *out = x * sign;
        }
        out[vector.len()..].fill(0.0);
        self.mix::<K>(out);
        for (x, sign) in out.iter_mut().zip(second) {
            *x *= sign;
        }
        self.mix::<K>(out);
    }

    /// Transforms the first and then the last 2^k coordinates.
    #[inline(always)]
    fn mix<K: Kernel>(&self, out: &mut [f32]) {
        let block = 1 << self.padded.ilog2();
        let scale = 1.0 / (block as f32).sqrt();
        // SAFETY: there are at least that many coordinates, a power of two; a task runs where its kernel can.
        unsafe {
            K::hadamard(out.as_mut_ptr(), block, scale);
            if block < self.padded {
                K::hadamard(out[self.padded - block..].as_mut_ptr(), block, scale);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::{Isa, Task};

    struct Rotate<'a>(&'a Rotation, &'a [f32], &'a mut [f32]);

    impl Task for Rotate<'_> {
        type Output = ();

        #[inline(always)]
        unsafe fn run<K: Kernel>(self) {
            self.0.apply::<K>(self.1, self.2);
        }
    }

    fn rotated(vector: &[f32]) -> Vec<f32> {
        let rotation = Rotation::new(vector.len());
        let mut out = vec![0.0; rotation.padded()];
        Isa::detect().run(Rotate(&rotation, vector, &mut out));
        out
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }

    proptest! {
        #[test]
        fn inner_products_stay(
            (a, b) in (1usize..900).prop_flat_map(|n| {
                (prop::collection::vec(-1.0f32..1.0, n), prop::collection::vec(-1.0f32..1.0, n))
            })
        ) {
            prop_assert!((dot(&rotated(&a), &rotated(&b)) - dot(&a, &b)).abs() < 1e-2);
        }
    }

    #[test]
    fn a_single_coordinate_is_spread_over_all() {
        for dimensions in [128, 384, 768, 1000] {
            let mut vector = vec![0.0; dimensions];
            vector[dimensions / 3] = 1.0;
            let greatest = rotated(&vector).iter().fold(0f32, |greatest, x| greatest.max(x.abs()));
            assert!(greatest < 0.5, "{dimensions}: {greatest}");
        }
    }

    /// Codes are on disks: were this to change, every segment's graph would be walked towards the wrong place.
    #[test]
    fn the_rotation_never_changes() {
        let vector: Vec<f32> = (0..200).map(|i| (i as f32 * 0.7).sin()).collect();
        let seen: Vec<i32> =
            rotated(&vector)[..6].iter().map(|x| (x * 1000.0).round() as i32).collect();
        assert_eq!(seen, [771, 79, -556, -2, -122, -362]);
    }
}
