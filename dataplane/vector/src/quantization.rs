//! By what a vector's graphs are walked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a walk compares in place of vectors. Whatever it is, what is returned is compared exactly, so it changes how much
/// is found at which cost, and no score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Quantization {
    /// Codes of 4 bits a dimension.
    #[default]
    Bits4,
    /// Codes of 8 bits a dimension: twice the memory, and fewer errors to make up for.
    Int8,
    /// The vectors themselves: eight times the memory of 4-bit codes has to be at hand.
    None,
}

impl Quantization {
    /// Each kind.
    pub const ALL: [Quantization; 3] =
        [Quantization::Bits4, Quantization::Int8, Quantization::None];

    /// What it is called in files, arguments and objects.
    pub fn name(self) -> &'static str {
        match self {
            Quantization::Bits4 => "Bits4",
            Quantization::Int8 => "Int8",
            Quantization::None => "None",
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no quantization.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no quantization: use Bits4, Int8 or None")]
pub struct UnknownQuantization(String);

impl FromStr for Quantization {
    type Err = UnknownQuantization;

    fn from_str(text: &str) -> Result<Self, UnknownQuantization> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or_else(|| UnknownQuantization(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_written_the_same_in_json() {
        for kind in Quantization::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        let error = "int4".parse::<Quantization>().unwrap_err();
        assert!(error.to_string().contains("use Bits4, Int8 or None"));
    }
}
