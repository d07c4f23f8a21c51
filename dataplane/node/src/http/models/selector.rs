//! Which points a change is for: a list of ids or a filter.

use serde::Deserialize;
use serde_json::Value;
use shoal_vector::PointId;
use shoal_vector::op::Selector;

use super::super::error::Failure;
use super::{NotYet, filter, refuse};
use crate::http::models::distinct;

/// The body of changes that name points and nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct PointsSelector {
    points: Option<Vec<PointId>>,
    #[serde(default, deserialize_with = "distinct::optional")]
    filter: Option<Value>,
    shard_key: NotYet,
}

impl PointsSelector {
    pub(in super::super) fn into_selector(self) -> Result<Selector, Failure> {
        refuse(&[("shard_key", &self.shard_key)])?;
        selector(self.points, self.filter.as_ref())
    }
}

/// One of the two, and not both: what was meant by both would be a guess.
pub(in super::super) fn selector(
    points: Option<Vec<PointId>>,
    by: Option<&Value>,
) -> Result<Selector, Failure> {
    match (points, filter(by)?) {
        (Some(ids), None) if ids.is_empty() => Err(Failure::bad_request("Empty update request")),
        (Some(ids), None) => Ok(Selector::Ids(ids)),
        (None, Some(filter)) => Ok(Selector::Filter(filter)),
        (None, None) => Err(Failure::field("points", "either `points` or `filter` must be given")),
        (Some(_), Some(_)) => {
            Err(Failure::field("filter", "give either `points` or `filter`, not both"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Selector, Failure> {
        serde_json::from_str::<PointsSelector>(json).map_err(Failure::format)?.into_selector()
    }

    #[test]
    fn points_are_named_by_ids_or_by_a_filter() {
        assert_eq!(
            read(r#"{"points": [1, 2]}"#),
            Ok(Selector::Ids(vec![PointId::Num(1), PointId::Num(2)]))
        );
        assert!(matches!(read(r#"{"filter": {"must": []}}"#), Ok(Selector::Filter(_))));
        let refused = [
            ("{}", 422, "points"),
            (r#"{"points": []}"#, 400, "Empty"),
            (r#"{"points": [1], "filter": {}}"#, 422, "not both"),
            (r#"{"points": ["x"]}"#, 400, "not a valid point ID"),
            (r#"{"points": [-1]}"#, 400, "not a valid point ID"),
            (r#"{"points": [1], "shard_key": "a"}"#, 501, "shard_key"),
            (r#"{"pionts": [1]}"#, 400, "pionts"),
        ];
        for (json, status, text) in refused {
            let failure = read(json).unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{json}: {}", failure.text);
            assert!(failure.text.contains(text), "{json}: {}", failure.text);
        }
    }
}
