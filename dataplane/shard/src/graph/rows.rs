//! Vectors as a build compares them: rotated, int8, a quarter of the memory traffic of f32.
//!
//! Pairs are ranked by the square of their Euclidean distance, `norm_a + norm_b - 2 (<a, b> + extra_a extra_b)`, which is
//! what Euclid asks for and, between vectors of one length, Cosine too. For Dot each vector gets one more coordinate that
//! makes all lengths equal (Bachrach et al., 2014): a graph is found through only by a metric that keeps the triangle
//! inequality, and a query has zero there, so it ranks as before.

use rayon::prelude::*;
use shoal_vector::Metric;
use shoal_vector::simd::{Isa, Kernel, Line, Task};

use super::blocks::bytes_of;

/// What belongs to a row besides its elements.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowMeta {
    /// Sum of the elements.
    pub(super) sum: i32,
    /// Sum of the elements' squares.
    pub(super) squares: i32,
    /// Value of one level.
    pub(super) scale: f32,
    /// Square of the length.
    pub(super) norm: f32,
    extra: f32,
}

impl RowMeta {
    /// The distance of two rows from the inner product of their elements.
    #[inline(always)]
    pub(super) fn distance(&self, other: &Self, dot: i32) -> f32 {
        let product = self.scale * other.scale * dot as f32 + self.extra * other.extra;
        // Rounding must not make it negative.
        (self.norm + other.norm - 2.0 * product).max(0.0)
    }
}

/// Int8 rows, each of whole lines.
pub(super) struct Rows {
    lines: Vec<Line>,
    meta: Vec<RowMeta>,
    lines_per_row: usize,
}

impl Rows {
    /// Makes `count` rows of `padded` elements; `rotated(i, out)` writes the rotated vector i, centred for Euclid.
    pub(super) fn new(
        count: usize,
        padded: usize,
        metric: Metric,
        rotated: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        let lines_per_row = padded / 64;
        let mut lines = vec![Line([0; 64]); count * lines_per_row];
        let mut meta: Vec<RowMeta> = lines
            .par_chunks_exact_mut(lines_per_row)
            .enumerate()
            .map_init(
                || vec![0.0; padded],
                |buffer, (row, lines)| {
                    rotated(row, buffer);
                    quantise(buffer, lines)
                },
            )
            .collect();
        if metric == Metric::Dot {
            let greatest = meta.iter().fold(0f32, |greatest, row| greatest.max(row.norm));
            for row in &mut meta {
                row.extra = (greatest - row.norm).max(0.0).sqrt();
                row.norm = greatest;
            }
        }
        Self { lines, meta, lines_per_row }
    }

    pub(super) fn row(&self, row: u32) -> &[Line] {
        &self.lines[row as usize * self.lines_per_row..][..self.lines_per_row]
    }

    /// The elements of a row.
    pub(super) fn bytes(&self, row: u32) -> &[u8] {
        bytes_of(self.row(row))
    }

    pub(super) fn meta(&self, row: u32) -> RowMeta {
        self.meta[row as usize]
    }

    pub(super) fn lines_per_row(&self) -> usize {
        self.lines_per_row
    }

    /// Asks for a row.
    #[inline(always)]
    pub(super) fn prefetch<K: Kernel>(&self, row: u32) {
        for line in self.row(row) {
            K::prefetch(line.0.as_ptr());
        }
        K::prefetch((&raw const self.meta[row as usize]).cast());
    }

    /// Square of the Euclidean distance of two rows.
    #[inline(always)]
    pub(super) fn distance_in_task<K: Kernel>(&self, a: u32, b: u32) -> f32 {
        let (a_row, b_row, b_meta) = (self.row(a), self.row(b), self.meta(b));
        let bytes = self.lines_per_row * 64;
        // SAFETY: two rows of that many bytes, a multiple of 128; a task runs where its kernel can.
        let dot =
            unsafe { K::dot_i8(a_row.as_ptr().cast(), b_row.as_ptr().cast(), b_meta.sum, bytes) };
        self.meta(a).distance(&b_meta, dot)
    }
}

/// Writes a rotated vector as int8 and says what belongs to it.
pub(super) fn quantise(vector: &[f32], lines: &mut [Line]) -> RowMeta {
    let greatest = vector.iter().fold(0f32, |greatest, x| greatest.max(x.abs()));
    let inverse = 127.0 / greatest.clamp(f32::MIN_POSITIVE, f32::MAX);
    let (mut sum, mut squares) = (0, 0);
    for (line, values) in lines.iter_mut().zip(vector.chunks(64)) {
        for (byte, value) in line.0.iter_mut().zip(values) {
            let level = ((value * inverse).round_ties_even() as i32).clamp(-127, 127);
            sum += level;
            squares += level * level;
            *byte = level as u8;
        }
    }
    let scale = 1.0 / inverse;
    // Of the elements, not of the vector, so that a row's distance to itself is zero.
    let norm = scale * scale * squares as f32;
    RowMeta { sum, squares, scale, norm, extra: 0.0 }
}

/// A vector compared as it is, in f32: for Manhattan, which is no inner product.
#[derive(Clone, Copy)]
pub(super) struct Plain<'a> {
    pub(super) values: &'a [f32],
    pub(super) metric: Metric,
}

impl Plain<'_> {
    pub(super) fn distance(&self, other: &Self) -> f32 {
        self.metric.distance(self.values, other.values)
    }
}

/// A row where it lies: for rows so long that the trip to them costs little beside reading them.
#[derive(Clone, Copy)]
pub(super) struct Referred<'a> {
    pub(super) rows: &'a Rows,
    pub(super) row: u32,
    pub(super) isa: Isa,
}

impl Referred<'_> {
    pub(super) fn distance(&self, other: &Self) -> f32 {
        self.isa.run(ReferredPair { rows: self.rows, a: self.row, b: other.row })
    }
}

struct ReferredPair<'a> {
    rows: &'a Rows,
    a: u32,
    b: u32,
}

impl Task for ReferredPair<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> f32 {
        self.rows.distance_in_task::<K>(self.a, self.b)
    }
}

/// A row that holds its elements itself, because a build visits rows at random and a pointer would cost a second trip
/// to memory (it took half as long again).
#[derive(Clone, Copy)]
pub(super) struct Packed<const LINES: usize> {
    elements: [Line; LINES],
    meta: RowMeta,
    isa: Isa,
}

impl<const LINES: usize> Packed<LINES> {
    /// A row of at most `LINES` lines.
    pub(super) fn new(rows: &Rows, row: u32, isa: Isa) -> Self {
        let mut elements = [Line([0; 64]); LINES];
        elements[..rows.lines_per_row()].copy_from_slice(rows.row(row));
        Self { elements, meta: rows.meta(row), isa }
    }

    #[inline(always)]
    pub(super) fn distance(&self, other: &Self) -> f32 {
        self.isa.run(PackedPair { a: self, b: other })
    }
}

struct PackedPair<'a, const LINES: usize> {
    a: &'a Packed<LINES>,
    b: &'a Packed<LINES>,
}

impl<const LINES: usize> Task for PackedPair<'_, LINES> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> f32 {
        const { assert!(LINES.is_multiple_of(2), "kernels read 128 bytes at a time") };
        let (a, b) = (self.a.elements.as_ptr(), self.b.elements.as_ptr());
        // SAFETY: both have that many bytes; a task runs where its kernel can.
        let dot = unsafe { K::dot_i8(a.cast(), b.cast(), self.b.meta.sum, LINES * 64) };
        self.a.meta.distance(&self.b.meta, dot)
    }
}
