//! `/collections/{collection_name}/points/vectors`: changes vectors of points that exist, and leaves the rest of them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::Value;
use shoal_vector::{Op, PointId, PointVectors};

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::{Json, Weighed};
use super::super::models::selector::selector;
use super::super::models::vector::{self, Known, Named, VectorLike};
use super::super::models::{NotYet, refuse};
use super::super::params::WriteParams;
use super::upsert::named_vectors;
use super::{UpdateResult, write};
use crate::http::models::distinct;

/// The body of updating.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct UpdateVectors {
    points: Vec<PointIn>,
    shard_key: NotYet,
    update_filter: NotYet,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PointIn {
    id: PointId,
    vector: VectorLike,
}

/// The body of deleting.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct DeleteVectors {
    vector: Vec<String>,
    points: Option<Vec<PointId>>,
    #[serde(default, deserialize_with = "distinct::optional")]
    filter: Option<Value>,
    shard_key: NotYet,
}

impl UpdateVectors {
    pub(super) fn into_op(self, known: Known<'_>) -> Result<Op, Failure> {
        refuse(&[("shard_key", &self.shard_key), ("update_filter", &self.update_filter)])?;
        if self.points.is_empty() {
            return Err(Failure::bad_request("Empty update request"));
        }
        let point = |(position, point): (usize, PointIn)| {
            let Named { dense: vectors, sparse } = named_vectors(point.vector, position, known)?;
            Ok(PointVectors { id: point.id, vectors, sparse })
        };
        let points: Result<_, Failure> = self.points.into_iter().enumerate().map(point).collect();
        Ok(Op::UpdateVectors(points?))
    }
}

impl DeleteVectors {
    pub(super) fn into_op(self, known: Known<'_>) -> Result<Op, Failure> {
        refuse(&[("shard_key", &self.shard_key)])?;
        if self.vector.is_empty() {
            return Err(Failure::field("vector", "must name at least one vector"));
        }
        for (i, name) in self.vector.iter().enumerate() {
            vector::named(known, name)?;
            if self.vector[..i].contains(name) {
                return Err(Failure::field("vector", "a name is there twice"));
            }
        }
        let points = selector(self.points, self.filter.as_ref())?;
        Ok(Op::DeleteVectors { names: self.vector, points })
    }
}

/// `PUT /collections/{collection_name}/points/vectors`
pub(in super::super) async fn update(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Weighed(body, bytes): Weighed<UpdateVectors>,
) -> Result<Reply<UpdateResult>, Failure> {
    let collection = state.router.collection(&name)?;
    let op = shoal_shard::compute(bytes, || body.into_op(Known::from(&*collection)))?;
    write(&state, started, &params, &collection, op).await
}

/// `POST /collections/{collection_name}/points/vectors/delete`
pub(in super::super) async fn delete(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<DeleteVectors>,
) -> Result<Reply<UpdateResult>, Failure> {
    let collection = state.router.collection(&name)?;
    let op = body.into_op(Known::from(&*collection))?;
    write(&state, started, &params, &collection, op).await
}

#[cfg(test)]
mod tests {
    use shoal_vector::op::Selector;
    use shoal_vector::{Metric, VectorConfig};

    use super::*;

    fn configs() -> [VectorConfig; 2] {
        ["", "a"].map(|name| VectorConfig::new(name, 2, Metric::Dot))
    }

    fn update(json: &str) -> Result<Op, Failure> {
        serde_json::from_str::<UpdateVectors>(json)
            .map_err(Failure::format)?
            .into_op(Known { dense: &configs(), sparse: &[] })
    }

    fn delete(json: &str) -> Result<Op, Failure> {
        serde_json::from_str::<DeleteVectors>(json)
            .map_err(Failure::format)?
            .into_op(Known { dense: &configs(), sparse: &[] })
    }

    #[test]
    fn changes_name_points_and_vectors() {
        let (id, point) = (PointId::Num(1), |name: &str| vec![(name.to_owned(), vec![1.0, 2.0])]);
        let json =
            r#"{"points": [{"id": 1, "vector": {"a": [1, 2]}}, {"id": 1, "vector": [1, 2]}]}"#;
        let both =
            ["a", ""].map(|name| PointVectors { id, vectors: point(name), sparse: Vec::new() });
        assert_eq!(update(json), Ok(Op::UpdateVectors(both.to_vec())));
        let (names, points) = (vec!["a".to_owned()], Selector::Ids(vec![id]));
        let expected = Op::DeleteVectors { names, points };
        assert_eq!(delete(r#"{"points": [1], "vector": ["a"]}"#), Ok(expected));
        assert!(delete(r#"{"filter": {"must": []}, "vector": ["a", ""]}"#).is_ok());
    }

    #[test]
    fn bad_changes_are_refused_by_name() {
        for (failure, status, text) in [
            (update(r#"{"points": []}"#), 400, "Empty update request"),
            (update(r#"{"points": [{"id": 1}]}"#), 400, "vector"),
            (update(r#"{"points": [{"id": 1, "vector": [1]}]}"#), 400, "expected dim: 2, got 1"),
            (update(r#"{"points": [{"id": 1, "vector": {"b": [1, 2]}}]}"#), 400, "name error: b"),
            (update(r#"{"points": [{"id": 1, "vector": [1, 2], "payload": {}}]}"#), 400, "payload"),
            (update(r#"{"points": [], "update_filter": {}}"#), 501, "update_filter"),
            (delete(r#"{"points": [1]}"#), 400, "vector"),
            (delete(r#"{"points": [1], "vector": []}"#), 422, "at least one"),
            (delete(r#"{"points": [1], "vector": ["b"]}"#), 400, "name error: b"),
            (delete(r#"{"points": [1], "vector": ["a", "a"]}"#), 422, "twice"),
            (delete(r#"{"vector": ["a"]}"#), 422, "points"),
            (delete(r#"{"points": [], "vector": ["a"]}"#), 400, "Empty update request"),
            (delete(r#"{"points": [1], "vector": ["a"], "shard_key": 1}"#), 501, "shard_key"),
        ] {
            let failure = failure.unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{}", failure.text);
            assert!(failure.text.contains(text), "{text}: {}", failure.text);
        }
    }
}
