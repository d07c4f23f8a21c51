//! A query as integers.

use crate::simd::{Isa, Kernel, Line, Task};

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
    pub fn set(&mut self, rotated: &[f32]) {
        Isa::detect().run(Set(self, rotated));
    }

    /// [`set`](Self::set), to be compiled into a [`Task`].
    #[inline(always)]
    pub fn set_in_task<K: Kernel>(&mut self, rotated: &[f32]) {
        assert_eq!(rotated.len(), self.lines.len() * 64);
        // In lanes: one after the other, each would wait for the one before it.
        let mut lanes = [0f32; 64];
        for values in rotated.as_chunks::<64>().0 {
            for i in 0..64 {
                lanes[i] = if values[i].abs() > lanes[i] { values[i].abs() } else { lanes[i] };
            }
        }
        let greatest = lanes.iter().fold(0f32, |greatest, x| greatest.max(*x));
        self.scale = -127.0 / greatest.clamp(f32::MIN_POSITIVE, f32::MAX);
        // SAFETY: the lines are as long; a task runs where its kernel can.
        (self.sum, self.squares) = unsafe {
            let out = self.lines.as_mut_ptr().cast();
            K::quantise(rotated.as_ptr(), rotated.len(), self.scale, out)
        };
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

struct Set<'a>(&'a mut QueryCode, &'a [f32]);

impl Task for Set<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) {
        self.0.set_in_task::<K>(self.1);
    }
}
