//! From rotated vectors to codes.

use serde::{Deserialize, Serialize};

/// Bits of a coordinate in a code. Numbers are on disk and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodeBits {
    /// 16 levels.
    Four,
    /// 256 levels.
    Eight,
}

impl CodeBits {
    fn levels(self) -> f32 {
        match self {
            CodeBits::Four => 16.0,
            CodeBits::Eight => 256.0,
        }
    }

    /// The level that stands for the mean, between two levels.
    pub fn middle(self) -> f32 {
        (self.levels() - 1.0) / 2.0
    }

    /// Distance of two levels in standard deviations of a coordinate: 16 levels reach to 2.6 of them, 256 to 5.
    fn step(self) -> f32 {
        match self {
            CodeBits::Four => 0.35,
            CodeBits::Eight => 0.04,
        }
    }

    /// Bytes of the code of a rotated vector of `padded` elements.
    pub fn bytes(self, padded: usize) -> usize {
        match self {
            CodeBits::Four => padded / 2,
            CodeBits::Eight => padded,
        }
    }
}

/// What a code with a step of its own means: the coordinates are `mean + step * (level - middle)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct OwnStep {
    /// Distance of two levels.
    pub step: f32,
    /// Square of the vector's distance from the mean.
    pub square: f32,
}

/// Makes codes. Learned from vectors, so that levels lie where the values are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coder {
    bits: CodeBits,
    /// The mean of the rotated vectors.
    mean: Vec<f32>,
    /// Distance of two levels, for vectors of one length.
    step: f32,
}

impl Coder {
    /// Learns from rotated vectors, all of `padded` elements.
    pub fn learn<'a>(
        bits: CodeBits,
        padded: usize,
        rotated: impl IntoIterator<Item = &'a [f32]>,
    ) -> Self {
        let (mut sums, mut squares, mut rows) = (vec![0f64; padded], 0f64, 0usize);
        for row in rotated {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += f64::from(x);
                squares += f64::from(x) * f64::from(x);
            }
            rows += 1;
        }
        let rows = rows.max(1) as f64;
        let mean: Vec<f32> = sums.iter().map(|sum| (sum / rows) as f32).collect();
        let of_mean: f64 = sums.iter().map(|sum| (sum / rows).powi(2)).sum();
        let variance = (squares / rows - of_mean) / padded as f64;
        Self { bits, mean, step: step_of(bits, variance) }
    }

    /// Bits of a coordinate.
    pub fn bits(&self) -> CodeBits {
        self.bits
    }

    /// The mean of the rotated vectors.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Bytes of a code.
    pub fn code_bytes(&self) -> usize {
        self.bits.bytes(self.mean.len())
    }

    /// Encodes a vector with the step that suits all: enough where all have one length.
    #[inline(always)]
    pub fn encode(&self, rotated: &[f32], code: &mut [u8]) {
        self.levels(rotated, self.step, code);
    }

    /// Encodes a vector with a step of its own.
    #[inline(always)]
    pub fn encode_own_step(&self, rotated: &[f32], code: &mut [u8]) -> OwnStep {
        let differences = rotated.iter().zip(&self.mean).map(|(x, mean)| f64::from(x - mean));
        let square: f64 = differences.map(|x| x * x).sum();
        let step = step_of(self.bits, square / rotated.len() as f64);
        self.levels(rotated, step, code);
        OwnStep { step, square: square as f32 }
    }

    #[inline(always)]
    fn levels(&self, rotated: &[f32], step: f32, code: &mut [u8]) {
        let (middle, greatest) = (self.bits.middle(), self.bits.levels() - 1.0);
        let level = |i: usize| {
            let x = (rotated[i] - self.mean[i]) / step;
            (x + middle).round().clamp(0.0, greatest) as u8
        };
        let bytes = code.len();
        match self.bits {
            // Byte i holds coordinate i in its low nibble, i + bytes in its high one.
            CodeBits::Four => (0..bytes).for_each(|i| code[i] = level(i) | level(i + bytes) << 4),
            CodeBits::Eight => (0..bytes).for_each(|i| code[i] = level(i)),
        }
    }
}

fn step_of(bits: CodeBits, variance: f64) -> f32 {
    // Vectors that are all the same still need a step that one can divide by.
    bits.step() * variance.max(1e-24).sqrt().min(f64::from(f32::MAX)) as f32
}
