//! What vectors are stored as, to kernels.

use half::f16;

use super::{FLOAT_LANES, Kernel, Pairs};

/// A number of a stored vector: f32, or f16, which every kernel makes f32 of as it loads it. That changes no value, so sums over
/// halves are those over the same numbers as floats, bit for bit.
pub trait Element: bytemuck::Pod + sealed::Sealed {
    /// Whether it is f16; else it is f32.
    const HALF: bool;

    /// The value.
    fn to_float(self) -> f32;

    /// Sum over pairs that fill no [`FLOAT_LANES`], one after the other.
    ///
    /// # Safety
    /// The processor must have what `K` uses.
    unsafe fn sum_rest<K: Kernel>(pairs: Pairs, a: &[f32], b: &[Self]) -> f32;
}

mod sealed {
    /// Kernels know these two alone.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
}

impl Element for f32 {
    const HALF: bool = false;

    #[inline(always)]
    fn to_float(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn sum_rest<K: Kernel>(pairs: Pairs, a: &[f32], b: &[f32]) -> f32 {
        let mut sum = 0.0;
        for at in 0..a.len().min(b.len()) {
            sum += pairs.term(a[at], b[at]);
        }
        sum
    }
}

impl Element for f16 {
    const HALF: bool = true;

    #[inline(always)]
    fn to_float(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    unsafe fn sum_rest<K: Kernel>(pairs: Pairs, a: &[f32], b: &[f16]) -> f32 {
        // Together, as the kernel does it: one by one they would be looked up in what the processor has.
        let mut halves = [f16::ZERO; FLOAT_LANES];
        let len = a.len().min(b.len()).min(FLOAT_LANES);
        halves[..len].copy_from_slice(&b[..len]);
        // SAFETY: the processor is the caller's word.
        let floats = unsafe { K::widen(&halves) };
        let mut sum = 0.0;
        for at in 0..len {
            sum += pairs.term(a[at], floats[at]);
        }
        sum
    }
}
