//! What the numbers of a vector are stored as.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

/// What the numbers of a vector are stored as. A vector is rounded once, when its write is applied, so wherever it lies from
/// then on it is the same vector and is scored the same. Queries are never rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Datatype {
    /// IEEE 754 binary32, as they came.
    #[default]
    Float32,
    /// IEEE 754 binary16: half the bytes, three decimal digits, up to 65,504.
    Float16,
}

impl Datatype {
    /// Each kind.
    pub const ALL: [Datatype; 2] = [Datatype::Float32, Datatype::Float16];

    /// What it is called in files, arguments and objects.
    pub fn name(self) -> &'static str {
        match self {
            Datatype::Float32 => "Float32",
            Datatype::Float16 => "Float16",
        }
    }

    /// Bytes of a number in a segment.
    pub fn bytes(self) -> usize {
        match self {
            Datatype::Float32 => size_of::<f32>(),
            Datatype::Float16 => size_of::<f16>(),
        }
    }

    /// A vector's bytes in a segment.
    pub fn bytes_of(self, vector: &[f32]) -> Cow<'_, [u8]> {
        match self {
            Datatype::Float32 => bytemuck::cast_slice(vector).into(),
            Datatype::Float16 => bytemuck::cast_slice(&to_halves(vector)).to_vec().into(),
        }
    }

    /// The vector that is stored in place of one: the nearest that there is, of two as near the one with an even last digit.
    pub fn rounded(self, mut vector: Vec<f32>) -> Vec<f32> {
        if self == Datatype::Float16 {
            let halves = to_halves(&vector);
            halves.convert_to_f32_slice(&mut vector);
        }
        vector
    }

    /// Whether a finite number is stored as a finite one.
    pub fn holds(self, value: f32) -> bool {
        match self {
            Datatype::Float32 => true,
            Datatype::Float16 => f16::from_f32(value).is_finite(),
        }
    }
}

/// The nearest halves.
pub fn to_halves(values: &[f32]) -> Vec<f16> {
    let mut halves = vec![f16::ZERO; values.len()];
    halves.convert_from_f32_slice(values);
    halves
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no datatype.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no datatype: use Float32 or Float16")]
pub struct UnknownDatatype(String);

impl FromStr for Datatype {
    type Err = UnknownDatatype;

    fn from_str(text: &str) -> Result<Self, UnknownDatatype> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or_else(|| UnknownDatatype(text.to_owned()))
    }
}

/// Vectors where they lie, one or many of one length, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Elements<'a> {
    /// Of [`Datatype::Float32`].
    Float32(&'a [f32]),
    /// Of [`Datatype::Float16`].
    Float16(&'a [f16]),
}

impl<'a> Elements<'a> {
    /// What bytes hold; nothing where their place or length is none that they can have.
    pub fn of_bytes(datatype: Datatype, bytes: &'a [u8]) -> Self {
        match datatype {
            Datatype::Float32 => {
                Elements::Float32(bytemuck::try_cast_slice(bytes).unwrap_or_default())
            }
            Datatype::Float16 => {
                Elements::Float16(bytemuck::try_cast_slice(bytes).unwrap_or_default())
            }
        }
    }

    /// The vector of a number, of vectors of that many dimensions; `None` beyond the last.
    pub fn vector(self, number: usize, dimensions: usize) -> Option<Self> {
        let range =
            number.checked_mul(dimensions)?..number.checked_add(1)?.checked_mul(dimensions)?;
        match self {
            Elements::Float32(all) => all.get(range).map(Elements::Float32),
            Elements::Float16(all) => all.get(range).map(Elements::Float16),
        }
    }

    /// A copy as f32, which changes no value.
    pub fn to_vec(self) -> Vec<f32> {
        match self {
            Elements::Float32(values) => values.to_vec(),
            Elements::Float16(halves) => halves.to_f32_vec(),
        }
    }

    /// Where the first of them lies.
    pub fn as_ptr(self) -> *const u8 {
        match self {
            Elements::Float32(values) => values.as_ptr().cast(),
            Elements::Float16(halves) => halves.as_ptr().cast(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_back_and_written_the_same_in_json() {
        for kind in Datatype::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        let error = "Uint8".parse::<Datatype>().unwrap_err();
        assert!(error.to_string().contains("use Float32 or Float16"));
    }

    #[test]
    fn what_rounds_to_no_finite_half_is_not_held() {
        for (value, held) in [
            (65_504.0, true),
            (65_519.9, true),
            (65_520.0, false),
            (-65_520.0, false),
            (1e-30, true),
        ] {
            assert_eq!(Datatype::Float16.holds(value), held, "{value}");
            assert_eq!(Datatype::Float16.rounded(vec![value])[0].is_finite(), held, "{value}");
        }
        assert!(Datatype::Float32.holds(f32::MAX));
    }

    proptest! {
        #[test]
        fn rounding_finds_the_nearest_and_rounds_once(values in prop::collection::vec(any::<f32>(), 0..70)) {
            let values: Vec<f32> = values.into_iter().filter(|x| Datatype::Float16.holds(*x) && x.is_finite()).collect();
            let once = Datatype::Float16.rounded(values.clone());
            prop_assert_eq!(Datatype::Float16.rounded(once.clone()), once.clone());
            prop_assert_eq!(Elements::Float16(&to_halves(&values)).to_vec(), once.clone());
            for (&x, &rounded) in values.iter().zip(&once) {
                let bits = f16::from_f32(rounded).to_bits();
                let error = (x - rounded).abs();
                for other in [bits.wrapping_sub(1), bits.wrapping_add(1)].map(f16::from_bits) {
                    prop_assert!(!other.is_finite() || (x - other.to_f32()).abs() >= error, "{} {}", x, rounded);
                }
            }
            prop_assert_eq!(Datatype::Float32.rounded(values.clone()), values);
        }
    }
}
