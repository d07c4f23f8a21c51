//! NEON: 64-bit ARM.

use std::arch::aarch64::*;
use std::arch::asm;

use half::f16;

use super::hadamard::{Floats, hadamard};
use super::{Element, FLOAT_LANES, Kernel, Pairs, Portable};

/// The kernel of ARM servers and Apple's laptops.
pub(super) struct Neon;

/// Four floats.
#[derive(Clone, Copy)]
struct Four(float32x4_t);

impl Floats for Four {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the trait's contract, here and below.
        unsafe { Self(vld1q_f32(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see `load`.
        unsafe { vst1q_f32(to, self.0) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(vdupq_n_f32(value)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(vaddq_f32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(vsubq_f32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(vmulq_f32(self.0, other.0)) }
    }

    /// Each becomes its partner plus or minus itself. A product with 1 or -1 is exact, so that fusing it rounds no less.
    #[inline(always)]
    unsafe fn within(self) -> Self {
        // SAFETY: see `load`; the signs are four floats.
        unsafe {
            let x = self.0;
            let x = vfmaq_f32(vrev64q_f32(x), x, vld1q_f32([1.0, -1.0, 1.0, -1.0].as_ptr()));
            let signs = vld1q_f32([1.0, 1.0, -1.0, -1.0].as_ptr());
            Self(vfmaq_f32(vextq_f32::<2>(x, x), x, signs))
        }
    }
}

/// 4 elements as floats. The instruction is older than what Rust has of f16.
///
/// # Safety
/// There must be as many.
#[inline(always)]
unsafe fn floats<E: Element>(from: *const E) -> float32x4_t {
    // SAFETY: one load of 4 elements, of the type that the constant tells; every aarch64 processor widens halves.
    unsafe {
        if !E::HALF {
            return vld1q_f32(from.cast());
        }
        let (halves, floats): (uint16x4_t, float32x4_t);
        halves = vld1_u16(from.cast());
        asm!(
            "fcvtl {floats:v}.4s, {halves:v}.4h",
            floats = lateout(vreg) floats,
            halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags),
        );
        floats
    }
}

impl Kernel for Neon {
    #[inline(always)]
    unsafe fn dot4_nibbles(codes: [*const u8; 4], query: *const i8, bytes: usize) -> [i32; 4] {
        // SAFETY: all loads lie within what the contract promises.
        unsafe {
            let nibble = vdupq_n_u8(15);
            let mut sums = [vdupq_n_s32(0); 4];
            for at in (0..bytes).step_by(16) {
                let q_low = vld1q_s8(query.add(at));
                let q_high = vld1q_s8(query.add(bytes + at));
                for (sum, code) in sums.iter_mut().zip(codes) {
                    let pair = vld1q_u8(code.add(at));
                    let low = vreinterpretq_s8_u8(vandq_u8(pair, nibble));
                    let high = vreinterpretq_s8_u8(vshrq_n_u8(pair, 4));
                    // At most 4 x 15 x 127: nothing overflows 16 bits.
                    let mut products = vmull_s8(vget_low_s8(low), vget_low_s8(q_low));
                    products = vmlal_high_s8(products, low, q_low);
                    products = vmlal_s8(products, vget_low_s8(high), vget_low_s8(q_high));
                    products = vmlal_high_s8(products, high, q_high);
                    *sum = vpadalq_s16(*sum, products);
                }
            }
            sums.map(|sum| vaddvq_s32(sum))
        }
    }

    #[inline(always)]
    unsafe fn dot4_bytes(rows: [*const u8; 4], query: *const i8, bytes: usize) -> [i32; 4] {
        // SAFETY: as above.
        unsafe {
            let mut sums = [vdupq_n_s32(0); 4];
            for at in (0..bytes).step_by(16) {
                let q = vld1q_s8(query.add(at));
                let (q_low, q_high) = (vmovl_s8(vget_low_s8(q)), vmovl_high_s8(q));
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let x = vld1q_u8(row.add(at));
                    let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x)));
                    let high = vreinterpretq_s16_u16(vmovl_high_u8(x));
                    *sum = vmlal_s16(*sum, vget_low_s16(low), vget_low_s16(q_low));
                    *sum = vmlal_high_s16(*sum, low, q_low);
                    *sum = vmlal_s16(*sum, vget_low_s16(high), vget_low_s16(q_high));
                    *sum = vmlal_high_s16(*sum, high, q_high);
                }
            }
            sums.map(|sum| vaddvq_s32(sum))
        }
    }

    #[inline(always)]
    unsafe fn dot_i8(a: *const i8, b: *const i8, _sum_b: i32, bytes: usize) -> i32 {
        // SAFETY: loads of 16 bytes within `bytes`.
        unsafe {
            let mut sum = vdupq_n_s32(0);
            for at in (0..bytes).step_by(16) {
                let (a, b) = (vld1q_s8(a.add(at)), vld1q_s8(b.add(at)));
                // Two products of at most 127 x 127 fit 16 bits, four do not.
                sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
                sum = vpadalq_s16(sum, vmull_high_s8(a, b));
            }
            vaddvq_s32(sum)
        }
    }

    #[inline(always)]
    unsafe fn ones(word: u64, first: u32, numbers: *mut u32) -> usize {
        // SAFETY: by the same contract.
        unsafe { Portable::ones(word, first, numbers) }
    }

    #[inline(always)]
    unsafe fn sum4_set(rows: [*const u8; 4], planes: *const u8, bytes: usize) -> [i32; 4] {
        // SAFETY: by the same contract.
        unsafe { Portable::sum4_set(rows, planes, bytes) }
    }

    #[inline(always)]
    unsafe fn sum_pairs<E: Element>(pairs: Pairs, a: *const f32, b: *const E, len: usize) -> f32 {
        // SAFETY: loads of 4 elements within `len`.
        unsafe {
            let mut sums = [vdupq_n_f32(0.0); 8];
            for at in (0..len).step_by(FLOAT_LANES) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let (a, b) = (vld1q_f32(a.add(at + 4 * i)), floats(b.add(at + 4 * i)));
                    let term = match pairs {
                        Pairs::Products => vmulq_f32(a, b),
                        Pairs::Squares => {
                            let difference = vsubq_f32(a, b);
                            vmulq_f32(difference, difference)
                        }
                        Pairs::Differences => vabdq_f32(a, b),
                    };
                    *sum = vaddq_f32(*sum, term);
                }
            }
            let mut width = sums.len() / 2;
            while width > 0 {
                for i in 0..width {
                    sums[i] = vaddq_f32(sums[i], sums[i + width]);
                }
                width /= 2;
            }
            let two = vadd_f32(vget_low_f32(sums[0]), vget_high_f32(sums[0]));
            vget_lane_f32(two, 0) + vget_lane_f32(two, 1)
        }
    }

    #[inline(always)]
    unsafe fn hadamard(x: *mut f32, len: usize, scale: f32) {
        // SAFETY: by the same contract.
        unsafe { hadamard::<Four, 16>(x, len, scale) }
    }

    #[inline(always)]
    unsafe fn quantise(values: *const f32, len: usize, scale: f32, out: *mut i8) -> (i32, i32) {
        // SAFETY: loads and stores of 16 elements within `len`.
        unsafe {
            let (mut sum, mut squares) = (vdupq_n_s32(0), vdupq_n_s32(0));
            for at in (0..len).step_by(16) {
                let mut levels = [vdupq_n_s32(0); 4];
                for (i, level) in levels.iter_mut().enumerate() {
                    let x = vmulq_n_f32(vld1q_f32(values.add(at + 4 * i)), scale);
                    // To the nearest, ties to even; saturates, and makes nothing of NaN.
                    let x = vcvtnq_s32_f32(x);
                    *level = vminq_s32(vmaxq_s32(x, vdupq_n_s32(-127)), vdupq_n_s32(127));
                }
                let [a, b, c, d] = levels;
                let ab = vcombine_s16(vmovn_s32(a), vmovn_s32(b));
                let cd = vcombine_s16(vmovn_s32(c), vmovn_s32(d));
                let bytes = vcombine_s8(vmovn_s16(ab), vmovn_s16(cd));
                vst1q_s8(out.add(at), bytes);
                sum = vpadalq_s16(sum, vaddq_s16(ab, cd));
                squares = vpadalq_s16(squares, vmull_s8(vget_low_s8(bytes), vget_low_s8(bytes)));
                squares = vpadalq_s16(squares, vmull_high_s8(bytes, bytes));
            }
            (vaddvq_s32(sum), vaddvq_s32(squares))
        }
    }

    #[inline(always)]
    unsafe fn planes(elements: *const i8, len: usize, planes: *mut u8, stride: usize) -> i32 {
        // SAFETY: by the same contract.
        unsafe { Portable::planes(elements, len, planes, stride) }
    }

    #[inline(always)]
    unsafe fn widen(halves: &[f16; FLOAT_LANES]) -> [f32; FLOAT_LANES] {
        let mut out = [0.0; FLOAT_LANES];
        for at in (0..FLOAT_LANES).step_by(4) {
            // SAFETY: 4 elements of each.
            unsafe { vst1q_f32(out.as_mut_ptr().add(at), floats(halves.as_ptr().add(at))) };
        }
        out
    }

    #[inline(always)]
    unsafe fn at_most(distances: *const i32, limit: i32) -> u32 {
        // SAFETY: four loads of 4 elements.
        unsafe {
            let (limit, bits) = (vdupq_n_s32(limit), vld1q_u32([1, 2, 4, 8].as_ptr()));
            let mask = |at: usize| {
                let fits = vcleq_s32(vld1q_s32(distances.add(at)), limit);
                vaddvq_u32(vandq_u32(fits, bits)) << at
            };
            mask(0) | mask(4) | mask(8) | mask(12)
        }
    }

    #[inline(always)]
    unsafe fn insert(beam: *mut u64, len: &mut usize, ef: usize, key: u64) -> usize {
        // SAFETY: by the same contract.
        unsafe { Portable::insert(beam, len, ef, key) }
    }

    #[inline(always)]
    fn prefetch(address: *const u8) {
        Portable::prefetch(address);
    }
}
