//! Metrics: how near two vectors are.
//!
//! Inside, everything is ranked by `distance`, where smaller is nearer; clients see `score`. Both are finite for finite
//! vectors, whatever overflows on the way, so that orders are total and JSON can hold them.

use serde::{Deserialize, Serialize};

use crate::Elements;
use crate::simd::{Element, FLOAT_LANES, Isa, Kernel, Pairs, Task};

/// Accumulators of a vector's length: lanes enough for the compiler to fill registers and to have more than one addition
/// under way, without being told that float addition may be reordered.
const LANES: usize = 32;

/// How two vectors are compared; names as in Qdrant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// Cosine similarity; vectors are normalised when they are stored, so it is a dot product.
    Cosine,
    /// Dot product.
    Dot,
    /// Euclidean distance.
    Euclid,
    /// Sum of absolute differences.
    Manhattan,
}

impl Metric {
    /// Whether a greater score means nearer.
    pub fn larger_is_nearer(self) -> bool {
        matches!(self, Metric::Cosine | Metric::Dot)
    }

    /// What is stored of a vector, and what a query is compared as: unit length for Cosine (a zero vector has no
    /// direction and stays), the vector itself for the others.
    pub fn preprocess(self, mut vector: Vec<f32>) -> Vec<f32> {
        if self != Metric::Cosine {
            return vector;
        }
        // In f64, because the squares of finite f32 can overflow f32; in lanes, because one sum after the other is slow.
        let mut lanes = [0f64; LANES];
        for values in vector.chunks(LANES) {
            for (lane, &x) in lanes.iter_mut().zip(values) {
                *lane += f64::from(x) * f64::from(x);
            }
        }
        let square: f64 = lanes.iter().sum();
        if square == 0.0 || (square - 1.0).abs() <= 1e-6 {
            return vector;
        }
        let length = square.sqrt();
        for x in &mut vector {
            *x = (f64::from(*x) / length) as f32;
        }
        vector
    }

    /// How far `b` is from `a`, both preprocessed and of one length; smaller is nearer. Monotone in the score. The same
    /// on every processor, bit for bit: sums are made in an order that depends on the length alone.
    pub fn distance(self, a: &[f32], b: &[f32]) -> f32 {
        Isa::detect().run(Distance { metric: self, a, b })
    }

    /// How far a stored vector is from `a`: what [`distance`](Self::distance) gives for the same numbers.
    pub fn distance_to(self, a: &[f32], stored: Elements<'_>) -> f32 {
        match stored {
            Elements::Float32(b) => Isa::detect().run(Distance { metric: self, a, b }),
            Elements::Float16(b) => Isa::detect().run(Distance { metric: self, a, b }),
        }
    }

    /// [`distance_to`](Self::distance_to), to be compiled into a [`Task`] that compares many.
    #[inline(always)]
    pub fn distance_in_task<K: Kernel, E: Element>(self, a: &[f32], b: &[E]) -> f32 {
        let distance = match self {
            Metric::Cosine | Metric::Dot => -sum_pairs::<K, E>(Pairs::Products, a, b),
            Metric::Euclid => sum_pairs::<K, E>(Pairs::Squares, a, b),
            Metric::Manhattan => sum_pairs::<K, E>(Pairs::Differences, a, b),
        };
        // Overflow can make infinities, and NaN of two of them; both are as far as can be said.
        match distance.is_nan() {
            true => f32::MAX,
            false => distance.clamp(-f32::MAX, f32::MAX),
        }
    }

    /// The score that clients see for a distance.
    pub fn score_of_distance(self, distance: f32) -> f32 {
        match self {
            // `0.0 -` and not `-`, which would show clients a negative zero.
            Metric::Cosine | Metric::Dot => 0.0 - distance,
            Metric::Euclid => distance.sqrt(),
            Metric::Manhattan => distance,
        }
    }

    /// The score that clients see, of preprocessed vectors.
    pub fn score(self, a: &[f32], b: &[f32]) -> f32 {
        self.score_of_distance(self.distance(a, b))
    }

    /// Whether a score is nearer than a threshold that a client gave; one that equals it is not, as in Qdrant.
    pub fn reaches(self, score: f32, threshold: f32) -> bool {
        match self.larger_is_nearer() {
            true => score > threshold,
            false => score < threshold,
        }
    }
}

struct Distance<'a, E> {
    metric: Metric,
    a: &'a [f32],
    b: &'a [E],
}

impl<E: Element> Task for Distance<'_, E> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<K: Kernel>(self) -> f32 {
        self.metric.distance_in_task::<K, E>(self.a, self.b)
    }
}

/// Sums over pairs; the order of additions depends on the length alone.
#[inline(always)]
fn sum_pairs<K: Kernel, E: Element>(pairs: Pairs, a: &[f32], b: &[E]) -> f32 {
    let len = a.len().min(b.len());
    let whole = len / FLOAT_LANES * FLOAT_LANES;
    // SAFETY: both have as many elements; a task runs where its kernel can.
    let sum = unsafe { K::sum_pairs(pairs, a.as_ptr(), b.as_ptr(), whole) };
    // SAFETY: as above.
    let rest = unsafe { E::sum_rest::<K>(pairs, &a[whole..len], &b[whole..len]) };
    sum + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use half::f16;

    use super::*;
    use crate::datatype::to_halves;

    const ALL: [Metric; 4] = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

    #[test]
    fn scores_are_what_a_person_would_compute() {
        let (a, b) = ([1.0, 2.0, 2.0], [3.0, 0.0, 4.0]);
        assert_eq!(Metric::Dot.score(&a, &b), 11.0);
        assert_eq!(Metric::Manhattan.score(&a, &b), 6.0);
        assert!((Metric::Euclid.score(&a, &b) - 12f32.sqrt()).abs() < 1e-6);
        let (a, b) = (Metric::Cosine.preprocess(a.to_vec()), Metric::Cosine.preprocess(b.to_vec()));
        assert!((Metric::Cosine.score(&a, &b) - 11.0 / 15.0).abs() < 1e-6);
    }

    #[test]
    fn a_threshold_keeps_what_is_nearer_and_not_what_equals_it() {
        for metric in ALL {
            let (nearer, farther) = if metric.larger_is_nearer() { (0.6, 0.4) } else { (0.4, 0.6) };
            assert!(metric.reaches(nearer, 0.5), "{metric:?}");
            assert!(!metric.reaches(0.5, 0.5), "{metric:?}");
            assert!(!metric.reaches(farther, 0.5), "{metric:?}");
        }
    }

    #[test]
    fn cosine_leaves_a_zero_vector_as_it_is() {
        assert_eq!(Metric::Cosine.preprocess(vec![0.0; 5]), vec![0.0; 5]);
    }

    #[test]
    fn cosine_normalises_vectors_whose_squares_overflow() {
        let unit = Metric::Cosine.preprocess(vec![f32::MAX, f32::MAX]);
        assert!(
            unit.iter().all(|x| (x - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6),
            "{unit:?}"
        );
    }

    #[test]
    fn a_zero_similarity_is_not_negative_zero() {
        assert!(Metric::Dot.score(&[1.0, 0.0], &[0.0, 1.0]).is_sign_positive());
    }

    fn pair() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        let value =
            prop_oneof![-10.0f32..10.0, any::<f32>().prop_filter("finite", |x| x.is_finite())];
        (1usize..70).prop_flat_map(move |n| {
            (prop::collection::vec(value.clone(), n), prop::collection::vec(value.clone(), n))
        })
    }

    proptest! {
        #[test]
        fn distances_and_scores_of_finite_vectors_are_finite((a, b) in pair()) {
            for metric in ALL {
                let (a, b) = (metric.preprocess(a.clone()), metric.preprocess(b.clone()));
                prop_assert!(metric.distance(&a, &b).is_finite());
                prop_assert!(metric.score(&a, &b).is_finite());
            }
        }

        #[test]
        fn lanes_sum_what_a_plain_loop_sums(a in prop::collection::vec(-10.0f32..10.0, 1..70)) {
            let b: Vec<f32> = a.iter().rev().copied().collect();
            let plain: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            prop_assert!((f64::from(Metric::Dot.score(&a, &b)) - plain).abs() < 1e-2);
        }

        #[test]
        fn distances_are_the_same_on_every_instruction_set((a, b) in pair()) {
            for metric in ALL {
                let of = |isa: Isa| isa.run(Distance { metric, a: &a, b: &b }).to_bits();
                for isa in Isa::available() {
                    prop_assert_eq!(of(isa), of(Isa::Portable), "{:?} {:?}", metric, isa);
                }
            }
        }

        #[test]
        fn halves_are_as_far_as_the_same_numbers_as_floats((a, b) in pair()) {
            let halves: Vec<f16> = to_halves(&b).into_iter().map(|x| if x.is_finite() { x } else { f16::MAX }).collect();
            let floats = Elements::Float16(&halves).to_vec();
            for metric in ALL {
                let expected = metric.distance(&a, &floats).to_bits();
                prop_assert_eq!(metric.distance_to(&a, Elements::Float16(&halves)).to_bits(), expected);
                for isa in Isa::available() {
                    let found = isa.run(Distance { metric, a: &a, b: &halves }).to_bits();
                    prop_assert_eq!(found, expected, "{:?} {:?}", metric, isa);
                }
            }
        }

        #[test]
        fn a_cosine_vector_has_unit_length_and_stays_when_normalised_again(
            a in prop::collection::vec(-10.0f32..10.0, 1..70)
        ) {
            let once = Metric::Cosine.preprocess(a);
            let length: f64 = once.iter().map(|&x| f64::from(x).powi(2)).sum();
            prop_assert!(length == 0.0 || (length - 1.0).abs() < 1e-5);
            prop_assert_eq!(Metric::Cosine.preprocess(once.clone()), once);
        }
    }
}
