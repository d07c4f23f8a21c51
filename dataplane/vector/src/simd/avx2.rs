//! AVX2: x86 processors without AVX-512.

use std::arch::x86_64::*;

use half::f16;

use super::hadamard::{Floats, hadamard};
use super::{Element, FLOAT_LANES, Kernel, Pairs, Portable};

/// The kernel of x86 processors since 2013.
pub(super) struct Avx2;

/// Four horizontal sums, transposing while adding.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn sum4([a, b, c, d]: [__m256i; 4]) -> [i32; 4] {
    // SAFETY: by the contract above; the store goes to an array of its size.
    unsafe {
        let quarters = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let sums =
            _mm_add_epi32(_mm256_castsi256_si128(quarters), _mm256_extracti128_si256(quarters, 1));
        let mut out = [0; 4];
        _mm_storeu_si128(out.as_mut_ptr().cast(), sums);
        out
    }
}

/// The sum of all eight.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn sum(x: __m256i) -> i32 {
    // SAFETY: by the contract above.
    unsafe { sum4([x, _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()])[0] }
}

/// The sum of all eight: the upper half is added to the lower until one is left.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
pub(super) unsafe fn sum_halves(x: __m256) -> f32 {
    // SAFETY: by the contract above.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}

/// Eight floats.
#[derive(Clone, Copy)]
struct Eight(__m256);

impl Floats for Eight {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the trait's contract, here and below.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see `load`.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(_mm256_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see `load`.
        unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
    }

    /// Each becomes its partner plus or minus itself. A product with 1 or -1 is exact, so that fusing it rounds no less.
    #[inline(always)]
    unsafe fn within(self) -> Self {
        // SAFETY: see `load`.
        unsafe {
            let (p, n) = (1.0, -1.0);
            let x = self.0;
            let signs = _mm256_setr_ps(p, n, p, n, p, n, p, n);
            let x = _mm256_fmadd_ps(x, signs, _mm256_permute_ps::<0b10_11_00_01>(x));
            let signs = _mm256_setr_ps(p, p, n, n, p, p, n, n);
            let x = _mm256_fmadd_ps(x, signs, _mm256_permute_ps::<0b01_00_11_10>(x));
            let signs = _mm256_setr_ps(p, p, p, p, n, n, n, n);
            Self(_mm256_fmadd_ps(x, signs, _mm256_permute2f128_ps::<1>(x, x)))
        }
    }
}

/// 8 elements as floats.
///
/// # Safety
/// The processor must have AVX and F16C, and there must be as many.
#[inline(always)]
unsafe fn floats<E: Element>(from: *const E) -> __m256 {
    // SAFETY: one load of 8 elements, of the type that the constant tells.
    unsafe {
        match E::HALF {
            true => _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
            false => _mm256_loadu_ps(from.cast()),
        }
    }
}

impl Kernel for Avx2 {
    #[inline(always)]
    unsafe fn dot4_nibbles(codes: [*const u8; 4], query: *const i8, bytes: usize) -> [i32; 4] {
        // SAFETY: all loads lie within what the contract promises, aligned as it says.
        unsafe {
            let nibble = _mm256_set1_epi8(15);
            let ones = _mm256_set1_epi16(1);
            let mut sums = [_mm256_setzero_si256(); 4];
            for at in (0..bytes).step_by(32) {
                let q_low = _mm256_load_si256(query.add(at).cast());
                let q_high = _mm256_load_si256(query.add(bytes + at).cast());
                for (sum, code) in sums.iter_mut().zip(codes) {
                    let pair = _mm256_load_si256(code.add(at).cast());
                    let low = _mm256_and_si256(pair, nibble);
                    let high = _mm256_and_si256(_mm256_srli_epi16(pair, 4), nibble);
                    // At most 4 x 15 x 127: no pair saturates 16 bits.
                    let products = _mm256_add_epi16(
                        _mm256_maddubs_epi16(low, q_low),
                        _mm256_maddubs_epi16(high, q_high),
                    );
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
                }
            }
            sum4(sums)
        }
    }

    /// By 16 bits: unsigned by signed bytes would saturate in pairs.
    #[inline(always)]
    unsafe fn dot4_bytes(rows: [*const u8; 4], query: *const i8, bytes: usize) -> [i32; 4] {
        // SAFETY: as above.
        unsafe {
            let mut sums = [_mm256_setzero_si256(); 4];
            for at in (0..bytes).step_by(16) {
                let q = _mm256_cvtepi8_epi16(_mm_load_si128(query.add(at).cast()));
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let x = _mm256_cvtepu8_epi16(_mm_load_si128(row.add(at).cast()));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, q));
                }
            }
            sum4(sums)
        }
    }

    #[inline(always)]
    unsafe fn dot_i8(a: *const i8, b: *const i8, _sum_b: i32, bytes: usize) -> i32 {
        // SAFETY: loads of 16 bytes within `bytes`.
        unsafe {
            let mut sums = [_mm256_setzero_si256(); 2];
            for at in (0..bytes).step_by(32) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let a = _mm256_cvtepi8_epi16(_mm_loadu_si128(a.add(at + 16 * i).cast()));
                    let b = _mm256_cvtepi8_epi16(_mm_loadu_si128(b.add(at + 16 * i).cast()));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(a, b));
                }
            }
            sum(_mm256_add_epi32(sums[0], sums[1]))
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
        // SAFETY: loads of 8 elements within `len`.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            let mut sums = [_mm256_setzero_ps(); 4];
            for at in (0..len).step_by(FLOAT_LANES) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let a = _mm256_loadu_ps(a.add(at + 8 * i));
                    let b = floats(b.add(at + 8 * i));
                    let term = match pairs {
                        Pairs::Products => _mm256_mul_ps(a, b),
                        Pairs::Squares => {
                            let difference = _mm256_sub_ps(a, b);
                            _mm256_mul_ps(difference, difference)
                        }
                        Pairs::Differences => _mm256_andnot_ps(sign, _mm256_sub_ps(a, b)),
                    };
                    *sum = _mm256_add_ps(*sum, term);
                }
            }
            let [a, b, c, d] = sums;
            sum_halves(_mm256_add_ps(_mm256_add_ps(a, c), _mm256_add_ps(b, d)))
        }
    }

    #[inline(always)]
    unsafe fn hadamard(x: *mut f32, len: usize, scale: f32) {
        // SAFETY: by the same contract.
        unsafe { hadamard::<Eight, 8>(x, len, scale) }
    }

    #[inline(always)]
    unsafe fn quantise(values: *const f32, len: usize, scale: f32, out: *mut i8) -> (i32, i32) {
        // SAFETY: loads and stores of 32 elements within `len`.
        unsafe {
            let (scale, limit) = (_mm256_set1_ps(scale), _mm256_set1_ps(127.0));
            let (least, ones) = (_mm256_set1_ps(-127.0), _mm256_set1_epi16(1));
            let (mut sums, mut squares) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            // Packing goes by halves of registers.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            for at in (0..len).step_by(32) {
                let mut levels = [_mm256_setzero_si256(); 4];
                for (i, level) in levels.iter_mut().enumerate() {
                    let x = _mm256_mul_ps(_mm256_loadu_ps(values.add(at + 8 * i)), scale);
                    let x = _mm256_and_ps(x, _mm256_cmp_ps::<_CMP_ORD_Q>(x, x));
                    let x = _mm256_min_ps(_mm256_max_ps(x, least), limit);
                    *level = _mm256_cvtps_epi32(x);
                }
                let [a, b, c, d] = levels;
                let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
                let bytes = _mm256_permutevar8x32_epi32(bytes, order);
                _mm256_storeu_si256(out.add(at).cast(), bytes);
                // At most 2 x 127 x 127: no pair saturates 16 bits.
                let away = _mm256_abs_epi8(bytes);
                let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones));
                let pairs = _mm256_maddubs_epi16(away, away);
                squares = _mm256_add_epi32(squares, _mm256_madd_epi16(pairs, ones));
            }
            (sum(sums), sum(squares))
        }
    }

    #[inline(always)]
    unsafe fn planes(elements: *const i8, len: usize, planes: *mut u8, stride: usize) -> i32 {
        // SAFETY: loads of 32 elements within `len`, and as many bits in each plane.
        unsafe {
            let mut sum = 0;
            for at in (0..len).step_by(32) {
                // What is rounded stands in the upper half of each byte, from where bits move to its top.
                let x = _mm256_loadu_si256(elements.add(at).cast());
                let x = _mm256_adds_epi8(x, _mm256_set1_epi8(8));
                let x = _mm256_max_epi8(x, _mm256_set1_epi8(-7 * 16));
                let bits = [
                    _mm256_movemask_epi8(_mm256_slli_epi16::<3>(x)) as u32,
                    _mm256_movemask_epi8(_mm256_slli_epi16::<2>(x)) as u32,
                    _mm256_movemask_epi8(_mm256_slli_epi16::<1>(x)) as u32,
                    _mm256_movemask_epi8(x) as u32,
                ];
                for (plane, weight) in [1, 2, 4, -8].into_iter().enumerate() {
                    planes.add(plane * stride + at / 8).cast::<u32>().write(bits[plane]);
                    sum += weight * bits[plane].count_ones() as i32;
                }
            }
            sum
        }
    }

    #[inline(always)]
    unsafe fn widen(halves: &[f16; FLOAT_LANES]) -> [f32; FLOAT_LANES] {
        let mut out = [0.0; FLOAT_LANES];
        for at in (0..FLOAT_LANES).step_by(8) {
            // SAFETY: 8 elements of each.
            unsafe {
                _mm256_storeu_ps(out.as_mut_ptr().add(at), floats(halves.as_ptr().add(at)));
            }
        }
        out
    }

    #[inline(always)]
    unsafe fn at_most(distances: *const i32, limit: i32) -> u32 {
        // SAFETY: two loads of 8 elements.
        unsafe {
            let limit = _mm256_set1_epi32(limit);
            let greater = [0, 8].map(|at| {
                let distances = _mm256_loadu_si256(distances.add(at).cast());
                let mask = _mm256_cmpgt_epi32(distances, limit);
                _mm256_movemask_ps(_mm256_castsi256_ps(mask)) as u32
            });
            !(greater[0] | greater[1] << 8) & 0xffff
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
