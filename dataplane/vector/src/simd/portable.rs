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
