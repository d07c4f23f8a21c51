//! AVX-512 with VNNI.

use std::arch::x86_64::*;

use half::f16;

use super::avx2::sum_halves;
use super::hadamard::{Floats, hadamard};
use super::{Element, FLOAT_LANES, Kernel, LEAST_TRANSFORM, Pairs, Portable};

/// The kernel of x86 servers since 2019; those since 2021 can count bits too.
pub(super) struct Avx512<const COUNTS: bool>;

/// Four horizontal sums for little more than the price of one: transpose while adding.
///
/// # Safety
/// The processor must have AVX-512.
#[inline(always)]
unsafe fn sums4([a, b, c, d]: [__m512i; 4]) -> __m128i {
    // SAFETY: by the contract above.
    unsafe {
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        let abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let (low, high) = (_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
        let half = _mm256_add_epi32(low, high);
        _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1))
    }
}

/// The same, as numbers.
///
/// # Safety
/// The processor must have AVX-512.
#[inline(always)]
unsafe fn sum4(sums: [__m512i; 4]) -> [i32; 4] {
    // SAFETY: by the contract above; the store goes to an array of its size.
    unsafe {
        let mut out = [0; 4];
        _mm_storeu_si128(out.as_mut_ptr().cast(), sums4(sums));
        out
    }
}

/// For four rows, the sums of the query's elements at their set bits; see [`Kernel::sum4_set`].
///
/// # Safety
/// As there; the processor must have what counts bits too.
#[inline(always)]
unsafe fn sums_set(rows: [*const u8; 4], planes: *const u8, bytes: usize) -> __m128i {
    // SAFETY: all loads lie within what the contract promises, aligned as it says.
    unsafe {
        let weights =
            [_mm512_set1_epi8(1), _mm512_set1_epi8(2), _mm512_set1_epi8(4), _mm512_set1_epi8(-8)];
        let mut sums = [_mm512_setzero_si512(); 4];
        for at in (0..bytes).step_by(64) {
            let mut held = [_mm512_setzero_si512(); 4];
            for (held, row) in held.iter_mut().zip(rows) {
                *held = _mm512_load_si512(row.add(at).cast());
            }
            for (plane, &weight) in weights.iter().enumerate() {
                let bits = _mm512_load_si512(planes.add(plane * bytes + at).cast());
                for i in 0..4 {
                    // Bytes have at most 8 bits, which weights multiply and four of which are added to each sum.
                    let counts = _mm512_popcnt_epi8(_mm512_and_si512(held[i], bits));
                    sums[i] = _mm512_dpbusd_epi32(sums[i], counts, weight);
                }
            }
        }
        sums4(sums)
    }
}

/// Sixteen floats.
#[derive(Clone, Copy)]
struct Sixteen(__m512);

impl Floats for Sixteen {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the trait's contract, here and below.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see `load`.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }

    /// Each becomes its partner plus or minus itself. A product with 1 or -1 is exact, so that fusing it rounds no less.
    #[inline(always)]
    unsafe fn within(self) -> Self {
        // SAFETY: see `load`.
        unsafe {
            let signs = |negative: u16| {
                _mm512_mask_blend_ps(negative, _mm512_set1_ps(1.0), _mm512_set1_ps(-1.0))
            };
            let x = self.0;
            let x = _mm512_fmadd_ps(x, signs(0xaaaa), _mm512_permute_ps::<0b10_11_00_01>(x));
            let x = _mm512_fmadd_ps(x, signs(0xcccc), _mm512_permute_ps::<0b01_00_11_10>(x));
            let x = _mm512_fmadd_ps(x, signs(0xf0f0), _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
            let x = _mm512_fmadd_ps(x, signs(0xff00), _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x));
            Self(x)
        }
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
        // SAFETY: by the same contract; the store goes to an array of its size.
        unsafe {
            let mut out = [0; 4];
            _mm_storeu_si128(out.as_mut_ptr().cast(), sums_set(rows, planes, bytes));
            out
        }
    }

    /// One store: what is read again whole at once must not have been written in parts.
    #[inline(always)]
    unsafe fn sum16_set(
        rows: &[*const u8; 16],
        planes: *const u8,
        bytes: usize,
        sums: &mut [i32; 16],
    ) {
        if !COUNTS {
            // SAFETY: by the same contract.
            return unsafe { Portable::sum16_set(rows, planes, bytes, sums) };
        }
        // SAFETY: by the same contract.
        unsafe {
            // No closure: it would not be compiled for this kernel.
            let [a, b, c, d] = [
                sums_set([rows[0], rows[1], rows[2], rows[3]], planes, bytes),
                sums_set([rows[4], rows[5], rows[6], rows[7]], planes, bytes),
                sums_set([rows[8], rows[9], rows[10], rows[11]], planes, bytes),
                sums_set([rows[12], rows[13], rows[14], rows[15]], planes, bytes),
            ];
            let all = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
            let all = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(all, c), d);
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), all);
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
    unsafe fn hadamard(x: *mut f32, len: usize, scale: f32) {
        // SAFETY: by the same contract.
        unsafe {
            match len {
                LEAST_TRANSFORM => hadamard::<Sixteen, 8>(x, len, scale),
                _ => hadamard::<Sixteen, 16>(x, len, scale),
            }
        }
    }

    #[inline(always)]
    unsafe fn quantise(values: *const f32, len: usize, scale: f32, out: *mut i8) -> (i32, i32) {
        // SAFETY: loads and stores of 64 elements within `len`.
        unsafe {
            let (scale, limit) = (_mm512_set1_ps(scale), _mm512_set1_ps(127.0));
            let least = _mm512_set1_ps(-127.0);
            let (mut sum, mut squares) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            // Packing goes by quarters of registers.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            for at in (0..len).step_by(64) {
                let mut levels = [_mm512_setzero_si512(); 4];
                for (i, level) in levels.iter_mut().enumerate() {
                    let x = _mm512_mul_ps(_mm512_loadu_ps(values.add(at + 16 * i)), scale);
                    let x = _mm512_maskz_max_ps(_mm512_cmpord_ps_mask(x, x), x, least);
                    *level = _mm512_cvtps_epi32(_mm512_min_ps(x, limit));
                }
                let [a, b, c, d] = levels;
                let bytes = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
                let bytes = _mm512_permutexvar_epi32(order, bytes);
                _mm512_storeu_si512(out.add(at).cast(), bytes);
                let away = _mm512_abs_epi8(bytes);
                sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), bytes);
                squares = _mm512_dpbusd_epi32(squares, away, away);
            }
            (_mm512_reduce_add_epi32(sum), _mm512_reduce_add_epi32(squares))
        }
    }

    #[inline(always)]
    unsafe fn planes(elements: *const i8, len: usize, planes: *mut u8, stride: usize) -> i32 {
        // SAFETY: loads of 64 elements within `len`, and as many bits in each plane.
        unsafe {
            let mut sum = 0;
            for at in (0..len).step_by(64) {
                // What is rounded stands in the upper half of each byte.
                let x = _mm512_loadu_si512(elements.add(at).cast());
                let x = _mm512_adds_epi8(x, _mm512_set1_epi8(8));
                let x = _mm512_max_epi8(x, _mm512_set1_epi8(-7 * 16));
                for (plane, weight) in [1, 2, 4, -8].into_iter().enumerate() {
                    let bits = _mm512_test_epi8_mask(x, _mm512_set1_epi8((16u8 << plane) as i8));
                    planes.add(plane * stride + at / 8).cast::<u64>().write(bits);
                    sum += weight * bits.count_ones() as i32;
                }
            }
            sum
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

    #[inline(always)]
    unsafe fn ones(word: u64, first: u32, numbers: *mut u32) -> usize {
        // SAFETY: at most 48 numbers precede the last sixteen that are written.
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let mut count = 0;
            for part in (0..64).step_by(16) {
                let bits = (word >> part) as u16;
                let all = _mm512_add_epi32(lanes, _mm512_set1_epi32((first + part) as i32));
                let set = _mm512_maskz_compress_epi32(bits, all);
                _mm512_storeu_si512(numbers.add(count).cast(), set);
                count += bits.count_ones() as usize;
            }
            count
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
