//! The dialect's `quantization_config`, as it is asked for and as it is told.
//!
//! Absent and null are the default, 4-bit codes; `"Disabled"`, which the dialect has for changes, is none. What is told of a
//! collection without codes is null, as in the dialect.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use shoal_vector::Quantization;

use super::super::error::Failure;

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(in super::super) enum QuantizationConfig {
    #[serde(rename = "scalar")]
    Scalar(Scalar),
    #[serde(rename = "turbo")]
    Turbo(Turbo),
    #[serde(rename = "binary")]
    Binary(IgnoredAny),
    #[serde(rename = "product")]
    Product(IgnoredAny),
    Disabled,
}

/// Codes of one number a dimension. How their range is found (`quantile`) and where they are kept are hints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Scalar {
    #[serde(rename = "type")]
    kind: ScalarKind,
    quantile: Option<f32>,
    #[serde(rename = "always_ram")]
    _always_ram: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ScalarKind {
    Int8,
}

/// Codes after a random rotation, which are ours.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Turbo {
    bits: Option<TurboBits>,
    #[serde(rename = "always_ram")]
    _always_ram: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
enum TurboBits {
    #[serde(rename = "bits1")]
    One,
    #[serde(rename = "bits1_5")]
    OneAndHalf,
    #[serde(rename = "bits2")]
    Two,
    #[serde(rename = "bits4")]
    Four,
}

impl QuantizationConfig {
    /// By what graphs are to be walked, if that is there. `place` names the field in errors.
    pub(in super::super) fn kind(&self, place: &str) -> Result<Quantization, Failure> {
        let unsupported = |what: &str| Err(Failure::unsupported(format!("`{place}` {what}")));
        match self {
            QuantizationConfig::Disabled => Ok(Quantization::None),
            QuantizationConfig::Scalar(Scalar { kind: ScalarKind::Int8, quantile, .. }) => {
                match quantile {
                    Some(quantile) if !(0.5..=1.0).contains(quantile) => {
                        let why = format!("value {quantile} invalid, must be from 0.5 to 1.0");
                        Err(Failure::field(&format!("{place}.scalar.quantile"), why))
                    }
                    _ => Ok(Quantization::Int8),
                }
            }
            QuantizationConfig::Turbo(Turbo { bits: None | Some(TurboBits::Four), .. }) => {
                Ok(Quantization::Bits4)
            }
            QuantizationConfig::Turbo(_) => unsupported("turbo of other bits than `bits4`"),
            QuantizationConfig::Binary(_) => unsupported("binary"),
            QuantizationConfig::Product(_) => unsupported("product"),
        }
    }
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum QuantizationOut {
    Scalar {
        #[serde(rename = "type")]
        kind: &'static str,
    },
    Turbo {
        bits: &'static str,
    },
}

impl QuantizationOut {
    /// Nothing where vectors are compared as they are.
    pub(in super::super) fn of(quantization: Quantization) -> Option<Self> {
        match quantization {
            Quantization::Bits4 => Some(Self::Turbo { bits: "bits4" }),
            Quantization::Int8 => Some(Self::Scalar { kind: "int8" }),
            Quantization::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(json: &str) -> Result<Option<Quantization>, Failure> {
        let config: Option<QuantizationConfig> =
            serde_json::from_str(json).map_err(Failure::format)?;
        config.map(|config| config.kind("quantization_config")).transpose()
    }

    #[test]
    fn what_is_there_is_read_and_told_in_the_same_words() {
        for (json, expected) in [
            (r#"{"scalar": {"type": "int8"}}"#, Quantization::Int8),
            (
                r#"{"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true}}"#,
                Quantization::Int8,
            ),
            (r#"{"turbo": {"bits": "bits4"}}"#, Quantization::Bits4),
            (r#"{"turbo": {"bits": null, "always_ram": false}}"#, Quantization::Bits4),
            (r#""Disabled""#, Quantization::None),
        ] {
            assert_eq!(kind(json), Ok(Some(expected)), "{json}");
        }
        assert_eq!(kind("null"), Ok(None));
        for quantization in [Quantization::Bits4, Quantization::Int8] {
            let told = serde_json::to_string(&QuantizationOut::of(quantization)).unwrap();
            assert_eq!(kind(&told), Ok(Some(quantization)), "{told}");
        }
        assert_eq!(QuantizationOut::of(Quantization::None), None);
    }

    #[test]
    fn what_is_not_there_is_named_and_what_is_none_is_refused() {
        for (json, status, text) in [
            (r#"{"binary": {"always_ram": true}}"#, 501, "`quantization_config` binary"),
            (r#"{"product": {"compression": "x4"}}"#, 501, "`quantization_config` product"),
            (r#"{"turbo": {"bits": "bits2"}}"#, 501, "bits4"),
            (r#"{"turbo": {"bits": "bits1_5"}}"#, 501, "bits4"),
            (r#"{"turbo": {"bits": "bits3"}}"#, 400, "bits3"),
            (r#"{"scalar": {}}"#, 400, "type"),
            (r#"{"scalar": {"type": "int4"}}"#, 400, "int4"),
            (r#"{"scalar": {"type": "int8", "quantile": 0.2}}"#, 422, "quantile"),
            (r#"{"scalar": {"type": "int8", "quantil": 1}}"#, 400, "quantil"),
            (r#""disabled""#, 400, "disabled"),
            (r#"{"other": {}}"#, 400, "other"),
        ] {
            let failure = kind(json).unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{json}: {}", failure.text);
            assert!(failure.text.contains(text), "{json}: {}", failure.text);
        }
    }
}
