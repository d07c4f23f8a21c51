//! `POST /collections/{collection_name}/points` and `GET .../points/{id}`: points by their ids.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Deserialize;
use shoal_shard::api::{Record, Want, WantPayload, WantVectors};
use shoal_vector::PointId;

use super::super::AppState;
use super::super::envelope::{Reply, Started};
use super::super::error::Failure;
use super::super::extract::Json;
use super::super::models::limits::MAX_POINTS;
use super::super::models::output::RecordOut;
use super::super::models::vector::Known;
use super::super::models::want::{WithPayload, WithVector, want};
use super::super::models::{NotYet, refuse};
use super::super::params::{ReadParams, Time};
use crate::router::api::Answer;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Retrieve {
    ids: Vec<PointId>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    shard_key: NotYet,
}

/// `POST /collections/{collection_name}/points`
pub(in super::super) async fn retrieve(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    params: ReadParams,
    Json(body): Json<Retrieve>,
) -> Result<Reply<Vec<RecordOut>>, Failure> {
    let collection = state.router.collection(&name)?;
    refuse(&[("shard_key", &body.shard_key)])?;
    if body.ids.len() > MAX_POINTS {
        return Err(Failure::field(
            "ids",
            format!("{} ids, must be {MAX_POINTS} or fewer", body.ids.len()),
        ));
    }
    let want = want(body.with_payload, true, body.with_vector, Known::from(&*collection))?;
    let read = async |time: Time| {
        Ok(state.router.retrieve(&collection, &body.ids, &want, time.read()).await?)
    };
    let answer = params.run(state.router.deadlines(), read).await?;
    let bytes = answer.value.iter().map(|record| record.parts.bytes()).sum();
    let result = |records: Vec<Record>| records.into_iter().map(RecordOut::from).collect();
    Ok(Reply::of(started, answer.map(result)).of_bytes(bytes))
}

/// `GET /collections/{collection_name}/points/{id}`
pub(in super::super) async fn get_one(
    started: Started,
    State(state): State<Arc<AppState>>,
    Path((name, id)): Path<(String, String)>,
    params: ReadParams,
) -> Result<Reply<RecordOut>, Failure> {
    let collection = state.router.collection(&name)?;
    let id: PointId = id.parse().map_err(Failure::wrong_input)?;
    let want = Want { payload: WantPayload::All, vectors: WantVectors::All };
    let read = async |time: Time| {
        Ok(state.router.retrieve(&collection, &[id], &want, time.read()).await?)
    };
    let Answer { mut value, lacks } = params.run(state.router.deadlines(), read).await?;
    let record = value.pop().ok_or_else(|| Failure::no_point(id))?;
    Ok(Reply::of(started, Answer { value: record.into(), lacks }))
}
