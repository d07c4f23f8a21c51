//! `params` of a search: how hard to look.

use serde::Deserialize;
use serde::de::IgnoredAny;
use shoal_shard::api::QuantizationParams;

use super::super::error::Failure;
use super::super::models::limits::MAX_EF;

/// The object. `acorn` says how an index may take a short cut; it has no effect, because filtered searches look through what
/// does not pass by themselves.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchParams {
    hnsw_ef: Option<usize>,
    exact: Option<bool>,
    indexed_only: Option<bool>,
    quantization: Option<QuantizationSearchParams>,
    #[serde(rename = "acorn")]
    _acorn: Option<IgnoredAny>,
}

/// How far to rely on codes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuantizationSearchParams {
    ignore: Option<bool>,
    rescore: Option<bool>,
    oversampling: Option<f32>,
}

/// How hard to look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Effort {
    /// Candidates to keep; `None` for the collection's default.
    pub(super) ef: Option<usize>,
    /// Whether to scan.
    pub(super) exact: bool,
    /// How far to rely on codes.
    pub(super) quantization: QuantizationParams,
}

impl Effort {
    /// Refuses to find `k` points where more would be compared than may be.
    pub(super) fn check(&self, k: usize) -> Result<(), Failure> {
        let oversampling = self.quantization.oversampling;
        match oversampling > 1.0 && self.quantization.candidates(k) > MAX_EF {
            true => {
                let why = format!(
                    "value {oversampling} invalid, as many times `limit` must be {MAX_EF} or smaller"
                );
                Err(Failure::field("params.quantization.oversampling", why))
            }
            false => Ok(()),
        }
    }
}

impl QuantizationSearchParams {
    fn checked(self) -> Result<QuantizationParams, Failure> {
        let Self { ignore, rescore, oversampling } = self;
        let oversampling = oversampling.unwrap_or(1.0);
        if !oversampling.is_finite() || oversampling < 1.0 {
            let why = format!("value {oversampling} invalid, must be 1.0 or larger");
            return Err(Failure::field("params.quantization.oversampling", why));
        }
        let (ignore, rescore) = (ignore.unwrap_or(false), rescore.unwrap_or(true));
        Ok(QuantizationParams { ignore, rescore, oversampling })
    }
}

impl SearchParams {
    /// What is asked for, if it is there.
    pub(super) fn effort(self) -> Result<Effort, Failure> {
        if self.indexed_only == Some(true) {
            return Err(Failure::unsupported("`params.indexed_only`"));
        }
        let quantization = self.quantization.unwrap_or_default().checked()?;
        match self.hnsw_ef {
            Some(ef) if ef > MAX_EF => {
                let why =
                    format!("value {ef} invalid, must be {MAX_EF} or smaller; `exact` finds all");
                Err(Failure::field("params.hnsw_ef", why))
            }
            // Zero is how the dialect says "as you see fit".
            ef => Ok(Effort {
                ef: ef.filter(|ef| *ef > 0),
                exact: self.exact.unwrap_or(false),
                quantization,
            }),
        }
    }
}

/// A threshold that scores can be compared with.
pub(super) fn threshold(asked: Option<f32>) -> Result<Option<f32>, Failure> {
    match asked {
        Some(threshold) if !threshold.is_finite() => {
            Err(Failure::field("score_threshold", "must be a finite number"))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effort(json: &str) -> Result<Effort, Failure> {
        serde_json::from_str::<SearchParams>(json).map_err(Failure::format)?.effort()
    }

    #[test]
    fn effort_is_read_and_hints_are_accepted() {
        let none = Effort::default();
        assert_eq!(effort("{}"), Ok(none));
        let some = effort(r#"{"hnsw_ef": 128, "exact": true}"#);
        assert_eq!(some, Ok(Effort { ef: Some(128), exact: true, ..none }));
        assert_eq!(effort(r#"{"hnsw_ef": 0, "indexed_only": false}"#), Ok(none));
        let hints = r#"{"quantization": {"rescore": true, "oversampling": null}, "acorn": {"enable": true}}"#;
        assert_eq!(effort(hints), Ok(none));
    }

    #[test]
    fn how_far_codes_are_relied_on_is_read() {
        let params = |json: &str| effort(&format!(r#"{{"quantization": {json}}}"#));
        let read = params(r#"{"ignore": true, "rescore": false, "oversampling": 2.5}"#).unwrap();
        let expected = QuantizationParams { ignore: true, rescore: false, oversampling: 2.5 };
        assert_eq!(read.quantization, expected);
        assert_eq!(read.quantization.candidates(3), 8);
        assert_eq!(params("{}").unwrap().quantization, QuantizationParams::default());
        assert!(read.check(MAX_EF / 5).is_ok());
        assert!(read.check(MAX_EF / 2).unwrap_err().text.contains("oversampling"));
        assert!(Effort::default().check(MAX_EF).is_ok());
    }

    #[test]
    fn what_would_change_results_is_refused() {
        for (json, status, text) in [
            (r#"{"indexed_only": true}"#, 501, "indexed_only"),
            (r#"{"hnsw_ef": 100001}"#, 422, "hnsw_ef"),
            (r#"{"hnsw_ef": -1}"#, 400, "invalid"),
            (r#"{"quantization": {"oversampling": 0.5}}"#, 422, "oversampling"),
            (r#"{"quantization": {"oversampling": 1e39}}"#, 422, "oversampling"),
            (r#"{"quantization": {"rescor": true}}"#, 400, "unknown field `rescor`"),
            (r#"{"ef": 10}"#, 400, "unknown field `ef`"),
        ] {
            let failure = effort(json).unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{json}: {}", failure.text);
            assert!(failure.text.contains(text), "{json}: {}", failure.text);
        }
        assert!(threshold(Some(f32::INFINITY)).unwrap_err().text.contains("score_threshold"));
    }
}
