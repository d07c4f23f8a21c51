//! A query as integers.

use crate::simd::Line;

/// A rotated query as int8, negated: its inner product with a code is a distance, smaller is nearer.
#[derive(Clone, Debug)]
pub struct QueryCode {
    lines: Vec<Line>,
    /// Sum of the elements.
    sum: i32,
    /// Sum of the elements' squares.
    squares: i32,
    /// Elements of the code per unit of the query, negated.
    scale: f32,
}

impl QueryCode {
    /// Room for a rotated query of `padded` elements.
    pub fn new(padded: usize) -> Self {
        Self { lines: vec![Line([0; 64]); padded.div_ceil(64)], sum: 0, squares: 0, scale: -1.0 }
    }

    /// Takes a rotated query.
    #[inline(always)]
    pub fn set(&mut self, rotated: &[f32]) {
        // In lanes: one after the other, each would wait for the one before it.
        let mut lanes = [0f32; 16];
        for values in rotated.chunks(16) {
            for (greatest, x) in lanes.iter_mut().zip(values) {
                *greatest = greatest.max(x.abs());
            }
        }
        let greatest = lanes.iter().fold(0f32, |greatest, x| greatest.max(*x));
        self.scale = -127.0 / greatest.clamp(f32::MIN_POSITIVE, f32::MAX);
        let (mut sum, mut squares) = (0, 0);
        for (line, values) in self.lines.iter_mut().zip(rotated.chunks(64)) {
            for (byte, value) in line.0.iter_mut().zip(values) {
                // Saturates, and makes nothing of NaN: values that overflowed when they were rotated.
                let level = (value * self.scale).round_ties_even() as i32;
                let level = level.clamp(-127, 127);
                sum += level;
                squares += level * level;
                *byte = level as u8;
            }
        }
        (self.sum, self.squares) = (sum, squares);
    }

    /// Takes a row of int8, as it stands in place of a rotated vector with `scale` elements per unit.
    #[inline(always)]
    pub fn set_row(&mut self, row: &[Line], sum: i32, squares: i32, scale: f32) {
        for (line, row) in self.lines.iter_mut().zip(row) {
            for (byte, value) in line.0.iter_mut().zip(row.0) {
                *byte = (value as i8).wrapping_neg() as u8;
            }
        }
        (self.sum, self.squares, self.scale) = (-sum, squares, -scale);
    }

    /// Sum of the elements.
    pub fn sum(&self) -> i32 {
        self.sum
    }

    /// Standard deviation of what rounding to levels adds to the inner product with a code: each coordinate is off by up
    /// to half a level, evenly.
    pub fn noise(&self) -> f32 {
        (self.squares as f32 / 12.0).sqrt()
    }

    /// The length of the elements as a vector.
    pub fn length(&self) -> f32 {
        (self.squares as f32).sqrt()
    }

    /// Elements per unit of the query, positive.
    pub fn scale(&self) -> f32 {
        -self.scale
    }

    /// The elements, and zeros up to a whole line.
    pub fn elements(&self) -> &[i8] {
        // SAFETY: lines are bytes, any of which is an i8, and the borrow goes with the slice.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.lines.len() * 64) }
    }

    /// The elements, aligned to 64.
    pub fn as_ptr(&self) -> *const i8 {
        self.lines.as_ptr().cast()
    }
}
