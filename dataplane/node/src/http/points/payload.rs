//! `/collections/{collection_name}/points/payload`: changes payloads and leaves vectors as they are.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::Value;
use shoal_vector::{Op, Payload, PointId};

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Json;
use super::super::models::selector::{PointsSelector, selector};
use super::super::models::{NotYet, refuse};
use super::super::params::WriteParams;
use super::upsert::to_text;
use super::{UpdateResult, write};
use crate::http::models::distinct;

/// The body of setting and of overwriting.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct SetPayload {
    payload: Payload,
    points: Option<Vec<PointId>>,
    #[serde(default, deserialize_with = "distinct::optional")]
    filter: Option<Value>,
    key: Option<String>,
    shard_key: NotYet,
}

/// The body of removing keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct DeletePayload {
    keys: Vec<String>,
    points: Option<Vec<PointId>>,
    #[serde(default, deserialize_with = "distinct::optional")]
    filter: Option<Value>,
    shard_key: NotYet,
}

impl SetPayload {
    pub(super) fn into_set(self) -> Result<Op, Failure> {
        refuse(&[("shard_key", &self.shard_key)])?;
        let points = selector(self.points, self.filter.as_ref())?;
        Ok(Op::SetPayload { payload: to_text(&self.payload)?, key: self.key, points })
    }

    pub(super) fn into_overwrite(self) -> Result<Op, Failure> {
        refuse(&[("shard_key", &self.shard_key)])?;
        if self.key.is_some() {
            return Err(Failure::unsupported("`key` when overwriting a payload"));
        }
        let points = selector(self.points, self.filter.as_ref())?;
        Ok(Op::OverwritePayload { payload: to_text(&self.payload)?, points })
    }
}

impl DeletePayload {
    pub(super) fn into_op(self) -> Result<Op, Failure> {
        refuse(&[("shard_key", &self.shard_key)])?;
        if self.keys.is_empty() {
            return Err(Failure::field("keys", "must name at least one key"));
        }
        Ok(Op::DeletePayload {
            keys: self.keys,
            points: selector(self.points, self.filter.as_ref())?,
        })
    }
}

/// `POST /collections/{collection_name}/points/payload`: merges.
pub(in super::super) async fn set(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<SetPayload>,
) -> Result<Reply<UpdateResult>, Failure> {
    let collection = state.router.collection(&name)?;
    write(&state, started, &params, &collection, body.into_set()?).await
}

/// `PUT /collections/{collection_name}/points/payload`: replaces.
pub(in super::super) async fn overwrite(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<SetPayload>,
) -> Result<Reply<UpdateResult>, Failure> {
    let collection = state.router.collection(&name)?;
    write(&state, started, &params, &collection, body.into_overwrite()?).await
}

/// `POST /collections/{collection_name}/points/payload/delete`: removes keys.
pub(in super::super) async fn delete_keys(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<DeletePayload>,
) -> Result<Reply<UpdateResult>, Failure> {
    let collection = state.router.collection(&name)?;
    write(&state, started, &params, &collection, body.into_op()?).await
}

/// `POST /collections/{collection_name}/points/payload/clear`: removes all of it.
pub(in super::super) async fn clear(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(params): Query<WriteParams>,
    Json(body): Json<PointsSelector>,
) -> Result<Reply<UpdateResult>, Failure> {
    let collection = state.router.collection(&name)?;
    write(&state, started, &params, &collection, Op::ClearPayload(body.into_selector()?)).await
}

#[cfg(test)]
mod tests {
    use shoal_vector::op::Selector;

    use super::*;

    fn set_body(json: &str) -> Result<SetPayload, Failure> {
        serde_json::from_str(json).map_err(Failure::format)
    }

    #[test]
    fn setting_and_overwriting_say_whose_payload() {
        let points = Selector::Ids(vec![PointId::Num(1)]);
        let json = r#"{"payload": {"a": 1}, "points": [1], "key": "b.c"}"#;
        let set = set_body(json).unwrap().into_set().unwrap();
        let payload = br#"{"a":1}"#.to_vec();
        let key = Some("b.c".to_owned());
        assert_eq!(set, Op::SetPayload { payload: payload.clone(), key, points: points.clone() });
        let overwrite =
            set_body(r#"{"payload": {"a": 1}, "points": [1]}"#).unwrap().into_overwrite().unwrap();
        assert_eq!(overwrite, Op::OverwritePayload { payload, points });
    }

    #[test]
    fn bad_changes_are_refused_by_name() {
        let set = |json| set_body(json).and_then(SetPayload::into_set).unwrap_err();
        for (json, status, text) in [
            (r#"{"payload": {"a": 1}}"#, 422, "points"),
            (r#"{"points": [1]}"#, 400, "payload"),
            (r#"{"payload": 7, "points": [1]}"#, 400, "map"),
            (r#"{"payload": {}, "points": [1], "shard_key": 1}"#, 501, "shard_key"),
        ] {
            let failure = set(json);
            assert_eq!(failure.status.as_u16(), status, "{json}: {}", failure.text);
            assert!(failure.text.contains(text), "{json}: {}", failure.text);
        }
        let keyed = set_body(r#"{"payload": {}, "points": [1], "key": "a"}"#).unwrap();
        assert_eq!(keyed.into_overwrite().unwrap_err().status.as_u16(), 501);
        let no_keys: DeletePayload =
            serde_json::from_str(r#"{"keys": [], "points": [1]}"#).unwrap();
        assert!(no_keys.into_op().unwrap_err().text.contains("keys"));
    }
}
