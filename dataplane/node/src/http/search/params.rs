//! `params` of a search: how hard to look.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::error::Failure;
use super::super::models::limits::MAX_EF;

/// The object. `quantization` and `acorn` say how an index may take short cuts; these have no effect, because scores are
/// exact and filtered searches miss nothing here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchParams {
    hnsw_ef: Option<usize>,
    exact: Option<bool>,
    indexed_only: Option<bool>,
    #[serde(rename = "quantization")]
    _quantization: Option<IgnoredAny>,
    #[serde(rename = "acorn")]
    _acorn: Option<IgnoredAny>,
}

impl SearchParams {
    /// Candidates to keep (`None`: the collection's default), and whether to scan.
    pub(super) fn effort(self) -> Result<(Option<usize>, bool), Failure> {
        if self.indexed_only == Some(true) {
            return Err(Failure::unsupported("`params.indexed_only`"));
        }
        match self.hnsw_ef {
            Some(ef) if ef > MAX_EF => {
                let why =
                    format!("value {ef} invalid, must be {MAX_EF} or smaller; `exact` finds all");
                Err(Failure::field("params.hnsw_ef", why))
            }
            // Zero is how the dialect says "as you see fit".
            ef => Ok((ef.filter(|ef| *ef > 0), self.exact.unwrap_or(false))),
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

    fn effort(json: &str) -> Result<(Option<usize>, bool), Failure> {
        serde_json::from_str::<SearchParams>(json).map_err(Failure::format)?.effort()
    }

    #[test]
    fn effort_is_read_and_hints_are_accepted() {
        assert_eq!(effort("{}"), Ok((None, false)));
        assert_eq!(effort(r#"{"hnsw_ef": 128, "exact": true}"#), Ok((Some(128), true)));
        assert_eq!(effort(r#"{"hnsw_ef": 0, "indexed_only": false}"#), Ok((None, false)));
        assert_eq!(
            effort(r#"{"quantization": {"rescore": true}, "acorn": {"enable": true}}"#),
            Ok((None, false))
        );
    }

    #[test]
    fn what_would_change_results_is_refused() {
        for (json, status, text) in [
            (r#"{"indexed_only": true}"#, 501, "indexed_only"),
            (r#"{"hnsw_ef": 100001}"#, 422, "hnsw_ef"),
            (r#"{"hnsw_ef": -1}"#, 400, "invalid"),
            (r#"{"ef": 10}"#, 400, "unknown field `ef`"),
        ] {
            let failure = effort(json).unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{json}: {}", failure.text);
            assert!(failure.text.contains(text), "{json}: {}", failure.text);
        }
        assert!(threshold(Some(f32::INFINITY)).unwrap_err().text.contains("score_threshold"));
    }
}
