//! AVX-512 with VNNI.

use std::arch::x86_64::*;

use half::f16;

use super::avx2::sum_halves;
use super::{Element, FLOAT_LANES, Kernel, Pairs, Portable};

/// The kernel of x86 servers since 2019; those since 2021 can count bits too.
pub(super) struct Avx512<const COUNTS: bool>;

/// Four horizontal sums for little more than the price of one: transpose while adding.
///
/// # Safety
/// The processor must have AVX-512.
#[inline(always)]
unsafe fn sum4([a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
    // SAFETY: by the contract above; the store goes to an array of its size.
    unsafe {
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        let abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let (low, high) = (_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
        let half = _mm256_add_epi32(low, high);
        let sums = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
        let mut out = [0; 4];
        _mm_storeu_si128(out.as_mut_ptr().cast(), sums);
        out
    }
}

/// Four horizontal sums of lanes of 64 bits, of which the low 32 bits are what counts.
///
/// # Safety
/// The processor must have AVX-512.
#[inline(always)]
unsafe fn sum4_wide([a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
    // SAFETY: by the contract above; the store goes to an array of its size.
    unsafe {
        let ab = _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        let cd = _mm512_add_epi64(_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
        // The low halves of the lanes, a b c d in each quarter.
        let abcd = _mm512_castps_si512(_mm512_shuffle_ps::<0b10_00_10_00>(
            _mm512_castsi512_ps(ab),
            _mm512_castsi512_ps(cd),
        ));
        let (low, high) = (_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
        let half = _mm256_add_epi32(low, high);
        let sums = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
        let mut out = [0; 4];
        _mm_storeu_si128(out.as_mut_ptr().cast(), sums);
        out
    }
}

/// 16 elements as floats.
///
/// # Safety
/// The processor must have AVX-512, and there must be as many.
#[inline(always)]
unsafe fn floats<E: Element>(from: *const E) -> __m512 {
    // SAFETY: one load of 16 elements, of the type that the constant tells.
    unsafe {
        match E::HALF {
            true => _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())),
            false => _mm512_loadu_ps(from.cast()),
        }
    }
}

impl<const COUNTS: bool> Kernel for Avx512<COUNTS> {
    #[inline(always)]
    unsafe fn dot4_nibbles(codes: [*const u8; 4], query: *const i8, bytes: usize) -> [i32; 4] {
        // SAFETY: all loads lie within what the contract promises, aligned as it says.
        unsafe {
            let nibble = _mm512_set1_epi8(15);
            let mut sums = [_mm512_setzero_si512(); 4];
            for at in (0..bytes).step_by(64) {
                let q_low = _mm512_load_si512(query.add(at).cast());
                let q_high = _mm512_load_si512(query.add(bytes + at).cast());
                for (sum, code) in sums.iter_mut().zip(codes) {
                    let pair = _mm512_load_si512(code.add(at).cast());
                    let low = _mm512_and_si512(pair, nibble);
                    let high = _mm512_and_si512(_mm512_srli_epi16(pair, 4), nibble);
                    *sum = _mm512_dpbusd_epi32(*sum, low, q_low);
                    *sum = _mm512_dpbusd_epi32(*sum, high, q_high);
                }
            }
            sum4(sums)
        }
    }

    #[inline(always)]
    unsafe fn dot4_bytes(rows: [*const u8; 4], query: *const i8, bytes: usize) -> [i32; 4] {
        // SAFETY: as above.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); 4];
            for at in (0..bytes).step_by(64) {
                let q = _mm512_load_si512(query.add(at).cast());
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_load_si512(row.add(at).cast()), q);
                }
            }
            sum4(sums)
        }
    }

    #[inline(always)]
    unsafe fn sum4_set(rows: [*const u8; 4], planes: *const u8, bytes: usize) -> [i32; 4] {
        if !COUNTS {
            // SAFETY: by the same contract.
            return unsafe { Portable::sum4_set(rows, planes, bytes) };
        }
        // SAFETY: all loads lie within what the contract promises, aligned as it says.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); 4];
            for at in (0..bytes).step_by(64) {
                let one = _mm512_load_si512(planes.add(at).cast());
                let two = _mm512_load_si512(planes.add(bytes + at).cast());
                let four = _mm512_load_si512(planes.add(2 * bytes + at).cast());
                let minus_eight = _mm512_load_si512(planes.add(3 * bytes + at).cast());
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let row = _mm512_load_si512(row.add(at).cast());
                    let ones = _mm512_popcnt_epi64(_mm512_and_si512(row, one));
                    let twos = _mm512_popcnt_epi64(_mm512_and_si512(row, two));
                    let fours = _mm512_popcnt_epi64(_mm512_and_si512(row, four));
                    let eights = _mm512_popcnt_epi64(_mm512_and_si512(row, minus_eight));
                    // ones + 2 * (twos + 2 * (fours - 2 * eights)), in lanes of 64 bits.
                    let fours = _mm512_sub_epi64(fours, _mm512_slli_epi64(eights, 1));
                    let twos = _mm512_add_epi64(twos, _mm512_slli_epi64(fours, 1));
                    let all = _mm512_add_epi64(ones, _mm512_slli_epi64(twos, 1));
                    *sum = _mm512_add_epi64(*sum, all);
                }
            }
            sum4_wide(sums)
        }
    }

    /// VNNI multiplies unsigned by signed, so `a` is biased by 128 and `128 * sum(b)` taken off.
    #[inline(always)]
    unsafe fn dot_i8(a: *const i8, b: *const i8, sum_b: i32, bytes: usize) -> i32 {
        // SAFETY: loads of 64 bytes within `bytes`.
        unsafe {
            let bias = _mm512_set1_epi8(-128);
            let mut sums = [_mm512_setzero_si512(); 2];
            for at in (0..bytes).step_by(128) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let a = _mm512_loadu_si512(a.add(at + 64 * i).cast());
                    let b = _mm512_loadu_si512(b.add(at + 64 * i).cast());
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(a, bias), b);
                }
            }
            let biased = _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]));
            biased.wrapping_sub(sum_b.wrapping_mul(128))
        }
    }

    #[inline(always)]
    unsafe fn sum_pairs<E: Element>(pairs: Pairs, a: *const f32, b: *const E, len: usize) -> f32 {
        // SAFETY: loads of 16 elements within `len`.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); 2];
            for at in (0..len).step_by(FLOAT_LANES) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let a = _mm512_loadu_ps(a.add(at + 16 * i));
                    let b = floats(b.add(at + 16 * i));
                    let term = match pairs {
                        Pairs::Products => _mm512_mul_ps(a, b),
                        Pairs::Squares => {
                            let difference = _mm512_sub_ps(a, b);
                            _mm512_mul_ps(difference, difference)
                        }
                        Pairs::Differences => _mm512_abs_ps(_mm512_sub_ps(a, b)),
                    };
                    *sum = _mm512_add_ps(*sum, term);
                }
            }
            let sum = _mm512_add_ps(sums[0], sums[1]);
            sum_halves(_mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps(sum, 1)))
        }
    }

    #[inline(always)]
    unsafe fn widen(halves: &[f16; FLOAT_LANES]) -> [f32; FLOAT_LANES] {
        let mut out = [0.0; FLOAT_LANES];
        for at in (0..FLOAT_LANES).step_by(16) {
            // SAFETY: 16 elements of each.
            unsafe {
                _mm512_storeu_ps(out.as_mut_ptr().add(at), floats(halves.as_ptr().add(at)));
            }
        }
        out
    }

    #[inline(always)]
    unsafe fn at_most(distances: *const i32, limit: i32) -> u32 {
        // SAFETY: one load of 16 elements.
        unsafe {
            let distances = _mm512_loadu_si512(distances.cast());
            u32::from(_mm512_cmple_epi32_mask(distances, _mm512_set1_epi32(limit)))
        }
    }

    /// From the end, eight keys at a time: those not below `key` move up by one and it takes the gap. No branch
    /// depends on where in the eight it goes; the only one that can be mispredicted is where to stop.
    #[inline(always)]
    unsafe fn insert(beam: *mut u64, len: &mut usize, ef: usize, key: u64) -> usize {
        // SAFETY: groups of eight from 0 to the one that holds `ef - 1`, and the element at `ef`, are in the beam.
        unsafe {
            *len = (*len + 1).min(ef);
            let keys = _mm512_set1_epi64(key as i64);
            let mut group = len.div_ceil(8) - 1;
            let mut old = _mm512_load_si512(beam.add(8 * group).cast());
            let mut at = 0;
            loop {
                let less = _mm512_cmplt_epu64_mask(old, keys);
                if less == 0xff {
                    at += 8 * (group + 1);
                    break;
                }
                // The eight keys one position earlier, and which of them are below `key`.
                let (below, last_less) = if group > 0 {
                    let below = _mm512_load_si512(beam.add(8 * (group - 1)).cast());
                    (below, _mm512_cmplt_epu64_mask(below, keys) >> 7)
                } else {
                    (_mm512_setzero_si512(), 1)
                };
                let shifted = _mm512_alignr_epi64(old, below, 7);
                let shifted_less = (less << 1) | last_less;
                let new = _mm512_mask_mov_epi64(shifted, less, old);
                let new = _mm512_mask_mov_epi64(new, !less & shifted_less, keys);
                _mm512_store_si512(beam.add(8 * group).cast(), new);
                at += less.count_ones() as usize;
                if group == 0 {
                    break;
                }
                group -= 1;
                old = below;
            }
            *beam.add(ef) = u64::MAX; // what fell off the end of a full beam
            at
        }
    }

    #[inline(always)]
    fn prefetch(address: *const u8) {
        Portable::prefetch(address);
    }
}
