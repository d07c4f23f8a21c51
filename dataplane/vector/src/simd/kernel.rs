//! The operations that each instruction set has its own form of.

use half::f16;

use super::Element;

/// 64 bytes on a cache line of their own: what kernels load from must be aligned so.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line(pub [u8; 64]);

/// Keys of a beam that kernels handle at a time; a beam has room for its length rounded up to this, and as many again.
pub const BEAM_LANES: usize = 8;

/// Floats of two vectors that kernels take together, each into a sum of its own.
pub const FLOAT_LANES: usize = 32;

/// Room for the numbers of a word's bits, and for what kernels write beyond.
pub const ONES_ROOM: usize = 64 + 16;

/// A transform is over so many floats at least.
pub const LEAST_TRANSFORM: usize = 128;

/// What is summed over the elements of two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Their products.
    Products,
    /// The squares of their differences.
    Squares,
    /// The absolute values of their differences.
    Differences,
}

impl Pairs {
    /// Of one pair.
    #[inline(always)]
    pub(crate) fn term(self, a: f32, b: f32) -> f32 {
        match self {
            Pairs::Products => a * b,
            Pairs::Squares => (a - b) * (a - b),
            Pairs::Differences => (a - b).abs(),
        }
    }
}

/// The operations. All integer results are exact, so every kernel gives the same.
///
/// # Safety
/// The processor must have what the implementing kernel uses, and pointers must lead to as many elements as each
/// operation says.
pub trait Kernel {
    /// Inner products of one query with four 4-bit codes of `bytes` bytes, a multiple of 64. The low nibbles of a code
    /// meet the first `bytes` elements of the query, the high nibbles the next `bytes`. Codes and query are aligned to
    /// 64. Four at a time, because the loads of one hide behind the others and the final sums share their work.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn dot4_nibbles(codes: [*const u8; 4], query: *const i8, bytes: usize) -> [i32; 4];

    /// Inner products of one query with four rows of `bytes` unsigned bytes, a multiple of 64, aligned to 64. Exact for
    /// up to 65,536 bytes.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn dot4_bytes(rows: [*const u8; 4], query: *const i8, bytes: usize) -> [i32; 4];

    /// Sums of the query's elements at the set bits of four rows of `bytes` bytes, a multiple of 64, aligned to 64. The
    /// elements are 4-bit two's complement, given as four planes of `bytes` bytes each, lowest bits first.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn sum4_set(rows: [*const u8; 4], planes: *const u8, bytes: usize) -> [i32; 4];

    /// The same of sixteen rows, written to `sums` as one.
    ///
    /// # Safety
    /// See the trait.
    #[inline(always)]
    unsafe fn sum16_set(
        rows: &[*const u8; 16],
        planes: *const u8,
        bytes: usize,
        sums: &mut [i32; 16],
    ) {
        for i in (0..16).step_by(4) {
            // SAFETY: by the same contract.
            let four = unsafe {
                Self::sum4_set([rows[i], rows[i + 1], rows[i + 2], rows[i + 3]], planes, bytes)
            };
            sums[i..i + 4].copy_from_slice(&four);
        }
    }

    /// Inner product of two int8 rows of `bytes` bytes, a multiple of 128; elements are at least -127, and `sum_b` is
    /// the sum of `b`'s.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn dot_i8(a: *const i8, b: *const i8, sum_b: i32, bytes: usize) -> i32;

    /// Sum over pairs of `len` floats and elements, a multiple of [`FLOAT_LANES`]: in so many lanes, of which then the upper
    /// half is added to the lower until one is left. Products are rounded before they are added, so every kernel gives the
    /// same.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn sum_pairs<E: Element>(pairs: Pairs, a: *const f32, b: *const E, len: usize) -> f32;

    /// Halves as floats.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn widen(halves: &[f16; FLOAT_LANES]) -> [f32; FLOAT_LANES];

    /// Walsh-Hadamard transform of `len` floats, a power of two and [`LEAST_TRANSFORM`] or more, times `scale`. In stages: of
    /// neighbours first, then of what lies 2, 4 and so on apart, each makes `a + b` and `a - b` of two; every kernel rounds
    /// after each of them.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn hadamard(x: *mut f32, len: usize, scale: f32);

    /// Writes `len` floats times `scale` as int8, a multiple of 64: rounded to the nearest, ties to even, -127 to 127, NaN as
    /// 0. Gives the sum of what was written, and that of its squares.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn quantise(values: *const f32, len: usize, scale: f32, out: *mut i8) -> (i32, i32);

    /// Takes `len` int8, a multiple of 64, each divided by 16, rounded and made -7 to 7, apart into four planes of bits, lowest
    /// bits first and `stride` bytes apart. The planes are aligned to 8. Gives the sum of those elements.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn planes(elements: *const i8, len: usize, planes: *mut u8, stride: usize) -> i32;

    /// Which of the 16 distances at `distances` are at most `limit`, as a bit mask.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn at_most(distances: *const i32, limit: i32) -> u32;

    /// Writes the numbers of the set bits of a word, of which the lowest counts as `first`, ascending; gives how many. Up to
    /// [`ONES_ROOM`] elements are written to, whatever follows the last number.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn ones(word: u64, first: u32, numbers: *mut u32) -> usize;

    /// Inserts `key` into the ascending `beam[..*len]`, dropping the greatest of `ef` when it is full; returns where it
    /// went. The beam is aligned to 64 and has room for `ef` rounded up to [`BEAM_LANES`] and as many again; every
    /// element from `*len` on is `u64::MAX`, and so it is afterwards. A full beam's last is greater than `key`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn insert(beam: *mut u64, len: &mut usize, ef: usize, key: u64) -> usize;

    /// Asks for the cache line at an address, which need not be valid.
    fn prefetch(address: *const u8);
}
