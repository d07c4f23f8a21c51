//! NEON: 64-bit ARM.

use std::arch::aarch64::*;
use std::arch::asm;

use half::f16;

use super::{Element, FLOAT_LANES, Kernel, Pairs, Portable};

/// The kernel of ARM servers and Apple's laptops.
pub(super) struct Neon;

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
