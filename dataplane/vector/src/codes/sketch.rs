//! Sketches: one bit a coordinate, its side of the mean. They cost a walk a third of the memory that 4-bit codes do and
//! a fraction of the work, and tell which nodes cannot be near enough to be worth more.
//!
//! The bit is the highest one of a 4-bit level, so sketches are made from codes and are nowhere on disk. The estimate is
//! that of RaBitQ (Gao and Long, 2024): a factor for each vector makes it one without bias whatever the vector's length;
//! the query is rounded to 4 bits, taken apart into planes of one bit, and what is needed of each is how many bits it has
//! in common with the sketch.
//!
//! Layout: bits, zeros, and in the last four bytes the factor as f32.

use crate::simd::{Kernel, Line};

use super::{CodeBits, QueryCode};

/// Levels of a query's int8 that one of its 4-bit levels stands for.
const COARSER: i32 = 16;

/// Standard deviation of what a bit leaves of a coordinate, in factors: for a Gaussian, sqrt(1 - 2 / pi).
const LEFT: f32 = 0.6;

/// How many deviations nearer than estimated a node may be. On embeddings of texts (384 dimensions, 4-bit codes) one of a
/// hundred nodes that belong into a beam is missed so, and a fifth of all that a walk meets are measured.
const DOUBT: f32 = 1.6;

/// The least code that is worth a sketch: of one or two cache lines, a sketch takes as much again.
const LEAST_CODE: usize = 192;

/// Whether walks over codes of this kind and length gain from sketches.
pub fn sketches_pay(bits: CodeBits, code_bytes: usize) -> bool {
    bits == CodeBits::Four && code_bytes >= LEAST_CODE
}

/// Bytes of the sketch of a code of 4 bits a coordinate: whole cache lines.
pub fn sketch_bytes(code_bytes: usize) -> usize {
    (code_bytes / 4 + size_of::<f32>()).next_multiple_of(64)
}

/// Writes the sketch of a code of 4 bits a coordinate into [`sketch_bytes`] bytes. Bit i is coordinate i's.
pub fn sketch(code: &[u8], sketch: &mut [u8]) {
    sketch.fill(0);
    let half = code.len() / 8;
    let (mut squares, mut sum) = (0u32, 0u32);
    for (at, eight) in code.chunks_exact(8).enumerate() {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(eight);
        let word = u64::from_le_bytes(bytes);
        // Byte i of a code holds coordinate i and, above it, coordinate i + bytes.
        sketch[at] = gather(word >> 3);
        sketch[half + at] = gather(word >> 7);
        for level in bytes.into_iter().flat_map(|byte| [byte & 15, byte >> 4]) {
            // Twice the distance from the middle.
            let away = (2 * i32::from(level) - 15).unsigned_abs();
            squares += away * away;
            sum += away;
        }
    }
    let factor = squares as f32 / (2 * sum.max(1)) as f32;
    if let Some(place) = sketch.last_chunk_mut() {
        *place = factor.to_le_bytes();
    }
}

/// The lowest bits of eight bytes as one byte.
#[inline(always)]
fn gather(word: u64) -> u8 {
    ((word & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

/// A query to be compared with sketches.
#[derive(Clone, Debug, Default)]
pub struct SketchQuery {
    planes: Vec<Line>,
    bytes: usize,
    /// What the inner product with a code of middle levels would be.
    middle: f32,
    /// What a unit of a sum over set bits adds to the least inner product, in factors.
    slope: f32,
    /// What the least inner product is beyond the middle where no bit is set, in factors.
    least: f32,
}

impl SketchQuery {
    /// Takes a query for codes of `code_bytes` bytes, a multiple of 64. To be called in a task.
    #[inline(always)]
    pub fn set<K: Kernel>(&mut self, query: &QueryCode, code_bytes: usize) {
        self.bytes = sketch_bytes(code_bytes);
        self.planes.clear();
        self.planes.resize(4 * self.bytes / 64, Line([0; 64]));
        let elements = query.elements();
        assert!(elements.len() <= 8 * self.bytes, "a query of another length");
        // SAFETY: a plane has a bit for each element; a task runs where its kernel can.
        let sum = unsafe {
            let planes = self.planes.as_mut_ptr().cast();
            K::planes(elements.as_ptr(), elements.len(), planes, self.bytes)
        };
        self.middle = CodeBits::Four.middle() * query.sum() as f32;
        // product = middle + factor * (2 * sum over set bits - sum over all), and what is left.
        self.slope = (2 * COARSER) as f32;
        self.least = -(COARSER * sum) as f32 - DOUBT * LEFT * query.length();
    }

    /// Bytes of a sketch.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The query's planes, aligned to 64.
    #[inline(always)]
    pub fn as_ptr(&self) -> *const u8 {
        self.planes.as_ptr().cast()
    }

    /// [`least4`](Self::least4) of sixteen.
    ///
    /// # Safety
    /// As there; sketches are aligned to 64.
    #[inline(always)]
    pub unsafe fn least16(
        &self,
        sketches: &[*const u8; 16],
        sums: &[i32; 16],
        least: &mut [f32; 16],
    ) {
        let mut factors = [0.0f32; 16];
        for i in 0..16 {
            // Volatile, so that the loads are not made ones that gather, which take longer.
            // SAFETY: the factor stands at the end of whole lines, aligned.
            factors[i] = unsafe { sketches[i].add(self.bytes - 4).cast::<f32>().read_volatile() };
        }
        for i in 0..16 {
            least[i] = self.middle + factors[i] * (self.slope * sums[i] as f32 + self.least);
        }
    }

    /// What the inner products with four codes are at least, all but certainly, given their sketches and the sums over
    /// the bits set in them.
    ///
    /// # Safety
    /// The sketches are of [`bytes`](Self::bytes) bytes that [`sketch`] wrote, aligned to 64.
    #[inline(always)]
    pub unsafe fn least4(&self, sketches: [*const u8; 4], sums: [i32; 4]) -> [f32; 4] {
        let mut least = [0.0; 4];
        for i in 0..4 {
            // Volatile, so that the four loads are not made one that gathers, which takes longer.
            // SAFETY: the factor stands at the end of whole lines, aligned.
            least[i] = unsafe { sketches[i].add(self.bytes - 4).cast::<f32>().read_volatile() };
        }
        for i in 0..4 {
            least[i] = self.middle + least[i] * (self.slope * sums[i] as f32 + self.least);
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::Coder;
    use crate::simd::{Isa, Task};

    const PADDED: usize = 384;

    struct Take<'a>(&'a mut SketchQuery, &'a QueryCode, usize);

    impl Task for Take<'_> {
        type Output = ();

        #[inline(always)]
        unsafe fn run<K: Kernel>(self) {
            self.0.set::<K>(self.1, self.2);
        }
    }

    struct Sum<'a>(&'a SketchQuery, &'a [Line]);

    impl Task for Sum<'_> {
        type Output = i32;

        #[inline(always)]
        unsafe fn run<K: Kernel>(self) -> i32 {
            // SAFETY: the sketch and the planes are of the query's length.
            unsafe { K::sum4_set([self.1.as_ptr().cast(); 4], self.0.as_ptr(), self.0.bytes())[0] }
        }
    }

    /// Numbers spread as by a Gaussian, more or less.
    fn gaussian(seed: &mut u64) -> f32 {
        let mut sum = 0.0;
        for _ in 0..12 {
            *seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (*seed >> 40) as f32 / (1u64 << 24) as f32;
        }
        sum - 6.0
    }

    fn sketch_of(code: &[u8]) -> Vec<Line> {
        let mut lines = vec![Line([0xff; 64]); sketch_bytes(code.len()) / 64];
        let mut bytes = vec![0xff; lines.len() * 64];
        sketch(code, &mut bytes);
        lines
            .iter_mut()
            .zip(bytes.chunks(64))
            .for_each(|(line, bytes)| line.0.copy_from_slice(bytes));
        lines
    }

    #[test]
    fn a_sketch_holds_the_highest_bit_of_each_level() {
        let code: Vec<u8> = (0..192u32).map(|i| (i * 89 % 251) as u8).collect();
        let sketch = sketch_of(&code);
        for coordinate in 0..PADDED {
            let byte = code[coordinate % 192];
            let level = if coordinate < 192 { byte & 15 } else { byte >> 4 };
            let bit = sketch[0].0[coordinate / 8] >> (coordinate % 8) & 1;
            assert_eq!(bit, level >> 3, "coordinate {coordinate}");
        }
        assert!(sketch[0].0[PADDED / 8..60].iter().all(|&byte| byte == 0));
    }

    /// What sketches are for: nearly none of the near are taken for far, and most of the far are known to be. Whatever
    /// the vectors' lengths.
    #[test]
    fn the_near_pass_and_the_far_do_not() {
        let mut seed = 7;
        let vectors: Vec<Vec<f32>> =
            (0..2_000).map(|_| (0..PADDED).map(|_| gaussian(&mut seed)).collect()).collect();
        let coder = Coder::learn(CodeBits::Four, PADDED, vectors.iter().map(Vec::as_slice));
        let (mut query, mut sketched) = (QueryCode::new(PADDED), SketchQuery::default());
        let (mut near_passed, mut far_passed) = (0, 0);
        for (i, far) in vectors.iter().enumerate() {
            // A query that has .6 of its direction in common with `near`.
            let length = if i % 2 == 0 { 0.7 } else { 1.3 };
            let near: Vec<f32> = (0..PADDED).map(|_| length * gaussian(&mut seed)).collect();
            let asked: Vec<f32> =
                near.iter().map(|x| 0.6 * x / length + 0.8 * gaussian(&mut seed)).collect();
            query.set(&asked);
            Isa::detect().run(Take(&mut sketched, &query, coder.code_bytes()));
            let (mut near_code, mut far_code) = (vec![0; 192], vec![0; 192]);
            coder.encode(&near, &mut near_code);
            coder.encode(far, &mut far_code);
            let product = |code: &[u8]| -> i32 {
                let levels =
                    code.iter().map(|byte| byte & 15).chain(code.iter().map(|byte| byte >> 4));
                levels
                    .zip(query.elements())
                    .map(|(level, &q)| i32::from(level) * i32::from(q))
                    .sum()
            };
            let worst = product(&near_code) as f32;
            let least = |code: &[u8]| {
                let sketch = sketch_of(code);
                let sum = Isa::detect().run(Sum(&sketched, &sketch));
                // SAFETY: a whole sketch.
                unsafe { sketched.least4([sketch.as_ptr().cast(); 4], [sum; 4])[0] }
            };
            near_passed += usize::from(least(&near_code) <= worst);
            far_passed += usize::from(least(&far_code) <= worst);
            assert!(product(&far_code) as f32 > worst, "vector {i} is no far one");
        }
        // They are at the very limit.
        assert!(near_passed > 1_900, "{near_passed} of 2000 near ones passed");
        assert!(far_passed < 200, "{far_passed} of 2000 far ones passed");
    }
}
