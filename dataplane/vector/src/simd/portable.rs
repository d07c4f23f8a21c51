//! What each operation means, in plain Rust. Also what runs where there is no kernel for the processor.

use half::f16;

use super::{Element, FLOAT_LANES, Kernel, Pairs};

/// The plain kernel.
pub struct Portable;

impl Kernel for Portable {
    #[inline(always)]
    unsafe fn dot4_nibbles(codes: [*const u8; 4], query: *const i8, bytes: usize) -> [i32; 4] {
        // SAFETY: the caller's pointers lead to `bytes` and `2 * bytes` elements.
        let (low, high) = unsafe { slices(query, bytes) };
        codes.map(|code| {
            // SAFETY: as above.
            let code = unsafe { std::slice::from_raw_parts(code, bytes) };
            let pairs = code.iter().zip(low.iter().zip(high));
            pairs
                .map(|(&pair, (&low, &high))| {
                    i32::from(pair & 15) * i32::from(low) + i32::from(pair >> 4) * i32::from(high)
                })
                .sum()
        })
    }

    #[inline(always)]
    unsafe fn dot4_bytes(rows: [*const u8; 4], query: *const i8, bytes: usize) -> [i32; 4] {
        // SAFETY: the caller's pointers lead to `bytes` elements.
        let query = unsafe { std::slice::from_raw_parts(query, bytes) };
        rows.map(|row| {
            // SAFETY: as above.
            let row = unsafe { std::slice::from_raw_parts(row, bytes) };
            row.iter().zip(query).map(|(&x, &q)| i32::from(x) * i32::from(q)).sum()
        })
    }

    #[inline(always)]
    unsafe fn sum4_set(rows: [*const u8; 4], planes: *const u8, bytes: usize) -> [i32; 4] {
        let mut sums = [0; 4];
        for at in (0..bytes).step_by(8) {
            for (sum, row) in sums.iter_mut().zip(rows) {
                // SAFETY: words of 8 bytes within `bytes`, aligned; the planes follow each other.
                unsafe {
                    let row = *row.add(at).cast::<u64>();
                    for (plane, weight) in [1, 2, 4, -8].into_iter().enumerate() {
                        let plane = *planes.add(plane * bytes + at).cast::<u64>();
                        *sum += weight * (row & plane).count_ones() as i32;
                    }
                }
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn dot_i8(a: *const i8, b: *const i8, _sum_b: i32, bytes: usize) -> i32 {
        // SAFETY: the caller's pointers lead to `bytes` elements.
        let (a, b) =
            unsafe { (std::slice::from_raw_parts(a, bytes), std::slice::from_raw_parts(b, bytes)) };
        a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
    }

    #[inline(always)]
    unsafe fn sum_pairs<E: Element>(pairs: Pairs, a: *const f32, b: *const E, len: usize) -> f32 {
        // SAFETY: the caller's pointers lead to `len` elements.
        let (a, b) =
            unsafe { (std::slice::from_raw_parts(a, len), std::slice::from_raw_parts(b, len)) };
        let mut sums = [0.0f32; FLOAT_LANES];
        for (a, b) in a.chunks_exact(FLOAT_LANES).zip(b.chunks_exact(FLOAT_LANES)) {
            for lane in 0..FLOAT_LANES {
                sums[lane] += pairs.term(a[lane], b[lane].to_float());
            }
        }
        let mut width = FLOAT_LANES / 2;
        while width > 0 {
            for lane in 0..width {
                sums[lane] += sums[lane + width];
            }
            width /= 2;
        }
        sums[0]
    }

    #[inline(always)]
    unsafe fn hadamard(x: *mut f32, len: usize, scale: f32) {
        // SAFETY: the caller's pointer leads to `len` elements.
        let x = unsafe { std::slice::from_raw_parts_mut(x, len) };
        let mut half = 1;
        while half < len {
            for pair in x.chunks_exact_mut(2 * half) {
                let (a, b) = pair.split_at_mut(half);
                for (a, b) in a.iter_mut().zip(b) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half *= 2;
        }
        x.iter_mut().for_each(|x| *x *= scale);
    }

    #[inline(always)]
    unsafe fn quantise(values: *const f32, len: usize, scale: f32, out: *mut i8) -> (i32, i32) {
        // SAFETY: the caller's pointers lead to `len` elements.
        let (values, out) = unsafe {
            (std::slice::from_raw_parts(values, len), std::slice::from_raw_parts_mut(out, len))
        };
        let (mut sum, mut squares) = (0, 0);
        for (out, value) in out.iter_mut().zip(values) {
            let level = ((value * scale).round_ties_even() as i32).clamp(-127, 127);
            sum += level;
            squares += level * level;
            *out = level as i8;
        }
        (sum, squares)
    }

    #[inline(always)]
    unsafe fn planes(elements: *const i8, len: usize, planes: *mut u8, stride: usize) -> i32 {
        // SAFETY: the caller's pointers lead to `len` elements, and as many bits in each plane.
        unsafe {
            let mut sum = 0;
            for at in (0..len).step_by(64) {
                let mut bits = [0u64; 4];
                for i in 0..64 {
                    let level = (i32::from(*elements.add(at + i)) + 8).div_euclid(16).clamp(-7, 7);
                    sum += level;
                    for (plane, bits) in bits.iter_mut().enumerate() {
                        *bits |= (level as u64 >> plane & 1) << i;
                    }
                }
                for (plane, bits) in bits.into_iter().enumerate() {
                    planes.add(plane * stride + at / 8).cast::<u64>().write(bits.to_le());
                }
            }
            sum
        }
    }

    #[inline(always)]
    unsafe fn widen(halves: &[f16; FLOAT_LANES]) -> [f32; FLOAT_LANES] {
        halves.map(f16::to_f32)
    }

    #[inline(always)]
    unsafe fn at_most(distances: *const i32, limit: i32) -> u32 {
        // SAFETY: the caller's pointer leads to 16 elements.
        let distances = unsafe { std::slice::from_raw_parts(distances, 16) };
        (0..)
            .zip(distances)
            .fold(0, |mask, (i, &distance)| mask | u32::from(distance <= limit) << i)
    }

    #[inline(always)]
    unsafe fn ones(word: u64, first: u32, numbers: *mut u32) -> usize {
        let (mut left, mut count) = (word, 0);
        while left != 0 {
            // SAFETY: a word has 64 bits at most.
            unsafe { *numbers.add(count) = first.wrapping_add(left.trailing_zeros()) };
            left &= left - 1;
            count += 1;
        }
        count
    }

    #[inline(always)]
    unsafe fn insert(beam: *mut u64, len: &mut usize, ef: usize, key: u64) -> usize {
        // SAFETY: the caller's beam has room for more than `ef`.
        let beam = unsafe { std::slice::from_raw_parts_mut(beam, ef) };
        let at = beam[..*len].partition_point(|&other| other < key);
        *len = (*len + 1).min(ef);
        beam.copy_within(at..*len - 1, at + 1);
        beam[at] = key;
        at
    }

    #[inline(always)]
    fn prefetch(address: *const u8) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: SSE is part of x86_64, and a prefetch of any address has no effect that can be seen.
            unsafe { _mm_prefetch(address.cast(), _MM_HINT_T0) };
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a prefetch of any address has no effect that can be seen.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = address;
    }
}

/// The first and the second `half` elements.
///
/// # Safety
/// The pointer leads to `2 * half` elements.
unsafe fn slices<'a>(query: *const i8, half: usize) -> (&'a [i8], &'a [i8]) {
    // SAFETY: by the contract above.
    let whole = unsafe { std::slice::from_raw_parts(query, 2 * half) };
    whole.split_at(half)
}
